//! Rounds: all that are to be compared are loaded one after the other, once in each and for so short a time that what
//! the machine does in the meantime is done to all of them. Every other round goes the other way, so that nobody always
//! comes first, or after the same one, who leaves the core's caches full of what is his.
//!
//! Where in memory a program comes to lie, and so what is in whose way in the core's caches, is decided when it starts,
//! and makes a tenth of its speed and more. Who is compared closely is therefore there several times, and takes turns
//! with himself.

use std::time::Duration;

use anyhow::Error;

use super::load::{Script, load};
use crate::support::median;

/// How many times somebody is there who is compared closely.
pub const STARTS: usize = 4;

/// To warm up each of them, both ways.
const WARM_UP: usize = 2 * STARTS;

/// Those that count: each of them as often one way as the other.
const ROUNDS: usize = 5 * WARM_UP;
const TIME: Duration = Duration::from_millis(250);

/// Somebody who answers something, or cannot.
pub struct Contender {
    name: &'static str,
    /// Of each of his processes.
    addresses: Vec<String>,
    script: Script,
    rates: Result<Vec<f64>, String>,
}

impl Contender {
    /// One that is there, and whose answer is right.
    pub fn new(name: &'static str, address: &str, script: Script) -> Self {
        Self::several(name, [address], script)
    }

    /// One that is there several times.
    pub fn several<'a>(name: &'static str, addresses: impl IntoIterator<Item = &'a str>, script: Script) -> Self {
        Self { name, addresses: addresses.into_iter().map(str::to_owned).collect(), script, rates: Ok(Vec::new()) }
    }

    /// One that is not, or whose answer is not.
    pub fn absent(name: &'static str, why: &Error) -> Self {
        Self { name, addresses: Vec::new(), script: Script::default(), rates: Err(format!("{why:#}")) }
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
    for round in 0..WARM_UP + ROUNDS {
        for turn in 0..count {
            let contender = &mut contenders[if round % 2 == 0 { count - 1 - turn } else { turn }];
            let Ok(rates) = &mut contender.rates else { continue };
            let address = &contender.addresses[round / 2 % contender.addresses.len()];
            match load(address, &contender.script, TIME).await {
                Ok(rate) if round >= WARM_UP => rates.push(rate),
                Ok(_) => {}
                Err(error) => contender.rates = Err(format!("{error:#}")),
            }
        }
    }
}
