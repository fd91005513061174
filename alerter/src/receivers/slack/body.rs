//! A notification as a Slack message, within Slack's limits:
//! <https://docs.slack.dev/reference/block-kit/blocks/>.

use serde_json::{Value, json};

use crate::message::{Message, clip};

/// Characters of a header block.
const MAX_HEADER: usize = 150;
/// Characters of a section's text.
const MAX_SECTION: usize = 3_000;
/// Bytes of the whole message; Slack's limit is 10 000 characters.
const MAX_MESSAGE: usize = 9_500;
/// Alerts that are shown one by one; the others are counted.
const MAX_ALERTS: usize = 10;

/// The message's JSON. As many alerts are shown as fit.
pub fn body(message: &Message, channel: Option<&str>) -> Value {
    let mut shown = message.people.len().min(MAX_ALERTS);
    loop {
        let body = with_alerts(message, channel, shown);
        if shown == 0 || body.to_string().len() <= MAX_MESSAGE {
            return body;
        }
        shown -= 1;
    }
}

fn with_alerts(message: &Message, channel: Option<&str>, shown: usize) -> Value {
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": clip(&message.slack.title, MAX_HEADER), "emoji": false},
    })];
    for person in &message.people[..shown] {
        blocks.push(section(&person.slack));
    }
    if shown < message.people.len() {
        blocks.push(section(&format!("… and {} more", message.people.len() - shown)));
    }
    blocks.push(json!({
        "type": "context",
        "elements": [{"type": "mrkdwn", "text": clip(&message.slack.footer, MAX_SECTION)}],
    }));
    let mut body = json!({"text": clip(&message.slack.fallback, MAX_SECTION), "blocks": blocks});
    if let Some(channel) = channel {
        body["channel"] = channel.into();
    }
    body
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": clip(text, MAX_SECTION)}})
}
