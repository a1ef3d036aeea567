//! The load that a simulated host measures: it follows what its VMs are given, and moves up and down, so that curves of it
//! look like some.

use std::time::Duration;

use super::simulated_inventory::SimulatedUsage;
use crate::client::MeasuredLoad;

/// How long the slow wave and the quick one of the load are, in seconds.
const WAVES: [f64; 2] = [1_700.0, 260.0];

/// What the host itself takes, in cores and in MiB.
const OF_HOST: (f64, u32) = (0.1, 700);

/// Which part of the memory that VMs are given they use.
const MEMORY_SHARE: f64 = 0.8;

/// The load of a host.
#[derive(Clone, Debug)]
pub(super) struct SimulatedLoad {
    /// Where in its waves the host began, so that not all hosts are busy at once.
    phase: f64,
    passed: f64,
    busy_seconds: f64,
    load1: f64,
}

impl SimulatedLoad {
    /// The load of the host with this id, which was started just now.
    pub(super) fn of(id: &str) -> Self {
        let phase = id.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % 1_000;
        Self { phase: f64::from(phase), passed: 0.0, busy_seconds: 0.0, load1: 0.0 }
    }

    /// Lets time pass in which VMs are given so much, and measures.
    pub(super) fn after(&mut self, elapsed: Duration, given: SimulatedUsage) -> MeasuredLoad {
        let elapsed = elapsed.as_secs_f64();
        self.passed += elapsed;
        let [slow, quick] = WAVES.map(|wave| ((self.passed / wave + self.phase) * std::f64::consts::TAU).sin());
        let busy = OF_HOST.0 + f64::from(given.vcpus) * (0.4 + 0.2 * slow + 0.15 * quick);
        self.busy_seconds += busy * elapsed;
        // As the kernel does: what is longer ago than a minute counts little.
        self.load1 += (busy - self.load1) * (1.0 - (-elapsed / 60.0).exp());
        let memory = OF_HOST.1.saturating_add((f64::from(given.memory_mb) * MEMORY_SHARE) as u32);
        let hundredths = |number: f64| (number * 100.0).round() / 100.0;
        MeasuredLoad {
            cpu_busy_seconds: Some(hundredths(self.busy_seconds)),
            memory_used_mb: Some(memory),
            load1: Some(hundredths(self.load1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_stays_within_what_is_given_and_moves() {
        let given = SimulatedUsage { vcpus: 8, memory_mb: 10_000, ..SimulatedUsage::default() };
        let mut load = SimulatedLoad::of("w1");
        let mut before = load.after(Duration::ZERO, given);
        let mut seen = Vec::new();
        for _ in 0..200 {
            let now = load.after(Duration::from_secs(10), given);
            let busy = (now.cpu_busy_seconds.unwrap() - before.cpu_busy_seconds.unwrap()) / 10.0;
            assert!((0.1..8.0).contains(&busy), "{busy}");
            assert_eq!(now.memory_used_mb, Some(8_700));
            seen.push(busy);
            before = now;
        }
        let spread = seen.iter().fold(0.0, |most: f64, busy| most.max((busy - seen[0]).abs()));
        assert!(spread > 1.0, "{spread}");
    }
}
