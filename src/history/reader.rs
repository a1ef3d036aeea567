//! Reads curves: from the rows of the tier that suffices, from rows that are not summed up into it yet, and from the
//! windows in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::task::spawn_blocking;

use super::figure::{Figure, Figures};
use super::measured::MeasuredLoads;
use super::points::{Point, Points};
use super::range::HistoryRange;
use super::subject::Subject;
use super::tier::{DAY, Tier};
use super::windows::Windows;
use crate::error::Result;
use crate::journal::{HistoryRow, HistoryStore};

/// About how many subjects one statement reads at most: more than a page of workers has.
const SUBJECTS_PER_STATEMENT: usize = 1_000;

/// How many rows are decoded on an async thread, at some microseconds each.
const MAX_ROWS_AT_ONCE: usize = 2_000;

/// How far back rows are read that should have been summed up: before, they are only if no server ran for long, and none
/// has had the time to sum them up since.
const MAX_UNSUMMED: i64 = 3 * DAY;

/// The curves of a subject: the points of a range.
#[derive(Clone, Debug)]
pub struct Curves {
    /// Which points.
    pub range: HistoryRange,
    points: Points,
}

impl Curves {
    /// The curve of a figure; none if there is no sample of it, or it was not asked for.
    pub fn of(&self, figure: Figure) -> Option<&[Point]> {
        self.points.of(figure)
    }
}

/// Reads curves, and takes in measured load. Cheap to clone; the sampler has the same.
#[derive(Clone, Debug)]
pub struct HistoryReader(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: HistoryStore,
    windows: Windows,
    loads: MeasuredLoads,
    /// From when on samples are not summed up into quarters of an hour, and from when on these are not into six hours;
    /// before the first look, it is not known.
    unsummed: [AtomicI64; 2],
}

impl HistoryReader {
    /// The history in these rows.
    pub fn new(store: HistoryStore) -> Self {
        let unsummed = [const { AtomicI64::new(i64::MIN) }; 2];
        Self(Arc::new(Shared { store, windows: Windows::default(), loads: MeasuredLoads::default(), unsummed }))
    }

    /// What agents measured.
    pub fn loads(&self) -> &MeasuredLoads {
        &self.0.loads
    }

    pub(super) fn windows(&self) -> &Windows {
        &self.0.windows
    }

    pub(super) fn store(&self) -> &HistoryStore {
        &self.0.store
    }

    /// From when on rows of a tier are not summed up into the next one.
    pub(super) fn unsummed_since(&self, tier: Tier, now: i64) -> i64 {
        let (known, next) = match tier {
            Tier::Minute => (&self.0.unsummed[0], Tier::QuarterHour),
            Tier::QuarterHour => (&self.0.unsummed[1], Tier::SixHours),
            Tier::SixHours => return i64::MIN,
        };
        match known.load(Ordering::Relaxed) {
            // The row before the present one, at least.
            i64::MIN => next.row_around(next.row_around(now).0 - 1).0,
            since => since,
        }
    }

    pub(super) fn set_unsummed_since(&self, tier: Tier, since: i64) {
        match tier {
            Tier::Minute => self.0.unsummed[0].store(since, Ordering::Relaxed),
            Tier::QuarterHour => self.0.unsummed[1].store(since, Ordering::Relaxed),
            Tier::SixHours => {}
        }
    }

    /// The curves of these figures of these subjects: one statement for a thousand of them. Each has curves, if perhaps
    /// without any sample.
    pub async fn curves(
        &self,
        range: HistoryRange,
        figures: Figures,
        subjects: &[Subject],
    ) -> Result<HashMap<Subject, Curves>> {
        let mut curves = HashMap::with_capacity(subjects.len());
        for subjects in subjects.chunks(SUBJECTS_PER_STATEMENT) {
            self.read(range, figures, subjects, &mut curves).await?;
        }
        Ok(curves)
    }

    async fn read(
        &self,
        range: HistoryRange,
        figures: Figures,
        subjects: &[Subject],
        curves: &mut HashMap<Subject, Curves>,
    ) -> Result<()> {
        // Memory first: a window that is written meanwhile is then in both, which merging expects, and not in neither.
        let unwritten = subjects.iter().map(|subject| (subject.clone(), self.windows().all_points(subject)));
        let unwritten: Vec<_> = unwritten.collect();
        let keys: Vec<_> = subjects.iter().map(Subject::key).collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let rows = self.store().rows(&self.rows_needed(range), &keys).await?;
        // Of many rows, on a thread where nobody waits. If that panics, there are no curves, which is told.
        let found = if rows.len() > MAX_ROWS_AT_ONCE {
            spawn_blocking(move || assemble(range, figures, unwritten, rows)).await.unwrap_or_default()
        } else {
            assemble(range, figures, unwritten, rows)
        };
        curves.extend(found);
        Ok(())
    }

    /// The starts of the rows, by tier, that hold the points of a range.
    fn rows_needed(&self, range: HistoryRange) -> Vec<(i32, Vec<i64>)> {
        let (since, until) = (range.start, range.end().min(range.now + 1));
        let oldest_unsummed = |tier| {
            let since = self.unsummed_since(tier, range.now);
            since.max(range.now - MAX_UNSUMMED).min(Tier::QuarterHour.row_around(range.now).0)
        };
        let starts = |tier: Tier, since: i64| (tier.number(), tier.rows_between(since, until));
        match range.tier {
            Tier::Minute => vec![starts(Tier::Minute, since)],
            Tier::QuarterHour => {
                vec![starts(Tier::QuarterHour, since), starts(Tier::Minute, since.max(oldest_unsummed(Tier::Minute)))]
            }
            Tier::SixHours => {
                let months = self.unsummed_since(Tier::QuarterHour, range.now);
                vec![
                    starts(Tier::SixHours, since),
                    starts(Tier::QuarterHour, since.max(months)),
                    starts(Tier::Minute, since.max(oldest_unsummed(Tier::Minute))),
                ]
            }
        }
    }
}

/// The curves of subjects, of what is not written yet and of rows. The rows are decoded subject by subject: decoded, they
/// are a hundred times as large.
fn assemble(
    range: HistoryRange,
    figures: Figures,
    unwritten: Vec<(Subject, Vec<(i64, Points)>)>,
    stored: Vec<HistoryRow>,
) -> Vec<(Subject, Curves)> {
    let mut stored_of = HashMap::<String, Vec<(i32, i64, Vec<u8>)>>::with_capacity(unwritten.len());
    for HistoryRow { tier, start, subject, points } in stored {
        stored_of.entry(subject).or_default().push((tier, start, points));
    }
    let decoded = |(tier, start, bytes): (i32, i64, Vec<u8>)| {
        let tier = Tier::of_number(tier)?;
        Some(((tier, start), Points::decode(tier.points_in_row(start), &bytes)?))
    };
    let curves = unwritten.into_iter().map(|(subject, unwritten)| {
        let stored = stored_of.remove(&subject.key()).unwrap_or_default();
        let mut rows: SubjectRows = stored.into_iter().filter_map(decoded).collect();
        for (start, points) in unwritten {
            rows.entry((Tier::Minute, start)).and_modify(|known| known.merge(&points)).or_insert(points);
        }
        (subject, Curves { range, points: combine(range, figures, &rows) })
    });
    curves.collect()
}

/// The rows of one subject, by tier and start.
pub(super) type SubjectRows = BTreeMap<(Tier, i64), Points>;

/// The points of a range, from rows. What is in a row of a coarser tier is not taken from those that were summed up into
/// it as well.
fn combine(range: HistoryRange, figures: Figures, rows: &SubjectRows) -> Points {
    let known: HashSet<_> = rows.keys().copied().collect();
    let is_in = |tier: Tier, start: i64| known.contains(&(tier, tier.row_around(start).0));
    let mut combined = Points::absent(range.length);
    for ((tier, start), points) in rows {
        let is_summed_up = match tier {
            Tier::Minute => is_in(Tier::QuarterHour, *start) || is_in(Tier::SixHours, *start),
            Tier::QuarterHour => is_in(Tier::SixHours, *start),
            Tier::SixHours => false,
        };
        if !is_summed_up {
            add_row(&mut combined, figures, (range.start, range.step, range.length), (*tier, *start), points);
        }
    }
    combined
}

/// Adds the points of a row, of these figures, to those of a span: its start, its step and how many it has.
pub(super) fn add_row(
    to: &mut Points,
    figures: Figures,
    (start, step, length): (i64, i64, usize),
    (tier, row_start): (Tier, i64),
    row: &Points,
) {
    for figure in Figure::ALL.into_iter().filter(|figure| figures.contains(*figure)) {
        for (place, point) in row.of(figure).into_iter().flatten().enumerate() {
            let at = row_start + tier.step() * i64::try_from(place).unwrap_or(i64::MAX);
            let place = (at - start).checked_div_euclid(step).and_then(|place| usize::try_from(place).ok());
            if let Some(place) = place.filter(|place| *place < length) {
                to.add(figure, place, *point);
            }
        }
    }
}
