//! Which server a worker reports to: the one that its operator named, or one of those that Consul names.
//!
//! A worker stays with a server until that fails, or until Consul names it no more. Each worker has an order of
//! preference of its own, so that a fleet spreads over the servers, and the workers of one that is gone over all that
//! are left.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tracing::info;

use crate::client::{Client, ClientError, RetryLimits};
use crate::discovery::ServerList;

/// In how many parts at most the time for an answer is cut.
const MOST_SHARES: usize = 4;

/// The servers that a worker may report to, and the one that it does.
#[derive(Debug)]
pub(super) struct Servers {
    worker_id: String,
    /// What Consul names, if it is asked.
    found: Option<ServerList>,
    /// What the operator named; the last one to try, if Consul names others.
    named: Option<Server>,
    /// In the order in which they are tried.
    candidates: Vec<Server>,
    /// Which of them is in use.
    current: usize,
    /// How many have failed in turn.
    failed: usize,
    /// The last one that answered.
    answered: Option<String>,
    request_timeout: Duration,
}

#[derive(Clone, Debug)]
struct Server {
    url: String,
    client: Client,
}

impl Servers {
    /// The server that the operator named, and those that Consul will name.
    pub(super) fn new(worker_id: &str, named: Option<&str>, found: Option<ServerList>) -> Result<Self, ClientError> {
        let named = named.map(Server::new).transpose()?;
        Ok(Self {
            worker_id: worker_id.to_owned(),
            found,
            candidates: named.iter().cloned().collect(),
            named,
            current: 0,
            failed: 0,
            answered: None,
            request_timeout: RetryLimits::default().request_timeout,
        })
    }

    /// How long all servers together may take to answer.
    pub(super) fn set_request_timeout(&mut self, request_timeout: Duration) {
        self.request_timeout = request_timeout;
    }

    /// A client of the server to call, as soon as there is one.
    pub(super) async fn client(&mut self) -> Client {
        self.heed_consul();
        if self.candidates.is_empty() {
            info!(worker.id = %self.worker_id, "Worker {} waits for Consul to name a server", self.worker_id);
        }
        loop {
            if let Some(server) = self.candidates.get(self.current) {
                return server.client.clone().with_timeout(self.time_for_each());
            }
            match &mut self.found {
                Some(found) => found.changed().await,
                // Never reached: without Consul there is the server that the operator named.
                None => std::future::pending().await,
            }
            self.heed_consul();
        }
    }

    /// Clients of all servers, beginning with the one in use.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = Client> {
        let (before, from_here) = self.candidates.split_at(self.current);
        from_here.iter().chain(before).map(|server| server.client.clone().with_timeout(self.time_for_each()))
    }

    /// The server in use has answered.
    pub(super) fn succeeded(&mut self) {
        self.failed = 0;
        let Some(Server { url, .. }) = self.candidates.get(self.current) else { return };
        if self.found.is_some() && self.answered.as_ref() != Some(url) {
            info!(worker.id = %self.worker_id, "Worker {} reports to {url}", self.worker_id);
            self.answered = Some(url.clone());
        }
    }

    /// The server in use has failed: turns to the next. Answers whether that one may be tried at once, which it is
    /// unless all have failed in turn.
    pub(super) fn failed(&mut self) -> bool {
        let count = self.candidates.len().max(1);
        self.current = (self.current + 1) % count;
        self.failed = (self.failed + 1) % count;
        if self.failed == 0
            && let Some(found) = &self.found
        {
            found.ask_again();
        }
        self.failed > 0
    }

    /// Servers share the time that one would have, so that it takes no longer to find one that lives than to give up
    /// the only one there is.
    fn time_for_each(&self) -> Duration {
        let shares = self.candidates.len().clamp(1, MOST_SHARES);
        self.request_timeout.div_f64(shares as f64)
    }

    /// Takes over a new list. A server that is on it stays in use.
    fn heed_consul(&mut self) {
        let Some(urls) = self.found.as_mut().and_then(ServerList::take_if_changed) else { return };
        let urls = in_order_of_preference(&self.worker_id, urls);
        let current = self.candidates.get(self.current).map(|server| server.url.clone());
        let is_found = |url: &String| urls.contains(url);
        let kept = current.filter(is_found);
        let known = std::mem::take(&mut self.candidates);
        let server = |url: &String| match known.iter().find(|server| server.url == *url) {
            Some(server) => Some(server.clone()),
            None => Server::new(url).ok(),
        };
        self.candidates = urls.iter().filter_map(server).collect();
        let listed: HashSet<&String> = urls.iter().collect();
        self.candidates.extend(self.named.iter().filter(|named| !listed.contains(&named.url)).cloned());
        self.current = self.candidates.iter().position(|server| kept.as_ref() == Some(&server.url)).unwrap_or(0);
        self.failed = 0;
    }
}

impl Server {
    fn new(url: &str) -> Result<Self, ClientError> {
        Ok(Self { url: url.to_owned(), client: Client::new(url)? })
    }
}

/// Sorts by a number that each pair of a worker and a server has (rendezvous hashing).
fn in_order_of_preference(worker_id: &str, mut urls: Vec<String>) -> Vec<String> {
    urls.sort_by_cached_key(|url| {
        let mut hasher = DefaultHasher::new();
        (worker_id, url).hash(&mut hasher);
        hasher.finish()
    });
    urls
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::sync::watch;

    use super::*;

    fn list(urls: &[&str]) -> Vec<String> {
        urls.iter().map(|url| (*url).to_owned()).collect()
    }

    const A: &str = "http://a:1";
    const B: &str = "http://b:1";
    const C: &str = "http://c:1";
    const NAMED: &str = "http://named:1";

    /// Servers that Consul names for `w1`, and where to name others.
    fn found(named: Option<&str>, urls: &[&str]) -> (watch::Sender<Vec<String>>, Servers) {
        let (sender, receiver) = watch::channel(Vec::new());
        let servers = Servers::new("w1", named, Some(ServerList::new(receiver))).unwrap();
        sender.send_replace(list(urls));
        (sender, servers)
    }

    async fn in_use(servers: &mut Servers) -> String {
        servers.client().await;
        servers.candidates[servers.current].url.clone()
    }

    #[tokio::test]
    async fn all_servers_are_tried_in_turn_before_there_is_a_pause() {
        let (_sender, mut servers) = found(Some(NAMED), &[A, B]);
        let mut tried = Vec::new();
        let mut at_once = Vec::new();
        for _ in 0..6 {
            tried.push(in_use(&mut servers).await);
            at_once.push(servers.failed());
        }
        assert_eq!(at_once, [true, true, false, true, true, false]);
        assert_eq!(tried[..3], tried[3..], "the same order again");
        assert_eq!(tried[2], NAMED, "the named one is the last to try");
    }

    #[tokio::test]
    async fn a_server_that_answers_ends_the_round() {
        let (_sender, mut servers) = found(None, &[A, B]);
        servers.client().await;
        assert!(servers.failed());
        servers.succeeded();
        assert!(servers.failed(), "the other one has answered since");
    }

    #[tokio::test]
    async fn one_server_is_never_tried_again_without_a_pause() {
        let mut servers = Servers::new("w1", Some(NAMED), None).unwrap();
        for _ in 0..3 {
            assert_eq!(in_use(&mut servers).await, NAMED);
            assert!(!servers.failed());
        }
    }

    #[tokio::test]
    async fn a_worker_stays_with_its_server_as_long_as_consul_names_it() {
        let (sender, mut servers) = found(None, &[A, B]);
        let first = in_use(&mut servers).await;
        sender.send_replace(list(&[A, B, C]));
        assert_eq!(in_use(&mut servers).await, first);
        let others: Vec<&str> = [A, B, C].into_iter().filter(|url| *url != first).collect();
        sender.send_replace(list(&others));
        assert_ne!(in_use(&mut servers).await, first, "it leaves");
    }

    #[tokio::test]
    async fn a_worker_that_was_told_a_server_need_not_wait_for_consul() {
        let (sender, mut servers) = found(Some(NAMED), &[]);
        assert_eq!(in_use(&mut servers).await, NAMED);
        sender.send_replace(list(&[A]));
        assert_eq!(in_use(&mut servers).await, A);
        assert!(servers.failed());
        assert_eq!(in_use(&mut servers).await, NAMED, "it is what is left");
    }

    #[tokio::test]
    async fn a_worker_that_was_told_none_waits_for_the_first() {
        let (sender, mut servers) = found(None, &[]);
        let (first, ()) = tokio::join!(in_use(&mut servers), async { _ = sender.send_replace(list(&[A])) });
        assert_eq!(first, A);
    }

    #[test]
    fn servers_share_the_time_of_one() {
        for (count, seconds) in [(0, 12.0), (1, 12.0), (2, 6.0), (4, 3.0), (9, 3.0)] {
            let urls: Vec<String> = (0..count).map(|number| format!("http://s{number}:1")).collect();
            let (sender, receiver) = watch::channel(Vec::new());
            let mut servers = Servers::new("w1", None, Some(ServerList::new(receiver))).unwrap();
            servers.set_request_timeout(Duration::from_secs(12));
            sender.send_replace(urls);
            servers.heed_consul();
            assert_eq!(servers.time_for_each(), Duration::from_secs_f64(seconds), "{count}");
        }
    }

    #[test]
    fn a_fleet_spreads_over_the_servers_and_over_those_that_are_left() {
        let first_choices = |urls: &[&str], with: &dyn Fn(&[String]) -> String| {
            let mut counts = BTreeMap::<String, usize>::new();
            for number in 0..300 {
                let order = in_order_of_preference(&format!("worker-{number}"), list(urls));
                *counts.entry(with(&order)).or_default() += 1;
            }
            counts
        };
        let counts = first_choices(&[A, B, C], &|order| order[0].clone());
        assert!(counts.len() == 3 && counts.values().all(|count| *count > 60), "{counts:?}");
        let second = first_choices(&[A, B, C], &|order| {
            if order[0] == A { order[1].clone() } else { "stays".to_owned() }
        });
        assert!(second[B] > 20 && second[C] > 20, "not all of them to one: {second:?}");
    }
}
