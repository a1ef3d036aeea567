//! What is noted after each statement of a connection: that there was one, and for the writer's when it was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sea_orm::DatabaseConnection;

use super::statement_progress::Progress;

tokio::task_local! {
    /// Set while what is sent is not counted.
    static UNCOUNTED: ();
}

/// Runs a future whose statements are not counted: those that are sent whether anybody asks or not, twice a second. What
/// is counted is what requests cost.
pub fn uncounted<F: Future>(polling: F) -> impl Future<Output = F::Output> {
    UNCOUNTED.scope((), polling)
}

/// Counts the statements of a connection, and marks the answers of those that the writer waits for.
#[derive(Clone)]
pub struct StatementMeter {
    statements: Arc<AtomicU64>,
    progress: Option<Arc<Progress>>,
}

impl StatementMeter {
    /// Counts only.
    pub fn new(statements: &Arc<AtomicU64>) -> Self {
        Self { statements: statements.clone(), progress: None }
    }

    /// Counts, and marks each answer as progress of the writer.
    pub fn for_writer(statements: &Arc<AtomicU64>, progress: &Arc<Progress>) -> Self {
        Self { statements: statements.clone(), progress: Some(progress.clone()) }
    }

    /// Meters a connection from now on.
    pub fn attach(self, connection: &mut DatabaseConnection) {
        connection.set_metric_callback(move |sent| {
            let is_uncounted = UNCOUNTED.try_with(|()| ()).is_ok();
            if !is_uncounted && !["NOTIFY ", "PRAGMA "].iter().any(|sql| sent.statement.sql.starts_with(sql)) {
                self.statements.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(progress) = &self.progress {
                progress.mark();
            }
        });
    }
}
