//! What happens around the processes: time passes, records arrive late, topics are compacted, disks are lost.

use std::{sync::atomic::Ordering, time::Duration};

use rand::Rng as _;

use super::{AHEAD_MS, Simulation, member::Task};
use crate::keyed::{Codec, KeyedProcessor};

/// How far a member's clock may be behind.
const BEHIND_MS: i64 = 3_600_000;
/// How long the changelog keeps deletions; less is how old a store the members still trust.
const DELETE_RETENTION: Duration = Duration::from_secs(24 * 3600);

impl<P: KeyedProcessor, C: Codec<P>> Simulation<'_, P, C> {
    pub(super) fn pass_time(&mut self) {
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

    pub(super) fn advance(&mut self, ms: i64) {
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
    pub(super) fn deliver(&mut self, all: bool) {
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

    pub(super) fn end_foreign(&mut self) {
        if let Some(open) = self.foreign.take() {
            let commit = self.random.random_bool(0.8);
            self.note(format!("a sender's transaction ends: {commit}"));
            self.broker.end_foreign(open, commit);
        }
    }

    pub(super) fn compact(&mut self) {
        self.note("compact".to_owned());
        self.broker.compact(&self.setup.changelog, DELETE_RETENTION);
    }

    pub(super) fn tamper_with_disks(&mut self) {
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
    pub(super) fn go_back(&mut self, ordinal: usize, copies: usize) {
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
}
