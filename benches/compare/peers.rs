//! The other servers of the comparison, on Node: how they are installed and started. They are installed as the lock
//! file beside their sources names them, below the folder that everything is built into.
//!
//! Which there are (`PEERS`), what they are asked, and how fast they answer, is not here: see `reads.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::table::built;
use crate::support::{Core, Program};

/// Their sources.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/compare/peers");

/// What was installed.
pub struct Peers {
    folder: PathBuf,
}

impl Peers {
    /// Installs them, unless they are there.
    pub fn install() -> Result<Self> {
        let folder = built()?.join("compare-peers");
        fs::create_dir_all(&folder)?;
        for source in fs::read_dir(SOURCES)? {
            let source = source?;
            if source.file_type()?.is_file() {
                fs::copy(source.path(), folder.join(source.file_name()))?;
            }
        }
        let lock = fs::read(folder.join("package-lock.json"))?;
        let installed = folder.join("node_modules/.installed");
        if fs::read(&installed).ok() != Some(lock.clone()) {
            let npm = Command::new("npm").arg("--version").output();
            npm.context("there is no npm; it comes with Node, https://nodejs.org")?;
            println!("installing the peers, with npm, in {}", folder.display());
            let mut install = Core::Any.command("npm");
            let installing = install.args(["ci", "--loglevel=error", "--ignore-scripts"]).current_dir(&folder);
            ensure!(installing.status()?.success(), "npm could not install the peers; it needs the npm registry");
            fs::write(installed, lock)?;
        }
        Ok(Self { folder })
    }

    /// Starts one of them, on a Node of its own choice.
    pub async fn start(&self, script: &str, arguments: &[&Path]) -> Result<Program> {
        let mut command = Core::Measured.command(self.node());
        command.arg(script).args(arguments).current_dir(&self.folder).env("NODE_ENV", "production");
        Program::that_tells_its_address(command).await.with_context(|| script.to_owned())
    }

    /// The one that was installed with them; where there is none for this machine, whichever there is.
    fn node(&self) -> PathBuf {
        let installed = self.folder.join("node_modules/.bin/node");
        if installed.exists() { installed } else { "node".into() }
    }
}
