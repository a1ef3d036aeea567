//! `aetherium completion`: what makes a shell complete commands and options.

use clap::{Args, Command, ValueEnum};
use clap_complete::generate;
use clap_complete::shells::{Bash, Fish, Zsh};

#[derive(Args, Clone, Debug)]
pub struct CompletionOptions {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl CompletionOptions {
    /// The script, to be put where the shell looks for it.
    pub fn script(&self, mut command: Command) -> Vec<u8> {
        let mut script = Vec::new();
        match self.shell {
            Shell::Bash => generate(Bash, &mut command, "aetherium", &mut script),
            Shell::Zsh => generate(Zsh, &mut command, "aetherium", &mut script),
            Shell::Fish => generate(Fish, &mut command, "aetherium", &mut script),
        }
        script
    }
}
