//! The census: everything that monitoring counts of one view. Unlike [`stats`](super::stats), whose sums are kept up to date,
//! it looks at each worker and at each VM, since it tells them apart by zone and by status.

use std::sync::Arc;

use super::counts::ZoneTotals;
use super::drain::DrainState;
use super::status::VmStatus;
use super::view::View;

/// How many of everything there are.
#[derive(Clone, Debug)]
pub struct Census {
    /// Every zone with a worker in it, by name; workers without a zone are in one whose name is empty. The zones together
    /// are the cluster.
    pub zones: Vec<ZoneTotals>,
    /// VMs by status, each counted once however many workers report it.
    pub vms: Vec<(VmStatus, u64)>,
    /// VMs that hold a slot on more than one worker.
    pub duplicate_vms: u64,
    /// Drains that stand, by state.
    pub drains: Vec<(DrainState, u64)>,
    /// Reservations that hold room.
    pub reservations: u64,
    /// Revision that all of this was read at.
    pub revision: u64,
}

impl Census {
    /// Counts what the view shows.
    pub fn of(view: &Arc<View>) -> Self {
        let snapshot = &view.snapshot;
        let mut vms: Vec<_> = VmStatus::ALL.iter().map(|status| (*status, 0)).collect();
        let reports = snapshot.vms().filter_map(|reports| snapshot.authoritative_report(reports));
        reports.for_each(|vm| count(&mut vms, vm.status));
        let standing = DrainState::ALL.iter().filter(|state| state.is_standing());
        let mut drains: Vec<_> = standing.map(|state| (*state, 0)).collect();
        let records = snapshot.draining_workers().filter_map(|worker| worker.standing_drain());
        records.for_each(|drain| count(&mut drains, drain.state(view.now)));
        let over = snapshot.overdue_reservations(view.now).count();
        Self {
            zones: ZoneTotals::of_workers(view.workers(), view),
            vms,
            duplicate_vms: snapshot.duplicates().len() as u64,
            drains,
            reservations: snapshot.held_reservation_count().saturating_sub(over) as u64,
            revision: snapshot.revision,
        }
    }
}

/// Counts one more of this kind.
fn count<K: PartialEq>(counts: &mut [(K, u64)], kind: K) {
    if let Some((_, count)) = counts.iter_mut().find(|(known, _)| *known == kind) {
        *count += 1;
    }
}
