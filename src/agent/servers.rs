//! The server that a worker reports to: the one that its operator has configured, or one of those that Consul names.
//!
//! Each worker has its own order of preference (rendezvous hashing), so that a fleet is spread over the servers, and
//! the workers of a server that fails over all that are left. A worker stays with a server while that acknowledges its
//! heartbeats, whether Consul still names it or not: Consul is asked for addresses, not for health. After some minutes
//! with another server than its first choice, a worker tries the first choice with one heartbeat, so that a fleet is
//! spread again after a rolling restart of the servers. How long to wait when all servers have failed is decided in
//! `backoff`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::client::{Client, ClientError, ClientToken, RetryLimits, Trust};
use crate::discovery::ServerList;

/// How many other servers at most share the half of the time for an answer that is not the server in use's.
const MAX_OTHERS: usize = 3;

/// After how long with another server the first choice is tried; a random part of up to as much again is added. A
/// restarted server has settled by then, and its workers do not return all at once.
const TRIAL_AFTER: Duration = Duration::from_secs(5 * 60);

/// The part of the time for an answer that the first choice has in a trial. By at most this much, the heartbeat is late
/// that is sent to the server in use after a failed trial.
const TRIAL_FRACTION: u32 = 8;

/// Selects the server that a worker reports to.
#[derive(Debug)]
pub(super) struct ServerSelector {
    worker_id: String,
    /// The servers that Consul names, if it is asked.
    discovered: Option<ServerList>,
    /// What all of them are sent.
    token: Option<ClientToken>,
    /// How all of them are trusted.
    trust: Trust,
    /// The server that the operator has configured; the last one to try, if Consul names others.
    configured: Option<Candidate>,
    /// The servers in the order in which they are tried, beginning with the first choice.
    candidates: Vec<Candidate>,
    /// The index of the server in use.
    current: usize,
    /// Whether the server in use has answered, and has not failed since.
    is_answering: bool,
    /// How many servers have failed in turn.
    failed: usize,
    /// The address of the server that answered last.
    answered: Option<String>,
    /// When to try the first choice, while another server is in use.
    trial_at: Option<Instant>,
    /// During a trial of the first choice: the index of the server that was in use before.
    before_trial: Option<usize>,
    request_timeout: Duration,
}

#[derive(Clone, Debug)]
struct Candidate {
    url: String,
    client: Client,
}

impl ServerSelector {
    /// A selector of the configured server and of those that Consul will name.
    pub(super) fn new(
        worker_id: &str,
        configured: Option<&str>,
        discovered: Option<ServerList>,
        token: Option<ClientToken>,
        trust: Trust,
    ) -> Result<Self, ClientError> {
        let configured = configured.map(|url| Candidate::new(url, token.clone(), &trust)).transpose()?;
        Ok(Self {
            worker_id: worker_id.to_owned(),
            discovered,
            token,
            trust,
            candidates: configured.iter().cloned().collect(),
            configured,
            current: 0,
            is_answering: false,
            failed: 0,
            answered: None,
            trial_at: None,
            before_trial: None,
            request_timeout: RetryLimits::default().request_timeout,
        })
    }

    /// Sets what all servers are sent.
    pub(super) fn set_token(&mut self, token: Option<ClientToken>) {
        for Candidate { client, .. } in self.candidates.iter_mut().chain(&mut self.configured) {
            *client = client.clone().with_token(token.clone());
        }
        self.token = token;
    }

    /// Sets how long all servers together may take to answer.
    pub(super) fn set_request_timeout(&mut self, request_timeout: Duration) {
        self.request_timeout = request_timeout;
    }

    /// A client of the server in use, as soon as there is one.
    pub(super) async fn client(&mut self) -> Client {
        self.apply_discovered();
        if self.candidates.is_empty() {
            info!(worker.id = %self.worker_id, "Worker {} waits for Consul to name a server", self.worker_id);
        }
        loop {
            if let Some(server) = self.candidates.get(self.current) {
                return server.client.clone().with_timeout(self.answer_timeout());
            }
            match &mut self.discovered {
                Some(discovered) => discovered.changed().await,
                // Never reached: without Consul there is the configured server.
                None => std::future::pending().await,
            }
            self.apply_discovered();
        }
    }

    /// Clients of all servers, beginning with the one in use, whose time-outs add up to at most `limit`.
    pub(super) fn in_turn(&self, limit: Duration) -> impl Iterator<Item = Client> {
        let each = limit.div_f64(self.candidates.len().max(1) as f64).min(self.request_timeout);
        let (before, from_here) = self.candidates.split_at(self.current);
        from_here.iter().chain(before).map(move |server| server.client.clone().with_timeout(each))
    }

    /// The server in use has answered.
    pub(super) fn succeeded(&mut self) {
        self.failed = 0;
        self.before_trial = None;
        self.is_answering = true;
        self.trial_at = match self.current {
            0 => None,
            _ => self.trial_at.or_else(|| Some(next_trial(rand::random()))),
        };
        let Some(Candidate { url, .. }) = self.candidates.get(self.current) else { return };
        if self.discovered.is_some() && self.answered.as_ref() != Some(url) {
            info!(worker.id = %self.worker_id, "Worker {} reports to {url}", self.worker_id);
            self.answered = Some(url.clone());
        }
    }

    /// The server in use has failed: turns to the next one. Answers whether that may be tried at once, which is not so
    /// if all servers have failed in turn.
    pub(super) fn failed(&mut self) -> bool {
        let count = self.candidates.len().max(1);
        self.is_answering = false;
        self.trial_at = None;
        self.current = (self.current + 1) % count;
        self.failed = (self.failed + 1) % count;
        if self.failed == 0
            && let Some(discovered) = &self.discovered
        {
            discovered.refresh();
        }
        self.failed > 0
    }

    /// Turns to the first choice for one request, if another server has been in use for long enough. Unless that
    /// request [succeeds](Self::succeeded), [`end_trial`](Self::end_trial) has to follow.
    pub(super) fn begin_trial(&mut self) {
        self.apply_discovered();
        let is_due = self.trial_at.is_some_and(|at| at <= Instant::now());
        if is_due && self.is_answering && self.current > 0 {
            self.before_trial = Some(std::mem::take(&mut self.current));
        }
    }

    /// Ends a trial of the first choice that has failed: turns back to the server that was in use before. Answers
    /// whether there was a trial.
    pub(super) fn end_trial(&mut self) -> bool {
        let Some(before) = self.before_trial.take() else { return false };
        self.current = before;
        self.trial_at = Some(next_trial(rand::random()));
        true
    }

    /// Waits until Consul names a server that was not known before.
    pub(super) async fn new_server_discovered(&mut self) {
        loop {
            match &mut self.discovered {
                Some(discovered) => discovered.changed().await,
                None => std::future::pending().await,
            }
            if self.apply_discovered() {
                return;
            }
        }
    }

    /// How long the next request may take. All servers together have the time that a single one would have, so that it
    /// takes no longer to find one that answers than to give up the only one; the server in use has half of it, since
    /// it may only be busy.
    fn answer_timeout(&self) -> Duration {
        let others = self.candidates.len().saturating_sub(1).min(MAX_OTHERS);
        match (self.before_trial, others, self.failed) {
            (Some(_), ..) => self.request_timeout / TRIAL_FRACTION,
            (None, 0, _) => self.request_timeout,
            (None, _, 0) => self.request_timeout / 2,
            (None, others, _) => (self.request_timeout / 2).div_f64(others as f64),
        }
    }

    /// Applies a new list of Consul. The server in use stays in use if it is on the list, or answers; the one that
    /// answered last stays a candidate. Answers whether there is a candidate that was none before.
    fn apply_discovered(&mut self) -> bool {
        if self.before_trial.is_some() {
            return false;
        }
        let Some(urls) = self.discovered.as_mut().and_then(ServerList::take_if_changed) else { return false };
        let urls = in_order_of_preference(&self.worker_id, urls);
        let known = std::mem::take(&mut self.candidates);
        let find_known = |url: &String| known.iter().find(|server| server.url == *url).cloned();
        let make = |url: &String| {
            let made = Candidate::new(url, self.token.clone(), &self.trust);
            made.inspect_err(|error| warn!(worker.id = %self.worker_id, %error, "Worker {} does not report to {url}: {error}", self.worker_id)).ok()
        };
        let find = |url: &String| find_known(url).or_else(|| make(url));
        self.candidates = urls.iter().filter_map(find).collect();
        let last = self.answered.as_ref().and_then(find_known);
        // The configured server comes last.
        for server in
            last.into_iter().filter(|last| !is_same(last, self.configured.as_ref())).chain(self.configured.clone())
        {
            if !urls.contains(&server.url) {
                self.candidates.push(server);
            }
        }
        let in_use = known.get(self.current).filter(|server| self.is_answering || urls.contains(&server.url));
        self.current = self.candidates.iter().position(|server| is_same(server, in_use)).unwrap_or(0);
        self.failed = 0;
        self.candidates.iter().any(|server| !known.iter().any(|known| is_same(known, Some(server))))
    }

    /// Makes the next request a trial of the first choice.
    #[cfg(test)]
    pub(super) fn trial_now(&mut self) {
        self.trial_at = Some(Instant::now());
    }
}

fn is_same(server: &Candidate, other: Option<&Candidate>) -> bool {
    other.is_some_and(|other| other.url == server.url)
}

fn next_trial(roll: f64) -> Instant {
    Instant::now() + TRIAL_AFTER + TRIAL_AFTER.mul_f64(roll)
}

impl Candidate {
    fn new(url: &str, token: Option<ClientToken>, trust: &Trust) -> Result<Self, ClientError> {
        Ok(Self { url: url.to_owned(), client: Client::trusting(url, trust)?.with_token(token) })
    }
}

/// Sorts addresses by the hash of each with the worker's id (rendezvous hashing).
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
    fn found(named: Option<&str>, urls: &[&str]) -> (watch::Sender<Vec<String>>, ServerSelector) {
        let (sender, receiver) = watch::channel(Vec::new());
        let servers = ServerSelector::new("w1", named, Some(ServerList::new(receiver)), None, Trust::System).unwrap();
        sender.send_replace(list(urls));
        (sender, servers)
    }

    fn urls(servers: &ServerSelector) -> Vec<&str> {
        servers.candidates.iter().map(|server| server.url.as_str()).collect()
    }

    async fn in_use(servers: &mut ServerSelector) -> String {
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
        let mut servers = ServerSelector::new("w1", Some(NAMED), None, None, Trust::System).unwrap();
        for _ in 0..3 {
            assert_eq!(in_use(&mut servers).await, NAMED);
            assert!(!servers.failed());
        }
    }

    #[tokio::test]
    async fn a_worker_stays_with_its_server_while_that_answers_whatever_consul_names() {
        let (sender, mut servers) = found(None, &[A, B]);
        let first = in_use(&mut servers).await;
        let others: Vec<&str> = [A, B, C].into_iter().filter(|url| *url != first).collect();
        servers.succeeded();
        sender.send_replace(list(&others));
        assert_eq!(in_use(&mut servers).await, first, "Consul may have forgotten it");
        assert_eq!(servers.candidates[2].url, first, "it is tried after those that are named");
        assert!(servers.failed());
        assert_ne!(in_use(&mut servers).await, first);
        sender.send_replace(list(&others[..1]));
        servers.client().await;
        assert_eq!(urls(&servers), [others[0], &first], "nobody else has answered since");
        while in_use(&mut servers).await != others[0] {
            servers.failed();
        }
        servers.succeeded();
        sender.send_replace(list(&others));
        servers.client().await;
        assert_eq!(servers.candidates.len(), 2, "it is over when another one has answered: {:?}", urls(&servers));
    }

    #[tokio::test]
    async fn a_worker_leaves_a_server_that_never_answered_when_consul_names_it_no_more() {
        let (sender, mut servers) = found(None, &[A]);
        assert_eq!(in_use(&mut servers).await, A);
        sender.send_replace(list(&[B]));
        assert_eq!(in_use(&mut servers).await, B);
        servers.succeeded();
        assert!(!servers.failed());
        sender.send_replace(list(&[C]));
        assert_eq!(in_use(&mut servers).await, C, "it has failed since it answered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_returns_to_its_first_choice_after_some_minutes_with_another() {
        let (_sender, mut servers) = found(None, &[A, B]);
        let first = in_use(&mut servers).await;
        assert!(servers.failed());
        let second = in_use(&mut servers).await;
        servers.succeeded();
        let after = async |servers: &mut ServerSelector, passed: Duration| {
            tokio::time::advance(passed).await;
            servers.begin_trial();
            in_use(servers).await
        };
        let long = TRIAL_AFTER * 2;
        assert_eq!(after(&mut servers, TRIAL_AFTER - Duration::from_secs(1)).await, second, "too early");
        assert_eq!(after(&mut servers, long).await, first);
        assert!(servers.end_trial());
        assert_eq!(after(&mut servers, Duration::ZERO).await, second, "it has failed just now");
        servers.succeeded();
        assert_eq!(after(&mut servers, long).await, first);
        servers.succeeded();
        assert!(!servers.end_trial(), "it has returned");
        assert_eq!(after(&mut servers, long).await, first);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_does_not_return_while_its_server_fails() {
        let (_sender, mut servers) = found(None, &[A, B, C]);
        servers.client().await;
        servers.failed();
        servers.succeeded();
        tokio::time::advance(TRIAL_AFTER * 2).await;
        servers.failed();
        let third = in_use(&mut servers).await;
        servers.begin_trial();
        assert_eq!(in_use(&mut servers).await, third);
    }

    #[tokio::test]
    async fn only_a_server_that_was_not_tried_yet_is_another() {
        let (sender, mut servers) = found(Some(NAMED), &[A, B]);
        servers.client().await;
        for (urls, is_another) in [(vec![B], false), (vec![B, NAMED], false), (vec![A, B], true), (vec![C], true)] {
            sender.send_replace(list(&urls));
            assert_eq!(servers.apply_discovered(), is_another, "{urls:?}");
        }
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
    fn servers_share_the_time_of_one_and_the_one_in_use_has_half() {
        for (count, in_use, others) in [(1, 12.0, 12.0), (2, 6.0, 6.0), (4, 6.0, 2.0), (9, 6.0, 2.0)] {
            let urls: Vec<String> = (0..count).map(|number| format!("http://s{number}:1")).collect();
            let (sender, receiver) = watch::channel(Vec::new());
            let mut servers =
                ServerSelector::new("w1", None, Some(ServerList::new(receiver)), None, Trust::System).unwrap();
            servers.set_request_timeout(Duration::from_secs(12));
            sender.send_replace(urls);
            servers.apply_discovered();
            assert_eq!(servers.answer_timeout(), Duration::from_secs_f64(in_use), "{count}");
            for _ in 1..count {
                servers.failed();
                assert_eq!(servers.answer_timeout(), Duration::from_secs_f64(others), "{count}");
            }
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
