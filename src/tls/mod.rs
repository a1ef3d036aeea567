//! Certificates: the files of a server's own one, its fingerprint, how long it is valid, and how one is made.
//!
//! Both sides of a connection use this room: the listener shows a certificate ([`ServerTls`]), and clients may accept
//! exactly one ([`Fingerprint`]). What is not here: handshakes are in `http::server::listener`, what a client trusts in
//! `client::trust`, and flags in `cli`.

mod certificate;
mod fingerprint;
mod self_signed;
mod server_tls;
mod validity;

pub use self::certificate::{CertificateError, CertificateFiles};
pub use self::fingerprint::{Fingerprint, NotAFingerprint};
pub use self::self_signed::{SelfSignedError, kept_fingerprint, self_signed};
pub use self::server_tls::ServerTls;
pub use self::validity::{Validity, shown_time};
