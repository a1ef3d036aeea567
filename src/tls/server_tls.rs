//! The certificate that a server shows, which can be replaced while it serves; and what the log says of its
//! validity.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::certificate::{CertificateError, CertificateFiles, LoadedCertificate};
use super::fingerprint::Fingerprint;
use crate::clock::{Clock, Rfc3339};

/// The certificate of a server. Clones show the same one.
#[derive(Clone, Debug)]
pub struct ServerTls {
    files: Arc<CertificateFiles>,
    loaded: Arc<ArcSwap<LoadedCertificate>>,
}

impl ServerTls {
    /// Reads a certificate and its key. The log tells its fingerprint and when it ends.
    pub fn load(files: CertificateFiles) -> Result<Self, CertificateError> {
        let loaded = files.load()?;
        describe(&loaded);
        Ok(Self { files: Arc::new(files), loaded: Arc::new(ArcSwap::from_pointee(loaded)) })
    }

    /// Reads the files again. Handshakes that begin from now on get what is in them; connections that are open stay. If
    /// the files cannot be used, the log says why, and the certificate of before stays.
    pub async fn reload(&self) {
        let files = Arc::clone(&self.files);
        match spawn_blocking(move || files.load()).await {
            Ok(Ok(loaded)) => {
                describe(&loaded);
                self.loaded.store(Arc::new(loaded));
            }
            Ok(Err(reason)) => error!(%reason, "The certificate of before stays in use: {reason}"),
            Err(panic) => error!(%panic, "The certificate of before stays in use, by a fault of ours"),
        }
    }

    /// The settings of a handshake that begins now.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded.load().config)
    }

    /// The fingerprint of the certificate that is shown now.
    pub fn fingerprint(&self) -> Fingerprint {
        self.loaded.load().fingerprint
    }
}

fn describe(LoadedCertificate { fingerprint, validity, .. }: &LoadedCertificate) {
    let (begin, end) = (Rfc3339::of(validity.not_before), Rfc3339::of(validity.not_after));
    let (begin, end, now) = (begin.as_str(), end.as_str(), Clock::system().now());
    if validity.not_after < now {
        warn!(
            tls.fingerprint = %fingerprint, tls.not_after = end,
            "The certificate {fingerprint} expired at {end}: clients that do not pin it refuse it"
        );
    } else if validity.not_before > now {
        warn!(
            tls.fingerprint = %fingerprint, tls.not_before = begin, tls.not_after = end,
            "The certificate {fingerprint} is not valid before {begin}: clients that do not pin it refuse it"
        );
    } else {
        info!(
            tls.fingerprint = %fingerprint, tls.not_after = end,
            "The certificate is {fingerprint}, valid until {end}"
        );
    }
}
