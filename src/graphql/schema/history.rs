//! History: how figures went, as curves.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, Enum, Object, Result, SelectionField};

use super::scalars::DateTime;
use super::value_types::{FromDomain, Int};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::graphql::execution::budget::Budget;
use crate::graphql::execution::loader::HistoryLoader;
use crate::history::{Curves, Figure, Figures, HistoryQuery, HistoryRange, Point, Subject, Tier};
use crate::resolvers::history::{CurvesKey, steps_of_points, steps_to_read_curves};
use crate::resolvers::{Reading, Resolvers};

/// How figures went, as curves with the same points: point `i` of each is about the `stepSeconds` from `start` plus `i` times
/// `stepSeconds` on. A curve without any sample is null.
pub struct History(Curves);

/// How finely history is kept.
#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
pub enum HistoryTier {
    /// A sample each minute, for 26 hours.
    Minute,
    /// Count, sum, smallest and largest sample of each quarter of an hour, for 35 days.
    QuarterHour,
    /// The same of each six hours, for 397 days.
    SixHours,
}

impl From<Tier> for HistoryTier {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Minute => Self::Minute,
            Tier::QuarterHour => Self::QuarterHour,
            Tier::SixHours => Self::SixHours,
        }
    }
}

/// How one figure went.
pub struct HistoryCurve {
    figure: Figure,
    points: Vec<Point>,
    is_of_samples: bool,
}

/// The arguments of a history, as sent.
pub fn history_query(
    since: Option<DateTime>,
    until: Option<DateTime>,
    range_seconds: Option<i32>,
    max_points: i32,
) -> HistoryQuery {
    HistoryQuery {
        since: since.map(|since| since.0),
        until: until.map(|until| until.0),
        range_seconds: range_seconds.map(Into::into),
        max_points: Some(max_points.into()),
    }
}

impl History {
    /// The history of a subject, loaded together with those of others in a list.
    pub async fn about(ctx: &Context<'_>, subject: Subject, query: HistoryQuery) -> Result<Self> {
        let now = match ctx.data_opt::<Reading>() {
            Some(reading) => reading.view().now,
            None => ctx.data::<Resolvers>()?.present().view().now,
        };
        // Here, where a refusal is of this field only: those that are loaded together fail together.
        let range = query.check(now)?;
        let selected =
            |field: SelectionField<'_>| Figure::ALL.into_iter().find(|figure| is_named(*figure, field.name()));
        let figures: Figures = ctx.field().selection_set().filter_map(selected).collect();
        // Paid for before they are loaded, as events are.
        let is_paid = Budget::pay(ctx, usize::try_from(steps_to_read_curves(&query, figures.count()))?)?;
        let key = CurvesKey { subject, range, figures };
        let curves = if is_paid { ctx.data::<DataLoader<HistoryLoader>>()?.load_one(key).await? } else { None };
        // The response is refused as a whole, if it is not paid for.
        curves.map(Self).ok_or_else(|| Error::ShuttingDown.into())
    }

    fn range(&self) -> &HistoryRange {
        &self.0.range
    }

    fn curve(&self, figure: Figure) -> Option<HistoryCurve> {
        let points = self.0.of(figure)?.to_vec();
        Some(HistoryCurve { figure, points, is_of_samples: self.range().step == Tier::Minute.step() })
    }
}

/// How figures went, as curves with the same points: point `i` of each is about the `stepSeconds` from `start` plus `i` times
/// `stepSeconds` on. A curve without any sample is null.
#[Object]
impl History {
    /// When the first point begins: a multiple of the step since 1970, so that points stay where they are.
    async fn start(&self) -> Result<DateTime> {
        moment(self.range().start)
    }

    /// When the last point ends. It may not be over yet.
    async fn end(&self) -> Result<DateTime> {
        moment(self.range().end())
    }

    /// How many seconds a point stands for: the fewest with which there are not too many points.
    async fn step_seconds(&self) -> i32 {
        Int::of(self.range().step)
    }

    /// What the points are made of: the finest tier that reaches back to the start.
    async fn tier(&self) -> HistoryTier {
        self.range().tier.into()
    }

    /// How many points each curve has.
    async fn length(&self) -> i32 {
        Int::of(self.range().length)
    }

    /// CPU cores.
    async fn cpu_cores(&self) -> Option<HistoryCurve> {
        self.curve(Figure::CpuCores)
    }

    /// Memory, in MiB.
    async fn memory_mb(&self) -> Option<HistoryCurve> {
        self.curve(Figure::MemoryMb)
    }

    /// Disk, in GB.
    async fn disk_gb(&self) -> Option<HistoryCurve> {
        self.curve(Figure::DiskGb)
    }

    /// How many VMs there may be.
    async fn max_vms(&self) -> Option<HistoryCurve> {
        self.curve(Figure::MaxVms)
    }

    /// CPU cores allocated to VMs.
    async fn used_cpu_cores(&self) -> Option<HistoryCurve> {
        self.curve(Figure::UsedCpuCores)
    }

    /// Memory allocated to VMs, in MiB.
    async fn used_memory_mb(&self) -> Option<HistoryCurve> {
        self.curve(Figure::UsedMemoryMb)
    }

    /// Disk allocated to VMs, in GB.
    async fn used_disk_gb(&self) -> Option<HistoryCurve> {
        self.curve(Figure::UsedDiskGb)
    }

    /// VMs that hold a slot.
    async fn vm_count(&self) -> Option<HistoryCurve> {
        self.curve(Figure::VmCount)
    }

    /// CPU cores that were busy, as hosts measured it. Only agents that send it have it.
    async fn measured_cpu_cores(&self) -> Option<HistoryCurve> {
        self.curve(Figure::MeasuredCpuCores)
    }

    /// Memory in use on hosts, in MiB, as they measured it.
    async fn measured_memory_mb(&self) -> Option<HistoryCurve> {
        self.curve(Figure::MeasuredMemoryMb)
    }

    /// Load average of one minute, as hosts measured it; of many hosts, the sum.
    async fn measured_load1(&self) -> Option<HistoryCurve> {
        self.curve(Figure::MeasuredLoad1)
    }

    /// Registered workers; null for the history of a worker.
    async fn workers(&self) -> Option<HistoryCurve> {
        self.curve(Figure::Workers)
    }

    /// Workers of them that are online; null for the history of a worker.
    async fn online_workers(&self) -> Option<HistoryCurve> {
        self.curve(Figure::OnlineWorkers)
    }

    /// Workers whose measured load is in the measured curves; null for the history of a worker. With several servers,
    /// those that the one of them heard that heard most.
    async fn measured_workers(&self) -> Option<HistoryCurve> {
        self.curve(Figure::MeasuredWorkers)
    }
}

/// How one figure went.
#[Object]
impl HistoryCurve {
    /// The mean of the samples of each point; null where there is none, which is not 0.
    async fn values(&self, ctx: &Context<'_>) -> Result<Vec<Option<f64>>> {
        self.list(ctx, Point::mean)
    }

    /// The smallest sample of each point; null as a whole if the step is a minute, since each point is one sample then.
    async fn min(&self, ctx: &Context<'_>) -> Result<Option<Vec<Option<f64>>>> {
        (!self.is_of_samples).then(|| self.list(ctx, Point::smallest)).transpose()
    }

    /// The largest sample of each point: a spike of a minute is here however long a point is. Null as a whole as `min` is.
    async fn max(&self, ctx: &Context<'_>) -> Result<Option<Vec<Option<f64>>>> {
        (!self.is_of_samples).then(|| self.list(ctx, Point::largest)).transpose()
    }
}

impl HistoryCurve {
    /// A value of each point; an empty list if the budget does not suffice, which replaces the response.
    fn list(&self, ctx: &Context<'_>, value: fn(Point, Figure) -> Option<f64>) -> Result<Vec<Option<f64>>> {
        let steps = steps_of_points(self.points.len().try_into()?);
        let is_paid = Budget::pay(ctx, usize::try_from(steps)?)?;
        let points = if is_paid { &*self.points } else { &[] };
        Ok(points.iter().map(|point| value(*point, self.figure)).collect())
    }
}

/// Whether a field is the curve of a figure: it has the name that REST has, in GraphQL's spelling.
fn is_named(figure: Figure, field: &str) -> bool {
    let letters = figure.name().bytes().filter(|letter| *letter != b'_');
    letters.eq(field.bytes().map(|letter| letter.to_ascii_lowercase()))
}

fn moment(seconds: i64) -> Result<DateTime> {
    Ok(DateTime(Timestamp::from_timestamp(seconds, 0).ok_or("the time is out of range")?))
}
