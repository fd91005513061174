//! The erasure ledger and the pseudonyms in PostgreSQL.

use std::collections::{BTreeMap, HashMap};

use deadpool_postgres::Transaction;
use telemetry_schemas::{erasure::Erasure, time::EventTime};
use tokio_postgres::Client;

use super::{errors::unavailable, run};
use crate::{
    database::{
        DatabaseError, Person, Resolved, SubjectKind,
        ledger_key::{Choice, FINGERPRINT, KEY, choose},
        people::{Missing, needs_pseudonym, new_pseudonym, storable},
    },
    erasure::{Ledger, LedgerKey},
};

/// The ledger's key; see [`crate::database::Database::open_ledger`].
pub(super) async fn open(client: &Client, configured: Option<&str>) -> Result<LedgerKey, DatabaseError> {
    let read = async |name: &str| {
        let row = client.query_opt(include_str!("queries/read_setting.sql"), &[&name]).await;
        row.map(|row| row.map(|row| row.get::<_, String>(0))).map_err(|error| unavailable(&error))
    };
    loop {
        match choose(configured, read(KEY).await?, read(FINGERPRINT).await?)? {
            Choice::Use(key) => return Ok(key),
            Choice::Keep(name, value) => {
                client
                    .execute(include_str!("queries/keep_setting.sql"), &[&name, &value])
                    .await
                    .map_err(|error| unavailable(&error))?;
            }
        }
    }
}

/// The ledger's entries for these users, given with their hashes.
pub(super) async fn read(
    transaction: &Transaction<'_>,
    users: Vec<((&str, &str), String)>,
) -> Result<Ledger, DatabaseError> {
    let mut ledger = Ledger::default();
    if users.is_empty() {
        return Ok(ledger);
    }
    let by_hash: HashMap<&str, (&str, &str)> = users.iter().map(|(user, hash)| (hash.as_str(), *user)).collect();
    let hashes: Vec<&str> = by_hash.keys().copied().collect();
    let statement = transaction
        .prepare_cached(include_str!("queries/read_ledger.sql"))
        .await
        .map_err(|error| unavailable(&error))?;
    let rows = transaction.query(&statement, &[&hashes]).await.map_err(|error| unavailable(&error))?;
    for row in &rows {
        if let Some((tenant, user_id)) = by_hash.get(row.get::<_, &str>(0)) {
            ledger.note(tenant, user_id, EventTime(row.get(1)));
        }
    }
    Ok(ledger)
}

/// Notes one erasure, removes what it covers and certifies it. The pseudonyms go first: they are found by the events.
/// `place` is the request's partition and offset.
pub(super) async fn erase(
    transaction: &Transaction<'_>,
    key: &LedgerKey,
    erasure: &Erasure,
    place: (i32, i64),
) -> Result<(), tokio_postgres::Error> {
    let hash = key.hash(&erasure.tenant, &erasure.user_id);
    let erased_at = erasure.erased_at.0;
    run(
        transaction,
        include_str!("queries/write_ledger.sql"),
        &[&erasure.tenant, &hash, &erased_at, &erasure.erasure_id],
    )
    .await?;
    let mut deleted: BTreeMap<&str, u64> = BTreeMap::new();
    for (table, sql) in [
        ("user_pseudonyms", include_str!("queries/erase_pseudonyms.sql")),
        ("events", include_str!("queries/erase_events.sql")),
        ("ttf_records", include_str!("queries/erase_ttf_records.sql")),
        ("stage_durations", include_str!("queries/erase_stage_durations.sql")),
        ("journeys", include_str!("queries/erase_journeys.sql")),
        ("breaches", include_str!("queries/erase_breaches.sql")),
        ("breach_status", include_str!("queries/erase_breach_status.sql")),
    ] {
        let rows = run(transaction, sql, &[&erasure.tenant, &erasure.user_id, &erased_at]).await?;
        deleted.insert(table, rows);
    }
    let deleted = serde_json::json!(deleted).to_string();
    let (partition, offset) = place;
    run(
        transaction,
        include_str!("queries/write_certificate.sql"),
        &[
            &erasure.erasure_id,
            &erasure.tenant,
            &hash,
            &erased_at,
            &erasure.requested_by,
            &partition,
            &offset,
            &deleted,
        ],
    )
    .await?;
    Ok(())
}

/// See [`crate::database::Database::resolve`].
pub(super) async fn resolve(
    transaction: &Transaction<'_>,
    key: &LedgerKey,
    mut people: Vec<(Person, EventTime)>,
    missing: Missing,
) -> Result<HashMap<Person, Resolved>, DatabaseError> {
    people.retain(|(person, _)| storable(person));
    let users = people.iter().filter(|(person, _)| person.kind == SubjectKind::User);
    let hashed =
        users.map(|(person, _)| ((person.tenant.as_str(), person.id.as_str()), key.hash(&person.tenant, &person.id)));
    let ledger = read(transaction, hashed.collect()).await?;
    let wanted: Vec<&Person> =
        people.iter().filter(|(person, newest)| needs_pseudonym(&ledger, person, *newest)).map(|(p, _)| p).collect();
    let pseudonyms = match missing {
        Missing::Make => pseudonyms(transaction, &wanted).await?,
        Missing::Leave => read_pseudonyms(transaction, &wanted).await?,
    };
    let resolved = people.iter().map(|(person, _)| {
        let erased_at = match person.kind {
            SubjectKind::User => ledger.erased_at(&person.tenant, &person.id),
            SubjectKind::Anonymous => None,
        };
        (person.clone(), Resolved { erased_at, pseudonym: pseudonyms.get(person).cloned() })
    });
    Ok(resolved.collect())
}

/// The pseudonyms of these people, made where there are none.
async fn pseudonyms(
    transaction: &Transaction<'_>,
    wanted: &[&Person],
) -> Result<BTreeMap<Person, String>, DatabaseError> {
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut known = read_pseudonyms(transaction, wanted).await?;
    let missing: Vec<&Person> = wanted.iter().copied().filter(|person| !known.contains_key(*person)).collect();
    if missing.is_empty() {
        return Ok(known);
    }
    let (tenants, kinds, ids) = columns(&missing);
    let fresh: Vec<String> = missing.iter().map(|_| new_pseudonym()).collect();
    run(transaction, include_str!("queries/make_pseudonyms.sql"), &[&tenants, &kinds, &ids, &fresh])
        .await
        .map_err(|error| unavailable(&error))?;
    // Read again: another writer may have been first.
    known.extend(read_pseudonyms(transaction, &missing).await?);
    Ok(known)
}

async fn read_pseudonyms(
    transaction: &Transaction<'_>,
    wanted: &[&Person],
) -> Result<BTreeMap<Person, String>, DatabaseError> {
    let (tenants, kinds, ids) = columns(wanted);
    let statement = transaction
        .prepare_cached(include_str!("queries/read_pseudonyms.sql"))
        .await
        .map_err(|error| unavailable(&error))?;
    let rows = transaction.query(&statement, &[&tenants, &kinds, &ids]).await.map_err(|error| unavailable(&error))?;
    Ok(rows
        .iter()
        .map(|row| {
            let kind = SubjectKind::parse(row.get(1));
            (Person { tenant: row.get(0), kind, id: row.get(2) }, row.get(3))
        })
        .collect())
}

/// See [`crate::database::Database::people_of`].
pub(super) async fn people_of(
    client: &Client,
    tenant: &str,
    pseudonyms: &[String],
) -> Result<HashMap<String, Person>, DatabaseError> {
    let rows = client
        .query(include_str!("queries/read_people.sql"), &[&tenant, &pseudonyms])
        .await
        .map_err(|error| unavailable(&error))?;
    let person = |row: &tokio_postgres::Row| Person {
        tenant: tenant.to_owned(),
        kind: SubjectKind::parse(row.get(1)),
        id: row.get(2),
    };
    Ok(rows.iter().map(|row| (row.get(0), person(row))).collect())
}

fn columns<'a>(people: &[&'a Person]) -> (Vec<&'a str>, Vec<&'static str>, Vec<&'a str>) {
    let tenants = people.iter().map(|person| person.tenant.as_str()).collect();
    let kinds = people.iter().map(|person| person.kind.as_str()).collect();
    let ids = people.iter().map(|person| person.id.as_str()).collect();
    (tenants, kinds, ids)
}
