//! The fingerprint of a certificate: the SHA-256 of its DER form, as `openssl x509 -fingerprint -sha256` tells it.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a fingerprint begins with.
const PREFIX: &str = "sha256:";

/// The fingerprint of one certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint([u8; 32]);

/// The text is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is sha256: and 64 hexadecimal digits, as the server logs it at its start")]
pub struct NotAFingerprint;

impl Fingerprint {
    /// The fingerprint of this certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate.as_ref()).into())
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    /// Reads both our own form and that of openssl, which writes a colon between the bytes.
    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let text = text.trim();
        let digits = match text.get(..PREFIX.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &text[PREFIX.len()..],
            Some(_) | None => text,
        };
        let mut digits = digits.bytes().filter(|byte| *byte != b':');
        let mut bytes = [0; 32];
        for byte in &mut bytes {
            let mut digit = || char::from(digits.next()?).to_digit(16);
            let (high, low) = digit().zip(digit()).ok_or(NotAFingerprint)?;
            *byte = u8::try_from(high * 16 + low).map_err(|_| NotAFingerprint)?;
        }
        match digits.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(NotAFingerprint),
        }
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = NotAFingerprint;

    fn try_from(text: String) -> Result<Self, NotAFingerprint> {
        text.parse()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_our_form_and_that_of_openssl_are_read() {
        let ours = format!("sha256:{}", "0f".repeat(31) + "a1");
        let digits = ours.strip_prefix("sha256:").unwrap();
        let spaced = digits.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase());
        let openssl = spaced.collect::<Vec<_>>().join(":");
        for text in [&ours, digits, &openssl, &format!("SHA256:{openssl}"), &format!(" {ours}\n")] {
            assert_eq!(text.parse::<Fingerprint>().map(|it| it.to_string()), Ok(ours.clone()), "{text:?}");
        }
        for odd in
            ["", "sha256:", &ours[..ours.len() - 1], &format!("{ours}0"), &ours.replace('f', "g"), "sha1:00", "ü"]
        {
            assert_eq!(odd.parse::<Fingerprint>(), Err(NotAFingerprint), "{odd:?}");
        }
    }
}
