//! The token that a client sends, and the file that it is read from, or standard input. It is never an argument: other
//! users of a machine may read those. Commands of operators take it from a variable of the environment, too, which only
//! its user may read (`operator::connection`).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::header::HeaderValue;

/// The longest file that may hold a token. A token has 65 characters; more is something else.
const LONGEST_FILE: u64 = 4 * 1024;

/// Where the token of a command is.
#[derive(Args, Clone, Debug, Default)]
pub struct TokenOptions {
    /// File with the token to send; without one, none is sent, which a server without tokens does not ask for.
    #[arg(long, env = "AETHERIUM_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// A token, as it is sent; `Debug` hides it.
#[derive(Clone, Debug)]
pub struct ClientToken(HeaderValue);

/// Why the token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// The file cannot be read.
    #[error("The token cannot be read from {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        reason: io::Error,
    },
    /// What is in it cannot be sent.
    #[error("{} holds no token: it has to be one word", .path.display())]
    NotAToken {
        /// The file.
        path: PathBuf,
    },
}

impl TokenOptions {
    /// Reads the token; none if there is no file.
    pub fn read(&self) -> Result<Option<ClientToken>, TokenFileError> {
        let Some(path) = self.path() else { return Ok(None) };
        let text = read_text(path, || File::open(path))?;
        ClientToken::of(&text).map(Some).ok_or_else(|| TokenFileError::NotAToken { path: path.to_owned() })
    }

    /// The file, if one is named.
    pub fn path(&self) -> Option<&Path> {
        self.token_file.as_deref().filter(|path| !path.as_os_str().is_empty())
    }
}

/// Reads the text of a token from a file, or from standard input if the path is `-`.
pub fn read_token_text(path: &Path) -> Result<String, TokenFileError> {
    let text = if path.as_os_str() == "-" {
        read_text(Path::new("standard input"), || Ok(io::stdin()))
    } else {
        read_text(path, || File::open(path))
    };
    text.map(|text| text.trim().to_owned())
}

fn read_text<R: io::Read>(path: &Path, open: impl FnOnce() -> io::Result<R>) -> Result<String, TokenFileError> {
    let mut text = String::new();
    let read = open().and_then(|file| file.take(LONGEST_FILE).read_to_string(&mut text));
    match read {
        Ok(_) if is_word(text.trim()) => Ok(text),
        Ok(_) => Err(TokenFileError::NotAToken { path: path.to_owned() }),
        Err(reason) => Err(TokenFileError::Unreadable { path: path.to_owned(), reason }),
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl ClientToken {
    /// The token with this text, without spaces around it; none if it is no word.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut value = HeaderValue::try_from(format!("Bearer {text}")).ok().filter(|_| is_word(text))?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    pub(super) fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }
}
