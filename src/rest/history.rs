//! The handlers of history: how figures of a worker, a zone or the cluster went.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::endpoint::Endpoint;
use super::error::Result;
use super::etag::Versioned;
use super::query_response::Read;
use crate::clock::{Rfc3339, Timestamp};
use crate::error::Error;
use crate::history::{Curves, Figure, Figures, HistoryQuery, HistoryRange, Point, Subject, Tier};
use crate::http::{PathId, Query, current_caller};
use crate::resolvers::checks;
use crate::resolvers::history::steps_to_read_curves;

#[derive(Deserialize)]
pub(super) struct HistoryParams {
    since: Option<String>,
    until: Option<String>,
    range_seconds: Option<i64>,
    max_points: Option<i64>,
}

impl HistoryParams {
    fn check(self) -> Result<HistoryQuery, Error> {
        let Self { since, until, range_seconds, max_points } = self;
        let since = since.map(|time| checks::moment("since", &time)).transpose()?;
        let until = until.map(|time| checks::moment("until", &time)).transpose()?;
        Ok(HistoryQuery { since, until, range_seconds, max_points })
    }
}

/// `GET /api/v1/workers/{id}/history`
pub(super) async fn of_worker(
    State(endpoint): State<Arc<Endpoint>>,
    read: Read,
    PathId(id): PathId,
    Query(params): Query<HistoryParams>,
) -> Result<Response> {
    answer(&endpoint, read, Subject::Worker(id.into()), params).await
}

/// `GET /api/v1/zones/{zone}/history`
pub(super) async fn of_zone(
    State(endpoint): State<Arc<Endpoint>>,
    read: Read,
    PathId(zone): PathId,
    Query(params): Query<HistoryParams>,
) -> Result<Response> {
    answer(&endpoint, read, Subject::Zone(zone.into()), params).await
}

/// `GET /api/v1/cluster/history`
pub(super) async fn of_cluster(
    State(endpoint): State<Arc<Endpoint>>,
    read: Read,
    Query(params): Query<HistoryParams>,
) -> Result<Response> {
    answer(&endpoint, read, Subject::Cluster, params).await
}

async fn answer(endpoint: &Endpoint, read: Read, subject: Subject, params: HistoryParams) -> Result<Response> {
    let query = params.check()?;
    let caller = current_caller();
    endpoint.resolvers.spend_more(&caller, steps_to_read_curves(&query, Figures::ALL.count()));
    let curves = endpoint.resolvers.curves(&caller, &read.reading, subject, query).await?;
    Ok(read.show(History(curves)))
}

/// The word of a tier.
pub(super) fn tier_word(tier: Tier) -> &'static str {
    match tier {
        Tier::Minute => "minute",
        Tier::QuarterHour => "quarter_hour",
        Tier::SixHours => "six_hours",
    }
}

struct History(Curves);

impl Versioned for History {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        // When it was asked is no part of the answer.
        let HistoryRange { start, step, length, tier, now: _ } = self.0.range;
        (start, step, length, tier).hash(hasher);
        for figure in Figure::ALL {
            let points = self.0.of(figure).unwrap_or_default();
            points.len().hash(hasher);
            for Point { count, sum, min, max } in points {
                (count, sum, min, max).hash(hasher);
            }
        }
    }
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let range = self.0.range;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("start", &Moment(range.start))?;
        map.serialize_entry("end", &Moment(range.end()))?;
        map.serialize_entry("step_seconds", &range.step)?;
        map.serialize_entry("tier", tier_word(range.tier))?;
        map.serialize_entry("length", &range.length)?;
        let is_of_samples = range.step == Tier::Minute.step();
        for figure in Figure::ALL {
            let curve = self.0.of(figure).map(|points| Curve { figure, points, is_of_samples });
            map.serialize_entry(figure.name(), &curve)?;
        }
        map.end()
    }
}

struct Moment(i64);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = Timestamp::from_timestamp(self.0, 0).unwrap_or_default();
        Rfc3339::of(time).as_str().serialize(serializer)
    }
}

struct Curve<'a> {
    figure: Figure,
    points: &'a [Point],
    is_of_samples: bool,
}

impl Serialize for Curve<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = |value: fn(Point, Figure) -> Option<f64>| Values { curve: self, value };
        let spread = |value| (!self.is_of_samples).then(|| values(value));
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("values", &values(Point::mean))?;
        map.serialize_entry("min", &spread(Point::smallest))?;
        map.serialize_entry("max", &spread(Point::largest))?;
        map.end()
    }
}

struct Values<'a> {
    curve: &'a Curve<'a>,
    value: fn(Point, Figure) -> Option<f64>,
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.curve.points.iter().map(|point| (self.value)(*point, self.curve.figure)))
    }
}
