//! What can only be seen from outside a process: its signals, its log lines and its exit code. Each test starts this
//! test binary again in a role.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStderr, Command, Stdio},
};

use serde_json::Value;
use service_kit::{
    Kit,
    config::{HumanDuration, ServiceConfig},
    telemetry::{self, LogFormat},
};

const ROLE: &str = "SERVICE_KIT_TEST_ROLE";

/// The process under test; does nothing when no role is given, as in an ordinary run.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let config = ServiceConfig {
        environment: "test".to_owned(),
        admin_listen: "127.0.0.1:0".parse().unwrap(),
        log_format: LogFormat::Json,
        log_level: "info".to_owned(),
        drain_timeout: HumanDuration::from_secs(3600),
    };
    telemetry::init(&config).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let outcome = runtime.block_on(async {
        let kit = Kit::new("example");
        kit.handle_signals().unwrap();
        let shutdown = kit.shutdown();
        match role.as_str() {
            "drains" => kit.spawn("poll", async move {
                shutdown.cancelled().await;
                Ok(())
            }),
            "deaf" => kit.spawn("deaf", std::future::pending()),
            "panics" => kit.spawn_thread("store", || panic!("disk is full")),
            other => panic!("no such role: {other}"),
        }
        telemetry::log_start(kit.service(), &config.environment);
        kit.join(config.drain_timeout.as_std()).await
    });
    std::process::exit(i32::from(outcome.is_err()));
}

struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStderr>>,
}

impl Process {
    fn start(role: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(ROLE, role)
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads the log up to the line with this message; every line must be JSON.
    fn wait_for(&mut self, message: &str) -> Value {
        loop {
            let line = self.lines.next().unwrap_or_else(|| panic!("the log ended before `{message}`")).unwrap();
            let entry: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
            if entry["message"] == message {
                return entry;
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id();
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
        assert!(sent.success());
    }

    fn exit_code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

#[test]
fn sigterm_drains_and_exits_with_zero() {
    let mut process = Process::start("drains");
    let start = process.wait_for("starting");
    assert_eq!((&start["service"], &start["environment"]), (&"example".into(), &"test".into()));
    assert_eq!((&start["level"], &start["target"]), (&"INFO".into(), &"service_kit::telemetry".into()));
    process.signal("TERM");
    assert_eq!(process.wait_for("asked to stop")["signal"], "SIGTERM");
    process.wait_for("stopped");
    assert_eq!(process.exit_code(), Some(0));
}

#[test]
fn a_second_sigint_leaves_at_once() {
    let mut process = Process::start("deaf");
    process.wait_for("starting");
    process.signal("INT");
    process.wait_for("draining");
    process.signal("INT");
    assert_eq!(process.exit_code(), Some(130));
}

#[test]
fn a_panic_is_a_log_line_with_its_place_and_ends_the_process() {
    let mut process = Process::start("panics");
    let panic = process.wait_for("panicked: disk is full");
    assert_eq!((&panic["level"], &panic["thread"]), (&"ERROR".into(), &"store".into()));
    let location = panic["location"].as_str().unwrap();
    assert!(location.contains("tests/process.rs:"), "{location}");
    let failure = process.wait_for("task failed");
    assert_eq!((&failure["task"], &failure["error"]), (&"store".into(), &"panicked: disk is full".into()));
    assert_eq!(process.exit_code(), Some(1));
}
