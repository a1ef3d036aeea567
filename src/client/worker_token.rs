//! The token that a worker makes for itself to join with: `aew_`, a public id, a secret of 256 random bits and a
//! checksum, all in letters and digits. The server is told the id and the SHA-256 of the text, and stores no more.
//!
//! It has the form of the tokens that the server makes, which is declared a second time here: see the [client](super).

use std::fmt;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::token::ClientToken;

/// Digits and letters, in the order of their values.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// How a token of a worker begins.
const PREFIX: &str = "aew_";

/// Length of the public id.
const ID_LENGTH: usize = 12;

/// Length of the secret.
const SECRET_LENGTH: usize = 43;

/// Length of the checksum: a CRC-32.
const CHECKSUM_LENGTH: usize = 6;

/// A token that a worker has made for itself; `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkerToken(String);

impl WorkerToken {
    /// Makes a token of random bits that the operating system provides.
    pub fn generate() -> Self {
        let mut random = StdRng::from_os_rng();
        let mut text = PREFIX.to_owned();
        text.extend((0..ID_LENGTH + SECRET_LENGTH).map(|_| digit(random.random_range(0..62))));
        let checksum = checksum_of(&text);
        text.extend(checksum);
        Self(text)
    }

    /// Its public id.
    pub fn id(&self) -> &str {
        public_id(&self.0).unwrap_or_default()
    }

    /// What the server is told of it.
    pub fn join_request(&self) -> JoinRequest {
        let hash = Sha256::digest(self.0.as_bytes());
        let token_sha256 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        JoinRequest { token_id: self.id().to_owned(), token_sha256 }
    }

    /// The token as it is sent.
    pub fn to_client_token(&self) -> Option<ClientToken> {
        ClientToken::of(&self.0)
    }
}

impl fmt::Debug for WorkerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerToken({}…)", self.id())
    }
}

impl From<WorkerToken> for String {
    fn from(WorkerToken(text): WorkerToken) -> Self {
        text
    }
}

/// What a worker joins with: the token that it made for itself, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JoinRequest {
    /// Its public id.
    pub token_id: String,
    /// The SHA-256 of its text, in hexadecimal digits.
    pub token_sha256: String,
}

/// A text that was expected to be a worker's token, and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no token of a worker")]
pub struct NotAWorkerToken;

impl TryFrom<String> for WorkerToken {
    type Error = NotAWorkerToken;

    fn try_from(text: String) -> Result<Self, NotAWorkerToken> {
        let body = text.len().checked_sub(CHECKSUM_LENGTH).and_then(|end| text.split_at_checked(end));
        match body {
            Some((body, checksum))
                if text.starts_with(PREFIX)
                    && public_id(&text).is_some()
                    && checksum_of(body).into_iter().eq(checksum.chars()) =>
            {
                Ok(Self(text))
            }
            Some(_) | None => Err(NotAWorkerToken),
        }
    }
}

/// The public id in the text of a token, of whatever role; none if the text has not the form of one.
pub fn public_id(text: &str) -> Option<&str> {
    let is_token = text.len() == PREFIX.len() + ID_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH
        && text.starts_with("ae")
        && text.bytes().enumerate().all(|(at, byte)| if at == 3 { byte == b'_' } else { byte.is_ascii_alphanumeric() });
    text.get(PREFIX.len()..PREFIX.len() + ID_LENGTH).filter(|_| is_token)
}

fn digit(value: usize) -> char {
    char::from(ALPHABET.get(value).copied().unwrap_or(b'0'))
}

/// The CRC-32 of a text, most significant digit first.
fn checksum_of(body: &str) -> [char; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut digits = ['0'; CHECKSUM_LENGTH];
    for place in digits.iter_mut().rev() {
        *place = digit(rest % 62);
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_made_reads_back_and_one_with_a_typo_does_not() {
        let token = WorkerToken::generate();
        let text = String::from(token.clone());
        assert_eq!((text.len(), &text[4..16]), (65, token.id()));
        assert_eq!(WorkerToken::try_from(text.clone()), Ok(token.clone()));
        assert_ne!(WorkerToken::generate(), token);
        for at in 0..text.len() {
            let mut typo = text.clone();
            typo.replace_range(at..=at, if &text[at..=at] == "x" { "y" } else { "x" });
            assert_eq!(WorkerToken::try_from(typo), Err(NotAWorkerToken), "{at}");
        }
        for other in ["", "aew_", &text[1..], &format!("{text}0"), &"ä".repeat(40)] {
            assert_eq!(WorkerToken::try_from(other.to_owned()), Err(NotAWorkerToken), "{other}");
        }
        assert!(!format!("{token:?}").contains(&text[16..]));
    }

    #[test]
    fn it_has_the_form_and_the_hash_of_a_token_of_the_server() {
        let made = crate::auth::GeneratedToken::new(crate::auth::TokenKind::Bearer, crate::auth::Role::Worker);
        let token = WorkerToken::try_from(made.text.expose().to_owned()).unwrap();
        let JoinRequest { token_id, token_sha256 } = token.join_request();
        assert_eq!((token_id, token_sha256), (made.id.to_string(), made.hash.to_string()));
    }
}
