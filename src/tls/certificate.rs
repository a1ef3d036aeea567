//! A server's certificate and its key, read from PEM files and checked against each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error as TlsError, ServerConfig, crypto};

use super::fingerprint::Fingerprint;
use super::validity::Validity;

/// What clients may choose to speak, what is liked best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and after it those that lead to an authority, if there are any.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("The {what} cannot be read from {}: {reason}.", .path.display())]
    Unreadable {
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        reason: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {what} in PEM form: {reason}.", .path.display())]
    Content {
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key belongs to another certificate.
    #[error(
        "The key in {} does not belong to the certificate in {}, of which the first has to be the server's own.",
        .0.key.display(), .0.certificate.display()
    )]
    OtherKey(CertificateFiles),
    /// The key, or the certificate, is of a kind that cannot be used.
    #[error(
        "The certificate in {} cannot be used with the key in {}: {reason}.",
        .files.certificate.display(), .files.key.display()
    )]
    Unusable {
        /// Where they are.
        files: CertificateFiles,
        /// What is wrong.
        reason: TlsError,
    },
}

/// A certificate that a server can show.
#[derive(Clone, Debug)]
pub(super) struct LoadedCertificate {
    pub(super) config: Arc<ServerConfig>,
    pub(super) fingerprint: Fingerprint,
    pub(super) validity: Validity,
}

impl CertificateFiles {
    /// Reads both files, and checks that they belong together.
    pub(super) fn load(&self) -> Result<LoadedCertificate, CertificateError> {
        let chain = certificates(&self.certificate)?;
        let key = private_key(&self.key)?;
        let leaf = chain.first().map(|leaf| (Fingerprint::of(leaf), Validity::of(leaf)));
        let Some((fingerprint, Some(validity))) = leaf else {
            let reason = "it is damaged".to_owned();
            return Err(CertificateError::Content { what: "certificate", path: self.certificate.clone(), reason });
        };
        let unusable = |reason| match reason {
            TlsError::InconsistentKeys(_) => CertificateError::OtherKey(self.clone()),
            reason => CertificateError::Unusable { files: self.clone(), reason },
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(unusable)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(LoadedCertificate { config: Arc::new(config), fingerprint, validity })
    }
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|reason| CertificateError::Unreadable { what, path: path.to_owned(), reason })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let what = "certificate";
    let content = |reason| CertificateError::Content { what, path: path.to_owned(), reason };
    let text = read(path, what)?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if chain.is_empty() => Err(content("it should begin with -----BEGIN CERTIFICATE-----".to_owned())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(content(error.to_string())),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let what = "private key";
    let text = read(path, what)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let is_encrypted = String::from_utf8_lossy(&text).contains("ENCRYPTED");
        let reason = match error {
            _ if is_encrypted => "it is encrypted with a passphrase, which nobody could be asked for; \
                                  `openssl pkey -in FILE -out FILE` writes it without"
                .to_owned(),
            pem::Error::NoItemsFound => "it should begin with -----BEGIN PRIVATE KEY-----".to_owned(),
            error => error.to_string(),
        };
        CertificateError::Content { what, path: path.to_owned(), reason }
    })
}
