//! The persisted query manifest: the trusted documents of an operator, loaded at the start and named by their ids in
//! requests.
//!
//! The format is Apollo's, which its client tools write. Each operation is validated before the server starts to serve,
//! so that the operations of a dashboard either fit this server or stop its start with an error that names them.
//!
//! Requests reach these documents through the [document cache](super::document_cache), or by their addresses
//! (`transport::stored_operation`).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use async_graphql::Response;
use serde::Deserialize;

use super::document::{Document, DocumentParser};
use crate::graphql::error::request_error;
use crate::resolvers::checks::truncate;

/// The `format` of a manifest.
const MANIFEST_FORMAT: &str = "apollo-persisted-query-manifest";

/// The supported `version` of the format.
const MANIFEST_VERSION: u32 = 1;

/// Whether trusted documents are used, and whether others are allowed beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrustedMode {
    /// Trusted documents are not used.
    Off,
    /// They can be named by their ids; any other document is allowed, too.
    #[default]
    Allow,
    /// No other document is allowed.
    Only,
}

impl FromStr for TrustedMode {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "off" => Ok(Self::Off),
            "allow" => Ok(Self::Allow),
            "only" => Ok(Self::Only),
            other => Err(format!("must be off, allow or only, not {}", truncate(other))),
        }
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("Cannot use the trusted documents of {}: {problem}", file.display())]
pub struct ManifestError {
    file: PathBuf,
    problem: String,
}

#[derive(Deserialize)]
struct Manifest {
    format: String,
    version: u32,
    operations: Vec<Operation>,
}

#[derive(Deserialize)]
struct Operation {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    body: String,
}

/// The trusted documents by their ids.
pub struct TrustedDocuments {
    pub mode: TrustedMode,
    documents: HashMap<String, Arc<Document>>,
}

impl TrustedDocuments {
    /// No documents.
    pub fn empty(mode: TrustedMode) -> Self {
        Self { mode, documents: HashMap::new() }
    }

    /// Loads a manifest and validates all of its operations.
    pub fn load(file: &Path, mode: TrustedMode, parser: &DocumentParser) -> Result<Self, ManifestError> {
        let operations = match read_manifest(file) {
            Ok(operations) => operations,
            Err(problem) => return Err(ManifestError { file: file.to_owned(), problem }),
        };
        let mut trusted = Self { mode, documents: HashMap::with_capacity(operations.len()) };
        for operation in operations {
            let document = match trusted.documents.contains_key(&operation.id) {
                true => Err("another operation has the same id".to_owned()),
                false => operation.parse(parser),
            };
            let document = document.map_err(|problem| {
                let problem =
                    format!("operation {} (id {}): {problem}", truncate(&operation.name), truncate(&operation.id));
                ManifestError { file: file.to_owned(), problem }
            })?;
            trusted.documents.insert(operation.id, document);
        }
        Ok(trusted)
    }

    /// The document with this id. A prefix `sha256:` of an id is ignored if there is no document with the prefix.
    pub fn find(&self, id: &str) -> Option<&Arc<Document>> {
        self.documents.get(id).or_else(|| self.documents.get(id.strip_prefix("sha256:")?))
    }

    /// The document with this id, or the error response if there is none.
    pub fn document(&self, id: &str) -> Result<&Arc<Document>, Response> {
        self.find(id).ok_or_else(|| self.not_found(id))
    }

    /// The error response to an unknown id.
    pub fn not_found(&self, id: &str) -> Response {
        let problem = match self.mode {
            TrustedMode::Off => "this server has no trusted documents, it is started without --trusted-documents",
            TrustedMode::Allow | TrustedMode::Only => "it is not in the manifest that the server was started with",
        };
        let problem = format!("There is no document with the id {:?}: {problem}", truncate(id));
        Response::from_errors(vec![request_error("PERSISTED_QUERY_NOT_FOUND", problem)])
    }
}

/// The error response to a document without an id, where only trusted documents are allowed.
pub fn id_required() -> Response {
    let problem = "Only trusted documents are answered here: send the `documentId` of one instead of a `query`";
    Response::from_errors(vec![request_error("PERSISTED_QUERY_ID_REQUIRED", problem)])
}

/// Reads the operations of a manifest file.
fn read_manifest(file: &Path) -> Result<Vec<Operation>, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("the file cannot be read: {error}"))?;
    let manifest: Manifest =
        serde_json::from_str(&text).map_err(|error| format!("it is not a manifest in JSON: {error}"))?;
    if manifest.format != MANIFEST_FORMAT || manifest.version != MANIFEST_VERSION {
        let (format, version) = (truncate(&manifest.format), manifest.version);
        return Err(format!(
            "it is {format:?} version {version}, and what is read is {MANIFEST_FORMAT:?} version {MANIFEST_VERSION}"
        ));
    }
    Ok(manifest.operations)
}

impl Operation {
    /// Parses the document. It must be valid and have one operation, of the type and name that the manifest states.
    fn parse(&self, parser: &DocumentParser) -> Result<Arc<Document>, String> {
        let first_message = |error_response: Response| {
            let first = error_response.errors.into_iter().next();
            first.map_or_else(|| "it is refused".to_owned(), |error| error.message)
        };
        let document = parser.parse(&self.body).map_err(first_message)?;
        let Some(operation) = document.operation(None) else {
            return Err("its body must be one operation with its fragments".to_owned());
        };
        let kind = operation.ty.to_string();
        if kind != self.kind {
            return Err(format!("its body is a {kind}, and not a {}", truncate(&self.kind)));
        }
        if document.only_operation_name().is_some_and(|name| *name != self.name) {
            return Err("its body has another name".to_owned());
        }
        Ok(document)
    }
}
