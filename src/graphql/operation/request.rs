//! Requests on their way to execution: a [`ParsedRequest`] has its document, a [`PreparedOperation`] also its coerced
//! variables, cost and plan.

use std::sync::Arc;

use async_graphql::Request;
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, OperationType};

use super::cost::{self, ClusterSize};
use super::document::Document;
use crate::graphql::plan::{Fallback, Plan};
use crate::graphql::schema::index::SchemaIndex;

/// A request with its document, which is valid. Its variables are coerced by
/// [`DocumentCache::check`](super::document_cache::DocumentCache::check).
pub struct ParsedRequest {
    pub document: Arc<Document>,
    /// The rest of the request; its `query` is empty.
    pub request: Request,
}

impl ParsedRequest {
    /// A request with this document.
    pub fn new(document: Arc<Document>, request: Request) -> Self {
        Self { document, request }
    }

    /// The operation to run; none if the request does not name one of several, for which `check` refuses it.
    pub fn operation(&self) -> Option<&OperationDefinition> {
        self.document.operation(self.request.operation_name.as_deref())
    }

    /// The type of the operation to run, or of all operations if the request does not name one.
    pub fn operation_types(&self) -> Vec<OperationType> {
        self.document.operation_types(self.request.operation_name.as_deref())
    }

    /// The plan of the operation, if it is a query that has one; and whether the plan is reusable, or only for these
    /// variables.
    pub fn plan(&self, types: &SchemaIndex) -> Option<(Arc<Plan>, bool)> {
        let operation = self.operation().filter(|operation| operation.ty == OperationType::Query)?;
        let info = self.document.operation_info(self.request.operation_name.as_deref(), types)?;
        let plan = || Plan::compile(operation, &self.document.parsed, None, types).map(Arc::new);
        match info.plan.get_or_init(plan) {
            Ok(plan) => Some((plan.clone(), true)),
            Err(Fallback::Resolver) => None,
            Err(Fallback::NeedsVariables) => {
                let variables = Some(&self.request.variables);
                Plan::compile(operation, &self.document.parsed, variables, types).ok().map(|plan| (plan.into(), false))
            }
        }
    }

    /// The cost of the operation in a cluster of this size.
    pub fn cost_in(&self, size: ClusterSize, types: &SchemaIndex) -> u64 {
        let Self { document, request, .. } = self;
        self.operation()
            .map_or(0, |operation| cost::in_cluster_of(size, operation, &document.parsed, &request.variables, types))
    }

    /// The operation to run as a document of its own, if it is of one of these types.
    pub fn extract_operation(&self, operation_types: &[OperationType]) -> Option<ExecutableDocument> {
        let operation = self.operation().filter(|operation| operation_types.contains(&operation.ty))?;
        Some(self.document.extract_operation(operation))
    }
}

/// A query or mutation that has been checked and may be run, repeatedly if its request is cached.
pub struct PreparedOperation {
    pub parsed: ParsedRequest,
    pub cost: u64,
    /// Its plan, if there is one; and whether the plan is reusable, or only for these variables.
    pub plan: Option<(Arc<Plan>, bool)>,
}

impl PreparedOperation {
    /// The request.
    pub fn parsed(&self) -> &ParsedRequest {
        &self.parsed
    }
}
