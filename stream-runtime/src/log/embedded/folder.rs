//! Exclusive use of the log's folder.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

use crate::log::LogError;

/// Held as long as the log is open; the operating system lets go of it when the process ends, however it ends.
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Makes the folder when it is missing and takes it for this process.
    pub fn acquire(folder: &Path) -> Result<Self, LogError> {
        let shown = folder.display();
        let unwritable =
            |error: std::io::Error| LogError::Invalid(format!("cannot write to the folder {shown}: {error}"));
        fs::create_dir_all(folder).map_err(unwritable)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join("ttf.lock"))
            .map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let pid = match file.read_to_string(&mut owner) {
                    Ok(_) if !owner.trim().is_empty() => owner.trim().to_owned(),
                    _ => "unknown".to_owned(),
                };
                return Err(LogError::Invalid(format!("{shown} is in use by another ttf process (pid {pid})")));
            }
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        }
        file.set_len(0).map_err(unwritable)?;
        file.rewind().map_err(unwritable)?;
        writeln!(file, "{}", std::process::id()).map_err(unwritable)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_user_is_told_who_has_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::acquire(folder.path()).unwrap();
        let refused = FolderLock::acquire(folder.path()).err().unwrap().to_string();
        assert_eq!(
            refused,
            format!("{} is in use by another ttf process (pid {})", folder.path().display(), std::process::id())
        );
        drop(lock);
        FolderLock::acquire(folder.path()).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_one_clear_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a-file");
        fs::write(&file, b"").unwrap();
        let refused = FolderLock::acquire(&file.join("log")).err().unwrap().to_string();
        assert!(refused.starts_with("cannot write to the folder "), "{refused}");
        assert!(!refused.contains('\n'));
    }
}
