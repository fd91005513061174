//! The buckets that all gateways share. Redis is a cache: while it is away, slow or full, each gateway decides alone.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{
    Client, Script, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::time::Instant;

use super::bucket::{Ask, Taken};
use crate::metrics::LimitMetrics;

/// After a failure Redis is left alone for so long, so that an outage costs requests no time.
const PAUSE: Duration = Duration::from_secs(1);

const PREFIX: &str = "ttf:limit:";

pub struct Shared {
    connection: ConnectionManager,
    script: Arc<Script>,
    timeout: Duration,
    paused_until: Mutex<Option<Instant>>,
    metrics: LimitMetrics,
}

impl Shared {
    /// Connects when it is first used. Must be called on a runtime.
    pub fn new(url: &str, timeout: Duration, metrics: LimitMetrics) -> anyhow::Result<Self> {
        let client = Client::open(url).map_err(|_| anyhow::anyhow!("gateway.redis: not a Redis address"))?;
        let settings = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        Ok(Self {
            connection: ConnectionManager::new_lazy_with_config(client, settings)?,
            script: Arc::new(Script::new(include_str!("take.lua"))),
            timeout,
            paused_until: Mutex::new(None),
            metrics,
        })
    }

    /// `None` when Redis is away, slow, or was a moment ago.
    pub async fn take(&self, asks: &[Ask]) -> Option<Taken> {
        let is_paused = self.paused_until.lock().is_some_and(|until| Instant::now() < until);
        if is_paused {
            self.metrics.alone.inc();
            return None;
        }
        let mut call = self.script.prepare_invoke();
        for ask in asks {
            call.key(format!("{PREFIX}{}", ask.id));
        }
        for ask in asks {
            call.arg(ask.rate).arg(ask.burst).arg(ask.cost);
        }
        let mut connection = self.connection.clone();
        let answer = tokio::time::timeout(self.timeout, call.invoke_async::<Vec<Value>>(&mut connection)).await;
        let failure = match answer {
            Ok(Ok(answer)) => match read(&answer, asks.len()) {
                Some(taken) => {
                    *self.paused_until.lock() = None;
                    return Some(taken);
                }
                None => "an answer of another shape".to_owned(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.metrics.alone.inc();
        let was_paused = self.paused_until.lock().replace(Instant::now() + PAUSE).is_some();
        if !was_paused {
            tracing::warn!(error = failure, "Redis is away; this gateway keeps to the rate limits alone");
        }
        None
    }
}

fn read(answer: &[Value], buckets: usize) -> Option<Taken> {
    let [Value::Int(refused), Value::Int(wait_ms), tokens @ ..] = answer else {
        return None;
    };
    let number = |value: &Value| match value {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse::<f64>().ok(),
        _ => None,
    };
    let tokens: Vec<f64> = tokens.iter().map(number).collect::<Option<_>>()?;
    let refused = usize::try_from(*refused).ok()?.checked_sub(1);
    (tokens.len() == buckets).then_some(Taken { refused, wait: *wait_ms as f64 / 1_000.0, tokens })
}
