//! In place of the exporter, in a build without the feature `otlp`: nothing is exported, and whoever asks for it is told.

use std::time::Duration;

use tracing::warn;

use super::settings::exporter_is_wanted;

/// Sends spans to a collector, in a build that can.
#[derive(Debug)]
pub struct NoExporter;

impl NoExporter {
    /// Sends what has not been sent, within this time.
    pub async fn shut_down(self, _time: Duration) {}
}

/// Begins to export spans of a service with this name, if the environment asks for it and this build can. Only a program
/// that runs until it is stopped tells that it cannot: a command that ends by itself would tell it each time.
pub fn start_exporter(_service: &'static str, is_daemon: bool) -> Option<NoExporter> {
    if let Some(variable) = exporter_is_wanted().filter(|_| is_daemon) {
        warn!("{variable} is set, but this program was built without the feature otlp and exports no spans");
    }
    None
}

/// Whether spans are exported.
pub fn is_exporting() -> bool {
    false
}
