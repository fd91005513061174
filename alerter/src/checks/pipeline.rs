//! Whether events come in, are taken, and are worked off; by how far topics and groups have come. Pure.

use std::collections::{BTreeMap, VecDeque};

use service_kit::config::HumanDuration;
use telemetry_schemas::{BreachKind, BreachLevel, EventTime, Millis};

use super::watch::Finding;
use crate::config::PipelineChecks;

/// Tenant of what concerns the installation.
pub const TENANT: &str = "default";
/// Journey of what concerns the installation.
pub const JOURNEY: &str = "pipeline";

/// How far a group has come on a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub group: &'static str,
    pub topic: &'static str,
    pub partition: i32,
    /// Everything before it is processed.
    pub next: i64,
    pub end: i64,
    /// The first record that is still kept at the limit of the headroom: what is before it will be deleted soon. `None`:
    /// not asked, because nothing waits, or age deletes nothing.
    pub endangered_before: Option<i64>,
}

/// One look at the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub at: EventTime,
    /// Sum of the end offsets of events that were taken.
    pub events: i64,
    /// And of those that were rejected.
    pub rejected: i64,
    pub places: Vec<Place>,
}

/// The looks of the longest time that anything is judged by.
#[derive(Default)]
pub struct Pipeline {
    samples: VecDeque<Sample>,
    /// When events were last seen to come in.
    moved_at: Option<EventTime>,
}

impl Pipeline {
    /// Takes a look in and judges.
    pub fn look(&mut self, sample: Sample, config: &PipelineChecks) -> Vec<Finding> {
        let now = sample.at;
        if self.samples.back().is_some_and(|last| last.events < sample.events) {
            self.moved_at = Some(now);
        }
        // A clock that was set back begins anew.
        if self.samples.back().is_some_and(|last| last.at > now) {
            self.samples.clear();
        }
        self.samples.push_back(sample);
        let keep = config.window.millis().max(config.lag.millis());
        while self.samples.get(1).is_some_and(|second| now.since(second.at) >= Millis(keep)) {
            self.samples.pop_front();
        }
        let mut findings = vec![self.stopped(now, config)];
        findings.extend(self.rejected(now, config));
        findings.extend(self.behind(now, config));
        findings
    }

    fn ago(&self, now: EventTime, time: HumanDuration) -> Option<&Sample> {
        self.samples.iter().rev().find(|sample| now.since(sample.at) >= Millis(time.millis()))
    }

    fn stopped(&self, now: EventTime, config: &PipelineChecks) -> Finding {
        let quiet = self.moved_at.map(|moved| now.since(moved));
        let is_bad = quiet.is_some_and(|quiet| quiet >= Millis(config.ingestion_stopped.millis()));
        let minutes = quiet.map_or(0, |quiet| quiet.0 / 60_000);
        finding(
            "TtfIngestionStopped",
            is_bad,
            BreachLevel::Critical,
            &[],
            &format!("No event was taken in for {minutes} min"),
        )
    }

    fn rejected(&self, now: EventTime, config: &PipelineChecks) -> Option<Finding> {
        let (then, last) = (self.ago(now, config.window)?, self.samples.back()?);
        let (taken, rejected) = (last.events - then.events, last.rejected - then.rejected);
        let all = taken + rejected;
        #[allow(clippy::cast_precision_loss)]
        let share = if all > 0 { rejected as f64 / all as f64 } else { 0.0 };
        let is_bad = all >= config.minimum_volume && share >= config.rejected_share;
        let summary = format!("{:.0} % of {all} records were rejected in the last {}", share * 100.0, config.window);
        Some(finding("TtfRejectedShareHigh", is_bad, BreachLevel::Warning, &[], &summary))
    }

    /// A group is behind by `lag` when it has not processed what was there that long ago.
    fn behind(&self, now: EventTime, config: &PipelineChecks) -> Vec<Finding> {
        let Some(last) = self.samples.back() else { return Vec::new() };
        let then = self.ago(now, config.lag);
        let mut worst: BTreeMap<(&str, &str), (i64, bool, bool)> = BTreeMap::new();
        for place in &last.places {
            let end_then = then.and_then(|sample| {
                let same = |other: &&Place| {
                    (other.group, other.topic, other.partition) == (place.group, place.topic, place.partition)
                };
                sample.places.iter().find(same).map(|other| other.end)
            });
            let is_behind = end_then.is_some_and(|end| place.next < end);
            let is_endangered =
                place.next < place.end && place.endangered_before.is_some_and(|before| place.next < before);
            let known = worst.entry((place.group, place.topic)).or_default();
            known.0 += (place.end - place.next).max(0);
            known.1 |= is_behind;
            known.2 |= is_endangered;
        }
        let mut findings = Vec::new();
        for ((group, topic), (records, is_behind, is_endangered)) in worst {
            let labels = [("group", group), ("topic", topic)];
            let lag = format!("{group} is more than {} behind on {topic}: {records} records wait", config.lag);
            findings.push(finding("TtfPipelineLag", is_behind, BreachLevel::Warning, &labels, &lag));
            let headroom = format!(
                "{group} has not read records of {topic} that will be deleted within {}: {records} wait",
                config.headroom
            );
            findings.push(finding("TtfRetentionHeadroomLow", is_endangered, BreachLevel::Critical, &labels, &headroom));
        }
        findings
    }
}

fn finding(name: &str, is_bad: bool, level: BreachLevel, labels: &[(&str, &str)], summary: &str) -> Finding {
    let own = [("alertname", name), ("check", "pipeline")];
    let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Finding {
        kind: BreachKind::Pipeline,
        tenant: TENANT.to_owned(),
        journey: JOURNEY.to_owned(),
        level,
        labels: own.into_iter().chain(labels.iter().copied()).map(text).collect(),
        stage: None,
        segments: BTreeMap::new(),
        is_bad,
        annotations: BTreeMap::from([("summary".to_owned(), summary.to_owned())]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> PipelineChecks {
        crate::testing::config("").checks.pipeline.expect("on by default")
    }

    fn sample(minute: i64, events: i64, rejected: i64, next: i64) -> Sample {
        let place = Place {
            group: "ttf-processor",
            topic: "telemetry.events.v1",
            partition: 0,
            next,
            end: events,
            endangered_before: None,
        };
        Sample { at: EventTime(minute * 60_000), events, rejected, places: vec![place] }
    }

    fn bad(samples: impl IntoIterator<Item = Sample>) -> Vec<String> {
        let mut pipeline = Pipeline::default();
        let mut last = Vec::new();
        for sample in samples {
            last = pipeline.look(sample, &config());
        }
        last.into_iter().filter(|finding| finding.is_bad).map(|finding| finding.labels["alertname"].clone()).collect()
    }

    #[test]
    fn ingestion_that_never_began_has_not_stopped() {
        assert_eq!(bad((0..60).map(|minute| sample(minute, 500, 0, 500))), Vec::<String>::new());
    }

    #[test]
    fn ingestion_that_stopped_is_told_after_its_time() {
        let until = |last: i64| (0..=last).map(|minute| sample(minute, minute.min(10) * 100, 0, minute.min(10) * 100));
        assert_eq!(bad(until(24)), Vec::<String>::new());
        assert_eq!(bad(until(25)), ["TtfIngestionStopped"]);
    }

    #[test]
    fn a_rejected_share_counts_within_its_window_and_with_enough_records() {
        let busy =
            |rejected: i64| (0..20).map(move |minute| sample(minute, minute * 100, minute * rejected, minute * 100));
        assert_eq!(bad(busy(20)), Vec::<String>::new());
        assert_eq!(bad(busy(30)), ["TtfRejectedShareHigh"]);
        assert_eq!(bad((0..20).map(|minute| sample(minute, minute, minute, minute))), Vec::<String>::new());
    }

    #[test]
    fn a_group_is_behind_when_what_was_there_long_ago_still_waits() {
        let with = |behind: i64| (0..20).map(move |minute| sample(minute, minute * 100, 0, (minute - behind) * 100));
        assert_eq!(bad(with(4)), Vec::<String>::new());
        assert_eq!(bad(with(6)), ["TtfPipelineLag"]);
    }

    #[test]
    fn what_waits_and_will_be_deleted_is_told() {
        let mut waiting = sample(1, 100, 0, 10);
        waiting.places[0].endangered_before = Some(11);
        assert_eq!(bad([sample(0, 100, 0, 10), waiting.clone()]), ["TtfRetentionHeadroomLow"]);
        waiting.places[0].endangered_before = Some(10);
        assert_eq!(bad([sample(0, 100, 0, 10), waiting]), Vec::<String>::new());
    }
}
