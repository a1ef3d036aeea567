//! The exporter: hands sampled spans to OpenTelemetry's SDK, which sends them to a collector by OTLP over HTTP, in batches
//! and from a thread of its own.
//!
//! Whoever ends a span never waits: the queue of the SDK is bounded, and what finds it full is dropped. A collector that
//! cannot be reached is logged once, and once more when it is back.

use std::env;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use opentelemetry::trace::{
    self as api, Span as _, SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::attribute::{AttributeValue, SpanKind};
use super::context::TraceContext;
use super::settings::exporter_is_wanted;

/// Longest time for a connection to the collector.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for the collector's answer, unless one of [`TIMEOUTS`] says otherwise.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the collector may take to answer, in milliseconds; the first that is set counts. By itself the SDK takes them for
/// the time in which it sends again what has failed, and leaves each call to the client.
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];

/// A longer answer of the collector is not read to its end: it has nothing to say but how many spans it refused.
const LARGEST_ANSWER: usize = 64 * 1024;

/// The certificates to trust in place of the system's.
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";

/// The protocol, of which there is one.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];

/// The only value of [`PROTOCOLS`].
const PROTOCOL: &str = "http/protobuf";

/// Begins spans, once there is an exporter.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Sends spans to a collector.
#[derive(Debug)]
pub struct Exporter(SdkTracerProvider);

/// Whether spans are exported.
pub fn is_exporting() -> bool {
    TRACER.get().is_some()
}

/// Begins to export spans of a service with this name, if the environment asks for it. It is called inside of a runtime,
/// once. What cannot be done is logged and goes without an exporter: a server does not stand still for its traces.
/// Only a program that runs until it is stopped logs that an exporter could be started.
pub fn start_exporter(service: &'static str, is_daemon: bool) -> Option<Exporter> {
    let variable = exporter_is_wanted()?;
    match exporter(service) {
        Ok(provider) => {
            let scope =
                opentelemetry::InstrumentationScope::builder("aetherium").with_version(env!("CARGO_PKG_VERSION"));
            let _ = TRACER.set(provider.tracer_with_scope(scope.build()));
            if is_daemon {
                info!("Spans are exported by OTLP, as {variable} asks for");
            }
            Some(Exporter(provider))
        }
        Err(error) => {
            warn!(error = %error, "{variable} is set, but no spans are exported: {error}");
            None
        }
    }
}

fn exporter(service: &'static str) -> Result<SdkTracerProvider, Box<dyn Error + Send + Sync>> {
    if let Some((name, value)) = first_set(PROTOCOLS).filter(|(_, value)| value != PROTOCOL) {
        return Err(format!("{name} is {value}, and only {PROTOCOL} is known").into());
    }
    let exporter = SpanExporter::builder().with_http().with_http_client(Http::new()?).build()?;
    let mut resource = Resource::builder();
    // What the environment says of the name goes before ours.
    let is_named = |name: &str| env::var(name).is_ok_and(|value| !value.is_empty());
    let is_in_list = env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|list| list.contains("service.name="));
    if !is_named("OTEL_SERVICE_NAME") && !is_in_list {
        resource = resource.with_service_name(service);
    }
    let resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// The first of these variables that has a value, with that.
fn first_set(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| Some((name, env::var(name).ok().filter(|value| !value.is_empty())?)))
}

/// How long a call may take. What is no number of milliseconds does not count, as for the SDK; neither does 0, with which no
/// call could succeed.
fn export_timeout() -> Duration {
    let milliseconds = first_set(TIMEOUTS).and_then(|(_, value)| value.parse().ok()).filter(|number| *number > 0);
    milliseconds.map_or(EXPORT_TIMEOUT, Duration::from_millis)
}

impl Exporter {
    /// Sends what has not been sent, within this time.
    pub async fn shut_down(self, time: Duration) {
        // It waits for the thread of the exporter, which waits for the runtime.
        let flushed = spawn_blocking(move || self.0.shutdown_with_timeout(time));
        // What was not sent in time is lost; that the collector cannot be reached has been logged.
        let _ = tokio::time::timeout(time, flushed).await;
    }
}

/// A span of the SDK.
#[derive(Debug)]
pub(super) struct Recording(Span);

impl Recording {
    pub(super) fn begin(kind: SpanKind, parent: Option<&TraceContext>, name: impl FnOnce() -> String) -> Option<Self> {
        let tracer = TRACER.get()?;
        let kind = match kind {
            SpanKind::Server => api::SpanKind::Server,
            SpanKind::Client => api::SpanKind::Client,
            SpanKind::Internal => api::SpanKind::Internal,
        };
        let context = match parent {
            Some(parent) => Context::new().with_remote_span_context(of_parent(parent)),
            None => Context::new(),
        };
        Some(Self(tracer.span_builder(name()).with_kind(kind).start_with_context(tracer, &context)))
    }

    pub(super) fn context(&self) -> Option<TraceContext> {
        let context = self.0.span_context();
        let (trace_id, span_id) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
        let state = context.trace_state().header();
        let (trace_id, span_id) = (u128::from_be_bytes(trace_id), u64::from_be_bytes(span_id));
        TraceContext::new(trace_id, span_id, context.is_sampled(), Some(&state))
    }

    pub(super) fn is_sampled(&self) -> bool {
        self.0.is_recording()
    }

    pub(super) fn set(&mut self, name: &'static str, value: AttributeValue) {
        let value = match value {
            AttributeValue::Text(text) => Value::from(text),
            AttributeValue::Number(number) => Value::from(number),
        };
        self.0.set_attribute(KeyValue::new(name, value));
    }

    pub(super) fn fail(&mut self, how: String) {
        self.0.set_status(Status::error(how));
    }
}

fn of_parent(parent: &TraceContext) -> SpanContext {
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    let state = parent.tracestate().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    SpanContext::new(TraceId::from(parent.trace_id()), SpanId::from(parent.span_id()), flags, true, state)
}

/// What the exporter sends with: the HTTP client of everybody else here. Its thread is none of the runtime's, so that calls
/// run on that, and the thread waits.
struct Http {
    client: reqwest::Client,
    runtime: Handle,
    /// Whether the last call failed, which has been logged.
    is_failing: AtomicBool,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http(…)")
    }
}

impl Http {
    fn new() -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut client = reqwest::Client::builder()
            .user_agent(concat!("aetherium/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(export_timeout())
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = env::var_os(CERTIFICATE).filter(|path| !path.is_empty()) {
            let pem = std::fs::read(&path);
            let pem = pem.map_err(|error| format!("{CERTIFICATE} names a file that cannot be read: {error}"))?;
            client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
        }
        Ok(Self { client: client.build()?, runtime: Handle::current(), is_failing: AtomicBool::new(false) })
    }

    async fn call(client: reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut answer = client.execute(request.try_into()?).await?;
        let mut response = Response::builder().status(answer.status().as_u16());
        if let Some(retry_after) = answer.headers().get("retry-after") {
            response = response.header("retry-after", retry_after);
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err("its answer is too large".into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(response.body(body.freeze())?)
    }

    /// Logs the first failure, and the first success after it.
    fn report(&self, collector: &str, outcome: &Result<Response<Bytes>, HttpError>) {
        let problem = match outcome {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(innermost(&**error)),
        };
        let was_failing = self.is_failing.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !was_failing => warn!(
                error = problem,
                "Spans cannot be exported to {collector} ({problem}); those that do not fit in the queue are dropped, and \
                 this is logged once"
            ),
            None if was_failing => info!("Spans are exported to {collector} again"),
            Some(_) | None => {}
        }
    }
}

impl HttpClient for Http {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let authority = request.uri().authority().map(|authority| {
            // What is before the @ is a password.
            let text = authority.as_str();
            text.rsplit_once('@').map_or(text, |(_, host)| host).to_owned()
        });
        let sent = self.runtime.spawn(Self::call(self.client.clone(), request));
        Box::pin(async move {
            let outcome = match sent.await {
                Ok(outcome) => outcome,
                Err(_) => return Err("the program ends".into()),
            };
            self.report(authority.as_deref().unwrap_or("the collector"), &outcome);
            outcome
        })
    }
}

/// What really happened.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
