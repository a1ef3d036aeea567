//! Programs to run, and ways to wait for what they do.

mod fault;
mod postgres;
mod program;
mod proxy;
mod server;
pub mod storm;
mod stream;

use std::time::{Duration, Instant};

pub use self::fault::{Injection, Lock, SmallDisk, Trace};
pub use self::postgres::Postgres;
pub use self::program::{Exit, Program, previous_build};
pub use self::proxy::{Conduct, Proxy};
pub use self::server::{Server, http};
pub use self::stream::{EventStream, Protocol, Subscription, TOLD, Told};

/// How long a test waits for what must come. Nothing takes that long, even on a machine that does other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

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
