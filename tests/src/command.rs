//! One run of a `ttf` command to its end.

use std::{
    ffi::OsStr,
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::process;

/// No command takes longer than this in a test.
const LIMIT: Duration = Duration::from_secs(60);

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Ran {
    /// Standard output of a command that must have ended well.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// What it printed, both streams.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The lines of standard error that are not the process's log.
    pub fn complaints(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| !line.starts_with('{')).collect()
    }

    /// One clear line, no more, and the exit code.
    pub fn assert_one_line(&self, code: i32, saying: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        let complaints = self.complaints();
        assert_eq!(complaints.len(), 1, "one line: {self:?}");
        for part in saying {
            assert!(complaints[0].contains(part), "`{part}` in: {self:?}");
        }
        assert!(!self.stderr.contains("panicked") && !self.stderr.contains("backtrace"), "{self:?}");
    }
}

/// Runs `ttf` in `folder` with nothing on standard input.
pub fn run<A: AsRef<OsStr>>(folder: &Path, arguments: &[A]) -> Ran {
    run_with(folder, arguments, &[], "")
}

/// As [`run`], with environment and standard input. Panics when the command does not end within a minute.
pub fn run_with<A: AsRef<OsStr>>(folder: &Path, arguments: &[A], env: &[(&str, &str)], input: &str) -> Ran {
    let begin = Instant::now();
    let mut child = Command::new(process::binary())
        .args(arguments)
        .current_dir(folder)
        .env_remove("TELEMETRY_CONFIG")
        .env_remove("TELEMETRY_URL")
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    // A command that ends before it has read everything is none of the writer's business.
    thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let stdout = collect(child.stdout.take().expect("it is piped"));
    let stderr = collect(child.stderr.take().expect("it is piped"));
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            break status;
        }
        if begin.elapsed() > LIMIT {
            let _ = child.kill();
            panic!("`ttf` did not end within {LIMIT:?}: {}", stderr.join().expect("no panic"));
        }
        thread::sleep(Duration::from_millis(10));
    };
    Ran {
        code: status.code().expect("no signal ended it"),
        stdout: stdout.join().expect("no panic"),
        stderr: stderr.join().expect("no panic"),
        took: begin.elapsed(),
    }
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("a pipe can be read");
        String::from_utf8(bytes).expect("ttf prints UTF-8")
    })
}
