//! Traces across programs: which trace a request belongs to by its headers and in the log, how it goes on from an agent, from
//! a command and into Consul, and what a collector of spans is sent.

use consul_stub::Stub;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::database::TestDatabase;
use crate::harness::{Program, Server, http};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{SPAN}-{flags}")
}

/// Sends a drain of a worker that does not exist, which has a log line, with these headers over REST or GraphQL.
async fn drain(server: &Server, over_graphql: bool, request_id: &str, headers: &[(&str, &str)]) -> HeaderMap {
    let request = if over_graphql {
        let mutation = r#"mutation { drainWorker(input: {workerId: "nobody"}) { worker { id } } }"#;
        http().post(format!("{}/graphql", server.url)).json(&json!({"query": mutation}))
    } else {
        http().post(format!("{}/api/v1/workers/nobody/drain", server.url))
    };
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.header("x-request-id", request_id).send().await.unwrap().headers().clone()
}

/// The log line of a request.
async fn line_of(server: &mut Server, request_id: &str) -> Value {
    let is_it = |line: &Value| line["request.id"] == request_id && line["http.status"].is_number();
    server.program.logged(request_id, is_it).await
}

#[tokio::test]
async fn the_log_line_of_a_request_names_the_trace_of_its_client() {
    let database = TestDatabase::sqlite();
    let mut server = Server::start_in(&[("AETHERIUM_LOG", "debug")], &database, &[]).await;
    let [sampled, unsampled] = ["01", "00"].map(traceparent);
    let (later, broken) = (format!("cc-{TRACE}-{SPAN}-01-more"), format!("00-{TRACE}-{SPAN}-01-more"));
    let twice = [("traceparent", &*sampled), ("traceparent", &*sampled)];
    for (case, headers, is_named) in [
        ("sampled", &[("traceparent", &*sampled)][..], true),
        ("unsampled", &[("traceparent", &unsampled)], true),
        ("later", &[("traceparent", &later)], true),
        ("state", &[("TraceParent", &sampled), ("tracestate", "a=1")], true),
        ("bad-state", &[("traceparent", &sampled), ("tracestate", "nonsense")], true),
        ("state-alone", &[("tracestate", "a=1")], false),
        ("none", &[], false),
        ("broken", &[("traceparent", &broken)], false),
        ("empty", &[("traceparent", "")], false),
        ("twice", &twice, false),
    ] {
        for over_graphql in [false, true] {
            let request_id = format!("{case}-{over_graphql}");
            let answered = drain(&server, over_graphql, &request_id, headers).await;
            assert_eq!(answered["x-request-id"], *request_id);
            // No header of an answer is a recommendation yet.
            assert!(["traceparent", "tracestate", "traceresponse"].iter().all(|name| !answered.contains_key(*name)));
            let line = line_of(&mut server, &request_id).await;
            let expected = if is_named { json!(TRACE) } else { Value::Null };
            let named = if cfg!(feature = "otlp") && !is_named { &Value::Null } else { &line["trace_id"] };
            assert_eq!(*named, expected, "{request_id}: {line}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_command_goes_on_with_the_trace_of_whoever_started_it() {
    let database = TestDatabase::sqlite();
    let mut server = Server::start_in(&[("AETHERIUM_LOG", "debug")], &database, &[]).await;
    let arguments = ["drain", "nobody", "--server", &server.url];
    let sent = traceparent("00");
    let command = Program::start_with(&arguments, &[("TRACEPARENT", &sent), ("TRACESTATE", "a=1")]);
    assert_ne!(command.exit().await.code, Some(0));
    let goes_on = |line: &Value| line["trace_id"] == TRACE && line["http.route"].is_string();
    server.program.logged("the command's trace", goes_on).await;
    server.stop().await;
}

#[tokio::test]
async fn a_program_without_an_exporter_begins_no_trace() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start().await);
    let server = Server::start_with(&database, &["--consul", &consul.url()]).await;
    let registered = |state: &consul_stub::State| {
        state.requests.iter().find(|it| it.path == "/v1/agent/service/register").map(|it| it.traceparent.clone())
    };
    assert_eq!(consul.until("a registration", registered).await, None);
    server.stop().await;
}

#[cfg(not(feature = "otlp"))]
#[tokio::test]
async fn a_build_without_an_exporter_says_so() {
    let database = TestDatabase::sqlite();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")];
    let server = Server::start_in(&variables, &database, &[]).await;
    let exit = server.stop().await;
    let expected = "OTEL_EXPORTER_OTLP_ENDPOINT is set, but this program was built without the feature otlp";
    assert_eq!(exit.err.matches(expected).count(), 1, "{}", exit.err);
}

#[cfg(feature = "otlp")]
mod exported {
    use std::io::Read as _;
    use std::sync::{Arc, Mutex};
    use std::thread;
    use std::time::{Duration, Instant};

    use axum::body::Bytes;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;
    use flate2::read::GzDecoder;
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
    use opentelemetry_proto::tonic::common::v1::KeyValue;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
    use prost::Message;
    use tokio::net::TcpListener;
    use tokio::runtime;

    use super::*;
    use crate::harness::eventually;

    /// A collector: what it was sent, each span with the service that it is of. It has a thread of its own: what a program
    /// has not sent when it ends, it sends within two seconds, in which a test may do other things.
    struct Collector {
        url: String,
        spans: Arc<Mutex<Vec<(String, Span)>>>,
    }

    impl Collector {
        async fn start() -> Self {
            let spans = Arc::<Mutex<Vec<(String, Span)>>>::default();
            let received = spans.clone();
            let receive = async move |headers: HeaderMap, body: Bytes| {
                assert_eq!(headers["content-type"], "application/x-protobuf");
                let mut plain = Vec::new();
                if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
                    GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
                } else {
                    plain.extend_from_slice(&body);
                }
                let sent = ExportTraceServiceRequest::decode(&*plain).unwrap();
                for of_resource in sent.resource_spans {
                    let service = text(&of_resource.resource.unwrap().attributes, "service.name").unwrap();
                    let scopes = of_resource.scope_spans;
                    assert!(scopes.iter().all(|it| it.scope.as_ref().is_some_and(|scope| scope.name == "aetherium")));
                    let own = scopes.into_iter().flat_map(|it| it.spans).map(|span| (service.clone(), span));
                    received.lock().unwrap().extend(own);
                }
                let answer = ExportTraceServiceResponse::default().encode_to_vec();
                (StatusCode::OK, [("content-type", "application/x-protobuf")], answer)
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let app = axum::Router::new().route("/v1/traces", post(receive));
            let listener = listener.into_std().unwrap();
            thread::spawn(move || {
                let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async { axum::serve(TcpListener::from_std(listener).unwrap(), app).await })
            });
            Self { url, spans }
        }

        /// Variables by which a program sends its spans here, at once.
        fn variables(&self) -> [(&'static str, &str); 2] {
            [("OTEL_EXPORTER_OTLP_ENDPOINT", &self.url), ("OTEL_BSP_SCHEDULE_DELAY", "20")]
        }

        fn find(&self, wanted: impl Fn(&str, &Span) -> bool) -> Option<Span> {
            let spans = self.spans.lock().unwrap();
            spans.iter().find(|(service, span)| wanted(service, span)).map(|(_, span)| span.clone())
        }

        async fn until(&self, what: &str, wanted: impl Fn(&str, &Span) -> bool) -> Span {
            eventually(what, async || self.find(&wanted)).await
        }
    }

    fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
        let value = attributes.iter().find(|it| it.key == name)?.value.as_ref()?.value.as_ref()?;
        match value {
            Attribute::StringValue(text) => Some(text.clone()),
            Attribute::IntValue(number) => Some(number.to_string()),
            other => panic!("{name} is {other:?}"),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    const DRAIN: &str = "POST /api/v1/workers/{id}/drain";

    #[tokio::test]
    async fn the_span_of_a_request_is_a_child_of_its_clients_and_the_commit_one_of_it() {
        let (database, collector) = (TestDatabase::sqlite(), Collector::start().await);
        let variables = [&collector.variables()[..], &[("AETHERIUM_LOG", "debug")]].concat();
        let mut server = Server::start_in(&variables, &database, &[]).await;
        let started = "Spans are exported by OTLP, as OTEL_EXPORTER_OTLP_ENDPOINT asks for";
        server.program.has_said(started).await;
        for (over_graphql, name) in [(false, DRAIN), (true, "POST /graphql")] {
            let sent = [("traceparent", &*traceparent("01")), ("tracestate", "rojo=1, congo=2")];
            let request_id = format!("sampled-{over_graphql}");
            drain(&server, over_graphql, &request_id, &sent).await;
            let span = collector.until(name, |_, span| span.name == name).await;
            assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), SPAN.to_owned()));
            assert_eq!((span.kind, &*span.trace_state), (SpanKind::Server as i32, "rojo=1,congo=2"));
            assert!(span.start_time_unix_nano > 0 && span.start_time_unix_nano <= span.end_time_unix_nano);
            let status = if over_graphql { "200" } else { "404" };
            for (attribute, expected) in [
                ("http.request.method", "POST"),
                ("http.route", name.trim_start_matches("POST ")),
                ("http.response.status_code", status),
                ("url.scheme", "http"),
            ] {
                assert_eq!(text(&span.attributes, attribute).as_deref(), Some(expected), "{attribute} of {span:?}");
            }
            let commit = |_: &str, child: &Span| child.name == "journal commit" && child.parent_span_id == span.span_id;
            let commit = collector.until("the commit", commit).await;
            assert_eq!((&commit.trace_id, commit.kind), (&span.trace_id, SpanKind::Internal as i32));
            assert_eq!(text(&commit.attributes, "aetherium.lane").as_deref(), Some("operators"));
            assert_eq!(commit.status.unwrap().message, "Worker not found: nobody");
            assert_eq!(line_of(&mut server, &request_id).await["trace_id"], TRACE);
        }

        // Without a parent that can be read, a trace of its own, which the log names.
        drain(&server, false, "broken", &[("traceparent", "00-nonsense")]).await;
        let root = |_: &str, span: &Span| span.name == DRAIN && span.parent_span_id.is_empty();
        let root = collector.until("a trace of its own", root).await;
        assert_eq!(line_of(&mut server, "broken").await["trace_id"], hex(&root.trace_id));
        server.stop().await;
    }

    #[tokio::test]
    async fn a_client_chooses_no_name_of_a_span() {
        let (database, collector) = (TestDatabase::sqlite(), Collector::start().await);
        let server = Server::start_in(&collector.variables(), &database, &[]).await;
        let brew = reqwest::Method::from_bytes(b"BREW").unwrap();
        for (path, name) in [("/api/v1/workers/nobody/drain", "HTTP /api/v1/workers/{id}/drain"), ("/nowhere", "HTTP")]
        {
            http().request(brew.clone(), format!("{}{path}", server.url)).send().await.unwrap();
            let is_it = |_: &str, span: &Span| text(&span.attributes, "url.path").as_deref() == Some(path);
            let span = collector.until(path, is_it).await;
            assert_eq!(span.name, name);
            assert_eq!(text(&span.attributes, "http.request.method").as_deref(), Some("_OTHER"));
            assert_eq!(text(&span.attributes, "http.request.method_original").as_deref(), Some("BREW"));
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn what_a_client_does_not_sample_is_not_recorded_and_what_is_left_is_sent_at_the_end() {
        let (database, collector) = (TestDatabase::sqlite(), Collector::start().await);
        // Nothing is sent before the end.
        let variables = [
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*format!("{}/v1/traces", collector.url)),
            ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_SERVICE_NAME", "control-plane"),
        ];
        let server = Server::start_in(&variables, &database, &[]).await;
        drain(&server, false, "unsampled", &[("traceparent", &traceparent("00"))]).await;
        drain(&server, false, "sampled", &[("traceparent", &traceparent("01"))]).await;
        assert!(collector.find(|_, _| true).is_none());
        server.stop().await;
        let spans = collector.spans.lock().unwrap();
        let names: Vec<_> = spans.iter().map(|(service, span)| (&**service, &*span.name)).collect();
        assert_eq!(names, [("control-plane", "journal commit"), ("control-plane", DRAIN)]);
    }

    #[tokio::test]
    async fn the_sampler_is_the_environments() {
        let (database, collector) = (TestDatabase::sqlite(), Collector::start().await);
        let variables = [&collector.variables()[..], &[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]].concat();
        let server = Server::start_in(&variables, &database, &[]).await;
        drain(&server, false, "root", &[]).await;
        drain(&server, false, "sampled", &[("traceparent", &traceparent("01"))]).await;
        collector.until(DRAIN, |_, span| span.name == DRAIN).await;
        server.stop().await;
        let spans = collector.spans.lock().unwrap();
        assert_eq!(spans.len(), 2, "{spans:?}");
        assert!(spans.iter().all(|(_, span)| hex(&span.trace_id) == TRACE));
    }

    #[tokio::test]
    async fn a_call_of_consul_goes_on_with_its_span() {
        let (database, collector, consul) = (TestDatabase::sqlite(), Collector::start().await, Stub::start().await);
        let server = Server::start_in(&collector.variables(), &database, &["--consul", &consul.url()]).await;
        let name = "PUT /v1/agent/service/register";
        let span = collector.until(name, |_, span| span.name == name).await;
        let expected = format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
        assert_eq!(span.kind, SpanKind::Client as i32);
        assert_eq!(text(&span.attributes, "http.response.status_code").as_deref(), Some("200"));
        consul.read(|state| {
            let request = state.requests.iter().find(|it| it.path == "/v1/agent/service/register").unwrap();
            assert_eq!(request.traceparent.as_deref(), Some(&*expected));
        });
        server.stop().await;
    }

    #[tokio::test]
    async fn a_report_of_an_agent_is_one_trace_with_its_server() {
        let (database, collector) = (TestDatabase::sqlite(), Collector::start().await);
        let server = Server::start_in(&collector.variables(), &database, &["--heartbeat-interval", "100ms"]).await;
        let arguments = ["agent", "--server", &server.url, "--id", "host-1"];
        let agent = Program::start_with(&arguments, &collector.variables());
        let name = "POST /api/v1/workers/{id}/heartbeat";
        let is_sent = |service: &str, span: &Span| service == "aetherium-agent" && span.name == name;
        let call = collector.until("a heartbeat of the agent", is_sent).await;
        assert_eq!((call.kind, call.parent_span_id.len()), (SpanKind::Client as i32, 0));
        let is_received = |service: &str, span: &Span| service == "aetherium" && span.parent_span_id == call.span_id;
        let request = collector.until("its request", is_received).await;
        assert_eq!((&request.trace_id, &*request.name), (&call.trace_id, name));
        let is_committed = |_: &str, span: &Span| span.parent_span_id == request.span_id;
        assert_eq!(collector.until("its commit", is_committed).await.trace_id, call.trace_id);
        agent.signal("TERM");
        assert_eq!(agent.exit().await.code, Some(0));
        server.stop().await;
    }

    #[tokio::test]
    async fn all_that_a_command_asks_is_one_trace() {
        let (database, collector) = (TestDatabase::sqlite(), Collector::start().await);
        let server = Server::start_in(&collector.variables(), &database, &[]).await;
        let parent = traceparent("01");
        let variables = [&collector.variables()[..], &[("TRACEPARENT", &*parent)]].concat();
        let command = Program::start_with(&["workers", "--server", &server.url], &variables);
        let exit = command.exit().await;
        assert_eq!((exit.code, &*exit.err), (Some(0), ""));
        let command = collector.until("the command", |_, span| span.name == "aetherium workers").await;
        assert_eq!((hex(&command.trace_id), hex(&command.parent_span_id)), (TRACE.to_owned(), SPAN.to_owned()));
        let call = collector.until("its call", |_, span| span.parent_span_id == command.span_id).await;
        collector.until("its request", |_, span| span.parent_span_id == call.span_id).await;
        server.stop().await;
    }

    #[tokio::test]
    async fn a_collector_that_is_not_there_costs_one_warning() {
        let database = TestDatabase::sqlite();
        // It takes connections and never answers.
        let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = format!("http://{}", hole.local_addr().unwrap());
        // Nothing listens on what was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let absent = format!("http://secret:password@{}", free.local_addr().unwrap());
        drop(free);
        for (endpoint, timeouts) in [
            (&absent, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")][..]),
            (&silent, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "100")]),
            (&silent, &[("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "100"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000")]),
        ] {
            let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &**endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "10")];
            let mut server = Server::start_in(&[&variables, timeouts].concat(), &database, &[]).await;
            let begun = Instant::now();
            drain(&server, false, "before", &[]).await;
            server.program.has_said("Spans cannot be exported to 127.0.0.1:").await;
            // A silent one is waited for as long as the variable says, and not for 10 s as without it.
            assert!(begun.elapsed() < Duration::from_secs(10), "{timeouts:?}: {:?}", begun.elapsed());
            for number in 0..20 {
                drain(&server, false, &format!("after-{number}"), &[]).await;
            }
            let begun = Instant::now();
            let exit = server.stop().await;
            // Its own time, which a shutdown always has, and 2 s for what was not sent.
            assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
            assert_eq!(exit.err.matches("Spans cannot be exported").count(), 1, "{}", exit.err);
            assert!(!exit.err.contains("password") && !exit.err.contains("OpenTelemetry"), "{}", exit.err);
        }
    }

    #[tokio::test]
    async fn settings_that_cannot_be_followed_are_told_and_nothing_is_exported() {
        let database = TestDatabase::sqlite();
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        for (variable, words) in [
            (
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                "OTEL_EXPORTER_OTLP_PROTOCOL is grpc, and only http/protobuf is known",
            ),
            (
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere"),
                "OTEL_EXPORTER_OTLP_CERTIFICATE names a file that cannot be read",
            ),
            (("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "no address"), "no address"),
        ] {
            let server = Server::start_in(&[endpoint, variable], &database, &[]).await;
            let exit = server.stop().await;
            let expected = "ENDPOINT is set, but no spans are exported: ";
            let warned =
                exit.err.lines().find(|line| line.contains(expected)).unwrap_or_else(|| panic!("{}", exit.err));
            assert!(warned.contains(words), "{warned}");
        }
    }
}
