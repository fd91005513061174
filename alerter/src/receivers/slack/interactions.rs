//! What people press in Slack: <https://docs.slack.dev/interactivity/handling-user-interaction>. Slack signs each
//! request with the app's signing secret: <https://docs.slack.dev/authentication/verifying-requests-from-slack>.
//! Pure: the time comes in as an argument.

use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use telemetry_schemas::{
    EventTime, Millis,
    alert::{AlertAction, AlertCommand},
};

/// `action_id` of the button that takes an alert.
pub const ACKNOWLEDGE: &str = "ttf_acknowledge";
/// `action_id` of the button that silences a group for [`SILENCE_FOR`].
pub const SILENCE: &str = "ttf_silence";

/// How long the button silences.
pub const SILENCE_FOR: Millis = Millis(4 * 3_600_000);

/// A request older than this may have been recorded and sent again.
const MAX_AGE_SECONDS: i64 = 300;

/// Why a request is not believed, or not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("the request is not signed by Slack with this app's secret")]
    NotSigned,
    #[error("the request is too old, or a clock is wrong")]
    TooOld,
    #[error("the request is no press of one of our buttons")]
    NotUnderstood,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    user: User,
    actions: Vec<Action>,
    response_url: Option<String>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    username: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Action {
    #[serde(rename = "action_id")]
    id: String,
    value: Option<String>,
    #[serde(rename = "action_ts")]
    ts: Option<String>,
}

/// What was pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pressed {
    pub commands: Vec<AlertCommand>,
    /// Where Slack takes an answer for the one who pressed.
    pub response_url: Option<String>,
}

/// Checks `X-Slack-Signature` (`v0=<hex>`) of a body sent at `X-Slack-Request-Timestamp`.
pub fn check(secret: &[u8], timestamp: &str, signature: &str, body: &[u8], now: EventTime) -> Result<(), Unusable> {
    let sent: i64 = timestamp.parse().map_err(|_| Unusable::NotSigned)?;
    let given = signature.strip_prefix("v0=").and_then(|hex| hex::decode(hex).ok()).ok_or(Unusable::NotSigned)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| Unusable::NotSigned)?;
    mac.update(format!("v0:{timestamp}:").as_bytes());
    mac.update(body);
    // In constant time.
    mac.verify_slice(&given).map_err(|_| Unusable::NotSigned)?;
    if (now.0.div_euclid(1_000) - sent).abs() > MAX_AGE_SECONDS {
        return Err(Unusable::TooOld);
    }
    Ok(())
}

/// The commands in the form field `payload` of a request that was checked. The same press, sent again by Slack, makes
/// the same commands.
pub fn read(payload: &str, now: EventTime) -> Result<Pressed, Unusable> {
    let payload: Payload = serde_json::from_str(payload).map_err(|_| Unusable::NotUnderstood)?;
    if payload.kind != "block_actions" {
        return Err(Unusable::NotUnderstood);
    }
    let user = payload.user;
    let by = format!("slack:{}", user.username.or(user.name).unwrap_or_else(|| user.id.clone()));
    let commands: Vec<_> = payload.actions.iter().filter_map(|action| command(action, &user.id, &by, now)).collect();
    if commands.is_empty() {
        return Err(Unusable::NotUnderstood);
    }
    Ok(Pressed { commands, response_url: payload.response_url })
}

fn command(action: &Action, user_id: &str, by: &str, now: EventTime) -> Option<AlertCommand> {
    let (what, until) = match action.id.as_str() {
        ACKNOWLEDGE => (AlertAction::Ack, None),
        SILENCE => (AlertAction::Silence, Some(now.plus(SILENCE_FOR))),
        _ => return None,
    };
    let group_key = action.value.clone().filter(|key| key.starts_with("ttf:"))?;
    let mut hash = Sha256::new();
    for part in [user_id, &action.id, &group_key, action.ts.as_deref().unwrap_or_default()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Some(AlertCommand {
        command_id: hex::encode(&hash.finalize()[..16]),
        group_key,
        action: what,
        by: by.to_owned(),
        at: now,
        until,
        comment: Some("pressed in Slack".to_owned()),
        matchers: Vec::new(),
        starts_at: None,
        assignee: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Slack's documentation.
    const SECRET: &[u8] = b"8f742231b10e8888abcd99yyyzzz85a5";
    const BODY: &[u8] = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    const SENT: &str = "1531420618";
    const NOW: EventTime = EventTime(1_531_420_700_000);

    #[test]
    fn slacks_own_example_is_believed() {
        assert_eq!(check(SECRET, SENT, SIGNATURE, BODY, NOW), Ok(()));
    }

    #[test]
    fn what_slack_did_not_sign_or_signed_long_ago_is_not_believed() {
        assert_eq!(check(b"other", SENT, SIGNATURE, BODY, NOW), Err(Unusable::NotSigned));
        assert_eq!(check(SECRET, "1531420619", SIGNATURE, BODY, NOW), Err(Unusable::NotSigned));
        assert_eq!(check(SECRET, SENT, SIGNATURE, &BODY[1..], NOW), Err(Unusable::NotSigned));
        assert_eq!(check(SECRET, SENT, &SIGNATURE[..10], BODY, NOW), Err(Unusable::NotSigned));
        assert_eq!(check(SECRET, SENT, "", BODY, NOW), Err(Unusable::NotSigned));
        let later = NOW.plus(Millis::from_secs(MAX_AGE_SECONDS));
        assert_eq!(check(SECRET, SENT, SIGNATURE, BODY, later), Err(Unusable::TooOld));
    }

    #[test]
    fn a_press_is_a_command_and_the_same_press_the_same_command() {
        let payload = |action: &str| {
            format!(
                r#"{{"type":"block_actions","user":{{"id":"U1","username":"grace"}},"response_url":"https://hooks.slack.com/actions/x",
                "actions":[{{"action_id":"{action}","value":"ttf:acme:onboarding:00","action_ts":"1.5","type":"button"}}]}}"#
            )
        };
        let pressed = read(&payload(ACKNOWLEDGE), NOW).expect("understood");
        let command = &pressed.commands[0];
        assert_eq!((command.action, command.by.as_str()), (AlertAction::Ack, "slack:grace"));
        assert_eq!(command.group_key, "ttf:acme:onboarding:00");
        let again = read(&payload(ACKNOWLEDGE), NOW.plus(Millis(5))).expect("understood");
        assert_eq!(again.commands[0].command_id, command.command_id);
        let silence = read(&payload(SILENCE), NOW).expect("understood").commands.remove(0);
        assert_eq!((silence.action, silence.until), (AlertAction::Silence, Some(NOW.plus(SILENCE_FOR))));
        assert_eq!(read(&payload("other"), NOW), Err(Unusable::NotUnderstood));
        assert_eq!(read("{}", NOW), Err(Unusable::NotUnderstood));
    }
}
