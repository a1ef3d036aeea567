//! Where programs run, so that who is measured and who measures do not take each other's time.

use std::ffi::OsStr;
use std::process::Command;
use std::thread::available_parallelism;

/// A place to run in.
#[derive(Clone, Copy, PartialEq)]
pub enum Core {
    /// The one core of whoever is measured.
    Measured,
    /// The one core of whoever measures.
    Measuring,
    /// Wherever the system likes.
    Any,
}

impl Core {
    /// A command that runs there, if there is a way to say so.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        if Self::why_unpinned().is_some() {
            return Command::new(program);
        }
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &self.list()]).arg(program);
        command
    }

    /// Moves this process there.
    pub fn enter(self) {
        if Self::why_unpinned().is_none() {
            let this = std::process::id().to_string();
            let moved =
                Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", &self.list(), &this]).output();
            assert!(moved.unwrap().status.success(), "taskset should move a process of ours");
        }
    }

    /// Why programs run wherever the system likes, if they do.
    pub fn why_unpinned() -> Option<&'static str> {
        if cores() < 2 {
            return Some("this machine has one core only");
        }
        let found = Command::new("taskset").arg("--version").output().is_ok();
        (!found).then_some("there is no taskset; it is part of util-linux")
    }

    fn list(self) -> String {
        match self {
            Self::Measured => "0".to_owned(),
            Self::Measuring => "1".to_owned(),
            Self::Any => format!("0-{}", cores() - 1),
        }
    }
}

/// How many there are, read from the system: this process may have been moved to one of them.
fn cores() -> usize {
    let all = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let listed = all.lines().filter(|line| line.starts_with("processor")).count();
    listed.max(available_parallelism().map_or(1, usize::from))
}
