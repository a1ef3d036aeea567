//! GraphQL errors: the `extensions.code` of each, and the sentence that clients read.
//!
//! The errors of the domain are in [`crate::error`]. Errors about documents and requests are made where they are found.

use async_graphql::{ErrorExtensionValues, Response, ServerError, Value};
use serde_json::json;
use tracing::error;

use crate::cluster::{EvacuationMove, EvacuationPlan, StrandedVm, WorkersRefused};
use crate::error::{Error, Kind, Subject, whole_seconds};

/// Sets `extensions.code` on every error of a response: from the kind of the domain error that a resolver returned, or
/// `BAD_USER_INPUT` for an error by which the engine refuses an input value. Any other error is a fault of this server:
/// it is logged and replaced by a general sentence, because it may name types of this program. This runs once after
/// execution and reads the error's source, so that a plain `?` is enough in a resolver.
pub fn set_codes(response: &mut Response) {
    for error in &mut response.errors {
        let source = error.source.clone();
        match source.as_ref().and_then(|source| source.downcast_ref::<Error>()) {
            Some(source) => set_domain_code(error, source),
            None if has_code(error) => {}
            None if is_input_error(&error.message) => set_code(error, "BAD_USER_INPUT"),
            None => {
                error!(path = ?error.path, "a field failed: {}", error.message);
                "Internal error. The server's log has the details.".clone_into(&mut error.message);
                set_code(error, "INTERNAL");
            }
        }
    }
}

/// An error from before execution, with this code.
pub fn request_error(code: &str, message: impl Into<String>) -> ServerError {
    let mut error = ServerError::new(message, None);
    set_code(&mut error, code);
    error
}

/// The response to a request that is malformed: `BAD_REQUEST`.
pub fn bad_request(message: String) -> Response {
    Response::from_errors(vec![request_error("BAD_REQUEST", message)])
}

fn set_domain_code(error: &mut ServerError, source: &Error) {
    let code = match source.kind() {
        Kind::InvalidArgument => "INVALID_ARGUMENT",
        Kind::NotFound => "NOT_FOUND",
        Kind::Unauthenticated => "UNAUTHENTICATED",
        Kind::Forbidden => "FORBIDDEN",
        Kind::Conflict | Kind::Stale | Kind::KeyReused => "CONFLICT",
        Kind::RateLimited => "RATE_LIMITED",
        Kind::Overloaded | Kind::RevisionNotReached | Kind::ShuttingDown | Kind::StorageUnavailable => "UNAVAILABLE",
        Kind::Internal => {
            error!(error = %source.chain(), "a resolver failed");
            "INTERNAL"
        }
    };
    if let Error::Invalid { field, problem } = source {
        error.message = format!("{} {problem}", camel_case(field));
    }
    set_code(error, code);
    let Subject { argument, id, current_revision } = source.subject();
    let extensions = error.extensions.get_or_insert_with(ErrorExtensionValues::default);
    if let Some(argument) = argument {
        extensions.set("argument", camel_case(argument));
    }
    if let Some(id) = id {
        extensions.set("id", id);
    }
    if let Some(wait) = source.retry_after() {
        extensions.set("retryAfterSeconds", whole_seconds(wait));
    }
    if let Some(revision) = current_revision {
        extensions.set("currentRevision", revision);
    }
    if let Error::Shortfall(plan) = source {
        extensions.set("plan", plan_value(plan));
    }
}

/// A plan as a query of all fields of `EvacuationPlan` would show it.
fn plan_value(plan: &EvacuationPlan) -> Value {
    let step = |EvacuationMove { vm_id, from_worker, to_worker }: &EvacuationMove| {
        let [vm_id, from_worker, to_worker] = [vm_id.as_str(), from_worker.as_str(), to_worker.as_str()];
        json!({"vmId": vm_id, "fromWorkerId": from_worker, "toWorkerId": to_worker})
    };
    let refused = |WorkersRefused { reason, workers }: &WorkersRefused| {
        // The words of the enum, as the schema has them.
        json!({"reason": reason.as_str().to_ascii_uppercase(), "workers": workers})
    };
    let stranded = |StrandedVm { vm_id, worker_id, size, refusals_by_reason }: &StrandedVm| {
        json!({
            "vmId": vm_id.as_str(), "workerId": worker_id.as_str(), "vcpus": size.vcpus, "memoryMb": size.memory_mb,
            "refusalsByReason": refusals_by_reason.iter().map(refused).collect::<Vec<_>>(),
        })
    };
    let plan = json!({
        "fits": plan.fits(),
        "workers": plan.workers,
        "vms": plan.vms,
        "placeable": plan.placeable,
        "moves": plan.moves.iter().map(step).collect::<Vec<_>>(),
        "stranded": plan.stranded.iter().map(stranded).collect::<Vec<_>>(),
        "totalStranded": plan.total_stranded(),
        "unsizedVms": plan.unsized_vms,
        "setAsideVms": plan.set_aside_vms,
        "vmsOfOtherDrains": plan.vms_of_other_drains,
        "revision": plan.revision,
    });
    Value::from_json(plan).unwrap_or_default()
}

fn set_code(error: &mut ServerError, code: &str) {
    let extensions = error.extensions.get_or_insert_with(ErrorExtensionValues::default);
    if extensions.get("code").is_none() {
        extensions.set("code", code);
    }
}

fn has_code(error: &ServerError) -> bool {
    error.extensions.as_ref().is_some_and(|extensions| extensions.get("code").is_some())
}

/// Whether the engine refused an input value. Its errors have no kind, so that this is decided by how their messages
/// begin.
fn is_input_error(message: &str) -> bool {
    message.starts_with("Failed to parse \"") || message.starts_with("Expected input type \"")
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

#[cfg(test)]
mod tests {
    use async_graphql::{PathSegment, ValidationMode};

    use super::*;
    use crate::graphql::schema::sdl;

    fn coded(message: &str) -> (String, String) {
        let mut error = ServerError::new(message, None);
        error.path = vec![PathSegment::Field("workers".to_owned())];
        let mut response = Response::from_errors(vec![error]);
        set_codes(&mut response);
        let error = response.errors.remove(0);
        let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code").cloned());
        (error.message, code.map(|code| code.to_string()).unwrap_or_default())
    }

    #[test]
    fn failures_of_fields_are_about_input_or_ours() {
        for input in ["Failed to parse \"Int53\": 1.5 is not whole", "Expected input type \"Int\", found \"x\"."] {
            assert_eq!(coded(input), (input.to_owned(), "\"BAD_USER_INPUT\"".to_owned()));
        }
        let (message, code) = coded("Data `aetherium::resolvers::Reading` does not exist.");
        assert_eq!((message.contains("::"), &*code), (false, "\"INTERNAL\""), "{message}");
    }

    /// Values that validation would have refused come to the engine here with nothing before it, each by another way
    /// through its parsing of input. An engine that says something else would have all of them told as faults of this
    /// server.
    #[tokio::test]
    async fn the_engine_refuses_input_in_the_words_that_are_looked_for() {
        let engine = sdl::schema().validation_mode(ValidationMode::Fast).finish();
        for field in [
            "worker { id }",
            "worker(id: 1.5) { id }",
            "nodes(ids: [null]) { id }",
            "nodes(ids: [[1]]) { id }",
            "workers(zone: 7) { id }",
            "workersConnection(first: \"x\") { totalCount }",
            "workersConnection(first: 4294967296) { totalCount }",
            "workersConnection(filter: 7) { totalCount }",
            "workersConnection(filter: {hasZone: 7}) { totalCount }",
            "workersConnection(filter: {statuses: NOPE}) { totalCount }",
            "workersConnection(filter: {statuses: [ACTIVE, 7]}) { totalCount }",
            "workersConnection(filter: {labels: [{}]}) { totalCount }",
            "workersConnection(filter: {labels: [7]}) { totalCount }",
            "workersConnection(orderBy: {direction: ASC}) { totalCount }",
            "events(after: \"x\") { hasNextPage }",
            "events(after: 7) { hasNextPage }",
            "events(order: null) { hasNextPage }",
        ] {
            let mut response = engine.execute(format!("{{ {field} }}")).await;
            let said: Vec<_> = response.errors.iter().map(|error| error.message.clone()).collect();
            assert!(said.len() == 1 && is_input_error(&said[0]), "{field}: {said:?}");
            set_codes(&mut response);
            let error = &response.errors[0];
            let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
            assert_eq!((&error.message, code), (&said[0], Some(&"BAD_USER_INPUT".into())), "{field}");
        }
    }

    #[test]
    fn parameters_are_named_as_the_protocol_spells_them() {
        for (snake, camel) in [("id", "id"), ("cpu_cores", "cpuCores"), ("vms_delta", "vmsDelta")] {
            assert_eq!(camel_case(snake), camel);
        }
    }
}
