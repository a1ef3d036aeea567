//! A host joins by the command that `aetherium token create --join` prints, and its agent goes on with a token of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use aetherium::tls::Fingerprint;
use reqwest::header::AUTHORIZATION;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::database::TestDatabase;
use crate::harness::{Conduct, Program, Proxy, Server, eventually, http};

/// Beats come often enough for a test to see them.
const LIVELY: [&str; 2] = ["--heartbeat-interval", "100ms"];

/// A server, an administrator, and a host with a folder of its own.
struct Cluster {
    server: Server,
    database: TestDatabase,
    admin: String,
    host: tempfile::TempDir,
}

impl Cluster {
    async fn on(database: TestDatabase) -> Self {
        let server = Server::start_with(&database, &LIVELY).await;
        let host = tempfile::tempdir().unwrap();
        let admin = token(&database, &["create", "--role", "admin", "--name", "alice"]).await;
        server.asks_for_tokens().await;
        Self { server, database, admin, host }
    }

    /// What `aetherium token create --join` prints for workers that reach the server here.
    async fn join_command(&self, url: &str, further: &[&str]) -> String {
        let command = token(&self.database, &[&["create", "--join", "--server", url], further].concat()).await;
        self.knows(&token_in(&command)).await;
        command
    }

    /// A join token alone, in a file of the host.
    async fn join_token_file(&self, further: &[&str]) -> String {
        let create = ["create", "--role", "join", "--name", "hosts"];
        let text = token(&self.database, &[&create, further].concat()).await;
        self.knows(&text).await;
        let path = self.host.path().join("join.token");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Waits until the server knows of a token that was made on its database: an agent waits for that, too, but not for long.
    async fn knows(&self, token: &str) {
        eventually("the server to know the token", async || {
            let (_, list) = self.get("/tokens").await;
            list["tokens"].as_array().unwrap().iter().any(|known| known["id"] == token[4..16]).then_some(())
        })
        .await;
    }

    fn state(&self) -> String {
        self.host.path().join("state").to_str().unwrap().to_owned()
    }

    /// The token that is kept in a file of the state folder.
    fn kept(&self, name: &str) -> Option<Value> {
        let text = fs::read(self.host.path().join("state").join(name)).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    /// Starts `aetherium` on the host.
    fn start(&self, arguments: &[&str]) -> Program {
        Program::start_with(arguments, &[("AETHERIUM_AGENT_STATE_DIR", &self.state())])
    }

    /// Has the shell of the host run a script, as it is pasted.
    async fn paste(&self, script: &str) -> Output {
        self.begin_to_paste(script).await.wait_with_output().await.unwrap()
    }

    async fn begin_to_paste(&self, script: &str) -> Child {
        let programs = Path::new(env!("CARGO_BIN_EXE_aetherium")).parent().unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh")
            .env_clear()
            .env("PATH", path)
            .env("AETHERIUM_AGENT_STATE_DIR", self.state())
            .current_dir(self.host.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = shell.stdin.take().unwrap();
        stdin.write_all(format!("{script}\n").as_bytes()).await.unwrap();
        shell
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let ask = http().get(format!("{}/api/v1{path}", self.server.url));
        let answer = ask.header(AUTHORIZATION, format!("Bearer {}", self.admin)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Waits until a worker is like this.
    async fn worker(&self, id: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("worker {id}"), async || {
            let (status, worker) = self.get(&format!("/workers/{id}")).await;
            (status == 200 && is_it(&worker)).then_some(worker)
        })
        .await
    }

    /// The public ids of tokens of the role worker that are accepted.
    async fn worker_tokens(&self) -> Vec<String> {
        let (_, list) = self.get("/tokens").await;
        let tokens = list["tokens"].as_array().unwrap().iter();
        let live = tokens.filter(|token| token["role"] == "worker" && token["state"] == "live");
        live.map(|token| token["id"].as_str().unwrap().to_owned()).collect()
    }

    async fn revoke(&self, id: &str) {
        token(&self.database, &["revoke", id]).await;
    }

    /// Stops an agent that has registered.
    async fn stop(&self, mut agent: Program) {
        let is_registered =
            |line: &Value| line["message"].as_str().is_some_and(|said| said.ends_with(" is registered"));
        agent.logged("its registration", is_registered).await;
        agent.signal("TERM");
        assert_eq!(agent.exit().await.code, Some(0));
    }
}

/// The only line that `aetherium token` prints.
async fn token(database: &TestDatabase, arguments: &[&str]) -> String {
    let exit = Program::run(&[&["token"], arguments, &["--database-url", database.url()]].concat()).await;
    assert_eq!(exit.code, Some(0), "{arguments:?}: {}", exit.err);
    let [line] = exit.out.lines().collect::<Vec<_>>()[..] else { panic!("{}", exit.out) };
    line.to_owned()
}

/// The token in a command.
fn token_in(command: &str) -> String {
    let begin = command.find("aej_").unwrap();
    command[begin..begin + 65].to_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The arguments and variables of all processes that can be read.
fn processes() -> String {
    let mut all = String::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        for name in ["cmdline", "environ"] {
            // A process may end meanwhile.
            let text = fs::read(entry.path().join(name)).unwrap_or_default();
            all += &String::from_utf8_lossy(&text).replace('\0', " ");
            all.push('\n');
        }
    }
    all
}

on_both_databases! {
    // The certificate that the server has made for itself is in the command, and what the host trusts is kept with the rest.
    async fn a_host_joins_a_server_with_a_certificate_of_its_own(database: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let tls = ["--tls", "self", "--tls-folder", folder.path().to_str().unwrap()];
        let mut server = Program::start(&[&["serve", "--listen", "127.0.0.1:0", "--database-url", database.url()], &tls[..]].concat());
        let listening = server.logged("its address", |line| line["listen.address"].is_string()).await;
        let url = format!("https://{}", listening["listen.address"].as_str().unwrap());
        let made = fs::read(folder.path().join("certificate.pem")).unwrap();
        let fingerprint = Fingerprint::of(&CertificateDer::from_pem_slice(&made).unwrap()).to_string();
        // Beside a database in a file, the folder would be found by itself.
        let beside = folder.path().join("beside.db");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("beside.db-tls")).unwrap();
        let unpinned = format!("sqlite://{}", beside.display());
        let command = Program::run(&["token", "create", "--join", "--server", &url, "--database-url", &unpinned]).await;
        assert!(command.out.contains(&format!(" --server-fingerprint {fingerprint} ")), "{}", command.out);
        let plain = ["token", "create", "--join", "--server", "http://a.example", "--database-url", &unpinned];
        assert!(!Program::run(&plain).await.out.contains("fingerprint"));

        let host = tempfile::tempdir().unwrap();
        let state = host.path().join("state");
        let variables = [("AETHERIUM_AGENT_STATE_DIR", state.to_str().unwrap())];
        let join = token(&database, &["create", "--role", "join", "--name", "hosts", "--uses", "2"]).await;
        let file = host.path().join("join.token");
        fs::write(&file, join).unwrap();
        let join = ["agent", "join", "--id", "w1", "--server", &url, "--join-token-file", file.to_str().unwrap()];
        let other = ["--server-fingerprint", &format!("sha256:{}", "0".repeat(64))];
        let refused = Program::start_with(&[&join[..], &other].concat(), &variables).exit().await;
        assert_eq!(refused.code, Some(1), "{}", refused.err);
        assert!(refused.err.contains("worker w1 cannot join") && refused.err.contains("has the fingerprint"), "{}", refused.err);
        let joined = Program::start_with(&[&join[..], &["--server-fingerprint", &fingerprint]].concat(), &variables);
        assert_eq!(joined.exit().await.code, Some(0));
        // What it was pinned to goes with its token, which is not sent in clear to whichever address is named later.
        let plain = url.replace("https", "http");
        let refused = Program::start_with(&["agent", "--server", &plain], &variables).exit().await;
        assert_eq!(refused.code, Some(1), "{}", refused.err);
        assert!(refused.err.contains("there is no certificate to check without TLS"), "{}", refused.err);
        // Neither the server nor its certificate is named again.
        let mut agent = Program::start_with(&["agent"], &variables);
        let is_registered = |line: &Value| line["message"].as_str().is_some_and(|said| said.ends_with(" is registered"));
        agent.logged("its registration", is_registered).await;
        agent.signal("TERM");
        assert_eq!(agent.exit().await.code, Some(0));
        server.signal("TERM");
        assert_eq!(server.exit().await.code, Some(0));
    }

    async fn one_pasted_command_brings_a_host_in(database: TestDatabase) {
        let cluster = Cluster::on(database).await;
        let wire = Proxy::to(&cluster.server).await;
        wire.conduct(Conduct::Swallow);
        // Without a name of a server, the command cannot be run by mistake.
        let command = token(&cluster.database, &["create", "--join"]).await;
        assert!(command.ends_with("aetherium agent join --server '<URL of the server>' --join-token-file -"), "{command}");
        let output = cluster.paste(&command).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("is not a usable URL"), "{output:?}");
        // The certificate's fingerprint is passed on, in our form whatever it was written in.
        let (given, kept) = ("AB:".repeat(31) + "AB", format!("sha256:{}", "ab".repeat(32)));
        let pinned = cluster.join_command("https://a.example", &["--server-fingerprint", &given]).await;
        assert!(pinned.contains(&format!(" --server https://a.example --server-fingerprint {kept} --join")), "{pinned}");

        // An id that a shell would make something else of.
        let id = "host $(id) it's -1";
        let command = cluster.join_command(&wire.url, &["--worker", id, "--ttl", "10m"]).await;
        assert_eq!(command.lines().count(), 1, "{command}");
        let join_token = token_in(&command);
        let shell = cluster.begin_to_paste(&command).await;
        // It has written down what it is about to say, and waits for an answer.
        let joining = eventually("the token to be kept", async || cluster.kept("joining.json")).await;
        let own = joining["token"].as_str().unwrap();
        let all = processes();
        assert!(all.contains("agent join --server"), "the agent is among them");
        for secret in [&join_token, own] {
            assert!(!all.contains(&secret[16..32]), "in the arguments or variables of a process");
        }
        wire.cut();
        wire.conduct(Conduct::Pass);
        let output = shell.wait_with_output().await.unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(0), "{err}");
        let state = cluster.state();
        let said = format!(
            "Worker {id} has joined {}. Its token is kept in {state}: start the agent, or restart it if it runs.\n", wire.url
        );
        assert_eq!(out, said);
        for secret in [&join_token, own] {
            assert!(!format!("{out}{err}").contains(&secret[16..32]), "{out}{err}");
        }
        let folder = Path::new(&state);
        assert_eq!((mode(folder), mode(&folder.join("agent.json"))), (0o700, 0o600));
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
        assert_eq!(cluster.kept("agent.json"), Some(joining.clone()));

        // Pasted twice, it is the same.
        let again = cluster.paste(&command).await;
        assert_eq!((again.status.code(), String::from_utf8(again.stdout).unwrap()), (Some(0), said));
        assert_eq!(cluster.kept("agent.json"), Some(joining.clone()));

        // From then on the agent needs nothing else, whenever it is started, and with the join token gone.
        cluster.revoke(&join_token[4..16]).await;
        let path = format!("/workers/{}", id.replace(' ', "%20"));
        for _ in 0..2 {
            let agent = cluster.start(&["agent"]);
            eventually("the worker", async || (cluster.get(&path).await.1["status"] == "active").then_some(())).await;
            cluster.stop(agent).await;
        }
        assert_eq!(cluster.worker_tokens().await, [&own[4..16]]);
        // Nor does its goodbye.
        let exit = cluster.start(&["agent", "leave"]).exit().await;
        assert_eq!(exit.code, Some(0), "{}", exit.err);
        assert_eq!(cluster.get(&path).await.1["status"], "offline");
        cluster.server.stop().await;
    }

    async fn a_crash_between_the_secret_and_the_answer_costs_nothing(database: TestDatabase) {
        let cluster = Cluster::on(database).await;
        let wire = Proxy::to(&cluster.server).await;
        let file = cluster.join_token_file(&[]).await;
        let agent = ["agent", "--server", &wire.url, "--id", "host-1", "--join-token-file", &file];
        // Killed before the server hears of it.
        wire.conduct(Conduct::Swallow);
        let mut first = cluster.start(&agent);
        let joining = eventually("the token to be kept", async || cluster.kept("joining.json")).await;
        first.kill();
        first.exit().await;
        assert_eq!(cluster.worker_tokens().await, [""; 0]);
        // Killed when the server has let it in, and the answer is on the way.
        wire.conduct(Conduct::Delay(Duration::from_secs(3_600)));
        let mut second = cluster.start(&agent);
        let own = joining["token"].as_str().unwrap()[4..16].to_owned();
        eventually("the server to have the token", async || {
            (cluster.worker_tokens().await == [own.clone()]).then_some(())
        })
        .await;
        second.kill();
        second.exit().await;
        assert_eq!((cluster.kept("joining.json"), cluster.kept("agent.json")), (Some(joining.clone()), None));
        // The join token is used up by then, and the same request is the same.
        wire.conduct(Conduct::Pass);
        let third = cluster.start(&agent);
        cluster.worker("host-1", |worker| worker["status"] == "active").await;
        assert_eq!((cluster.kept("joining.json"), cluster.kept("agent.json")), (None, Some(joining)));
        cluster.stop(third).await;

        // With a token of its own, the file is not even looked at.
        fs::remove_file(&file).unwrap();
        let fourth = cluster.start(&agent);
        cluster.worker("host-1", |worker| worker["is_healthy"] == true).await;
        assert_eq!(cluster.worker_tokens().await, [own]);
        cluster.stop(fourth).await;
        cluster.server.stop().await;
    }
}

#[tokio::test]
async fn a_worker_whose_token_was_revoked_says_so_and_joins_anew() {
    let cluster = Cluster::on(TestDatabase::sqlite()).await;
    let url = &cluster.server.url;
    let command = cluster.join_command(url, &["--worker", "host-1"]).await;
    assert!(cluster.paste(&command).await.status.success());
    let first = cluster.kept("agent.json").unwrap()["token"].as_str().unwrap()[4..16].to_owned();
    let mut agent = cluster.start(&["agent"]);
    cluster.worker("host-1", |worker| worker["status"] == "active").await;

    let is_refused = |line: &Value| {
        line["level"] == "WARN" && line["error"] == "the server refused (401): The token has been revoked"
    };
    cluster.revoke(&first).await;
    agent.logged("that it is refused", is_refused).await;
    cluster.stop(agent).await;
    let exit = cluster.start(&["agent"]).exit().await;
    let said = format!(
        "aetherium: worker host-1 cannot report to the server with the token that is kept in {}; an admin can let it join \
         again, with a join token for it: the server refused (401): The token has been revoked.\n",
        cluster.state()
    );
    assert_eq!(exit.code, Some(1));
    assert!(exit.err.ends_with(&said), "{}", exit.err);
    // The command that has let it in does not do so twice.
    let output = cluster.paste(&command).await;
    assert_eq!(output.status.code(), Some(1));
    let ended = "worker host-1 cannot join: the server refused (409): Worker host-1 has joined with this token of its own \
                 before, which was revoked since. Join with a new one.\n";
    assert!(String::from_utf8_lossy(&output.stderr).ends_with(ended), "{output:?}");

    // Another one does, for this worker.
    let command = cluster.join_command(url, &["--worker", "host-1"]).await;
    assert!(cluster.paste(&command).await.status.success());
    let second = cluster.kept("agent.json").unwrap()["token"].as_str().unwrap()[4..16].to_owned();
    assert_ne!(first, second);
    let mut agent = cluster.start(&["agent"]);
    cluster.worker("host-1", |worker| worker["is_healthy"] == true).await;

    // Replaced by another host, it is told, too; and whoever has a copy of its disk is the same worker.
    let elsewhere = tempfile::tempdir().unwrap();
    let file = cluster.join_token_file(&["--worker", "host-1"]).await;
    let folder = elsewhere.path().to_str().unwrap();
    let join = ["agent", "join", "--server", url, "--id", "host-1", "--state-dir", folder, "--join-token-file", &file];
    let exit = cluster.start(&join).exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.err);
    agent.logged("that it is refused", is_refused).await;
    cluster.stop(agent).await;
    let (original, copy) = (["agent", "--state-dir", folder], ["agent", "--state-dir", folder]);
    let mut original = cluster.start(&original);
    let is_registered = |line: &Value| line["message"].as_str().is_some_and(|said| said.ends_with(" is registered"));
    original.logged("its registration", is_registered).await;
    let copy = cluster.start(&copy);
    let exit = original.exit().await;
    assert_eq!(exit.code, Some(1));
    assert!(exit.err.contains("another process has registered as worker host-1 since"), "{}", exit.err);
    cluster.stop(copy).await;
    cluster.server.stop().await;
}

#[tokio::test]
async fn who_is_not_let_in_says_why_in_one_sentence() {
    let cluster = Cluster::on(TestDatabase::sqlite()).await;
    let url = &cluster.server.url;
    let file = cluster.join_token_file(&["--uses", "2"]).await;
    let join = |id, file| ["agent", "join", "--server", url, "--id", id, "--join-token-file", file];
    let refused = async |arguments: &[&str], expected: &str| {
        let exit = cluster.start(arguments).exit().await;
        assert_eq!((exit.code, exit.out.as_str()), (Some(1), ""), "{arguments:?}: {}", exit.err);
        let last = exit.err.lines().last().unwrap();
        assert!(last.starts_with("aetherium: ") && last.contains(expected), "{arguments:?}: {}", exit.err);
        assert_eq!(exit.err.lines().filter(|line| !line.starts_with('{')).count(), 1, "{}", exit.err);
    };
    assert_eq!(cluster.start(&join("host-1", &file)).exit().await.code, Some(0));
    let kept = cluster.kept("agent.json");

    let exit = Program::run(&["token", "list", "--database-url", cluster.database.url()]).await;
    assert!(exit.out.lines().any(|line| line.ends_with("  hosts  used 1 of 2")), "{}", exit.out);

    // The folder is that of one worker, whoever asks for another.
    let is_another = "this host has joined as worker host-1, and its token speaks for no other: leave out --id host-2";
    refused(&join("host-2", &file), is_another).await;
    refused(&["agent", "--id", "host-2"], is_another).await;
    refused(&["agent", "leave", "--id", "host-2"], is_another).await;
    refused(&["agent", "join"], "there is no join token to join with; name its file with --join-token-file").await;

    let other = cluster.host.path().join("other");
    let elsewhere = ["--state-dir", other.to_str().unwrap()];
    let with = |arguments: [&str; 8]| arguments.into_iter().chain(elsewhere).map(str::to_owned).collect::<Vec<_>>();
    let refused_elsewhere = async |arguments: Vec<String>, expected: &str| {
        refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), expected).await;
    };
    let known = "worker host-1 cannot join: the server refused (409): Worker host-1 is known already";
    refused_elsewhere(with(join("host-1", &file)), known).await;
    assert_eq!(
        cluster
            .start(&[
                "agent",
                "join",
                "--server",
                url,
                "--id",
                "host-2",
                "--join-token-file",
                &file,
                "--state-dir",
                cluster.host.path().join("two").to_str().unwrap()
            ])
            .exit()
            .await
            .code,
        Some(0)
    );
    refused_elsewhere(
        with(join("host-3", &file)),
        "the server refused (409): The join token is used up: it lets workers join 2 times",
    )
    .await;
    cluster.join_token_file(&["--ttl", "1ms"]).await;
    refused_elsewhere(with(join("host-3", &file)), "the server refused (401): The token has expired.").await;
    cluster.join_token_file(&["--worker", "host-4"]).await;
    refused_elsewhere(
        with(join("host-3", &file)),
        "the server refused (403): The join token is for one worker, which is not host-3",
    )
    .await;
    fs::write(&file, &cluster.admin).unwrap();
    refused_elsewhere(
        with(join("host-3", &file)),
        "the server refused (403): This needs the role join, and the token has the role admin",
    )
    .await;
    for garbage in ["", "two words", "\n"] {
        fs::write(&file, garbage).unwrap();
        refused_elsewhere(with(join("host-3", &file)), "holds no token: it has to be one word").await;
    }
    fs::remove_file(&file).unwrap();
    refused_elsewhere(with(join("host-3", &file)), "The token cannot be read from").await;
    // Nothing comes from standard input.
    refused_elsewhere(with(join("host-3", "-")), "standard input holds no token").await;
    // The agent itself is refused in the same words, as a service would be.
    cluster.join_token_file(&["--ttl", "1ms"]).await;
    let agent = ["agent", "--server", url, "--id", "host-3", "--join-token-file", &file, "--zone"];
    refused_elsewhere(
        agent.into_iter().chain(["z"]).chain(elsewhere).map(str::to_owned).collect(),
        "worker host-3 cannot join: the server refused (401): The token has expired.",
    )
    .await;

    // What is kept was neither lost nor changed by any of this, and damage to it is told.
    assert_eq!(cluster.kept("agent.json"), kept);
    fs::write(cluster.host.path().join("state/agent.json"), "{").unwrap();
    refused(&["agent"], "agent.json is not what an agent writes; move it away, and let the host join again").await;
    // A folder that cannot be written is told before anything is asked of the server.
    cluster.join_token_file(&[]).await;
    fs::write(cluster.host.path().join("file"), "").unwrap();
    let in_file = cluster.host.path().join("file/state");
    let arguments = [&join("host-3", &file)[..], &["--state-dir", in_file.to_str().unwrap()]].concat();
    refused(&arguments, "joining.json cannot be written").await;
    assert_eq!(cluster.worker_tokens().await.len(), 2);
    cluster.server.stop().await;
}

#[tokio::test]
async fn flags_win_over_what_is_kept() {
    let cluster = Cluster::on(TestDatabase::sqlite()).await;
    let command = cluster.join_command(&cluster.server.url, &["--worker", "host-1"]).await;
    assert!(cluster.paste(&command).await.status.success());
    // A token that is named is used, and what is kept is not looked at.
    let by_hand =
        token(&cluster.database, &["create", "--role", "worker", "--worker", "host-9", "--name", "host-9"]).await;
    let file = cluster.host.path().join("agent.token");
    fs::write(&file, by_hand).unwrap();
    let file = file.to_str().unwrap();
    let exit = cluster.start(&["agent", "--token-file", file]).exit().await;
    assert!(exit.err.contains("there is no server to report to"), "{}", exit.err);
    eventually("the server to know the token", async || (cluster.worker_tokens().await.len() == 2).then_some(())).await;
    let agent = cluster.start(&["agent", "--token-file", file, "--server", &cluster.server.url, "--id", "host-9"]);
    cluster.worker("host-9", |worker| worker["is_healthy"] == true).await;
    cluster.stop(agent).await;

    // The server may have another address by now.
    let wire = Proxy::to(&cluster.server).await;
    let agent = cluster.start(&["agent", "--server", &wire.url]);
    cluster.worker("host-1", |worker| worker["is_healthy"] == true).await;
    cluster.stop(agent).await;

    // With a join token it is another cluster, which the host joins; and then it is there.
    let second = Cluster::on(TestDatabase::sqlite()).await;
    let join_token = second.join_token_file(&[]).await;
    let agent = cluster.start(&["agent", "--server", &second.server.url, "--join-token-file", &join_token]);
    second.worker("host-1", |worker| worker["is_healthy"] == true).await;
    cluster.stop(agent).await;
    assert_eq!(cluster.kept("agent.json").unwrap()["server"], json!(second.server.url));
    second.server.stop().await;
    cluster.server.stop().await;
}
