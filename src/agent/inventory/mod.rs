//! The inventory: which VMs run on this host.
//!
//! A [`VmSource`] lists the VMs of one place; [`Inventory`] asks all sources for every heartbeat, on a blocking thread
//! and under a time-out. The source of every host is [`processes`], which finds [`hypervisor`]s among the processes.
//! `qemu`, `firecracker` and `cloud_hypervisor` each parse the arguments of one hypervisor into a `guest`; `arguments`
//! has what their command lines have in common. `change_log` logs which VMs appeared and went. A VM manager with an API of
//! its own would be another implementation of the trait.
//!
//! What the server makes of an inventory, and when it is sent whole, is not decided here: see `agent::heartbeat_planner`.

mod arguments;
mod change_log;
mod cloud_hypervisor;
mod firecracker;
mod guest;
pub mod hypervisor;
pub mod processes;
mod qemu;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

pub(super) use self::change_log::InventoryChanges;
use crate::client::VmReport;

/// The largest number the API takes in any figure of a worker or VM.
pub const LARGEST_FIGURE: u32 = i32::MAX as u32;

/// The longest id that the server takes, in characters; names are cut to the same.
const LONGEST_ID: usize = 255;

/// A VM on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundVm {
    /// The report to the server. A size that is not known is 0.
    pub report: VmReport,
    /// The kind of program that runs it, such as `qemu`, for the log.
    pub kind: &'static str,
}

/// A source of VMs on this host.
pub trait VmSource: Send + Sync {
    /// The name of the source in log lines.
    fn name(&self) -> &str;

    /// All VMs of the source, each id once. It may block. An error means that the list would not be complete.
    fn list(&self) -> io::Result<Vec<FoundVm>>;
}

/// All sources together.
pub struct Inventory {
    sources: Arc<[Box<dyn VmSource>]>,
    reading: Option<JoinHandle<io::Result<Vec<FoundVm>>>>,
}

impl Inventory {
    /// An inventory of these sources. If two of them list one id, that of the first one counts.
    pub fn new(sources: Vec<Box<dyn VmSource>>) -> Self {
        Self { sources: sources.into(), reading: None }
    }

    /// Lists the VMs of all sources, ordered by id. If one source fails, the whole reading fails: an incomplete list
    /// would tell the server that the other VMs are gone.
    ///
    /// A source that hangs (the kernel can block a read of `/proc` for minutes) occupies one thread, and not another
    /// one with every heartbeat: no reading is begun before the last one is done.
    pub async fn read_within(&mut self, limit: Duration) -> io::Result<Vec<FoundVm>> {
        // A reading that has finished since its time-out is too old to be used.
        let mut reading = match self.reading.take() {
            Some(earlier) if !earlier.is_finished() => earlier,
            Some(_) | None => {
                let sources = Arc::clone(&self.sources);
                tokio::task::spawn_blocking(move || list_all(&sources))
            }
        };
        match tokio::time::timeout(limit, &mut reading).await {
            Ok(finished) => finished.map_err(io::Error::other)?,
            Err(_) => {
                self.reading = Some(reading);
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("no list within {limit:?}")))
            }
        }
    }
}

fn list_all(sources: &[Box<dyn VmSource>]) -> io::Result<Vec<FoundVm>> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for source in sources {
        let vms = source.list().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", source.name())))?;
        all.extend(vms.into_iter().filter(|vm| seen.insert(vm.report.id.clone())));
    }
    all.sort_unstable_by(|a, b| a.report.id.cmp(&b.report.id));
    Ok(all)
}

/// A number, cut to the largest figure that the API takes.
pub(super) fn figure(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(LARGEST_FIGURE).min(LARGEST_FIGURE)
}

/// A name without control characters, which would disturb a terminal or a log line; none if nothing is left.
fn printable_name(text: &str) -> Option<String> {
    let name: String = text.trim().chars().map(|c| if c.is_control() { '-' } else { c }).take(LONGEST_ID).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::client::VmStatus;

    /// Longer than any of these readings takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    struct Fixed(&'static [&'static str], u32);

    impl VmSource for Fixed {
        fn name(&self) -> &str {
            "fixed"
        }

        fn list(&self) -> io::Result<Vec<FoundVm>> {
            let report = |id: &&str| VmReport {
                id: (*id).to_owned(),
                name: (*id).to_owned(),
                status: VmStatus::Running,
                vcpus: self.1,
                memory_mb: 1,
                note: None,
                reservation_id: None,
            };
            let vm = |id| FoundVm { report: report(id), kind: "fixed" };
            Ok(self.0.iter().map(vm).collect())
        }
    }

    struct Broken;

    impl VmSource for Broken {
        fn name(&self) -> &str {
            "broken"
        }

        fn list(&self) -> io::Result<Vec<FoundVm>> {
            Err(io::Error::other("out of order"))
        }
    }

    /// A source that tells the test when it is read, and answers when the test lets it.
    struct Slow {
        asked: Sender<()>,
        answer: Mutex<Receiver<()>>,
    }

    impl VmSource for Slow {
        fn name(&self) -> &str {
            "slow"
        }

        fn list(&self) -> io::Result<Vec<FoundVm>> {
            self.asked.send(()).map_err(io::Error::other)?;
            let answer = self.answer.lock().map_err(|_| io::Error::other("poisoned"))?;
            answer.recv().map_err(io::Error::other)?;
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn sources_are_merged_and_the_first_one_is_believed() {
        let mut inventory = Inventory::new(vec![Box::new(Fixed(&["b", "c"], 1)), Box::new(Fixed(&["b", "a"], 2))]);
        let vms = inventory.read_within(PATIENCE).await.unwrap();
        let told: Vec<_> = vms.iter().map(|vm| (vm.report.id.as_str(), vm.report.vcpus)).collect();
        assert_eq!(told, [("a", 2), ("b", 1), ("c", 1)]);
    }

    #[tokio::test]
    async fn half_a_list_is_no_list() {
        let mut inventory = Inventory::new(vec![Box::new(Fixed(&["a"], 1)), Box::new(Broken)]);
        assert_eq!(inventory.read_within(PATIENCE).await.unwrap_err().to_string(), "broken: out of order");
    }

    #[tokio::test]
    async fn a_source_that_hangs_is_asked_once_and_may_recover() {
        let (asked, questions) = channel();
        let (answers, answer) = channel();
        let mut inventory = Inventory::new(vec![Box::new(Slow { asked, answer: Mutex::new(answer) })]);
        for _ in 0..3 {
            let error = inventory.read_within(Duration::ZERO).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        questions.recv().unwrap();
        assert!(questions.try_recv().is_err(), "three beats must not block three threads");

        // One for the reading that hangs, one for a fresh reading in case the first has ended by then.
        answers.send(()).unwrap();
        answers.send(()).unwrap();
        assert_eq!(inventory.read_within(PATIENCE).await.unwrap(), []);
    }

    #[test]
    fn names_are_made_to_fit() {
        for (text, name) in [
            ("web", Some("web")),
            (" web ", Some("web")),
            ("a/b", Some("a/b")),
            ("a\nb\u{7f}", Some("a-b-")),
            ("", None),
            (" ", None),
            ("größe", Some("größe")),
        ] {
            assert_eq!(printable_name(text).as_deref(), name, "{text:?}");
        }
        assert_eq!(printable_name(&"ü".repeat(300)).unwrap().chars().count(), 255);
    }

    #[test]
    fn figures_are_kept_within_the_apis_range() {
        for (number, expected) in [(0, 0), (4, 4), (1 << 31, LARGEST_FIGURE), (u64::MAX, LARGEST_FIGURE)] {
            assert_eq!(figure(number), expected);
        }
    }
}
