//! Figures: what is wanted of each, and the table of them, in Markdown.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::Instant;

use super::history::wait_for_quiet;
use super::support::load::{Connection, Request};
use super::support::{digits, median};

/// How many times that of the smallest fleet a figure may be that should not grow: what a machine scatters.
const STEADY: f64 = 1.5;

/// How many answers the median is of: at least so many, and of quick ones as many as come within a time, up to a bound.
const FEWEST: usize = 15;
const LONG_ENOUGH: Duration = Duration::from_millis(500);
const MOST: usize = 101;

/// Answers before those that count.
const WARM_UP: usize = 3;

/// What is wanted of a figure. Bounds are meant for 100,000 workers; a smaller fleet, if it is the largest, is held to them
/// as well.
#[derive(Clone, Copy, PartialEq)]
enum Target {
    /// With the largest fleet, at most [`STEADY`] times that of the smallest.
    Steady,
    /// At most this with the largest fleet.
    AtMost(f64),
    /// At least this with the largest fleet.
    AtLeast(f64),
    /// None.
    Informational,
}

/// What is measured.
#[derive(Clone, PartialEq)]
pub struct Figure {
    name: String,
    unit: &'static str,
    target: Target,
}

impl Figure {
    /// One that should not grow with the fleet.
    pub fn steady(name: impl Into<String>, unit: &'static str) -> Self {
        Self::new(name, unit, Target::Steady)
    }

    /// One with a bound.
    pub fn at_most(bound: f64, name: impl Into<String>, unit: &'static str) -> Self {
        Self::new(name, unit, Target::AtMost(bound))
    }

    /// One that should reach something.
    pub fn at_least(bound: f64, name: impl Into<String>, unit: &'static str) -> Self {
        Self::new(name, unit, Target::AtLeast(bound))
    }

    /// One of which nothing is wanted, because it is of all there is, or explains another.
    pub fn informational(name: impl Into<String>, unit: &'static str) -> Self {
        Self::new(name, unit, Target::Informational)
    }

    fn new(name: impl Into<String>, unit: &'static str, target: Target) -> Self {
        Self { name: name.into(), unit, target }
    }
}

/// The figures of one fleet, in the order in which they are measured.
#[derive(Default)]
pub struct Column(Vec<(Figure, f64)>);

impl Column {
    /// Adds a figure.
    pub fn add(&mut self, figure: Figure, value: f64) {
        self.0.push((figure, value));
    }

    /// Adds the median time of an answer in milliseconds; the request may be another one each turn.
    pub async fn time(
        &mut self,
        figure: Figure,
        connection: &mut Connection,
        request: impl Fn(usize) -> Request,
    ) -> Result<()> {
        wait_for_quiet().await;
        let mut times = Vec::new();
        let mut began = Instant::now();
        for turn in 0.. {
            if turn == WARM_UP {
                began = Instant::now();
            }
            let request = request(turn);
            let asked = Instant::now();
            connection.exchange(&request, |_| ()).await?;
            times.push(asked.elapsed().as_secs_f64() * 1e3);
            if is_enough(times.len(), began) {
                break;
            }
        }
        self.add(figure, median(times.split_off(WARM_UP)));
        Ok(())
    }
}

/// Whether the median may be taken of so many times, of which the first are [`WARM_UP`].
fn is_enough(times: usize, began: Instant) -> bool {
    let count = times.saturating_sub(WARM_UP);
    count >= MOST || count >= FEWEST && began.elapsed() >= LONG_ENOUGH
}

/// A row for each figure: a column for each fleet, how many times the first the last is, what is wanted, and whether that
/// is met.
pub struct Table {
    head: String,
    columns: Vec<(usize, Column)>,
}

impl Table {
    /// One without columns.
    pub fn new(head: String) -> Self {
        Self { head, columns: Vec::new() }
    }

    /// Adds the figures of a fleet of so many workers.
    pub fn add(&mut self, workers: usize, column: Column) -> Result<()> {
        let names = |column: &Column| column.0.iter().map(|(figure, _)| figure.clone()).collect::<Vec<_>>();
        if let Some((_, first)) = self.columns.first() {
            ensure!(names(first) == names(&column), "figures of another name than those before");
        }
        self.columns.push((workers, column));
        Ok(())
    }

    /// Prints it, in Markdown.
    pub fn print(&self) {
        let mut rows = vec![self.heads()];
        let first = self.columns.first().map(|(_, column)| column);
        for (place, (figure, _)) in first.into_iter().flat_map(|column| column.0.iter()).enumerate() {
            let values: Vec<f64> = self.columns.iter().map(|(_, column)| column.0[place].1).collect();
            rows.push(row(figure, &values));
        }
        let width = |place: usize| rows.iter().map(|row| row[place].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        let is_number = |place: usize| (1..=self.columns.len() + 1).contains(&place);
        println!();
        for (line, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate().map(|(place, (cell, &width))| {
                if is_number(place) { format!(" {cell:>width$} |") } else { format!(" {cell:<width$} |") }
            });
            println!("|{}", cells.collect::<String>());
            if line == 0 {
                let rules = widths.iter().enumerate().map(|(place, &width)| {
                    let dashes = "-".repeat(width + usize::from(!is_number(place)));
                    if is_number(place) { format!("-{dashes}:|") } else { format!("-{dashes}|") }
                });
                println!("|{}", rules.collect::<String>());
            }
        }
    }

    fn heads(&self) -> Vec<String> {
        let sizes = self.columns.iter().map(|(workers, _)| thousands(*workers));
        let ends = ["last/first", "target", "verdict"].map(str::to_owned);
        [self.head.clone()].into_iter().chain(sizes).chain(ends).collect()
    }
}

fn row(figure: &Figure, values: &[f64]) -> Vec<String> {
    let (first, last) = (values[0], values[values.len() - 1]);
    let growth = last / first;
    let (wanted, met) = match figure.target {
        Target::Steady => (format!("<= {STEADY} times"), Some(growth <= STEADY)),
        Target::AtMost(bound) => (format!("<= {bound} {}", figure.unit), Some(last <= bound)),
        Target::AtLeast(bound) => (format!(">= {bound} {}", figure.unit), Some(last >= bound)),
        Target::Informational => (String::new(), None),
    };
    let verdict = match met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    };
    let name = format!("{}, {}", figure.name, figure.unit);
    let values = values.iter().map(|value| digits(*value));
    [name].into_iter().chain(values).chain([format!("{growth:.2}"), wanted, verdict.to_owned()]).collect()
}

/// A number with a comma before each three digits.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = (0..digits.len().div_ceil(3))
        .rev()
        .map(|group| &digits[digits.len().saturating_sub(3 * (group + 1))..digits.len() - 3 * group])
        .collect();
    groups.join(",")
}
