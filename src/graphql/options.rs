//! The settings of the GraphQL API; `cli::graphql` reads them from the command line. The limits of a document and their
//! defaults are in `operation::limits`.

use std::path::PathBuf;

use super::operation::limits::Limits;
use super::operation::persisted_manifest::TrustedMode;

/// The settings of the GraphQL API.
#[derive(Clone, Debug)]
pub struct GraphqlOptions {
    /// How large a request may be, and how costly its operation.
    pub limits: Limits,
    /// Whether automatic persisted queries are supported: a document that was sent once may then be named by its hash.
    pub persisted_queries: bool,
    /// The file of the persisted query manifest, which lists the trusted documents.
    pub trusted_documents: Option<PathBuf>,
    /// Whether trusted documents are accepted beside others, or nothing else is.
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
