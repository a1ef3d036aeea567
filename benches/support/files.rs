//! How many files may be open, which bounds how many sockets a process has.

use std::fs;
use std::process::Command;

/// Lets this process, and those that it starts from now on, open as many files as they are allowed to at most; answers how
/// many. Without `prlimit` (util-linux), it is what it was.
pub fn open_more_files() -> usize {
    let this = std::process::id().to_string();
    let (_, most) = limits();
    // A failure is seen in what is answered.
    let _ = Command::new("prlimit").args(["--pid", &this, &format!("--nofile={most}:{most}")]).output();
    limits().0.parse().unwrap_or(usize::MAX)
}

/// The soft and the hard limit, as the system writes them: "unlimited", where there is none.
fn limits() -> (String, String) {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}
