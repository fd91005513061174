//! What happens to the processes: they start, move, stop, die, are expelled, doubled, and meet failures.

use std::sync::{Arc, atomic::Ordering};

use rand::Rng as _;

use super::{
    Simulation,
    member::{End, Member, Parts, Report, Task},
    seat::{self, Fate, Release},
};
use crate::{
    keyed::{Clock, Codec, KeyedOptions, KeyedProcessor},
    log::simulated::{Call, Fault},
};

/// Places that a fate may lie ahead.
const AHEAD: u32 = 25;
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

impl<P: KeyedProcessor, C: Codec<P>> Simulation<'_, P, C> {
    /// A running member, by chance.
    pub(super) fn someone(&mut self) -> Option<usize> {
        let running: Vec<usize> = (0..self.members.len()).filter(|at| !self.members[*at].stalled).collect();
        (!running.is_empty()).then(|| running[self.random.random_range(0..running.len())])
    }

    pub(super) fn order_someone(&mut self, task: Task) {
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
    pub(super) fn order(&mut self, at: usize, task: Task, fate: Option<(u32, Fate)>) -> bool {
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
    pub(super) fn take(&mut self, at: usize, report: Report) -> bool {
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

    pub(super) fn start_someone(&mut self) {
        let down: Vec<usize> =
            (0..self.setup.members).filter(|ordinal| self.members.iter().all(|it| it.ordinal != *ordinal)).collect();
        if !down.is_empty() {
            let ordinal = down[self.random.random_range(0..down.len())];
            self.start(ordinal);
        }
    }

    /// A second process with the ordinal of one that runs or has stopped.
    pub(super) fn start_twin(&mut self) {
        if !self.members.is_empty() && self.members.len() < 2 * self.setup.members {
            let at = self.random.random_range(0..self.members.len());
            let ordinal = self.members[at].ordinal;
            self.start(ordinal);
        }
    }

    pub(super) fn start(&mut self, ordinal: usize) {
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
    pub(super) fn live_as_a_zombie(&mut self) {
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

    pub(super) fn release_someone(&mut self) {
        let stalled: Vec<usize> = (0..self.members.len()).filter(|at| self.members[*at].stalled).collect();
        if stalled.is_empty() {
            return;
        }
        let at = stalled[self.random.random_range(0..stalled.len())];
        let release = if self.random.random_bool(0.8) { Release::GoOn } else { Release::Die };
        self.release(at, release);
    }

    pub(super) fn release(&mut self, at: usize, release: Release) {
        self.note(format!("member {}: {release:?}", self.members[at].client));
        let report = self.members[at].release(release);
        self.take(at, report);
    }

    pub(super) fn kill_someone(&mut self) {
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
    pub(super) fn expel_someone(&mut self) {
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

    pub(super) fn expel(&mut self, client: u32) {
        self.note(format!("member {client} is expelled"));
        self.ghosts.retain(|ghost| *ghost != client);
        self.broker.expel(client);
    }

    pub(super) fn fail_someone(&mut self) {
        if let Some(at) = self.someone() {
            let (client, fault) = (self.members[at].client, FAULTS[self.random.random_range(0..FAULTS.len())]);
            self.note(format!("member {client} will meet {fault:?}"));
            if fault == Fault::AbortUnknown {
                self.broker.add_fault(client, Fault::CommitRolledBack);
            }
            self.broker.add_fault(client, fault);
        }
    }

    /// The changelog is read a few records at a time, by one member.
    pub(super) fn slow_down(&mut self) {
        if let Some(at) = self.someone() {
            let client = self.members[at].client;
            let allowed = self.random.random_bool(0.7).then(|| self.random.random_range(0..5));
            self.note(format!("member {client} may restore {allowed:?}"));
            self.broker.allow_restore(client, allowed);
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
