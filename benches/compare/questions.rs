//! What everybody is asked, and when an answer is the same as another.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::load::{Connection, Request, Script, same};
use super::table::Target;
use crate::support::{Fleet, documents};

/// One that is measured.
#[derive(Clone, Copy, PartialEq)]
pub enum Question {
    /// REST: one worker.
    OneWorker,
    /// REST: all workers.
    AllWorkers,
    /// GraphQL: one worker, all fields.
    Q1,
    /// GraphQL: all workers, all fields.
    Q2,
    /// GraphQL: all workers with their VMs.
    Q3,
}

/// What PostGraphile has of a worker: the columns of its table, 23 as well.
const COLUMNS: &str = "id: rowId hostname address zone labels capabilities cpuCores memoryMb diskGb maxVms incarnation \
    bootId registrationRevision startedAt deregisteredAt lastSeen sequence usedCpuCores usedMemoryMb usedDiskGb \
    inventoryRevision policy revision";

/// What moves with the clock, or is written in another way where it comes right from a table.
const NOT_COMPARED: [&str; 5] = ["uptime", "startedAt", "lastSeen", "labels", "status"];

impl Question {
    /// In the order in which they are asked.
    pub const ALL: [Self; 5] = [Self::OneWorker, Self::AllWorkers, Self::Q1, Self::Q2, Self::Q3];

    /// How it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneWorker => "rest-one",
            Self::AllWorkers => "rest-list",
            Self::Q1 => "q1",
            Self::Q2 => "q2",
            Self::Q3 => "q3",
        }
    }

    /// Whether it is put to `/graphql`.
    pub fn is_graphql(self) -> bool {
        match self {
            Self::OneWorker | Self::AllWorkers => false,
            Self::Q1 | Self::Q2 | Self::Q3 => true,
        }
    }

    /// Whether all workers are asked for.
    pub fn is_about_all(self) -> bool {
        match self {
            Self::OneWorker | Self::Q1 => false,
            Self::AllWorkers | Self::Q2 | Self::Q3 => true,
        }
    }

    /// As we, and those who serve the same from memory, are asked.
    pub fn request(self) -> Request {
        match self {
            Self::OneWorker => Request::get(&format!("/api/v1/workers/{}", Fleet::one())),
            Self::AllWorkers => Request::get("/api/v1/workers"),
            Self::Q1 => graphql(&documents::q1()),
            Self::Q2 => graphql(&documents::q2()),
            Self::Q3 => graphql(&documents::q3()),
        }
    }

    /// As it is asked of PostGraphile, which shows tables; none if there is no such thing.
    pub fn of_tables(self) -> Option<Request> {
        let document = match self {
            Self::OneWorker | Self::AllWorkers => return None,
            Self::Q1 => format!("query ($id: String!) {{ worker: workerByRowId(rowId: $id) {{ {COLUMNS} }} }}"),
            Self::Q2 => format!("{{ workers: allWorkers {{ nodes {{ {COLUMNS} }} }} }}"),
            Self::Q3 => "{ workers: allWorkers { nodes { id: rowId zone policy \
                vms { nodes { id: rowId name status vcpus memoryMb } } } } }"
                .to_owned(),
        };
        // It takes variables that a document does not name.
        Some(graphql(&json!({"query": document, "variables": {"id": Fleet::one()}})))
    }

    /// A request on as many connections as are of use; the same number for everybody.
    pub fn script(self, request: &Request) -> Script {
        same(request, if self.is_about_all() { 4 } else { 16 })
    }

    /// What share of the limit is wanted.
    pub fn of_limit(self) -> Target {
        Target::AtLeast(match self {
            Self::OneWorker => 0.85,
            Self::AllWorkers => 0.80,
            Self::Q1 | Self::Q2 => 0.60,
            Self::Q3 => 0.50,
        })
    }
}

/// A question to GraphQL.
pub fn graphql(question: &Value) -> Request {
    Request::post("/graphql", &question.to_string())
}

/// The answer to a request, without errors.
pub async fn answer(address: &str, request: &Request) -> Result<Value> {
    let body = Connection::open(address).await?.ask(request).await?;
    let answer: Value = serde_json::from_slice(&body)?;
    ensure!(answer.get("errors").is_none(), "{}", answer["errors"]);
    Ok(answer)
}

/// Where an answer comes from.
#[derive(Clone, Copy, PartialEq)]
pub enum Source {
    /// Data that were ours.
    Memory,
    /// The tables of our database.
    Tables,
}

/// Holds an answer against ours. From tables come numbers as texts, lists as `nodes`, and other fields as well: there,
/// what both have has to be the same.
pub fn agree(ours: &Value, theirs: &Value, source: Source) -> Result<()> {
    let from_tables = source == Source::Tables;
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ensure!(ours.len() == theirs.len(), "{} instead of {} entries", theirs.len(), ours.len());
            ours.iter().zip(theirs).try_for_each(|(ours, theirs)| agree(ours, theirs, source))
        }
        (Value::Array(_), Value::Object(connection)) if from_tables => agree(ours, &connection["nodes"], source),
        (Value::Object(ours), Value::Object(theirs)) => {
            ensure!(from_tables || ours.len() == theirs.len(), "{} fields instead of {}", theirs.len(), ours.len());
            let shared = |key: &str| theirs.contains_key(key) || !from_tables;
            let compared = |key: &str| key != "uptime" && !(from_tables && NOT_COMPARED.contains(&key));
            ours.iter().filter(|(key, _)| shared(key) && compared(key)).try_for_each(|(key, ours)| {
                let theirs = theirs.get(key).with_context(|| format!("no {key}"))?;
                agree(ours, theirs, source).with_context(|| key.clone())
            })
        }
        _ => {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            ensure!(ours == theirs || from_tables && text(ours) == text(theirs), "{theirs} instead of {ours}");
            Ok(())
        }
    }
}
