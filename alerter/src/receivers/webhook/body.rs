//! Alertmanager's webhook body, version 4:
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>.

use serde::Serialize;
use telemetry_schemas::{BreachStatus, EventTime};

use crate::{
    message::{Alert, Message},
    route::Labels,
};

/// What Alertmanager writes for a time that is not known.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// The whole body.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Body<'a> {
    version: &'static str,
    group_key: &'a str,
    truncated_alerts: usize,
    status: &'static str,
    receiver: &'a str,
    group_labels: &'a Labels,
    common_labels: Labels,
    common_annotations: Labels,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    alerts: Vec<AlertBody<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertBody<'a> {
    status: &'static str,
    labels: &'a Labels,
    annotations: &'a Labels,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: &'a str,
}

impl<'a> Body<'a> {
    /// At most `max_alerts` alerts are shown, all of them for 0.
    pub fn new(message: &'a Message, max_alerts: usize) -> Self {
        let shown = if max_alerts == 0 { message.alerts.len() } else { max_alerts.min(message.alerts.len()) };
        let external_url = message.external_url.as_deref().unwrap_or_default();
        Self {
            version: "4",
            group_key: &message.group_key,
            truncated_alerts: message.alerts.len() - shown + message.left_out,
            status: message.status.as_str(),
            receiver: &message.receiver,
            group_labels: &message.group_labels,
            common_labels: common(message.alerts.iter().map(|alert| &alert.labels)),
            common_annotations: common(message.alerts.iter().map(|alert| &alert.annotations)),
            external_url,
            alerts: message.alerts[..shown].iter().map(|alert| AlertBody::new(alert, external_url)).collect(),
        }
    }
}

impl<'a> AlertBody<'a> {
    fn new(alert: &'a Alert, external_url: &'a str) -> Self {
        let ended = (alert.status == BreachStatus::Resolved).then_some(alert.detected_at);
        Self {
            status: alert.status.as_str(),
            labels: &alert.labels,
            annotations: &alert.annotations,
            starts_at: alert.due_at.to_rfc3339(),
            ends_at: ended.map_or_else(|| NO_TIME.to_owned(), EventTime::to_rfc3339),
            generator_url: external_url,
            fingerprint: &alert.fingerprint,
        }
    }
}

/// What all of them agree in.
fn common<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let Some(first) = all.next() else { return Labels::new() };
    let mut common = first.clone();
    for labels in all {
        common.retain(|name, value| labels.get(name) == Some(value));
    }
    common
}
