//! What is past its time, for whom. Pure.

use std::collections::BTreeSet;

use serde::Serialize;
use service_kit::config::HumanDuration;
use telemetry_schemas::time::EventTime;

use crate::{
    config::{RetentionConfig, TenantRetention},
    objects::{
        bucket::Rule,
        names::{Dataset, Names},
    },
};

const DAY_MS: i64 = 86_400_000;

/// Kinds of data, each with its own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Raw events in the database.
    Realtime,
    /// Records, stages and breaches in the database.
    Analytics,
    /// The object archive.
    Compliance,
}

impl Class {
    /// The tables of the class, those first whose rows are found by others.
    pub const fn tables(self) -> &'static [Table] {
        match self {
            Self::Realtime => &[Table::Events],
            Self::Analytics => &[
                Table::Records,
                Table::StageDurations,
                Table::Breaches,
                Table::BreachStatus,
                Table::Journeys,
                Table::Rollups,
            ],
            Self::Compliance => &[],
        }
    }
}

/// A table with a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Events,
    Records,
    StageDurations,
    Breaches,
    BreachStatus,
    Journeys,
    /// Stages by hour and day. They go by themselves with the stages they are made of, but for those whose partition or
    /// chunk was dropped as a whole.
    Rollups,
}

impl Table {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Records => "ttf_records",
            Self::StageDurations => "stage_durations",
            Self::Breaches => "breaches",
            Self::BreachStatus => "breach_status",
            Self::Journeys => "journeys",
            Self::Rollups => "stage_rollups",
        }
    }

    /// The column that says how old a row is.
    pub const fn time(self) -> &'static str {
        match self {
            Self::Events => "occurred_at",
            Self::Rollups => "bucket",
            _ => "signup_at",
        }
    }

    /// The column that says when a row came, by which the archive has its days.
    pub const fn written(self) -> &'static str {
        match self {
            Self::Events => "received_at",
            Self::Records | Self::Journeys => "emitted_at",
            Self::Breaches | Self::BreachStatus => "detected_at",
            // Has none; it is made of the newest record, which is older than its stages' ends.
            Self::StageDurations | Self::Rollups => "COALESCE(to_at, from_at, signup_at)",
        }
    }
}

/// Whose data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Only(String),
    /// Everybody else's.
    AllBut(Vec<String>),
}

impl Scope {
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Only(tenant) => Some(tenant),
            Self::AllBut(_) => None,
        }
    }

    pub fn others(&self) -> &[String] {
        match self {
            Self::Only(_) => &[],
            Self::AllBut(others) => others,
        }
    }

    pub fn includes(&self, tenant: &str) -> bool {
        match self {
            Self::Only(only) => only == tenant,
            Self::AllBut(others) => !others.iter().any(|other| other == tenant),
        }
    }
}

/// Something that is past its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub class: Class,
    pub scope: Scope,
    pub keep_days: i64,
    pub before: EventTime,
}

/// Rows of one table to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    pub table: Table,
    pub scope: Scope,
    /// Older than this…
    pub before: EventTime,
    /// … and come before this: what came later is not archived and verified.
    pub written_before: EventTime,
}

/// What of the database is past its time.
pub fn due(config: &RetentionConfig, now: EventTime) -> Vec<Due> {
    let of_class = |class| due_of(config, class, now);
    [Class::Realtime, Class::Analytics].into_iter().flat_map(of_class).collect()
}

/// What of the objects is past its time.
pub fn due_objects(config: &RetentionConfig, now: EventTime) -> Vec<Due> {
    due_of(config, Class::Compliance, now)
}

fn due_of(config: &RetentionConfig, class: Class, now: EventTime) -> Vec<Due> {
    let entry = |scope, keep: HumanDuration| Due {
        class,
        scope,
        keep_days: keep.millis() / DAY_MS,
        before: EventTime(now.0.saturating_sub(keep.millis())),
    };
    let own = |tenant: &TenantRetention| match class {
        Class::Realtime => tenant.realtime,
        Class::Analytics => tenant.analytics,
        Class::Compliance => tenant.compliance,
    };
    let everybodys = match class {
        Class::Realtime => config.realtime,
        Class::Analytics => config.analytics,
        Class::Compliance => config.compliance,
    };
    let tenants: Vec<(&String, HumanDuration)> =
        config.tenants.iter().filter_map(|(tenant, retention)| Some((tenant, own(retention)?))).collect();
    let others = tenants.iter().map(|(tenant, _)| (*tenant).clone()).collect();
    let mut due: Vec<Due> = tenants.iter().map(|(tenant, keep)| entry(Scope::Only((*tenant).clone()), *keep)).collect();
    due.push(entry(Scope::AllBut(others), everybodys));
    due
}

/// The lifecycle rules of the bucket, in the order of their ids. Where rules overlap S3 takes the shortest, so a tenant
/// that keeps longer than the others makes rules for each tenant by itself necessary.
pub fn lifecycle(config: &RetentionConfig, names: &Names, tenants: &BTreeSet<String>) -> Vec<Rule> {
    let days = |keep: HumanDuration| u32::try_from((keep.millis() + DAY_MS - 1) / DAY_MS).unwrap_or(u32::MAX).max(1);
    let keep = |tenant: &str| config.tenants.get(tenant).and_then(|own| own.compliance).unwrap_or(config.compliance);
    let somebody_keeps_longer = tenants.iter().any(|tenant| keep(tenant) > config.compliance);
    let rule = |id: String, folder: String, days| Rule {
        id,
        prefix: format!("{folder}/"),
        expire_after_days: days,
        sweeps: true,
    };
    let mut rules = vec![rule("ttf-staging".to_owned(), format!("{}_staging", names.prefix()), 1)];
    for dataset in Dataset::ALL {
        if !somebody_keeps_longer {
            let folder = names.dataset_folder(dataset, None).to_string();
            rules.push(rule(format!("ttf-{dataset}"), folder, days(config.compliance)));
        }
        for tenant in tenants.iter().filter(|tenant| somebody_keeps_longer || keep(tenant) < config.compliance) {
            let folder = names.dataset_folder(dataset, Some(tenant)).to_string();
            rules.push(rule(format!("ttf-{dataset}-{}", short(tenant)), folder, days(keep(tenant))));
        }
    }
    rules.sort_by(|a, b| a.id.cmp(&b.id));
    rules
}

/// A rule's id has few characters, a tenant's name may have many.
fn short(tenant: &str) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(&Sha256::digest(tenant.as_bytes())[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: EventTime = EventTime(1_795_000_000_000);

    fn config(tenants: serde_json::Value) -> RetentionConfig {
        let config =
            serde_json::json!({"realtime": "30d", "analytics": "365d", "compliance": "2557d", "tenants": tenants});
        serde_json::from_value(config).expect("a retention")
    }

    #[test]
    fn a_tenant_with_its_own_time_is_left_out_of_everybody_elses() {
        let due = due(&config(serde_json::json!({"acme": {"realtime": "7d"}})), NOW);
        let seen: Vec<_> = due.iter().map(|due| (due.class, due.scope.tenant(), due.keep_days)).collect();
        assert_eq!(
            seen,
            [(Class::Realtime, Some("acme"), 7), (Class::Realtime, None, 30), (Class::Analytics, None, 365)]
        );
        assert!(!due[1].scope.includes("acme") && due[1].scope.includes("other") && due[2].scope.includes("acme"));
        assert_eq!(due[0].before, EventTime(NOW.0 - 7 * DAY_MS));
    }

    #[test]
    fn rules_for_everybody_do_until_a_tenant_keeps_longer() {
        let names = Names::below("archive");
        let tenants: BTreeSet<String> = ["acme".to_owned(), "bank".to_owned()].into();
        let prefixes = |tenants_config| {
            let rules = lifecycle(&config(tenants_config), &names, &tenants);
            assert!(rules.iter().all(|rule| rule.sweeps), "a locked bucket keeps versions, a killed process parts");
            let events = rules.into_iter().filter(|rule| rule.prefix.contains("=events"));
            events.map(|rule| (rule.prefix, rule.expire_after_days)).collect::<BTreeSet<_>>()
        };
        let all = ("archive/dataset=events/".to_owned(), 2_557);
        let of = |tenant: &str, days| (format!("archive/dataset=events/tenant={tenant}/"), days);
        assert_eq!(prefixes(serde_json::json!({})), [all.clone()].into());
        assert_eq!(prefixes(serde_json::json!({"acme": {"compliance": "90d"}})), [all, of("acme", 90)].into());
        assert_eq!(
            prefixes(serde_json::json!({"bank": {"compliance": "3650d"}})),
            [of("acme", 2_557), of("bank", 3_650)].into()
        );
    }
}
