//! What every program tells of its process, under the names that all of them use.

use std::fs;

use super::{Family, Source};

/// Ticks of a second in which Linux tells the times of a process, on every machine that this program is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Linux tells memory in these.
const KIB: f64 = 1_024.0;

/// This process, as Linux tells of it. Where it does not, there are no such families.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process;

impl Source for Process {
    fn collect(&self, families: &mut Vec<Family>) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let gauge = |name, help, value: Option<f64>| {
            let family = Family::gauge(name, help);
            value.map(|value| family.with([], value))
        };
        let resident = number_after(&status, "VmRSS:").map(|kib| kib * KIB);
        let threads = number_after(&status, "Threads:");
        let open = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
        let most = number_after(&limits, "Max open files");
        families.extend(cpu_seconds(&stat).map(|seconds| {
            Family::counter("process_cpu_seconds", "CPU time of this process, in seconds.").with([], seconds)
        }));
        families.extend(gauge("process_resident_memory_bytes", "Memory that this process holds, in bytes.", resident));
        families.extend(gauge("process_threads", "Threads of this process.", threads));
        families.extend(gauge("process_open_fds", "Files and sockets that this process has open.", open));
        families.extend(gauge("process_max_fds", "How many files and sockets it may have open.", most));
    }
}

/// The first number after a word.
fn number_after(text: &str, word: &str) -> Option<f64> {
    text.split_once(word)?.1.split_whitespace().next()?.parse().ok()
}

/// The time that a process has computed, of the line in `/proc/self/stat`.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The name of the program is in parentheses, and may have anything in it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_process_are_read_past_its_name() {
        let stat = "4242 (a (b) c) S 1 2 3 0 -1 4194560 10 0 0 0 150 50 0 0 20 0 4 0 100 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(number_after("VmRSS:\t    2048 kB\n", "VmRSS:"), Some(2_048.0));
    }
}
