//! What operators ask, checked and as commands. Pure.

use std::{collections::BTreeMap, str::FromStr};

use serde::Deserialize;
use service_kit::config::HumanDuration;
use telemetry_schemas::{
    EventTime, Millis,
    alert::{AlertAction, AlertCommand},
    audit::AuditEntry,
};

use super::DeskError;
use crate::{
    config::{Comparison, Matcher, is_label},
    route::SILENCE_PREFIX,
};

/// A silence longer than this is a configuration.
const LONGEST_SILENCE: Millis = Millis::from_secs(366 * 86_400);
const MAX_TEXT: usize = 500;

/// Who asks, and from where.
#[derive(Debug, Clone)]
pub struct Asker {
    pub tenant: String,
    pub name: String,
    pub origin: String,
}

/// The body of a request to act; each act needs some of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Order {
    pub matchers: Vec<String>,
    /// Such as `2h`; or `ends_at`.
    pub duration: Option<String>,
    pub starts_at: Option<String>,
    pub ends_at: Option<String>,
    pub comment: Option<String>,
    /// Who asks, where that is another than the key's name.
    pub author: Option<String>,
    /// Who shall have it.
    pub assignee: Option<String>,
}

/// The matcher that keeps a silence within its tenant.
pub fn tenant_matcher(tenant: &str) -> String {
    format!("tenant=\"{}\"", tenant.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Order {
    /// The command about a group.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn about(
        &self,
        group_key: &str,
        action: AlertAction,
        asker: &Asker,
        now: EventTime,
    ) -> Result<AlertCommand, DeskError> {
        if !self.matchers.is_empty() {
            return Err(invalid("`matchers` belong to a silence of its own: POST /api/v1/silences"));
        }
        let until = if action == AlertAction::Silence { Some(self.end(now, now)?) } else { None };
        if action == AlertAction::Assign && self.assignee.as_deref().is_none_or(str::is_empty) {
            return Err(invalid("`assignee` is needed"));
        }
        self.command(group_key.to_owned(), action, until, Vec::new(), None, asker, now)
    }

    /// The command that makes a silence of its own.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn silence(&self, id: &str, asker: &Asker, now: EventTime) -> Result<AlertCommand, DeskError> {
        let mut matchers = vec![tenant_matcher(&asker.tenant)];
        let mut narrows = false;
        for text in &self.matchers {
            let matcher = Matcher::from_str(text).map_err(|error| DeskError::Invalid(error.to_string()))?;
            if !is_label(&matcher.label) {
                return Err(DeskError::Invalid(format!("alerts have no label `{}`", matcher.label)));
            }
            // As in Alertmanager: a silence that matches whatever has no such label would silence everything.
            narrows |= !matcher.matches(&BTreeMap::new());
            if matcher.label != "tenant" || matcher.comparison != Comparison::Equal || matcher.value != asker.tenant {
                matchers.push(matcher.to_string());
            }
        }
        if !narrows {
            return Err(invalid("at least one matcher must need a label to be there, such as `level=\"warning\"`"));
        }
        if self.comment.as_deref().is_none_or(|comment| comment.trim().is_empty()) {
            return Err(invalid("a silence needs a `comment` that says why"));
        }
        let starts_at = self.starts_at.as_deref().map(instant).transpose()?;
        let until = self.end(starts_at.unwrap_or(now), now)?;
        let key = format!("{SILENCE_PREFIX}{id}");
        self.command(key, AlertAction::Silence, Some(until), matchers, starts_at, asker, now)
    }

    fn end(&self, start: EventTime, now: EventTime) -> Result<EventTime, DeskError> {
        let until = match (&self.duration, &self.ends_at) {
            (Some(duration), None) => {
                let duration: HumanDuration = duration
                    .parse()
                    .map_err(|_| DeskError::Invalid(format!("`{duration}` is no duration, such as `2h` or `30m`")))?;
                start.plus(Millis(duration.millis()))
            }
            (None, Some(end)) => instant(end)?,
            _ => return Err(invalid("either `duration`, such as `2h`, or `ends_at` is needed")),
        };
        if until <= start || until <= now {
            return Err(invalid("a silence must end after it begins, and not before now"));
        }
        if until.since(start) > LONGEST_SILENCE {
            return Err(invalid("a silence lasts a year at most; take the alert out of the routes"));
        }
        Ok(until)
    }

    #[allow(clippy::too_many_arguments)]
    fn command(
        &self,
        group_key: String,
        action: AlertAction,
        until: Option<EventTime>,
        matchers: Vec<String>,
        starts_at: Option<EventTime>,
        asker: &Asker,
        now: EventTime,
    ) -> Result<AlertCommand, DeskError> {
        let by = self.author.as_deref().filter(|author| !author.is_empty()).unwrap_or(&asker.name);
        let texts = [Some(by), self.comment.as_deref(), self.assignee.as_deref()];
        if texts.into_iter().flatten().any(|text| text.chars().count() > MAX_TEXT || text.contains(char::is_control)) {
            return Err(invalid("author, comment and assignee have at most 500 characters and no control characters"));
        }
        Ok(AlertCommand {
            command_id: uuid::Uuid::now_v7().to_string(),
            group_key,
            action,
            by: by.to_owned(),
            at: now,
            until,
            comment: self.comment.clone().filter(|comment| !comment.is_empty()),
            matchers,
            starts_at,
            assignee: self.assignee.clone(),
        })
    }
}

/// The entry of the audit log that goes with a command.
pub fn audit(command: &AlertCommand, asker: &Asker) -> AuditEntry {
    let action = match command.action {
        AlertAction::Ack => "alert_ack",
        AlertAction::Assign => "alert_assign",
        AlertAction::Silence => "alert_silence",
        AlertAction::Unsilence => "alert_unsilence",
        AlertAction::Unknown => "alert_unknown",
    };
    let optional = [
        ("until", command.until.map(EventTime::to_rfc3339)),
        ("comment", command.comment.clone()),
        ("assignee", command.assignee.clone()),
        ("matchers", Some(command.matchers.len()).filter(|count| *count > 0).map(|count| count.to_string())),
        ("author", Some(command.by.clone()).filter(|by| *by != asker.name)),
    ];
    let details = optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    AuditEntry {
        audit_id: command.command_id.clone(),
        tenant: asker.tenant.clone(),
        at: command.at,
        actor: asker.name.clone(),
        action: action.to_owned(),
        target: command.group_key.clone(),
        origin: asker.origin.clone(),
        details,
    }
}

fn instant(text: &str) -> Result<EventTime, DeskError> {
    EventTime::parse(text).map_err(|_| DeskError::Invalid(format!("`{text}` is no instant in RFC 3339")))
}

fn invalid(message: &str) -> DeskError {
    DeskError::Invalid(message.to_owned())
}
