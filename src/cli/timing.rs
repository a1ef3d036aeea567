//! The flags of heartbeats, which every command that runs a server has.

use aetherium::config::DurationSetting;
use aetherium::timing::Timing;
use anyhow::ensure;
use clap::Args;

#[derive(Args, Clone, Copy, Debug)]
pub struct TimingOptions {
    /// How long a worker may be silent before it counts as offline.
    #[arg(long, env = "AETHERIUM_OFFLINE_AFTER", value_name = "DURATION",
          default_value_t = DurationSetting(Timing::OFFLINE_AFTER))]
    offline_after: DurationSetting,

    /// How long workers are told to wait from one heartbeat to the next.
    #[arg(long, env = "AETHERIUM_HEARTBEAT_INTERVAL", value_name = "DURATION",
          default_value_t = DurationSetting(Timing::HEARTBEAT_INTERVAL))]
    heartbeat_interval: DurationSetting,
}

impl TimingOptions {
    pub fn timing(self) -> Timing {
        Timing { offline_after: self.offline_after.0, heartbeat_interval: self.heartbeat_interval.0 }
    }

    /// Refuses times with which no worker would ever be online.
    pub fn check(self) -> anyhow::Result<()> {
        let Timing { offline_after, heartbeat_interval } = self.timing();
        ensure!(
            heartbeat_interval < offline_after,
            "Workers that beat every {heartbeat_interval:?} would always be offline after {offline_after:?}; \
             make --offline-after a few times as long as --heartbeat-interval"
        );
        Ok(())
    }
}
