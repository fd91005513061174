//! Follows erasures to their end: the processor's part, and the word that all of it is done.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use prometheus::{IntCounter, IntGauge};
use service_kit::Kit;
use stream_runtime::log::{Log, NewRecord, Publisher, TopicPartition};
use telemetry_schemas::{
    Codec,
    audit::AuditEntry,
    time::EventTime,
    topics::{AUDIT, ERASURES},
};

use super::certificate::{Certificate, Step};
use crate::database::{Database, DatabaseError};

/// The consumer group of the processor.
const PROCESSOR_GROUP: &str = "ttf-processor";
const INTERVAL: Duration = Duration::from_secs(2);
const CALL: Duration = Duration::from_secs(10);

/// Watches erasures that are not complete.
pub struct Watch {
    pub database: Arc<dyn Database>,
    pub log: Arc<dyn Log>,
    pub codec: Codec,
    /// After this the live view has nothing of a user it could not be told to forget.
    pub live_view_ttl: Duration,
}

/// Starts the watch on the kit. Every archiver may: each step is noted once.
///
/// # Errors
/// When the log gives no publisher.
pub fn start(watch: Watch, kit: &Kit) -> anyhow::Result<()> {
    let publisher = watch.log.publisher()?;
    let open = kit.metrics().gauge("ttf_erasures_open", "Erasures that are not complete everywhere.");
    let completed = kit.metrics().counter("ttf_erasures_completed_total", "Erasures that are complete everywhere.");
    let shutdown = kit.shutdown();
    kit.spawn("erasures", async move {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(INTERVAL) => {}
            }
            if let Err(error) = watch.round(&*publisher, &open, &completed).await {
                tracing::debug!(error = format!("{error:#}"), "erasures are looked after later");
            }
        }
    });
    Ok(())
}

impl Watch {
    async fn round(&self, publisher: &dyn Publisher, open: &IntGauge, completed: &IntCounter) -> anyhow::Result<()> {
        let certificates = self.database.certificates(None).await?;
        open.set(certificates.len() as i64);
        if certificates.is_empty() {
            return Ok(());
        }
        let processed = self.processed(&certificates).await?;
        for certificate in certificates {
            if self.advance(certificate, &processed, publisher).await? {
                completed.inc();
            }
        }
        Ok(())
    }

    /// How far the processor is with each partition of requests.
    async fn processed(&self, certificates: &[Certificate]) -> anyhow::Result<BTreeMap<i32, i64>> {
        let partitions: std::collections::BTreeSet<i32> = certificates.iter().map(|c| c.partition).collect();
        let partitions: Vec<_> = partitions.into_iter().map(|n| TopicPartition::new(ERASURES, n)).collect();
        let log = Arc::clone(&self.log);
        let committed =
            tokio::task::spawn_blocking(move || log.committed(PROCESSOR_GROUP, &partitions, CALL)).await??;
        Ok(committed.into_iter().filter_map(|committed| Some((committed.at.partition, committed.next?))).collect())
    }

    /// True when it is complete now.
    async fn advance(
        &self,
        certificate: Certificate,
        processed: &BTreeMap<i32, i64>,
        publisher: &dyn Publisher,
    ) -> anyhow::Result<bool> {
        let now = EventTime(jiff::Timestamp::now().as_millisecond());
        let id = certificate.erasure_id.clone();
        let note = async |step| self.database.note_certificate(&id, step, now).await;
        let mut steps = (certificate.live_view_at.is_some(), certificate.processor_at.is_some());
        let ttl = i64::try_from(self.live_view_ttl.as_millis()).unwrap_or(i64::MAX);
        if !steps.0 && now.0.saturating_sub(certificate.database_at.0) > ttl {
            note(Step::LiveView).await?;
            steps.0 = true;
        }
        let is_past = processed.get(&certificate.partition).is_some_and(|next| *next > certificate.offset);
        if !steps.1 && is_past {
            note(Step::Processor).await?;
            steps.1 = true;
        }
        if steps != (true, true) {
            return Ok(false);
        }
        // The entry first: a second one has the same id, a missing one could not be made up for.
        self.tell(&certificate, now, publisher).await?;
        Ok::<_, DatabaseError>(note(Step::Complete).await?).map_err(Into::into)
    }

    async fn tell(&self, certificate: &Certificate, now: EventTime, publisher: &dyn Publisher) -> anyhow::Result<()> {
        let mut details: BTreeMap<String, String> = BTreeMap::new();
        details.insert("copies_until".to_owned(), certificate.copies_until().to_rfc3339());
        let rows: u64 = certificate.deleted.values().sum();
        details.insert("rows_deleted".to_owned(), rows.to_string());
        let entry = AuditEntry {
            audit_id: format!("{}-complete", certificate.erasure_id),
            tenant: certificate.tenant.clone(),
            at: now,
            actor: "system".to_owned(),
            action: "erasure_complete".to_owned(),
            target: certificate.erasure_id.clone(),
            origin: String::new(),
            details,
        };
        let codec = self.codec.clone();
        let value = tokio::task::spawn_blocking({
            let entry = entry.clone();
            move || codec.encode(&entry)
        })
        .await??;
        publisher.publish(NewRecord::new(AUDIT, entry.tenant.into_bytes(), value).with_timestamp(now.0))?.await?;
        Ok(())
    }
}
