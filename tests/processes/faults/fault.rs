//! What goes wrong, and how it is brought about.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbBackend};

use crate::database::TestDatabase;
use crate::harness::{Conduct, Injection, Lock, Postgres, Proxy, Server, SmallDisk, eventually};

/// The library that lies about the time, as it is compiled.
const CLOCK: &str = include_str!("clock.c");

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no room on the disk.
    FullDisk,
    /// Nothing can be written.
    WriteError,
    /// What is written does not reach the disk.
    SyncError,
    /// The disk takes its time, more than anybody has.
    HangingDisk,
    /// The file system has become read-only.
    ReadOnlyDisk,
    /// Another process holds the lock.
    Locked,
    /// PostgreSQL has crashed.
    Stopped,
    /// PostgreSQL does not go on.
    Frozen,
    /// Nothing arrives any more, and nobody is told.
    BlackHole,
    /// Another PostgreSQL leads; sessions with the one before go on, and refuse to write.
    Demoted,
    /// All sessions are taken.
    NoSessions,
    /// Each answer of PostgreSQL takes half a second longer.
    Slow,
    /// The server does not go on.
    Paused,
    /// The server is killed, and another one started.
    Killed,
    /// The server's wall clock is set by so many hours while it runs, and it starts again.
    ClockSet(i8),
    /// PostgreSQL's wall clock is set by so many hours, and set back.
    DatabaseClockSet(i8),
}

/// What becomes of commits meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// None are made, and health has to say so.
    NoCommits,
    /// They are made, and health has to say so.
    Commits,
    /// Nobody is there to say anything.
    NoServer,
}

impl Fault {
    /// All that can go wrong with servers on this database.
    pub fn all(backend: DbBackend) -> Vec<Self> {
        use Fault::*;
        let mut all = match backend {
            DbBackend::Sqlite => vec![FullDisk, WriteError, SyncError, HangingDisk, ReadOnlyDisk, Locked],
            _ => vec![Stopped, Frozen, BlackHole, Demoted, NoSessions, Slow, DatabaseClockSet(1), DatabaseClockSet(-1)],
        };
        all.extend([Paused, Killed, ClockSet(1), ClockSet(-1)]);
        all
    }

    /// What becomes of commits meanwhile.
    pub fn effect(self) -> Effect {
        match self {
            Self::Slow | Self::ClockSet(_) | Self::DatabaseClockSet(_) => Effect::Commits,
            Self::Paused | Self::Killed => Effect::NoServer,
            _ => Effect::NoCommits,
        }
    }

    /// The components that health has to call unavailable while it lasts. Commits are missed first; the others of these
    /// may follow within [`ALL_KNOWN_WITHIN`](super::trial::ALL_KNOWN_WITHIN), and no other may.
    pub fn unavailable(self) -> BTreeSet<&'static str> {
        let names: &[_] = match self {
            // What is in the file can be read all the same, and there is no other server to follow.
            Self::FullDisk
            | Self::WriteError
            | Self::SyncError
            | Self::HangingDisk
            | Self::ReadOnlyDisk
            | Self::Locked => &["commits"],
            // It answers questions; what others commit is committed elsewhere.
            Self::Demoted => &["commits", "replication"],
            Self::Stopped | Self::Frozen | Self::BlackHole | Self::NoSessions => {
                &["commits", "database", "replication"]
            }
            Self::Slow | Self::Paused | Self::Killed | Self::ClockSet(_) | Self::DatabaseClockSet(_) => &[],
        };
        names.iter().copied().collect()
    }

    /// By how much it sets a clock.
    pub fn hours(self) -> i8 {
        match self {
            Self::ClockSet(hours) | Self::DatabaseClockSet(hours) => hours,
            _ => 0,
        }
    }

    /// How long it has to last at least to be worth it.
    pub fn shortest(self) -> Duration {
        match self {
            // Longer than workers may be silent.
            Self::Paused => Duration::from_secs(12),
            Self::Slow => Duration::from_secs(8),
            _ => Duration::ZERO,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FullDisk => "disk full (ENOSPC)",
            Self::WriteError => "EIO on write",
            Self::SyncError => "EIO on fsync",
            Self::HangingDisk => "fsync hangs",
            Self::ReadOnlyDisk => "read-only disk (EROFS)",
            Self::Locked => "lock held by others",
            Self::Stopped => "PostgreSQL stopped",
            Self::Frozen => "PostgreSQL frozen",
            Self::BlackHole => "black hole",
            Self::Demoted => "primary demoted",
            Self::NoSessions => "out of connections",
            Self::Slow => "0.5 s more an answer",
            Self::Paused => "server SIGSTOP",
            Self::Killed => "server kill -9",
            Self::ClockSet(1..) => "clock +1 h, restart",
            Self::ClockSet(_) => "clock -1 h, restart",
            Self::DatabaseClockSet(1..) => "PostgreSQL clock +1 h",
            Self::DatabaseClockSet(_) => "PostgreSQL clock -1 h",
        })
    }
}

/// Where it happens: a database, and what is around it.
pub struct Stage {
    fault: Fault,
    /// What the server is given.
    pub database: TestDatabase,
    /// Where its files are, if they are on a disk of their own.
    disk: Option<SmallDisk>,
    postgres: Option<Postgres>,
    standby: Option<Postgres>,
    /// Those that do not lead any more; sessions with them stay.
    demoted: Vec<Postgres>,
    proxy: Option<Proxy>,
    clock: Option<FakeClock>,
    /// What lasts for as long as the fault does.
    present: Option<Present>,
}

enum Present {
    Injection(Injection),
    Lock(Lock),
    Sessions(Vec<DatabaseConnection>),
}

/// A wall clock that may be set.
struct FakeClock {
    folder: tempfile::TempDir,
}

impl FakeClock {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("aetherium-clock-").tempdir().unwrap();
        // PostgreSQL, too, has to be able to look.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let this = Self { folder };
        let source = this.folder.path().join("clock.c");
        fs::write(&source, CLOCK).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(this.library()).arg(source);
        let output = compiler.output().unwrap_or_else(|error| panic!("{compiler:?}: {error}"));
        assert!(output.status.success(), "{compiler:?}: {}", String::from_utf8_lossy(&output.stderr));
        this.set(0);
        this
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("clock.so")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ahead")
    }

    fn set(&self, hours: i8) {
        // Into the file that is there: who has it in memory sees all of it at once.
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(self.file()).unwrap();
        file.write_all_at(&(i64::from(hours) * 3_600).to_ne_bytes(), 0).unwrap();
    }

    /// What has a program believe it. How much time has passed is true all the same.
    fn variables(&self) -> Vec<(String, String)> {
        [("LD_PRELOAD", self.library()), ("AETHERIUM_TEST_CLOCK", self.file())]
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
            .to_vec()
    }
}

impl Stage {
    /// Makes what this fault happens to.
    pub async fn set(backend: DbBackend, fault: Fault) -> Self {
        let clock = matches!(fault, Fault::ClockSet(_) | Fault::DatabaseClockSet(_)).then(FakeClock::new);
        let (mut disk, mut postgres, mut proxy) = (None, None, None);
        let database = match backend {
            DbBackend::Sqlite if fault == Fault::FullDisk => {
                let small = SmallDisk::mount(65_536).await;
                let database = TestDatabase::sqlite_at(&small.path().join("cluster.db"));
                disk = Some(small);
                database
            }
            DbBackend::Sqlite => TestDatabase::sqlite(),
            _ => {
                let variables = clock.iter().filter(|_| matches!(fault, Fault::DatabaseClockSet(_)));
                let variables: Vec<_> = variables.flat_map(FakeClock::variables).collect();
                let variables: Vec<_> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
                let own = Postgres::start_with(&variables).await;
                own.execute("postgres", "CREATE DATABASE cluster").await.unwrap();
                let wire = Proxy::before(own.address()).await;
                let database = TestDatabase::at(format!("postgres://postgres@{}/cluster", wire.address));
                (postgres, proxy) = (Some(own), Some(wire));
                database
            }
        };
        Self { fault, database, disk, postgres, standby: None, demoted: Vec::new(), proxy, clock, present: None }
    }

    /// Starts a server on it.
    pub async fn serve(&self, arguments: &[&str]) -> Server {
        let variables = match (&self.clock, self.fault) {
            (Some(clock), Fault::ClockSet(_)) => clock.variables(),
            _ => Vec::new(),
        };
        let variables: Vec<_> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
        Server::start_in(&variables, &self.database, arguments).await
    }

    /// Makes what the fault needs, before it is looked at how long it takes.
    pub async fn prepare(&mut self) {
        if self.fault == Fault::Demoted {
            self.standby = Some(self.postgres.as_ref().unwrap().standby().await);
        }
    }

    /// Lets the fault begin.
    pub async fn strike(&mut self, server: &Server) {
        match self.fault {
            Fault::FullDisk => self.disk.as_ref().unwrap().fill(),
            Fault::WriteError => self.inject(server, "write,pwrite64,pwritev:error=EIO").await,
            Fault::SyncError => self.inject(server, "fsync,fdatasync:error=EIO").await,
            Fault::HangingDisk => self.inject(server, "fsync,fdatasync:delay_enter=60000000").await,
            Fault::ReadOnlyDisk => self.inject(server, "write,pwrite64,pwritev,ftruncate:error=EROFS").await,
            Fault::Locked => {
                let lock = Lock::take(self.database.url(), "BEGIN IMMEDIATE").await;
                self.present = Some(Present::Lock(lock));
            }
            Fault::Stopped => self.postgres.as_mut().unwrap().crash().await,
            Fault::Frozen => self.postgres.as_ref().unwrap().freeze(true),
            Fault::BlackHole => self.proxy.as_ref().unwrap().conduct(Conduct::Swallow),
            Fault::Demoted => self.postgres.as_ref().unwrap().set("default_transaction_read_only", "on").await,
            Fault::NoSessions => self.take_sessions().await,
            Fault::Slow => self.proxy.as_ref().unwrap().conduct(Conduct::Delay(Duration::from_millis(500))),
            Fault::Paused => server.program.signal("STOP"),
            // By whoever has the server.
            Fault::Killed => {}
            Fault::ClockSet(hours) | Fault::DatabaseClockSet(hours) => self.clock.as_ref().unwrap().set(hours),
        }
    }

    /// Has the fault end.
    pub async fn relieve(&mut self, server: &Server) {
        match self.fault {
            Fault::FullDisk => self.disk.as_ref().unwrap().free(),
            Fault::Stopped => self.postgres.as_mut().unwrap().resume().await,
            Fault::Frozen => self.postgres.as_ref().unwrap().freeze(false),
            Fault::BlackHole | Fault::Slow => self.proxy.as_ref().unwrap().conduct(Conduct::Pass),
            Fault::Paused => server.program.signal("CONT"),
            Fault::Demoted => {
                let standby = self.standby.take().unwrap();
                standby.promote().await;
                // What addresses are for; and nobody ends the sessions with the one before.
                self.proxy.as_ref().unwrap().turn_to_address(standby.address());
                self.demoted.extend(self.postgres.replace(standby));
            }
            Fault::DatabaseClockSet(_) => self.clock.as_ref().unwrap().set(0),
            _ => {}
        }
        match self.present.take() {
            Some(Present::Injection(injection)) => injection.end().await,
            Some(Present::Lock(lock)) => lock.release().await,
            Some(Present::Sessions(sessions)) => {
                for session in sessions {
                    session.close().await.unwrap();
                }
            }
            None => {}
        }
    }

    async fn inject(&mut self, server: &Server, what: &str) {
        let log = self.database.file().with_extension("db-wal");
        self.present = Some(Present::Injection(Injection::into(&server.program, &log, what).await));
    }

    /// Takes all sessions, also those that the server has had.
    async fn take_sessions(&mut self) {
        let (postgres, proxy) = (self.postgres.as_ref().unwrap(), self.proxy.as_ref().unwrap());
        // While they are taken, the server may not come back for its own.
        proxy.conduct(Conduct::Swallow);
        proxy.cut();
        let mut sessions = Vec::new();
        eventually("no session is left", async || {
            let mut options = ConnectOptions::new(format!("postgres://postgres@{}/postgres", postgres.address()));
            options.max_connections(1).sqlx_logging(false).acquire_timeout(Duration::from_millis(300));
            match Database::connect(options).await {
                Ok(session) => {
                    sessions.push(session);
                    None
                }
                // Those of the server have ended.
                Err(_) if sessions.len() >= Postgres::SESSIONS => Some(()),
                Err(_) => None,
            }
        })
        .await;
        proxy.cut();
        proxy.conduct(Conduct::Pass);
        self.present = Some(Present::Sessions(sessions));
    }
}
