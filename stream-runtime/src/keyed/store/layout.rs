//! Where what stands: names of keyspaces, first bytes of keys.

/// Version of the layout. A store with another one is restored from the changelog.
///
/// 1: three keyspaces (`metas`, `states-<n>`, `timers-<n>`) right in the state folder. 2: one keyspace per task.
/// 3: more is known about the inputs.
pub const LAYOUT: u32 = 3;

/// First bytes of the keys of a keyspace. Their order is that of [`super::Run`]'s writes.
pub const META: u8 = 0;
pub const STATE: u8 = 1;
pub const TIMER: u8 = 2;

const TASK: &str = "task-";

pub fn keyspace_name(partition: i32) -> String {
    format!("{TASK}{partition}")
}

pub fn partition_of(keyspace: &str) -> Option<i32> {
    keyspace.strip_prefix(TASK)?.parse().ok()
}

/// The place of a key's state.
pub fn state_key(key: &[u8]) -> Vec<u8> {
    let mut place = Vec::with_capacity(1 + key.len());
    place.push(STATE);
    place.extend_from_slice(key);
    place
}
