//! What every fault must leave: one trial for all of them.
//!
//! A fleet beats, workers register, one reports inventory after inventory, and somebody asks for health and for a worker
//! all the time; then the fault comes, and goes, as often as planned. From what all of them have seen, and from what the
//! server and the next one on the same database show, it is told what became of the promises:
//!
//! - what was acknowledged is there, also after the server's end, and what was not is there whole or not at all;
//! - no worker that beat was announced as offline, and one that did not was;
//! - health told of the outage, of the components that it takes and of no others, and did not waver; questions were
//!   answered all the time;
//! - once health had told, commands were refused within two seconds, with word of when to try again;
//! - all went on by itself within ten seconds of the end of the fault.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aetherium::clock::{Clock, Timestamp};
use chrono::TimeDelta;
use reqwest::{Client, Method, StatusCode};
use sea_orm::DbBackend;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::fault::{Effect, Fault, Stage};
use crate::harness::{Server, eventually, http};

/// How the servers are started: workers may be silent for as long as a busy machine may keep them from beating.
const ARGUMENTS: [&str; 4] = ["--offline-after", "10s", "--heartbeat-interval", "1s"];

/// How many workers beat: enough for the brake against mass false alarms to be at stake.
const FLEET: usize = 12;

/// How long anybody waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Within how long commands are refused once an outage is known.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);

/// Within how long an outage has to be known.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// Within how long after its beginning an outage has to be known whole: longer than what is known of other servers' commits
/// may be old before it is stale.
pub const ALL_KNOWN_WITHIN: Duration = Duration::from_secs(6);

/// Within how long after the end of a fault a command is acknowledged again.
const HEALED_WITHIN: Duration = Duration::from_secs(10);

/// What answers may take beside what is measured, on a machine that does nothing else.
const SLACK: Duration = Duration::from_millis(700);

/// One way through.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// On which database.
    pub backend: DbBackend,
    /// What goes wrong.
    pub fault: Fault,
    /// How often in a row.
    pub repetitions: usize,
    /// How long it goes on after it is known.
    pub lasting: Duration,
    /// Whether a command that changes nothing is the first thing after it.
    pub has_noop: bool,
    /// How the server ends.
    pub is_killed: bool,
}

/// What became of it.
#[derive(Debug)]
pub struct Outcome {
    /// What was tried.
    pub course: Course,
    /// How many commands were acknowledged, refused, and not answered.
    pub commands: [usize; 3],
    /// How many that were acknowledged are not there, and how many are there by half.
    pub lost: usize,
    /// How many are there by half, twice, or from nowhere.
    pub half: usize,
    /// How many workers that beat were announced as offline.
    pub false_offline: usize,
    /// What health said meanwhile.
    pub health: String,
    /// How long it took it, at most.
    pub known_after: Option<Duration>,
    /// How long a command was on its way that was sent when the outage was known, at most.
    pub refused_after: Option<Duration>,
    /// How long it took from the end of the fault to the next acknowledgement, at most.
    pub healed_after: Duration,
    /// What else is not as it has to be.
    pub complaints: Vec<String>,
    /// What the server said of errors, if anybody complains.
    pub errors: Vec<String>,
}

impl Outcome {
    /// Fails if anything is not as it has to be.
    pub fn check(&self) {
        let promises = (self.lost, self.half, self.false_offline);
        assert!(promises == (0, 0, 0) && self.complaints.is_empty(), "{self:#?}");
    }
}

/// What all who use the server share.
struct Site {
    http: Client,
    /// Where the server is now.
    url: watch::Receiver<String>,
    stopped: watch::Receiver<bool>,
    seen: Mutex<Seen>,
}

/// What they have seen.
#[derive(Default)]
struct Seen {
    attempts: Vec<Attempt>,
    health: Vec<Sample>,
    /// Questions that were not answered with 200, and when they were begun.
    failed_reads: Vec<(Instant, String)>,
    slowest_read: Duration,
    promised: BTreeSet<String>,
    sent: BTreeSet<String>,
    /// Last inventory that was acknowledged, and sent.
    inventory: (u64, u64),
    /// What cannot be said of a refusal.
    complaints: Vec<String>,
    /// By how much the machine was late at most: nothing can be quicker.
    lateness: Duration,
}

/// A command, and what became of it: acknowledged, refused, or nobody knows.
struct Attempt {
    begun: Instant,
    took: Duration,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    Refused,
    Unknown,
}

/// One look at health.
struct Sample {
    begun: Instant,
    ended: Instant,
    /// None if nobody answered.
    said: Option<Said>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    commits: bool,
    /// All that is not well.
    unavailable: BTreeSet<String>,
}

impl Said {
    fn is_ok(&self) -> bool {
        self.unavailable.is_empty()
    }
}

/// From when to when the fault was there.
struct Span {
    struck: Instant,
    known: Option<Instant>,
    relieved: Instant,
    /// When whatever it happened to was there again.
    over: Instant,
    healed: Instant,
}

impl Site {
    fn path(&self, path: &str) -> String {
        format!("{}/api/v1{path}", *self.url.borrow())
    }

    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap())
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Sends a command and notes what became of it.
    async fn command(&self, method: Method, path: &str, body: &Value) -> Fate {
        let begun = Instant::now();
        let answer = self.http.request(method, self.path(path)).json(body).send().await;
        let fate = match answer {
            Ok(answer) if answer.status().is_success() => {
                let is_whole = answer.bytes().await.is_ok();
                if is_whole { Fate::Acknowledged } else { Fate::Unknown }
            }
            Ok(answer) => {
                let (status, tells_when) = (answer.status(), answer.headers().contains_key("retry-after"));
                let text = answer.text().await.unwrap_or_default();
                if status != StatusCode::SERVICE_UNAVAILABLE || !tells_when {
                    self.seen(|seen| {
                        seen.complaints.push(format!("{path}: {status}, retry-after {tells_when}: {text}"))
                    });
                }
                Fate::Refused
            }
            Err(_) => Fate::Unknown,
        };
        self.seen(|seen| seen.attempts.push(Attempt { begun, took: begun.elapsed(), fate }));
        fate
    }
}

fn registration(id: &str) -> Value {
    json!({
        "hostname": id, "address": "192.0.2.1:8081", "cpu_cores": 8, "memory_mb": 1_024, "max_vms": 1_000, "boot_id": "1"
    })
}

/// One new worker after the other, none of which is heard again.
async fn register(site: Arc<Site>) {
    for number in 0.. {
        let id = format!("new-{number:05}");
        site.seen(|seen| seen.sent.insert(id.clone()));
        if site.command(Method::PUT, &format!("/workers/{id}"), &registration(&id)).await == Fate::Acknowledged {
            site.seen(|seen| seen.promised.insert(id));
        }
        if site.is_stopped() {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// One inventory after the other, each of which shows which one it is.
async fn report(site: Arc<Site>) {
    for sequence in 1_u64.. {
        let vms: Vec<_> = (0..20)
            .map(|vm| json!({"id": format!("reporter-{vm}"), "name": format!("report-{sequence}"), "memory_mb": 64}))
            .collect();
        let body = json!({"incarnation": 1, "sequence": sequence, "vms": vms});
        site.seen(|seen| seen.inventory.1 = sequence);
        if site.command(Method::POST, "/workers/reporter/heartbeat", &body).await == Fate::Acknowledged {
            site.seen(|seen| seen.inventory.0 = sequence);
        }
        if site.is_stopped() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn fleet() -> impl Iterator<Item = String> {
    (0..FLEET).map(|number| format!("fleet-{number:02}"))
}

/// All of the fleet, several times in the interval, so that one that is late is no silence.
async fn beat(site: Arc<Site>) {
    let beats: Vec<_> = fleet().map(|id| json!({"worker_id": id, "incarnation": 1})).collect();
    let body = json!({"heartbeats": beats});
    while !site.is_stopped() {
        let _ = site.http.post(site.path("/heartbeats")).timeout(Duration::from_secs(3)).json(&body).send().await;
        sleep(Duration::from_millis(300)).await;
    }
}

/// By turns as a balancer that wants any server, and as one that wants to send commands.
async fn look_at_health(site: Arc<Site>) {
    for turn in 0_u64.. {
        let requires = turn % 2 == 1;
        let path = site.path(if requires { "/health?require=commits" } else { "/health" });
        let begun = Instant::now();
        let answer = async {
            let answer = site.http.get(path).timeout(Duration::from_secs(4)).send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.json::<Value>().await?))
        };
        let said = answer.await.ok().map(|(status, health)| {
            let components = health["components"].as_object().unwrap();
            let names = components.iter().filter(|(_, status)| *status == "unavailable").map(|(name, _)| name.clone());
            let said = Said { commits: components["commits"] == "ok", unavailable: names.collect() };
            let expected = if requires && !said.commits { 503 } else { 200 };
            if status != expected || (health["status"] == "ok") != said.unavailable.is_empty() {
                site.seen(|seen| seen.complaints.push(format!("health, required {requires}: {status} {health}")));
            }
            said
        });
        site.seen(|seen| seen.health.push(Sample { begun, ended: Instant::now(), said }));
        if site.is_stopped() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Questions that memory answers.
async fn read(site: Arc<Site>) {
    while !site.is_stopped() {
        let begun = Instant::now();
        match site.http.get(site.path("/workers/reporter")).timeout(Duration::from_secs(4)).send().await {
            Ok(answer) if answer.status() == StatusCode::OK => {
                site.seen(|seen| seen.slowest_read = seen.slowest_read.max(begun.elapsed()));
            }
            other => site.seen(|seen| seen.failed_reads.push((begun, format!("{other:?}")))),
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// How late this machine is.
async fn be_punctual(site: Arc<Site>) {
    const PAUSE: Duration = Duration::from_millis(20);
    while !site.is_stopped() {
        let begun = Instant::now();
        sleep(PAUSE).await;
        let late = begun.elapsed().saturating_sub(PAUSE);
        site.seen(|seen| seen.lateness = seen.lateness.max(late));
    }
}

/// Lets it all happen.
pub async fn run(course: Course) -> Outcome {
    let Course { fault, repetitions, .. } = course;
    let mut stage = Stage::set(course.backend, fault).await;
    let mut server = stage.serve(&ARGUMENTS).await;
    let (address, url) = watch::channel(server.url.clone());
    let (stop, stopped) = watch::channel(false);
    // A connection that hangs is not used again.
    let http = Client::builder().no_proxy().tls_certs_only([]).timeout(ANSWER_TIMEOUT);
    drop(self::http());
    let site = Arc::new(Site { http: http.build().unwrap(), url, stopped, seen: Mutex::default() });
    for id in fleet().chain(["reporter".to_owned()]) {
        server.put(&format!("/workers/{id}"), &registration(&id)).await;
    }
    let mut users = JoinSet::new();
    users.spawn(register(site.clone()));
    users.spawn(report(site.clone()));
    users.spawn(beat(site.clone()));
    users.spawn(look_at_health(site.clone()));
    users.spawn(read(site.clone()));
    users.spawn(be_punctual(site.clone()));

    let mut spans = Vec::new();
    for _ in 0..repetitions {
        stage.prepare().await;
        acknowledged_since(&site, Instant::now()).await;
        let struck = Instant::now();
        stage.strike(&server).await;
        if matches!(fault, Fault::DatabaseClockSet(_)) {
            believed_time(&server, fault.hours()).await;
        }
        let known = if fault.effect() == Effect::NoCommits {
            Some(eventually("health tells", async || site.seen(|seen| first_warning(seen, struck))).await)
        } else {
            None
        };
        // So long it lasts.
        sleep(course.lasting.max(fault.shortest())).await;
        let relieved = Instant::now();
        match fault {
            Fault::Killed | Fault::ClockSet(_) => {
                if course.is_killed || fault == Fault::Killed {
                    server.kill().await;
                } else {
                    server.stop().await;
                }
                server = stage.serve(&ARGUMENTS).await;
                address.send_replace(server.url.clone());
            }
            _ => stage.relieve(&server).await,
        }
        let over = Instant::now();
        if matches!(fault, Fault::ClockSet(_)) {
            // On PostgreSQL, its clock counts and no other.
            let believed = if course.backend == DbBackend::Sqlite { fault.hours() } else { 0 };
            believed_time(&server, believed).await;
        }
        if course.has_noop {
            site.command(Method::POST, "/workers/reporter/activate", &json!({})).await;
        }
        let healed = acknowledged_since(&site, relieved).await;
        spans.push(Span { struck, known, relieved, over, healed });
    }
    eventually("health is good again", async || {
        let health = server.ask("/health").await.1;
        (health["status"] == "ok").then_some(())
    })
    .await;
    // Somebody who is really silent is announced, so it is not that nobody is. That is somebody who has fallen silent after
    // the last fault was over: whoever is announced for what happened in that is announced before.
    let last = eventually("another worker registers", async || {
        let before = site.seen(|seen| seen.promised.last().cloned())?;
        sleep(Duration::from_millis(200)).await;
        site.seen(|seen| seen.promised.last().filter(|last| **last != before).cloned())
    })
    .await;
    let log = eventually("who fell silent is announced", async || {
        let log = server.log(0).await;
        log.iter()
            .any(|event| event.kind == "worker_offline" && event.worker_id.as_deref() == Some(&last))
            .then_some(log)
    })
    .await;
    stop.send_replace(true);
    users.join_all().await;

    let mut outcome = judge(course, &site, &spans);
    if !outcome.complaints.is_empty() {
        outcome.errors = server
            .program
            .said()
            .lines()
            .filter(|line| line.contains(r#""level":"ERROR""#))
            .map(str::to_owned)
            .collect();
    }
    let is_alive = |id: &str| id.starts_with("fleet") || id == "reporter";
    let announced = log.iter().filter(|event| event.kind == "worker_offline");
    outcome.false_offline = announced.filter(|event| event.worker_id.as_deref().is_some_and(is_alive)).count();

    eventually("no time has yet to come", async || {
        let now = server.get("/health").await["timestamp"].take();
        let workers = known(&server).await;
        let instant = |time: &Value| time.as_str().unwrap().parse::<Timestamp>().unwrap();
        workers.iter().all(|(_, _, started_at)| instant(started_at) <= instant(&now)).then_some(())
    })
    .await;
    let before = known(&server).await;
    if course.is_killed {
        server.kill().await;
    } else {
        server.stop().await;
    }
    let server = stage.serve(&ARGUMENTS).await;
    if known(&server).await != before {
        outcome.complaints.push("the next server knows other workers than this one did".to_owned());
    }
    settle(&server, &site, &mut outcome).await;
    server.stop().await;
    outcome
}

/// Waits until a server takes the time to be by so many hours another than it is.
async fn believed_time(server: &Server, hours: i8) {
    eventually("the server believes the clock", async || {
        let health = server.get("/health").await;
        let believed: Timestamp = health["timestamp"].as_str().unwrap().parse().unwrap();
        let by = believed - Clock::system().now();
        ((by - TimeDelta::hours(hours.into())).abs() < TimeDelta::minutes(1)).then_some(())
    })
    .await;
}

/// When a command was acknowledged that was sent after this.
async fn acknowledged_since(site: &Site, since: Instant) -> Instant {
    eventually("a command is acknowledged", async || {
        site.seen(|seen| {
            let mut later = seen.attempts.iter().filter(|attempt| attempt.begun >= since);
            let first = later.find(|attempt| attempt.fate == Fate::Acknowledged)?;
            Some(first.begun + first.took)
        })
    })
    .await
}

fn first_warning(seen: &Seen, since: Instant) -> Option<Instant> {
    let later = seen.health.iter().filter(|sample| sample.begun >= since);
    later.filter(|sample| sample.said.as_ref().is_some_and(|said| !said.commits)).map(|sample| sample.ended).next()
}

/// The workers a server knows, and at what revisions they were registered.
async fn known(server: &Server) -> Vec<(Value, Value, Value)> {
    let workers = server.get("/workers").await["workers"].take();
    let workers = workers.as_array().unwrap().iter();
    workers.map(|worker| (worker["id"].clone(), worker["hostname"].clone(), worker["started_at"].clone())).collect()
}

/// What they have seen, against what they should have.
fn judge(course: Course, site: &Site, spans: &[Span]) -> Outcome {
    let mut seen = site.seen(std::mem::take);
    let mut complaints = std::mem::take(&mut seen.complaints);
    let slack = SLACK + seen.lateness;
    let count = |fate| seen.attempts.iter().filter(|attempt| attempt.fate == fate).count();
    let commands = [count(Fate::Acknowledged), count(Fate::Refused), count(Fate::Unknown)];
    let longest = |durations: &mut dyn Iterator<Item = Duration>| durations.max();

    let known_after = longest(&mut spans.iter().filter_map(|span| Some(span.known? - span.struck)));
    if known_after.is_some_and(|known_after| known_after > KNOWN_WITHIN + slack) {
        complaints.push(format!("it took health {known_after:?} to tell, the machine was late by {:?}", seen.lateness));
    }
    let healed_after =
        longest(&mut spans.iter().map(|span| span.healed.saturating_duration_since(span.over))).unwrap_or_default();

    if healed_after > HEALED_WITHIN + slack {
        complaints.push(format!("it took {healed_after:?} to heal, the machine was late by {:?}", seen.lateness));
    }

    let mut refused_after = None;
    let mut words = BTreeSet::new();
    let expected: BTreeSet<_> = course.fault.unavailable().into_iter().map(str::to_owned).collect();
    let mut last_healed = None;
    for span in spans {
        let during = |at: Instant| at >= span.known.unwrap_or(span.struck) && at <= span.relieved;
        for sample in seen.health.iter().filter(|sample| during(sample.begun) && during(sample.ended)) {
            match (&sample.said, course.fault.effect()) {
                (Some(said), effect) => {
                    let names: Vec<_> = said.unavailable.iter().map(String::as_str).collect();
                    words.insert(if names.is_empty() { "ok".to_owned() } else { format!("no {}", names.join(" ")) });
                    // Where commits are made nothing else is amiss either: a slow database is there.
                    let is_late = sample.begun - span.struck > ALL_KNOWN_WITHIN + slack;
                    let is_true = match effect {
                        Effect::NoCommits if is_late => said.unavailable == expected,
                        Effect::NoCommits => !said.commits && said.unavailable.is_subset(&expected),
                        Effect::Commits | Effect::NoServer => said.is_ok(),
                    };
                    if !is_true {
                        complaints.push(format!("{said:?} {:?} after the beginning", sample.begun - span.struck));
                    }
                }
                (None, Effect::NoServer) => _ = words.insert("no answer".to_owned()),
                (None, _) => complaints.push("nobody told how the server was".to_owned()),
            }
        }
        // Before, all was well.
        let calm =
            |at: Instant| at < span.struck && last_healed.is_some_and(|healed| at > healed + Duration::from_secs(2));
        for sample in seen.health.iter().filter(|sample| calm(sample.begun) && calm(sample.ended)) {
            if sample.said.as_ref().is_none_or(|said| !said.is_ok()) {
                complaints.push(format!("{:?} while all was well", sample.said));
            }
        }
        last_healed = Some(span.healed);
        if let Some(known) = span.known {
            for attempt in &seen.attempts {
                let ended = attempt.begun + attempt.took;
                // From when it was known, for who was there before, and until it was over, for who saw the end of it.
                let waited = ended.min(span.relieved).saturating_duration_since(attempt.begun.max(known));
                if attempt.begun < span.relieved && ended > known {
                    refused_after = refused_after.max(Some(waited));
                    if waited > REFUSED_WITHIN + slack {
                        complaints.push(format!("a command waited for {waited:?} though the outage was known"));
                    }
                }
            }
        }
        if course.fault.effect() != Effect::NoServer {
            let restarts = matches!(course.fault, Fault::ClockSet(_));
            let failed = seen.failed_reads.iter().filter(|(begun, _)| *begun >= span.struck && *begun <= span.healed);
            complaints
                .extend(failed.filter(|_| !restarts).map(|(_, what)| format!("a question was not answered: {what}")));
        }
    }
    // In an outage nobody waits any longer than before.
    if course.fault.effect() == Effect::NoCommits && seen.slowest_read > Duration::from_secs(1) + slack {
        complaints.push(format!("a question that memory answers took {:?}", seen.slowest_read));
    }
    complaints.truncate(20);
    let health = words.into_iter().collect::<Vec<_>>().join("; ");
    site.seen(|empty| *empty = seen);
    Outcome {
        course,
        commands,
        lost: 0,
        half: 0,
        false_offline: 0,
        health,
        known_after,
        refused_after,
        healed_after,
        complaints,
        errors: Vec::new(),
    }
}

/// What is there in the end, against what was promised and sent.
async fn settle(server: &Server, site: &Site, outcome: &mut Outcome) {
    let (promised, sent, (acknowledged, last)) =
        site.seen(|seen| (seen.promised.clone(), seen.sent.clone(), seen.inventory));
    let workers = server.get("/workers").await["workers"].take();
    let ids = workers.as_array().unwrap().iter().map(|worker| worker["id"].as_str().unwrap().to_owned());
    let found: BTreeSet<_> = ids.filter(|id| id.starts_with("new-")).collect();
    outcome.lost += promised.difference(&found).count();
    outcome.half += found.difference(&sent).count();

    let log = server.log(0).await;
    let told = log.into_iter().filter(|event| event.kind == "worker_registered").filter_map(|event| event.worker_id);
    let mut told: Vec<_> = told.filter(|id| id.starts_with("new-")).collect();
    told.sort_unstable();
    if told != found.into_iter().collect::<Vec<_>>() {
        outcome.half += 1;
        outcome.complaints.push("the log and the workers tell of different registrations".to_owned());
    }

    let list = server.get("/workers/reporter/vms").await;
    let vms = list["vms"].as_array().unwrap();
    let names: BTreeSet<_> = vms.iter().map(|vm| vm["name"].as_str().unwrap().to_owned()).collect();
    let number = names.first().and_then(|name| name.strip_prefix("report-")?.parse::<u64>().ok()).unwrap_or(0);
    if (names.len() > 1 || vms.len() != 20) && number > 0 {
        outcome.half += 1;
    }
    if number < acknowledged {
        outcome.lost += 1;
    }
    if number > last {
        outcome.half += 1;
    }
}
