//! How much memory and disk the engine may take, and what for.
//!
//! Resident for the local state of a process, however many journeys it holds: [`CACHE`], at most twice
//! [`WRITE_BUFFERS`] (what is being filled and what is being flushed), index and filter blocks (about 1.5 bytes a
//! state), and while a restore runs what `restore/read.rs` gathers. On disk besides the tables: up to two times
//! [`JOURNAL`].

use std::path::Path;

use fjall::{
    CompressionType, Database, DatabaseBuilder, KeyspaceCreateOptions,
    config::{BlockSizePolicy, CompressionPolicy},
};

const MIB: u64 = 1 << 20;

/// Blocks of the tables as they were read last. The system's page cache holds the rest of the tables for as long as
/// there is memory.
const CACHE: u64 = 48 * MIB;

/// Changes that are in the journal and not yet in a table, over all partitions.
const WRITE_BUFFERS: u64 = 48 * MIB;

/// A journal is closed at this size and deleted when its changes are in tables. This is what is read again after a kill,
/// about a second's work. The engine takes no less.
const JOURNAL: u64 = 64 * MIB;

/// Descriptors kept open. With several hundred partitions and tables each, others are opened when needed.
const FILES: usize = 512;

/// Settings of the database.
pub fn database(path: &Path) -> DatabaseBuilder<Database> {
    Database::builder(path)
        // One for flushing and compacting is enough, and two on as many cores would take turns with the workers.
        .worker_threads(1)
        .cache_size(CACHE)
        .max_journaling_size(JOURNAL)
        .max_cached_files(Some(FILES))
}

/// Settings of the keyspace of one of `partitions` tasks. They are stored with it: a change concerns new stores only.
pub fn keyspace(partitions: i32) -> KeyspaceCreateOptions {
    let share = WRITE_BUFFERS / u64::from(partitions.max(1).unsigned_abs());
    KeyspaceCreateOptions::default()
        // A process may own every partition. Below a mebibyte tables become many and small.
        .max_memtable_size(share.clamp(MIB, 32 * MIB))
        // States are short and resemble each other: a block of several of them shrinks to about half.
        .data_block_compression_policy(CompressionPolicy::new([CompressionType::None, CompressionType::Lz4]))
        .data_block_size_policy(BlockSizePolicy::all(4 * 1024))
}
