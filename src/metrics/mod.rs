//! Metrics: the instruments with which the other rooms count, and the text that Prometheus reads.
//!
//! An instrument is a handful of atomic numbers that belongs to whoever counts with it: there is no registry, no lock, and
//! no look-up by a name while a request is answered. What is counted is asked for only when somebody scrapes: each room that
//! counts is a [`Source`] and gives its [`Family`]s as plain values, and [`exposition`] writes them down. Which addresses
//! answer a scrape is not known here, but in `monitoring`.
//!
//! A label has few values, all of which the program decides, except zones: what clients choose (paths, ids, names) is none.

mod exposition;
mod family;
mod histogram;
mod process;

use std::sync::atomic::{AtomicU64, Ordering};

pub use self::exposition::{Format, escaped, render};
pub use self::family::{Family, Label};
pub use self::histogram::{Buckets, Histogram};
pub use self::process::Process;

/// Something that counts, and is asked for it at each scrape.
pub trait Source: Send + Sync {
    /// Adds its families, as they are now.
    fn collect(&self, families: &mut Vec<Family>);
}

impl<F: Fn(&mut Vec<Family>) + Send + Sync> Source for F {
    fn collect(&self, families: &mut Vec<Family>) {
        self(families);
    }
}

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts so many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many there were so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
