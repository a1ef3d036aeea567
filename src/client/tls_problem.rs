//! What was wrong with a TLS connection, as one sentence that says what to do about it.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use rustls::{CertificateError, Error as TlsError, InvalidMessage};

use super::trust::OtherCertificate;
use crate::tls::shown_time;

/// What was wrong, if a call failed because of TLS. The server is "it".
pub(super) fn tls_problem(error: &reqwest::Error) -> Option<String> {
    if let Some(error) = find::<TlsError>(error) {
        return Some(words(error));
    }
    // What rustls has no error of its own for.
    let is_https = error.url().is_some_and(|url| url.scheme() == "https");
    let is_cut = find::<io::Error>(error).is_some_and(|error| error.kind() == ErrorKind::UnexpectedEof);
    (is_https && error.is_connect() && is_cut).then(|| {
        "it ended the connection in the TLS handshake; see in its log why, and whether that port is one of TLS"
            .to_owned()
    })
}

/// The innermost error of this kind. An [`io::Error`] hands on the source of what is in it, and not that itself.
fn find<E: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let (mut found, mut next) = (None, error.source());
    while let Some(cause) = next {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        found = inner.and_then(|inner| inner.downcast_ref()).or_else(|| cause.downcast_ref()).or(found);
        next = match inner {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    found
}

fn words(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(error) => certificate_words(error),
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS on that port; start it with --tls self or with --tls-cert and --tls-key, or write http:// \
             in place of https:// if nobody can read along"
                .to_owned()
        }
        error => format!("there is no TLS connection with it: {error}"),
    }
}

fn certificate_words(error: &CertificateError) -> String {
    const RENEW: &str = "renew it on the server, or set the clock of this host if that is wrong";
    match error {
        CertificateError::Expired => format!("its certificate has expired; {RENEW}"),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired at {}; {RENEW}", shown_time(*not_after))
        }
        CertificateError::NotValidYet => format!("its certificate is not valid yet; {RENEW}"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is not valid before {}; {RENEW}", shown_time(*not_before))
        }
        CertificateError::NotValidForName => {
            format!("its certificate is for another name than the one that it was asked for by; {}", NAMES)
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let presented = if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") };
            format!("its certificate is for {presented}, and not for {}; {NAMES}", expected.to_str())
        }
        CertificateError::UnknownIssuer => {
            "its certificate is of no authority that is trusted here; name the file of its authority with --ca-file, or pin \
             the certificate with --server-fingerprint"
                .to_owned()
        }
        CertificateError::Other(other) => match other.0.downcast_ref() {
            Some(OtherCertificate(fingerprint)) => format!(
                "its certificate has the fingerprint {fingerprint}, and not one of --server-fingerprint; if the server's own \
                 log tells this one, its certificate was replaced, and if not, somebody else answers in its place"
            ),
            None => format!("its certificate cannot be used: {other}"),
        },
        error => format!("its certificate cannot be used: {error}"),
    }
}

const NAMES: &str =
    "name the server by one that is in its certificate, or pin the certificate with --server-fingerprint";

/// The name in what the verifier makes of it, such as `DnsName("localhost")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, rest)| rest.strip_suffix(')').unwrap_or(rest));
    inner.trim_matches('"')
}
