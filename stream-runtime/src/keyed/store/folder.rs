//! The state folder: whose it is, and whether what is in it can be trusted.
//!
//! Everything in it is also in the changelog. So what cannot be read is removed and restored, never repaired; only what
//! a person must see to (another process, no permission, no space) is an error.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use fjall::Database;

use super::{StoreError, sizes};

/// The name the layout before gave its lock, too: programs of both keep each other out.
const LOCK: &str = "lock";
const DATABASE: &str = "store";
/// Stands beside the database when it must not be used again.
const DISTRUST: &str = "distrust";
/// What the layout before had right in the folder, besides its journals.
const LAYOUT_1: [&str; 2] = ["keyspaces", "version"];

/// The locked state folder of a process.
pub struct Folder {
    path: PathBuf,
    /// Unlocked when dropped.
    _lock: File,
}

impl Folder {
    /// Takes the folder; made when missing.
    pub fn lock(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: io::Error| StoreError::Open(path.to_owned(), error.to_string());
        fs::create_dir_all(path).map_err(failed)?;
        let lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(failed)?;
        // A process that was just killed holds it for a moment.
        for _ in 0..3 {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path: path.to_owned(), _lock: lock }),
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(100)),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        Err(StoreError::Locked(path.to_owned()))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the database, an empty one when what is there cannot be used.
    pub fn open_database(&self) -> Result<Database, StoreError> {
        self.remove_layout_1().map_err(|error| self.failed(&error))?;
        if self.path.join(DISTRUST).exists() {
            tracing::warn!(folder = %self.path.display(), "writing here has failed before; restoring the local state");
            self.start_over().map_err(|error| self.failed(&error))?;
        }
        match self.try_open() {
            Ok(database) => return Ok(database),
            Err(Refusal::Environment(error)) => return Err(error),
            Err(Refusal::Damage(what)) => {
                tracing::error!(folder = %self.path.display(), what, "the local state is damaged; restoring all of it");
            }
        }
        self.start_over().map_err(|error| self.failed(&error))?;
        match self.try_open() {
            Ok(database) => Ok(database),
            Err(Refusal::Environment(error)) => Err(error),
            Err(Refusal::Damage(what)) => Err(StoreError::Open(self.path.clone(), what)),
        }
    }

    /// What is here must not be used by the next process.
    pub fn distrust(&self) {
        if let Err(error) = File::create(self.path.join(DISTRUST)) {
            tracing::warn!(folder = %self.path.display(), %error, "cannot note that the local state must be restored");
        }
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> StoreError {
        StoreError::Open(self.path.clone(), error.to_string())
    }

    fn start_over(&self) -> io::Result<()> {
        remove_all(&self.path.join(DATABASE))?;
        remove_all(&self.path.join(DISTRUST))
    }

    fn remove_layout_1(&self) -> io::Result<()> {
        if !self.path.join(LAYOUT_1[1]).exists() {
            return Ok(());
        }
        tracing::info!(folder = %self.path.display(), "the local state has an older layout; restoring it");
        for journal in journals(&self.path)?.into_keys() {
            remove_all(&self.path.join(journal_name(journal)))?;
        }
        // The version goes last: it tells that there is something to remove.
        LAYOUT_1.iter().try_for_each(|name| remove_all(&self.path.join(name)))
    }

    fn try_open(&self) -> Result<Database, Refusal> {
        let path = self.path.join(DATABASE);
        let before =
            if path.exists() { journals(&path).map_err(|error| self.judge(error.into()))? } else { BTreeMap::new() };
        if let Some(missing) = missing(&path).map_err(|error| self.judge(error.into()))? {
            return Err(Refusal::Damage(format!("{missing} is missing")));
        }
        // Files that were cut or mixed up can hit an assertion of the engine.
        let opened = catch_unwind(AssertUnwindSafe(|| sizes::database(&path).open()));
        let database = match opened {
            Ok(opened) => opened.map_err(|error| self.judge(error))?,
            Err(_) => return Err(Refusal::Damage("the engine gave up on it".to_owned())),
        };
        let after = journals(&path).map_err(|error| self.judge(error.into()))?;
        match hole(&before, &after) {
            None => Ok(database),
            Some(what) => Err(Refusal::Damage(what)),
        }
    }

    fn judge(&self, error: fjall::Error) -> Refusal {
        match error {
            fjall::Error::Locked => Refusal::Environment(StoreError::Locked(self.path.clone())),
            error if is_full(&error) => Refusal::Environment(StoreError::Full(self.path.clone())),
            error if is_damage(&error) => Refusal::Damage(error.to_string()),
            error => Refusal::Environment(self.failed(&error)),
        }
    }
}

/// Why a database is not opened.
enum Refusal {
    /// A person must see to it.
    Environment(StoreError),
    /// Its content cannot be used.
    Damage(String),
}

fn remove_all(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn journal_name(number: u64) -> String {
    format!("{number}.jnl")
}

/// The journals in a folder: number → bytes.
fn journals(path: &Path) -> io::Result<BTreeMap<u64, u64>> {
    let mut journals = BTreeMap::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jnl")).and_then(|number| number.parse().ok());
        if let Some(number) = number {
            journals.insert(number, entry.metadata()?.len());
        }
    }
    Ok(journals)
}

/// A file without which the engine would take a database, or a keyspace, for one that was never finished, and mix the one
/// it makes with what is left of the one before. Without any journal it would even count its writes from the start again,
/// so that what is in tables hides what is written from then on.
fn missing(database: &Path) -> io::Result<Option<String>> {
    let keyspaces = database.join("keyspaces");
    if !keyspaces.exists() {
        return Ok(None);
    }
    if !database.join("version").exists() {
        return Ok(Some("its version".to_owned()));
    }
    if journals(database)?.is_empty() {
        return Ok(Some("its journal".to_owned()));
    }
    for entry in fs::read_dir(keyspaces)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && !entry.path().join("current").exists() {
            return Ok(Some(format!("the manifest of keyspace {}", entry.file_name().to_string_lossy())));
        }
    }
    Ok(None)
}

/// Tells when changes in the middle are missing, from the journals before and after they were replayed.
///
/// The engine cuts a journal at the first entry it cannot read. The end of the newest one may be torn by a kill; what is
/// left is all changes up to some point. An older one that is cut, or gone from between others, leaves a hole.
fn hole(before: &BTreeMap<u64, u64>, after: &BTreeMap<u64, u64>) -> Option<String> {
    let (newest, _) = before.last_key_value()?;
    for (number, bytes) in before.range(..newest) {
        if after.get(number).is_some_and(|left| left < bytes) {
            return Some(format!("journal {number} is cut"));
        }
        if !before.contains_key(&(number + 1)) {
            return Some(format!("journal {} is missing", number + 1));
        }
    }
    None
}

pub fn is_full(error: &fjall::Error) -> bool {
    io_kind(error).is_some_and(|kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

/// True when it is the data that cannot be read, not the disk that does not answer.
pub fn is_damage(error: &fjall::Error) -> bool {
    match io_kind(error) {
        Some(kind) => matches!(
            kind,
            ErrorKind::NotFound
                | ErrorKind::UnexpectedEof
                | ErrorKind::InvalidData
                | ErrorKind::InvalidInput
                | ErrorKind::AlreadyExists
                | ErrorKind::IsADirectory
                | ErrorKind::NotADirectory
                | ErrorKind::Other
        ),
        None => !matches!(error, fjall::Error::Locked | fjall::Error::Poisoned | fjall::Error::KeyspaceDeleted),
    }
}

fn io_kind(error: &fjall::Error) -> Option<ErrorKind> {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => Some(error.kind()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_journal_may_lose_its_end() {
        let of = |entries: &[(u64, u64)]| entries.iter().copied().collect::<BTreeMap<_, _>>();
        let whole = of(&[(3, 10), (4, 10)]);
        assert_eq!(hole(&whole, &whole), None);
        assert_eq!(hole(&whole, &of(&[(3, 10), (4, 1)])), None, "torn by a kill");
        assert_eq!(hole(&whole, &of(&[(4, 10)])), None, "its changes were in tables already");
        assert!(hole(&whole, &of(&[(3, 9), (4, 10)])).is_some());
        assert!(hole(&of(&[(3, 10), (5, 10)]), &of(&[(3, 10), (5, 10)])).is_some());
        assert_eq!(hole(&BTreeMap::new(), &of(&[(0, 0)])), None);
    }
}
