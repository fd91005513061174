//! One trial: its users, its events, its processors' folder, and the verdict.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use stream_runtime::log::Isolation;
use telemetry_schemas::{Event, EventTime};
use ttf_processor::JourneyDefinition;

use super::{Cluster, Explained, Mark, Outcome, Processor, Spec, load::Load};
use crate::{
    scenario::{Expected, default_journeys},
    servers::OwnKafka,
    wait,
};

/// Everything sent has been judged and committed by then.
const SETTLED: Duration = Duration::from_secs(30);

/// Until when deadlines are judged.
#[derive(Debug, Clone, Copy)]
pub enum Window {
    /// No deadline comes up while the trial runs.
    Now,
    /// All deadlines that are due by this time, in milliseconds since the epoch.
    Until(i64),
}

/// A run of one fault.
pub struct Trial {
    pub cluster: Arc<Cluster>,
    /// What the ids of its users begin with; nobody else's do.
    pub users: String,
    mark: Mark,
    sent: Vec<Event>,
    definitions: Vec<JourneyDefinition>,
    /// The same as they are configured; `None`: the defaults.
    journeys: Option<Value>,
    folder: tempfile::TempDir,
}

impl Trial {
    pub fn on(cluster: Cluster) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let users = format!("u{}-{}-{number}", service_kit::clock::now_ms(), std::process::id());
        let mark = cluster.mark();
        let folder = tempfile::Builder::new().prefix("ttf-fault-").tempdir().expect("a temporary folder");
        let definitions = default_journeys();
        let cluster = Arc::new(cluster);
        Self { cluster, users, mark, sent: Vec::new(), definitions, journeys: None, folder }
    }

    /// With other journeys than the defaults.
    pub fn with_journeys(mut self, journeys: Value) -> Self {
        self.definitions = serde_json::from_value(journeys.clone()).expect("sound journeys");
        self.journeys = Some(journeys);
        self
    }

    /// Starts a processor; it is not waited for.
    pub fn start(&self, spec: &Spec) -> Processor {
        spec.start(&self.cluster, self.folder.path(), self.journeys.as_ref())
    }

    /// Starts a processor and waits until it is ready.
    pub async fn start_ready(&self, spec: &Spec) -> Processor {
        let mut processor = self.start(spec);
        processor.ready().await;
        processor
    }

    /// Events of `users` users, shuffled and with duplicates, none with a deadline that comes up soon. Every call
    /// makes other users.
    pub fn cohort(&self, name: &str, users: usize, seed: u64) -> Vec<Event> {
        super::load::cohort(&format!("{}-{name}", self.users), users, seed)
    }

    /// Publishes events and counts them among what is expected to be processed.
    pub async fn send(&mut self, events: &[Event]) {
        self.cluster.publish(events).await;
        self.sent.extend_from_slice(events);
    }

    /// Begins to send cohort after cohort, a few hundred events a second, until it is told to stop.
    pub fn load(&self, name: &str, seed: u64) -> Load {
        Load::start(self.cluster.clone(), format!("{}-{name}", self.users), seed)
    }

    /// Ends a load and counts what it has sent among what is expected to be processed.
    pub async fn end_load(&mut self, load: Load) {
        self.sent.extend(load.end().await);
    }

    /// Publishes events over about `duration`, while the caller does something else.
    pub fn send_slowly(&mut self, events: &[Event], duration: Duration) -> tokio::task::JoinHandle<()> {
        self.sent.extend_from_slice(events);
        self.cluster.publish_slowly(events, duration)
    }

    /// Has something done to the brokers, which blocks.
    pub fn to_brokers<T>(&self, act: impl FnOnce(&OwnKafka) -> T) -> T {
        let kafka = self.cluster.own_kafka().expect("the trial has brokers of its own");
        tokio::task::block_in_place(|| act(kafka))
    }

    /// Counts events that were published in another way.
    pub fn note_sent(&mut self, events: &[Event]) {
        self.sent.extend_from_slice(events);
    }

    pub fn sent(&self) -> &[Event] {
        &self.sent
    }

    /// What everything sent must come to, no deadline having come up since.
    pub fn expected(&self) -> Expected {
        self.expected_by(Window::Now)
    }

    fn expected_by(&self, window: Window) -> Expected {
        let until = match window {
            Window::Now => service_kit::clock::now_ms(),
            Window::Until(until) => until,
        };
        Expected::of_events(&self.definitions, &self.sent, EventTime(until))
    }

    pub fn outcome(&self, isolation: Isolation) -> Outcome {
        tokio::task::block_in_place(|| self.cluster.read(&self.mark, isolation, &self.users))
    }

    pub fn lag(&self) -> i64 {
        tokio::task::block_in_place(|| self.cluster.lag())
    }

    /// Waits until every event is processed.
    pub async fn caught_up(&self) {
        wait::until("every event is processed", SETTLED, || async {
            let lag = self.lag();
            if lag == 0 { Ok(()) } else { Err(format!("{lag} records are not")) }
        })
        .await;
    }

    /// Waits until so many records about this trial's users are committed.
    pub async fn committed(&self, count: usize) {
        wait::until("records are committed", SETTLED, || async {
            let committed = self.outcome(Isolation::ReadCommitted).records.len();
            if committed >= count { Ok(()) } else { Err(format!("{committed} of {count}")) }
        })
        .await;
    }

    /// Waits until what is committed equals the oracle, and holds what was written besides against it.
    pub async fn settled(&self) -> Explained {
        self.settled_by(Window::Now).await
    }

    /// As [`Trial::settled`], with deadlines.
    pub async fn settled_by(&self, window: Window) -> Explained {
        let expected = self.expected_by(window);
        self.caught_up().await;
        let committed = wait::until("what is committed equals the oracle", SETTLED, || async {
            let committed = self.outcome(Isolation::ReadCommitted);
            expected.check_records(&committed.record_values())?;
            expected.check_breaches(&committed.breach_values())?;
            Ok(committed)
        })
        .await;
        let written = self.outcome(Isolation::ReadUncommitted);
        committed.explain(&written).unwrap_or_else(|reason| panic!("unexplained: {reason}"))
    }
}
