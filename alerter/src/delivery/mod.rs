//! From the outbox to the receivers.
//!
//! Each receiver reads the outbox as a consumer group of its own, so that none waits for another. What the group has
//! committed is the record of what was delivered ([`progress`]); a crash between a receiver's acceptance and that
//! record makes the same notification come again, with the same id. [`queue`] says what is tried when.

mod progress;
mod queue;
mod sink;

use std::{sync::Arc, time::Duration};

use service_kit::Kit;
use stream_runtime::{
    log::Log,
    sink::{self as runner, SinkOptions},
};
use telemetry_schemas::{Millis, topics};

pub use self::sink::DeliverySink;
use self::sink::Parts;
use crate::{config::ReceiverConfig, message::Messages, metrics::AlerterMetrics, receivers, route::Routes, wire::Wire};

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
    pub metrics: AlerterMetrics,
    pub max_age: Millis,
}

impl Delivery {
    /// Starts the delivery to one receiver. The `first` also looks after what is for none.
    pub fn start(&self, config: &ReceiverConfig, first: bool, kit: &Kit) -> anyhow::Result<()> {
        let name = config.name.clone();
        let group = group(&name);
        let sink = DeliverySink::new(Parts {
            group: group.clone(),
            receiver: receivers::build(config)?,
            log: self.log.clone(),
            wire: self.wire.clone(),
            messages: self.messages.clone(),
            routes: first.then(|| self.routes.clone()),
            metrics: self.metrics.clone(),
            health: kit.health().check(format!("alert-receiver-{name}")),
            shutdown: kit.shutdown(),
            max_age: self.max_age,
            name: name.clone(),
        });
        let mut options =
            SinkOptions::new(format!("alerts-{name}"), group, vec![topics::ALERT_NOTIFICATIONS.to_owned()]);
        options.batch_interval = BATCH_INTERVAL;
        options.batch_records = BATCH_RECORDS;
        runner::run(options, self.log.clone(), sink, kit)
    }
}
