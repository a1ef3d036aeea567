//! What a heartbeat carries: the whole inventory, the changes to it, or nothing of it.
//!
//! These are pure decisions, from what the server is known to have and what the host runs. When a heartbeat is sent, and
//! the sending, is in the loop of `agent`; the host is read by `host` and `inventory`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::client::{Heartbeat, VmDelta, VmReport};

/// How often the whole inventory is sent: if server and host differ for any unknown reason, they do so at most for this
/// long.
const WHOLE_INVENTORY_EVERY: Duration = Duration::from_secs(60);

/// Decides what each heartbeat carries.
#[derive(Debug, Default)]
pub(super) struct HeartbeatPlanner {
    incarnation: u64,
    /// The number of the last heartbeat. It never goes back, not even with a new registration: a server that answers a
    /// retry of a registration with the same incarnation would take numbers from 1 on for late heartbeats.
    sequence: u64,
    /// The VMs that the server certainly has; none if that is not known.
    held: Option<Held>,
    /// Until when heartbeats are sent without the inventory, because the server refused it.
    withheld_until: Option<Instant>,
    heard: bool,
}

#[derive(Debug)]
struct Held {
    vms: BTreeMap<String, VmReport>,
    /// When the server last accepted the whole inventory.
    whole_at: Instant,
}

impl HeartbeatPlanner {
    /// Begins an incarnation: the worker is registered, and it is not known which VMs of it the server has.
    /// `last_sequence` is the number of the last heartbeat of this incarnation that counted, if there was one.
    pub(super) fn begin(&mut self, incarnation: u64, last_sequence: Option<u64>) {
        let sequence = self.sequence.max(last_sequence.unwrap_or(0));
        *self = Self { incarnation, sequence, ..Self::default() };
    }

    /// The present incarnation, if the worker was registered.
    pub(super) fn incarnation(&self) -> Option<u64> {
        (self.incarnation > 0).then_some(self.incarnation)
    }

    /// Whether a heartbeat of this incarnation was acknowledged.
    pub(super) fn was_heard(&self) -> bool {
        self.heard
    }

    /// The next heartbeat, with what the host runs; `vms` is none if that could not be read.
    pub(super) fn plan(&mut self, vms: Option<&[VmReport]>, now: Instant) -> Heartbeat {
        self.sequence += 1;
        let heartbeat = Heartbeat { incarnation: self.incarnation, sequence: self.sequence, ..Heartbeat::default() };
        let Some(vms) = vms.filter(|_| self.withheld_until.is_none_or(|until| now >= until)) else {
            return heartbeat;
        };
        let heartbeat = Heartbeat {
            used_cpu_cores: Some(allocated(vms, |vm| vm.vcpus)),
            used_memory_mb: Some(allocated(vms, |vm| vm.memory_mb)),
            // The sizes of a VM's disks are not in its arguments. The key is left out, since 0 would be a statement.
            used_disk_gb: None,
            ..heartbeat
        };
        match &self.held {
            Some(held) if now.duration_since(held.whole_at) < WHOLE_INVENTORY_EVERY => {
                Heartbeat { vms_delta: difference(&held.vms, vms), ..heartbeat }
            }
            Some(_) | None => Heartbeat { vms: Some(vms.to_vec()), ..heartbeat },
        }
    }

    /// The server has acknowledged the heartbeat. `resync`: it asks for the whole inventory. `last_sequence`: the
    /// heartbeat came late, after the one with this number, and nothing in it counted.
    pub(super) fn acknowledged(
        &mut self,
        heartbeat: &Heartbeat,
        resync: bool,
        last_sequence: Option<u64>,
        now: Instant,
    ) {
        self.heard = true;
        if let Some(last) = last_sequence {
            self.sequence = self.sequence.max(last);
            self.held = None;
            return;
        }
        if let Some(vms) = &heartbeat.vms {
            self.held = Some(Held { vms: by_id(vms), whole_at: now });
        }
        if let (Some(delta), Some(held)) = (&heartbeat.vms_delta, &mut self.held) {
            held.vms.extend(by_id(&delta.upsert));
            for id in &delta.remove {
                held.vms.remove(id);
            }
        }
        if resync {
            self.held = None;
        }
    }

    /// It is not known whether the server has accepted the heartbeat. If it carried VMs, the whole inventory has to
    /// follow: a VM that the lost heartbeat added, and that is gone since, would not be removed by a difference.
    pub(super) fn unanswered(&mut self, heartbeat: &Heartbeat) {
        if heartbeat.vms.is_some() || heartbeat.vms_delta.is_some() {
            self.held = None;
        }
    }

    /// The server has refused the inventory. It is withheld for a while, after which the host may run something else.
    pub(super) fn inventory_refused(&mut self, now: Instant) {
        self.held = None;
        self.withheld_until = Some(now + WHOLE_INVENTORY_EVERY);
    }
}

fn by_id(vms: &[VmReport]) -> BTreeMap<String, VmReport> {
    vms.iter().map(|vm| (vm.id.clone(), vm.clone())).collect()
}

/// The changes from `held` to `vms`; none if they are equal.
fn difference(held: &BTreeMap<String, VmReport>, vms: &[VmReport]) -> Option<VmDelta> {
    let present = by_id(vms);
    let delta = VmDelta {
        upsert: present.values().filter(|vm| held.get(&vm.id) != Some(vm)).cloned().collect(),
        remove: held.keys().filter(|id| !present.contains_key(*id)).cloned().collect(),
    };
    (delta != VmDelta::default()).then_some(delta)
}

/// The sum of a figure over the VMs that hold a slot, at most the largest figure that the API takes.
fn allocated(vms: &[VmReport], figure: impl Fn(&VmReport) -> u32) -> u32 {
    vms.iter()
        .filter(|vm| vm.status.holds_slot())
        .map(figure)
        .fold(0_u32, u32::saturating_add)
        .min(super::inventory::LARGEST_FIGURE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::VmStatus;

    fn vm(id: &str, vcpus: u32) -> VmReport {
        VmReport {
            id: id.to_owned(),
            name: id.to_owned(),
            status: VmStatus::Running,
            vcpus,
            memory_mb: 1024,
            note: None,
            reservation_id: None,
        }
    }

    /// What a heartbeat says about VMs, in short.
    fn words(heartbeat: &Heartbeat) -> String {
        let ids = |vms: &[VmReport]| vms.iter().map(|vm| vm.id.clone()).collect::<Vec<_>>().join(" ");
        match (&heartbeat.vms, &heartbeat.vms_delta) {
            (Some(vms), None) => format!("all: {}", ids(vms)),
            (None, Some(delta)) => format!("+ {} - {}", ids(&delta.upsert), delta.remove.join(" ")),
            (None, None) => "none".to_owned(),
            (Some(_), Some(_)) => "both".to_owned(),
        }
    }

    enum Answer {
        Taken,
        Resync,
        Late,
        Lost,
        Refused,
        Registered,
    }
    use Answer::{Late, Lost, Refused, Registered, Resync, Taken};

    /// Each step: seconds since the start, the VMs of the host, what the heartbeat must say, what comes of it.
    fn check(steps: &[(u64, Option<&[VmReport]>, &str, Answer)]) {
        let start = Instant::now();
        let mut planner = HeartbeatPlanner::default();
        planner.begin(1, None);
        let mut last_sequence = 0;
        for (step, (seconds, vms, expected, answer)) in steps.iter().enumerate() {
            let now = start + Duration::from_secs(*seconds);
            let heartbeat = planner.plan(*vms, now);
            assert_eq!(words(&heartbeat), *expected, "step {step}");
            assert!(heartbeat.sequence > last_sequence, "step {step}");
            last_sequence = heartbeat.sequence;
            match answer {
                Taken => planner.acknowledged(&heartbeat, false, None, now),
                Resync => planner.acknowledged(&heartbeat, true, None, now),
                // Behind by ten.
                Late => planner.acknowledged(&heartbeat, true, Some(heartbeat.sequence + 10), now),
                Lost => planner.unanswered(&heartbeat),
                Refused => planner.inventory_refused(now),
                Registered => planner.begin(2, None),
            }
        }
    }

    #[test]
    fn a_life_begins_with_the_whole_inventory_and_goes_on_with_differences() {
        check(&[
            (0, Some(&[vm("a", 1), vm("b", 1)]), "all: a b", Taken),
            (10, Some(&[vm("a", 1), vm("b", 1)]), "none", Taken),
            (20, Some(&[vm("a", 1), vm("b", 2), vm("c", 1)]), "+ b c - ", Taken),
            (30, Some(&[vm("b", 2), vm("c", 1)]), "+  - a", Taken),
            (40, Some(&[]), "+  - b c", Taken),
            (50, Some(&[]), "none", Taken),
        ]);
    }

    #[test]
    fn an_empty_inventory_is_told_and_is_not_no_inventory() {
        check(&[(0, Some(&[]), "all: ", Taken), (10, None, "none", Taken)]);
    }

    #[test]
    fn everything_is_told_again_after_a_minute_to_heal_errors() {
        check(&[
            (0, Some(&[vm("a", 1)]), "all: a", Taken),
            (59, Some(&[vm("a", 1)]), "none", Taken),
            (60, Some(&[vm("a", 1)]), "all: a", Taken),
            (119, Some(&[vm("a", 1)]), "none", Taken),
        ]);
    }

    #[test]
    fn everything_is_told_when_asked_and_after_a_new_registration() {
        check(&[
            (0, Some(&[vm("a", 1)]), "all: a", Resync),
            (10, Some(&[vm("a", 1)]), "all: a", Taken),
            (20, Some(&[vm("a", 1)]), "none", Registered),
            (30, Some(&[vm("a", 1)]), "all: a", Taken),
        ]);
    }

    #[test]
    fn after_a_heartbeat_that_came_late_the_count_goes_on_above_the_last_one_with_everything() {
        check(&[
            (0, Some(&[vm("a", 1)]), "all: a", Late),
            (10, Some(&[vm("a", 1)]), "all: a", Taken),
            (20, Some(&[vm("a", 1), vm("b", 1)]), "+ b - ", Late),
            (30, Some(&[vm("a", 1), vm("b", 1)]), "all: a b", Taken),
        ]);
        let mut planner = HeartbeatPlanner::default();
        planner.begin(1, Some(41));
        let heartbeat = planner.plan(None, Instant::now());
        assert_eq!(heartbeat.sequence, 42, "a process that has lost count is told at its registration");
        planner.acknowledged(&heartbeat, true, Some(99), Instant::now());
        assert_eq!(planner.plan(None, Instant::now()).sequence, 100);
    }

    #[test]
    fn a_heartbeat_of_unknown_fate_is_followed_by_everything_if_it_carried_vms() {
        check(&[
            (0, Some(&[vm("a", 1)]), "all: a", Taken),
            (10, Some(&[vm("a", 1), vm("b", 1)]), "+ b - ", Lost),
            (20, Some(&[vm("a", 1)]), "all: a", Taken),
            (30, Some(&[vm("a", 1)]), "none", Lost),
            (40, Some(&[vm("a", 1), vm("c", 1)]), "+ c - ", Taken),
        ]);
    }

    #[test]
    fn an_unreadable_inventory_leaves_what_the_server_holds_as_it_is() {
        check(&[
            (0, None, "none", Taken),
            (10, Some(&[vm("a", 1)]), "all: a", Taken),
            (20, None, "none", Taken),
            (30, Some(&[vm("b", 1)]), "+ b - a", Taken),
        ]);
    }

    #[test]
    fn a_refused_inventory_stays_out_of_the_heartbeats_for_a_minute() {
        check(&[
            (0, Some(&[vm("a", 1)]), "all: a", Refused),
            (10, Some(&[vm("a", 1)]), "none", Taken),
            (59, Some(&[vm("a", 1)]), "none", Taken),
            (60, Some(&[vm("a", 1)]), "all: a", Taken),
        ]);
    }

    #[test]
    fn used_figures_are_what_slot_holding_vms_hold() {
        let stopped = VmReport { status: VmStatus::Stopped, ..vm("c", 8) };
        let mut planner = HeartbeatPlanner::default();
        let heartbeat = planner.plan(Some(&[vm("a", 1), vm("b", 2), stopped]), Instant::now());
        assert_eq!(
            (heartbeat.used_cpu_cores, heartbeat.used_memory_mb, heartbeat.used_disk_gb),
            (Some(3), Some(2048), None)
        );

        let heartbeat = planner.plan(None, Instant::now());
        assert_eq!((heartbeat.used_cpu_cores, heartbeat.used_memory_mb), (None, None), "unknown is not zero");
    }
}
