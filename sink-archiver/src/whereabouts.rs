//! Where one event is in the archive: its row in the database, its object in the store. Only reads.

use serde::Serialize;
use stream_runtime::{log::TopicPartition, sink::SinkError};
use telemetry_schemas::{Event, time::EventTime};

use crate::{
    database::{Database, DatabaseError},
    objects::{
        names::{Dataset, ObjectName, date_of, offset_of},
        restore::rows,
        store::Store,
    },
};

/// An event and where it lies on its topic.
#[derive(Debug, Clone)]
pub struct Sought {
    pub event: Event,
    pub at: TopicPartition,
    pub offset: i64,
}

/// What the archive says about an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Whereabouts {
    /// Its row is there.
    Row { received_at: String },
    /// This object, named from the archive's root, holds it.
    Object { path: String },
    /// The archive has not come to it yet: everything before `next_offset` is done.
    Waiting { next_offset: i64 },
    /// The archive is past it and does not hold it: its user was erased, its time is over, or it was a replay.
    Gone,
}

/// What the database keeps of an event's place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredEvent {
    /// When the event of the row was received; `None`: there is no row.
    pub received_at: Option<EventTime>,
    /// The first offset of the event's partition that the database has not read; 0 before the first.
    pub next_offset: i64,
}

/// Whether the database has the event.
///
/// # Errors
/// When it does not answer.
pub async fn row(database: &dyn Database, sought: &Sought) -> Result<Whereabouts, DatabaseError> {
    let stored = database.stored_event(sought).await?;
    Ok(match stored.received_at {
        Some(at) => Whereabouts::Row { received_at: at.to_rfc3339() },
        None if sought.offset >= stored.next_offset => Whereabouts::Waiting { next_offset: stored.next_offset },
        None => Whereabouts::Gone,
    })
}

/// Whether an object holds the event, by looking into the one that would.
///
/// # Errors
/// When the store does not answer, or the object cannot be read.
pub async fn object(store: &Store, sought: &Sought) -> Result<Whereabouts, SinkError> {
    let Sought { event, at, offset } = sought;
    let names = &store.names;
    let date = date_of(event.received_at);
    let folder = names.dataset_folder(Dataset::Events, Some(&event.tenant)).join(format!("date={date}"));
    let listed = store.list(&folder).await?;
    let of_partition = listed.into_iter().filter_map(|path| {
        let name = ObjectName::parse(&names.below_root(&path))?;
        let may_hold = *name.topic == *at.topic && name.partition == at.partition && name.start <= *offset;
        may_hold.then_some((name.start, path))
    });
    if let Some((_, path)) = of_partition.max_by_key(|(start, _)| *start)
        && let Some(parquet) = store.read(&path).await?
    {
        let events = rows(&event.tenant, &parquet)?;
        if events.iter().any(|row| row.event.event_id == event.event_id && row.event.source == event.source) {
            return Ok(Whereabouts::Object { path: names.below_root(&path) });
        }
    }
    let ends = store.list(&names.complete_folder(at)).await?;
    let next_offset = ends.iter().filter_map(offset_of).max().unwrap_or(0);
    Ok(if *offset >= next_offset { Whereabouts::Waiting { next_offset } } else { Whereabouts::Gone })
}
