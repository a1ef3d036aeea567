//! The service that is registered in Consul, a server or a worker: its name, id, address, tags and meta data. The call
//! that registers it is in [`consul`](super::consul).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::address::Address;
use super::error::ConsulError;

/// The service that servers announce themselves as, and that agents look for.
pub(super) const SERVER: &str = "aetherium";

/// The service that workers are announced as.
pub(super) const WORKER: &str = "aetherium-worker";

/// Consul refuses a registration with a longer value in its meta data.
const LONGEST_META_VALUE: usize = 512;

/// Stands at the end of a value that was cut.
const CUT: char = '…';

/// A service as Consul is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, which all of its kind share.
    pub(super) name: &'static str,
    /// Its id, which no other on the same Consul agent has and which stays over restarts.
    pub(super) id: String,
    /// Its host; empty for the address of Consul's node.
    pub(super) address: String,
    /// Its port, if it has one.
    pub(super) port: Option<u16>,
    /// What else is said of it.
    pub(super) meta: BTreeMap<&'static str, String>,
}

impl Service {
    /// A server that listens there, and is reached by others where it says so.
    ///
    /// One that listens on all addresses is announced without one, which stands for that of Consul's node. One that
    /// listens on the loopback address is announced with that, for the other programs of this machine, if Consul is on
    /// it too.
    ///
    /// Unless the operator says so, the scheme is that of the listener: agents that find the server use it.
    ///
    /// Its id is made of what no two servers of one host share, and not of what is advertised: several servers behind
    /// one proxy advertise the same.
    pub fn server(
        listen: SocketAddr,
        has_tls: bool,
        advertise: Option<&AdvertiseAddress>,
        hostname: Option<String>,
        consul: &Address,
    ) -> Result<Self, ConsulError> {
        let ip = listen.ip().to_canonical();
        let is_everywhere = ip.is_unspecified();
        let own_scheme = if has_tls { "https" } else { "http" };
        let (scheme, address, port) = match advertise {
            Some(AdvertiseAddress { scheme, host, port }) => {
                (scheme.unwrap_or(own_scheme), host.clone(), port.unwrap_or_else(|| listen.port()))
            }
            None if (is_everywhere || ip.is_loopback()) && !consul.is_local() => {
                return Err(ConsulError::NoAddress { address: consul.clone(), listen });
            }
            None if is_everywhere => (own_scheme, String::new(), listen.port()),
            None => (own_scheme, ip.to_string(), listen.port()),
        };
        let hostname = hostname.unwrap_or_else(|| "localhost".to_owned());
        let listens_on = if is_everywhere { String::new() } else { format!("{ip}-") };
        Ok(Self {
            name: SERVER,
            id: format!("{SERVER}-server-{hostname}-{listens_on}{}", listen.port()),
            address,
            port: Some(port),
            meta: meta([("scheme", scheme), ("version", env!("CARGO_PKG_VERSION"))]),
        })
    }

    /// A worker that listens on this address, which may be any text.
    pub fn worker(id: &str, address: &str, zone: &str) -> Self {
        let (address, port) = match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => (host, port.parse().ok()),
            Some(_) | None => (address, None),
        };
        Self {
            name: WORKER,
            id: format!("{WORKER}-{id}"),
            address: address.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            meta: meta([("version", env!("CARGO_PKG_VERSION")), ("worker_id", id), ("zone", zone)]),
        }
    }

    /// The id of its only check, which is the one that Consul would give it.
    pub(super) fn check_id(&self) -> String {
        format!("service:{}", self.id)
    }
}

/// The values that are not empty, each as long as Consul takes it.
fn meta<const N: usize>(pairs: [(&'static str, &str); N]) -> BTreeMap<&'static str, String> {
    pairs.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key, cut(value))).collect()
}

fn cut(value: &str) -> String {
    if value.len() <= LONGEST_META_VALUE {
        return value.to_owned();
    }
    format!("{}{CUT}", &value[..value.floor_char_boundary(LONGEST_META_VALUE - CUT.len_utf8())])
}

/// Where others reach a server: `HOST`, `HOST:PORT`, or `https://HOST` behind a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertiseAddress {
    /// By default, the one that the server speaks.
    scheme: Option<&'static str>,
    host: String,
    /// By default, the port that the server listens on.
    port: Option<u16>,
}

/// An address that nobody could reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address to advertise looks like node1.example.com, 10.0.0.5:8080 or https://aetherium.example.com")]
pub struct AdvertiseError;

impl FromStr for AdvertiseAddress {
    type Err = AdvertiseError;

    fn from_str(text: &str) -> Result<Self, AdvertiseError> {
        let (scheme, rest, default_port) = match text.split_once("://") {
            Some(("http", rest)) => (Some("http"), rest, Some(80)),
            Some(("https", rest)) => (Some("https"), rest, Some(443)),
            Some(_) => return Err(AdvertiseError),
            None => (None, text, None),
        };
        let (host, port) = match rest.parse::<SocketAddr>() {
            Ok(address) => (address.ip().to_string(), Some(address.port())),
            Err(_) => match rest.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
                Ok(ip) => (ip.to_string(), default_port),
                Err(_) => match rest.split_once(':') {
                    Some((host, port)) => (host.to_owned(), Some(port.parse().map_err(|_| AdvertiseError)?)),
                    None => (rest.to_owned(), default_port),
                },
            },
        };
        let is_host = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_' | ':');
        let is_unspecified = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
        if host.is_empty() || !host.chars().all(is_host) || is_unspecified || port == Some(0) {
            return Err(AdvertiseError);
        }
        Ok(Self { scheme, host, port })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The id, address and port of a server.
    fn server(listen: &str, advertise: Option<&str>) -> (String, String, Option<u16>) {
        let advertise = advertise.map(|text| text.parse::<AdvertiseAddress>().unwrap());
        let (hostname, consul) = (Some("node1".to_owned()), Address::default());
        let service = Service::server(listen.parse().unwrap(), false, advertise.as_ref(), hostname, &consul).unwrap();
        (service.id, service.address, service.port)
    }

    const LOOPBACK_ID: &str = "aetherium-server-node1-127.0.0.1-8080";

    #[test]
    fn a_server_is_announced_where_others_reach_it() {
        for (listen, advertise, id, address, port) in [
            ("10.0.0.5:8080", None, "aetherium-server-node1-10.0.0.5-8080", "10.0.0.5", 8080),
            ("[2001:db8::1]:8080", None, "aetherium-server-node1-2001:db8::1-8080", "2001:db8::1", 8080),
            ("0.0.0.0:8080", None, "aetherium-server-node1-8080", "", 8080),
            ("[::]:8080", Some("10.0.0.5"), "aetherium-server-node1-8080", "10.0.0.5", 8080),
            ("127.0.0.1:8080", None, LOOPBACK_ID, "127.0.0.1", 8080),
            ("127.0.0.1:8080", Some("n1.example.com:80"), LOOPBACK_ID, "n1.example.com", 80),
            ("127.0.0.1:8080", Some("https://a.example.com"), LOOPBACK_ID, "a.example.com", 443),
            ("127.0.0.1:8080", Some("[2001:db8::1]:90"), LOOPBACK_ID, "2001:db8::1", 90),
        ] {
            let expected = (id.to_owned(), address.to_owned(), Some(port));
            assert_eq!(server(listen, advertise), expected, "{listen} {advertise:?}");
        }
    }

    #[test]
    fn a_server_is_announced_with_the_scheme_that_it_speaks_unless_a_proxy_speaks_another() {
        for (has_tls, advertise, scheme) in [
            (false, None, "http"),
            (true, None, "https"),
            (true, Some("node1.example.com"), "https"),
            (true, Some("node1.example.com:8080"), "https"),
            (true, Some("http://proxy.example.com"), "http"),
            (false, Some("https://proxy.example.com"), "https"),
        ] {
            let advertise = advertise.map(|text| text.parse::<AdvertiseAddress>().unwrap());
            let listen = "10.0.0.5:8080".parse().unwrap();
            let service = Service::server(listen, has_tls, advertise.as_ref(), None, &Address::default()).unwrap();
            assert_eq!(service.meta["scheme"], scheme, "{has_tls} {advertise:?}");
        }
    }

    #[test]
    fn a_consul_elsewhere_has_to_be_told_where_a_server_is() {
        let consul = "consul.example.com:8500".parse().unwrap();
        let server = |listen: &str, advertise: Option<&AdvertiseAddress>| {
            Service::server(listen.parse().unwrap(), false, advertise, None, &consul)
        };
        for listen in ["0.0.0.0:8080", "[::]:8080", "127.0.0.1:8080", "[::1]:8080", "[::ffff:127.0.0.1]:8080"] {
            let refused = server(listen, None).unwrap_err().to_string();
            assert!(refused.contains(listen) && refused.ends_with("with --advertise"), "{refused}");
            assert!(server(listen, Some(&"node1".parse().unwrap())).is_ok());
        }
        assert!(server("10.0.0.5:8080", None).is_ok());
    }

    #[test]
    fn no_two_services_of_one_consul_agent_share_an_id() {
        let proxy = "https://proxy.example.com".parse().unwrap();
        let ids = |listen: &str, hostname: &str| {
            let server = |advertise| {
                let (listen, hostname) = (listen.parse().unwrap(), Some(hostname.to_owned()));
                Service::server(listen, false, advertise, hostname, &Address::default()).unwrap().id
            };
            assert_eq!(server(Some(&proxy)), server(None), "what is advertised does not matter");
            server(None)
        };
        let mut all = BTreeSet::from([Service::worker("8080", "", "").id, Service::worker("server-8080", "", "").id]);
        let servers = [
            ("0.0.0.0:8080", "worker"),
            ("0.0.0.0:8080", "node1"),
            ("0.0.0.0:8081", "node1"),
            ("10.0.0.5:8080", "node1"),
            ("10.0.0.6:8080", "node1"),
        ];
        for (listen, hostname) in servers {
            assert!(all.insert(ids(listen, hostname)), "{listen} {hostname}: {all:?}");
        }
    }

    #[test]
    fn what_nobody_could_reach_is_not_advertised() {
        for text in
            ["", ":8080", "0.0.0.0:80", "::", "ftp://a", "a%b", "a:b", "a:0", "http://a/b", "me@a", "a b", "https://"]
        {
            assert_eq!(text.parse::<AdvertiseAddress>(), Err(AdvertiseError), "{text:?}");
        }
    }

    #[test]
    fn a_worker_is_announced_by_whatever_address_it_has() {
        for (text, address, port) in [
            ("node1:8081", "node1", Some(8081)),
            ("192.168.1.10:8081", "192.168.1.10", Some(8081)),
            ("[2001:db8::1]:8081", "2001:db8::1", Some(8081)),
            ("node1", "node1", None),
            ("node1:http", "node1:http", None),
            ("", "", None),
        ] {
            let service = Service::worker("w1", text, "");
            assert_eq!((service.address.as_str(), service.port), (address, port), "{text:?}");
        }
    }

    #[test]
    fn no_meta_value_is_longer_than_consul_takes() {
        // A worker id of 255 characters can have 1020 bytes, and a zone any number of them.
        for text in ["z".repeat(512), "z".repeat(513), "ü".repeat(300), "🦀".repeat(255), "z".repeat(10_000)] {
            let service = Service::worker(&text, "node1:8081", &text);
            for key in ["worker_id", "zone"] {
                let value = &service.meta[key];
                assert!(value.len() <= LONGEST_META_VALUE, "{} bytes", value.len());
                assert!(value.len() > LONGEST_META_VALUE - 8, "no more is cut than has to be: {} bytes", value.len());
                assert_eq!(value.ends_with(CUT), text.len() > LONGEST_META_VALUE);
            }
        }
    }

    #[test]
    fn the_meta_data_is_who_where_and_which_version_only() {
        let keys = |service: Service| service.meta.into_keys().collect::<Vec<_>>();
        assert_eq!(keys(Service::worker("w1", "node1:8081", "z")), ["version", "worker_id", "zone"]);
        assert_eq!(keys(Service::worker("w1", "node1:8081", "")), ["version", "worker_id"]);
    }
}
