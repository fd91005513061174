//! The first stage: breaches, keyed by user, become the same breaches keyed by alert group.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use prometheus::IntCounterVec;
use stream_runtime::{
    keyed::Clock,
    log::{NewRecord, RecordRef},
    transform::Transform,
};
use telemetry_schemas::{BreachStatus, EventTime, Millis, TtfBreach, topics};

use super::{LATE_PREFIX, NotRouted, Routes, admit, all_labels};
use crate::{metrics::AlerterMetrics, wire::Wire};

const ROUTED: &str = "routed";
const UNDECODABLE: &str = "undecodable";

/// Routes one breach after the other.
pub struct RouteStage {
    routes: Arc<Routes>,
    wire: Wire,
    max_age: Millis,
    clock: Clock,
    groups: Arc<str>,
    breaches: IntCounterVec,
    /// Outcomes of the open transaction.
    open: HashMap<&'static str, u64>,
}

impl RouteStage {
    pub fn new(routes: Arc<Routes>, wire: Wire, max_age: Millis, clock: Clock, metrics: &AlerterMetrics) -> Self {
        Self {
            routes,
            wire,
            max_age,
            clock,
            groups: topics::ALERT_GROUPS.into(),
            breaches: metrics.breaches.clone(),
            open: HashMap::new(),
        }
    }

    fn outcome(&mut self, record: &RecordRef<'_>, out: &mut Vec<NewRecord>) -> &'static str {
        let now_ms = self.clock.now_ms();
        let breach: TtfBreach = match self.wire.read(record) {
            Ok(breach) => breach,
            Err(poison) => {
                tracing::warn!(partition = record.partition, offset = record.offset, %poison, "a breach cannot be read");
                out.push(self.wire.rejection(record, &poison, now_ms));
                return UNDECODABLE;
            }
        };
        if let Err(reason) = admit(&breach, EventTime(now_ms), self.max_age) {
            tracing::debug!(breach = breach.breach_id, reason = reason.as_str(), "a breach is not routed");
            let is_past = matches!(reason, NotRouted::Late | NotRouted::TooOld);
            if is_past && breach.status == BreachStatus::Firing {
                let key = format!("{LATE_PREFIX}{}:{}", breach.tenant, breach.journey);
                let value = Bytes::copy_from_slice(record.value.unwrap_or_default());
                out.push(NewRecord::new(self.groups.clone(), key, value).with_timestamp(now_ms));
            }
            return reason.as_str();
        }
        let value = Bytes::copy_from_slice(record.value.unwrap_or_default());
        if self.routes.need_memory() {
            let key = self.routes.memory_key(&breach);
            out.push(NewRecord::new(self.groups.clone(), key, value).with_timestamp(now_ms));
            return ROUTED;
        }
        for routed in self.routes.route(&all_labels(&breach)) {
            // Stamped now: the groups' topic keeps a day only, and the breach may be older.
            out.push(NewRecord::new(self.groups.clone(), routed.group_key, value.clone()).with_timestamp(now_ms));
        }
        ROUTED
    }
}

impl Transform for RouteStage {
    fn map(&mut self, record: &RecordRef<'_>, out: &mut Vec<NewRecord>) {
        let outcome = self.outcome(record, out);
        *self.open.entry(outcome).or_default() += 1;
    }

    fn committed(&mut self) {
        for (outcome, count) in self.open.drain() {
            self.breaches.with_label_values(&[outcome]).inc_by(count);
        }
    }

    fn rolled_back(&mut self) {
        self.open.clear();
    }
}
