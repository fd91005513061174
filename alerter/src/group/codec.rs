//! Keys, inputs, states and notifications of the group stage as bytes.

use std::sync::Arc;

use stream_runtime::{
    keyed::{Codec, Poison, Undecoded},
    log::{NewRecord, RecordRef},
};
use telemetry_schemas::{
    TtfBreach,
    alert::{AlertCommand, AlertState},
    topics,
};

use super::{
    processor::{GroupProcessor, Input, Output},
    state::Group,
};
use crate::wire::Wire;

/// Header of a record in the outbox: whom it is for, so that the others need not decode it.
pub const HEADER_RECEIVER: &str = "receiver";

/// The group stage's side of the wire formats.
pub struct GroupCodec {
    wire: Wire,
    notifications: Arc<str>,
    groups: Arc<str>,
}

impl GroupCodec {
    pub fn new(wire: Wire) -> Self {
        Self { wire, notifications: topics::ALERT_NOTIFICATIONS.into(), groups: topics::ALERT_GROUPS.into() }
    }
}

impl Codec<GroupProcessor> for GroupCodec {
    fn is_ready(&self) -> anyhow::Result<bool> {
        self.wire.register()
    }

    fn decode(&self, record: &RecordRef<'_>) -> Result<Option<Input>, Undecoded> {
        let key = self.decode_key(record.key.unwrap_or_default())?;
        if record.topic == topics::ALERT_COMMANDS {
            let command: AlertCommand = self.wire.read_now(record)?;
            if command.group_key != key {
                let message = "the record's key names another group than its value".to_owned();
                return Err(Poison { code: "key_mismatch", message }.into());
            }
            return Ok(Some(Input::Command(command)));
        }
        let breach: TtfBreach = self.wire.read_now(record)?;
        Ok(Some(Input::Breach(Box::new(breach))))
    }

    fn decode_key(&self, bytes: &[u8]) -> Result<String, Poison> {
        match std::str::from_utf8(bytes) {
            Ok(key) if !key.is_empty() => Ok(key.to_owned()),
            _ => Err(Poison { code: "key_malformed", message: "the record's key names no alert group".to_owned() }),
        }
    }

    fn encode_state(&self, group: &Group) -> Vec<u8> {
        self.wire.encode(&group.kept)
    }

    fn decode_state(&self, bytes: &[u8]) -> Result<Group, Poison> {
        let mut kept: AlertState =
            self.wire.decode_own(bytes).map_err(|error| Poison { code: "undecodable", message: error.to_string() })?;
        // Earlier releases kept no history, and told of an alert by when it was received.
        if kept.history.is_empty()
            && let Some(told) = kept.notified.first().map(|told| told.at)
        {
            for alert in kept.alerts.iter_mut().filter(|alert| alert.received_at <= told) {
                alert.told_at = Some(told);
            }
            kept.first_told_at = Some(told);
        }
        Ok(Group::stored(kept))
    }

    fn encode_output(&self, output: &Output, records: &mut Vec<NewRecord>) {
        let notification = match output {
            Output::Notification(notification) => notification,
            Output::Routed { group_key, breach } => {
                let value = self.wire.encode(&**breach);
                records.push(NewRecord::new(self.groups.clone(), group_key.clone(), value));
                return;
            }
        };
        let key = notification.group_key.clone();
        records.push(
            NewRecord::new(self.notifications.clone(), key, self.wire.encode(&**notification))
                .with_header(HEADER_RECEIVER, notification.receiver.clone())
                .with_timestamp(notification.created_at.0),
        );
    }

    fn encode_poison(&self, record: &RecordRef<'_>, poison: &Poison, now_ms: i64) -> NewRecord {
        self.wire.rejection(record, poison, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_a_newer_program_is_refused() {
        let codec = GroupCodec::new(Wire::new(telemetry_schemas::Codec::without_registry()));
        let mut bytes = codec.encode_state(&Group::stored(AlertState::default()));
        codec.decode_state(&bytes).expect("its own");
        // The fingerprint of the schema it was written with, behind two bytes of a mark.
        bytes[2] ^= 1;
        let refused = codec.decode_state(&bytes).expect_err("nobody knows that schema");
        assert!(refused.message.contains("newer version"), "{refused}");
    }
}
