//! From the outbox to the receivers.
//!
//! Each receiver reads the outbox as a consumer group of its own, so that none waits for another. What the group has
//! committed ([`progress`]) and the [`receipts`] say what was delivered; a crash between a receiver's acceptance and its
//! receipt makes the same notification come again, with the same id, and is counted. [`queue`] says what is tried when,
//! [`gate`] whether the receiver may be told anything now, and [`trouble`] speaks of one that is dead.

mod attempt;
mod gate;
mod line;
mod progress;
mod queue;
pub(crate) mod receipts;
mod sink;
mod trouble;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use service_kit::Kit;
use stream_runtime::{
    log::Log,
    sink::{self as runner, SinkOptions},
};
use telemetry_schemas::{Millis, topics};

pub use self::{line::Lines, receipts::Keeping, sink::DeliverySink};
use self::{receipts::Receipts, sink::Parts};
use crate::{config::ReceiverConfig, message::Messages, metrics::AlerterMetrics, route::Routes, wire::Wire};

/// A notification is on its way at the latest this long after it was read.
const BATCH_INTERVAL: Duration = Duration::from_millis(10);
const BATCH_RECORDS: usize = 100;

/// Consumer group of a receiver.
pub fn group(receiver: &str) -> String {
    format!("ttf-alerter-delivery-{receiver}")
}

/// What all deliveries have in common.
pub struct Delivery {
    pub log: Arc<dyn Log>,
    pub wire: Wire,
    pub messages: Messages,
    pub routes: Arc<Routes>,
    pub lines: Arc<Lines>,
    pub metrics: AlerterMetrics,
    pub max_age: Millis,
    pub keep_receipts: Keeping,
}

impl Delivery {
    /// Starts the delivery to one receiver. The `first` also looks after what is for none.
    ///
    /// # Errors
    /// When it cannot join its group, or the log has no producer for it.
    pub fn start(&self, config: &ReceiverConfig, first: bool, kit: &Kit) -> anyhow::Result<()> {
        let name = config.name.clone();
        let group = group(&name);
        let sink = DeliverySink::new(Parts {
            group: group.clone(),
            line: self.lines.get(&name).context("every receiver has a line")?,
            lines: self.lines.clone(),
            receipts: Arc::new(Receipts::new(&name, self.log.clone(), self.keep_receipts)?),
            log: self.log.clone(),
            wire: self.wire.clone(),
            messages: self.messages.clone(),
            routes: first.then(|| self.routes.clone()),
            metrics: self.metrics.clone(),
            health: kit.health().check(format!("alert-receiver-{name}")),
            shutdown: kit.shutdown(),
            max_age: self.max_age,
        });
        let mut options =
            SinkOptions::new(format!("alerts-{name}"), group, vec![topics::ALERT_NOTIFICATIONS.to_owned()]);
        options.batch_interval = BATCH_INTERVAL;
        options.batch_records = BATCH_RECORDS;
        runner::run(options, self.log.clone(), sink, kit)
    }
}
