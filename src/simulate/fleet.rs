//! Generates a fleet: which hosts there are, how large they are, and what runs on them at the beginning.
//!
//! It is a pure function of the options, so that the same seed gives the same fleet. The size of a host follows from
//! the number of its VMs: it is always large enough for them, and of a usual size. What happens to the fleet later is
//! decided in `simulated_worker`.

use std::collections::{BTreeMap, HashSet};

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, index};

use super::options::SimulateOptions;
use super::scene::Part;
use super::simulated_inventory::{Capacity, SimulatedInventory};
use super::simulated_load::SimulatedLoad;
use crate::client::Registration;

/// The zones, assigned to workers in turn.
const ZONES: [&str; 6] = ["us-west-1a", "us-west-1b", "us-east-1a", "us-east-1b", "eu-central-1a", "eu-central-1b"];

/// The environments, weighted by repetition.
const ENVIRONMENTS: [&str; 5] = ["production", "production", "production", "staging", "development"];

/// The kinds of hosts: the tier, and its memory per core in MiB.
const TIERS: [(&str, u32); 3] = [("compute", 2048), ("compute", 2048), ("memory", 4096)];

/// How many VMs a worker takes, unless it shall hold more.
const USUAL_MAX_VMS: u32 = 100;

/// One generated host.
#[derive(Clone, Debug)]
pub(super) struct SimulatedHost {
    pub(super) id: String,
    /// The registration without the boot id, which each start of the worker's process sets.
    pub(super) registration: Registration,
    pub(super) inventory: SimulatedInventory,
    pub(super) load: SimulatedLoad,
    /// Whether its worker falls silent now and then.
    pub(super) unreliable: bool,
    /// Its part in the scene.
    pub(super) part: Option<Part>,
    /// The random numbers of this host, so that they are the same whatever the other hosts do.
    pub(super) rng: SmallRng,
}

/// Generates the hosts of a fleet.
pub(super) fn generate_fleet(options: &SimulateOptions) -> Vec<SimulatedHost> {
    let unreliable = unreliable(options);
    // With leading zeros, so that the order by id, in which the API lists workers, is that of the numbers.
    let digits = options.workers.to_string().len().max(4);
    (0..options.workers)
        .map(|index| {
            let id = format!("{}-{:0digits$}", options.prefix, index + 1);
            let mut host = host(id, index, options);
            host.unreliable = unreliable.contains(&index);
            host
        })
        .collect()
}

/// Picks the unreliable workers. Their number is exact, and not random, so that few of a small fleet are unreliable.
fn unreliable(options: &SimulateOptions) -> HashSet<u32> {
    let wanted = f64::from(options.workers) * options.failures.clamp(0.0, 100.0) / 100.0;
    let mut rng = SmallRng::seed_from_u64(options.seed);
    let workers = options.workers as usize;
    index::sample(&mut rng, workers, wanted.round() as usize)
        .into_iter()
        .filter_map(|index| u32::try_from(index).ok())
        .collect()
}

fn host(id: String, index: u32, options: &SimulateOptions) -> SimulatedHost {
    // The seed itself is used for the unreliable workers; each host has one of the seeds after it.
    let mut rng = SmallRng::seed_from_u64(options.seed.wrapping_add(1 + u64::from(index)));
    let vms = options.vms_per_worker;

    // With one and a half cores per VM, some hosts are full and most are not, as in real clusters.
    let smallest = (vms + vms / 2).max(16).next_power_of_two();
    let cpu_cores = smallest << rng.random_range(0..=1);
    let (tier, memory_per_core) = *TIERS.choose(&mut rng).unwrap_or(&TIERS[0]);
    let memory_mb = cpu_cores * memory_per_core;
    let disk_gb = (cpu_cores * 30).next_multiple_of(100).max(vms * 20);
    let zones = options.scene.zones.unwrap_or(ZONES.len()).clamp(1, ZONES.len());
    let zone = ZONES[index as usize % zones];
    let environment = *ENVIRONMENTS.choose(&mut rng).unwrap_or(&ENVIRONMENTS[0]);

    let mut capabilities = vec!["firecracker".to_owned(), "docker".to_owned()];
    if rng.random_bool(0.3) {
        capabilities.push("qemu".to_owned());
    }
    if rng.random_bool(0.05) {
        capabilities.push("gpu".to_owned());
    }

    let capacity = Capacity { vcpus: cpu_cores, memory_mb };
    let [_, high, middle, low] = (index + 1).to_be_bytes();
    SimulatedHost {
        load: SimulatedLoad::of(&id),
        registration: Registration {
            hostname: format!("{id}.{zone}.example.internal"),
            address: format!("10.{high}.{middle}.{low}:8081"),
            zone: zone.to_owned(),
            labels: BTreeMap::from([("env".to_owned(), environment.to_owned()), ("tier".to_owned(), tier.to_owned())]),
            capabilities,
            cpu_cores,
            memory_mb,
            disk_gb,
            max_vms: vms.max(USUAL_MAX_VMS),
            boot_id: String::new(),
            host_boot_id: None,
            last_incarnation: None,
        },
        inventory: SimulatedInventory::filled(&id, capacity, vms, &mut rng),
        unreliable: false,
        part: options.scene.part(index + 1).cloned(),
        id,
        rng,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vms_fit_their_host_whatever_their_number() {
        for vms_per_worker in [0, 1, 7, 10, 11, 20, 64, 100, 333, 1000] {
            for seed in 0..20 {
                let options = SimulateOptions { workers: 5, vms_per_worker, seed, ..SimulateOptions::default() };
                for host in generate_fleet(&options) {
                    let Registration { cpu_cores, memory_mb, disk_gb, max_vms, .. } = host.registration;
                    let used = host.inventory.used();
                    let context = format!("{} with {vms_per_worker} VMs, seed {seed}", host.id);
                    assert_eq!(used.vms, vms_per_worker, "{context}");
                    assert!(used.vcpus <= cpu_cores, "{context}");
                    assert!(used.memory_mb <= memory_mb, "{context}");
                    assert!(used.disk_gb <= disk_gb, "{context}");
                    assert!(used.vms <= max_vms, "{context}");
                }
            }
        }
    }

    #[test]
    fn a_seed_gives_one_fleet_and_another_seed_another() {
        let fleet = |seed| {
            let options = SimulateOptions { seed, failures: 10.0, ..SimulateOptions::default() };
            format!("{:?}", generate_fleet(&options))
        };
        assert_eq!(fleet(7), fleet(7));
        assert_ne!(fleet(7), fleet(8));
    }

    #[test]
    fn a_bigger_fleet_starts_with_the_smaller_one() {
        let fleet = |workers| generate_fleet(&SimulateOptions { workers, failures: 0.0, ..SimulateOptions::default() });
        let (small, big) = (fleet(3), fleet(30));
        assert_eq!(format!("{small:?}"), format!("{:?}", &big[..3]));
    }

    #[test]
    fn ids_are_padded_so_that_their_order_is_that_of_the_numbers() {
        for (workers, first, last) in
            [(3, "sim-0001", "sim-0003"), (9_999, "sim-0001", "sim-9999"), (10_000, "sim-00001", "sim-10000")]
        {
            let fleet = generate_fleet(&SimulateOptions { workers, vms_per_worker: 0, ..SimulateOptions::default() });
            assert_eq!(fleet.first().unwrap().id, first);
            assert_eq!(fleet.last().unwrap().id, last);
            assert!(fleet.is_sorted_by_key(|host| host.id.clone()));
        }
    }

    #[test]
    fn the_share_of_unreliable_workers_is_exact() {
        for (workers, failures, expected) in
            [(100, 1.0, 1), (1000, 2.5, 25), (10, 1.0, 0), (10, 0.0, 0), (10, 100.0, 10)]
        {
            let fleet = generate_fleet(&SimulateOptions { workers, failures, ..SimulateOptions::default() });
            let unreliable = fleet.iter().filter(|host| host.unreliable).count();
            assert_eq!(unreliable, expected, "{failures} % of {workers}");
        }
    }
}
