//! Ids of workers and VMs: opaque texts of a limited length, in one namespace for both kinds. That no worker has the id
//! of a VM is not checked here but at registration.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Longest id, in characters.
pub(crate) const MAX_CHARS: usize = 255;

/// Why a text cannot be an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text has more than [`MAX_CHARS`] characters.
    #[error("must have at most {MAX_CHARS} characters, not {0}")]
    TooLong(usize),
    /// The id could not be one segment of a path.
    #[error("must not contain '/'")]
    Slash,
    /// People could not read it, and PostgreSQL refuses some control characters.
    #[error("must not contain control characters")]
    Control,
    /// The bytes were not UTF-8: this character stands for any that are not, so two such ids would look the same.
    #[error("must be valid UTF-8, without the replacement character U+FFFD")]
    NoText,
}

fn check(text: &str) -> Result<(), InvalidId> {
    let chars = text.chars().count();
    if chars == 0 {
        Err(InvalidId::Empty)
    } else if chars > MAX_CHARS {
        Err(InvalidId::TooLong(chars))
    } else if text.contains('/') {
        Err(InvalidId::Slash)
    } else if text.chars().any(char::is_control) {
        Err(InvalidId::Control)
    } else if text.contains(char::REPLACEMENT_CHARACTER) {
        Err(InvalidId::NoText)
    } else {
        Ok(())
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a text, and makes an id of it.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                check(text).map(|()| Self(text.into()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The id as shared text.
            pub fn shared(&self) -> Arc<str> {
                self.0.clone()
            }
        }

        /// Lets maps with ids as keys be searched by any text: a text that cannot be an id is not found, and that is no
        /// error.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

id! {
    /// Id of a worker.
    WorkerId
}
id! {
    /// Id of a VM.
    VmId
}
id! {
    /// Id of a reservation.
    ReservationId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_opaque_text_within_limits() {
        let longest = "ü".repeat(255);
        for good in ["w", "worker-01", "with space", "%2F", "日本", &longest] {
            assert_eq!(WorkerId::parse(good).unwrap().as_str(), good);
        }
        let too_long = "x".repeat(300);
        for (bad, why) in [
            ("", InvalidId::Empty),
            (too_long.as_str(), InvalidId::TooLong(300)),
            ("a/b", InvalidId::Slash),
            ("a\nb", InvalidId::Control),
            ("a\0b", InvalidId::Control),
            ("a\u{fffd}b", InvalidId::NoText),
        ] {
            assert_eq!(VmId::parse(bad).unwrap_err(), why);
        }
    }
}
