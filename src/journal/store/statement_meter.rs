//! What is noted after each statement of a connection: that there was one, and for the writer's when it was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sea_orm::DatabaseConnection;

use super::statement_progress::Progress;

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
            if !["NOTIFY ", "PRAGMA "].iter().any(|uncounted| sent.statement.sql.starts_with(uncounted)) {
                self.statements.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(progress) = &self.progress {
                progress.mark();
            }
        });
    }
}
