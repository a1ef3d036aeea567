//! `aetherium man`: the manual pages, one of the program and one of each command, made of what `--help` says.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Command};

#[derive(Args, Clone, Debug)]
pub struct ManualOptions {
    /// The folder to write them to, such as /usr/local/share/man/man1; it is made if it is not there.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl ManualOptions {
    /// Writes them.
    pub fn write(&self, command: Command) -> anyhow::Result<()> {
        let shown = self.folder.display();
        fs::create_dir_all(&self.folder).with_context(|| format!("Cannot make the folder {shown}"))?;
        clap_mangen::generate_to(command.disable_help_subcommand(true), &self.folder)
            .with_context(|| format!("Cannot write manual pages to {shown}"))
    }
}
