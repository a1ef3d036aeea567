//! What an operator may set about GraphQL.

use std::path::PathBuf;

use super::operation::limits::Limits;
use super::operation::persisted_manifest::TrustedMode;

/// What an operator may set about GraphQL.
#[derive(Clone, Debug)]
pub struct GraphqlOptions {
    /// How large a request may be.
    pub limits: Limits,
    /// Whether documents may be asked for by their hashes, once they have been sent.
    pub persisted_queries: bool,
    /// A manifest of documents that are trusted.
    pub trusted_documents: Option<PathBuf>,
    /// What they are for.
    pub trusted_documents_mode: TrustedMode,
}

impl Default for GraphqlOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            persisted_queries: true,
            trusted_documents: None,
            trusted_documents_mode: TrustedMode::default(),
        }
    }
}
