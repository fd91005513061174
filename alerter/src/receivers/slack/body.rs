//! A notification as a Slack message, within Slack's limits:
//! <https://docs.slack.dev/reference/block-kit/blocks/>.

use serde_json::{Value, json};
use telemetry_schemas::BreachStatus;

use super::interactions::{ACKNOWLEDGE, SILENCE};
use crate::message::{Message, clip};

/// Characters of a header block.
const MAX_HEADER: usize = 150;
/// Characters of a section's text.
const MAX_SECTION: usize = 3_000;
/// Characters of a button's value.
const MAX_VALUE: usize = 2_000;
/// Bytes of the whole message; Slack's limit is 10 000 characters.
const MAX_MESSAGE: usize = 9_500;
/// Alerts that are shown one by one; the others are counted.
const MAX_ALERTS: usize = 10;

/// Whether people can press something.
#[derive(Debug, Clone, Copy)]
pub enum Buttons<'a> {
    None,
    /// They come back with the name of this receiver.
    Of(&'a str),
}

/// The message's JSON. As many alerts are shown as fit.
pub fn body(message: &Message, channel: Option<&str>, buttons: Buttons<'_>) -> Value {
    let mut shown = message.people.len().min(MAX_ALERTS);
    loop {
        let body = with_alerts(message, channel, buttons, shown);
        if shown == 0 || body.to_string().len() <= MAX_MESSAGE {
            return body;
        }
        shown -= 1;
    }
}

fn with_alerts(message: &Message, channel: Option<&str>, buttons: Buttons<'_>, shown: usize) -> Value {
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": clip(&message.slack.title, MAX_HEADER), "emoji": false},
    })];
    if let Some(overview) = &message.slack.overview {
        blocks.push(section(overview));
    }
    for person in &message.people[..shown] {
        blocks.push(section(&person.slack));
    }
    let more = message.people.len() - shown + message.left_out;
    if more > 0 {
        blocks.push(section(&format!("… and {more} more")));
    }
    blocks.push(json!({
        "type": "context",
        "elements": [{"type": "mrkdwn", "text": clip(&message.slack.footer, MAX_SECTION)}],
    }));
    if let Buttons::Of(receiver) = buttons
        && message.is_actionable
        && message.status == BreachStatus::Firing
        && message.group_key.chars().count() <= MAX_VALUE
    {
        blocks.push(json!({
            "type": "actions",
            "block_id": format!("ttf:{receiver}"),
            "elements": [
                button(ACKNOWLEDGE, "Acknowledge", &message.group_key, Some("primary")),
                button(SILENCE, "Silence 4 h", &message.group_key, None),
            ],
        }));
    }
    let mut body = json!({"text": clip(&message.slack.fallback, MAX_SECTION), "blocks": blocks});
    if let Some(channel) = channel {
        body["channel"] = channel.into();
    }
    body
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": clip(text, MAX_SECTION)}})
}

fn button(action: &str, text: &str, value: &str, style: Option<&str>) -> Value {
    let mut button = json!({
        "type": "button",
        "action_id": action,
        "text": {"type": "plain_text", "text": text, "emoji": false},
        "value": value,
    });
    if let Some(style) = style {
        button["style"] = style.into();
    }
    button
}
