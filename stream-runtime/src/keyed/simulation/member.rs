//! One process of the application: a worker on a thread of its own that moves only when it is told to.

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use service_kit::Kit;

use super::seat::{self, Fate, Killed, Release};
use crate::{
    keyed::{Codec, KeyedOptions, KeyedProcessor, Shared, restore::Activity, store::Stores, worker::Worker},
    log::simulated::SimulatedLog,
};

/// What a member is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Join,
    Step,
    /// Lets a restore go on as far as it can.
    Rest,
    Commit,
    /// Commits and leaves, as after SIGTERM.
    Close,
}

/// How a process ended.
#[derive(Debug)]
pub(super) enum End {
    Closed,
    Crashed,
    /// The worker gave up.
    Failed(String),
    /// A bug: it panicked.
    Panicked(String),
}

#[derive(Debug)]
pub(super) enum Report {
    Done,
    Stalled,
    Ended(End),
}

/// What a process needs besides its options.
pub(super) struct Parts<P, C> {
    pub log: SimulatedLog,
    pub processor: Arc<P>,
    pub codec: Arc<C>,
    pub stores: Arc<Stores>,
    pub kit: Kit,
}

/// See the [module](self).
pub(super) struct Member {
    pub client: u32,
    pub ordinal: usize,
    pub disk: usize,
    pub stalled: bool,
    orders: mpsc::Sender<(Task, Option<(u32, Fate)>)>,
    releases: mpsc::Sender<Release>,
    reports: mpsc::Receiver<Report>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    pub fn start<P: KeyedProcessor, C: Codec<P>>(
        client: u32,
        ordinal: usize,
        disk: usize,
        options: KeyedOptions,
        parts: Parts<P, C>,
    ) -> anyhow::Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let (releases, released) = mpsc::channel();
        let (outbox, reports) = mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("member-{client}")).spawn(move || {
            let last_words = outbox.clone();
            seat::take(outbox.clone(), released);
            let lived = panic::catch_unwind(AssertUnwindSafe(|| live(options, parts, &inbox, &outbox)));
            let end = match lived {
                Ok(Ok(())) => End::Closed,
                Ok(Err(error)) => End::Failed(format!("{error:#}")),
                Err(thrown) if thrown.is::<Killed>() => End::Crashed,
                Err(thrown) => End::Panicked(text(&*thrown)),
            };
            // Nobody listens any more when the simulation is over.
            let _ = last_words.send(Report::Ended(end));
        })?;
        Ok(Self { client, ordinal, disk, stalled: false, orders, releases, reports, thread: Some(thread) })
    }

    /// Tells the member what to do, and what befalls it on the way; waits until it stands still again.
    pub fn tell(&mut self, task: Task, fate: Option<(u32, Fate)>) -> Report {
        debug_assert!(!self.stalled, "a stalled member does nothing");
        // A thread that is gone has left its report.
        let _ = self.orders.send((task, fate));
        self.report()
    }

    /// Lets a stalled member go on, or die where it stands.
    pub fn release(&mut self, release: Release) -> Report {
        self.stalled = false;
        let _ = self.releases.send(release);
        self.report()
    }

    fn report(&mut self) -> Report {
        let report =
            self.reports.recv().unwrap_or_else(|_| Report::Ended(End::Panicked("the thread is gone".to_owned())));
        self.stalled = matches!(report, Report::Stalled);
        if matches!(report, Report::Ended(_))
            && let Some(thread) = self.thread.take()
        {
            // Its end was reported; here it only has to be gone before its disk is used again.
            let _ = thread.join();
        }
        report
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.releases.send(Release::Die);
            // The last sender goes, so that a thread that waits for an order ends.
            self.orders = mpsc::channel().0;
            let _ = thread.join();
        }
    }
}

/// Works until it is told to close, nobody is there to tell, or an error ends it.
fn live<P: KeyedProcessor, C: Codec<P>>(
    options: KeyedOptions,
    parts: Parts<P, C>,
    inbox: &mpsc::Receiver<(Task, Option<(u32, Fate)>)>,
    outbox: &mpsc::Sender<Report>,
) -> anyhow::Result<()> {
    let Parts { log, processor, codec, stores, kit } = parts;
    let mut worker: Option<Worker<P, C>> = None;
    for (task, fate) in inbox {
        // What somebody else has done may have let a restore go on.
        seat::settle();
        seat::plan(fate);
        match (&mut worker, task) {
            (None, _) => {
                let (log, reader) = (Arc::new(log.clone()), log.clone());
                let shared = Shared::with_stores(
                    options.clone(),
                    log,
                    processor.clone(),
                    codec.clone(),
                    &kit,
                    stores.clone(),
                    Activity::driven(),
                )?;
                shared.check_topics()?;
                let restores = shared.restores.clone();
                seat::drive_by(move |deadline| restores.drive(|| reader.is_reader_blocked(), deadline));
                worker = Some(Worker::join(shared, 0, &kit)?);
            }
            (Some(_), Task::Rest) => {}
            (Some(worker), Task::Commit) => worker.commit()?,
            (Some(_), Task::Close) => return worker.take().map_or(Ok(()), Worker::close),
            (Some(worker), Task::Join | Task::Step) => {
                worker.step(Duration::ZERO)?;
            }
        }
        seat::plan(None);
        seat::settle();
        // Nobody listens any more when the simulation is over.
        let _ = outbox.send(Report::Done);
    }
    // The simulation is over, which is no order to close.
    panic::resume_unwind(Box::new(Killed))
}

fn text(thrown: &(dyn Any + Send)) -> String {
    let text = thrown.downcast_ref::<String>().map(String::as_str).or_else(|| thrown.downcast_ref().copied());
    text.unwrap_or("something else than text was thrown").to_owned()
}
