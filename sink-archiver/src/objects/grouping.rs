//! Which rows go into which object, and which are left out. Pure.

use std::collections::{BTreeMap, HashMap};

use telemetry_schemas::{BreachReason, JourneyStatus, time::EventTime};

use super::{
    names::Dataset,
    parquet::Rows,
    rows::{BreachRow, EventRow, RecordRow, Row},
};
use crate::{
    database::{Person, Resolved},
    decode::Message,
};

/// What the database knows of the people in some rows.
pub type People = HashMap<Person, Resolved>;

/// The objects of a cut, and what is in none.
#[derive(Debug, Default)]
pub struct Grouped {
    /// By dataset, tenant and day.
    pub objects: BTreeMap<(Dataset, String, String), Rows>,
    /// Left out because their ids can have no pseudonym; the database refuses and dead-letters them.
    pub unstorable: u64,
}

/// The users in these rows, with the instant of the newest thing about each.
pub fn users(rows: &[Row]) -> Vec<(Person, EventTime)> {
    newest(rows.iter().filter_map(|row| Some((row.user()?, row.instant()))))
}

/// The anonymous ids in these rows, with the instant of the newest thing about each.
pub fn devices(rows: &[Row]) -> Vec<(Person, EventTime)> {
    newest(rows.iter().filter_map(|row| Some((row.anonymous()?, row.instant()))))
}

fn newest(seen: impl Iterator<Item = (Person, EventTime)>) -> Vec<(Person, EventTime)> {
    let mut people: BTreeMap<Person, EventTime> = BTreeMap::new();
    for (person, instant) in seen {
        let newest = people.entry(person).or_insert(instant);
        *newest = (*newest).max(instant);
    }
    people.into_iter().collect()
}

/// Sorts rows into objects, in offset order within each.
pub fn group(rows: Vec<Row>, resolved: &People) -> Grouped {
    let mut grouped = Grouped::default();
    for row in rows {
        if grouped.take(row, resolved).is_none() {
            grouped.unstorable += 1;
        }
    }
    grouped
}

/// What came out of the archive is in it already.
pub fn is_replayed(row: &Row) -> bool {
    matches!(&row.message, Message::Event(event) if event.replay)
}

/// What tells of an erasure names the user no less than what was erased.
pub fn is_forgotten(row: &Row, resolved: &People) -> bool {
    let tells_of_erasure = match &row.message {
        Message::Record(record) => record.status == JourneyStatus::Erased,
        Message::Breach(breach) => breach.reason == Some(BreachReason::Erased),
        Message::Event(_) | Message::Erasure(_) => false,
    };
    let erased_at = row.user().and_then(|user| resolved.get(&user)?.erased_at);
    tells_of_erasure || erased_at.is_some_and(|erased_at| row.instant() < erased_at)
}

impl Grouped {
    /// Adds a row to its object; `None` when somebody in it has no pseudonym.
    fn take(&mut self, row: Row, resolved: &People) -> Option<()> {
        let pseudonym = |person: Option<Person>| match person {
            None => Some(None),
            Some(person) => resolved.get(&person)?.pseudonym.clone().map(Some),
        };
        let user = pseudonym(row.user())?;
        let anonymous = pseudonym(row.anonymous())?;
        let folder = row.folder()?;
        let offset = row.offset;
        match row.message {
            Message::Event(event) => {
                let rows = self.objects.entry(folder).or_insert_with(|| Rows::Events(Vec::new()));
                if let Rows::Events(rows) = rows {
                    rows.push(EventRow { offset, event: *event, user, anonymous });
                }
            }
            Message::Record(record) => {
                let rows = self.objects.entry(folder).or_insert_with(|| Rows::Records(Vec::new()));
                if let Rows::Records(rows) = rows {
                    rows.push(RecordRow { offset, record: *record, user: user? });
                }
            }
            Message::Breach(breach) => {
                let rows = self.objects.entry(folder).or_insert_with(|| Rows::Breaches(Vec::new()));
                if let Rows::Breaches(rows) = rows {
                    rows.push(BreachRow { offset, breach: *breach, user: user? });
                }
            }
            Message::Erasure(_) => return None,
        }
        Some(())
    }
}
