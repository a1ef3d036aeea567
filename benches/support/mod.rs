//! What the benchmarks share: the programs that are measured, what the system says of them, and a fleet to fill them with.
//!
//! Each benchmark is a program of its own that takes this folder in by its path; what is measured, and how it is shown, is
//! theirs.

#![allow(dead_code, unused_imports, reason = "no benchmark needs all of it")]

mod core;
pub mod documents;
mod fleet;
pub mod load;
mod postgres;
mod program;
mod socket;

pub use self::core::Core;
pub use self::fleet::{Fleet, beat, registration};
pub use self::postgres::Postgres;
pub use self::program::Program;
pub use self::socket::{Socket, introduce, subscribe, tell};

/// The middle one; the upper of two.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
