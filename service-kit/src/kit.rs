//! The lifecycle of a process: tasks and threads that must not end before they are told to.

use std::{
    any::Any,
    borrow::Cow,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::anyhow;
use tokio::{runtime, signal::unix, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{health::Health, metrics::Metrics, process::ProcessCollector};

/// Name of a task or thread, as errors and logs show it.
pub type TaskName = Cow<'static, str>;

/// Exit code of a process that was interrupted twice: 128 + SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// Everything a service needs from its process. Cheap to clone.
///
/// A task that fails, panics or ends before shutdown ends the process: half a service is worse than a restarted one.
#[derive(Debug, Clone)]
pub struct Kit {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    service: String,
    started_at: Instant,
    metrics: Metrics,
    health: Health,
    shutdown: CancellationToken,
    ended: CancellationToken,
    joined: AtomicBool,
    next_id: AtomicU64,
    tasks: watch::Sender<Tasks>,
}

/// What `join` waits for.
#[derive(Debug, Default)]
struct Tasks {
    running: BTreeMap<u64, Task>,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Task {
    name: TaskName,
    /// A background task serves until the very end (the admin endpoints): nobody waits for it.
    background: bool,
}

#[derive(Debug)]
struct Failure {
    name: TaskName,
    error: anyhow::Error,
}

impl Kit {
    pub fn new(service: &str) -> Self {
        let metrics = Metrics::default();
        metrics
            .gauge_vec("ttf_build_info", "What this process was built from; always 1.", &["version", "commit"])
            .with_label_values(&[crate::VERSION, crate::COMMIT])
            .set(1);
        ProcessCollector::new()
            .and_then(|collector| metrics.register(Box::new(collector)))
            .expect("the registry is new and the names are constants");
        Self {
            inner: Arc::new(Inner {
                service: service.to_owned(),
                started_at: Instant::now(),
                metrics,
                health: Health::default(),
                shutdown: CancellationToken::new(),
                ended: CancellationToken::new(),
                joined: AtomicBool::new(false),
                next_id: AtomicU64::new(0),
                tasks: watch::Sender::new(Tasks::default()),
            }),
        }
    }

    /// A kit of its own for a test.
    pub fn for_test() -> Self {
        Self::new("test")
    }

    /// Name of the service this process runs.
    pub fn service(&self) -> &str {
        &self.inner.service
    }

    pub fn uptime(&self) -> Duration {
        self.inner.started_at.elapsed()
    }

    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    pub fn health(&self) -> &Health {
        &self.inner.health
    }

    /// Cancelled when the process is asked to end, or when a task failed: drain and return.
    pub fn shutdown(&self) -> CancellationToken {
        self.inner.shutdown.clone()
    }

    /// Cancelled when [`Kit::join`] is done with waiting.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.inner.ended.clone()
    }

    /// What keeps the process from being ready; empty when it is.
    pub fn not_ready(&self) -> Vec<String> {
        if self.inner.shutdown.is_cancelled() {
            return vec!["shutting down".to_owned()];
        }
        let mut reasons = self.inner.health.not_ready();
        if !self.inner.joined.load(Ordering::Acquire) {
            reasons.insert(0, "starting".to_owned());
        }
        reasons
    }

    /// Runs a task of the service until shutdown. When it errs, panics or ends earlier, the process ends.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn spawn(&self, name: impl Into<TaskName>, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.spawn_task(name.into(), false, task);
    }

    /// As [`Kit::spawn`], but [`Kit::join`] does not wait for it: it serves until everything else has ended.
    pub(crate) fn spawn_background(
        &self,
        name: impl Into<TaskName>,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.spawn_task(name.into(), true, task);
    }

    fn spawn_task(
        &self,
        name: TaskName,
        background: bool,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let id = self.begin(name, background);
        let running = tokio::spawn(task);
        let kit = self.clone();
        tokio::spawn(async move {
            let result = match running.await {
                Ok(result) => result,
                Err(error) if error.is_panic() => Err(panicked(error.into_panic().as_ref())),
                Err(error) => Err(error.into()),
            };
            kit.end(id, result);
        });
    }

    /// Runs blocking work on a thread of its own; the same rules as for [`Kit::spawn`]. Inside a Tokio runtime the
    /// thread can reach it through `tokio::runtime::Handle::current()`.
    pub fn spawn_thread(&self, name: impl Into<TaskName>, work: impl FnOnce() -> anyhow::Result<()> + Send + 'static) {
        let name = name.into();
        let id = self.begin(name.clone(), false);
        let kit = self.clone();
        let handle = runtime::Handle::try_current().ok();
        let started = std::thread::Builder::new().name(name.into_owned()).spawn(move || {
            let _entered = handle.as_ref().map(runtime::Handle::enter);
            let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
            kit.end(id, result);
        });
        if let Err(error) = started {
            self.end(id, Err(anyhow::Error::new(error).context("cannot start the thread")));
        }
    }

    /// Waits for the first failure or for shutdown, then at most `drain` for every task to end.
    ///
    /// # Errors
    /// The first failure, naming its task; else the tasks that had not ended in time.
    pub async fn join(&self, drain: Duration) -> anyhow::Result<()> {
        self.inner.joined.store(true, Ordering::Release);
        self.inner.shutdown.cancelled().await;
        tracing::info!(service = self.service(), drain_seconds = drain.as_secs_f64(), "draining");

        let mut tasks = self.inner.tasks.subscribe();
        let drained = tokio::time::timeout(drain, tasks.wait_for(|tasks| tasks.unfinished().is_empty())).await.is_ok();
        self.inner.ended.cancel();

        let mut outcome = Ok(());
        self.inner.tasks.send_modify(|tasks| {
            if let Some(failure) = tasks.failure.take() {
                outcome = Err(failure.error.context(format!("task `{}` ended the process", failure.name)));
            } else if !drained {
                let names = tasks.unfinished().join("`, `");
                outcome = Err(anyhow!("still running {} s after shutdown: `{names}`", drain.as_secs_f64()));
            }
        });
        if outcome.is_ok() {
            tracing::info!(service = self.service(), "stopped");
        }
        outcome
    }

    /// Turns the first SIGTERM or SIGINT into a shutdown, and a second SIGINT into an immediate exit (code 130).
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn handle_signals(&self) -> std::io::Result<()> {
        let mut terminate = unix::signal(unix::SignalKind::terminate())?;
        let mut interrupt = unix::signal(unix::SignalKind::interrupt())?;
        let shutdown = self.shutdown();
        tokio::spawn(async move {
            loop {
                let interrupted = tokio::select! {
                    _ = terminate.recv() => false,
                    _ = interrupt.recv() => true,
                };
                if !shutdown.is_cancelled() {
                    tracing::info!(signal = if interrupted { "SIGINT" } else { "SIGTERM" }, "asked to stop");
                    shutdown.cancel();
                } else if interrupted {
                    tracing::warn!("interrupted while draining; leaving at once");
                    std::process::exit(EXIT_INTERRUPTED);
                }
            }
        });
        Ok(())
    }

    /// [`Kit::handle_signals`], then [`Kit::join`].
    pub async fn run_until_signal(&self, drain: Duration) -> anyhow::Result<()> {
        self.handle_signals()?;
        self.join(drain).await
    }

    fn begin(&self, name: TaskName, background: bool) -> u64 {
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        self.inner.tasks.send_modify(|tasks| {
            tasks.running.insert(id, Task { name, background });
        });
        id
    }

    fn end(&self, id: u64, result: anyhow::Result<()>) {
        let result = match result {
            Ok(()) if !self.inner.shutdown.is_cancelled() => Err(anyhow!("it ended before shutdown")),
            other => other,
        };
        self.inner.tasks.send_modify(|tasks| {
            let Some(task) = tasks.running.remove(&id) else { return };
            let Err(error) = result else {
                tracing::debug!(task = %task.name, "task ended");
                return;
            };
            tracing::error!(task = %task.name, error = format!("{error:#}"), "task failed");
            tasks.failure.get_or_insert(Failure { name: task.name, error });
        });
        if self.inner.tasks.borrow().failure.is_some() {
            self.inner.shutdown.cancel();
        }
    }
}

impl Tasks {
    fn unfinished(&self) -> Vec<&str> {
        self.running.values().filter(|task| !task.background).map(|task| task.name.as_ref()).collect()
    }
}

fn panicked(payload: &(dyn Any + Send)) -> anyhow::Error {
    anyhow!("panicked: {}", crate::telemetry::panic_message(payload))
}

#[cfg(test)]
mod tests;
