//! Which rows go into which object, and which are left out. Pure.

use std::collections::{BTreeMap, HashMap};

use telemetry_schemas::{BreachReason, JourneyStatus, time::EventTime};

use super::{
    names::Dataset,
    parquet::Rows,
    rows::{BreachRow, EventRow, RecordRow, Row, Subject},
};
use crate::{
    database::{Person, Resolved, SubjectKind},
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

/// Who is in some rows, with the instant of the newest thing about each; in order: no two writers wait for each other's
/// rows, and an index is walked from one end to the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub users: Vec<(Person, EventTime)>,
    /// The anonymous ids.
    pub devices: Vec<(Person, EventTime)>,
}

impl Seen {
    /// In one pass: the rows of a cut are more than the processor's caches hold.
    pub fn of(rows: &[Row]) -> Self {
        let (mut users, mut devices) = (Newest::default(), Newest::default());
        for row in rows {
            let instant = row.instant();
            users.note(row.user(), instant);
            devices.note(row.anonymous(), instant);
        }
        Self { users: users.in_order(SubjectKind::User), devices: devices.in_order(SubjectKind::Anonymous) }
    }
}

/// The newest instant of each.
#[derive(Default)]
struct Newest<'a>(hashbrown::HashMap<Subject<'a>, EventTime>);

impl<'a> Newest<'a> {
    fn note(&mut self, subject: Option<Subject<'a>>, instant: EventTime) {
        let Some(subject) = subject else { return };
        let newest = self.0.entry(subject).or_insert(instant);
        *newest = (*newest).max(instant);
    }

    fn in_order(self, kind: SubjectKind) -> Vec<(Person, EventTime)> {
        let mut people: Vec<_> = self.0.into_iter().collect();
        people.sort_unstable_by_key(|(subject, _)| *subject);
        people.into_iter().map(|(subject, newest)| (subject.person(kind), newest)).collect()
    }
}

/// Sorts rows into objects, in offset order within each.
pub fn group(rows: Vec<Row>, users: &People, devices: &People) -> Grouped {
    let mut grouped = Grouped::default();
    for row in rows {
        if grouped.take(row, users, devices).is_none() {
            grouped.unstorable += 1;
        }
    }
    grouped
}

/// What came out of the archive is in it already.
pub fn is_replayed(row: &Row) -> bool {
    matches!(&row.message, Message::Event(event) if event.replay)
}

/// The users among some people who were erased, and when.
pub struct Erased<'a>(HashMap<Subject<'a>, EventTime>);

impl<'a> Erased<'a> {
    pub fn among(people: &'a People) -> Self {
        let erased = people.iter().filter(|(person, _)| person.kind == SubjectKind::User);
        Self(erased.filter_map(|(person, resolved)| Some((Subject::of(person), resolved.erased_at?))).collect())
    }

    /// What tells of an erasure names the user no less than what was erased.
    pub fn forgets(&self, row: &Row) -> bool {
        let tells_of_erasure = match &row.message {
            Message::Record(record) => record.status == JourneyStatus::Erased,
            Message::Breach(breach) => breach.reason == Some(BreachReason::Erased),
            Message::Event(_) | Message::Erasure(_) => false,
        };
        // Of most cuts nobody was erased: their rows need not be looked up.
        let erased_at = || if self.0.is_empty() { None } else { self.0.get(&row.user()?).copied() };
        tells_of_erasure || erased_at().is_some_and(|erased_at| row.instant() < erased_at)
    }
}

impl Grouped {
    /// Adds a row to its object; `None` when somebody in it has no pseudonym.
    fn take(&mut self, row: Row, users: &People, devices: &People) -> Option<()> {
        let pseudonym = |among: &People, kind: SubjectKind, subject: Option<Subject<'_>>| match subject {
            None => Some(None),
            Some(subject) => among.get(&subject.person(kind))?.pseudonym.clone().map(Some),
        };
        let user = pseudonym(users, SubjectKind::User, row.user())?;
        let anonymous = pseudonym(devices, SubjectKind::Anonymous, row.anonymous())?;
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
