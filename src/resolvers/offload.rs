//! Offloading: work that would block an async thread for too long runs on a thread of the blocking pool.
//!
//! A task keeps its async thread until it awaits something, and a query that is answered from memory never awaits:
//! while it searches the VMs of a large cluster a hundred times, no health check and no heartbeat is answered on that
//! thread. The operating system divides the cores among threads, so long work moves to a blocking thread. Fewer of
//! these work at once than there are cores, and the rest waits in line, so that many long queries together leave room
//! for short ones.
//!
//! The caller estimates its work in steps of about the same length everywhere: a row that is compared with a filter, or
//! a field that is written. Short work stays on its thread, since a change of threads costs more. What is too much work
//! for any thread is not decided here but by the limits of `graphql`.

use std::future::pending;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking, yield_now};

/// The most steps that are done on an async thread. A step takes a tenth of a microsecond or less, so that all of them
/// take some tens of milliseconds.
pub(crate) const MAX_STEPS: u64 = 250_000;

/// Steps of a field that is resolved by the engine instead of written by a plan.
pub(crate) const STEPS_TO_RESOLVE: u64 = 5;

/// Steps of writing a row of a list.
const STEPS_OF_A_ROW: u64 = 10;

/// With how many entries of a filter a row is compared in one step.
pub(crate) const ENTRIES_OF_A_STEP: u64 = 64;

/// The steps of comparing rows with the entries of a filter, and of writing them.
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
    /// As many threads as cores but one, and at least one.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self { permits: Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))) }
    }
}

impl Offload {
    /// Whether work of so many steps is too long for an async thread.
    pub fn is_long(steps: u64) -> bool {
        steps > MAX_STEPS
    }

    /// Does work of so many steps: at once if it is short, else on another thread, after waiting in line.
    pub async fn run<T: Send + 'static>(&self, steps: u64, work: impl FnOnce() -> T + Send + 'static) -> T {
        if Self::is_long(steps) { Box::pin(self.run_elsewhere(work)).await } else { work() }
    }

    /// Does work on another thread, after waiting in line. If the future is dropped before the work has begun, the work
    /// is not done; work that has begun is finished.
    pub async fn run_elsewhere<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // The semaphore is never closed. If it were, the work would be done without a limit.
        let permit = self.permits.clone().acquire_owned().await.ok();
        let done = spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        // Lets the other tasks of this thread go on first, even if the work is done by now.
        yield_now().await;
        match done.await.map_err(JoinError::try_into_panic) {
            Ok(done) => done,
            // The panic goes on here, so that it is answered and logged as any other.
            Err(Ok(panic)) => resume_unwind(panic),
            // The runtime shuts down, and drops this task.
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
        // It ends when another task, which has only this thread, has had a turn.
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
