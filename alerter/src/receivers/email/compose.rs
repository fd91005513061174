//! A notification as a mail.

use std::time::{Duration, SystemTime};

use lettre::message::{Mailbox, MultiPart, header};
use telemetry_schemas::BreachLevel;

use crate::message::Message;

/// Says to mail programs that no person wrote it, and none waits for an answer (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl header::Header for AutoSubmitted {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// What mail programs show serious mails by.
#[derive(Clone)]
struct Importance;

impl header::Header for Importance {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("Importance")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "high".to_owned())
    }
}

/// The mail and its id. `first` is the id of the group's first mail, when this is not it.
pub fn compose(
    message: &Message,
    from: &Mailbox,
    to: &[Mailbox],
    first: Option<&str>,
) -> Result<(lettre::Message, String), lettre::error::Error> {
    let id = format!("<{}@{}>", message.notification_id, from.email.domain());
    let created = SystemTime::UNIX_EPOCH + Duration::from_millis(message.created_at.0.max(0).unsigned_abs());
    let reply = if first.is_some() { "Re: " } else { "" };
    let mut builder = lettre::Message::builder()
        .from(from.clone())
        .subject(format!("{reply}{}", message.email.subject))
        .message_id(Some(id.clone()))
        .date(created)
        .header(AutoSubmitted);
    for mailbox in to {
        builder = builder.to(mailbox.clone());
    }
    if let Some(first) = first {
        builder = builder.in_reply_to(first.to_owned()).references(first.to_owned());
    }
    if message.level != BreachLevel::Warning {
        builder = builder.header(Importance);
    }
    let parts = MultiPart::alternative_plain_html(message.email.text.clone(), message.email.html.clone());
    Ok((builder.multipart(parts)?, id))
}
