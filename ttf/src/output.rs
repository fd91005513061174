//! Standard output. A reader that goes away (`ttf … | head`) ends a command in peace.

use std::{
    fmt,
    io::{ErrorKind, Write},
};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Nobody reads standard output any more.
#[derive(Debug)]
pub struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output any more")
    }
}

impl std::error::Error for ReaderGone {}

/// Prints a line at once, without colours when standard output is no terminal.
///
/// # Errors
/// [`ReaderGone`] when the other end of a pipe was closed.
pub fn line(text: impl fmt::Display) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => written.context("cannot write to standard output"),
    }
}

/// Whether the other end of standard output was closed, without writing to it.
pub fn reader_gone() -> bool {
    let stdout = std::io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}
