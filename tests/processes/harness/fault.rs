//! Disks that fail: full ones, broken ones, and other people's locks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::program::send;
use super::{PATIENCE, Program};

/// A file system of its own in memory, as small as it is told, which is gone with this.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one of so many KiB.
    pub async fn mount(kib: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("aetherium-disk-").tempdir().unwrap();
        let size = format!("size={kib}k");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output().await;
        let mount = mount.unwrap();
        let words = String::from_utf8_lossy(&mount.stderr);
        assert!(mount.status.success(), "a file system can be mounted by root only; run tests/run as root: {words}");
        Self { folder }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves no room on it.
    pub fn fill(&self) {
        use std::io::Write;
        let mut file = fs::File::create(self.filler()).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    }

    /// Makes room again.
    pub fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that was killed may not be quite gone.
        let _ = std::process::Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

/// Makes calls of the system fail that a program makes on one file, for as long as this is kept.
pub struct Injection {
    strace: Child,
}

impl Injection {
    /// `what` as strace has it: `write,pwrite64:error=EIO`.
    pub async fn into(program: &Program, file: &Path, what: &str) -> Self {
        let calls = what.split(':').next().unwrap();
        let mut strace = Command::new("strace")
            .args(["-f", "-p", &program.pid().to_string(), "-P"])
            .arg(file)
            .args(["-e", &format!("trace={calls}"), "-e", &format!("inject={what}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("strace is needed, which tests/run installs: {error}"));
        attached(&mut strace).await;
        Self { strace }
    }

    /// Lets the calls succeed again.
    pub async fn end(mut self) {
        // Killed, it would leave the program stopped where it is.
        send("INT", self.strace.id().unwrap());
        tokio::time::timeout(PATIENCE, self.strace.wait()).await.expect("strace ends").unwrap();
    }
}

/// A record of calls of the system that a program makes, in their order.
pub struct Trace {
    strace: Child,
    output: tempfile::NamedTempFile,
}

impl Trace {
    /// Begins to record these calls: `fsync,write`.
    pub async fn of(program: &Program, calls: &str) -> Self {
        let output = tempfile::NamedTempFile::new().unwrap();
        let mut strace = Command::new("strace")
            .args(["-f", "-y", "-s", "64", "-p", &program.pid().to_string(), "-e", &format!("trace={calls}"), "-o"])
            .arg(output.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("strace is needed, which tests/run installs: {error}"));
        attached(&mut strace).await;
        Self { strace, output }
    }

    /// Ends it. Each call is a line that begins with the number of its thread.
    pub async fn end(mut self) -> String {
        send("INT", self.strace.id().unwrap());
        tokio::time::timeout(PATIENCE, self.strace.wait()).await.expect("strace ends").unwrap();
        fs::read_to_string(self.output.path()).unwrap()
    }
}

/// Waits until strace sees what the program does.
async fn attached(strace: &mut Child) {
    let mut lines = BufReader::new(strace.stderr.take().unwrap()).lines();
    let attached = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("attached") {
                return;
            }
        }
        panic!("strace could not be attached");
    };
    tokio::time::timeout(PATIENCE, attached).await.expect("strace in time");
    // Whoever does not read what it says stops it.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
}

/// Another program that has locked a database, or tables of it.
pub struct Lock(DatabaseConnection);

impl Lock {
    /// Takes it as these statements do, the first of which begins a transaction: `BEGIN IMMEDIATE`.
    pub async fn take(url: &str, begin: &str) -> Self {
        let mut options = ConnectOptions::new(url);
        options.max_connections(1).sqlx_logging(false);
        let connection = Database::connect(options).await.unwrap();
        connection.execute_unprepared(begin).await.unwrap();
        Self(connection)
    }

    /// Gives it back.
    pub async fn release(self) {
        self.end("ROLLBACK").await;
    }

    /// Gives it back after these statements, which are committed.
    pub async fn commit(self, changes: &str) {
        self.end(&format!("{changes}; COMMIT")).await;
    }

    async fn end(self, sql: &str) {
        self.0.execute_unprepared(sql).await.unwrap();
        self.0.close().await.unwrap();
    }
}
