//! The receivers: who can be told, and what each kind needs to know.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use service_kit::config::{HumanDuration, Secret};

/// One who can be told. Exactly one of the kinds is set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverConfig {
    pub name: String,
    /// Who is told instead while this receiver is dead, or has failed for [`DeliveryConfig::fallback_after`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// Overrides how many notifications it is sent a minute at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_minute: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<SlackConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pagerduty: Option<PagerDutyConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<AlertmanagerConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogReceiverConfig>,
}

/// How all receivers are treated that fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryConfig {
    /// After so many failures in a row a receiver is left alone for a while.
    pub break_after: u32,
    /// The first pause of a receiver that is left alone, and the shortest between two looks at a dead one; each
    /// failed look doubles it.
    pub break_pause: HumanDuration,
    /// … up to this.
    pub longest_pause: HumanDuration,
    /// A receiver that has failed for so long is stood in for by its fallback.
    pub fallback_after: HumanDuration,
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

/// Slack: an incoming webhook (`api_url` alone), or the Web API (`token` and `channel`), which can change a message in
/// place and has buttons.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackConfig {
    /// The webhook's address; with a `token`, the Web API's.
    #[serde(alias = "url")]
    pub api_url: Option<Secret>,
    /// The app's bot token (`xoxb-…`): the Web API is used.
    pub token: Option<Secret>,
    /// The channel's id; for a webhook it overrides the webhook's own channel, where Slack still allows that.
    pub channel: Option<String>,
    /// The app's signing secret: messages get buttons, and what is pressed is believed when it is signed with it.
    pub signing_secret: Option<Secret>,
    /// An answer that takes longer counts as none.
    #[serde(default = "default_timeout")]
    pub timeout: HumanDuration,
}

/// `PagerDuty`'s Events API v2.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerDutyConfig {
    /// The integration key of the service, 32 characters.
    pub routing_key: Secret,
    /// Where events are sent; the EU's is `https://events.eu.pagerduty.com/v2/enqueue`.
    #[serde(default = "default_pagerduty_url")]
    pub url: Secret,
    /// An answer that takes longer counts as none.
    #[serde(default = "default_timeout")]
    pub timeout: HumanDuration,
}

/// Mail over SMTP.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailConfig {
    /// The server, `host:port`.
    pub smarthost: String,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: EmailTls,
    /// Certificates to trust besides the system's, PEM.
    pub ca_file: Option<PathBuf>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// The sender, `ttf@example.com` or `TTF <ttf@example.com>`. Its domain is that of the messages' ids.
    pub from: String,
    pub to: Vec<String>,
    /// A conversation that takes longer counts as failed.
    #[serde(default = "default_timeout")]
    pub timeout: HumanDuration,
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmailTls {
    /// STARTTLS, which the server must offer (port 587).
    #[default]
    Starttls,
    /// TLS from the first byte (port 465).
    Tls,
    /// Not at all; refused together with a password.
    None,
}

/// An Alertmanager that takes alerts as Prometheus sends them, `POST /api/v2/alerts`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerConfig {
    /// Its address, without `/api/v2/alerts`.
    pub url: Secret,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub bearer_token: Option<Secret>,
    /// Alertmanager ends an alert that is not sent again: so long it counts as firing unless its end is told.
    #[serde(default = "default_firing_for")]
    pub firing_for: HumanDuration,
    /// An answer that takes longer counts as none.
    #[serde(default = "default_timeout")]
    pub timeout: HumanDuration,
}

/// A line in the process's own log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogReceiverConfig {}

fn default_timeout() -> HumanDuration {
    HumanDuration::from_secs(10)
}

fn default_firing_for() -> HumanDuration {
    HumanDuration::from_secs(30 * 86_400)
}

fn default_pagerduty_url() -> Secret {
    Secret::new("https://events.pagerduty.com/v2/enqueue")
}
