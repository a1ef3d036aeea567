//! A PostgreSQL of a benchmark's own: on a free loopback port, in a temporary folder, gone at the end. Unlike the one that
//! tests use, it waits for the disk.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rand::Rng as _;
use tempfile::TempDir;

use super::Core;

/// Where Debian keeps the programs of each version, out of PATH.
const DEBIAN: &str = "/usr/lib/postgresql";

/// What larger tables than the defaults are meant for need.
const SETTINGS: &str = "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nshared_buffers = '512MB'\n";

/// A database server that runs, on any core.
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    owner: Option<Owner>,
    port: u16,
}

/// Whom it runs as, where root starts it: it refuses to be run by root.
#[derive(Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

impl Postgres {
    /// Makes and starts one.
    pub fn start() -> Result<Self> {
        let programs = programs().context(
            "there are no PostgreSQL server's programs (initdb, pg_ctl) in /usr/lib/postgresql/*/bin or in PATH; \
             on Debian, apt-get install postgresql brings them",
        )?;
        let owner = Owner::needed()?;
        let folder = tempfile::Builder::new().prefix("aetherium-bench-").tempdir()?;
        if let Some(Owner { user, group }) = owner {
            chown(folder.path(), Some(user), Some(group))?;
        }
        let mut postgres = Self { folder, programs, owner, port: 0 };
        let kind = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
        postgres.run("initdb", &kind)?;
        let settings = postgres.folder.path().join("data/postgresql.conf");
        fs::write(&settings, fs::read_to_string(&settings)? + SETTINGS)?;
        // Whether a port is free is known for certain only once it is ours. The range is below the one that systems hand
        // out for outgoing connections.
        for attempt in 1.. {
            postgres.port = rand::rng().random_range(20_000..32_000);
            let port = format!("--options=-p {}", postgres.port);
            match postgres.run("pg_ctl", &["start", "--log=server.log", "--wait", &port]) {
                Err(error) if attempt == 20 => return Err(error),
                Err(_) => {}
                Ok(()) => break,
            }
        }
        Ok(postgres)
    }

    /// Its only database, which is empty at the start.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Core::Any.command(self.programs.join(program));
        command.args(arguments).arg("--pgdata=data").current_dir(&self.folder).env("LC_ALL", "C");
        if let Some(Owner { user, group }) = self.owner {
            command.uid(user).gid(group);
        }
        // Into a file: a server that is started holds on to what it was given to write to.
        let log = fs::File::create(self.folder.path().join(format!("{program}.log")))?;
        let status = command.stdout(log.try_clone()?).stderr(log).status()?;
        ensure!(status.success(), "{program} failed:\n{}", self.logs());
        Ok(())
    }

    fn logs(&self) -> String {
        let logs = ["initdb.log", "pg_ctl.log", "server.log"];
        logs.map(|log| fs::read_to_string(self.folder.path().join(log)).unwrap_or_default()).concat()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.run("pg_ctl", &["stop", "--mode=immediate", "--silent"]);
    }
}

impl Owner {
    fn needed() -> Result<Option<Self>> {
        let id = |arguments: &[&str]| -> Result<u32> {
            let said = Command::new("id").args(arguments).output()?;
            ensure!(said.status.success(), "id {} failed", arguments.join(" "));
            Ok(String::from_utf8(said.stdout)?.trim().parse()?)
        };
        if id(&["-u"])? != 0 {
            return Ok(None);
        }
        // Debian's package makes a user for it.
        let of = |name| Ok(Self { user: id(&["-u", name])?, group: id(&["-g", name])? });
        of("postgres").or_else(|_: anyhow::Error| of("nobody")).map(Some)
    }
}

/// The folder of the newest version's programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = versions.into_iter().rev().map(|(_, folder)| folder).chain(std::env::split_paths(&path));
    all.find(|folder| has(folder, "initdb") && has(folder, "pg_ctl"))
}

fn has(folder: &Path, program: &str) -> bool {
    folder.join(program).is_file()
}
