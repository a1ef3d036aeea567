//! What a curve is about, and how that is written in rows.

use std::sync::Arc;

/// What a curve is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// All workers.
    Cluster,
    /// The workers of a zone.
    Zone(Arc<str>),
    /// The worker with this id: as with its events, whichever worker had the id then.
    Worker(Arc<str>),
}

impl Subject {
    /// Its text in rows.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Cluster => "c".to_owned(),
            Self::Zone(zone) => format!("z:{zone}"),
            Self::Worker(id) => format!("w:{id}"),
        }
    }
}
