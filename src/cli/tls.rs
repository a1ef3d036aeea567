//! The flags of TLS, the folder of the certificate that `--tls self` makes, and reading the certificate again when told
//! to (SIGHUP). What a certificate is, is not here, but in `tls`; handshakes are in `http::server::listener`.

use std::collections::BTreeSet;
use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use aetherium::journal::database_file;
use aetherium::tls::{CertificateFiles, Fingerprint, ServerTls, kept_fingerprint, self_signed};
use anyhow::Context;
use clap::{Args, ValueEnum};
use sysinfo::System;
use tokio::signal::unix::Signal;
use tracing::info;

#[derive(Args, Clone, Debug)]
pub struct TlsOptions {
    /// File with the certificate of this server in PEM form, and after it those that lead to its authority. Connections
    /// are TLS then. It is read again when the process gets SIGHUP.
    #[arg(long, env = "AETHERIUM_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// File with the private key of that certificate, in PEM form.
    #[arg(long, env = "AETHERIUM_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// TLS with a certificate that this server makes for itself at its first start and keeps. Clients know it by its
    /// fingerprint, which is logged.
    #[arg(long, env = "AETHERIUM_TLS", value_enum, conflicts_with_all = ["tls_cert", "tls_key"])]
    tls: Option<TlsMode>,

    /// Folder in which that certificate and its key are kept; by default beside the database file, with -tls at the end
    /// of its name. With PostgreSQL, tls in the folder of $STATE_DIRECTORY, or aetherium/tls in that of $XDG_STATE_HOME
    /// or in ~/.local/state.
    #[arg(long, env = "AETHERIUM_TLS_FOLDER", value_name = "FOLDER", requires = "tls")]
    tls_folder: Option<PathBuf>,
}

/// Certificates that need no files of the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TlsMode {
    /// A self-signed one.
    #[value(name = "self")]
    SelfSigned,
}

impl TlsOptions {
    /// Whether connections are to be TLS.
    pub fn is_on(&self) -> bool {
        self.tls.is_some() || self.tls_cert.is_some()
    }

    /// Reads the certificate to show, or makes it; none without TLS.
    pub fn load(&self, listen: SocketAddr, database_url: &str) -> anyhow::Result<Option<ServerTls>> {
        let Self { tls_cert, tls_key, tls, tls_folder } = self;
        if let Some(TlsMode::SelfSigned) = tls {
            let folder = tls_folder.clone().or_else(|| default_folder(database_url, |name| env::var_os(name)));
            let folder = folder.context("There is no place for the certificate; name a folder with --tls-folder")?;
            let tls = ServerTls::load(self_signed(&folder, &names(listen))?)?;
            let (fingerprint, folder) = (tls.fingerprint(), folder.display());
            info!(
                tls.folder = %folder,
                "It is self-signed and kept in {folder}; agents know this server by --server-fingerprint {fingerprint}"
            );
            return Ok(Some(tls));
        }
        match (tls_cert.clone(), tls_key.clone()) {
            (Some(certificate), Some(key)) => Ok(Some(ServerTls::load(CertificateFiles { certificate, key })?)),
            // Clap lets neither come alone.
            _ => Ok(None),
        }
    }
}

/// The fingerprint of the certificate that `--tls self` has made beside this database, if it has.
pub fn fingerprint_beside(database_url: &str) -> Option<Fingerprint> {
    default_folder(database_url, |name| env::var_os(name)).and_then(|folder| kept_fingerprint(&folder))
}

/// Reads the certificate again at each SIGHUP. Without one, the signal does nothing: whoever reloads all services must not
/// end this one.
pub async fn reload_at_hangups(mut hangups: Signal, tls: Option<ServerTls>) {
    while hangups.recv().await.is_some() {
        match &tls {
            Some(tls) => tls.reload().await,
            None => info!("There is no certificate to read again (SIGHUP)"),
        }
    }
}

/// The folder of the self-signed certificate, unless the operator names one.
fn default_folder(database_url: &str, variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    if let Some(file) = database_file(database_url) {
        let mut name = file.into_os_string();
        name.push("-tls");
        return Some(name.into());
    }
    let folder = |name| variable(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    // systemd may give several, separated by colons.
    let state = variable("STATE_DIRECTORY").and_then(|paths| env::split_paths(&paths).next());
    let state = state.filter(|path| path.is_absolute()).map(|path| path.join("tls"));
    let home = || folder("HOME").map(|home| home.join(".local/state"));
    state.or_else(|| folder("XDG_STATE_HOME").or_else(home).map(|path| path.join("aetherium/tls")))
}

/// The names of the self-signed certificate, for clients that look at them.
fn names(listen: SocketAddr) -> Vec<String> {
    let host = System::host_name().ok().filter(|name| !name.is_empty());
    let mut addresses = BTreeSet::from([IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]);
    let ip = listen.ip().to_canonical();
    if ip.is_unspecified() {
        addresses.extend(own_addresses())
    } else {
        addresses.extend([ip])
    }
    let named = host.into_iter().chain(["localhost".to_owned()]);
    named.chain(addresses.iter().map(IpAddr::to_string)).collect()
}

/// The addresses of this machine.
#[cfg(target_os = "linux")]
fn own_addresses() -> impl Iterator<Item = IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
    })
}

/// The system is not asked for them.
#[cfg(not(target_os = "linux"))]
fn own_addresses() -> impl Iterator<Item = IpAddr> {
    std::iter::empty()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_certificate_is_kept_beside_the_database_or_where_the_system_keeps_state() {
        let systemd = &[("STATE_DIRECTORY", "/var/lib/aetherium:/var/lib/other"), ("HOME", "/root")][..];
        let desktop = &[("XDG_STATE_HOME", "/home/me/state"), ("HOME", "/home/me")][..];
        for (url, variables, folder) in [
            ("sqlite://aetherium.db", systemd, Some("aetherium.db-tls")),
            ("sqlite:///var/lib/a%20b.db?mode=rwc", systemd, Some("/var/lib/a b.db-tls")),
            ("sqlite::memory:", desktop, Some("/home/me/state/aetherium/tls")),
            ("postgres://db/fleet", systemd, Some("/var/lib/aetherium/tls")),
            ("postgres://db/fleet", desktop, Some("/home/me/state/aetherium/tls")),
            ("postgres://db/fleet", &[("HOME", "/home/me")], Some("/home/me/.local/state/aetherium/tls")),
            ("postgres://db/fleet", &[("HOME", "")], None),
        ] {
            let variable =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            assert_eq!(default_folder(url, variable).as_deref(), folder.map(Path::new), "{url} {variables:?}");
        }
    }

    #[test]
    fn a_certificate_names_what_is_listened_on() {
        let names = |listen: &str| names(listen.parse().unwrap());
        assert!(names("10.1.2.3:8080").ends_with(&["10.1.2.3", "127.0.0.1", "::1"].map(str::to_owned)));
        let everywhere = names("0.0.0.0:8080");
        assert!(
            everywhere.contains(&"localhost".to_owned()) && !everywhere.contains(&"0.0.0.0".to_owned()),
            "{everywhere:?}"
        );
    }
}
