//! One run of the binary: it is started, waited for and killed here, and its output is read. What a server among them is
//! asked is in `server`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::PATIENCE;

/// A program that runs; it does not outlive the test.
pub struct Program {
    child: Child,
    out: Heard,
    err: Heard,
    folder: TempDir,
    _last_words: LastWords,
}

/// Shows what a program said last if the test that runs it fails.
struct LastWords(watch::Receiver<String>);

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.0.borrow();
            let lines: Vec<_> = said.lines().rev().take(30).collect();
            eprintln!("the program's last words:\n{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// The program of the previous build, which `tests/upgrade/build` makes of the commit that `tests/upgrade/previous` names.
pub fn previous_build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let commit = std::fs::read_to_string(root.join("tests/upgrade/previous")).unwrap();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
    let program = target.join("previous").join(commit.trim()).join("aetherium");
    assert!(program.exists(), "{} is not there: tests/upgrade/build makes it", program.display());
    program
}

/// How a program ended.
#[derive(Debug)]
pub struct Exit {
    /// Its status; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
}

impl Program {
    /// Starts `aetherium` with these arguments, in an empty folder and with no settings in the environment.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// Starts it with these variables.
    pub fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_build(Path::new(env!("CARGO_BIN_EXE_aetherium")), arguments, variables)
    }

    /// Starts a build of it.
    pub fn start_build(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("aetherium-processes-").tempdir().unwrap();
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
            .env("TMPDIR", folder.path())
            // An agent keeps nothing where that of this machine does.
            .env("AETHERIUM_AGENT_STATE_DIR", folder.path().join("state"))
            .envs(variables.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let out = Heard::from(child.stdout.take().unwrap());
        let err = Heard::from(child.stderr.take().unwrap());
        let last_words = LastWords(err.text.clone());
        Self { child, out, err, folder, _last_words: last_words }
    }

    /// Runs it to its end.
    pub async fn run(arguments: &[&str]) -> Exit {
        Self::start(arguments).exit().await
    }

    /// The folder that it works in, and makes temporary files in.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Waits for a log line that says so.
    pub async fn logged(&mut self, what: &str, says_so: impl Fn(&Value) -> bool) -> Value {
        let found = |text: &str| lines(text).find(|line| says_so(line));
        self.err.wait_for(what, |text| found(text).is_some()).await;
        let text = self.err.text.borrow();
        found(&text).unwrap_or_else(|| panic!("it ended without {what}:\n{}", *text))
    }

    /// Waits until a line with this is on standard output, and returns all lines that are there.
    pub async fn printed(&mut self, words: &str) -> String {
        if !self.out.wait_for(words, |text| whole_lines(text).contains(words)).await {
            panic!("it ended without {words:?}:\n{}\n{}", *self.out.text.borrow(), *self.err.text.borrow());
        }
        whole_lines(&self.out.text.borrow()).to_owned()
    }

    /// Waits until this is on standard error.
    pub async fn has_said(&mut self, words: &str) {
        if !self.err.wait_for(words, |text| text.contains(words)).await {
            panic!("it ended and never said {words:?}:\n{}", *self.err.text.borrow());
        }
    }

    /// What it has written to standard output so far.
    pub fn heard(&self) -> String {
        self.out.text.borrow().clone()
    }

    /// What it has written to standard error so far.
    pub fn said(&self) -> String {
        self.err.text.borrow().clone()
    }

    /// Sends a signal: `TERM`, `INT`.
    pub fn signal(&self, name: &str) {
        send(name, self.pid());
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it still runs")
    }

    /// Kills it, as a lack of memory or a power cut would.
    pub fn kill(&mut self) {
        self.child.start_kill().unwrap();
    }

    /// Waits for its end. Whatever it logged has to be flat JSON.
    pub async fn exit(mut self) -> Exit {
        let status = match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("it did not end within {PATIENCE:?}:\n{}", *self.err.text.borrow()),
        };
        let exit = Exit { code: status.code(), out: self.out.all().await, err: self.err.all().await };
        for line in lines(&exit.err) {
            let fields = line.as_object().expect("a log line is an object");
            assert!(fields.values().all(|value| !value.is_object() && !value.is_array()), "not flat: {line}");
            assert!(["timestamp", "level", "message", "target"].iter().all(|key| fields.contains_key(*key)), "{line}");
        }
        exit
    }
}

/// Sends a signal to a process.
pub(super) fn send(name: &str, pid: u32) {
    // Every shell has its own `kill`; the program of that name is not installed everywhere.
    let pid = pid.to_string();
    let sent = std::process::Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status().unwrap();
    assert!(sent.success(), "cannot send SIG{name} to {pid}");
}

/// What was logged. What is said to whoever started the program is not of these: a sentence, or an object of another form
/// with `-o json`.
fn lines(text: &str) -> impl Iterator<Item = Value> {
    let logged = whole_lines(text).lines().filter(|line| line.starts_with("{\"timestamp\""));
    logged.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}")))
}

/// A text without its last line, if the rest of that may still be on its way.
fn whole_lines(text: &str) -> &str {
    text.rfind('\n').map_or("", |end| &text[..=end])
}

/// What comes out of a program.
struct Heard {
    text: watch::Receiver<String>,
    reader: JoinHandle<()>,
}

impl Heard {
    fn from(mut pipe: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (heard, text) = watch::channel(String::new());
        let reader = tokio::spawn(async move {
            let mut bytes = Vec::new();
            while pipe.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                // What is cut in the middle of a character is whole when the rest has come.
                if let Ok(more) = std::str::from_utf8(&bytes) {
                    heard.send_modify(|text| text.push_str(more));
                    bytes.clear();
                }
            }
        });
        Self { text, reader }
    }

    /// Waits until what was heard is enough; `false` if it never will be.
    async fn wait_for(&mut self, what: &str, is_enough: impl Fn(&str) -> bool) -> bool {
        let outcome = timeout(PATIENCE, self.text.wait_for(|text| is_enough(text))).await.map(|found| found.is_ok());
        outcome
            .unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain for {what}, and heard:\n{}", *self.text.borrow()))
    }

    /// All of it, when the program has ended.
    async fn all(self) -> String {
        self.reader.await.unwrap();
        self.text.borrow().clone()
    }
}
