//! The state of the cluster in memory, and the rules over it.
//!
//! A [`Snapshot`] is the immutable state at one revision. An answer reads one snapshot at one moment (a [`View`]), so
//! its figures never contradict each other, and no question waits for the database. The transitions of a worker are
//! here too, as pure functions from state to state ([`Worker::start_life`] and its neighbours); the journal calls them
//! and commits the result.
//!
//! **Invariant:** nothing here does I/O, reads a clock, or knows a protocol or a table. The field lists in [`fields`]
//! say what each object shows; how that is written is for `rest` and `graphql` to say. Texts that were written are kept
//! with their worker in a [`RenderCache`](crate::render::RenderCache), which is no part of the state.

mod capacity;
mod census;
mod change;
mod counts;
mod drain;
mod drain_view;
mod epoch;
mod evacuation;
mod event;
pub mod fields;
mod filter;
mod free_capacity;
mod held_reservations;
mod id;
mod index;
mod label_filter;
mod measured_load;
mod placement;
mod placement_answer;
mod reservation;
mod reservation_view;
mod snapshot;
mod sort_key;
mod sorted_list;
mod stats;
mod status;
mod text_map;
mod totals;
mod uptime;
mod valid_until;
mod view;
mod vm;
mod vm_order;
mod worker;
mod worker_distribution;
mod worker_drain;
mod worker_order;

/// Largest whole number that every JSON implementation carries exactly: 2^53.
pub const MAX_EXACT: i64 = 1 << 53;

pub use capacity::{Capacity, ZoneCapacity};
pub use census::Census;
pub use change::{Change, Changes};
pub use counts::{VmCounts, WorkerCounts, ZoneCount, ZoneTotals};
pub use drain::{Author, Deadline, Drain, DrainRequest, DrainState, Metadata};
pub use drain_view::{Blocker, BlockerKind, DrainView};
pub use epoch::{Epoch, Epochs};
pub use evacuation::{EvacuationMove, EvacuationPlan, Fleet, StrandedVm};
pub use event::{Actor, Audit, Cursor, Event, EventClass, EventFilter, EventKind, InvalidCursor, event_id};
pub use filter::{DrainFilter, MinFree, PurgeFilter, VmFilter, WorkerFacet, WorkerFilter};
pub use free_capacity::{FreeCapacity, Reserved, VmSize};
pub use held_reservations::ReservedAt;
pub(crate) use id::MAX_CHARS;
pub use id::{InvalidId, ReservationId, VmId, WorkerId};
pub use index::{Group, Ids, Index};
pub use label_filter::LabelFilter;
pub use measured_load::MeasuredLoad;
pub use placement::{Bin, Distinct, PlacementConstraints, PlacementStrategy, Placer, Reasons, RefusalReason};
pub use placement_answer::{
    Placement, PlacementAssignment, PlacementCandidate, PlacementRefusal, PlacementRequest, RefusalDetail,
    WorkersRefused,
};
pub use reservation::{Reservation, ReservationState, ReservedSlot};
pub use reservation_view::{ReservationFilter, ReservationView};
pub use snapshot::{Duplicates, IndexedOrder, Snapshot, VmReports};
pub use sort_key::SortKey;
pub use sorted_list::Chunk;
pub use stats::{ClusterStats, STATS_ID, ZoneStats, zone_id};
pub use status::{Availability, SchedulingPolicy, UnknownWord, VmStatus, WorkerStatus};
pub use uptime::Uptime;
pub use view::{View, VmView, WorkerView};
pub use vm::{Vm, VmExtras};
pub use vm_order::{VmOrder, VmOrderField};
pub use worker::{
    Boot, Boots, EARLIER_BOOT_IDS, Identity, Labels, Life, LivenessCutoff, PolicyError, Tombstone, Usage, Worker,
    WorkerVms,
};
pub use worker_distribution::WorkerDistribution;
pub use worker_drain::DrainStep;
pub use worker_order::{WorkerOrder, WorkerOrderField};
