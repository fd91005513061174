//! A `ttf` process under test.

use std::{
    ffi::OsStr,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// The binary under test: `TTF_TEST_BIN`, else the one beside the test's own executable.
pub fn binary() -> PathBuf {
    if let Ok(path) = std::env::var("TTF_TEST_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    let built = test.ancestors().nth(2).expect("tests lie in target/<profile>/deps").join("ttf");
    assert!(built.exists(), "{} is not there: run `cargo build -p ttf` first, or `make test`", built.display());
    built
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("loopback has free ports").port()
}

/// A running `ttf`; killed on drop. Its output goes to files in `folder`.
pub struct Ttf {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Ttf {
    pub fn start<A: AsRef<OsStr>>(name: &str, folder: &Path, arguments: &[A]) -> Self {
        Self::start_with(name, folder, arguments, &[])
    }

    pub fn start_with<A: AsRef<OsStr>>(name: &str, folder: &Path, arguments: &[A], env: &[(&str, &str)]) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a writable folder");
        let child = Command::new(binary())
            .args(arguments)
            .current_dir(folder)
            .envs(env.iter().copied())
            .env_remove("TELEMETRY_CONFIG")
            .env_remove("TELEMETRY_URL")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file can be shared"))
            .stderr(file)
            .spawn()
            .expect("the binary starts");
        Self { child, name: name.to_owned(), log }
    }

    /// Waits until `url` answers 200; panics with the process's output when it ends or takes too long.
    pub async fn ready(&mut self, url: &str, limit: Duration) {
        let client = crate::http::client();
        let deadline = Instant::now() + limit;
        loop {
            let answer = client.get(url).timeout(Duration::from_secs(5)).send().await;
            if answer.is_ok_and(|response| response.status().is_success()) {
                return;
            }
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                panic!("{} ended with {status}:\n{}", self.name, self.output());
            }
            assert!(Instant::now() < deadline, "{} was not ready in {limit:?}:\n{}", self.name, self.output());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
    }

    /// SIGTERM, then waits for the end.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal("-TERM", limit)
    }

    /// Ctrl-C, then waits for the end.
    pub fn interrupt(&mut self, limit: Duration) -> ExitStatus {
        self.signal("-INT", limit)
    }

    fn signal(&mut self, signal: &str, limit: Duration) -> ExitStatus {
        self.send(signal);
        self.wait(limit)
    }

    /// Sends a signal by its name (`-STOP`).
    pub fn send(&self, signal: &str) {
        let sent = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().expect("kill is there");
        assert!(sent.success());
    }

    /// True when a signal has stopped it (state `T` of `proc_pid_stat(5)`).
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    }

    /// Waits for the process's own end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} did not end in {limit:?}:\n{}", self.name, self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    /// A figure of `/proc/PID/status` (`VmRSS`, `VmHWM`), in bytes.
    pub fn memory(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs, on Linux");
        let told = status.lines().find_map(|line| line.strip_prefix(figure)).expect("the system tells this figure");
        let kib: u64 = told.trim_matches(|it: char| !it.is_ascii_digit()).parse().expect("a number of KiB");
        kib * 1024
    }

    /// Everything it has printed so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Ttf {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("--- {} printed:\n{}", self.name, self.output());
        }
    }
}
