//! The text of a token: `ae`, a letter for its role or its kind, `_`, its public id, its secret and a checksum.
//!
//! By the checksum a text with a typo is told from a token of another server, and secret scanners find leaked tokens. Only
//! the SHA-256 of the whole text is stored: the secret has 256 random bits, so a slow hash, which is for passwords, would
//! add nothing.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::kind::TokenKind;
use super::role::Role;

/// Digits and letters, in the order of their values.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Length of `ae`, the letter and `_`.
const PREFIX_LENGTH: usize = 4;

/// Length of the public id: 71 bits.
const ID_LENGTH: usize = 12;

/// Length of the secret: 256 bits.
const SECRET_LENGTH: usize = 43;

/// Length of the checksum: a CRC-32.
const CHECKSUM_LENGTH: usize = 6;

/// Length of a token.
const LENGTH: usize = PREFIX_LENGTH + ID_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH;

/// The letter in the text of a token: that of its role, if it is sent in `Authorization`; else that of its kind.
fn letter(kind: TokenKind, role: Role) -> u8 {
    match (kind, role) {
        (TokenKind::Bearer, Role::Viewer) => b'v',
        (TokenKind::Bearer, Role::Operator) => b'o',
        (TokenKind::Bearer, Role::Admin) => b'a',
        (TokenKind::Bearer, Role::Worker) => b'w',
        (TokenKind::Bearer, Role::Join) => b'j',
        (TokenKind::Session, _) => b's',
        (TokenKind::SignInCode, _) => b'c',
    }
}

/// Whether a token may have this letter.
fn is_letter(letter_found: u8) -> bool {
    let kinds = TokenKind::ALL.into_iter();
    kinds.flat_map(|kind| Role::ALL.map(|role| letter(kind, role))).any(|letter| letter == letter_found)
}

/// The public id of a token, by which it is listed, logged and revoked. It sorts and compares as its text does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(Arc<str>);

impl TokenId {
    /// The id with this text; none if no token can have it.
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid = text.len() == ID_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_valid.then(|| Self(text.into()))
    }

    /// The id that is meant by this text: an id, or a whole token, which people paste when it has leaked.
    pub fn meant_by(text: &str) -> Option<Self> {
        Self::parse(text).or_else(|| Claim::parse(text).ok().and_then(|claim| Self::parse(claim.id)))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its text, shared.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl Borrow<str> for TokenId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 of a token's text; `Debug` hides it.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a text.
    fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The hash that is written so, in hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Whether it is the same hash; takes as long whether the first byte differs or the last.
    pub fn is_same(&self, other: &Self) -> bool {
        is_same_secret(&self.0, &other.0)
    }
}

/// Whether two secrets of one length are the same; takes as long whether the first byte differs or the last.
pub fn is_same_secret(one: &[u8], other: &[u8]) -> bool {
    // Eight bytes at a time, since each comparison is hidden from the optimizer, which costs more than itself.
    let ((words, rest), (other_words, other_rest)) = (one.as_chunks(), other.as_chunks());
    let words = words.iter().zip(other_words);
    let same = words.map(|(one, other)| u64::from_ne_bytes(*one).ct_eq(&u64::from_ne_bytes(*other)));
    let same = same.fold(rest.ct_eq(other_rest), |all, same| all & same);
    one.len() == other.len() && same.into()
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// In hexadecimal digits, as it is stored.
impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The text of a token. It is shown to whoever creates it, once; `Debug` hides it.
#[derive(Clone)]
pub struct TokenText(String);

impl TokenText {
    /// The text, to be shown to its owner or sent to the server.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

/// A new token: its text, and what is stored of it.
#[derive(Clone, Debug)]
pub struct GeneratedToken {
    /// The text.
    pub text: TokenText,
    /// The public id.
    pub id: TokenId,
    /// The hash.
    pub hash: TokenHash,
}

impl GeneratedToken {
    /// Makes a token of random bits that the operating system provides.
    pub fn new(kind: TokenKind, role: Role) -> Self {
        // Seeded anew for each token, so that no state is left from which others could be told.
        let mut random = StdRng::from_os_rng();
        let mut text = String::with_capacity(LENGTH);
        text.push_str("ae");
        text.push(char::from(letter(kind, role)));
        text.push('_');
        for _ in 0..ID_LENGTH + SECRET_LENGTH {
            text.push(digit(random.random_range(0..62)));
        }
        push_checksum(&mut text);
        let id = text.get(PREFIX_LENGTH..PREFIX_LENGTH + ID_LENGTH).unwrap_or_default().into();
        let hash = TokenHash::of(&text);
        Self { text: TokenText(text), id: TokenId(id), hash }
    }
}

impl GeneratedToken {
    /// The token of this kind and role with this text, which was made elsewhere.
    pub fn of_text(kind: TokenKind, role: Role, text: &str) -> Result<Self, InvalidToken> {
        let claim = Claim::parse(text)?;
        if text.as_bytes().get(2) != Some(&letter(kind, role)) {
            return Err(InvalidToken);
        }
        Ok(Self { text: TokenText(text.to_owned()), id: TokenId(claim.id.into()), hash: claim.hash() })
    }
}

/// A text that no token has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a token of this API: its form or its checksum is wrong, as after a typo")]
pub struct InvalidToken;

/// A text in the form of a token: which one it claims to be, and its hash.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The public id.
    pub id: &'a str,
    /// The whole text.
    text: &'a str,
}

impl<'a> Claim<'a> {
    /// The claim of a text that is as long as a token and begins like one. The checksum is not looked at: the hash of a
    /// text that is found tells more, and the tables of a CRC would push other things out of the cache.
    pub fn split(text: &'a str) -> Option<Self> {
        let is_like_a_token = text.len() == LENGTH && text.starts_with("ae");
        text.get(PREFIX_LENGTH..PREFIX_LENGTH + ID_LENGTH).filter(|_| is_like_a_token).map(|id| Self { id, text })
    }

    /// Checks form and checksum.
    pub fn parse(text: &'a str) -> Result<Self, InvalidToken> {
        let (body, checksum) = text.split_at_checked(LENGTH - CHECKSUM_LENGTH).ok_or(InvalidToken)?;
        let [b'a', b'e', kind, b'_', ..] = body.as_bytes() else { return Err(InvalidToken) };
        let is_valid = text.len() == LENGTH
            && is_letter(*kind)
            && body.bytes().skip(PREFIX_LENGTH).all(|byte| byte.is_ascii_alphanumeric())
            && checksum_of(body) == checksum.as_bytes();
        let id = body.get(PREFIX_LENGTH..PREFIX_LENGTH + ID_LENGTH).filter(|_| is_valid).ok_or(InvalidToken)?;
        Ok(Self { id, text })
    }

    /// Its hash.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.text)
    }
}

fn digit(value: usize) -> char {
    char::from(ALPHABET.get(value).copied().unwrap_or(b'0'))
}

/// The CRC-32 of a text, most significant digit first.
fn checksum_of(body: &str) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for place in digits.iter_mut().rev() {
        *place = digit(rest % 62) as u8;
        rest /= 62;
    }
    digits
}

fn push_checksum(text: &mut String) {
    let checksum = checksum_of(text);
    text.extend(checksum.map(char::from));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_it_claims_to_be() {
        for (kind, role) in TokenKind::ALL.into_iter().flat_map(|kind| Role::ALL.map(|role| (kind, role))) {
            let token = GeneratedToken::new(kind, role);
            let claim = Claim::parse(token.text.expose()).unwrap();
            assert_eq!((claim.id, token.text.expose().len()), (token.id.as_str(), LENGTH));
            assert!(claim.hash().is_same(&token.hash));
            assert!(TokenHash::from_hex(&token.hash.to_string()).unwrap().is_same(&token.hash));
        }
    }

    #[test]
    fn a_typo_anywhere_is_noticed() {
        let token = GeneratedToken::new(TokenKind::Bearer, Role::Admin);
        let text = token.text.expose();
        for at in 0..text.len() {
            let mut typo = text.as_bytes().to_vec();
            typo[at] = if typo[at] == b'x' { b'y' } else { b'x' };
            let typo = String::from_utf8(typo).unwrap();
            assert_eq!(Claim::parse(&typo).err(), Some(InvalidToken), "{at}");
        }
        for text in ["", "aea_", &text[1..], &format!("{text}0"), &"ä".repeat(40)] {
            assert_eq!(Claim::parse(text).err(), Some(InvalidToken), "{text}");
        }
    }

    #[test]
    fn secrets_are_the_same_if_every_byte_is() {
        let secret: Vec<u8> = (0..71).collect();
        for length in [0, 1, 7, 8, 9, 32, 71] {
            let secret = &secret[..length];
            assert!(is_same_secret(secret, secret));
            for at in 0..length {
                let mut other = secret.to_vec();
                other[at] ^= 0x80;
                assert!(!is_same_secret(secret, &other), "{length} {at}");
            }
            for other in [&[secret, &[0]].concat()[..], &secret[..length.saturating_sub(1)]] {
                assert_eq!(is_same_secret(secret, other), other.len() == length, "{length}");
            }
        }
    }

    #[test]
    fn debug_output_hides_the_secret() {
        let token = GeneratedToken::new(TokenKind::Session, Role::Viewer);
        assert!(!format!("{token:?}").contains(token.text.expose()));
    }
}
