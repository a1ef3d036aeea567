//! The progress of a simulation, on a terminal or in the log. What is counted is in `tally`.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tracing::info;

use super::options::SimulateOptions;
use super::tally::{Summary, whole_seconds};

/// How often the line on a terminal is redrawn.
const REDRAW_INTERVAL: Duration = Duration::from_millis(250);

/// How often a line is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

const WITH_AN_END: &str = "{spinner} [{bar:20}] {elapsed} of {len} s  {wide_msg}";
const WITHOUT_AN_END: &str = "{spinner} {elapsed}  {wide_msg}";

/// Whether a simulation shows how it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A line that is redrawn if standard error is a terminal, otherwise a log line now and then.
    Bar,
    /// Nothing, for a simulation beside other tasks.
    Quiet,
}

pub(super) enum Display {
    Bar(ProgressBar),
    Log,
    Quiet,
}

impl Display {
    pub(super) fn new(progress: Progress, options: &SimulateOptions) -> Self {
        match progress {
            Progress::Quiet => Self::Quiet,
            Progress::Bar if !std::io::stderr().is_terminal() => Self::Log,
            Progress::Bar => Self::Bar(bar(options.duration)),
        }
    }

    /// The ticks at which to [`show`](Self::show).
    pub(super) fn ticks(&self) -> Interval {
        let period = match self {
            Self::Bar(_) => REDRAW_INTERVAL,
            Self::Log | Self::Quiet => LOG_INTERVAL,
        };
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }

    pub(super) fn show(&mut self, summary: &Summary) {
        match self {
            Self::Bar(bar) => {
                bar.set_position(summary.elapsed.as_secs());
                bar.set_message(line(summary));
                bar.tick();
            }
            Self::Log => info!(
                beats = summary.heartbeats,
                failed = summary.failed(),
                "Simulating for {}: {}",
                whole_seconds(summary.elapsed),
                line(summary)
            ),
            Self::Quiet => {}
        }
    }

    /// Removes the line from the terminal, for the summary.
    pub(super) fn clear(&self) {
        match self {
            Self::Bar(bar) => bar.finish_and_clear(),
            Self::Log | Self::Quiet => {}
        }
    }
}

/// A bar if the duration is limited, else a spinner.
fn bar(duration: Option<Duration>) -> ProgressBar {
    let (bar, template) = match duration {
        Some(duration) => (ProgressBar::new(duration.as_secs()), WITH_AN_END),
        None => (ProgressBar::no_length(), WITHOUT_AN_END),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        // If the template were invalid, the bar would look otherwise, and the simulation would run.
        Err(_) => bar,
    }
}

fn line(summary: &Summary) -> String {
    let registered = summary.registrations - summary.registrations_again;
    format!(
        "{registered}/{} workers, {} beats, {:.1}/s, {} failed, p50 {:.1?}, p99 {:.1?}",
        summary.workers,
        summary.heartbeats,
        summary.heartbeats_per_second(),
        summary.failed(),
        summary.latency.p50,
        summary.latency.p99,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_parse() {
        for template in [WITH_AN_END, WITHOUT_AN_END] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
