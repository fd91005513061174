//! Which changelog this is.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use super::read::POLL;
use crate::{
    keyed::{
        KeyedProcessor, Shared, marker,
        store::{ChangelogId, Meta},
    },
    log::{Position, Reader, TopicPartition},
    transaction::while_unavailable,
};

/// What the log tells about cluster and topic.
pub struct Identity {
    cluster_id: String,
    topic_id: String,
}

impl Identity {
    pub fn of<P: KeyedProcessor, C>(shared: &Shared<P, C>) -> anyhow::Result<Self> {
        let options = &shared.options;
        let cluster_id = while_unavailable(options.retry_timeout, || shared.log.cluster_id(options.call_timeout))
            .context("cannot tell the cluster's identity")?;
        let topic_id =
            while_unavailable(options.retry_timeout, || shared.log.topic_id(&options.changelog, options.call_timeout))
                .context("cannot tell the changelog's identity")?;
        Ok(Self { cluster_id, topic_id })
    }

    /// The description of an empty store.
    pub fn empty_store(&self, timer_fingerprint: &str) -> Meta {
        Meta::new(self.cluster_id.clone(), self.topic_id.clone(), timer_fingerprint.to_owned())
    }
}

/// What the first committed record of each partition says; partitions without any below their bound are left out.
/// `None` when it may not go on until all is known.
pub fn first_records(
    reader: &mut dyn Reader,
    partitions: &[(TopicPartition, i64)],
    patience: Duration,
    may_go_on: impl Fn() -> bool,
) -> anyhow::Result<Option<HashMap<i32, ChangelogId>>> {
    let mut firsts = HashMap::new();
    if partitions.is_empty() {
        return Ok(Some(firsts));
    }
    let from: Vec<_> = partitions.iter().map(|(at, _)| (at.clone(), Position::Beginning)).collect();
    reader.assign(&from)?;
    let deadline = Instant::now() + patience;
    while may_go_on() {
        let polled = reader.poll(1, POLL, &mut |record| {
            firsts.entry(record.partition).or_insert_with(|| marker::read(record));
        });
        match polled {
            Ok(_) => {}
            Err(error) if error.is_retriable() => {
                tracing::debug!(%error, "restore waits for the log");
            }
            Err(error) => return Err(error.into()),
        }
        let waits = |(at, bound): &&(TopicPartition, i64)| {
            !firsts.contains_key(&at.partition) && reader.position(at).is_none_or(|position| position < *bound)
        };
        let Some((at, _)) = partitions.iter().find(waits) else { return Ok(Some(firsts)) };
        if Instant::now() > deadline {
            bail!("the first record of {at} was not read within {} s", patience.as_secs());
        }
    }
    Ok(None)
}
