//! The alerter as a service of a process.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use parking_lot::RwLock;
use service_kit::Kit;
use stream_runtime::{
    keyed::{self, Clock, KeyedOptions},
    log::Log,
    transform::{self, TransformOptions},
};
use telemetry_schemas::{Codec, Millis, topics};

use crate::{
    checks,
    config::AlerterConfig,
    delivery::{self, Delivery, Lines},
    group::{
        codec::GroupCodec,
        processor::{GroupProcessor, Keeping},
        room::Bounds,
    },
    message::Messages,
    metrics::AlerterMetrics,
    mutes::{
        Mutes,
        follow::{self, SharedMutes},
    },
    route::{RouteStage, Routes},
    wire::Wire,
};

/// Name of the application that keeps the groups, and of its consumer group.
pub const GROUP: &str = "ttf-alerter";
/// Name of the application that routes breaches, and of its consumer group.
pub const ROUTER_GROUP: &str = "ttf-alerter-router";

/// How often a due group asks how far its partition reaches: half of this is added to the average delay.
const TIMER_INTERVAL: Duration = Duration::from_millis(250);

const A_DAY: Millis = Millis(86_400_000);

/// Starts the alerter on threads and tasks of the kit and returns; the process then waits in [`Kit::join`].
///
/// # Errors
/// When the configuration contradicts itself or a runtime cannot start.
pub async fn run(config: AlerterConfig, log: Arc<dyn Log>, codec: Codec, kit: &Kit) -> anyhow::Result<()> {
    config.check()?;
    let routes = Arc::new(Routes::new(&config));
    // Before anything runs: what is wrong with a template is known at once.
    let messages = Messages::new(&config, routes.clone()).context("a message template is damaged")?;
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
    let mutes: SharedMutes = Arc::new(RwLock::new(Mutes::new(&config)));
    let known = follow::start(log.clone(), wire.clone(), mutes.clone(), kit);
    tokio::select! {
        // An end of the follower ends the process by itself.
        _ = known => {}
        () = kit.shutdown().cancelled_owned() => return Ok(()),
    }
    let keeping = Keeping {
        forget_after: Millis(config.forget_after.millis()),
        keep_history: Millis(config.keep_history.millis()),
        bounds: Bounds::default(),
    };
    let processor = Arc::new(GroupProcessor::new(routes.clone(), keeping, mutes, &metrics));
    let group_codec = Arc::new(GroupCodec::new(wire.clone()));
    let (log_of_groups, kit_of_groups) = (log.clone(), kit.clone());
    let (checks, log_of_checks, wire_of_checks) = (config.checks.clone(), log.clone(), wire.clone());
    let (routes_of_checks, kit_of_checks) = (routes.clone(), kit.clone());
    tokio::task::spawn_blocking(move || {
        checks::start(checks, log_of_checks, wire_of_checks, routes_of_checks, &kit_of_checks)
    })
    .await?
    .context("cannot look at anything besides deadlines")?;
    tokio::task::spawn_blocking(move || keyed::run(options, log_of_groups, processor, group_codec, &kit_of_groups))
        .await?
        .context("cannot keep alert groups")?;

    let lines = Arc::new(Lines::new(&config, &metrics)?);
    let keep_receipts = delivery::Keeping {
        any: Millis(config.forget_after.millis() + config.max_notification_age.millis() + A_DAY.0),
        undelivered: Millis(config.keep_history.millis()),
    };
    let delivery = Delivery { log, wire, messages, routes, lines, metrics, max_age, keep_receipts };
    for (index, receiver) in config.receivers.iter().enumerate() {
        delivery
            .start(receiver, index == 0, kit)
            .with_context(|| format!("cannot deliver to receiver `{}`", receiver.name))?;
    }
    Ok(())
}
