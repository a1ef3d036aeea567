//! The schemas of field shapes; the third twin of [`rest::json_values`](crate::rest::json_values) and
//! `graphql::schema::value_types`.
//!
//! A shape without a schema cannot be used in a field list: its expansion in [`object_schemas`](super::object_schemas)
//! does not compile.

use utoipa::PartialSchema;
use utoipa::openapi::{RefOr, Schema};

use super::schema::{any_text, exact, flag, formatted, list, map, measure, named, or_null, whole};
use crate::rest::json_objects::field_types;

/// Declares the schemas of shapes, one per line.
macro_rules! shapes {
    ($($shape:ident $(<$life:lifetime>)? = $schema:expr;)+) => { $(
        impl PartialSchema for field_types::$shape $(<$life>)? {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }
    )+ };
}

shapes! {
    Id<'_> = any_text();
    OptionalId<'_> = or_null(any_text());
    Text<'_> = any_text();
    OptionalText<'_> = or_null(any_text());
    OmittedId<'_> = any_text();
    OmittedText<'_> = any_text();
    Zone<'_> = any_text();
    Labels<'_> = map(any_text());
    TextList<'_> = list(any_text());
    Int = whole(0..=i64::from(i32::MAX));
    Int53 = exact();
    OptionalInt53 = exact();
    OptionalInt = or_null(whole(0..=i64::from(i32::MAX)));
    EventId = any_text();
    OptionalActor = or_null(named("EventActor"));
    OptionalVmStatus = or_null(named("VmStatus"));
    Percent = measure();
    Bool = flag();
    WorkerStatus = named("WorkerStatus");
    SchedulingPolicy = named("SchedulingPolicy");
    VmStatus = named("VmStatus");
    EventKind = named("EventKind");
    TokenKind = named("TokenKind");
    TokenRole = named("TokenRole");
    TokenState = named("TokenState");
    RefusalReason = named("RefusalReason");
    ReservationState = named("ReservationState");
    PlacementAssignments<'_> = list(named("PlacementAssignment"));
    PlacementCandidates<'_> = list(named("PlacementCandidate"));
    PlacementRefusals<'_> = list(named("PlacementRefusal"));
    RefusalDetails<'_> = list(named("RefusalDetail"));
    WorkersRefusedList<'_> = list(named("WorkersRefused"));
    ZoneCapacities<'_> = list(named("ZoneCapacity"));
    ReservedSlots<'_> = list(named("ReservedSlot"));
    EvacuationMoves<'_> = list(named("EvacuationMove"));
    StrandedVms<'_> = list(named("StrandedVm"));
    DateTime = formatted("date-time");
    OptionalDateTime = or_null(formatted("date-time"));
    Drain = named("WorkerDrain");
    DrainState = named("DrainState");
    OmittedDateTime = formatted("date-time");
    Blockers = list(named("DrainBlocker"));
    Duration = formatted(GO_DURATION);
    Cursor = formatted(EVENT_CURSOR);
    OptionalCursor = or_null(formatted(EVENT_CURSOR));
    Seconds = measure();
    ZoneCounts<'_> = map(whole(0..=i64::from(i32::MAX)));
    Zones<'_> = map(whole(0..=i64::from(i32::MAX)));
    Vms<'_> = list(named("ListedVm"));
    Worker = named("Worker");
    RejectedVms = map(any_text());
}

/// The format of a duration as Go writes it, such as `2h30m45s`.
pub(super) const GO_DURATION: &str = "go-duration";

/// The format of a cursor of the change log.
pub(super) const EVENT_CURSOR: &str = "event-cursor";

/// The format of a cursor of a list.
pub(super) const PAGE_CURSOR: &str = "page-cursor";

/// The format of a list of entity tags, or `*` for any.
pub(super) const ENTITY_TAGS: &str = "entity-tags";

/// What every cursor of a list looks like. A format that is this API's own says nothing to a program that checks requests.
pub(super) const PAGE_CURSOR_PATTERN: &str = "^[A-Za-z0-9_-]+$";

/// What every list of entity tags looks like: at least one tag in quotes, or `*`.
pub(super) const ENTITY_TAGS_PATTERN: &str = r#"^(\*|.*".*".*)$"#;
