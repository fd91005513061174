//! The real servers a suite runs against, by environment; and a Kafka of one's own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The value of a `TTF_TEST_…` variable. A missing server is an error, never a skipped test.
pub fn require(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `make test`, or `make services-up` and `eval \"$(make services-env)\"`")
    })
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// A Kafka broker of its own (topic names are fixed, so scenarios cannot share one). Stopped on drop.
pub struct OwnKafka {
    folder: tempfile::TempDir,
    pub brokers: String,
}

impl OwnKafka {
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("ttf-kafka-").tempdir().expect("a temporary folder");
        run_script(folder.path(), &["up", "kafka"]);
        let env = std::fs::read_to_string(folder.path().join("env")).expect("the script writes its addresses");
        let brokers = env
            .lines()
            .find_map(|line| line.strip_prefix("export TTF_TEST_KAFKA="))
            .expect("the broker's address is among them")
            .to_owned();
        Self { folder, brokers }
    }
}

impl Drop for OwnKafka {
    fn drop(&mut self) {
        run_script(self.folder.path(), &["down"]);
    }
}

fn run_script(folder: &Path, arguments: &[&str]) {
    let output = Command::new(workspace().join("scripts/services/services.sh"))
        .args(arguments)
        .env("TTF_SERVICES_DIR", folder)
        .output()
        .expect("bash is there");
    assert!(output.status.success(), "services.sh {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
