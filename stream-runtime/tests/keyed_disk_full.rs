//! A disk that is full: the process ends with a clear message, and goes on rightly where there is room again.
//!
//! Each test starts itself again in a mount namespace of its own, where it mounts a small disk (in memory).

mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use stream_runtime::keyed::test_driver::{Setup, TestDriver};
use support::tally::{FIRST, Json, OPEN_MS, OUT, REJECTED, STATE, Tally, add, final_states};

type Driver = TestDriver<Tally, Json>;

/// Where the small disk is, in a test that was started again.
const DISK: &str = "KEYED_DISK_FULL";

/// Runs `body` with a small disk.
fn with_small_disk(test: &str, body: impl FnOnce(&Path)) {
    if let Some(disk) = std::env::var_os(DISK) {
        return body(&PathBuf::from(disk));
    }
    let disk = tempfile::tempdir().unwrap();
    let inside = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-ec"])
        .arg("mount -t tmpfs -o size=1m none \"$1\"; shift; exec \"$@\"")
        .arg("sh")
        .arg(disk.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DISK, disk.path())
        .output()
        .expect("`unshare` (util-linux) is installed");
    let said = format!("{}{}", String::from_utf8_lossy(&inside.stdout), String::from_utf8_lossy(&inside.stderr));
    assert!(
        inside.status.success() && said.contains("1 passed"),
        "in a mount namespace (user namespaces must be allowed: kernel.unprivileged_userns_clone, \
         kernel.apparmor_restrict_unprivileged_userns):\n{said}"
    );
}

fn resize(disk: &Path, size: &str) {
    let status = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(disk).status().unwrap();
    assert!(status.success(), "the disk cannot be made {size}");
}

fn driver_on(disk: &Path) -> Driver {
    let setup = Setup::new(&[FIRST], STATE, &[OUT, REJECTED]);
    let mut driver = TestDriver::new(&setup, Tally { open_ms: OPEN_MS }, Json::default()).unwrap();
    let state_dir = disk.join("state");
    driver.restart_with(|options| options.state_dir = state_dir).unwrap();
    driver
}

fn add_round(driver: &mut Driver) -> anyhow::Result<()> {
    for number in 0..1_000 {
        driver.publish(add(FIRST, &format!("key-{number}"), i64::MAX / 2, 1))?;
    }
    driver.commit()
}

fn counted(driver: &mut Driver) -> Vec<u64> {
    final_states(&driver.read_all(OUT).unwrap()).values().map(|state| state.count).collect()
}

#[test]
fn a_commit_on_a_full_disk_stops_loudly_and_loses_nothing() {
    with_small_disk("a_commit_on_a_full_disk_stops_loudly_and_loses_nothing", |disk| {
        let mut driver = driver_on(disk);
        let mut rounds = 0;
        let error = loop {
            rounds += 1;
            assert!(rounds < 1_000, "a disk of a mebibyte holds it all");
            if let Err(error) = add_round(&mut driver) {
                break error;
            }
        };
        assert!(format!("{error:#}").contains("is full"), "{error:#}");
        // Still no room: still loud.
        let again = driver.crash_and_restart().and_then(|()| add_round(&mut driver)).unwrap_err();
        assert!(format!("{again:#}").contains("state folder"), "{again:#}");
        resize(disk, "64m");
        driver.crash_and_restart().unwrap();
        driver.commit().unwrap();
        // The round that the second start had published as well.
        let counts = counted(&mut driver);
        assert!(counts.len() == 1_000 && counts.iter().all(|count| *count == counts[0]), "{counts:?}");
        assert!((rounds..=rounds + 1).contains(&counts[0]), "{} of {rounds}", counts[0]);
        add_round(&mut driver).unwrap();
        assert!(counted(&mut driver).iter().all(|count| *count == counts[0] + 1));
    });
}

#[test]
fn a_restore_on_a_full_disk_stops_loudly_and_is_done_when_there_is_room() {
    with_small_disk("a_restore_on_a_full_disk_stops_loudly_and_is_done_when_there_is_room", |disk| {
        resize(disk, "64m");
        let mut driver = driver_on(disk);
        for number in 0..15_000 {
            driver.publish(add(FIRST, &format!("key-{number}"), i64::MAX / 2, 1)).unwrap();
        }
        driver.commit().unwrap();
        let shrunk = |folder: &Path| {
            std::fs::remove_dir_all(folder)?;
            resize(disk, "300k");
            Ok(())
        };
        let error = driver.restart_after(shrunk).and_then(|()| driver.settle()).unwrap_err();
        assert!(format!("{error:#}").contains("is full"), "{error:#}");
        resize(disk, "64m");
        driver.crash_and_restart().unwrap();
        for number in 0..15_000 {
            driver.publish(add(FIRST, &format!("key-{number}"), i64::MAX / 2, 1)).unwrap();
        }
        driver.commit().unwrap();
        assert_eq!(counted(&mut driver), vec![2; 15_000]);
    });
}
