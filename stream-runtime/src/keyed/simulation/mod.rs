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
mod seat;

use std::{
    collections::BTreeMap,
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
    member::{End, Member, Parts, Report, Task},
    seat::{Fate, Release},
};
use super::{COMMIT_FAIL_POINTS, Clock, Codec, KeyedOptions, KeyedProcessor};
use crate::log::{
    Cleanup, Log as _, NewRecord, TopicSpec,
    simulated::{Call, Fault, SimulatedBroker, Written},
};

/// How far a member's clock may be ahead of the brokers', and how long a record may be under way, together: what the
/// grace of timers is for.
pub const TIMER_GRACE: Duration = Duration::from_secs(5);
const AHEAD_MS: i64 = 2_000;
const UNDER_WAY_MS: i64 = 2_000;
/// How far a member's clock may be behind.
const BEHIND_MS: i64 = 3_600_000;
/// How long the changelog keeps deletions, and how old a store the members still trust: less by what clocks may be off.
const DELETE_RETENTION: Duration = Duration::from_secs(24 * 3600);
const TRUSTED_FOR: Duration = Duration::from_secs(20 * 3600);
/// Places that a fate may lie ahead.
const AHEAD: u32 = 25;
/// Rounds in which everything must have come to rest.
const ROUNDS: usize = 400;
const FAULTS: [Fault; 10] = [
    Fault::InitRetry,
    Fault::ProduceRetry,
    Fault::ProduceRefused,
    Fault::CommitRetry,
    Fault::CommitDoneRetry,
    Fault::CommitRolledBack,
    Fault::CommitUnknownLost,
    Fault::CommitUnknownDone,
    Fault::CommitTimedOut,
    Fault::AbortUnknown,
];

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
        let spec = |name: &String, cleanup| TopicSpec {
            name: name.clone(),
            partitions: setup.partitions,
            replication_factor: 1,
            cleanup,
            retention: None,
            settings: BTreeMap::new(),
        };
        let plain = setup.inputs.iter().chain(&setup.outputs).map(|name| spec(name, Cleanup::Delete));
        let specs: Vec<_> = plain.chain([spec(&setup.changelog, Cleanup::Compact)]).collect();
        broker.client(0, Arc::new(|_| {})).create_topics(&specs, Duration::ZERO)?;
        for point in COMMIT_FAIL_POINTS {
            // Without the feature there are no fail points, and the calls to the log have to do.
            let _ = fail::cfg_callback(point, seat::arrive);
        }
        Ok(Self {
            options: options(&setup, &mut random),
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

    /// A running member, by chance.
    fn someone(&mut self) -> Option<usize> {
        let running: Vec<usize> = (0..self.members.len()).filter(|at| !self.members[*at].stalled).collect();
        (!running.is_empty()).then(|| running[self.random.random_range(0..running.len())])
    }

    fn order_someone(&mut self, task: Task) {
        let Some(at) = self.someone() else { return self.start_someone() };
        for _ in 0..self.random.random_range(1..4) {
            let fate = self.random.random_bool(0.06).then(|| {
                let fate = if self.random.random_bool(0.5) { Fate::Crash } else { Fate::Stall };
                (self.random.random_range(0..AHEAD), fate)
            });
            if !self.order(at, task, fate) || self.members[at].stalled {
                return;
            }
        }
    }

    /// Gives a member an order; false when it has ended.
    fn order(&mut self, at: usize, task: Task, fate: Option<(u32, Fate)>) -> bool {
        let client = self.members[at].client;
        self.note(format!("member {client}: {task:?}{}", fate.map_or(String::new(), |fate| format!(" {fate:?}"))));
        let before = self.broker.version();
        let report = self.members[at].tell(task, fate);
        if let Some(changes) = self.broker.changes_since(before) {
            self.note(format!("  {changes}"));
        }
        self.take(at, report)
    }

    /// Takes note of where a member stands; false when it has ended.
    fn take(&mut self, at: usize, report: Report) -> bool {
        let client = self.members[at].client;
        match report {
            Report::Done => return true,
            Report::Stalled => {
                self.note(format!("member {client} stalls"));
                return true;
            }
            Report::Ended(End::Closed | End::Crashed) => self.note(format!("member {client} is gone")),
            Report::Ended(End::Failed(why)) => {
                self.note(format!("member {client} gave up: {why}"));
                // What the runtime is to do when it is doubled, or when its transactions time out again and again.
                let meant = ["another process runs as", "was fenced twice"];
                assert!(meant.iter().any(|meant| why.contains(meant)), "member {client} gave up: {why}");
            }
            Report::Ended(End::Panicked(why)) => panic!("member {client} panicked: {why}"),
        }
        // Static members do not say goodbye.
        self.members.remove(at);
        self.ghosts.push(client);
        false
    }

    fn start_someone(&mut self) {
        let down: Vec<usize> =
            (0..self.setup.members).filter(|ordinal| self.members.iter().all(|it| it.ordinal != *ordinal)).collect();
        if !down.is_empty() {
            let ordinal = down[self.random.random_range(0..down.len())];
            self.start(ordinal);
        }
    }

    /// A second process with the ordinal of one that runs or has stopped.
    fn start_twin(&mut self) {
        if !self.members.is_empty() && self.members.len() < 2 * self.setup.members {
            let at = self.random.random_range(0..self.members.len());
            let ordinal = self.members[at].ordinal;
            self.start(ordinal);
        }
    }

    fn start(&mut self, ordinal: usize) {
        if self.members.iter().any(|member| member.disk == self.homes[ordinal]) {
            // The folder is locked as long as a process has it; the twin was given another one.
            self.last_disk += 1;
            self.homes[ordinal] = self.last_disk;
        }
        self.last_client += 1;
        let (client, disk) = (self.last_client, self.homes[ordinal]);
        self.note(format!("member {client} starts as ordinal {ordinal} on disk {disk}"));
        let (now_ms, skew) = (self.now_ms.clone(), self.skews[ordinal].clone());
        let options = KeyedOptions {
            ordinal: ordinal.to_string(),
            clock: Clock::new(move || now_ms.load(Ordering::SeqCst) + skew.load(Ordering::SeqCst)),
            ..self.options.clone()
        };
        let parts = Parts {
            log: self.broker.client(client, Arc::new(on_call)),
            processor: self.processor.clone(),
            codec: self.codec.clone(),
            stores: self.disks.stores(disk).expect("the disks are the simulation's own"),
            kit: self.kit.clone(),
        };
        let member = Member::start(client, ordinal, disk, options, parts).expect("the system has a thread left");
        self.members.push(member);
        self.order(self.members.len() - 1, Task::Join, None);
    }

    /// Somebody stops in the middle of a commit, is expelled, and goes on when the others have taken over.
    fn live_as_a_zombie(&mut self) {
        let Some(at) = self.someone() else { return };
        let client = self.members[at].client;
        let fate = (self.random.random_range(0..AHEAD), Fate::Stall);
        if !self.order(at, Task::Commit, Some(fate)) || !self.members[at].stalled {
            return;
        }
        self.expel(client);
        self.deliver(true);
        self.start_someone();
        for _ in 0..8 {
            self.order_someone(Task::Step);
        }
        self.order_someone(Task::Commit);
        if let Some(at) = self.members.iter().position(|member| member.client == client && member.stalled) {
            self.release(at, Release::GoOn);
        }
    }

    fn compact(&mut self) {
        self.note("compact".to_owned());
        self.broker.compact(&self.setup.changelog, DELETE_RETENTION);
    }

    fn release_someone(&mut self) {
        let stalled: Vec<usize> = (0..self.members.len()).filter(|at| self.members[*at].stalled).collect();
        if stalled.is_empty() {
            return;
        }
        let at = stalled[self.random.random_range(0..stalled.len())];
        let release = if self.random.random_bool(0.8) { Release::GoOn } else { Release::Die };
        self.release(at, release);
    }

    fn release(&mut self, at: usize, release: Release) {
        self.note(format!("member {}: {release:?}", self.members[at].client));
        let report = self.members[at].release(release);
        self.take(at, report);
    }

    fn kill_someone(&mut self) {
        if let Some(at) = self.someone() {
            let member = self.members.remove(at);
            self.note(format!("member {} is killed", member.client));
            self.ghosts.push(member.client);
            let (ordinal, disk) = (member.ordinal, member.disk);
            drop(member);
            let copies = self.disks.copies(disk);
            if disk == self.homes[ordinal] && copies > 0 && self.random.random_bool(0.5) {
                self.go_back(ordinal, copies);
            }
        }
    }

    /// The session of somebody times out: one that is dead, has stopped, or is only slow.
    fn expel_someone(&mut self) {
        let mut clients = self.ghosts.clone();
        clients.extend(self.members.iter().filter(|member| member.stalled).map(|member| member.client));
        if clients.is_empty() || self.random.random_bool(0.1) {
            clients.extend(self.members.iter().map(|member| member.client));
        }
        if !clients.is_empty() {
            let client = clients[self.random.random_range(0..clients.len())];
            self.expel(client);
        }
    }

    fn expel(&mut self, client: u32) {
        self.note(format!("member {client} is expelled"));
        self.ghosts.retain(|ghost| *ghost != client);
        self.broker.expel(client);
    }

    fn fail_someone(&mut self) {
        if let Some(at) = self.someone() {
            let (client, fault) = (self.members[at].client, FAULTS[self.random.random_range(0..FAULTS.len())]);
            self.note(format!("member {client} will meet {fault:?}"));
            if fault == Fault::AbortUnknown {
                self.broker.add_fault(client, Fault::CommitRolledBack);
            }
            self.broker.add_fault(client, fault);
        }
    }

    fn pass_time(&mut self) {
        if self.random.random_bool(0.15) {
            let ordinal = self.random.random_range(0..self.setup.members);
            let behind = self.random.random_bool(0.5);
            let skew =
                if behind { -self.random.random_range(0..BEHIND_MS) } else { self.random.random_range(0..AHEAD_MS) };
            self.note(format!("clock of ordinal {ordinal} is off by {skew} ms"));
            self.skews[ordinal].store(skew, Ordering::SeqCst);
            return;
        }
        let leap = self.random.random_bool(0.1);
        let hours = self.random.random_range(1..30) * 3_600_000;
        let ms = if leap { hours } else { self.random.random_range(1..1_500) };
        self.advance(ms);
    }

    fn advance(&mut self, ms: i64) {
        // What is under way arrives before its time is over.
        let latest = self.now_ms() + ms;
        if self.under_way.iter().any(|(by, _)| *by < latest) {
            self.deliver(true);
        }
        self.note(format!("{ms} ms pass"));
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
        self.broker.set_now_ms(self.now_ms());
    }

    /// Appends what is under way, the first of it or all.
    fn deliver(&mut self, all: bool) {
        while !self.under_way.is_empty() {
            let at = self.random.random_range(0..self.under_way.len());
            let (_, record) = self.under_way.swap_remove(at);
            self.note(format!("a record arrives in {}", record.topic));
            self.broker.append(record);
            if !all {
                return;
            }
        }
    }

    fn end_foreign(&mut self) {
        if let Some(open) = self.foreign.take() {
            let commit = self.random.random_bool(0.8);
            self.note(format!("a sender's transaction ends: {commit}"));
            self.broker.end_foreign(open, commit);
        }
    }

    fn tamper_with_disks(&mut self) {
        let ordinal = self.random.random_range(0..self.setup.members);
        let disk = self.homes[ordinal];
        let user = self.members.iter().position(|member| member.disk == disk);
        if let Some(at) = user
            && (self.members[at].stalled || !self.order(at, Task::Rest, None))
        {
            return;
        }
        let (in_use, copies) = (user.is_some(), self.disks.copies(disk));
        let done = if in_use || copies == 0 && self.random.random_bool(0.5) {
            self.note(format!("disk {disk} is copied"));
            self.disks.copy(disk, self.setup.partitions)
        } else if copies == 0 || self.random.random_bool(0.3) {
            self.note(format!("disk {disk} is lost"));
            self.disks.wipe(disk, self.setup.partitions)
        } else {
            return self.go_back(ordinal, copies);
        };
        done.expect("the disks are the simulation's own");
    }

    /// Puts an old copy of a disk back, of a process that is down, and starts it, perhaps when the changelog does not
    /// tell any more of what was deleted since.
    fn go_back(&mut self, ordinal: usize, copies: usize) {
        let disk = self.homes[ordinal];
        let copy = self.random.random_range(0..copies);
        self.note(format!("disk {disk} goes back to copy {copy}"));
        self.disks.put_back(disk, copy).expect("the disks are the simulation's own");
        if self.random.random_bool(0.5) {
            self.compact();
            self.advance(25 * 3_600_000);
            self.compact();
        }
        if self.members.iter().all(|member| member.ordinal != ordinal) {
            self.start(ordinal);
        }
    }

    /// The changelog is read a few records at a time, by one member.
    fn slow_down(&mut self) {
        if let Some(at) = self.someone() {
            let client = self.members[at].client;
            let allowed = self.random.random_bool(0.7).then(|| self.random.random_range(0..5));
            self.note(format!("member {client} may restore {allowed:?}"));
            self.broker.allow_restore(client, allowed);
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

/// What a member does on the way into a call to the log.
fn on_call(call: Call) {
    match call {
        Call::Transaction => seat::arrive(),
        Call::Poll => seat::settle(),
    }
}

fn options(setup: &Setup, random: &mut StdRng) -> KeyedOptions {
    // Real time is at once or never: nothing in between would repeat itself.
    let never = Duration::from_secs(1_000_000);
    let mut at_once = |chance| if random.random_bool(chance) { Duration::ZERO } else { never };
    let (position_interval, commit_interval) = (at_once(0.5), at_once(0.5));
    let (first_interval, first_patience) = (at_once(0.5), at_once(0.3));
    // Dear to do: keyspaces are made and deleted.
    let foreign_state_ttl = at_once(0.03);
    let commit_records = if random.random_bool(0.3) { random.random_range(1..10) } else { usize::MAX };
    let commit_bytes = if random.random_bool(0.1) { 1_000 } else { usize::MAX };
    let first_inputs = if random.random_bool(0.5) { setup.first_inputs.clone() } else { Vec::new() };
    let timer_batch = if random.random_bool(0.3) { 2 } else { 1_000 };
    let patience = Duration::from_secs(30);
    KeyedOptions {
        app: "app".to_owned(),
        ordinal: String::new(),
        workers: 1,
        group: "group".to_owned(),
        inputs: setup.inputs.clone(),
        first_inputs,
        first_interval,
        first_patience,
        changelog: setup.changelog.clone(),
        state_dir: std::path::PathBuf::new(),
        metrics_prefix: "ttf_simulated".to_owned(),
        commit_interval,
        commit_records,
        commit_bytes,
        cache_bytes: if random.random_bool(0.5) { 0 } else { 2_000 },
        timer_grace: TIMER_GRACE,
        timer_interval: Duration::ZERO,
        timer_batch,
        timer_fingerprint: String::new(),
        poison_share: 1.0,
        poison_minimum: u32::MAX,
        prefetch_bytes: 1 << 20,
        call_timeout: patience,
        retry_timeout: patience,
        restore_stall: 2 * patience,
        position_interval,
        changelog_delete_retention: TRUSTED_FOR,
        foreign_state_ttl,
        clock: Clock::new(|| 0),
    }
}
