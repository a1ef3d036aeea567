//! DocumentCache that an operator trusts: read from a manifest at the start, and asked for by their ids.
//!
//! The manifest is Apollo's, as its client tools write it. Each operation is validated before the
//! server starts to serve: what a dashboard was built with either fits this server, or is named.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use async_graphql::Response;
use serde::Deserialize;

use super::document::{Document, DocumentParser};
use crate::graphql::error::request_error;
use crate::resolvers::input::echo;

/// What a manifest says it is.
const FORMAT: &str = "apollo-persisted-query-manifest";

/// The version of the format that is read here.
const VERSION: u32 = 1;

/// What trusted documents are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrustedMode {
    /// There are none.
    Off,
    /// They can be asked for by their ids, beside any other document.
    #[default]
    Allow,
    /// Nothing else is answered.
    Only,
}

impl FromStr for TrustedMode {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "off" => Ok(Self::Off),
            "allow" => Ok(Self::Allow),
            "only" => Ok(Self::Only),
            other => Err(format!("must be off, allow or only, not {}", echo(other))),
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

/// The documents by their ids.
pub struct TrustedDocuments {
    pub mode: TrustedMode,
    documents: HashMap<String, Arc<Document>>,
}

impl TrustedDocuments {
    /// There are none.
    pub fn empty(mode: TrustedMode) -> Self {
        Self { mode, documents: HashMap::new() }
    }

    /// Reads a manifest, all of whose operations have to be valid.
    pub fn read(file: &Path, mode: TrustedMode, reader: &DocumentParser) -> Result<Self, ManifestError> {
        let operations = match operations(file) {
            Ok(operations) => operations,
            Err(problem) => return Err(ManifestError { file: file.to_owned(), problem }),
        };
        let mut trusted = Self { mode, documents: HashMap::with_capacity(operations.len()) };
        for operation in operations {
            let document = match trusted.documents.contains_key(&operation.id) {
                true => Err("another operation has the same id".to_owned()),
                false => operation.read(reader),
            };
            let document = document.map_err(|problem| {
                let problem = format!("operation {} (id {}): {problem}", echo(&operation.name), echo(&operation.id));
                ManifestError { file: file.to_owned(), problem }
            })?;
            trusted.documents.insert(operation.id, document);
        }
        Ok(trusted)
    }

    /// The document with this id; `sha256:` in front of a hash says only that it is one.
    pub fn find(&self, id: &str) -> Option<&Arc<Document>> {
        self.documents.get(id).or_else(|| self.documents.get(id.strip_prefix("sha256:")?))
    }

    /// The same, or why there is none.
    pub fn document(&self, id: &str) -> Result<&Arc<Document>, Response> {
        self.find(id).ok_or_else(|| self.unknown(id))
    }

    /// What is answered to an id that nothing has.
    pub fn unknown(&self, id: &str) -> Response {
        let problem = match self.mode {
            TrustedMode::Off => "this server has no trusted documents, it is started without --trusted-documents",
            TrustedMode::Allow | TrustedMode::Only => "it is not in the manifest that the server was started with",
        };
        let problem = format!("There is no document with the id {:?}: {problem}", echo(id));
        Response::from_errors(vec![request_error("PERSISTED_QUERY_NOT_FOUND", problem)])
    }
}

/// What is answered to a document that is not asked for by its id, where only trusted ones are.
pub fn id_required() -> Response {
    let problem = "Only trusted documents are answered here: send the `documentId` of one instead of a `query`";
    Response::from_errors(vec![request_error("PERSISTED_QUERY_ID_REQUIRED", problem)])
}

fn operations(file: &Path) -> Result<Vec<Operation>, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("the file cannot be read: {error}"))?;
    let manifest: Manifest =
        serde_json::from_str(&text).map_err(|error| format!("it is not a manifest in JSON: {error}"))?;
    if manifest.format != FORMAT || manifest.version != VERSION {
        let (format, version) = (echo(&manifest.format), manifest.version);
        return Err(format!("it is {format:?} version {version}, and what is read is {FORMAT:?} version {VERSION}"));
    }
    Ok(manifest.operations)
}

impl Operation {
    /// Its document, if it is valid and the operation that it says to be.
    fn read(&self, reader: &DocumentParser) -> Result<Arc<Document>, String> {
        let first_words = |refused: Response| {
            let first = refused.errors.into_iter().next();
            first.map_or_else(|| "it is refused".to_owned(), |error| error.message)
        };
        let document = reader.read(&self.body).map_err(first_words)?;
        let Some(operation) = document.operation(None) else {
            return Err("its body must be one operation with its fragments".to_owned());
        };
        let kind = operation.ty.to_string();
        if kind != self.kind {
            return Err(format!("its body is a {kind}, and not a {}", echo(&self.kind)));
        }
        if document.name_of_the_only_operation().is_some_and(|name| *name != self.name) {
            return Err("its body has another name".to_owned());
        }
        Ok(document)
    }
}
