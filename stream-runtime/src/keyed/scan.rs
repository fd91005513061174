//! Shows stored states to a processor while the tasks they belong to are already running.
//!
//! What is shown is a view taken when the task was activated; what it commits from then on is shown by itself. Sums over
//! both are right in whichever order they come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use anyhow::Context as _;
use parking_lot::Mutex;

use super::{
    Codec, KeyedProcessor, Shared,
    overlay::LookupError,
    store::{TaskStore, View},
};

/// The thread that shows the states of a worker's tasks, one task after the other.
pub struct Scanner {
    /// `None` when the processor does not ask for them.
    jobs: Option<mpsc::Sender<Job>>,
    failures: mpsc::Receiver<anyhow::Error>,
    /// Scans asked for that are not over.
    open: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// The scan of one task. Nothing is shown any more once this is dropped.
pub struct Scan(Arc<Mutex<bool>>);

impl Drop for Scan {
    fn drop(&mut self) {
        // Waits for the state that is being shown.
        *self.0.lock() = false;
    }
}

struct Job {
    partition: i32,
    view: View,
    wanted: Arc<Mutex<bool>>,
}

impl Scanner {
    pub fn start<P: KeyedProcessor, C: Codec<P>>(shared: Arc<Shared<P, C>>) -> anyhow::Result<Self> {
        let (failed, failures) = mpsc::channel();
        let open = Arc::new(AtomicUsize::new(0));
        if !P::OBSERVES_STORED {
            return Ok(Self { jobs: None, failures, open, thread: None });
        }
        let (jobs, waiting) = mpsc::channel::<Job>();
        let remaining = open.clone();
        let thread = std::thread::Builder::new()
            .name(format!("{}-scan", shared.options.app))
            .spawn(move || {
                for job in waiting {
                    if let Err(error) = show(&shared, &job) {
                        // Nobody waits for it when the worker is being dropped.
                        let _ = failed.send(error);
                    }
                    drop(job);
                    remaining.fetch_sub(1, Ordering::SeqCst);
                }
            })
            .context("cannot start the thread that scans the stored states")?;
        Ok(Self { jobs: Some(jobs), failures, open, thread: Some(thread) })
    }

    /// Shows what is in the store now, soon.
    pub fn scan(&self, store: &TaskStore) -> Option<Scan> {
        let jobs = self.jobs.as_ref()?;
        let wanted = Arc::new(Mutex::new(true));
        let job = Job { partition: store.partition(), view: store.view(), wanted: wanted.clone() };
        self.open.fetch_add(1, Ordering::SeqCst);
        // It fails when the thread has panicked, which `failure` tells.
        let _ = jobs.send(job);
        Some(Scan(wanted))
    }

    /// What went wrong since the last call.
    pub fn failure(&self) -> Option<anyhow::Error> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            return Some(anyhow::anyhow!("the thread that scans the stored states has panicked"));
        }
        self.failures.try_recv().ok()
    }

    /// True when everything asked for was shown.
    pub fn is_idle(&self) -> bool {
        self.open.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        // The worker's tasks, and with them the scans, are gone before: the thread has nothing left to show.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was reported by itself; here it only has to let go of the stores.
            let _ = thread.join();
        }
    }
}

fn show<P: KeyedProcessor, C: Codec<P>>(shared: &Shared<P, C>, job: &Job) -> anyhow::Result<()> {
    for stored in job.view.states() {
        let stored = stored?;
        let wanted = job.wanted.lock();
        if !*wanted {
            return Ok(());
        }
        let key = shared.codec.decode_key(stored.key()).map_err(LookupError::Key)?;
        let state = shared.codec.decode_state(stored.sealed.state()).map_err(LookupError::Undecodable)?;
        shared.processor.observe_stored(job.partition, &key, &state);
    }
    let wanted = job.wanted.lock();
    if *wanted {
        shared.processor.observe_complete(job.partition);
    }
    Ok(())
}
