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

/// A text as one word of a shell.
pub fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_the_shell_is_quoted_if_it_has_to_be() {
        for (text, expected) in [
            ("https://a.example:8443/x", "https://a.example:8443/x"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(reboot)", "'$(reboot)'"),
            ("it's", r"'it'\''s'"),
            ("<URL>", "'<URL>'"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
