//! A certificate that a server makes for itself, for clients that know it by its fingerprint. The names in it are
//! chosen in `cli::tls`.
//!
//! It is made once and kept in a folder, so that a restart does not change the fingerprint: also not if the server is
//! asked for by other names since, which clients that pin it do not look at.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use chrono::Datelike as _;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::NamedTempFile;

use super::certificate::CertificateFiles;
use super::fingerprint::Fingerprint;
use crate::clock::Clock;

/// How many years the certificate is valid. Nobody is told when it ends, since who pins it does not look at that.
const YEARS: i32 = 20;

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum SelfSignedError {
    /// The folder or a file in it cannot be made or read.
    #[error("The certificate that `--tls self` makes cannot be kept in {}: {reason}.", .path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        reason: io::Error,
    },
    /// The key that is there is not one of ours.
    #[error(
        "{} holds no key that a certificate can be made for: {reason}; `--tls self` makes another one if it is moved away.",
        .path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        reason: rcgen::Error,
    },
    /// The certificate could not be made.
    #[error("No certificate can be made for {names:?}: {reason}.")]
    Certificate {
        /// The names that it should have.
        names: Vec<String>,
        /// Why.
        #[source]
        reason: rcgen::Error,
    },
}

/// The file of the certificate in the folder.
const CERTIFICATE: &str = "certificate.pem";

/// The fingerprint of the self-signed certificate in this folder, if there is one.
pub fn kept_fingerprint(folder: &Path) -> Option<Fingerprint> {
    let text = fs::read(folder.join(CERTIFICATE)).ok()?;
    CertificateDer::from_pem_slice(&text).ok().map(|certificate| Fingerprint::of(&certificate))
}

/// The self-signed certificate in this folder, with its key; both are made if they are not there.
///
/// The key is written first. Whoever finds a key without a certificate, as after a crash, makes one for that key, and of
/// two processes that start at once, each uses the files of the one that was first.
pub fn self_signed(folder: &Path, names: &[String]) -> Result<CertificateFiles, SelfSignedError> {
    let files = CertificateFiles { certificate: folder.join(CERTIFICATE), key: folder.join("key.pem") };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |reason| SelfSignedError::Folder { path, reason }
    };
    if exists(&files.key).map_err(failed(&files.key))?
        && exists(&files.certificate).map_err(failed(&files.certificate))?
    {
        return Ok(files);
    }
    let unmade = |reason| SelfSignedError::Certificate { names: names.to_vec(), reason };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
    if !exists(&files.key).map_err(failed(&files.key))? {
        let key = KeyPair::generate().map_err(unmade)?.serialize_pem();
        write_new(&files.key, &key, 0o600).map_err(failed(&files.key))?;
    }
    let key = fs::read_to_string(&files.key).map_err(failed(&files.key))?;
    let key = KeyPair::from_pem(&key).map_err(|reason| SelfSignedError::Key { path: files.key.clone(), reason })?;
    let certificate = params(names).self_signed(&key).map_err(unmade)?.pem();
    write_new(&files.certificate, &certificate, 0o644).map_err(failed(&files.certificate))?;
    Ok(files)
}

/// A certificate for these names and addresses, of a server and not of an authority.
fn params(names: &[String]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Aetherium");
    params.subject_alt_names = names
        .iter()
        .filter_map(|name| match name.parse::<IpAddr>() {
            Ok(ip) => Some(SanType::IpAddress(ip)),
            // A host name that no certificate can have is left out.
            Err(_) => name.as_str().try_into().ok().map(SanType::DnsName),
        })
        .collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // The day before, for clients whose clock is a little behind.
    let yesterday = Clock::system().now().date_naive().pred_opt().unwrap_or_default();
    let day = |years| {
        let (month, day) = (yesterday.month(), yesterday.day().min(28));
        date_time_ymd(yesterday.year() + years, u8::try_from(month).unwrap_or(1), u8::try_from(day).unwrap_or(1))
    };
    (params.not_before, params.not_after) = (day(0), day(YEARS));
    params
}

fn exists(path: &Path) -> io::Result<bool> {
    fs::exists(path)
}

/// Writes a file that is not there yet; one that another process has written meanwhile stays. It is there as a whole or
/// not at all.
fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // A temporary file can be read by nobody else from its beginning.
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => fs::File::open(folder)?.sync_all(),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::ServerTls;

    fn names() -> Vec<String> {
        ["node1", "localhost", "127.0.0.1", "::1", "no name\n"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_certificate_is_made_once_and_kept() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("deep/below");
        let files = self_signed(&folder, &names()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&files.key), mode(&files.certificate)), (0o700, 0o600, 0o644));
        let first = ServerTls::load(files.clone()).unwrap().fingerprint();

        let again = self_signed(&folder, &["other".to_owned()]).unwrap();
        assert_eq!(ServerTls::load(again).unwrap().fingerprint(), first, "the same after a restart");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "and nothing beside it");
    }

    #[test]
    fn a_key_without_a_certificate_gets_one() {
        let folder = tempfile::tempdir().unwrap();
        let files = self_signed(folder.path(), &names()).unwrap();
        let key = fs::read(&files.key).unwrap();
        fs::remove_file(&files.certificate).unwrap();
        self_signed(folder.path(), &names()).unwrap();
        assert_eq!(fs::read(&files.key).unwrap(), key);
        ServerTls::load(files.clone()).unwrap();

        fs::remove_file(&files.certificate).unwrap();
        fs::write(&files.key, "no key").unwrap();
        let error = self_signed(folder.path(), &names()).unwrap_err().to_string();
        assert!(error.contains("key.pem holds no key"), "{error}");
        assert_eq!(fs::read(&files.key).unwrap(), b"no key", "what somebody has written is not overwritten");
    }

    #[test]
    fn several_that_start_at_once_show_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let start = || ServerTls::load(self_signed(folder.path(), &names()).unwrap()).unwrap().fingerprint();
        let fingerprints: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(fingerprints.iter().all(|it| *it == fingerprints[0]), "{fingerprints:?}");
    }
}
