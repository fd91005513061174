//! The options of the simulated processes, some of them by chance.

use std::time::Duration;

use rand::{Rng as _, rngs::StdRng};

use super::{Setup, TIMER_GRACE};
use crate::keyed::{Clock, KeyedOptions};

/// How old a store the members still trust: less than the changelog keeps deletions, by what clocks may be off.
const TRUSTED_FOR: Duration = Duration::from_secs(20 * 3600);

pub(super) fn options(setup: &Setup, random: &mut StdRng) -> KeyedOptions {
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
        cache_bytes: [0, 2_000, 50_000][random.random_range(0..3)],
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
        store_interval: if random.random_bool(0.5) { Duration::ZERO } else { Duration::MAX },
        position_interval,
        changelog_delete_retention: TRUSTED_FOR,
        foreign_state_ttl,
        clock: Clock::new(|| 0),
    }
}
