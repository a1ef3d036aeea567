//! The policy hook: the command that the operator of a host has the agent run when the policy of its worker changes,
//! such as a script that migrates the VMs of a host that is drained.
//!
//! The hook is told the policy that stands, in its environment, and not what changed: it is run once after each start of
//! the agent, since the policy may have changed while the agent was away, and again after a failure. So a script has
//! to do nothing where nothing is left to do. One run at a time: a run for a policy that does not stand any more is ended
//! before the next one begins. What is told of a failure to the server is in a heartbeat's `policy_error`, which is
//! planned by the agent.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long after a failure the hook is run again. What keeps it from its end is seldom gone within seconds, and a host
/// that cannot be emptied should not be busy with trying.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// How long a hook may take to end after SIGTERM. Then it is ended by SIGKILL, so that a script that ignores the first
/// cannot keep the next policy from being acted on.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is looked whether all processes of a run have ended.
const GROUP_POLL: Duration = Duration::from_millis(20);

/// How long the output of a hook is read after its end: a process that it has left in the background may hold the pipe
/// open for ever.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);

/// Bytes of a line of output that are logged; the rest of the line is left out.
const LONGEST_LINE: usize = 300;

/// Characters of a failure that are told to the server: what its API accepts.
const LONGEST_FAILURE: usize = 500;

/// The policy of the worker, as a heartbeat was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StandingPolicy {
    /// `active` or `draining`.
    pub(super) policy: String,
    /// The number of its last change; none with a server that does not tell.
    pub(super) revision: Option<u64>,
    /// Why the worker is drained.
    pub(super) reason: Option<String>,
    /// Until when it should be empty, in RFC 3339.
    pub(super) deadline: Option<String>,
}

/// Runs the hook in a task of its own, so that heartbeats do not wait for it.
#[derive(Debug)]
pub(super) struct PolicyHook {
    standing: watch::Sender<Option<StandingPolicy>>,
    failure: watch::Receiver<Option<String>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl PolicyHook {
    /// Begins to wait for a policy. `command` is given to the shell.
    pub(super) fn start(command: String, worker_id: String) -> Self {
        let standing = watch::Sender::default();
        let (tell_failure, failure) = watch::channel(None);
        let stop = CancellationToken::new();
        let runner = Runner {
            command,
            worker_id,
            standing: standing.subscribe(),
            failure: tell_failure,
            stop: stop.clone(),
            last_line: Arc::default(),
        };
        let task = tokio::spawn(runner.run());
        Self { standing, failure, stop, task }
    }

    /// The policy that stands, of which the hook is told if it is another one than before.
    pub(super) fn tell(&self, standing: StandingPolicy) {
        self.standing.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&standing);
            *known = Some(standing);
            is_new
        });
    }

    /// Why the last run failed; none while the first run for a policy goes on, or if it did not fail.
    pub(super) fn failure(&mut self) -> Option<String> {
        self.failure.borrow_and_update().clone()
    }

    /// For waiting until the above differs from what it was when it was last asked for.
    pub(super) fn watch_failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.clone()
    }

    /// Ends the run that goes on, if there is one.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // It cannot panic, and if it did, there would be nothing to stop.
        let _ = self.task.await;
    }
}

/// The task.
struct Runner {
    command: String,
    worker_id: String,
    standing: watch::Receiver<Option<StandingPolicy>>,
    failure: watch::Sender<Option<String>>,
    stop: CancellationToken,
    /// The last line that the present run has written.
    last_line: Arc<Mutex<String>>,
}

/// What became of a run.
enum Outcome {
    Ended(ExitStatus),
    NotStarted(io::Error),
    /// Another policy stands.
    Superseded,
    /// The agent stops.
    Stopped,
}

impl Runner {
    async fn run(mut self) {
        let stop = self.stop.clone();
        while let Some(Ok(())) = stop.run_until_cancelled(self.standing.changed()).await {
            if !self.act_on_standing_policy().await {
                return;
            }
        }
    }

    /// Runs the hook for the policy that stands, until it has succeeded. False when the agent stops.
    async fn act_on_standing_policy(&mut self) -> bool {
        let worker_id = self.worker_id.clone();
        let mut acted_on: Option<String> = None;
        loop {
            let Some(standing) = self.standing.borrow_and_update().clone() else { return true };
            let policy = standing.policy.clone();
            if acted_on.as_ref() != Some(&policy) {
                self.set_failure(None);
                acted_on = Some(policy.clone());
            }
            info!(worker.id = %worker_id, policy, "The policy hook of worker {worker_id} begins, which is {policy}");
            let failure = match self.run_once(&standing).await {
                Outcome::Stopped => return false,
                Outcome::Superseded => {
                    info!(
                        worker.id = %worker_id, policy,
                        "The policy hook of worker {worker_id} was stopped, since it is not {policy} any more"
                    );
                    continue;
                }
                Outcome::Ended(status) if status.success() => {
                    info!(worker.id = %worker_id, policy, "The policy hook of worker {worker_id} has succeeded");
                    self.set_failure(None);
                    return true;
                }
                Outcome::Ended(status) => {
                    let last_line = self.last_line.lock().map(|line| line.clone()).unwrap_or_default();
                    let colon = if last_line.is_empty() { "" } else { ": " };
                    format!("the policy hook ended with {status}{colon}{last_line}")
                }
                Outcome::NotStarted(error) => format!("the policy hook cannot be started: {error}"),
            };
            warn!(worker.id = %worker_id, policy, "Worker {worker_id}: {failure}; it is run again in {RETRY_AFTER:?}");
            self.set_failure(Some(failure.chars().take(LONGEST_FAILURE).collect()));
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = tokio::time::sleep(RETRY_AFTER) => {}
                // Told anew, or never again.
                _ = self.standing.changed() => {}
            }
        }
    }

    async fn run_once(&mut self, standing: &StandingPolicy) -> Outcome {
        if let Ok(mut line) = self.last_line.lock() {
            line.clear();
        }
        let mut child = match self.command(standing).spawn() {
            Ok(child) => child,
            Err(error) => return Outcome::NotStarted(error),
        };
        let group = child.id();
        let mut output = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            output.spawn(log_lines(stdout, self.worker_id.clone(), self.last_line.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            output.spawn(log_lines(stderr, self.worker_id.clone(), self.last_line.clone()));
        }
        let mut standing_now = self.standing.clone();
        let outcome = tokio::select! {
            ended = child.wait() => ended.map_or_else(Outcome::NotStarted, Outcome::Ended),
            () = self.stop.cancelled() => Outcome::Stopped,
            // With another reason or deadline the run goes on, and there is another one after it.
            now = standing_now.wait_for(|now| now.as_ref().is_some_and(|now| now.policy != standing.policy)) => {
                now.map_or(Outcome::Stopped, |_| Outcome::Superseded)
            }
        };
        if matches!(outcome, Outcome::Superseded | Outcome::Stopped) {
            end(&mut child, group).await;
        }
        let _ = tokio::time::timeout(OUTPUT_TIMEOUT, async { while output.join_next().await.is_some() {} }).await;
        outcome
    }

    fn command(&self, StandingPolicy { policy, revision: _, reason, deadline }: &StandingPolicy) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(&self.command);
        // What speaks for the worker is not for scripts, nor is what speaks to Consul.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().contains("TOKEN")) {
            command.env_remove(name);
        }
        command.env("AETHERIUM_WORKER_ID", &self.worker_id).env("AETHERIUM_POLICY", policy);
        for (name, value) in [("AETHERIUM_POLICY_REASON", reason), ("AETHERIUM_POLICY_DEADLINE", deadline)] {
            match value {
                // The environment cannot carry NUL.
                Some(value) => command.env(name, value.replace('\0', "")),
                None => command.env_remove(name),
            };
        }
        // In a process group of its own, so that what the script has started is ended with it.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn set_failure(&self, failure: Option<String>) {
        self.failure.send_if_modified(|known| {
            let is_new = *known != failure;
            *known = failure;
            is_new
        });
    }
}

/// Ends a run with all that it has started and that has stayed in its process group.
async fn end(child: &mut Child, group: Option<u32>) {
    let Some(group) = group.and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw) else { return };
    let everybody_has_ended = async {
        let _ = child.wait().await;
        // Nobody tells when the last of a group ends.
        while killpg(group, None).is_ok() {
            tokio::time::sleep(GROUP_POLL).await;
        }
    };
    // It fails if there is nobody left, which is what is wanted.
    let _ = killpg(group, Signal::SIGTERM);
    if tokio::time::timeout(STOP_TIMEOUT, everybody_has_ended).await.is_err() {
        let _ = killpg(group, Signal::SIGKILL);
        let _ = child.wait().await;
    }
}

/// Logs each line of the output, and remembers the last one.
async fn log_lines(mut output: impl AsyncRead + Unpin, worker_id: String, last_line: Arc<Mutex<String>>) {
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = output.read(&mut buffer).await.unwrap_or(0);
        for &byte in &buffer[..read] {
            match byte {
                b'\n' => log_line(&mut line, &worker_id, &last_line),
                _ if line.len() < LONGEST_LINE => line.push(byte),
                _ => {}
            }
        }
        if read == 0 {
            return log_line(&mut line, &worker_id, &last_line);
        }
    }
}

fn log_line(line: &mut Vec<u8>, worker_id: &str, last_line: &Mutex<String>) {
    let text: String = String::from_utf8_lossy(line).chars().filter(|letter| !letter.is_control()).collect();
    line.clear();
    if text.trim().is_empty() {
        return;
    }
    info!(worker.id = %worker_id, "The policy hook of worker {worker_id} says: {text}");
    if let Ok(mut last_line) = last_line.lock() {
        *last_line = text;
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// How long a test waits for what must come.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn policy(policy: &str, revision: u64) -> StandingPolicy {
        StandingPolicy { policy: policy.to_owned(), revision: Some(revision), reason: None, deadline: None }
    }

    /// A hook whose script writes into a pipe that the test reads, so that nobody waits for a time.
    struct Scene {
        _folder: tempfile::TempDir,
        pipe: tokio::net::unix::pipe::Receiver,
        path: PathBuf,
        hook: Option<PolicyHook>,
    }

    impl Scene {
        /// `script` writes to `$PIPE`.
        fn begin(script: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("pipe");
            assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
            let pipe = tokio::net::unix::pipe::OpenOptions::new().read_write(true).open_receiver(&path).unwrap();
            let hook = PolicyHook::start(format!("PIPE={}; {script}", path.display()), "w1".to_owned());
            Self { _folder: folder, pipe, path, hook: Some(hook) }
        }

        fn hook(&mut self) -> &mut PolicyHook {
            self.hook.as_mut().unwrap()
        }

        async fn line(&mut self) -> String {
            let mut line = Vec::new();
            let reading = async {
                loop {
                    match self.pipe.read_u8().await.unwrap() {
                        b'\n' => break String::from_utf8(line).unwrap(),
                        byte => line.push(byte),
                    }
                }
            };
            tokio::time::timeout(PATIENCE, reading).await.unwrap()
        }

        async fn failure(&mut self) -> String {
            let mut failure = self.hook().watch_failure();
            let failure = tokio::time::timeout(PATIENCE, failure.wait_for(Option::is_some)).await.unwrap().unwrap();
            failure.clone().unwrap()
        }
    }

    #[tokio::test]
    async fn the_hook_learns_the_policy_its_reason_and_its_deadline() {
        let script = r#"echo "$AETHERIUM_WORKER_ID $AETHERIUM_POLICY [$AETHERIUM_POLICY_REASON] [$AETHERIUM_POLICY_DEADLINE]" > $PIPE"#;
        let mut scene = Scene::begin(script);
        let (reason, deadline) = (Some("new disk; $(reboot)\0".to_owned()), Some("2026-01-01T00:00:00Z".to_owned()));
        scene.hook().tell(StandingPolicy { reason, deadline, ..policy("draining", 4) });
        assert_eq!(scene.line().await, "w1 draining [new disk; $(reboot)] [2026-01-01T00:00:00Z]");
        // Told again, it has nothing to do; the next line is that of the next policy.
        scene.hook().tell(policy("active", 5));
        scene.hook().tell(policy("active", 5));
        assert_eq!(scene.line().await, "w1 active [] []");
        scene.hook().tell(policy("draining", 6));
        assert_eq!(scene.line().await, "w1 draining [] []");
        assert_eq!(scene.hook().failure(), None);
        scene.hook.take().unwrap().stop().await;
    }

    #[tokio::test]
    async fn a_failure_is_told_with_the_last_line_until_the_policy_is_another_one() {
        let script = r#"echo begins; if [ $AETHERIUM_POLICY = draining ]; then echo "vm-7: no $(printf '\033')target" >&2; exit 3; fi; echo done > $PIPE"#;
        let mut scene = Scene::begin(script);
        scene.hook().tell(policy("draining", 1));
        let failure = scene.failure().await;
        assert!(failure.starts_with("the policy hook ended with exit status: 3"), "{failure}");
        scene.hook().tell(policy("active", 2));
        assert_eq!(scene.line().await, "done");
        assert_eq!(scene.hook().failure(), None);
        scene.hook.take().unwrap().stop().await;
    }

    #[tokio::test]
    async fn a_run_for_a_policy_that_does_not_stand_any_more_is_ended_with_what_it_started() {
        let script = r#"if [ $AETHERIUM_POLICY = draining ]; then (trap 'echo ended > $PIPE; exit' TERM; echo begun > $PIPE; while :; do sleep 0.1; done) & wait; else echo active > $PIPE; fi"#;
        let mut scene = Scene::begin(script);
        scene.hook().tell(policy("draining", 1));
        assert_eq!(scene.line().await, "begun");
        scene.hook().tell(policy("active", 2));
        let mut lines = [scene.line().await, scene.line().await];
        lines.sort_unstable();
        assert_eq!(lines, ["active", "ended"]);
        scene.hook().tell(policy("draining", 3));
        assert_eq!(scene.line().await, "begun");
        scene.hook.take().unwrap().stop().await;
        assert_eq!(scene.line().await, "ended");
    }

    #[tokio::test]
    async fn with_another_reason_a_run_goes_on_and_is_followed_by_another_one() {
        let script = r#"echo "begins $AETHERIUM_POLICY_REASON" > $PIPE; [ "$AETHERIUM_POLICY_REASON" ] || while [ ! -e $PIPE.go ]; do sleep 0.05; done; echo "ends $AETHERIUM_POLICY_REASON" > $PIPE"#;
        let mut scene = Scene::begin(script);
        scene.hook().tell(policy("draining", 1));
        assert_eq!(scene.line().await, "begins ");
        scene.hook().tell(StandingPolicy { reason: Some("disk".to_owned()), ..policy("draining", 2) });
        std::fs::write(scene.path.with_extension("go"), "").unwrap();
        assert_eq!(scene.line().await, "ends ");
        assert_eq!(scene.line().await, "begins disk");
        assert_eq!(scene.line().await, "ends disk");
        scene.hook.take().unwrap().stop().await;
    }
}
