//! Feeds the database: a batch of the log is one transaction of rows and offsets.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use fail::fail_point;
use stream_runtime::{
    log::{NextOffset, Position, Record, TopicPartition},
    sink::{Sink, SinkError},
};
use telemetry_schemas::{Codec, JourneyStatus, TtfRecord, time::EventTime};

use super::{
    Database, DatabaseError, Written,
    rows::{Batch, OffsetMove, Sourced, newest},
};
use crate::{
    decode::{Decoded, Message, decode_all, without_headers},
    live_view::LiveView,
    metrics::Metrics,
    privacy::certificate::Step,
    rejects::{Reject, Rejects},
};

/// The database as a sink.
pub struct DatabaseSink {
    database: Arc<dyn Database>,
    live_view: Arc<dyn LiveView>,
    codec: Codec,
    rejects: Rejects,
    metrics: Metrics,
    /// Names this process in `sink_offsets`.
    owner: String,
    /// What `sink_offsets` holds for each of our partitions, as far as we know.
    expected: HashMap<TopicPartition, i64>,
    /// Dead letters already published for a batch that is not committed yet.
    rejected: HashSet<(TopicPartition, i64)>,
}

impl DatabaseSink {
    pub fn new(
        database: Arc<dyn Database>,
        live_view: Arc<dyn LiveView>,
        codec: Codec,
        rejects: Rejects,
        metrics: Metrics,
        owner: String,
    ) -> Self {
        Self { database, live_view, codec, rejects, metrics, owner, expected: HashMap::new(), rejected: HashSet::new() }
    }

    async fn decode(&self, batch: &[Record]) -> Result<Decoded, SinkError> {
        let codec = self.codec.clone();
        let records: Vec<Record> = batch.iter().map(without_headers).collect();
        tokio::task::spawn_blocking(move || decode_all(&codec, &records))
            .await
            .map_err(|error| SinkError::Fatal(format!("decoding ended early: {error}")))?
            .map_err(|error| SinkError::Unavailable(error.to_string()))
    }

    fn offsets(&self, batch: &[Record]) -> Result<Vec<OffsetMove>, SinkError> {
        let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        for record in batch {
            let next = next.entry(record.at()).or_insert(0);
            *next = (*next).max(record.offset + 1);
        }
        next.into_iter()
            .map(|(at, next)| {
                let expected = *self
                    .expected
                    .get(&at)
                    .ok_or_else(|| SinkError::Moved(format!("{at} is not assigned to this process")))?;
                Ok(OffsetMove { topic: at.topic, partition: at.partition, expected, next: next.max(expected) })
            })
            .collect()
    }

    async fn reject(&mut self, record: &Record, code: &'static str, message: String) -> Result<(), SinkError> {
        let place = (record.at(), record.offset);
        if self.rejected.contains(&place) {
            return Ok(());
        }
        tracing::warn!(topic = %record.topic, partition = record.partition, offset = record.offset, code, "record cannot be archived");
        self.rejects.publish(Reject { record, code, message }).await.map_err(SinkError::Unavailable)?;
        self.metrics.dead_letters.with_label_values(&[&*record.topic, code]).inc();
        self.rejected.insert(place);
        Ok(())
    }

    /// Writes the batch; rows that can never be stored are dead-lettered, and the rest is written without them.
    async fn commit(&mut self, records: &[Record], mut batch: Batch) -> Result<(Arc<Batch>, Written), SinkError> {
        loop {
            let attempt = Arc::new(batch);
            match self.database.write(&self.owner, Arc::clone(&attempt)).await {
                Ok(written) => return Ok((attempt, written)),
                Err(DatabaseError::Poison(poison)) => {
                    for &index in &poison {
                        self.reject(&records[index], "unstorable", "the database refuses the row".to_owned()).await?;
                    }
                    batch = without(attempt, &poison);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn show(&self, batch: &Batch, written: &Written) {
        for erasure in batch.erasures.iter().map(|sourced| &sourced.row) {
            if self.live_view.remove(&erasure.tenant, &erasure.user_id).await {
                self.note_live_view(&erasure.erasure_id).await;
            }
        }
        let ended = batch
            .records
            .iter()
            .filter(|s| s.row.status == JourneyStatus::Erased)
            .map(|s| (s.row.tenant.as_str(), s.row.user_id.as_str()));
        for (tenant, user_id) in ended.collect::<BTreeSet<_>>() {
            self.live_view.remove(tenant, user_id).await;
        }
        let kept: HashSet<usize> = written.kept_records.iter().copied().collect();
        let records = batch.records.iter().filter(|s| kept.contains(&s.index)).map(|s| &s.row);
        let newest: Vec<TtfRecord> = newest(records).into_iter().cloned().collect();
        if !newest.is_empty() {
            self.live_view.put(&newest).await;
        }
    }

    /// A note that is lost is made up for when what the live view had has expired.
    async fn note_live_view(&self, erasure_id: &str) {
        let now = EventTime(jiff::Timestamp::now().as_millisecond());
        if let Err(error) = self.database.note_certificate(erasure_id, Step::LiveView, now).await {
            tracing::debug!(%error, "that the live view forgot a user is noted later");
        }
    }

    fn count(&self, batch: &Batch, written: &Written) {
        for (table, rows) in
            [("events", written.events), ("ttf_records", written.records), ("breaches", written.breaches)]
        {
            self.metrics.rows.with_label_values(&[table, "written"]).inc_by(rows as u64);
        }
        self.metrics.rows.with_label_values(&["all", "forgotten"]).inc_by(written.forgotten as u64);
        let now = jiff::Timestamp::now().as_millisecond();
        for event in batch.events.iter().filter(|sourced| !sourced.row.replay) {
            let waited = EventTime(now).since(event.row.received_at).0.max(0);
            self.metrics.pipeline_latency.observe(waited as f64 / 1_000.0);
        }
    }
}

#[async_trait]
impl Sink for DatabaseSink {
    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Position)>, SinkError> {
        self.rejected.clear();
        let next = self.database.claim(&self.owner, partitions).await?;
        // Whoever wrote before us may have ended between its commit and the live view.
        self.live_view.distrust().await;
        let mut positions = Vec::with_capacity(partitions.len());
        for (at, next) in partitions.iter().zip(next) {
            self.expected.insert(at.clone(), next);
            let position = if next == 0 { Position::Beginning } else { Position::Offset(next) };
            positions.push((at.clone(), position));
        }
        Ok(positions)
    }

    async fn revoked(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            self.expected.remove(at);
        }
        self.rejected.clear();
    }

    async fn write(&mut self, records: &[Record]) -> Result<Vec<NextOffset>, SinkError> {
        let offsets = self.offsets(records)?;
        let mut batch = Batch { offsets, ..Batch::default() };
        for (index, decoded) in self.decode(records).await?.into_iter().enumerate() {
            match decoded {
                Ok(Message::Event(row)) => batch.events.push(Sourced { index, row: *row }),
                Ok(Message::Record(row)) => batch.records.push(Sourced { index, row: *row }),
                Ok(Message::Breach(row)) => batch.breaches.push(Sourced { index, row: *row }),
                Ok(Message::Erasure(row)) => {
                    batch.places.insert(index, (records[index].partition, records[index].offset));
                    batch.erasures.push(Sourced { index, row: *row });
                }
                Err(why) => self.reject(&records[index], why.code(), why.to_string()).await?,
            }
        }
        let (batch, written) = self.commit(records, batch).await?;
        fail_point!("archiver::database::after_write", |_| Err(DatabaseError::at("after_write").into()));
        self.rejected.clear();
        for offset in &batch.offsets {
            self.expected.insert(TopicPartition::new(offset.topic.clone(), offset.partition), offset.next);
        }
        self.count(&batch, &written);
        self.show(&batch, &written).await;
        Ok(batch
            .offsets
            .iter()
            .map(|offset| NextOffset {
                at: TopicPartition::new(offset.topic.clone(), offset.partition),
                next: offset.next,
                metadata: String::new(),
            })
            .collect())
    }

    async fn tick(&mut self) -> Result<Vec<NextOffset>, SinkError> {
        self.live_view.maintain().await;
        Ok(Vec::new())
    }
}

fn without(batch: Arc<Batch>, poison: &BTreeSet<usize>) -> Batch {
    let mut batch = Arc::unwrap_or_clone(batch);
    batch.remove(poison);
    batch
}
