//! Curves of workers, zones and the cluster. How they are sampled, stored and read is in [`history`](crate::history).

use std::collections::HashMap;

use tracing::warn;

use super::{Reading, Resolvers};
use crate::auth::{Action, Caller};
use crate::error::{Error, Result};
use crate::history::{
    Curves, DEFAULT_POINTS, Figures, HistoryQuery, HistoryRange, MAX_POINTS, MAX_RANGE, Subject, rows_of_range,
};

/// How many points of a curve count as one step of work, or one object, when the cost of a query is counted.
const POINTS_OF_A_STEP: u64 = 4;

/// The steps of reading the curves of some figures of one subject: its rows, and for each figure a part for each point.
/// Without a length, the span is as long as it may be.
pub fn steps_to_read_curves(query: &HistoryQuery, figures: u64) -> u64 {
    let seconds = if query.since.is_some() { Some(MAX_RANGE) } else { query.range_seconds };
    rows_of_range(seconds).saturating_add(figures.saturating_mul(steps_of_points(most_points(query.max_points))))
}

/// The steps of making a list of so many points.
pub fn steps_of_points(points: u64) -> u64 {
    points.div_ceil(POINTS_OF_A_STEP)
}

/// How many points a curve has at most.
pub fn most_points(max_points: Option<i64>) -> u64 {
    max_points.unwrap_or(DEFAULT_POINTS).clamp(0, MAX_POINTS).unsigned_abs()
}

/// The key of a data loader for curves: keys that differ in the subject only are loaded together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CurvesKey {
    /// What the curves are about.
    pub subject: Subject,
    /// Which points.
    pub range: HistoryRange,
    /// Which curves.
    pub figures: Figures,
}

impl Resolvers {
    /// The curves of one subject, which has to be there.
    pub async fn curves(
        &self,
        caller: &Caller,
        reading: &Reading,
        subject: Subject,
        query: HistoryQuery,
    ) -> Result<Curves> {
        match &subject {
            Subject::Cluster => {}
            Subject::Zone(zone) if reading.has_zone(zone) => {}
            Subject::Zone(zone) => return Err(Error::ZoneNotFound(zone.to_string())),
            Subject::Worker(id) => _ = reading.worker(id)?,
        }
        let key = CurvesKey { subject, range: query.check(reading.view.now)?, figures: Figures::ALL };
        let mut loaded = self.load_curves(caller, std::slice::from_ref(&key)).await?;
        loaded.remove(&key).ok_or(Error::ShuttingDown)
    }

    /// Curves: one statement for all keys that differ in the subject only.
    pub async fn load_curves(&self, caller: &Caller, keys: &[CurvesKey]) -> Result<HashMap<CurvesKey, Curves>> {
        let _ = self.authorize(caller, Action::Read)?;
        let mut questions = HashMap::<(HistoryRange, Figures), Vec<Subject>>::new();
        for CurvesKey { subject, range, figures } in keys {
            questions.entry((*range, *figures)).or_default().push(subject.clone());
        }
        let mut answers = HashMap::with_capacity(keys.len());
        for ((range, figures), subjects) in questions {
            let found = self.history.curves(range, figures, &subjects).await;
            let found = found.inspect_err(|error| warn!(error = %error.chain(), "History cannot be read"))?;
            let answer = |(subject, curves)| (CurvesKey { subject, range, figures }, curves);
            answers.extend(found.into_iter().map(answer));
        }
        Ok(answers)
    }
}

impl Reading {
    /// Whether workers are in this zone.
    pub fn has_zone(&self, zone: &str) -> bool {
        !zone.is_empty() && self.view.snapshot.zones().any(|(name, _)| **name == *zone)
    }
}
