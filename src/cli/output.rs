//! Standard output of the commands. Log lines are not written here but to standard error, by `telemetry`.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};

/// Writes to standard output. That the reader has closed it, as `head` does, is no error.
pub(super) fn print(text: impl fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}
