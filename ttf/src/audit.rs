//! Entries of the audit log for what operators do by this program.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use stream_runtime::log::{Log, LogError, NewRecord};
use telemetry_schemas::{Codec, EventTime, audit::AuditEntry, topics};
use ttf_processor::{
    JourneyDefinition, in_force,
    journey::changes::{Changes, Remembered},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Tenant of what concerns no single one.
const NO_TENANT: &str = "default";

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    pub action: &'static str,
    pub target: String,
    pub details: Vec<(&'static str, String)>,
}

/// Who runs this program.
pub fn operator() -> String {
    std::env::var("USER").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "operator".to_owned())
}

/// Writes one entry for each act. Blocks.
pub fn write(log: &dyn Log, codec: &Codec, actor: &str, acts: Vec<Act>) -> anyhow::Result<()> {
    let publisher = log.publisher()?;
    let mut deliveries = Vec::new();
    for act in acts {
        let entry = entry(actor, act, EventTime(service_kit::clock::now_ms()));
        let record =
            NewRecord::new(topics::AUDIT, entry.tenant.clone(), codec.encode(&entry)?).with_timestamp(entry.at.0);
        deliveries.push(publisher.publish(record)?);
    }
    publisher.flush(PATIENCE)?;
    for delivery in deliveries {
        futures::executor::block_on(delivery).context("the audit entry was not taken")?;
    }
    Ok(())
}

fn entry(actor: &str, act: Act, at: EventTime) -> AuditEntry {
    let details: BTreeMap<String, String> =
        act.details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    AuditEntry {
        audit_id: uuid::Uuid::now_v7().to_string(),
        tenant: NO_TENANT.to_owned(),
        at,
        actor: actor.to_owned(),
        action: act.action.to_owned(),
        target: act.target,
        origin: std::env::var("HOSTNAME").unwrap_or_default(),
        details,
    }
}

/// What a processor that starts with these definitions changes. Blocks; nothing when the log does not tell.
pub fn journey_changes(log: &dyn Log, journeys: &[JourneyDefinition]) -> Vec<Act> {
    match in_force::recall(log) {
        Ok(remembered) => acts_of(&remembered, journeys, EventTime(service_kit::clock::now_ms())),
        Err(error) => {
            let is_away = error.downcast_ref::<LogError>().is_some_and(LogError::is_retriable);
            tracing::warn!(
                is_away,
                error = format!("{error:#}"),
                "whether journeys change is not known to the audit log"
            );
            Vec::new()
        }
    }
}

fn acts_of(remembered: &[Remembered], journeys: &[JourneyDefinition], now: EventTime) -> Vec<Act> {
    let changes = Changes::between(remembered, journeys, now);
    let act = |index: usize, what: String| Act {
        action: "journey_change",
        target: format!("journey {} version {}", journeys[index].id, journeys[index].version),
        details: vec![("what", what)],
    };
    let new = changes.new.iter().map(|index| act(*index, "loaded for the first time".to_owned()));
    let corrected = changes.corrected.iter().map(|(index, what)| act(*index, what.join("; ")));
    new.chain(corrected).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_an_act_when_it_is_new_and_none_when_it_is_known() {
        let config = crate::config::load(&crate::cli::ConfigArgs::default()).expect("the defaults are valid");
        let now = EventTime(1_795_392_000_000);
        let acts = acts_of(&[], &config.journeys, now);
        assert_eq!(acts.len(), 1);
        assert_eq!((acts[0].action, acts[0].target.as_str()), ("journey_change", "journey onboarding version 1"));
        let known: Vec<_> = config.journeys.iter().map(|journey| Remembered::of(journey, now, false)).collect();
        assert_eq!(acts_of(&known, &config.journeys, now), []);
    }

    #[test]
    fn an_entry_says_who_did_what() {
        let act = Act { action: "topics_apply", target: "topic t".into(), details: vec![("partitions", "12".into())] };
        let entry = entry("ada", act, EventTime(7));
        assert_eq!((&*entry.actor, &*entry.action, &*entry.target), ("ada", "topics_apply", "topic t"));
        assert_eq!(entry.details["partitions"], "12");
    }
}
