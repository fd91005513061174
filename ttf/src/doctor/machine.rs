//! This machine: folders, disks, limits.

use std::path::{Path, PathBuf};

use rustix::{
    fs::{Access, access, statvfs},
    process::{Resource, getrlimit},
};
use sink_archiver::config::{DatabaseConfig, ObjectsConfig};
use stream_runtime::log::LogConfig;

use super::{
    needs::Role,
    report::{Check, Part},
};
use crate::config::Config;

/// A store that cannot write any more stops its process.
const FULL_BYTES: u64 = 200 << 20;
const SMALL_BYTES: u64 = 2 << 30;
/// Files besides connections: stores, logs, Kafka.
const OTHER_FILES: u64 = 1_024;

pub fn look(config: &Config, roles: &[Role]) -> Vec<Check> {
    let mut part = Part::new("machine");
    for (setting, path) in folders(config, roles) {
        look_at_folder(&mut part, setting, &path);
    }
    if roles.contains(&Role::Gateway) {
        let wanted = config.gateway.limits.connections as u64 + OTHER_FILES;
        match getrlimit(Resource::Nofile).current {
            Some(limit) if limit < wanted => part.warning(
                "open files",
                format!("{limit} at most, `gateway.limits.connections` and the rest want {wanted}"),
                "raise it (LimitNOFILE of the unit, ulimit -n), or lower gateway.limits.connections",
            ),
            limit => part.ok("open files", limit.map_or("unlimited".to_owned(), |limit| format!("{limit} at most"))),
        }
        if let Some(tls) = &config.gateway.tls {
            for file in [&tls.certificate, &tls.key] {
                if let Err(error) = access(file, Access::READ_OK) {
                    part.wrong(
                        "gateway.tls",
                        format!("{}: {error}", file.display()),
                        "put the file there, readable for this user",
                    );
                }
            }
        }
    }
    part.checks
}

fn folders(config: &Config, roles: &[Role]) -> Vec<(&'static str, PathBuf)> {
    let mut folders = Vec::new();
    if let LogConfig::Embedded(log) = &config.log {
        folders.push(("log.path", log.path.clone()));
    }
    if roles.contains(&Role::Processor) {
        folders.push(("processor.state_dir", config.processor.runtime.state_dir.clone()));
    }
    if roles.contains(&Role::Alerter) {
        folders.push(("alerter.state_dir", config.alerter.state_dir.clone()));
    }
    if roles.contains(&Role::Archiver) {
        if let DatabaseConfig::Sqlite(sqlite) = &config.archive.database {
            folders.push(("archive.database.path", sqlite.path.parent().map_or_else(PathBuf::new, Path::to_owned)));
        }
        if let ObjectsConfig::Folder(folder) = &config.archive.s3 {
            folders.push(("archive.s3.path", folder.path.clone()));
        }
    }
    folders
}

fn look_at_folder(part: &mut Part, setting: &str, path: &Path) {
    let there = existing(path);
    let shown = path.display();
    if !there.is_dir() {
        part.wrong(setting, format!("{shown}: {} is no folder", there.display()), "name another one");
        return;
    }
    // Also root may not write where the file system is read-only.
    if let Err(error) = access(&there, Access::WRITE_OK) {
        part.wrong(setting, format!("{shown}: {error}"), format!("make {} writable for this user", there.display()));
        return;
    }
    let Ok(found) = statvfs(&there) else {
        part.skipped(setting, format!("{shown}: the file system does not tell its size"));
        return;
    };
    let free = found.f_bavail * found.f_frsize;
    let share = (found.f_bavail * 100).checked_div(found.f_blocks).unwrap_or(100);
    judge_space(part, setting, &format!("{shown}: {} MiB free ({share} %)", free >> 20), free, share);
}

fn judge_space(part: &mut Part, setting: &str, found: &str, free: u64, share: u64) {
    let todo = "make room or enlarge the volume: twice the state and 200 MiB are needed";
    if free < FULL_BYTES {
        part.wrong(setting, found, todo);
    } else if free < SMALL_BYTES && share < 15 {
        part.warning(setting, found, todo);
    } else {
        part.ok(setting, found);
    }
}

/// The path, or of its parents the first that is there.
fn existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.ancestors().find(|parent| parent.exists()).map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{super::report::Status, *};

    #[test]
    fn a_full_disk_is_wrong_and_a_small_one_a_warning() {
        let of = |free: u64, share| {
            let mut part = Part::new("machine");
            judge_space(&mut part, "state_dir", "", free, share);
            part.checks[0].status
        };
        assert_eq!(of(100 << 20, 50), Status::Wrong);
        assert_eq!(of(1 << 30, 5), Status::Warning);
        assert_eq!(of(1 << 30, 80), Status::Ok);
        assert_eq!(of(1 << 40, 5), Status::Ok);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(existing(&folder.path().join("a/b")), folder.path());
    }
}
