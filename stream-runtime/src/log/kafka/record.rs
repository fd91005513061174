//! Records between the seam and librdkafka, without copying what is read.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    message::{BorrowedHeaders, BorrowedMessage, Header, Headers as _, OwnedHeaders},
    producer::BaseRecord,
    util::IntoOpaque,
};

use crate::log::{Committed, Headers, LogError, NewRecord, NextOffset, Position, RecordRef, TopicPartition};

/// A record as librdkafka takes it.
pub(super) fn to_send<O: IntoOpaque>(record: &NewRecord, opaque: O) -> BaseRecord<'_, [u8], [u8], O> {
    let mut sent = BaseRecord::with_opaque_to(&record.topic, opaque);
    sent.partition = record.partition;
    sent.key = record.key.as_deref();
    sent.payload = record.value.as_deref();
    sent.timestamp = record.timestamp_ms;
    if !record.headers.is_empty() {
        let empty = OwnedHeaders::new_with_capacity(record.headers.len());
        sent.headers = Some(
            record
                .headers
                .iter()
                .fold(empty, |headers, (name, value)| headers.insert(Header { key: name, value: Some(&value[..]) })),
        );
    }
    sent
}

/// Lends a message to the visitor.
pub(super) fn lend(message: &BorrowedMessage<'_>, visit: &mut dyn FnMut(&RecordRef<'_>)) {
    visit(&RecordRef {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        key: message.key(),
        value: message.payload(),
        headers: &Lent(message),
    });
}

/// The headers of a message that librdkafka owns, which takes them apart when they are first asked for.
struct Lent<'a>(&'a BorrowedMessage<'a>);

impl Headers for Lent<'_> {
    fn len(&self) -> usize {
        self.0.headers().map_or(0, BorrowedHeaders::count)
    }

    fn at(&self, index: usize) -> (&str, &[u8]) {
        // rdkafka panics on a name that is not UTF-8. Anyone who may write to a topic could send one: such a
        // header reads as an empty name without a value, and the record is read on.
        match catch_unwind(AssertUnwindSafe(|| self.0.headers().map(|headers| headers.get(index)))) {
            Ok(Some(header)) => (header.key, header.value.unwrap_or_default()),
            Ok(None) | Err(_) => ("", &[]),
        }
    }
}

/// A place to read from, as librdkafka says it.
fn to_offset(at: &TopicPartition, position: Position) -> Result<Offset, LogError> {
    match position {
        Position::Beginning => Ok(Offset::Beginning),
        Position::End => Ok(Offset::End),
        Position::Offset(offset) if offset >= 0 => Ok(Offset::Offset(offset)),
        Position::Offset(offset) => Err(LogError::Invalid(format!("{at} cannot be read from offset {offset}"))),
    }
}

pub(super) fn list<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for at in partitions {
        list.add_partition(&at.topic, at.partition);
    }
    list
}

pub(super) fn list_at<'a>(
    positions: impl IntoIterator<Item = &'a (TopicPartition, Position)>,
) -> Result<TopicPartitionList, LogError> {
    let mut list = TopicPartitionList::new();
    for (at, position) in positions {
        let offset = to_offset(at, *position)?;
        list.add_partition(&at.topic, at.partition)
            .set_offset(offset)
            .map_err(|error| LogError::Invalid(format!("{at}: {error}")))?;
    }
    Ok(list)
}

/// Next offsets with their metadata. An offset below zero is refused: librdkafka would drop it in silence.
pub(super) fn list_to_commit(offsets: &[NextOffset]) -> Result<TopicPartitionList, LogError> {
    let mut list = TopicPartitionList::new();
    for offset in offsets {
        let next = to_offset(&offset.at, Position::Offset(offset.next))?;
        let mut element = list.add_partition(&offset.at.topic, offset.at.partition);
        element.set_offset(next).map_err(|error| LogError::Invalid(format!("{}: {error}", offset.at)))?;
        if !offset.metadata.is_empty() {
            element.set_metadata(&offset.metadata);
        }
    }
    Ok(list)
}

/// What librdkafka found committed. An error of one partition is an error of the whole.
pub(super) fn from_committed(list: &TopicPartitionList) -> Result<Vec<Committed>, LogError> {
    list.elements()
        .iter()
        .map(|element| {
            let at = TopicPartition::new(element.topic(), element.partition());
            element
                .error()
                .map_err(|error| super::error::classify(&error, "reading committed offsets", Some(&at.topic)))?;
            let next = match element.offset() {
                Offset::Offset(next) => Some(next),
                _ => None,
            };
            Ok(Committed { at, next, metadata: element.metadata().to_owned() })
        })
        .collect()
}

pub(super) fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_below_zero_is_refused_before_librdkafka_drops_it() {
        let at = TopicPartition::new("orders", 0);
        let offset = NextOffset { at: at.clone(), next: -1001, metadata: String::new() };
        assert!(matches!(list_to_commit(&[offset]), Err(LogError::Invalid(_))));
        assert!(list_at(&[(at, Position::Offset(-1))]).is_err());
    }

    #[test]
    fn offsets_keep_their_metadata() {
        let offset = NextOffset { at: TopicPartition::new("orders", 3), next: 7, metadata: "1700000000000".into() };
        let committed = from_committed(&list_to_commit(&[offset]).expect("valid")).expect("no error");
        assert_eq!(committed[0].next, Some(7));
        assert_eq!(committed[0].metadata, "1700000000000");
        assert_eq!(committed[0].at, TopicPartition::new("orders", 3));
    }
}
