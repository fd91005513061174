//! The alerter as a service of a process.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use service_kit::Kit;
use stream_runtime::{
    keyed::{self, Clock, KeyedOptions},
    log::Log,
    transform::{self, TransformOptions},
};
use telemetry_schemas::{Codec, Millis, topics};

use crate::{
    config::AlerterConfig,
    delivery::Delivery,
    group::{codec::GroupCodec, processor::GroupProcessor},
    message::Messages,
    metrics::AlerterMetrics,
    route::{RouteStage, Routes},
    wire::Wire,
};

/// Name of the application that keeps the groups, and of its consumer group.
pub const GROUP: &str = "ttf-alerter";
/// Name of the application that routes breaches, and of its consumer group.
pub const ROUTER_GROUP: &str = "ttf-alerter-router";

/// How often a due group asks how far its partition reaches: half of this is added to the average delay.
const TIMER_INTERVAL: Duration = Duration::from_millis(250);

/// Starts the alerter on threads and tasks of the kit and returns; the process then waits in [`Kit::join`].
///
/// # Errors
/// When the configuration contradicts itself or a runtime cannot start.
pub async fn run(config: AlerterConfig, log: Arc<dyn Log>, codec: Codec, kit: &Kit) -> anyhow::Result<()> {
    config.check()?;
    let routes = Arc::new(Routes::new(&config));
    let metrics = AlerterMetrics::new(kit.metrics());
    let wire = Wire::new(codec);
    let max_age = Millis(config.max_notification_age.millis());
    let runtime = config.runtime();

    let mut router = TransformOptions::new(
        ROUTER_GROUP,
        &*runtime.ordinal,
        ROUTER_GROUP,
        vec![topics::TTF_BREACHES.to_owned()],
        "ttf_alerter_router",
    );
    router.commit_interval = config.commit_interval.as_std();
    let stage = RouteStage::new(routes.clone(), wire.clone(), max_age, Clock::system(), &metrics);
    transform::run(router, log.clone(), stage, kit).context("cannot route breaches")?;

    let mut options = KeyedOptions::new(
        GROUP,
        GROUP,
        vec![topics::ALERT_GROUPS.to_owned(), topics::ALERT_COMMANDS.to_owned()],
        topics::ALERT_STATE,
        "ttf_alerter",
        &runtime,
    );
    options.timer_interval = TIMER_INTERVAL;
    let processor = Arc::new(GroupProcessor::new(routes.clone(), Millis(config.forget_after.millis()), &metrics));
    let group_codec = Arc::new(GroupCodec::new(wire.clone()));
    let (log_of_groups, kit_of_groups) = (log.clone(), kit.clone());
    tokio::task::spawn_blocking(move || keyed::run(options, log_of_groups, processor, group_codec, &kit_of_groups))
        .await?
        .context("cannot keep alert groups")?;

    let messages = Messages::new(&config, routes.clone()).context("a message template is damaged")?;
    let delivery = Delivery { log, wire, messages, routes, metrics, max_age };
    for (index, receiver) in config.receivers.iter().enumerate() {
        delivery
            .start(receiver, index == 0, kit)
            .with_context(|| format!("cannot deliver to receiver `{}`", receiver.name))?;
    }
    Ok(())
}
