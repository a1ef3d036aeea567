//! History: how figures of workers, zones and the cluster went, as curves.
//!
//! Once a minute the [`HistorySampler`] takes a [`sample`] of the snapshot and of the [load](measured) that agents
//! measured, into the [`windows`] in memory. A window that is over is written, a row for each worker, zone and for
//! the cluster; the rows of a day, and those of a month, are [summed up](rollup) into one of the next [`tier`]. A
//! query [reads](range) the tier that suffices, and what is not written yet from memory.
//!
//! It is no part of the state: it has no revision, no event, and its rows are not written by the journal's writer. A
//! crash loses what was not written, a quarter of an hour at most.
//!
//! **Invariant:** a point is the same whoever writes it. Several servers sample the same cluster at the same minutes;
//! what they have is merged point by point ([`points`]), never added.

mod figure;
mod made_up;
mod measured;
mod points;
mod range;
mod reader;
mod rollup;
mod sample;
mod sampler;
mod subject;
mod tier;
mod windows;

pub use self::figure::{Figure, Figures};
pub use self::measured::MeasuredLoads;
pub use self::points::Point;
pub use self::range::{
    DEFAULT_POINTS, HistoryQuery, HistoryRange, MAX_POINTS, MAX_RANGE, MIN_POINTS, MIN_RANGE, rows_of_range,
};
pub use self::reader::{Curves, HistoryReader};
pub use self::sampler::HistorySampler;
pub use self::subject::Subject;
pub use self::tier::Tier;
