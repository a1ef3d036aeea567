//! A scene: what `aetherium dev` shows of a fleet besides VMs that come and go. Some of its workers are drained and
//! cannot be emptied, each for a reason that its last VM tells, and one falls silent.
//!
//! A worker plays its part by itself (`simulated_worker`); here is who plays which, and the operator who drains them,
//! over the API as any operator.

use std::time::Duration;

use serde_json::{Value, json};
use tracing::warn;

use crate::client::{ApiClient, Question};

/// The scene of a fleet. The default has none: workers are in all zones, and nobody plays a part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    /// How many of the zones the workers are in; all of them, if not said.
    pub zones: Option<usize>,
    /// Who plays which part, by the number of the worker, from 1.
    pub parts: Vec<(u32, Part)>,
    /// Share of the VMs that leave a drained worker every minute, in percent, if it is more than those that are replaced.
    pub evacuation: f64,
}

/// What a worker does in a scene.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// It is drained as soon as its VMs are known, and one of them stays.
    Drained {
        /// Why an operator drains it.
        reason: &'static str,
        /// How long that may take.
        deadline: Duration,
        /// What the worker says of the VM that stays.
        note: &'static str,
    },
    /// It falls silent after its first heartbeat, and never returns.
    Silent,
}

impl Scene {
    /// How many workers it takes to play [`cluster_at_work`](Self::cluster_at_work).
    pub const WORKERS_AT_WORK: u32 = 10;

    /// A small cluster at work: three zones, one drain that is held up, one that is overdue, and a worker that is lost.
    pub fn cluster_at_work() -> Self {
        Self {
            zones: Some(3),
            parts: vec![
                (
                    2,
                    Part::Drained {
                        reason: "new disks",
                        deadline: Duration::from_secs(7_200),
                        note: "live migration refused: local disk",
                    },
                ),
                (
                    6,
                    Part::Drained {
                        reason: "firmware update",
                        deadline: Duration::from_secs(1),
                        note: "no other worker has a GPU",
                    },
                ),
                (9, Part::Silent),
            ],
            evacuation: 60.0,
        }
    }

    /// The part of the worker with this number.
    pub(super) fn part(&self, number: u32) -> Option<&Part> {
        self.parts.iter().find(|(who, _)| *who == number).map(|(_, part)| part)
    }
}

/// Drains a worker over the API. A failure is logged: the scene goes on without.
pub(super) async fn drain(api: &ApiClient, id: &str, reason: &str, deadline: Duration) {
    let body: Value = json!({"reason": reason, "deadline_seconds": deadline.as_secs()});
    if let Err(error) = api.value(Question::post(["workers", id, "drain"], &body)).await {
        warn!(worker.id = id, %error, "Worker {id} could not be drained for the scene");
    }
}
