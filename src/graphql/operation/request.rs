//! A request whose document has been read, and one that has been found fit to be run.

use std::sync::Arc;

use async_graphql::Request;
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, OperationType};

use super::cost::{self, Sizes};
use super::document::Document;
use crate::graphql::plan::{Fallback, Plan};
use crate::graphql::schema::index::SchemaIndex;

/// A request whose document has been read.
pub struct ParsedRequest {
    pub document: Arc<Document>,
    /// The rest of it; its text is empty.
    pub request: Request,
}

impl ParsedRequest {
    /// A document, and what it is asked with.
    pub fn new(document: Arc<Document>, request: Request) -> Self {
        Self { document, request }
    }

    /// The operation that is asked for; none if the request does not tell, which is refused when it is checked.
    pub fn operation(&self) -> Option<&OperationDefinition> {
        self.document.operation(self.request.operation_name.as_deref())
    }

    /// What the operations are that may be meant: the one that is asked for, or all.
    pub fn kinds(&self) -> Vec<OperationType> {
        self.document.kinds(self.request.operation_name.as_deref())
    }

    /// How to answer it without the engine, if it is a query of which that is known; and whether for good, or only with
    /// these variables.
    pub fn plan(&self, types: &SchemaIndex) -> Option<(Arc<Plan>, bool)> {
        let operation = self.operation().filter(|operation| operation.ty == OperationType::Query)?;
        let known = self.document.known(self.request.operation_name.as_deref(), types)?;
        let plan = || Plan::compile(operation, &self.document.parsed, None, types).map(Arc::new);
        match known.plan.get_or_init(plan) {
            Ok(plan) => Some((plan.clone(), true)),
            Err(Fallback::Resolver) => None,
            Err(Fallback::NeedsVariables) => {
                let variables = Some(&self.request.variables);
                Plan::compile(operation, &self.document.parsed, variables, types).ok().map(|plan| (plan.into(), false))
            }
        }
    }

    /// What the operation costs in a cluster of this size.
    pub fn cost_on(&self, sizes: Sizes, types: &SchemaIndex) -> u64 {
        let Self { document, request, .. } = self;
        self.operation().map_or(0, |operation| cost::on(sizes, operation, &document.parsed, &request.variables, types))
    }

    /// The operation that is asked for, alone, if it is of this kind.
    pub fn cut_out(&self, kinds: &[OperationType]) -> Option<ExecutableDocument> {
        let operation = self.operation().filter(|operation| kinds.contains(&operation.ty))?;
        Some(self.document.cut_out(operation))
    }
}

/// A query or a mutation that may be run, as often as somebody asks for it.
pub struct PreparedOperation {
    pub asked: ParsedRequest,
    pub cost: u64,
    /// How it is answered without resolving it field by field, if that is known; and whether for good, or only with
    /// these variables.
    pub plan: Option<(Arc<Plan>, bool)>,
}

impl PreparedOperation {
    /// The request.
    pub fn asked(&self) -> &ParsedRequest {
        &self.asked
    }
}
