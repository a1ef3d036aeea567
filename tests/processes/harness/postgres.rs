//! PostgreSQL servers of a test's own, which wait for the disk and may be stopped, frozen, demoted or lied to about the
//! time: the one that `tests/run` starts is shared, and does not wait.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DbErr};
use tempfile::TempDir;
use tokio::process::{Child, Command as Spawn};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::program::send;
use super::{PATIENCE, eventually};
use crate::database::database_folder;

/// Settings of all of them. `fsync` is on unless somebody turns it off, and so it stays.
const SETTINGS: &str = "
    listen_addresses = '127.0.0.1'
    unix_socket_directories = ''
    superuser_reserved_connections = 0
    shared_buffers = '16MB'
    max_wal_size = '64MB'
    wal_keep_size = '16MB'
    logging_collector = off
";

/// The files of a new cluster, made once: to make them takes seconds, to copy them a fraction of one.
static TEMPLATE: OnceCell<TempDir> = OnceCell::const_new();

/// A PostgreSQL that runs until it is dropped.
pub struct Postgres {
    folder: TempDir,
    port: u16,
    postmaster: Option<Child>,
    variables: Vec<(String, String)>,
}

impl Postgres {
    /// How many sessions one takes.
    pub const SESSIONS: usize = 24;

    /// Starts a new one.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a new one with these variables in its environment.
    pub async fn start_with(variables: &[(&str, &str)]) -> Self {
        let template = TEMPLATE.get_or_init(async || make_template()).await;
        let folder = folder();
        done(Command::new("cp").arg("-a").arg(data(template.path())).arg(folder.path()));
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut this = Self { folder, port: free_port(), postmaster: None, variables };
        this.resume().await;
        this
    }

    /// Starts a standby of this one, for which this one waits in each commit: nothing is lost when it is promoted.
    pub async fn standby(&self) -> Self {
        let folder = folder();
        let source = format!("host=127.0.0.1 port={} user=postgres application_name=standby", self.port);
        let mut copy = owned("pg_basebackup");
        copy.args([
            "--checkpoint=fast",
            "--wal-method=stream",
            "--write-recovery-conf",
            "--no-sync",
            "--dbname",
            &source,
        ]);
        done(copy.arg("--pgdata").arg(data(folder.path())));
        // It waits for nobody when it is promoted itself.
        fs::write(data(folder.path()).join("postgresql.auto.conf"), format!("primary_conninfo = '{source}'\n"))
            .unwrap();
        let mut standby = Self { folder, port: free_port(), postmaster: None, variables: Vec::new() };
        standby.resume().await;
        eventually("the standby follows", async || {
            let follows =
                "DO $$ BEGIN ASSERT (SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'); END $$";
            self.execute("postgres", follows).await.ok()
        })
        .await;
        self.set("synchronous_standby_names", "'*'").await;
        standby
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Starts it again.
    pub async fn resume(&mut self) {
        let log = fs::File::create(self.folder.path().join("server.log")).unwrap();
        let mut postgres = owned_with("postgres", &self.variables);
        let port = self.port.to_string();
        postgres.arg("-D").arg(data(self.folder.path())).args([
            "-p",
            &port,
            "-c",
            &format!("max_connections={}", Self::SESSIONS),
        ]);
        postgres.stdin(Stdio::null());
        postgres.stdout(log.try_clone().unwrap()).stderr(log);
        self.postmaster = Some(Spawn::from(postgres).spawn().unwrap());
        eventually("PostgreSQL takes sessions", async || {
            if let Ok(Some(status)) = self.postmaster.as_mut().unwrap().try_wait() {
                let log = fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
                panic!("PostgreSQL has ended, {status}:\n{log}");
            }
            self.execute("postgres", "SELECT 1").await.ok()
        })
        .await;
    }

    /// Ends it as a crash would: what it has not written is gone.
    pub async fn crash(&mut self) {
        let mut postmaster = self.postmaster.take().expect("it runs");
        send("QUIT", postmaster.id().unwrap());
        timeout(PATIENCE, postmaster.wait()).await.expect("an immediate end").unwrap();
    }

    /// Stops all of its processes where they are, or lets them go on.
    pub fn freeze(&self, is_frozen: bool) {
        let postmaster = self.postmaster.as_ref().and_then(Child::id).expect("it runs");
        let signal = if is_frozen { "STOP" } else { "CONT" };
        // First the one that makes others.
        send(signal, postmaster);
        children(postmaster).into_iter().for_each(|child| signal_if_there(signal, child));
    }

    /// Takes writes from now on.
    pub async fn promote(&self) {
        self.execute("postgres", "DO $$ BEGIN ASSERT pg_promote(true, 60); END $$").await.unwrap();
    }

    /// Changes a setting, also for sessions that there are.
    pub async fn set(&self, name: &str, value: &str) {
        // By itself, not as part of a transaction.
        for sql in [&*format!("ALTER SYSTEM SET {name} TO {value}"), "SELECT pg_reload_conf()"] {
            self.execute("postgres", sql).await.unwrap();
        }
    }

    /// Carries out a statement in one of its databases.
    pub async fn execute(&self, database: &str, sql: &str) -> Result<(), DbErr> {
        let mut options = ConnectOptions::new(format!("postgres://postgres@{}/{database}", self.address()));
        options.max_connections(1).sqlx_logging(false).connect_timeout(PATIENCE);
        let connection = Database::connect(options).await?;
        let outcome = connection.execute_unprepared(sql).await;
        connection.close().await?;
        outcome.map(drop)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(postmaster) = self.postmaster.as_ref().and_then(Child::id) {
            for process in [vec![postmaster], children(postmaster)].concat() {
                signal_if_there("CONT", process);
            }
            // Its folder is removed at once.
            signal_if_there("QUIT", postmaster);
            let _ = self.postmaster.take().map(|mut child| {
                while let Ok(None) = child.try_wait() {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            });
        }
    }
}

fn make_template() -> TempDir {
    let folder = folder();
    let mut initdb = owned("initdb");
    initdb.args([
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
        "--wal-segsize=1",
    ]);
    done(initdb.arg("--pgdata").arg(data(folder.path())));
    let settings = data(folder.path()).join("postgresql.conf");
    let written = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{written}{SETTINGS}")).unwrap();
    folder
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// A folder that belongs to who PostgreSQL runs as: not to root, as which it refuses to run.
fn folder() -> TempDir {
    let folder = database_folder("aetherium-postgres-");
    if let Some(owner) = owner() {
        done(Command::new("chown").arg(owner).arg(folder.path()));
    }
    folder
}

fn owner() -> Option<&'static str> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0);
    let is_known = || fs::read_to_string("/etc/passwd").is_ok_and(|users| users.contains("\npostgres:"));
    is_root.then(|| if is_known() { "postgres" } else { "nobody" })
}

/// One of PostgreSQL's programs, as its own user and with nothing of ours in its environment.
fn owned(program: &str) -> Command {
    owned_with(program, &[])
}

/// The same with these variables, which no other program on the way to it sees.
fn owned_with(program: &str, variables: &[(String, String)]) -> Command {
    let mut command = match owner() {
        Some(owner) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", owner, "--regid", owner, "--clear-groups", "--", "env"]);
            command
        }
        None => Command::new("env"),
    };
    command.args(variables.iter().map(|(name, value)| format!("{name}={value}"))).arg(programs().join(program));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C").current_dir("/");
    command
}

/// Where the newest of them are. Debian keeps them out of PATH.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists()).max();
    newest.unwrap_or_default()
}

#[track_caller]
fn done(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// One below the range that systems hand out for outgoing connections: it is still free after a restart.
fn free_port() -> u16 {
    loop {
        let port = rand::random_range(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()) == Some(parent)
    };
    processes.filter(is_child).collect()
}

fn signal_if_there(name: &str, process: u32) {
    let arguments = ["-c", "kill -s \"$0\" \"$1\" 2>/dev/null", name, &process.to_string()];
    let _ = Command::new("sh").args(arguments).status();
}
