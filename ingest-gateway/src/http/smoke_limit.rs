//! The hard rate limit of the lane without a key: a token bucket.

use std::time::Instant;

use parking_lot::Mutex;

use crate::config::SmokeTestConfig;

/// A token bucket shared by all keyless requests.
#[derive(Debug)]
pub struct SmokeLimit {
    per_second: f64,
    burst: f64,
    state: Mutex<(f64, Instant)>,
}

impl SmokeLimit {
    pub fn new(config: SmokeTestConfig, now: Instant) -> Self {
        let burst = f64::from(config.burst);
        Self { per_second: f64::from(config.requests_per_second), burst, state: Mutex::new((burst, now)) }
    }

    /// Takes one token; else says after how many seconds there will be one.
    pub fn take(&self, now: Instant) -> Result<(), u32> {
        let mut state = self.state.lock();
        let (tokens, since) = &mut *state;
        *tokens = (*tokens + now.saturating_duration_since(*since).as_secs_f64() * self.per_second).min(self.burst);
        *since = now;
        if *tokens >= 1.0 {
            *tokens -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - *tokens) / self.per_second.max(0.001);
        Err(wait.ceil().clamp(1.0, 3_600.0) as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_burst_is_taken_at_once_and_then_the_rate_holds() {
        let start = Instant::now();
        let limit = SmokeLimit::new(SmokeTestConfig { requests_per_second: 2, burst: 3 }, start);
        assert_eq!((0..4).map(|_| limit.take(start)).collect::<Vec<_>>(), [Ok(()), Ok(()), Ok(()), Err(1)]);
        assert_eq!(limit.take(start + Duration::from_millis(500)), Ok(()));
        assert_eq!(limit.take(start + Duration::from_millis(900)), Err(1));
        assert_eq!(limit.take(start + Duration::from_secs(3_600)), Ok(()));
    }
}
