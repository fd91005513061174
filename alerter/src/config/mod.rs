//! Section `alerter` of the configuration. The words of routes and receivers are Alertmanager's.

mod check;
mod checks;
mod hours;
mod intervals;
mod matcher;
mod quiet;
mod receivers;
mod receivers_check;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use service_kit::config::{ByteSize, HumanDuration, Secret};
use stream_runtime::keyed::RuntimeConfig;

pub use self::{
    check::{ConfigErrors, LABELS, is_label, is_mutable_label},
    checks::{ApplicationChecks, ChecksConfig, CohortChecks, PipelineChecks},
    hours::{Closed, Hours},
    intervals::TimeInterval,
    matcher::{Comparison, Matcher, MatcherError},
    quiet::{EscalationStep, InhibitRule, Maintenance},
    receivers::{
        AlertmanagerConfig, DeliveryConfig, EmailConfig, EmailTls, LogReceiverConfig, PagerDutyConfig, ReceiverConfig,
        SlackConfig, WebhookConfig,
    },
};

/// Who is told of breaches, when, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlerterConfig {
    /// Stable identity of this process among the alerters; `auto`: the number at the end of the host's name.
    pub ordinal: String,
    /// Folder of the local state; used by one process at a time. Losing it costs a restore, no data.
    pub state_dir: PathBuf,
    /// A decision is committed at the latest after this time.
    pub commit_interval: HumanDuration,
    /// Where people reach this installation; links in messages begin with it.
    pub external_url: Option<String>,
    /// Template of the address that shows a user's journey; knows `external_url`, `tenant`, `journey`, `user`,
    /// `attempt`. Without one, links lead to `external_url`.
    pub journey_url: Option<String>,
    /// Template of the address of what to do about an alert; knows `level` and `stage` as well.
    pub runbook_url: Option<String>,
    /// A folder with templates of one's own; they stand in for those of the same name.
    pub templates: Option<PathBuf>,
    /// How users are named in messages.
    pub user_ids: UserIds,
    /// Key of the hash in which users are named.
    pub user_id_key: Option<Secret>,
    /// A breach found, or a notification written, longer ago than this is not told any more.
    pub max_notification_age: HumanDuration,
    /// A group that has heard of nothing new for this long is dropped without a word.
    pub forget_after: HumanDuration,
    /// What was decided about a group is shown so long after its end.
    pub keep_history: HumanDuration,
    /// Times that routes refer to by name.
    pub time_intervals: Vec<TimeInterval>,
    pub inhibit_rules: Vec<InhibitRule>,
    /// Silences that are known beforehand.
    pub maintenance: Vec<Maintenance>,
    /// What is alerted on besides deadlines.
    pub checks: ChecksConfig,
    /// The root of the routing tree: it matches everything.
    pub route: RouteConfig,
    pub receivers: Vec<ReceiverConfig>,
    /// How receivers are treated that fail.
    pub delivery: DeliveryConfig,
}

/// How users are named in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserIds {
    /// By a keyed hash.
    Hashed,
    /// By the id the product sent.
    Plain,
}

/// One node of the routing tree. What a route leaves out it takes from the route around it, but for `matchers`,
/// `continue` and the time intervals.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    pub receiver: Option<String>,
    /// Labels by which alerts are put together: alerts that agree in them all are one group.
    pub group_by: Option<Vec<String>>,
    /// How long a change of a group waits for others that belong with it.
    pub group_wait: Option<HumanDuration>,
    /// How long after a notification the group's next one may follow.
    pub group_interval: Option<HumanDuration>,
    /// When a notification is sent again although nothing has changed.
    pub repeat_interval: Option<RepeatInterval>,
    /// Who is told, too, when nobody acknowledges.
    pub escalation: Option<Vec<EscalationStep>>,
    /// Nothing is told outside these intervals; not inherited.
    #[serde(default)]
    pub active_time_intervals: Vec<String>,
    /// Nothing is told in these intervals; not inherited.
    #[serde(default)]
    pub mute_time_intervals: Vec<String>,
    /// All of them have to match.
    #[serde(default)]
    pub matchers: Vec<Matcher>,
    /// Whether the routes after this one are looked at, too, when it matches.
    #[serde(default, rename = "continue")]
    pub goes_on: bool,
    #[serde(default)]
    pub routes: Vec<RouteConfig>,
}

/// A duration, or `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepeatInterval {
    Never,
    Every(HumanDuration),
}

impl AlerterConfig {
    /// The keyed runtime's settings. The alerter sees thousands of records a second at the very most, so only
    /// what depends on the installation is configurable.
    pub(crate) fn runtime(&self) -> RuntimeConfig {
        RuntimeConfig {
            ordinal: self.ordinal(std::env::var("HOSTNAME").ok().as_deref()),
            workers: 1,
            state_dir: self.state_dir.clone(),
            commit_interval: self.commit_interval,
            commit_records: 5_000,
            commit_bytes: ByteSize::from_bytes(8 << 20),
            cache: ByteSize::from_bytes(16 << 20),
            timer_grace: HumanDuration::from_millis(0),
            poison_share: 0.5,
            poison_minimum: 100,
            prefetch: ByteSize::from_bytes(4 << 20),
        }
    }

    /// The configured ordinal, or with `auto` the number a stateful set gave the host (`ttf-alerter-1` → `1`),
    /// `0` where there is none.
    fn ordinal(&self, hostname: Option<&str>) -> String {
        stream_runtime::keyed::ordinal(&self.ordinal, hostname)
    }
}

impl<'de> Deserialize<'de> for RepeatInterval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "never" {
            return Ok(Self::Never);
        }
        match text.parse::<HumanDuration>() {
            Ok(interval) if interval.millis() > 0 => Ok(Self::Every(interval)),
            _ => Err(de::Error::custom("expected a duration greater than zero, such as `4h`, or `never`")),
        }
    }
}

impl Serialize for RepeatInterval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for RepeatInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Every(interval) => interval.fmt(f),
        }
    }
}
