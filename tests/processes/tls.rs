//! TLS of the program itself, judged by others: curl, openssl, and rustls as a client of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use consul_stub::{State, Stub};
use futures_util::{SinkExt as _, StreamExt as _};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::database::{EmptyDatabase, TestDatabase};
use crate::harness::{Exit, Program, eventually};

/// An authority, and certificates that it signs, as files.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// The files of a certificate and its key.
#[derive(Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// The file with its own certificate.
    fn file(&self) -> &str {
        self.path("ca.pem")
    }

    fn path(&self, name: &str) -> &'static str {
        self.folder.path().join(name).to_str().unwrap().to_owned().leak()
    }

    /// A certificate for these names, valid until the end of that year.
    fn sign(&self, name: &str, names: &[&str], until: i32) -> Files {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 12, 31));
        let key = KeyPair::generate().unwrap();
        let files = Files {
            certificate: self.path(&format!("{name}.pem")).into(),
            key: self.path(&format!("{name}.key")).into(),
        };
        fs::write(&files.certificate, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

impl Files {
    fn arguments(&self) -> [&str; 4] {
        ["--tls-cert", self.certificate.to_str().unwrap(), "--tls-key", self.key.to_str().unwrap()]
    }

    /// What openssl says of it.
    async fn fingerprint(&self) -> String {
        let file = self.certificate.to_str().unwrap();
        fingerprint(&run("openssl", &["x509", "-in", file, "-noout", "-fingerprint", "-sha256"]).await.1)
    }

    /// Puts these in the place of others.
    fn replace(&self, others: &Self) {
        fs::copy(&self.certificate, &others.certificate).unwrap();
        fs::copy(&self.key, &others.key).unwrap();
    }
}

/// The fingerprint in what openssl prints, in our form.
fn fingerprint(printed: &str) -> String {
    let line = printed.lines().find(|line| line.to_lowercase().contains("fingerprint=")).expect(printed);
    format!("sha256:{}", line.split_once('=').unwrap().1.replace(':', "").to_lowercase())
}

/// Runs a program without input: its status, and what it printed.
async fn run(program: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

async fn curl(arguments: &[&str]) -> (i32, String, String) {
    run("curl", &[&["--silent", "--show-error", "--max-time", "30"], arguments].concat()).await
}

/// The fingerprint of the certificate that a server shows, by openssl, and which protocol it agrees on.
async fn shown(port: u16, protocols: &str) -> (String, String) {
    let address = format!("127.0.0.1:{port}");
    let (_, handshake, said) = run("openssl", &["s_client", "-connect", &address, "-alpn", protocols]).await;
    let begin = handshake.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("{handshake}{said}"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shown.pem");
    fs::write(&file, &handshake[begin..]).unwrap();
    let (_, printed, _) =
        run("openssl", &["x509", "-in", file.to_str().unwrap(), "-noout", "-fingerprint", "-sha256"]).await;
    let protocol = handshake.lines().find_map(|line| line.strip_prefix("ALPN protocol: ")).unwrap_or("none").to_owned();
    (fingerprint(&printed), protocol)
}

/// A server on a port of TLS.
struct Server {
    program: Program,
    port: u16,
    /// What its log says of its certificate.
    fingerprint: String,
}

impl Server {
    async fn start(further: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", further).await
    }

    async fn start_at(listen: &str, further: &[&str]) -> Self {
        let mut program = Program::start(&[&["serve", "--listen", listen, "--offline-after", "1h"], further].concat());
        let ready = program.logged("the address it listens on", |line| line["listen.address"].is_string()).await;
        let port = ready["listen.address"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        assert_eq!(ready["message"], format!("Listening on https://127.0.0.1:{port}"));
        let told = program.logged("its certificate", |line| line["tls.fingerprint"].is_string()).await;
        Self { program, port, fingerprint: told["tls.fingerprint"].as_str().unwrap().to_owned() }
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// A connection over TLS that trusts what is in this file.
    async fn connect(&self, trusted: &Path) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        connector.connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap()
    }

    /// Tells it to read its files again, and waits for the line that it writes then.
    async fn reload(&mut self, what: &str, says_so: impl Fn(&Value) -> bool) -> Value {
        self.program.signal("HUP");
        self.program.logged(what, says_so).await
    }

    async fn stop(self) -> Exit {
        self.program.signal("TERM");
        let exit = self.program.exit().await;
        assert_eq!(exit.code, Some(0), "{}", exit.err);
        exit
    }
}

/// Sends a request, and reads as much of the answer as has this in it.
async fn ask(stream: &mut TlsStream<TcpStream>, request: &str, until: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(until) {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8(answer).unwrap()
}

const HEALTH: &str = "GET /api/v1/health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";

/// The one sentence that a command ends with.
fn sentence(exit: &Exit) -> String {
    assert_eq!(exit.code, Some(1), "{}", exit.err);
    let last = exit.err.lines().last().unwrap_or_default();
    let sentence = last.strip_prefix("aetherium: ").unwrap_or_else(|| panic!("{}", exit.err));
    assert!(sentence.ends_with('.') && !sentence.contains(". "), "{sentence}");
    assert!(!sentence.contains("error sending request"), "{sentence}");
    sentence.to_owned()
}

#[tokio::test]
async fn a_certificate_that_is_made_is_kept_and_known_by_its_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}/fleet.db", folder.path().display());
    let arguments = ["--tls", "self", "--database-url", &database];
    let server = Server::start(&arguments).await;
    let kept = Files {
        certificate: folder.path().join("fleet.db-tls/certificate.pem"),
        key: folder.path().join("fleet.db-tls/key.pem"),
    };
    assert_eq!(server.fingerprint, kept.fingerprint().await);
    assert_eq!(fs::metadata(&kept.key).unwrap().permissions().mode() & 0o777, 0o600);
    for (liked, agreed) in [("h2,http/1.1", "h2"), ("http/1.1", "http/1.1"), ("http/1.1,h2", "h2")] {
        assert_eq!(shown(server.port, liked).await, (server.fingerprint.clone(), agreed.to_owned()), "{liked}");
    }
    // curl looks at the names, which are those of the address and of this machine.
    let trusted = kept.certificate.to_str().unwrap();
    for (version, spoken) in [("--http1.1", "1.1"), ("--http2", "2")] {
        for host in ["127.0.0.1", "localhost"] {
            let url = format!("https://{host}:{}/api/v1/health", server.port);
            let (status, printed, said) =
                curl(&[version, "--cacert", trusted, "--write-out", " %{http_code} %{http_version}", &url]).await;
            assert!(status == 0 && printed.ends_with(&format!(" 200 {spoken}")), "{printed} {said}");
        }
    }
    let (status, ..) = curl(&[&server.url("/")]).await;
    assert_eq!(status, 60, "curl does not know it");
    let plain = format!("http://127.0.0.1:{}/api/v1/health", server.port);
    let (_, printed, _) = curl(&["--write-out", " %{http_code}", &plain]).await;
    assert!(printed.ends_with(" 400") && printed.contains("write https:// in place of http://"), "{printed}");

    let fingerprint = server.fingerprint.clone();
    server.stop().await;
    let server = Server::start(&arguments).await;
    assert_eq!(server.fingerprint, fingerprint, "a restart does not change it");
    server.stop().await;
}

#[tokio::test]
async fn an_agent_reports_to_a_server_that_it_has_pinned() {
    let server = Server::start(&["--tls", "self"]).await;
    let (url, other) = (server.url(""), format!("sha256:{}", "11".repeat(32)));
    let pins = format!("{other},{}", server.fingerprint);
    let variables = [("AETHERIUM_SERVER", url.as_str()), ("AETHERIUM_SERVER_FINGERPRINT", &pins)];
    let mut agent = Program::start_with(&["agent", "--id", "w1"], &variables);
    agent.logged("that it is registered", |line| line["message"] == "Worker w1 is registered").await;
    agent.signal("TERM");
    agent.exit().await;

    // Somebody else: the agent tries on, and its log has the reason once, as one sentence.
    let mut agent = Program::start(&["agent", "--id", "w1", "--server", &url, "--server-fingerprint", &other]);
    let reason = format!("its certificate has the fingerprint {}", server.fingerprint);
    let is_told =
        |line: &Value| line["level"] == "WARN" && line["error"].as_str().is_some_and(|it| it.contains(&reason));
    agent.logged("that it is not heard", is_told).await;
    agent.signal("TERM");
    let exit = agent.exit().await;
    let told = exit.err.lines().filter(|line| line.contains(r#""level":"WARN""#) && line.contains(&reason));
    assert_eq!(told.count(), 1, "{}", exit.err);

    let leave = async |pin: &str| {
        Program::run(&["agent", "leave", "--id", "w1", "--server", &url, "--server-fingerprint", pin]).await
    };
    let told = sentence(&leave(&other).await);
    assert!(told.contains("--server-fingerprint"), "{told}");
    assert_eq!(leave(&server.fingerprint).await.code, Some(0));
    server.stop().await;
}

#[tokio::test]
async fn an_agent_says_so_when_a_server_is_back_with_another_certificate() {
    let authority = Authority::new("ours");
    let (first, second) =
        (authority.sign("first", &["127.0.0.1"], 2090), authority.sign("second", &["127.0.0.1"], 2090));
    let server = Server::start(&first.arguments()).await;
    let (url, listen) = (server.url(""), format!("127.0.0.1:{}", server.port));
    let pin = server.fingerprint.clone();
    server.stop().await;
    let mut agent = Program::start(&["agent", "--id", "w1", "--server", &url, "--server-fingerprint", &pin]);
    let warns_of = |words: &'static str| {
        move |line: &Value| line["level"] == "WARN" && line["error"].as_str().is_some_and(|error| error.contains(words))
    };
    agent.logged("that nobody is there", warns_of("Connection refused")).await;
    let server = Server::start_at(&listen, &second.arguments()).await;
    agent.logged("that it is another", warns_of("its certificate has the fingerprint")).await;
    server.stop().await;
    let server = Server::start_at(&listen, &first.arguments()).await;
    agent.logged("that it is registered", |line| line["message"] == "Worker w1 is registered").await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code, Some(0));
    server.stop().await;
}

#[tokio::test]
async fn an_agent_finds_a_server_of_tls_in_consul_and_leaves_one_without_alone() {
    let consul = Stub::start_apart().await;
    let url = consul.url();
    let plain = Program::start(&["serve", "--listen", "127.0.0.1:0", "--consul", &url]);
    let named = |state: &State, count: usize| (state.catalog.passing("aetherium").len() == count).then_some(());
    consul.until("one is named", |state| named(state, 1)).await;
    let server = Server::start(&["--tls", "self", "--consul", &url]).await;
    consul.until("two are named", |state| named(state, 2)).await;
    let scheme = consul.read(|state| {
        let mut services = state.catalog.passing("aetherium").into_iter().filter_map(|id| state.catalog.service(id));
        services.find(|service| service.port == server.port).unwrap().meta["scheme"].clone()
    });
    assert_eq!(scheme, "https");
    let mut agent =
        Program::start(&["agent", "--id", "w1", "--consul", &url, "--server-fingerprint", &server.fingerprint]);
    let reports = format!("Worker w1 reports to {}", server.url(""));
    agent.logged("where it reports", |line| line["message"] == reports.as_str()).await;
    let left_alone = |line: &Value| line["message"].as_str().unwrap().contains("there is no certificate to check");
    agent.logged("that it does not send its token in clear", left_alone).await;
    agent.signal("TERM");
    agent.exit().await;
    server.stop().await;
    plain.signal("TERM");
    plain.exit().await;
}

#[tokio::test]
async fn whatever_is_wrong_with_a_certificate_is_one_sentence() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let trusts = |authority: &Authority| ["--ca-file".to_owned(), authority.file().to_owned()];
    let pin = |fingerprint: &str| ["--server-fingerprint".to_owned(), fingerprint.to_owned()];
    let nothing_pinned = pin(&format!("sha256:{}", "11".repeat(32)));
    let good = ours.sign("good", &["127.0.0.1", "localhost"], 2090);
    let expired = ours.sign("expired", &["127.0.0.1"], 2021);
    let elsewhere = ours.sign("elsewhere", &["node1.example.com", "10.9.8.7"], 2090);
    let simulate = async |url: &str, trust: &[String]| {
        let arguments = ["simulate", "--workers", "1", "--duration", "1ms", "--server", url];
        let trust: Vec<&str> = trust.iter().map(String::as_str).collect();
        Program::run(&[&arguments[..], &trust].concat()).await
    };
    for (files, trust, phrases, curls_status) in [
        (&good, trusts(&ours).to_vec(), &[][..], 0),
        (&good, Vec::new(), &["no authority that is trusted here", "--ca-file", "--server-fingerprint"], 60),
        (&good, trusts(&theirs).to_vec(), &["no authority that is trusted here"], 60),
        (&good, nothing_pinned.to_vec(), &["has the fingerprint", "--server-fingerprint"], 0),
        (&expired, trusts(&ours).to_vec(), &["expired at 2021-12-31T00:00:00Z", "renew it"], 60),
        (&expired, pin(&expired.fingerprint().await).to_vec(), &[], 60),
        (&elsewhere, trusts(&ours).to_vec(), &["node1.example.com, 10.9.8.7, and not for 127.0.0.1"], 60),
        (&elsewhere, pin(&elsewhere.fingerprint().await).to_vec(), &[], 60),
    ] {
        let server = Server::start(&files.arguments()).await;
        let exit = simulate(&server.url(""), &trust).await;
        match phrases {
            [] => assert_eq!(exit.code, Some(0), "{trust:?}: {}", exit.err),
            phrases => {
                let told = sentence(&exit);
                assert!(phrases.iter().all(|phrase| told.contains(phrase)), "{trust:?}: {told}");
            }
        }
        // What curl thinks of it, where it can be asked the same.
        let trusted = if trust.first().is_some_and(|flag| flag == "--ca-file") { &trust[1] } else { ours.file() };
        let trusted = if trust.is_empty() { theirs.file() } else { trusted };
        let (status, _, said) = curl(&["--cacert", trusted, &server.url("/api/v1/health")]).await;
        assert_eq!(status, curls_status, "{said}");
        let exit = server.stop().await;
        let is_warned = exit.err.contains("expired at 2021-12-31T00:00:00Z");
        assert_eq!(is_warned, files.certificate == expired.certificate, "{}", exit.err);
    }

    let server = Server::start(&good.arguments()).await;
    let plain = simulate(&format!("http://127.0.0.1:{}", server.port), &[]).await;
    assert!(sentence(&plain).contains("write https:// in place of http://"), "{}", plain.err);
    let never_in_clear = simulate(&format!("http://127.0.0.1:{}", server.port), &trusts(&ours)).await;
    assert!(sentence(&never_in_clear).contains("write https://"), "{}", never_in_clear.err);
    server.stop().await;
    let mut plain = Program::start(&["serve", "--listen", "127.0.0.1:0"]);
    let ready = plain.logged("the address it listens on", |line| line["listen.address"].is_string()).await;
    let url = format!("https://{}", ready["listen.address"].as_str().unwrap());
    let exit = simulate(&url, &trusts(&ours)).await;
    assert!(sentence(&exit).contains("it does not speak TLS on that port"), "{}", exit.err);
}

#[tokio::test]
async fn a_certificate_is_replaced_while_the_server_serves_and_no_request_is_lost() {
    let authority = Authority::new("ours");
    let (used, next) = (authority.sign("used", &["127.0.0.1"], 2090), authority.sign("next", &["127.0.0.1"], 2091));
    let mut server = Server::start(&used.arguments()).await;
    let before = used.fingerprint().await;
    assert_eq!(server.fingerprint, before);
    let mut open = server.connect(Path::new(authority.file())).await;
    ask(&mut open, HEALTH, "timestamp").await;

    // Each request is one connection, so one handshake.
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let http = || {
        let authority = reqwest::Certificate::from_pem(&fs::read(authority.file()).unwrap()).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([authority]).pool_max_idle_per_host(0).build().unwrap()
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (http, url) = (http(), server.url("/api/v1/health"));
            let (done, answered) = (done.clone(), answered.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let response = http.get(&url).send().await.unwrap();
                    assert!(response.status().is_success() && response.text().await.is_ok());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let more = async |answered: &AtomicUsize| {
        let seen = answered.load(Ordering::Relaxed);
        eventually("further answers", async || (answered.load(Ordering::Relaxed) > seen + 20).then_some(())).await;
    };
    more(&answered).await;
    next.replace(&used);
    let after = used.fingerprint().await;
    server.reload("the next certificate", |line| line["tls.fingerprint"] == after.as_str()).await;
    assert_eq!(shown(server.port, "h2").await.0, after);
    more(&answered).await;

    // What cannot be used changes nothing, and neither does a half-written pair.
    fs::write(&used.certificate, "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n").unwrap();
    let line = server.reload("that it stays", |line| line["level"] == "ERROR").await;
    assert!(line["message"].as_str().unwrap().starts_with("The certificate of before stays in use: "), "{line}");
    assert_eq!(shown(server.port, "h2").await.0, after);
    fs::copy(&next.certificate, &used.certificate).unwrap();
    fs::copy(authority.sign("third", &["127.0.0.1"], 2092).key, &used.key).unwrap();
    server
        .reload("that the key is another's", |line| line["message"].as_str().unwrap().contains("does not belong"))
        .await;
    assert_eq!(shown(server.port, "h2").await.0, after);
    more(&answered).await;

    done.store(true, Ordering::Relaxed);
    for client in load {
        client.await.expect("no request is lost");
    }
    ask(&mut open, HEALTH, "timestamp").await;
    server.stop().await;
}

#[tokio::test]
async fn a_hangup_without_tls_ends_nothing() {
    let mut program = Program::start(&["serve", "--listen", "127.0.0.1:0"]);
    program.logged("the address it listens on", |line| line["listen.address"].is_string()).await;
    program.signal("HUP");
    let heard = |line: &Value| line["message"] == "There is no certificate to read again (SIGHUP)";
    program.logged("that it has heard", heard).await;
    program.signal("TERM");
    assert_eq!(program.exit().await.code, Some(0));
}

#[tokio::test]
async fn clients_that_do_not_finish_their_handshake_hold_up_nobody() {
    let server = Server::start(&["--tls", "self"]).await;
    let trusted = server.program.folder().join("aetherium.db-tls/certificate.pem");
    let mut stalled = Vec::new();
    for n in 0..400 {
        let mut client = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        // Nothing, the head of a record, and a record that says it is long.
        client.write_all([&b""[..], b"\x16\x03\x01", b"\x16\x03\x01\x3f\xff\x01"][n % 3]).await.unwrap();
        stalled.push(client);
    }
    let mut others = server.connect(&trusted).await;
    assert!(ask(&mut others, HEALTH, "timestamp").await.starts_with("HTTP/1.1 200"));
    // They are still there at the end, which waits for none of them.
    drop(others);
    server.stop().await;
    for mut client in stalled {
        let mut nothing = Vec::new();
        let _ = client.read_to_end(&mut nothing).await;
        assert!(nothing.is_empty(), "{nothing:?}");
    }
}

#[tokio::test]
async fn a_subscription_comes_over_a_websocket_over_tls() {
    let server = Server::start(&["--tls", "self"]).await;
    let trusted = server.program.folder().join("aetherium.db-tls/certificate.pem");
    let mut request = server.url("/graphql").replace("https", "wss").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
    headers.insert("origin", server.url("").parse().unwrap());
    let stream = server.connect(&trusted).await;
    let (mut socket, _) = tokio_tungstenite::client_async(request.clone(), stream).await.unwrap();
    let subscription =
        json!({"id": "1", "type": "subscribe", "payload": {"query": "subscription { clusterEvents { __typename } }"}});
    socket.send(Message::text(json!({"type": "connection_init"}).to_string())).await.unwrap();
    assert_eq!(next(&mut socket).await["type"], "connection_ack");
    socket.send(Message::text(subscription.to_string())).await.unwrap();
    assert_eq!(next(&mut socket).await["type"], "next", "that it has begun");
    let worker = json!({"hostname": "h", "address": "h:1", "cpu_cores": 1, "memory_mb": 1, "disk_gb": 1, "max_vms": 1,
        "boot_id": "b"})
    .to_string();
    let trusted = trusted.to_str().unwrap();
    let put =
        ["--cacert", trusted, "--request", "PUT", "--header", "content-type: application/json", "--data", &worker];
    let (status, answer, said) = curl(&[&put[..], &[&server.url("/api/v1/workers/w1")]].concat()).await;
    assert!(status == 0 && answer.contains("incarnation"), "{answer}{said}");
    let event = next(&mut socket).await;
    assert_eq!(event["type"], "next", "{event}");

    // A page that came without TLS is another origin, although its host is the same.
    request.headers_mut().insert("origin", server.url("").replace("https", "http").parse().unwrap());
    let stream = server.connect(Path::new(trusted)).await;
    let (mut refused, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let Some(Ok(Message::Close(Some(reason)))) = refused.next().await else { panic!("it was let in") };
    assert_eq!(u16::from(reason.code), 4403, "{reason}");
    drop(refused);

    // The shutdown closes the socket in order, and TLS below it.
    server.program.signal("TERM");
    let mut last = None;
    while let Some(message) = socket.next().await {
        last = Some(message.expect("an orderly end"));
    }
    assert!(matches!(last, Some(Message::Close(_))), "{last:?}");
    assert_eq!(server.program.exit().await.code, Some(0));
}

async fn next<S>(socket: &mut tokio_tungstenite::WebSocketStream<S>) -> Value
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        if let Message::Text(text) = socket.next().await.expect("a message").unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_stops_the_start() {
    let authority = Authority::new("ours");
    let (one, other) = (authority.sign("one", &["a"], 2090), authority.sign("other", &["a"], 2090));
    let (certificate, key) = (one.certificate.to_str().unwrap(), one.key.to_str().unwrap());
    let other = other.key.to_str().unwrap();
    for (certificate, key, phrase) in [
        (certificate, other, "does not belong to the certificate in"),
        (key, key, "holds no certificate in PEM form"),
        (certificate, certificate, "holds no private key in PEM form"),
        ("/nowhere", key, "The certificate cannot be read from /nowhere"),
        (certificate, "/nowhere", "The private key cannot be read from /nowhere"),
    ] {
        let program =
            Program::start(&["serve", "--listen", "127.0.0.1:0", "--tls-cert", certificate, "--tls-key", key]);
        let folder = program.folder().to_owned();
        let told = sentence(&program.exit().await);
        assert!(told.contains(phrase), "{told}");
        assert!(!folder.join("aetherium.db").exists(), "nothing else is touched");
    }
    for arguments in [
        &["--tls-cert", certificate][..],
        &["--tls-key", key],
        &["--tls-folder", "x"],
        &["--tls", "self", "--tls-cert", certificate, "--tls-key", key],
    ] {
        let exit = Program::run(&[&["serve"], arguments].concat()).await;
        assert_eq!(exit.code, Some(2), "{arguments:?}: {}", exit.err);
    }
}

on_both_databases! {
    async fn other_machines_are_let_in_with_tls_and_a_token_and_what_is_there_is_not_asked_for_again(
        empty: EmptyDatabase
    ) {
        let EmptyDatabase(database) = empty;
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("tls");
        let serve = ["serve", "--listen", "0.0.0.0:0", "--database-url", database.url()];
        let with_tls = [&serve[..], &["--tls", "self", "--tls-folder", kept.to_str().unwrap()]].concat();
        let (start, create) = ("aetherium serve --listen 0.0.0.0:0", "aetherium token create --role admin --name me");
        let refusal = async |arguments: &[&str]| {
            let exit = Program::run(arguments).await;
            assert_eq!((exit.code, exit.err.lines().count()), (Some(1), 1), "{}", exit.err);
            assert!(exit.err.contains("Not listening on 0.0.0.0:0, which other machines may reach"), "{}", exit.err);
            (exit.err.contains(start), exit.err.contains(create))
        };
        let status = ["migrate", "status", "--database-url", database.url()];
        let before = Program::run(&status).await;
        assert_eq!(refusal(&serve).await, (true, true));
        assert_eq!(refusal(&with_tls).await, (false, true));
        let after = Program::run(&status).await;
        assert_eq!((before.code, before.out, before.err), (after.code, after.out, after.err), "nothing was made");
        assert!(!kept.exists(), "no certificate either");
        // The tables are there, and no token yet.
        assert_eq!(Program::run(&["migrate", "up", "--database-url", database.url()]).await.code, Some(0));
        assert_eq!(refusal(&with_tls).await, (false, true));
        let token = ["token", "create", "--role", "admin", "--name", "me", "--database-url", database.url()];
        assert_eq!(Program::run(&token).await.code, Some(0));
        assert_eq!(refusal(&serve).await, (true, false));
    }
}
