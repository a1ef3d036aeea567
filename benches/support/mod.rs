//! What the benchmarks share: the programs that are measured, what the system says of them, and a fleet to fill them with.
//!
//! Each benchmark is a program of its own that takes this folder in by its path; what is measured, and how it is shown, is
//! theirs.

#![allow(dead_code, unused_imports, reason = "no benchmark needs all of it")]

mod core;
pub mod documents;
mod files;
mod fleet;
pub mod load;
mod postgres;
mod program;
mod socket;

pub use self::core::Core;
pub use self::files::open_more_files;
pub use self::fleet::{Fleet, beat, registration};
pub use self::postgres::Postgres;
pub use self::program::{Program, Threads};
pub use self::socket::{Socket, introduce, subscribe, subscribe_with, tell};

/// The middle one; the upper of two.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Three digits that count, and no more.
pub fn digits(number: f64) -> String {
    match number.abs() {
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        1.0.. => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}
