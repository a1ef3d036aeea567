//! Notifications to systemd over the socket named by `NOTIFY_SOCKET` (sd_notify(3)): that the server is ready, again and
//! again that it is alive, and that it is stopping. Without that variable nothing is sent.
//!
//! "Alive" is what `/livez` says: that the loop turns. A server that has lost its database is alive, since a restart would
//! not bring the database back.

use std::future::pending;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How often the server reports that it is alive within the time after which systemd kills it (`WatchdogSec=`).
const SIGNS_PER_WATCHDOG_TIME: u32 = 3;

/// Notifies systemd that the server listens, until the shutdown that it is alive, and then that it is stopping.
pub async fn notify_service_manager(shutdown: CancellationToken) {
    send(NotifyState::Ready);
    shutdown.run_until_cancelled(notify_watchdog()).await;
    send(NotifyState::Stopping);
}

/// Notifies systemd again and again that the server is alive. Never ends, also where no watchdog is set.
async fn notify_watchdog() {
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
        warn!(%error, "systemd could not be notified ($NOTIFY_SOCKET)");
    }
}
