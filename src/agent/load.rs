//! The load of this host, as the kernel counts it: read for each heartbeat. It is of the whole machine, whatever this process
//! itself is limited to, VMs included.

use std::path::Path;

use crate::client::MeasuredLoad;

/// Clock ticks in a second, as the kernel counts the time of CPUs for programs, on all machines that Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads the load below `proc`. What cannot be read is left out; without anything, there is no load. Does not block: the
/// kernel answers this without other processes.
pub(super) fn measure(proc: &Path) -> Option<MeasuredLoad> {
    let read = |name: &str| std::fs::read_to_string(proc.join(name)).ok();
    let load = MeasuredLoad {
        cpu_busy_seconds: read("stat").and_then(|text| busy_seconds(&text)),
        memory_used_mb: read("meminfo").and_then(|text| used_mb(&text)),
        load1: read("loadavg").and_then(|text| load_average(&text)),
    };
    (load != MeasuredLoad::default()).then_some(load)
}

/// The time of all CPUs that was not idle, nor waiting for disks, from the first line of `stat`. What guests took is in
/// the time of users.
fn busy_seconds(stat: &str) -> Option<f64> {
    let ticks = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = ticks.split_whitespace().map_while(|ticks| ticks.parse().ok()).collect();
    let [user, nice, system, _idle, rest @ ..] = ticks.as_slice() else { return None };
    // Of a kernel that does not count them all, those that it does.
    let interrupts = rest.iter().skip(1).take(3);
    Some([user, nice, system].into_iter().chain(interrupts).sum::<u64>() as f64 / TICKS_PER_SECOND)
}

/// The load average of one minute; none if the text has no number that one could be.
fn load_average(loadavg: &str) -> Option<f64> {
    let load = loadavg.split_whitespace().next()?.parse().ok()?;
    (0.0..f64::INFINITY).contains(&load).then_some(load)
}

/// Memory that programs could not have without taking it from others, in MiB.
fn used_mb(meminfo: &str) -> Option<u32> {
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    u32::try_from(kib("MemTotal")?.checked_sub(kib("MemAvailable")?)? / 1_024).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::inventory::processes::PROC;

    #[test]
    fn busy_is_what_is_neither_idle_nor_waiting() {
        let stat = "cpu  100 20 30 40000 500 6 7 8 90 0\ncpu0 1 2 3 4 5 6 7 8 9 0\nintr 1\n";
        assert_eq!(busy_seconds(stat), Some(1.71));
        assert_eq!(busy_seconds("cpu  100 20 30 40000\n"), Some(1.5), "of an old kernel");
        assert_eq!([busy_seconds(""), busy_seconds("cpu  1 2"), busy_seconds("cpu0 1 2 3 4")], [None; 3]);
    }

    #[test]
    fn used_is_what_is_not_available() {
        let meminfo = "MemTotal:       32768000 kB\nMemFree:  1 kB\nMemAvailable:   12288000 kB\n";
        assert_eq!(used_mb(meminfo), Some(20_000));
        assert_eq!(used_mb("MemTotal:       32768000 kB\n"), None);
    }

    #[test]
    fn what_is_no_load_is_left_out() {
        assert_eq!(load_average("3.25 2.10 1.90 2/900 4711\n"), Some(3.25));
        assert_eq!(["-1.0 0 0", "nan 0 0", "inf 0 0", "much 0 0", ""].map(load_average), [None; 5]);
    }

    #[test]
    fn this_host_has_a_load() {
        let load = measure(Path::new(PROC)).unwrap();
        assert!(
            load.cpu_busy_seconds > Some(0.0) && load.memory_used_mb > Some(0) && load.load1 >= Some(0.0),
            "{load:?}"
        );
        assert_eq!(measure(Path::new("/nonexistent")), None);
    }
}
