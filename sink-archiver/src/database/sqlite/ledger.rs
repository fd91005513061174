//! The erasure ledger and the pseudonyms in SQLite.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{CachedStatement, Connection, OptionalExtension, Transaction, named_params, params};
use telemetry_schemas::{erasure::Erasure, time::EventTime};

use super::{statements, unavailable};
use crate::{
    database::{
        DatabaseError, Person, Resolved, SubjectKind,
        ledger_key::{Choice, FINGERPRINT, KEY, choose},
        people::{Missing, needs_pseudonym, new_pseudonym, storable},
    },
    erasure::{Ledger, LedgerKey},
};

/// The ledger's key; see [`crate::database::Database::open_ledger`].
pub(super) fn open(connection: &Connection, configured: Option<&str>) -> Result<LedgerKey, DatabaseError> {
    let read = |name: &str| {
        connection
            .query_row(include_str!("queries/read_setting.sql"), [name], |row| row.get::<_, String>(0))
            .optional()
            .map_err(|error| unavailable(&error))
    };
    loop {
        match choose(configured, read(KEY)?, read(FINGERPRINT)?)? {
            Choice::Use(key) => return Ok(key),
            Choice::Keep(name, value) => {
                connection
                    .execute(include_str!("queries/keep_setting.sql"), params![name, value])
                    .map_err(|error| unavailable(&error))?;
            }
        }
    }
}

/// The ledger's entries for these users.
pub(super) fn read<'a>(
    transaction: &Transaction<'_>,
    key: &LedgerKey,
    users: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
) -> rusqlite::Result<Ledger> {
    let mut ledger = Ledger::default();
    let erased: i64 = transaction.query_row("SELECT count(*) FROM erasure_ledger", [], |row| row.get(0))?;
    if erased == 0 {
        return Ok(ledger);
    }
    // Few were erased, and many are asked for: all of the ledger is read at once.
    let all: Option<hashbrown::HashMap<String, i64>> = (erased.unsigned_abs() < users.len() as u64)
        .then(|| {
            let mut statement = transaction.prepare_cached(include_str!("queries/read_whole_ledger.sql"))?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()
        })
        .transpose()?;
    let mut statement = transaction.prepare_cached(include_str!("queries/read_ledger.sql"))?;
    for (tenant, user_id) in users {
        let hash = key.hash(tenant, user_id);
        let erased_at: Option<i64> = match &all {
            Some(all) => all.get(&hash).copied(),
            None => statement.query_row([hash], |row| row.get(0)).optional()?,
        };
        if let Some(erased_at) = erased_at {
            ledger.note(tenant, user_id, EventTime(erased_at));
        }
    }
    Ok(ledger)
}

/// Notes one erasure, removes what it covers and certifies it. `place` is the request's partition and offset.
pub(super) fn erase(
    transaction: &Transaction<'_>,
    key: &LedgerKey,
    erasure: &Erasure,
    place: (i32, i64),
) -> rusqlite::Result<()> {
    let hash = key.hash(&erasure.tenant, &erasure.user_id);
    transaction.prepare_cached(include_str!("queries/write_ledger.sql"))?.execute(params![
        erasure.tenant,
        hash,
        erasure.erased_at.0,
        erasure.erasure_id
    ])?;
    let mut deleted: BTreeMap<&str, usize> = BTreeMap::new();
    for (sql, table) in statements(include_str!("queries/erase_user.sql")).zip(ERASED_TABLES) {
        let rows = transaction.prepare_cached(sql)?.execute(named_params! {
            ":tenant": erasure.tenant,
            ":user_id": erasure.user_id,
            ":erased_at": erasure.erased_at.to_rfc3339(),
        })?;
        *deleted.entry(table).or_default() += rows;
    }
    transaction.prepare_cached(include_str!("queries/write_certificate.sql"))?.execute(params![
        erasure.erasure_id,
        erasure.tenant,
        hash,
        erasure.erased_at.0,
        erasure.requested_by,
        place.0,
        place.1,
        serde_json::json!(deleted).to_string(),
    ])?;
    Ok(())
}

/// The tables of `erase_user.sql`, in its order.
const ERASED_TABLES: [&str; 8] = [
    "user_pseudonyms",
    "user_pseudonyms",
    "events",
    "ttf_records",
    "breaches",
    "breach_status",
    "stage_durations",
    "journeys",
];

/// See [`crate::database::Database::resolve`].
pub(super) fn resolve(
    transaction: &Transaction<'_>,
    key: &LedgerKey,
    mut people: Vec<(Person, EventTime)>,
    missing: Missing,
) -> rusqlite::Result<HashMap<Person, Resolved>> {
    people.retain(|(person, _)| storable(person));
    let users = people.iter().filter(|(person, _)| person.kind == SubjectKind::User);
    let users: Vec<_> = users.map(|(person, _)| (person.tenant.as_str(), person.id.as_str())).collect();
    let ledger = read(transaction, key, users.into_iter())?;
    let mut known = KnownPseudonyms::new(transaction)?;
    let mut resolved = HashMap::with_capacity(people.len());
    for (person, newest) in people {
        let erased_at = match person.kind {
            SubjectKind::User => ledger.erased_at(&person.tenant, &person.id),
            SubjectKind::Anonymous => None,
        };
        let mut pseudonym: Option<String> = None;
        if needs_pseudonym(&ledger, &person, newest) {
            pseudonym = known.of(&person)?;
            if pseudonym.is_none() && missing == Missing::Make {
                pseudonym = Some(make_pseudonym(transaction, &person)?);
            }
        }
        resolved.insert(person, Resolved { erased_at, pseudonym });
    }
    Ok(resolved)
}

/// Asks for one pseudonym after the other.
struct KnownPseudonyms<'a> {
    statement: CachedStatement<'a>,
    /// The tenant and kind the statement has: those who are asked for mostly share them.
    asked: Option<(String, SubjectKind)>,
}

impl<'a> KnownPseudonyms<'a> {
    fn new(transaction: &'a Transaction<'_>) -> rusqlite::Result<Self> {
        let statement = transaction.prepare_cached(include_str!("queries/read_pseudonym.sql"))?;
        Ok(Self { statement, asked: None })
    }

    fn of(&mut self, person: &Person) -> rusqlite::Result<Option<String>> {
        let is_same = |(tenant, kind): &(String, SubjectKind)| *tenant == person.tenant && *kind == person.kind;
        if !self.asked.as_ref().is_some_and(is_same) {
            self.statement.raw_bind_parameter(1, &person.tenant)?;
            self.statement.raw_bind_parameter(2, person.kind.as_str())?;
            self.asked = Some((person.tenant.clone(), person.kind));
        }
        self.statement.raw_bind_parameter(3, &person.id)?;
        let mut found = self.statement.raw_query();
        found.next()?.map(|row| row.get(0)).transpose()
    }
}

/// See [`crate::database::Database::people_of`].
pub(super) fn people_of(
    connection: &Connection,
    tenant: &str,
    pseudonyms: Vec<String>,
) -> rusqlite::Result<HashMap<String, Person>> {
    let mut statement = connection.prepare_cached(include_str!("queries/read_person.sql"))?;
    let mut people = HashMap::new();
    for pseudonym in pseudonyms {
        let person = |row: &rusqlite::Row<'_>| {
            let kind = SubjectKind::parse(&row.get::<_, String>(0)?);
            Ok(Person { tenant: tenant.to_owned(), kind, id: row.get(1)? })
        };
        if let Some(person) = statement.query_row(params![tenant, pseudonym], person).optional()? {
            people.insert(pseudonym, person);
        }
    }
    Ok(people)
}

fn make_pseudonym(transaction: &Transaction<'_>, person: &Person) -> rusqlite::Result<String> {
    let fresh = new_pseudonym();
    transaction.prepare_cached(include_str!("queries/make_pseudonym.sql"))?.execute(params![
        person.tenant,
        person.kind.as_str(),
        person.id,
        fresh
    ])?;
    Ok(fresh)
}
