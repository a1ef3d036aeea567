//! The token that a client sends, and the file that it is read from. It is never an argument or a variable of the
//! environment itself: other users of a machine may read those.

use std::path::PathBuf;
use std::{fs, io};

use clap::Args;
use reqwest::header::HeaderValue;

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
        let Some(path) = self.token_file.clone().filter(|path| !path.as_os_str().is_empty()) else { return Ok(None) };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(reason) => return Err(TokenFileError::Unreadable { path, reason }),
        };
        let text = text.trim();
        let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        match HeaderValue::try_from(format!("Bearer {text}")) {
            Ok(mut value) if is_word => {
                value.set_sensitive(true);
                Ok(Some(ClientToken(value)))
            }
            Ok(_) | Err(_) => Err(TokenFileError::NotAToken { path }),
        }
    }
}

impl ClientToken {
    pub(super) fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }
}
