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

/// A Kafka of its own (topic names are fixed, so scenarios cannot share one): one broker, or three that keep
/// everything three times and want two for a write. Stopped on drop.
pub struct OwnKafka {
    folder: tempfile::TempDir,
    pub brokers: String,
}

impl OwnKafka {
    pub fn start() -> Self {
        Self::start_brokers(1)
    }

    /// Three brokers, each a controller too: any one of them may be killed.
    pub fn start_three() -> Self {
        Self::start_brokers(3)
    }

    fn start_brokers(count: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("ttf-kafka-").tempdir().expect("a temporary folder");
        run_script(folder.path(), &["up", "kafka"], count);
        let env = std::fs::read_to_string(folder.path().join("env")).expect("the script writes its addresses");
        let brokers = env
            .lines()
            .find_map(|line| line.strip_prefix("export TTF_TEST_KAFKA="))
            .expect("the brokers' addresses are among them")
            .to_owned();
        Self { folder, brokers }
    }

    /// Ends broker `number` (from 1) in good order.
    pub fn stop_broker(&self, number: u32) {
        self.broker("stop", number);
    }

    /// `kill -9` of broker `number` (from 1).
    pub fn kill_broker(&self, number: u32) {
        self.broker("kill", number);
    }

    /// Broker `number` (from 1) stands still, its connections open.
    pub fn pause_broker(&self, number: u32) {
        self.broker("pause", number);
    }

    /// Broker `number` (from 1) goes on after a pause.
    pub fn resume_broker(&self, number: u32) {
        self.broker("resume", number);
    }

    /// Lets no file of broker `number` (from 1) grow any more, as a full disk would, until it is started again.
    pub fn fill_broker(&self, number: u32) {
        self.broker("full", number);
    }

    /// Starts broker `number` again, on its port and with its data; waits until its port is open.
    pub fn start_broker(&self, number: u32) {
        self.broker("start", number);
    }

    fn broker(&self, act: &str, number: u32) {
        run_script(self.folder.path(), &["broker", act, &number.to_string()], 1);
    }

    /// Runs one of Apache's own tools (`org.apache.kafka.tools.…`) against this Kafka; gives what it printed.
    ///
    /// # Panics
    /// When the tool fails.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> String {
        let libs = format!("{}/*", require("TTF_TEST_KAFKA_LIBS"));
        let output = Command::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-cp", &libs, class, "--bootstrap-server", &self.brokers])
            .args(arguments)
            .output()
            .expect("java is there");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{class} {arguments:?}: {printed}{}", String::from_utf8_lossy(&output.stderr));
        printed
    }
}

impl Drop for OwnKafka {
    fn drop(&mut self) {
        run_script(self.folder.path(), &["down"], 1);
    }
}

fn run_script(folder: &Path, arguments: &[&str], brokers: u32) {
    let output = Command::new(workspace().join("scripts/services/services.sh"))
        .args(arguments)
        .env("TTF_SERVICES_DIR", folder)
        .env("TTF_KAFKA_BROKERS", brokers.to_string())
        // What is about lost brokers should not wait long until they are missed.
        .env("TTF_KAFKA_SESSION_MS", "3000")
        .output()
        .expect("bash is there");
    assert!(output.status.success(), "services.sh {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
