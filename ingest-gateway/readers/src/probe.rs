//! One input for one reader: what fuzzing runs, and what replays the inputs that fuzzing has found.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    adapters::{Adapter, Dialect, EventNames, cloudevents, mixpanel, posthog, segment},
    batch::{self, Form, RawEvent},
    validate,
};

/// Which reader gets the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// One native event.
    Event,
    /// A body, in every form.
    Batch,
    Segment,
    PostHog,
    Mixpanel,
    CloudEvents,
}

const MAX_EVENT_BYTES: usize = 32 * 1024;
const MAX_EVENTS: usize = 100;

/// Reads `input`, whatever it is.
///
/// # Panics
/// When an answer contradicts itself: a reader that neither takes nor explains, or a piece that is not part of its body.
pub fn probe(door: Door, input: &[u8]) {
    let dialects = match door {
        Door::Event => return event(input),
        Door::Batch => return bodies(input),
        Door::Segment => vec![
            Dialect::Segment(segment::Batch::default()),
            Dialect::Segment(segment::Batch { kind: Some(segment::Kind::Track), ..segment::Batch::default() }),
        ],
        Door::PostHog => vec![Dialect::PostHog(posthog::Batch::default())],
        Door::Mixpanel => [mixpanel::Endpoint::Events, mixpanel::Endpoint::People, mixpanel::Endpoint::Groups]
            .map(Dialect::Mixpanel)
            .into(),
        Door::CloudEvents => {
            let _ = cloudevents::header_text(input);
            let _ = cloudevents::from_binary(std::iter::once(("id", "1".to_owned())), Some("application/json"), input);
            vec![Dialect::CloudEvents]
        }
    };
    let Ok(record) = validate::read_object(input, MAX_EVENT_BYTES) else { return };
    for dialect in dialects {
        let adapter = Adapter { dialect, names: Arc::new(EventNames::default()), own_key: Some("key".into()) };
        if let Ok(translated) = adapter.translate(record.clone()) {
            explained(validate::object(translated.event));
        }
    }
}

fn event(input: &[u8]) {
    explained(validate::event(input, MAX_EVENT_BYTES));
}

fn explained(checked: Result<validate::Checked, Box<validate::Invalid>>) {
    match checked {
        Ok(checked) => {
            let timestamp = checked.timestamp();
            assert_eq!(timestamp, checked.take().timestamp, "a time has one meaning");
        }
        Err(invalid) => {
            assert!(!invalid.violations.is_empty(), "a refusal says why");
            for violation in &invalid.violations {
                assert!(violation.path.is_empty() || violation.path.starts_with('/'), "a path is a JSON Pointer");
            }
        }
    }
}

fn bodies(input: &[u8]) {
    let body = Bytes::copy_from_slice(input);
    for form in [Form::Json, Form::Ndjson] {
        if let Ok(batch) = batch::split(&body, form, MAX_EVENTS) {
            pieces(&body, &batch.events);
        }
    }
    if let Ok(foreign) = batch::split_foreign(&body, "batch", MAX_EVENTS) {
        pieces(&body, &foreign.records);
    }
}

fn pieces(body: &Bytes, events: &[RawEvent]) {
    assert!(events.len() <= MAX_EVENTS, "the bound is kept");
    for event in events {
        assert!(event.bytes.len() <= body.len(), "a piece is part of its body");
        assert_eq!(event.is_utf8, std::str::from_utf8(&event.bytes).is_ok(), "what is text is said to be text");
    }
}
