//! Work that is too long for a thread on which others wait: it is done on a thread of its own.
//!
//! A task of the runtime has its thread until it waits for something, and a question that is answered from memory never
//! waits: while the VMs of a large cluster are searched a hundred times, nobody on that thread is told that the server
//! is well, and no heartbeat is taken. The operating system takes turns between threads, so what is long moves to one
//! of those that the runtime has for blocking work. Only so many of them work at once, fewer than there are cores, and
//! the rest waits in line: many long questions together leave room for the short ones, too.
//!
//! Whoever moves work says how much it is, in steps of about the same length everywhere: a row that is compared with a
//! filter, or a field that is written. What is short stays where it is, since a thread's change costs more than it.

use std::future::pending;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking, yield_now};

/// Most steps that are done at once, on the thread that others wait for. A step is a tenth of a microsecond, or less,
/// so that all of them are some tens of milliseconds.
pub(crate) const MAX_STEPS: u64 = 250_000;

/// Steps that a field takes when it is resolved, instead of written by plan.
pub(crate) const STEPS_TO_RESOLVE: u64 = 5;

/// Steps that it takes to write a row of a list.
const STEPS_OF_A_ROW: u64 = 10;

/// Entries of a filter that a row is compared with in one step.
pub(crate) const ENTRIES_OF_A_STEP: u64 = 64;

/// How many steps it takes to write so many rows, each of which is compared with so many entries of a filter.
pub(super) fn steps(rows: usize, entries: usize) -> u64 {
    let steps_of_each = STEPS_OF_A_ROW.saturating_add((entries as u64).div_ceil(ENTRIES_OF_A_STEP));
    steps_of_each.saturating_mul(rows as u64)
}

/// Where long work is done. Cheap to clone; clones share their threads.
#[derive(Clone, Debug)]
pub struct Offload {
    permits: Arc<Semaphore>,
}

impl Default for Offload {
    /// One core is left to everybody else, if there are several.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self { permits: Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))) }
    }
}

impl Offload {
    /// Whether work of so many steps is too long for the thread of others.
    pub fn is_long(steps: u64) -> bool {
        steps > MAX_STEPS
    }

    /// Does work of so many steps: at once if it is short, else on another thread, when its turn has come.
    pub async fn run<T: Send + 'static>(&self, steps: u64, work: impl FnOnce() -> T + Send + 'static) -> T {
        if Self::is_long(steps) { Box::pin(self.run_elsewhere(work)).await } else { work() }
    }

    /// Does work on another thread, when its turn has come. Whoever stops waiting for that turn gives it up; work that
    /// has begun is done.
    pub async fn run_elsewhere<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // It is never closed. If it were, there would be no limit, which is better than no answer.
        let permit = self.permits.clone().acquire_owned().await.ok();
        let done = spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        // Done or not by now: others have a turn.
        yield_now().await;
        match done.await.map_err(JoinError::try_into_panic) {
            Ok(done) => done,
            // It goes on where it would have happened, so that it is answered and logged as any other.
            Err(Ok(panic)) => resume_unwind(panic),
            // The runtime ends, and whoever waits here with it.
            Err(Err(_)) => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use futures_util::future::join_all;
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn long_work_leaves_its_thread_to_others_until_it_is_done() {
        let offload = Offload::default();
        let (release, wait) = mpsc::channel();
        // It ends when somebody else, who has only this thread, has had a turn.
        let mut long = Box::pin(offload.run(MAX_STEPS + 1, move || wait.recv().unwrap()));
        assert!(poll!(&mut long).is_pending());
        tokio::spawn(async move { release.send("others").unwrap() }).await.unwrap();
        assert_eq!(long.await, "others");
    }

    #[tokio::test]
    async fn short_work_is_done_where_it_is() {
        let here = thread::current().id();
        let offload = Offload::default();
        assert_eq!(offload.run(MAX_STEPS, || thread::current().id()).await, here);
        assert_ne!(offload.run(MAX_STEPS + 1, || thread::current().id()).await, here);
    }

    #[tokio::test]
    async fn no_more_of_it_is_done_at_once_than_there_are_permits() {
        let offload = Offload { permits: Arc::new(Semaphore::new(2)) };
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let works = (0..50).map(|_| {
            let (now, most) = (now.clone(), most.clone());
            offload.run(u64::MAX, move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
            })
        });
        join_all(works).await;
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    #[should_panic(expected = "as it would have been")]
    async fn a_panic_is_passed_on() {
        Offload::default().run(u64::MAX, || -> () { panic!("as it would have been") }).await;
    }
}
