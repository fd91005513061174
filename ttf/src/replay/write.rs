//! Writes what puts users right, in transactions that the processor's group fences.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::Serialize;
use stream_runtime::{
    keyed::{Codec as _, changelog},
    log::{Log, NextOffset, TopicPartition, TransactionError, Transactor, Verdict, partitioner},
};
use telemetry_schemas::{Codec, EventTime, RecordKey, audit::AuditEntry, topics};
use ttf_processor::replay::{Correction, Terms};

use super::{
    exclusive::{Exclusive, JOINED},
    gather::{SETTLING, Sources},
    progress::Progress,
    shelf::Shelf,
    values::Records,
};

const CALL: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
/// A transaction holds at most about so many bytes.
const TRANSACTION_BYTES: usize = 4 * 1024 * 1024;

/// What was written.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Applied {
    pub users: u64,
    pub records: u64,
    pub breaches: u64,
    pub transactions: u64,
}

/// The records of a correction: the state first.
pub fn records_of(sources: &Sources, key: &RecordKey, correction: Correction, terms: &Terms) -> Records {
    let key_bytes = key.to_bytes();
    let partition = partitioner::partition_for(&key_bytes, sources.partitions);
    let changelog = TopicPartition::new(topics::TTF_STATE, partition);
    let state = correction.state.as_ref().map(|state| sources.journey_codec.encode_state(state));
    // Stamped as of when the processor was last at work: a later look must not take this for the processor's doing.
    let as_of = terms.sure_until.plus(SETTLING).min(terms.now).0.max(0);
    let mut records = vec![changelog::record(&changelog, key_bytes, state, as_of)];
    for emission in &correction.emissions {
        sources.journey_codec.encode_output(emission, &mut records);
    }
    Records(records)
}

/// Writes every correction; what is committed when this fails is whole.
pub fn write(
    log: &dyn Log,
    exclusive: &Exclusive,
    corrections: &mut Shelf<Records>,
    users: u64,
    users_per_transaction: usize,
) -> anyhow::Result<Applied> {
    let mut transactor = log.transactor("ttf-processor-replay")?;
    retrying(|| transactor.init(CALL)).context("cannot start transactions")?;
    let offsets = exclusive.offsets()?;
    let mut progress = Progress::new("writing", "users", users).every(Duration::from_millis(500));
    let mut applied = Applied::default();
    let mut open = Open::default();
    for entry in corrections.entries()? {
        let (_, records) = entry?;
        if open.users == 0 {
            exclusive.check()?;
            retrying(|| transactor.begin()).context("cannot begin a transaction")?;
        }
        for record in &records.0 {
            retrying(|| transactor.produce(record)).context("cannot write")?;
            open.bytes += record.size();
            applied.records += u64::from(&*record.topic == topics::TTF_RECORDS);
            applied.breaches += u64::from(&*record.topic == topics::TTF_BREACHES);
        }
        open.users += 1;
        if open.users >= users_per_transaction || open.bytes >= TRANSACTION_BYTES {
            commit(&mut *transactor, exclusive, &offsets, &mut open, &mut applied, &mut progress)?;
        }
    }
    if open.users > 0 {
        commit(&mut *transactor, exclusive, &offsets, &mut open, &mut applied, &mut progress)?;
    }
    progress.finish();
    Ok(applied)
}

#[derive(Default)]
struct Open {
    users: usize,
    bytes: usize,
}

fn commit(
    transactor: &mut dyn Transactor,
    exclusive: &Exclusive,
    offsets: &[NextOffset],
    open: &mut Open,
    applied: &mut Applied,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    if let Err(error) = exclusive.check() {
        // What is open is dropped with the producer, and by the broker at the latest when it times out.
        let _ = transactor.abort(CALL);
        return Err(error);
    }
    if let Err(error) = retrying(|| transactor.commit(offsets, &exclusive.group, CALL)) {
        let _ = transactor.abort(CALL);
        if matches!(error.verdict, Verdict::Stale | Verdict::Fenced | Verdict::Replaced) {
            bail!("{JOINED} ({error})");
        }
        return Err(error).context("cannot commit; run this again: it goes on with what is left");
    }
    applied.users += open.users as u64;
    applied.transactions += 1;
    progress.advance(open.users as u64);
    *open = Open::default();
    Ok(())
}

fn retrying(mut call: impl FnMut() -> Result<(), TransactionError>) -> Result<(), TransactionError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call() {
            Err(error) if error.verdict == Verdict::Retry && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

/// Says in the audit log what is done, by tenant.
pub fn audit(
    log: &dyn Log,
    codec: &Codec,
    run_id: &str,
    tenants: &BTreeMap<String, u64>,
    details: &[(&str, String)],
) -> anyhow::Result<()> {
    let publisher = log.publisher()?;
    let mut deliveries = Vec::new();
    for (tenant, users) in tenants {
        let mut all: BTreeMap<String, String> =
            details.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        all.insert("users".to_owned(), users.to_string());
        all.insert("run".to_owned(), run_id.to_owned());
        let entry = AuditEntry {
            audit_id: uuid::Uuid::now_v7().to_string(),
            tenant: tenant.clone(),
            at: EventTime(service_kit::clock::now_ms()),
            actor: std::env::var("USER").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "operator".to_owned()),
            action: "replay".to_owned(),
            target: ttf_processor::GROUP.to_owned(),
            origin: std::env::var("HOSTNAME").unwrap_or_default(),
            details: all,
        };
        let record = stream_runtime::log::NewRecord::new(topics::AUDIT, tenant.clone(), codec.encode(&entry)?)
            .with_timestamp(entry.at.0);
        deliveries.push(publisher.publish(record)?);
    }
    publisher.flush(PATIENCE)?;
    for delivery in deliveries {
        futures::executor::block_on(delivery).context("the audit entry was not taken")?;
    }
    Ok(())
}
