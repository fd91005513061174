//! A duty is a lock on a file beside the database: the system gives it back when the process ends, however that happens.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
};

use async_trait::async_trait;

use crate::database::{DatabaseError, Duty, Held};

struct Locked {
    _file: File,
}

/// Takes the duty; `None` while another process has it.
pub(super) fn take(database: &Path, duty: Duty) -> Result<Option<Box<dyn Held>>, DatabaseError> {
    let mut path = database.as_os_str().to_owned();
    path.push(format!(".{}.lock", duty.name()));
    let cannot = |error: std::io::Error| DatabaseError::Unavailable(format!("cannot lock {}: {error}", path.display()));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Box::new(Locked { _file: file }))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

#[async_trait]
impl Held for Locked {
    async fn is_held(&self) -> bool {
        true
    }
}
