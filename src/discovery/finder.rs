//! Keeps the list of servers that Consul names. It does not choose one of them: `agent::servers` does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info};

use super::consul::{CallError, Consul, ServiceListing};
use super::outage_log::{OutageLog, Purpose};
use super::service::SERVER;

/// Consul is asked no more often, however often its answer changes.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Longest wait after a failure. A whole fleet may ask one Consul, so there is chance in it.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// After a refusal, which only an operator can mend.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// The servers that a finder has found last: base URLs, none as long as none was found. The last list that had a server
/// in it stays.
#[derive(Debug)]
pub struct ServerList {
    servers: watch::Receiver<Vec<String>>,
    /// Has the finder ask anew.
    refresh: Arc<Notify>,
}

impl ServerList {
    /// A list that somebody keeps.
    pub fn new(servers: watch::Receiver<Vec<String>>) -> Self {
        Self { servers, refresh: Arc::default() }
    }

    /// The list, if it is another one than when it was taken last.
    pub fn take_if_changed(&mut self) -> Option<Vec<String>> {
        // Of a finder that has ended, there is no news.
        let has_changed = self.servers.has_changed().unwrap_or(false);
        has_changed.then(|| self.servers.borrow_and_update().clone())
    }

    /// Waits until the list is another one, to be taken then.
    pub async fn changed(&mut self) {
        match self.servers.changed().await {
            Ok(()) => self.servers.mark_changed(),
            Err(_) => std::future::pending().await,
        }
    }

    /// None of the servers answers, so Consul is to be asked anew, although it has not told of a change: after its index
    /// was set back, it would not for minutes.
    pub fn refresh(&self) {
        self.refresh.notify_one();
    }
}

/// Follows the list of servers.
#[derive(Debug)]
pub struct Finder {
    consul: Consul,
    servers: watch::Sender<Vec<String>>,
    refresh: Arc<Notify>,
    log: OutageLog,
    /// The last answer, which may be empty.
    named: Vec<String>,
}

impl Finder {
    /// A finder, and where its list is to be read.
    pub fn new(consul: Consul) -> (Self, ServerList) {
        let (servers, list) = watch::channel(Vec::new());
        let list = ServerList::new(list);
        let refresh = Arc::clone(&list.refresh);
        let purpose = Purpose {
            undone: "no further servers are found".to_owned(),
            rule: format!("service:read on {SERVER:?} and node:read on all nodes"),
        };
        (Self { consul, servers, refresh, log: OutageLog::new(purpose, None), named: Vec::new() }, list)
    }

    /// Follows it for ever.
    pub async fn run(mut self) -> Infallible {
        let mut ticks = interval(SHORTEST_PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut index, mut failures) = (None, 0);
        loop {
            ticks.tick().await;
            let answer = tokio::select! {
                answer = self.consul.list_servers(index) => answer,
                () = self.refresh.notified(), if index.is_some() => {
                    index = None;
                    continue;
                }
            };
            match answer.and_then(visible) {
                Ok(listing) => {
                    failures = 0;
                    self.note(listing.servers);
                    index = next_index(index, listing.index);
                }
                Err(error) => {
                    debug!(%error, "Consul did not tell the servers");
                    self.log.failed(&error);
                    index = None;
                    let pause = pause_after(&error, failures, rand::random());
                    failures = failures.saturating_add(1);
                    sleep(pause).await;
                }
            }
        }
    }

    /// Logs an answer that differs from the last one, or follows a failure, and keeps it unless it is empty.
    fn note(&mut self, named: Vec<String>) {
        if !self.log.succeeded() && self.named == named {
            return;
        }
        if named.is_empty() {
            info!("Consul names no server, so the last list of {} stays", self.servers.borrow().len());
        } else {
            info!(servers = named.len(), "Consul names these servers: {}", named.join(", "));
            self.servers.send_if_modified(|known| {
                let is_new = *known != named;
                known.clone_from(&named);
                is_new
            });
        }
        self.named = named;
    }
}

/// The servers that Consul names now, for those who ask once.
pub async fn find_servers(consul: &Consul) -> Result<Vec<String>, String> {
    let found = consul.list_servers(None).await.and_then(visible);
    found.map(|found| found.servers).map_err(|error| error.to_string())
}

/// A list that is empty because the token may not see anything is a refusal, although it is answered with 200.
fn visible(found: ServiceListing) -> Result<ServiceListing, CallError> {
    if found.servers.is_empty() && found.is_filtered {
        return Err(CallError::Forbidden { message: "it hides servers from this token".to_owned() });
    }
    Ok(found)
}

/// The index to ask with next: none, to start over, if the new one is 0 or has fallen, as after a restart of Consul.
fn next_index(last: Option<u64>, new: u64) -> Option<u64> {
    (new > 0 && last.is_none_or(|last| new >= last)).then_some(new)
}

fn pause_after(error: &CallError, failures: u32, roll: f64) -> Duration {
    match error {
        CallError::Forbidden { .. } => PAUSE_AFTER_REFUSAL,
        CallError::Unknown { .. } | CallError::Unavailable { .. } => {
            let ceiling = SHORTEST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE);
            ceiling.mul_f64(roll.clamp(0.0, 1.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_falls_or_is_nothing_starts_over() {
        for (last, new, next) in [
            (None, 5, Some(5)),
            (Some(5), 6, Some(6)),
            (Some(5), 5, Some(5)),
            (Some(5), 4, None),
            (Some(5), 0, None),
            (None, 0, None),
        ] {
            assert_eq!(next_index(last, new), next, "{last:?} {new}");
        }
    }

    #[test]
    fn a_list_that_the_token_may_not_see_is_a_refusal() {
        let found = |servers: &[&str], is_filtered| ServiceListing {
            index: 1,
            servers: servers.iter().map(|url| (*url).to_owned()).collect(),
            is_filtered,
        };
        assert!(matches!(visible(found(&[], true)), Err(CallError::Forbidden { .. })));
        assert!(visible(found(&[], false)).is_ok());
        assert!(visible(found(&["http://a:1"], true)).is_ok(), "what is seen is of use");
    }

    #[test]
    fn failures_are_followed_by_longer_pauses_and_refusals_by_a_minute() {
        let unavailable = CallError::Unavailable { message: String::new() };
        for (failures, roll, seconds) in
            [(0, 1.0, 1.0), (1, 1.0, 2.0), (3, 0.5, 4.0), (9, 1.0, 15.0), (u32::MAX, 1.0, 15.0)]
        {
            assert_eq!(pause_after(&unavailable, failures, roll), Duration::from_secs_f64(seconds), "{failures}");
        }
        let refused = CallError::Forbidden { message: String::new() };
        assert_eq!(pause_after(&refused, 0, 0.0), Duration::from_secs(60));
    }
}
