//! From when to when a certificate is valid, read from its DER form. What the log says of it is in
//! [`server_tls`](super::server_tls).
//!
//! The TLS implementation checks certificates of others and does not tell these two times of one's own. They are at a
//! fixed place (RFC 5280, 4.1), so that no parser of everything else in a certificate is needed.

use chrono::{DateTime, NaiveDateTime};
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::clock::{Rfc3339, Timestamp};

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: Timestamp,
    /// The last moment.
    pub not_after: Timestamp,
}

impl Validity {
    /// The validity of this certificate; none if it is not encoded as a certificate is.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (SEQUENCE, certificate, _) = element(certificate.as_ref())? else { return None };
        let (SEQUENCE, mut fields, _) = element(certificate)? else { return None };
        // The version is left out of the certificates of version 1.
        if let (VERSION, _, rest) = element(fields)? {
            fields = rest;
        }
        let (INTEGER, _serial, fields) = element(fields)? else { return None };
        let (SEQUENCE, _algorithm, fields) = element(fields)? else { return None };
        let (SEQUENCE, _issuer, fields) = element(fields)? else { return None };
        let (SEQUENCE, validity, _) = element(fields)? else { return None };
        let (tag, not_before, rest) = element(validity)?;
        let not_before = time(tag, not_before)?;
        let (tag, not_after, _) = element(rest)?;
        Some(Self { not_before, not_after: time(tag, not_after)? })
    }
}

/// A moment of a certificate, as it is written elsewhere.
pub fn shown_time(moment: UnixTime) -> String {
    let moment = i64::try_from(moment.as_secs()).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    moment.map_or_else(|| "a moment that cannot be told".to_owned(), |moment| Rfc3339::of(moment).as_str().to_owned())
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The first element: its tag, its content, and what comes after it.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // The length follows, in so many bytes.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// A moment, in either of the forms that certificates have.
fn time(tag: u8, content: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(content).ok()?;
    let text = match tag {
        // Two digits of the year: those from 50 on belong to the twentieth century.
        UTC_TIME if text >= "50" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok().map(|moment| moment.and_utc())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn valid(from: i32, to: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        // An issuer of more than 127 bytes has its length in two bytes.
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "x".repeat(300));
        (params.not_before, params.not_after) = (date_time_ymd(from, 3, 1), date_time_ymd(to, 12, 31));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    #[test]
    fn the_times_of_a_certificate_are_read_in_both_forms() {
        for (from, to) in [(1975, 2026), (2026, 2049), (2049, 2050), (2050, 4096)] {
            let Validity { not_before, not_after } = Validity::of(&valid(from, to)).unwrap();
            assert_eq!(not_before.to_rfc3339(), format!("{from}-03-01T00:00:00+00:00"));
            assert_eq!(not_after.to_rfc3339(), format!("{to}-12-31T00:00:00+00:00"));
        }
    }

    #[test]
    fn a_certificate_that_is_cut_anywhere_is_none() {
        let whole = valid(2026, 2027);
        for length in 0..whole.len() {
            let cut = CertificateDer::from(whole[..length].to_vec());
            assert_eq!(Validity::of(&cut), None, "{length} bytes");
        }
        assert_eq!(Validity::of(&CertificateDer::from(vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff])), None);
    }
}
