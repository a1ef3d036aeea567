//! Operations on reservations: to make one, to release it, and to look at those that there are.
//!
//! Where room is held, and until when, is decided in the [`journal`](crate::journal); the size of the VMs and where they
//! may be are checked as those of a [`placement`](super::placement).

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use tracing::info;
use uuid::Builder;

use super::checks::{self, Whole, word};
use super::filter_input::texts;
use super::idempotent_request::{IdempotentReply, IdempotentRequest};
use super::offload::steps;
use super::page::{Edge, FilteredList, ListById, Page, PageRequest};
use super::placement::{ConstraintsInput, MAX_PLACED, PlacementNames, check_count, check_distinct, check_strategy};
use super::{Reading, Resolvers};
use crate::auth::{Action, Caller};
use crate::clock::Timestamp;
use crate::cluster::{
    Reservation, ReservationFilter, ReservationId, ReservationState, ReservationView, SortKey, View, VmId, WorkerView,
};
use crate::error::{Error, Result};
use crate::journal::Committed;
pub(crate) use crate::journal::commands::MAX_HELD_RESERVATIONS;
use crate::journal::commands::{ReleaseReservation, ReservationReleased, Reserve};

/// For how long room is held if nobody says: as long as a VM takes to be created and reported, with an image to fetch.
pub(crate) const DEFAULT_LIFETIME: Duration = Duration::from_secs(2 * 60);

/// For how long room is held at most: what is held longer is no VM on its way, and would be missing for others.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// For how long room is held at least.
const MIN_LIFETIME: Duration = Duration::from_secs(1);

/// A reservation, as asked for.
#[derive(Clone, Debug, Default)]
pub struct ReservationInput {
    /// The size of each VM, and where they may be placed.
    pub constraints: ConstraintsInput,
    /// How many VMs; if left out, as many as are named, or one.
    pub count: Option<Whole>,
    /// The word for which workers are preferred.
    pub strategy: Option<String>,
    /// The word for what no two of them may share.
    pub distinct: Option<String>,
    /// For how long room is held, as Go writes durations.
    pub expires_in: Option<String>,
    /// The VMs, if they have ids already.
    pub vm_ids: Option<Vec<String>>,
    /// Why.
    pub reason: Option<String>,
}

impl ReservationInput {
    fn check(self, now: Timestamp, offline_after: Duration) -> Result<Reserve> {
        let Self { constraints, count, strategy, distinct, expires_in, vm_ids, reason } = self;
        let (size, constraints) = constraints.check(&PlacementNames::PLURAL)?;
        let vm_ids = vm_ids.unwrap_or_default();
        checks::at_most("vm_ids", vm_ids.len(), MAX_PLACED as usize)?;
        let parse = |id: String| VmId::parse(&id).map_err(|problem| Error::invalid("vm_ids", problem.to_string()));
        let vm_ids = vm_ids.into_iter().map(parse).collect::<Result<Vec<_>>>()?;
        if vm_ids.iter().collect::<BTreeSet<_>>().len() < vm_ids.len() {
            return Err(Error::invalid("vm_ids", "must not name a VM twice"));
        }
        let named = i64::try_from(vm_ids.len()).unwrap_or(i64::MAX);
        let count = check_count(count.unwrap_or(Whole(named.max(1))))?;
        if !vm_ids.is_empty() && vm_ids.len() != count {
            let problem = format!("must name as many VMs as `count` says, which is {count}, not {named}");
            return Err(Error::invalid("vm_ids", problem));
        }
        let lifetime = expires_in.map(|text| checks::duration("expires_in", &text, MAX_LIFETIME)).transpose()?;
        let lifetime = lifetime.unwrap_or(DEFAULT_LIFETIME);
        if lifetime < MIN_LIFETIME {
            return Err(Error::invalid("expires_in", "must be at least 1s"));
        }
        Ok(Reserve {
            id: new_id(now)?,
            size,
            count,
            constraints,
            strategy: check_strategy(strategy)?,
            distinct: check_distinct(distinct)?,
            vm_ids,
            lifetime,
            reason: checks::reason(reason)?,
            offline_after,
        })
    }
}

/// A UUID of version 7: those of later milliseconds sort behind those of earlier ones.
fn new_id(now: Timestamp) -> Result<ReservationId> {
    let milliseconds = u64::try_from(now.timestamp_millis()).unwrap_or_default();
    let uuid = Builder::from_unix_timestamp_millis(milliseconds, &rand::random()).into_uuid();
    // A UUID is always an id.
    ReservationId::parse(&uuid.hyphenated().to_string()).map_err(|problem| Error::invalid("id", problem.to_string()))
}

/// A reservation that is released, or was before.
#[derive(Clone, Debug)]
pub struct Released {
    /// The reservation as it now is.
    pub reservation: ReservationView,
    /// Whether it held something before.
    pub changed: bool,
}

/// A filter of reservations as sent.
#[derive(Clone, Debug, Default)]
pub struct ReservationFilterInput {
    /// In one of these states, by their words.
    pub states: Option<Vec<String>>,
    /// With a slot on one of these workers.
    pub worker_ids: Option<Vec<String>>,
}

impl ReservationFilterInput {
    /// The filter, or what is wrong with it. `states` is what the protocol calls those.
    pub fn check(self, states: &'static str, worker_ids: &'static str) -> Result<ReservationFilter> {
        let state = |text: &String| word(states, text, ReservationState::ALL, ReservationState::as_str);
        let wanted = self.states.map(|list| checks::wanted(states, list)).transpose()?;
        Ok(ReservationFilter {
            states: wanted.map(|list| list.iter().map(state).collect()).transpose()?,
            worker_ids: texts(worker_ids, self.worker_ids, 1)?,
        })
    }
}

impl Reading {
    /// The reservation with this id.
    pub fn reservation(&self, id: &str) -> Result<ReservationView> {
        self.find_reservation(id).ok_or_else(|| Error::ReservationNotFound(id.to_owned()))
    }

    /// The reservation with this id, if there is one.
    pub fn find_reservation(&self, id: &str) -> Option<ReservationView> {
        let reservation = self.view.snapshot.reservation(id)?.clone();
        Some(ReservationView { reservation, view: self.view.clone() })
    }

    /// The steps of finding the reservations that match.
    pub fn steps_to_list_reservations(&self, filter: &ReservationFilter, request: &PageRequest) -> u64 {
        let all = self.view.snapshot.reservation_count();
        let rows = if *filter == ReservationFilter::default() { request.most_rows(all) } else { all };
        let slots = rows.saturating_mul(self.view.snapshot.reserved_slot_count().div_ceil(all.max(1)));
        steps(rows, filter.entries()).saturating_add(slots as u64)
    }

    /// One page of the reservations that match, the latest first.
    pub fn page_of_reservations(
        &self,
        filter: &ReservationFilter,
        request: &PageRequest,
    ) -> Result<Page<ReservationView>> {
        Page::by_id(&FilteredList { view: &self.view, filter }, true, request)
    }
}

impl ListById for FilteredList<'_, ReservationFilter> {
    type Node = ReservationView;

    fn range<'a>(
        &'a self,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = ReservationView> + 'a {
        let reservations = self.view.snapshot.reservations_in(lower, upper);
        let shown = |kept: &Arc<Reservation>| ReservationView { reservation: kept.clone(), view: self.view.clone() };
        reservations.map(shown).filter(|reservation| self.filter.matches(reservation))
    }

    fn total(&self) -> usize {
        if *self.filter == ReservationFilter::default() {
            return self.view.snapshot.reservation_count();
        }
        self.range(Bound::Unbounded, Bound::Unbounded).count()
    }

    fn edge(&self, reservation: ReservationView) -> Edge<ReservationView> {
        let id = &reservation.reservation.id;
        Edge::new(SortKey::Id(id.shared()), id.shared(), 0, reservation)
    }
}

/// The reservations that hold a slot on a worker, the oldest first.
pub fn reservations_on(worker: &WorkerView) -> Vec<ReservationView> {
    let view = &worker.view;
    let reservations = view.snapshot.reservations_on(worker.worker.id.as_str());
    let reservations = reservations.filter(|reservation| reservation.is_held_at(view.now));
    reservations.map(|kept| ReservationView { reservation: kept.clone(), view: view.clone() }).collect()
}

impl Resolvers {
    /// Reserves room for VMs, for all of them or for none.
    pub async fn reserve(&self, caller: &Caller, input: ReservationInput) -> Result<ReservationView> {
        let permit = self.authorize(caller, Action::Reserve)?;
        let command = input.check(self.clock.now(), self.timing.offline_after)?;
        self.spend_on_reservation(caller, &command);
        let Committed { reply, snapshot } = self.journal.with(permit).commit_for(command, caller).await?;
        log_reserved(&reply);
        Ok(ReservationView { reservation: reply, view: self.reading(snapshot).view })
    }

    /// The same, once for its idempotency key.
    pub async fn reserve_idempotent(
        &self,
        caller: &Caller,
        input: ReservationInput,
        request: IdempotentRequest<ReservationView>,
    ) -> Result<IdempotentReply> {
        let permit = self.authorize(caller, Action::Reserve)?;
        let command = input.check(self.clock.now(), self.timing.offline_after)?;
        self.spend_on_reservation(caller, &command);
        let show = |reply: &Arc<Reservation>, view: Arc<View>| ReservationView { reservation: reply.clone(), view };
        let (answered, reply) = self.commit_idempotent(permit, caller, command, request, show).await?;
        reply.iter().for_each(|reply| log_reserved(reply));
        Ok(answered)
    }

    /// A reservation costs as much as the placement that it is decided by. It is never refused for that: what comes next pays.
    fn spend_on_reservation(&self, caller: &Caller, command: &Reserve) {
        let rows = self.journal.for_server().snapshot().worker_count() + command.count;
        self.spend_more(caller, steps(rows, command.constraints.entries()));
    }

    /// Releases what a reservation holds.
    pub async fn release_reservation(&self, caller: &Caller, id: &str, reason: Option<String>) -> Result<Released> {
        let permit = self.authorize(caller, Action::Reserve)?;
        let offline_after = self.timing.offline_after;
        let command = ReleaseReservation { id: id.to_owned(), reason: checks::reason(reason)?, offline_after };
        let Committed { reply, snapshot } = self.journal.with(permit).commit_for(command, caller).await?;
        let ReservationReleased { reservation, changed } = reply;
        if changed {
            info!(reservation.id = %reservation.id, "Reservation {} was released", reservation.id);
        }
        Ok(Released { reservation: ReservationView { reservation, view: self.reading(snapshot).view }, changed })
    }
}

fn log_reserved(reservation: &Reservation) {
    let (id, slots) = (&reservation.id, reservation.slots.len());
    let vms = if slots == 1 { "a VM".to_owned() } else { format!("{slots} VMs") };
    info!(reservation.id = %id, reservation.slots = slots, "Room for {vms} is reserved: {id}");
}
