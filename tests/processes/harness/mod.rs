//! Programs to run, and ways to wait for what they do.

mod fault;
mod postgres;
mod program;
mod proxy;
mod server;
pub mod storm;
mod stream;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

pub use self::fault::{Injection, Lock, SmallDisk, Trace};
pub use self::postgres::Postgres;
pub use self::program::{Exit, Program, previous_build};
pub use self::proxy::{Conduct, Proxy};
pub use self::server::{Server, http};
pub use self::stream::{EventStream, Protocol, Subscription, TOLD, Told};

/// How long a test waits for what must come. Nothing takes that long, even on a machine that does other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// By how much this machine is late, which is measured until this is dropped: nothing can be quicker.
pub struct Lateness {
    most: Arc<Mutex<Duration>>,
    task: JoinHandle<()>,
}

impl Lateness {
    /// Begins to measure it.
    pub fn measure() -> Self {
        const PAUSE: Duration = Duration::from_millis(20);
        let most = Arc::<Mutex<Duration>>::default();
        let measured = most.clone();
        let task = tokio::spawn(async move {
            loop {
                let begun = Instant::now();
                tokio::time::sleep(PAUSE).await;
                let late = begun.elapsed().saturating_sub(PAUSE);
                let mut most = measured.lock().unwrap();
                *most = late.max(*most);
            }
        });
        Self { most, task }
    }

    /// By how much it was late at most so far.
    pub fn most(&self) -> Duration {
        *self.most.lock().unwrap()
    }

    /// Fails if something took longer than was promised, and not only since the machine was late.
    #[track_caller]
    pub fn assert_within(&self, promised: Duration, took: Duration) {
        let late = self.most();
        assert!(took < promised + late, "it took {took:?}, and the machine was late by {late:?}");
    }
}

impl Drop for Lateness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks until there is an answer.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
