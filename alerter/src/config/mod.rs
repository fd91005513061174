//! Section `alerter` of the configuration. The words of routes and receivers are Alertmanager's.

mod check;
mod matcher;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use service_kit::config::{ByteSize, HumanDuration, Secret};
use stream_runtime::keyed::RuntimeConfig;

pub use self::{
    check::{ConfigErrors, LABELS},
    matcher::{Comparison, Matcher, MatcherError},
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
    /// How users are named in messages.
    pub user_ids: UserIds,
    /// Key of the hash in which users are named.
    pub user_id_key: Option<Secret>,
    /// A breach found, or a notification written, longer ago than this is not told any more.
    pub max_notification_age: HumanDuration,
    /// A group that has heard of nothing new for this long is dropped without a word.
    pub forget_after: HumanDuration,
    /// The root of the routing tree: it matches everything.
    pub route: RouteConfig,
    pub receivers: Vec<ReceiverConfig>,
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

/// One node of the routing tree. What a route leaves out it takes from the route around it, but for `matchers`
/// and `continue`.
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

/// One who can be told. Exactly one of the kinds is set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverConfig {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<SlackConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogReceiverConfig>,
}

/// A signed HTTP POST with the body Alertmanager sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    pub url: Secret,
    /// Key of the signature in `X-Ttf-Signature`; without one, requests are not signed.
    pub secret: Option<Secret>,
    /// An answer that takes longer counts as none.
    #[serde(default = "default_timeout")]
    pub timeout: HumanDuration,
    /// At most this many alerts in a body, the others are counted in `truncatedAlerts`; 0: all.
    #[serde(default)]
    pub max_alerts: usize,
}

/// A Slack incoming webhook, or anything that takes the same requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackConfig {
    #[serde(alias = "url")]
    pub api_url: Secret,
    /// Overrides the webhook's own channel, where Slack still allows that.
    pub channel: Option<String>,
    /// An answer that takes longer counts as none.
    #[serde(default = "default_timeout")]
    pub timeout: HumanDuration,
}

/// A line in the process's own log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogReceiverConfig {}

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

fn default_timeout() -> HumanDuration {
    HumanDuration::from_secs(10)
}
