//! Which servers a client trusts over TLS: those of the system's authorities, those of an authority of the operator's
//! own, or exactly those whose certificates have been pinned. What went wrong is in
//! [`tls_problem`](mod@super::tls_problem).

use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, io};

use clap::Args;
use reqwest::{Certificate, ClientBuilder};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, OtherError, SignatureScheme};

use crate::tls::Fingerprint;

/// Whom a command trusts to be its server. Without any of these, whoever has a certificate of an authority that the
/// system trusts.
#[derive(Args, Clone, Debug, Default)]
pub struct TrustOptions {
    /// File with the certificates, in PEM form, of the authorities to trust in place of the system's, over https://. A
    /// server's self-signed certificate may be one.
    #[arg(long, env = "AETHERIUM_CA_FILE", value_name = "FILE", conflicts_with = "server_fingerprints")]
    pub ca_file: Option<PathBuf>,

    /// Fingerprint of the only certificate to accept, over https://, as the server logs it: sha256: and 64 digits.
    /// Authorities, names and dates do not matter then. Repeat the flag, or separate several with commas, if there are
    /// several servers, or a certificate is to be replaced.
    #[arg(
        long = "server-fingerprint",
        env = "AETHERIUM_SERVER_FINGERPRINT",
        value_name = "FINGERPRINT",
        value_delimiter = ','
    )]
    pub server_fingerprints: Vec<Fingerprint>,
}

/// Whom a client trusts.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Certificates of the authorities that the system trusts.
    #[default]
    System,
    /// Certificates of these authorities.
    Authorities(Vec<Certificate>),
    /// These certificates, whatever is in them.
    Pinned(Arc<[Fingerprint]>),
}

/// Why the authorities to trust cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("The certificates to trust cannot be read from {} (--ca-file): {reason}.", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        reason: io::Error,
    },
    /// There is none in it.
    #[error("{} (--ca-file) holds no certificate in PEM form.", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
}

impl TrustOptions {
    /// Whether anything was said.
    pub fn is_told(&self) -> bool {
        self.ca_file.as_ref().is_some_and(|path| !path.as_os_str().is_empty()) || !self.server_fingerprints.is_empty()
    }

    /// Reads what is to be trusted.
    pub fn read(&self) -> Result<Trust, TrustError> {
        if !self.server_fingerprints.is_empty() {
            return Ok(Trust::Pinned(self.server_fingerprints.as_slice().into()));
        }
        let Some(path) = self.ca_file.clone().filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(Trust::System);
        };
        let pem = match fs::read(&path) {
            Ok(pem) => pem,
            Err(reason) => return Err(TrustError::Unreadable { path, reason }),
        };
        match Certificate::from_pem_bundle(&pem) {
            Ok(certificates) if !certificates.is_empty() => Ok(Trust::Authorities(certificates)),
            Ok(_) | Err(_) => Err(TrustError::NoCertificate { path }),
        }
    }
}

impl Trust {
    /// Whether the operator has said whom to trust. TLS that was asked for is never given up then.
    pub(super) fn is_told(&self) -> bool {
        match self {
            Self::System => false,
            Self::Authorities(_) | Self::Pinned(_) => true,
        }
    }

    /// Has the connections of a client made with it.
    pub(super) fn apply(&self, http: ClientBuilder) -> Result<ClientBuilder, TlsError> {
        Ok(match self {
            Self::System => http,
            Self::Authorities(certificates) => http.tls_certs_only(certificates.iter().cloned()),
            Self::Pinned(fingerprints) => http.tls_backend_preconfigured(pinned(fingerprints)?),
        })
    }
}

/// The settings of a client that accepts these certificates only.
fn pinned(fingerprints: &Arc<[Fingerprint]>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = PinnedCertificates { fingerprints: fingerprints.clone(), provider: provider.clone() };
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    // rustls calls everything dangerous that is not its own verifier.
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// Accepts the certificates with these fingerprints. That the server has the key of its certificate is verified as always.
#[derive(Debug)]
struct PinnedCertificates {
    fingerprints: Arc<[Fingerprint]>,
    provider: Arc<CryptoProvider>,
}

/// The server has shown another certificate than those that were pinned.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the certificate has the fingerprint {0}")]
pub(super) struct OtherCertificate(pub(super) Fingerprint);

impl ServerCertVerifier for PinnedCertificates {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let fingerprint = Fingerprint::of(certificate);
        if self.fingerprints.contains(&fingerprint) {
            return Ok(ServerCertVerified::assertion());
        }
        let other = OtherError(Arc::new(OtherCertificate(fingerprint)));
        Err(TlsError::InvalidCertificate(CertificateError::Other(other)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        trust: TrustOptions,
    }

    fn read(words: &[&str]) -> Result<Trust, String> {
        let words = ["program"].iter().chain(words);
        let line = CommandLine::try_parse_from(words).map_err(|error| error.to_string())?;
        line.trust.read().map_err(|error| error.to_string())
    }

    #[test]
    fn several_fingerprints_are_read_and_nonsense_is_refused() {
        let (one, two) = ("sha256:".to_owned() + &"11".repeat(32), "sha256:".to_owned() + &"22".repeat(32));
        for words in [
            vec!["--server-fingerprint", &one, "--server-fingerprint", &two],
            vec!["--server-fingerprint", &format!("{one},{two}")],
        ] {
            let Ok(Trust::Pinned(pins)) = read(&words) else { panic!("{words:?}") };
            assert_eq!(pins.iter().map(ToString::to_string).collect::<Vec<_>>(), [one.clone(), two.clone()]);
        }
        assert!(matches!(read(&[]), Ok(Trust::System)));
        assert!(read(&["--server-fingerprint", "11"]).unwrap_err().contains("64 hexadecimal digits"));
        assert!(read(&["--server-fingerprint", &one, "--ca-file", "x"]).unwrap_err().contains("cannot be used with"));
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let path = file.to_str().unwrap();
        let words = ["--ca-file", path];
        assert!(
            read(&words).unwrap_err().starts_with(&format!("The certificates to trust cannot be read from {path}"))
        );
        std::fs::write(&file, "-----BEGIN NOTHING-----").unwrap();
        assert_eq!(read(&words).unwrap_err(), format!("{path} (--ca-file) holds no certificate in PEM form."));
    }
}
