//! What systemd is told of the server, over the socket named by `NOTIFY_SOCKET` (sd_notify(3)): that it is ready, again
//! and again that it is alive, and that it is stopping. Without that variable nothing is told.
//!
//! "Alive" is what `/livez` says: that the loop turns. A server that has lost its database is alive, since a restart would
//! not bring the database back.

use std::future::pending;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How often the server says that it is alive within the time after which systemd kills it (`WatchdogSec=`).
const SIGNS_PER_WATCHDOG_TIME: u32 = 3;

/// Tells that the server listens, that it is alive for as long as it is not told to stop, and then that it is stopping.
pub async fn tell(shutdown: CancellationToken) {
    send(NotifyState::Ready);
    shutdown.run_until_cancelled(tell_signs_of_life()).await;
    send(NotifyState::Stopping);
}

/// Never ends, also if nobody has asked for signs of life.
async fn tell_signs_of_life() {
    let Some(time) = watchdog_enabled().filter(|time| !time.is_zero()) else { return pending().await };
    let mut ticks = interval(time / SIGNS_PER_WATCHDOG_TIME);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        send(NotifyState::Watchdog);
    }
}

fn send(state: NotifyState<'_>) {
    if let Err(error) = notify(&[state]) {
        warn!(%error, "systemd could not be told how the server is ($NOTIFY_SOCKET)");
    }
}
