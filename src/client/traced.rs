//! Sends a request as a call of the trace that it belongs to: with a span of its own where spans are exported, and with
//! the headers by which whoever is called goes on with the trace.

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Error, RequestBuilder, Response};

use crate::trace::{self, Span, SpanKind, TRACEPARENT, TRACESTATE, TraceContext};

/// Sends a request. `template` is its path without ids, such as `/api/v1/workers/{id}`; empty, if there is none.
pub(crate) async fn send_traced(request: RequestBuilder, template: &'static str) -> Result<Response, Error> {
    let parent = trace::parent_of_calls();
    if parent.is_none() && !trace::is_exporting() {
        return request.send().await;
    }
    let (http, request) = request.build_split();
    let mut request = request?;
    // Whoever says himself which trace it belongs to is not contradicted.
    if request.headers().contains_key(TRACEPARENT) {
        return http.execute(request).await;
    }
    let method = request.method().clone();
    let mut span = Span::begin(SpanKind::Client, parent, || format!("{method} {template}").trim_end().to_owned());
    span.set("http.request.method", || method.as_str());
    span.set("server.address", || request.url().host_str().unwrap_or_default());
    span.set("server.port", || request.url().port_or_known_default().unwrap_or_default());
    // Without the query, in which there may be what does not belong into a trace.
    span.set("url.path", || request.url().path());
    inject(span.context().as_ref().or(parent), request.headers_mut());
    let outcome = http.execute(request).await;
    match &outcome {
        Ok(response) => {
            let status = response.status();
            span.set("http.response.status_code", || status.as_u16());
            if status.is_client_error() || status.is_server_error() {
                span.fail(|| status.to_string());
            }
        }
        Err(error) => span.fail(|| super::root_cause(error)),
    }
    outcome
}

/// Writes a context into the headers of a request, as propagators of OpenTelemetry do.
fn inject(context: Option<&TraceContext>, headers: &mut HeaderMap) {
    let Some(context) = context else { return };
    // Both are made of characters that a header may have.
    if let Ok(value) = HeaderValue::try_from(context.traceparent()) {
        headers.insert(TRACEPARENT, value);
    }
    if let Some(Ok(value)) = context.tracestate().map(HeaderValue::try_from) {
        headers.insert(TRACESTATE, value);
    }
}
