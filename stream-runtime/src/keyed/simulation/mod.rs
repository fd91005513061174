//! A seeded simulation of whole processes: some members of one group on a simulated broker, of which at every moment
//! at most one moves. They crash and stop at any call they make to the log and at any fail point, come back as
//! zombies, lose their disks or get old ones back, are expelled, doubled, slowed down, and told wrong times.
//!
//! Everything follows from the seed: there is no wall clock, and although every member has a thread (so that it can be
//! stopped in the middle of a call), no two of them ever run at the same time. A restore's thread runs only while its
//! member waits for it.
//!
//! The test brings the processor, the inputs and the oracle:
//!
//! ```ignore
//! let mut simulation = Simulation::new(seed, setup, processor, codec, &mut disks)?;
//! for _ in 0..steps {
//!     simulation.publish(record);
//!     simulation.act();
//! }
//! simulation.finish();
//! let outputs = simulation.written("outputs");
//! ```

mod disk;
mod member;
mod options;
mod process;
mod seat;
mod surroundings;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use service_kit::Kit;

pub use self::disk::Disks;
use self::{
    member::{Member, Task},
    seat::Release,
};
use super::{COMMIT_FAIL_POINTS, Codec, KeyedOptions, KeyedProcessor};
use crate::log::{
    Cleanup, Log as _, NewRecord, TopicSpec,
    simulated::{Fault, SimulatedBroker, Written},
};

/// How far a member's clock may be ahead of the brokers', and how long a record may be under way, together: what the
/// grace of timers is for.
pub const TIMER_GRACE: Duration = Duration::from_secs(5);
const AHEAD_MS: i64 = 2_000;
const UNDER_WAY_MS: i64 = 2_000;
/// Rounds in which everything must have come to rest.
const ROUNDS: usize = 400;

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Setup {
    pub inputs: Vec<String>,
    /// Those of them that go first, in some of the seeds.
    pub first_inputs: Vec<String>,
    pub changelog: String,
    /// Topics the processor writes to, the rejected topic included.
    pub outputs: Vec<String>,
    /// Of every topic.
    pub partitions: i32,
    /// Ordinals: at most so many members in good order.
    pub members: usize,
    /// Where the brokers' clock begins, in milliseconds since the epoch.
    pub start_ms: i64,
}

/// See the [module](self).
pub struct Simulation<'d, P: KeyedProcessor, C: Codec<P>> {
    random: StdRng,
    broker: SimulatedBroker,
    setup: Setup,
    options: KeyedOptions,
    processor: Arc<P>,
    codec: Arc<C>,
    kit: Kit,
    disks: &'d mut Disks,
    members: Vec<Member>,
    /// Clients that died and that the group has not missed yet.
    ghosts: Vec<u32>,
    /// Each ordinal's disk: another one where the last is still in use.
    homes: Vec<usize>,
    last_disk: usize,
    last_client: u32,
    now_ms: Arc<AtomicI64>,
    /// Each ordinal's clock, relative to the brokers'.
    skews: Vec<Arc<AtomicI64>>,
    /// Records that were stamped and are not appended yet, and when they are at the latest.
    under_way: Vec<(i64, NewRecord)>,
    /// An open transaction of somebody who writes to the inputs.
    foreign: Option<u64>,
    trace: Vec<String>,
    tell: bool,
}

impl<'d, P: KeyedProcessor, C: Codec<P>> Simulation<'d, P, C> {
    /// Sets up the topics; no member is started yet.
    pub fn new(
        seed: u64,
        setup: Setup,
        processor: Arc<P>,
        codec: Arc<C>,
        disks: &'d mut Disks,
        kit: &Kit,
    ) -> anyhow::Result<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        disks.start_over(setup.partitions)?;
        let broker = SimulatedBroker::new(random.random());
        broker.set_now_ms(setup.start_ms);
        let spec = |name: &String, cleanup| TopicSpec { cleanup, ..TopicSpec::new(name.clone(), setup.partitions) };
        let plain = setup.inputs.iter().chain(&setup.outputs).map(|name| spec(name, Cleanup::Delete));
        let specs: Vec<_> = plain.chain([spec(&setup.changelog, Cleanup::Compact)]).collect();
        broker.client(0, Arc::new(|_| {})).create_topics(&specs, Duration::ZERO)?;
        for point in COMMIT_FAIL_POINTS {
            // Without the feature there are no fail points, and the calls to the log have to do.
            let _ = fail::cfg_callback(point, seat::arrive);
        }
        Ok(Self {
            options: options::options(&setup, &mut random),
            now_ms: Arc::new(AtomicI64::new(setup.start_ms)),
            skews: (0..setup.members).map(|_| Arc::default()).collect(),
            homes: (0..setup.members).collect(),
            last_disk: setup.members - 1,
            last_client: 0,
            random,
            broker,
            setup,
            processor,
            codec,
            kit: kit.clone(),
            disks,
            members: Vec::new(),
            ghosts: Vec::new(),
            under_way: Vec::new(),
            foreign: None,
            trace: Vec::new(),
            tell: false,
        })
    }

    /// Prints what was done when the simulation fails.
    pub fn tell(&mut self) {
        self.tell = true;
    }

    /// Chance for the inputs: so that they follow from the seed too.
    pub fn random(&mut self) -> &mut StdRng {
        &mut self.random
    }

    /// The brokers' clock, which senders go by.
    pub fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    /// Sends a record that was stamped now: it arrives at once, a little later, or in a transaction.
    /// Records of one key keep their order per topic only as far as they are not sent in different ways.
    pub fn publish(&mut self, record: NewRecord) {
        match self.random.random_range(0..10) {
            0..6 => self.broker.append(record),
            6..8 => {
                let latest = self.now_ms() + UNDER_WAY_MS;
                self.under_way.push((latest, record));
            }
            _ => {
                let open = *self.foreign.get_or_insert_with(|| self.broker.begin_foreign());
                self.broker.append_foreign(open, record);
            }
        }
    }

    /// Everything that was ever written to a topic, in order within each partition.
    pub fn written(&self, topic: &str) -> Vec<Written> {
        self.broker.history(topic)
    }

    /// What was done so far, a line each.
    pub fn trace(&self) -> &[String] {
        &self.trace
    }

    fn note(&mut self, what: String) {
        self.trace.push(what);
    }

    /// Lets something happen.
    pub fn act(&mut self) {
        match self.random.random_range(0..100) {
            0..45 => self.order_someone(Task::Step),
            45..58 => self.order_someone(Task::Commit),
            58..66 => self.pass_time(),
            66..72 => self.start_someone(),
            72..76 => self.release_someone(),
            76..79 => self.expel_someone(),
            79..82 => self.fail_someone(),
            82..84 => self.order_someone(Task::Close),
            84..86 => self.kill_someone(),
            86..88 => {
                self.note("marker".to_owned());
                self.broker.write_marker();
            }
            88..90 => self.deliver(false),
            90..92 => self.end_foreign(),
            92..93 => self.compact(),
            93..96 => self.tamper_with_disks(),
            96..98 => self.slow_down(),
            98 if self.random.random_bool(0.5) => {
                self.note("transactions time out".to_owned());
                self.broker.time_out_transactions();
            }
            98 => self.start_twin(),
            _ => self.live_as_a_zombie(),
        }
    }

    /// Lets everything that was begun come to its end, and time pass until every timer was due.
    ///
    /// # Panics
    /// When it does not come to rest, or the log has seen a promise broken.
    pub fn finish(&mut self) {
        self.note("from here on nothing fails".to_owned());
        self.end_foreign();
        self.deliver(true);
        self.broker.clear_faults();
        while let Some(at) = self.members.iter().position(|member| member.stalled) {
            let release = if self.random.random_bool(0.7) { Release::GoOn } else { Release::Die };
            self.release(at, release);
        }
        for skew in &self.skews {
            skew.store(0, Ordering::SeqCst);
        }
        self.come_to_rest();
        self.advance(1_000 * 24 * 3_600_000);
        // The transactions of the last timers have one more chance to fail.
        for client in self.members.iter().map(|member| member.client).collect::<Vec<_>>() {
            let fault = [Fault::CommitRolledBack, Fault::CommitUnknownLost, Fault::CommitUnknownDone];
            self.broker.add_fault(client, fault[self.random.random_range(0..fault.len())]);
        }
        self.come_to_rest();
        let violations = self.broker.violations();
        assert!(violations.is_empty(), "{violations:#?}");
    }

    fn come_to_rest(&mut self) {
        let mut quiet = 0;
        for _ in 0..ROUNDS {
            let before = self.broker.version();
            while let Some(ghost) = self.ghosts.first().copied() {
                self.expel(ghost);
            }
            if self.members.is_empty() {
                self.start(0);
            }
            for client in self.members.iter().map(|member| member.client).collect::<Vec<_>>() {
                if self.broker.is_reader_blocked(client) {
                    self.broker.allow_restore(client, None);
                }
                for task in [Task::Step, Task::Step, Task::Commit] {
                    // One that was doubled ends here.
                    let Some(at) = self.members.iter().position(|member| member.client == client) else { break };
                    self.order(at, task, None);
                }
            }
            while self.broker.write_marker() {}
            if before == self.broker.version() {
                // A poll may bring nothing though there is something: not so often in a row.
                quiet += 1;
                if quiet == 5 {
                    return;
                }
            } else {
                quiet = 0;
                // Of processes that are dead.
                if self.random.random_bool(0.2) {
                    self.broker.time_out_transactions();
                }
            }
        }
        panic!("it does not come to rest");
    }
}

impl<P: KeyedProcessor, C: Codec<P>> Drop for Simulation<'_, P, C> {
    fn drop(&mut self) {
        if self.tell && std::thread::panicking() {
            for line in &self.trace {
                eprintln!("{line}");
            }
        }
    }
}
