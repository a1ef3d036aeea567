//! What a host measured of its load. It is no part of the state: heartbeats carry it, and only curves are made of it.

/// The load of a host, as its agent measured it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredLoad {
    /// For how many seconds CPU cores were busy, all of them together, since the host or its agent was started. It goes
    /// back when that is started again.
    pub cpu_busy_seconds: Option<f64>,
    /// Memory in use, in MiB.
    pub memory_used_mb: Option<u32>,
    /// Load average of one minute.
    pub load1: Option<f64>,
}
