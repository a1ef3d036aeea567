//! The journal behind a [`Permit`], which only [`authorize`](crate::auth::Principal::authorize) gives: an operation that
//! asks nobody reaches it only by saying that it works for the server itself. Who asks for what is in [`access`](super::access).

use crate::auth::Permit;
use crate::journal::Journal;

/// The journal, for those who may.
#[derive(Clone, Debug)]
pub(super) struct GuardedJournal(Journal);

impl GuardedJournal {
    pub(super) fn new(journal: Journal) -> Self {
        Self(journal)
    }

    /// The journal, for an operation that was authorized.
    pub(super) fn with(&self, _: Permit) -> &Journal {
        &self.0
    }

    /// The journal, for what answers nobody, or only whom an operation has let in before: the next item of a stream, the
    /// health of this server.
    pub(super) fn for_server(&self) -> &Journal {
        &self.0
    }
}
