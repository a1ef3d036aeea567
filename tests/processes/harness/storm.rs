//! The workload generator of the tests that kill or stop a server under load: many clients that change a cluster at once,
//! and remember what was acknowledged. It has no tests of its own.
//!
//! Each of them sends one request at a time and notes what the cluster has to look like after it ([`History`]). So at
//! any later moment, whatever became of the server, what is found has to be what the last acknowledged request left,
//! or what a later one that was sent would have left: all of it, or none of it.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{PATIENCE, Server};

/// Workers that live through all storms, each with a process that restarts and beats and an operator who changes his
/// mind.
const WORKERS: usize = 16;

/// Clients that register one new worker after the other.
const NEWCOMERS: usize = 4;

/// How a client's last request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody listens any more, so nothing was sent.
    Refused,
    /// The system took the connection and threw it away.
    Reset,
    /// Something was sent and there was no whole answer to it.
    Broken(String),
}

/// What was asked for, in order, and how much of it is certain.
#[derive(Clone, Debug)]
struct History<T> {
    /// What there is after each request; the first is what was there before all of them.
    states: Vec<T>,
    /// Everything before this one is certainly over.
    certain: usize,
}

impl<T: Clone + Debug + PartialEq> History<T> {
    fn from(state: T) -> Self {
        Self { states: vec![state], certain: 0 }
    }

    fn send(&mut self, state: T) {
        self.states.push(state);
    }

    fn acknowledge(&mut self) {
        self.certain = self.states.len() - 1;
    }

    fn last(&self) -> &T {
        &self.states[self.states.len() - 1]
    }

    /// Compares with what was found, which from then on is certain.
    fn settle(&mut self, id: &str, found: &T) {
        let possible = &self.states[self.certain..];
        let Some(position) = possible.iter().position(|state| state == found) else {
            panic!(
                "{id} was acknowledged as the first of these, later ones were sent:\n{possible:#?}\nfound: {found:#?}"
            );
        };
        let rest = self.states.split_off(self.certain + position);
        *self = Self { states: rest, certain: 0 };
    }
}

/// A worker as its reports make it; none before the first.
type Reported = Option<Report>;

#[derive(Clone, Debug, PartialEq)]
struct Report {
    hostname: String,
    vms: Vec<Value>,
    used_cpu_cores: u64,
}

/// The worker's side: registers, beats, starts again.
#[derive(Clone, Debug)]
struct Process {
    id: String,
    history: History<Reported>,
    incarnation: u64,
    /// Counts requests over all storms, so that no two reports look alike.
    requests: u64,
}

/// The operator's side: drains, activates.
#[derive(Clone, Debug)]
struct Operator {
    id: String,
    history: History<&'static str>,
}

/// A cluster under fire.
pub struct Storm {
    processes: Vec<Process>,
    operators: Vec<Operator>,
    /// Numbers for workers that come.
    newcomers: u64,
}

/// A storm that goes on.
pub struct Raging {
    sky: Sky,
    processes: JoinSet<(Process, End)>,
    operators: JoinSet<(Operator, End)>,
    newcomers: JoinSet<(Vec<Process>, End)>,
    acknowledged: watch::Receiver<u64>,
}

/// What all clients of one storm share.
#[derive(Clone)]
struct Sky {
    http: Client,
    url: String,
    acknowledged: Arc<watch::Sender<u64>>,
    revision: Arc<AtomicU64>,
    is_abating: Arc<AtomicBool>,
}

impl Storm {
    /// Registers the workers, on a server where all is quiet.
    pub async fn gather(server: &Server, http: &Client) -> Self {
        let sky = Sky::over(server, http);
        let mut processes = Vec::new();
        for index in 0..WORKERS {
            let mut process = Process::new(format!("worker-{index:02}"));
            process.register(&sky).await.unwrap();
            processes.push(process);
        }
        let operator = |process: &Process| Operator { id: process.id.clone(), history: History::from("active") };
        let operators = processes.iter().map(operator).collect();
        Self { processes, operators, newcomers: 0 }
    }

    /// Lets it begin.
    pub fn rage(&mut self, server: &Server, http: &Client) -> Raging {
        let sky = Sky::over(server, http);
        let acknowledged = sky.acknowledged.subscribe();
        let (mut processes, mut operators, mut newcomers) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        for process in &self.processes[..WORKERS] {
            processes.spawn(process.clone().live(sky.clone()));
        }
        for operator in &self.operators {
            operators.spawn(operator.clone().waver(sky.clone()));
        }
        for _ in 0..NEWCOMERS {
            self.newcomers += 1;
            newcomers.spawn(arrive(self.newcomers, sky.clone()));
        }
        Raging { sky, processes, operators, newcomers, acknowledged }
    }

    /// Checks what is found on a server against everything that was promised. From then on it is certain.
    pub async fn settle(&mut self, server: &Server) {
        let found = Found::on(server).await;
        for process in &mut self.processes {
            let report = found.reports.get(&process.id).cloned();
            process.history.settle(&process.id, &report);
        }
        for operator in &mut self.operators {
            let policy = found.policies.get(&operator.id).map_or("missing", String::as_str);
            let policy = ["active", "draining"].into_iter().find(|known| *known == policy).unwrap_or("neither");
            operator.history.settle(&operator.id, &policy);
        }
        let known = self.processes.iter().filter(|process| process.history.states[0].is_some());
        assert_eq!(found.reports.len(), known.count(), "nobody else is there");
    }
}

impl Raging {
    /// Waits until this many requests have been acknowledged.
    pub async fn wait_for(&mut self, acknowledged: u64) {
        let enough = self.acknowledged.wait_for(|count| *count >= acknowledged);
        timeout(PATIENCE, enough).await.expect("the storm is lively enough").unwrap();
    }

    /// What is under way goes on; between two requests, each client pauses from now on.
    pub fn abate(&self) {
        self.sky.is_abating.store(true, Ordering::Relaxed);
    }

    /// Waits until the last client has given up. Returns how each of them ended, and the highest revision that one of
    /// them was told.
    pub async fn subside(self, storm: &mut Storm) -> (Vec<End>, u64) {
        let Self { sky, processes, operators, newcomers, .. } = self;
        let mut ends = Vec::new();
        let everybody = async {
            for (process, end) in processes.join_all().await {
                let index = storm.processes.iter().position(|known| known.id == process.id).unwrap();
                storm.processes[index] = process;
                ends.push(end);
            }
            for (operator, end) in operators.join_all().await {
                let index = storm.operators.iter().position(|known| known.id == operator.id).unwrap();
                storm.operators[index] = operator;
                ends.push(end);
            }
            for (arrived, end) in newcomers.join_all().await {
                storm.processes.extend(arrived);
                ends.push(end);
            }
        };
        timeout(PATIENCE, everybody).await.expect("every client notices that the server is gone");
        (ends, sky.revision.load(Ordering::Relaxed))
    }
}

impl Process {
    fn new(id: String) -> Self {
        Self { id, history: History::from(None), incarnation: 0, requests: 0 }
    }

    /// Starts again and again, beats in between, and now and then checks that its own words are what others read.
    async fn live(mut self, sky: Sky) -> (Self, End) {
        let end = loop {
            let step = match self.requests % 5 {
                0 => self.register(&sky).await,
                _ => self.beat(&sky).await,
            };
            let step = match step {
                Ok(()) if self.requests.is_multiple_of(3) => self.read_own_words(&sky).await,
                step => step,
            };
            if let Err(end) = step {
                break end;
            }
        };
        // The next server knows this worker by a start that it may not have been told of.
        self.requests = self.requests.next_multiple_of(5);
        (self, end)
    }

    async fn register(&mut self, sky: &Sky) -> Result<(), End> {
        self.requests += 1;
        let hostname = format!("{}-start-{}", self.id, self.requests);
        self.history.send(Some(Report { hostname: hostname.clone(), vms: Vec::new(), used_cpu_cores: 0 }));
        let body = json!({
            "hostname": hostname, "address": "192.0.2.1:8081", "zone": "us-west-1a", "labels": {"env": "test"},
            "cpu_cores": 64, "memory_mb": 65_536, "disk_gb": 500, "boot_id": hostname,
            // Its host has started anew, which ends what it ran.
            "host_boot_id": hostname
        });
        let answer = sky.send(Method::PUT, &format!("/workers/{}", self.id), Some(&body)).await?;
        assert_eq!((&answer["worker"]["id"], &answer["worker"]["hostname"]), (&json!(self.id), &json!(hostname)));
        self.incarnation = answer["incarnation"].as_u64().unwrap();
        self.acknowledged(sky, &answer);
        Ok(())
    }

    /// Reports other VMs than before: the whole inventory, or what changed in it.
    async fn beat(&mut self, sky: &Sky) -> Result<(), End> {
        self.requests += 1;
        let before = self.history.last().clone().expect("it has registered");
        let vms = vms(&self.id, self.requests);
        let mut body = json!({"incarnation": self.incarnation, "sequence": self.requests});
        if self.requests.is_multiple_of(2) {
            body["vms"] = json!(vms);
        } else {
            let gone = before.vms.iter().map(|vm| &vm["id"]).filter(|id| vms.iter().all(|vm| vm["id"] != **id));
            body["vms_delta"] = json!({"upsert": vms, "remove": gone.collect::<Vec<_>>()});
        }
        let used_cpu_cores = vms.iter().map(|vm| vm["vcpus"].as_u64().unwrap()).sum();
        self.history.send(Some(Report { vms, used_cpu_cores, ..before }));
        let path = format!("/workers/{}/heartbeat", self.id);
        let answer = sky.send(Method::POST, &path, Some(&body)).await?;
        assert_eq!(answer["worker_id"], json!(self.id));
        self.acknowledged(sky, &answer);
        Ok(())
    }

    /// Nobody else reports for this worker, so after an acknowledgement everybody reads what it said.
    async fn read_own_words(&mut self, sky: &Sky) -> Result<(), End> {
        let Report { hostname, vms, used_cpu_cores } = self.history.last().clone().expect("it has registered");
        let worker = sky.send(Method::GET, &format!("/workers/{}", self.id), None).await?;
        assert_eq!(
            (&worker["hostname"], &worker["used_cpu_cores"], &worker["vm_count"]),
            (&json!(hostname), &json!(used_cpu_cores), &json!(vms.len()))
        );
        let list = sky.send(Method::GET, &format!("/workers/{}/vms", self.id), None).await?;
        assert_eq!((&list["worker_id"], &list["vms"]), (&json!(self.id), &json!(vms)));
        Ok(())
    }

    fn acknowledged(&mut self, sky: &Sky, answer: &Value) {
        self.history.acknowledge();
        sky.revision.fetch_max(answer["revision"].as_u64().unwrap(), Ordering::Relaxed);
    }
}

/// VMs that carry the number of their report, so that two halves of two reports can never pass for one.
fn vms(worker: &str, report: u64) -> Vec<Value> {
    let (first, count) = (report % 5, report % 7);
    (first..first + count)
        .map(|slot| {
            json!({
                "id": format!("{worker}-vm-{slot}"), "name": format!("report-{report}"), "status": "running",
                "vcpus": 1 + report % 4, "memory_mb": 256 * (slot + 1)
            })
        })
        .collect()
}

impl Operator {
    async fn waver(mut self, sky: Sky) -> (Self, End) {
        loop {
            let (command, policy) = match *self.history.last() {
                "active" => ("drain", "draining"),
                _ => ("activate", "active"),
            };
            self.history.send(policy);
            match sky.send(Method::POST, &format!("/workers/{}/{command}", self.id), None).await {
                Ok(answer) => {
                    assert_eq!((&answer["worker_id"], &answer["status"]), (&json!(self.id), &json!(policy)));
                    self.history.acknowledge();
                }
                Err(end) => return (self, end),
            }
        }
    }
}

/// One new worker after the other: each registers, says what it has, and is not heard of again.
async fn arrive(number: u64, sky: Sky) -> (Vec<Process>, End) {
    let mut arrived = Vec::new();
    loop {
        let mut process = Process::new(format!("newcomer-{number:03}-{:05}", arrived.len()));
        let mut step = process.register(&sky).await;
        if step.is_ok() {
            step = process.beat(&sky).await;
        }
        arrived.push(process);
        if let Err(end) = step {
            return (arrived, end);
        }
    }
}

impl Sky {
    fn over(server: &Server, http: &Client) -> Self {
        Self {
            http: http.clone(),
            url: format!("{}/api/v1", server.url),
            acknowledged: Arc::new(watch::Sender::new(0)),
            revision: Arc::default(),
            is_abating: Arc::default(),
        }
    }

    /// Sends a request. Every answer that comes has to be a success: nothing here is refused.
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, End> {
        if self.is_abating.load(Ordering::Relaxed) {
            // Not all of them at the same moment.
            sleep(Duration::from_millis(rand::random_range(200..400))).await;
        }
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answered = async {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.json::<Value>().await?))
        };
        match answered.await {
            Ok((status, answer)) => {
                assert!(status.is_success(), "{method} {path}: {status} {answer}");
                self.acknowledged.send_modify(|count| *count += 1);
                Ok(answer)
            }
            Err(error) if error.is_connect() => Err(End::Refused),
            Err(error) if was_reset(&error) => Err(End::Reset),
            Err(error) => Err(End::Broken(format!("{method} {path}: {error:?}"))),
        }
    }
}

fn was_reset(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionReset) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// All workers and VMs that a server shows.
struct Found {
    reports: BTreeMap<String, Report>,
    policies: BTreeMap<String, String>,
}

impl Found {
    async fn on(server: &Server) -> Self {
        let (workers, distribution) = (server.get("/workers").await, server.get("/cluster/distribution").await);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut vms: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for place in distribution["distribution"].as_array().unwrap() {
            assert_eq!(place["vm_count"], json!(place["vms"].as_array().unwrap().len()));
            vms.insert(text(&place["worker_id"]), place["vms"].as_array().unwrap().clone());
        }
        let (mut reports, mut policies) = (BTreeMap::new(), BTreeMap::new());
        for worker in workers["workers"].as_array().unwrap() {
            let id = text(&worker["id"]);
            let vms = vms.remove(&id).unwrap_or_else(|| panic!("{id} is not in the distribution"));
            assert_eq!(worker["vm_count"], json!(vms.len()), "{id}");
            let used_cpu_cores = worker["used_cpu_cores"].as_u64().unwrap();
            reports.insert(id.clone(), Report { hostname: text(&worker["hostname"]), vms, used_cpu_cores });
            policies.insert(id, text(&worker["status"]));
        }
        assert!(vms.is_empty(), "VMs of workers that are not there: {vms:?}");
        // The third way to read the same.
        let total: usize = reports.values().map(|report| report.vms.len()).sum();
        assert_eq!(server.get("/vms").await["vms"].as_array().unwrap().len(), total);
        assert_eq!(server.get("/cluster/stats").await["total_vms"], json!(total));
        Self { reports, policies }
    }
}
