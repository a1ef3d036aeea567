//! Rounds: all that are to be compared are loaded one after the other, once in each, so that what the machine does in the
//! meantime is done to all of them. Every other round goes the other way, so that nobody always comes first, or after
//! the same one, who leaves the core's caches full of what is his.

use std::time::Duration;

use anyhow::Error;

use super::load::{Script, load};
use crate::support::median;

/// Those that count, after one that warms up.
const ROUNDS: usize = 10;
const TIME: Duration = Duration::from_secs(1);

/// Somebody who answers something, or cannot.
pub struct Contender {
    name: &'static str,
    address: String,
    script: Script,
    rates: Result<Vec<f64>, String>,
}

impl Contender {
    /// One that is there, and whose answer is right.
    pub fn new(name: &'static str, address: &str, script: Script) -> Self {
        Self { name, address: address.to_owned(), script, rates: Ok(Vec::new()) }
    }

    /// One that is not, or whose answer is not.
    pub fn absent(name: &'static str, why: &Error) -> Self {
        Self { name, address: String::new(), script: Script::default(), rates: Err(format!("{why:#}")) }
    }

    /// How it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Requests per second.
    pub fn rate(&self) -> Result<f64, String> {
        self.rates.clone().map(median)
    }

    /// How many times the other's rate it has, round by round: what the machine does to one, it did to the other a moment
    /// later or before.
    pub fn ratio_to(&self, other: &Self) -> Option<f64> {
        let (ours, others) = (self.rates.as_ref().ok()?, other.rates.as_ref().ok()?);
        Some(median(ours.iter().zip(others).map(|(ours, other)| ours / other).collect()))
    }
}

/// Measures everybody who can answer.
pub async fn measure(contenders: &mut [Contender]) {
    let count = contenders.len();
    for round in 0..=ROUNDS {
        for turn in 0..count {
            let contender = &mut contenders[if round % 2 == 0 { count - 1 - turn } else { turn }];
            let Ok(rates) = &mut contender.rates else { continue };
            match load(&contender.address, &contender.script, TIME).await {
                Ok(rate) if round > 0 => rates.push(rate),
                Ok(_) => {}
                Err(error) => contender.rates = Err(format!("{error:#}")),
            }
        }
    }
}
