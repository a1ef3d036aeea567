//! Reading while 2,000 changes a second come in, against reading while nothing happens.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::Wanted;
use super::beats::hundred;
use super::load::Connection;
use super::new_document::{milliseconds, time};
use super::ours::Ours;
use super::questions::Question;
use super::table::{Line, Table, Target};
use crate::support::median;

/// Changes in one body, and bodies a second.
const CHANGES: usize = 40;
const BODIES_PER_SECOND: u32 = 50;

/// From one read to the next. No multiple of the time between two bodies, so that reads meet them at every stage.
const PAUSE: Duration = Duration::from_millis(7);
const TIME: Duration = Duration::from_secs(3);

/// Those that count, after one that warms up.
const ROUNDS: usize = 3;

/// Compares all that is wanted.
pub async fn compare(wanted: &Wanted, table: &mut Table) -> Result<()> {
    for question in [Question::AllWorkers, Question::Q2] {
        let figure = format!("{}-while-busy", question.name());
        if !wanted.has(&figure) {
            continue;
        }
        let ours = Ours::start(None).await?;
        let (mut quiet, mut busy) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let calm = latency(ours.address(), question).await?;
            let stormy = tokio::select! {
                latency = latency(ours.address(), question) => latency?,
                never = change(ours.address()) => never?,
            };
            if round > 0 {
                quiet.push(calm);
                busy.push(stormy);
            }
        }
        let against = ("nothing coming in", Ok(median(quiet)));
        table.add(Line::ratio(&figure, "ms", Ok(median(busy)), against, Target::AtMost(1.2)));
    }
    Ok(())
}

/// The median time that an answer takes, in milliseconds.
async fn latency(address: &str, question: Question) -> Result<f64> {
    let mut connection = Connection::open(address).await?;
    let (request, mut times) = (question.request(), Vec::new());
    let end = Instant::now() + TIME;
    while Instant::now() < end {
        let next = Instant::now() + PAUSE;
        times.push(milliseconds(time(&mut connection, &request).await?));
        sleep_until(next).await;
    }
    Ok(median(times))
}

/// Lets changes come in for as long as somebody waits for it.
async fn change<T>(address: &str) -> Result<T> {
    let mut connection = Connection::open(address).await?;
    let mut ticks = interval(Duration::from_secs(1) / BODIES_PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0.. {
        ticks.tick().await;
        connection.exchange(&hundred(round, round / 25 % 4, CHANGES), |_| ()).await?;
    }
    unreachable!("it goes on until it is dropped")
}
