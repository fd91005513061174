//! Other products' own clients, and other tools that are installed by `scripts/clients/install.sh`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::servers::workspace;

/// Where they are installed.
///
/// # Panics
/// When they are not.
pub fn folder() -> PathBuf {
    let folder = std::env::var_os("TTF_TEST_CLIENTS").map_or_else(in_cache, PathBuf::from);
    let installed = folder.join(".done").exists();
    assert!(installed, "{} is not there: run scripts/clients/install.sh, or `make test`", folder.display());
    folder
}

fn in_cache() -> PathBuf {
    let home = || Path::new(&std::env::var_os("HOME").expect("a home")).join(".cache/ttf");
    std::env::var_os("TTF_CACHE_DIR").map_or_else(home, PathBuf::from).join("clients")
}

/// Runs `tests/clients/<script>` (Python, or JavaScript by `.mjs`) to its end.
///
/// # Panics
/// When it fails, with what it printed, or is not done within `limit`.
pub fn run(script: &str, arguments: &[String], limit: Duration) -> String {
    let folder = folder();
    let is_javascript = Path::new(script).extension().is_some_and(|extension| extension == "mjs");
    let program = folder.join(if is_javascript { "node-bin" } else { "python/bin/python" });
    let mut command = Command::new(program);
    command.arg(workspace().join("tests/clients").join(script)).args(arguments);
    command.env("TTF_TEST_NODE_MODULES", folder.join("node"));
    finish(command, script, limit)
}

/// Runs a command to its end; gives what it printed on both streams.
///
/// # Panics
/// When it fails or is not done within `limit`.
pub fn finish(mut command: Command, name: &str, limit: Duration) -> String {
    let output = tempfile::NamedTempFile::new().expect("a temporary file");
    let shared = || Stdio::from(output.as_file().try_clone().expect("a file can be shared"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(shared())
        .stderr(shared())
        .spawn()
        .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
    let printed = || std::fs::read_to_string(output.path()).unwrap_or_default();
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            assert!(status.success(), "{name} {status}:\n{}", printed());
            return printed();
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("{name} was not done in {limit:?}:\n{}", printed());
        }
        thread::sleep(Duration::from_millis(20));
    }
}
