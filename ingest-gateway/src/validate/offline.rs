//! Checking without a gateway: what `ttf validate` does with a file of events.

use telemetry_schemas::time::{EventTime, Millis};

use super::{Violation, event};
use crate::{
    config::GatewayConfig,
    judge::DEFAULT_MAX_AGE,
    normalise::{self, ClockRules},
};

/// What an event is held against besides the schema.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    event_bytes: usize,
    clock: ClockRules,
}

impl From<&GatewayConfig> for Limits {
    fn from(config: &GatewayConfig) -> Self {
        let clock = ClockRules {
            max_skew: Millis(config.max_skew.millis()),
            max_future: Millis(config.max_future.millis()),
            max_age: DEFAULT_MAX_AGE,
        };
        Self { event_bytes: config.limits.event_bytes.as_usize(), clock }
    }
}

/// Everything that is wrong with an event, as if it came in at `received_at_ms`; empty when it would be accepted.
pub fn check(raw: &[u8], limits: &Limits, received_at_ms: i64) -> Vec<Violation> {
    let checked = match event(raw, limits.event_bytes) {
        Ok(checked) => checked,
        Err(invalid) => return invalid.violations,
    };
    let times = normalise::times(checked.timestamp(), None, EventTime(received_at_ms), &limits.clock);
    times.err().into_iter().collect()
}
