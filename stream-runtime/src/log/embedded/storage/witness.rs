//! Tells how many batches were written, beside the store: a journal that lost its tail to damage looks like one
//! that ended there, and only a second account shows that it went on.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::Path,
    time::{Duration, Instant},
};

/// The account may lag behind the store by this much, so that it costs nothing.
const EVERY: Duration = Duration::from_secs(1);
const LENGTH: usize = 12;

pub(super) struct Witness {
    file: File,
    batches: u64,
    /// What the file says, and since when.
    told: (u64, Instant),
}

impl Witness {
    /// Opens the account; a missing or cut one says nothing (0).
    pub fn open(file: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let batches = decode(&bytes).unwrap_or(0);
        Ok(Self { file, batches, told: (batches, Instant::now()) })
    }

    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// So many batches are durable.
    pub fn saw(&mut self, batches: u64) {
        self.batches = batches;
        if self.told.1.elapsed() >= EVERY {
            self.tell();
        }
    }

    /// Not synced: an account that is too old after a power failure does no harm.
    fn tell(&mut self) {
        if self.batches == self.told.0 {
            return;
        }
        let written = self.file.rewind().and_then(|()| self.file.write_all(&encode(self.batches)));
        match written {
            Ok(()) => self.told = (self.batches, Instant::now()),
            Err(error) => tracing::warn!(%error, "the count of batches could not be written"),
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.tell();
    }
}

fn encode(batches: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..8].copy_from_slice(&batches.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..8]);
    bytes[8..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
    let batches = u64::from_le_bytes(bytes[..8].try_into().ok()?);
    (encode(batches) == *bytes).then_some(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_comes_back_and_a_cut_one_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("account");
        let mut witness = Witness::open(&path).unwrap();
        assert_eq!(witness.batches(), 0);
        witness.saw(41);
        witness.saw(42);
        drop(witness);
        assert_eq!(Witness::open(&path).unwrap().batches(), 42);
        std::fs::write(&path, b"cut").unwrap();
        assert_eq!(Witness::open(&path).unwrap().batches(), 0);
    }
}
