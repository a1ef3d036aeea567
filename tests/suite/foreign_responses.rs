//! What an agent makes of answers that are not its server's: those of load balancers, captive portals, firewalls and
//! other services that took over an address. They end no agent, whatever they say.
//!
//! Every status is crossed with every kind of body and with every call of a client; with whether the server has ever
//! taken the worker, every status and every kind. Only the server's own words count, which are told apart by their body.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aetherium::agent::{self, AgentError, AgentOptions};
use aetherium::client::{Client, ClientError, Heartbeat, LifeOf, Registration};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Response, StatusCode, Uri, header};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

/// Those that exist, that proxies invented, and some that nobody has.
const STATUSES: [u16; 62] = [
    200, 201, 202, 203, 204, 205, 206, 207, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400, 401, 402, 403, 404, 405,
    406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 444,
    451, 495, 499, 500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 530, 599, 799,
];

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(120);

/// Agents that run side by side.
const AT_ONCE: usize = 64;

/// A body that is not the server's for this status, as what it claims to be.
#[derive(Clone, Copy, Debug)]
enum Stranger {
    Nothing,
    Page,
    OtherService,
    List,
    Word,
    CutErrorOfOurs,
    ErrorOfOursForAnotherStatus,
    ErrorOfOursAsPage,
    ErrorOfOursWithAKeyMissing,
    ErrorOfOursZipped,
    CutAnswerOfOurs,
    AnswerOfOursAsPage,
    ZippedNonsense,
    Endless,
    NeverEnding,
}

impl Stranger {
    const QUICK: [Self; 13] = [
        Self::Nothing,
        Self::Page,
        Self::OtherService,
        Self::List,
        Self::Word,
        Self::CutErrorOfOurs,
        Self::ErrorOfOursForAnotherStatus,
        Self::ErrorOfOursAsPage,
        Self::ErrorOfOursWithAKeyMissing,
        Self::ErrorOfOursZipped,
        Self::CutAnswerOfOurs,
        Self::AnswerOfOursAsPage,
        Self::ZippedNonsense,
    ];

    fn response(self, status: u16) -> Response<Body> {
        let error = failure_body(status, "go away").to_string();
        let answer = contented(60).to_string();
        let response = Response::builder()
            .status(StatusCode::from_u16(status).unwrap())
            .header(header::LOCATION, "https://portal.example/login");
        let json = |body: Body| (Some("application/json"), body);
        let (media_type, body) = match self {
            Self::Nothing => (None, Body::empty()),
            Self::Page => (Some("text/html"), "<!doctype html><title>Blocked</title>".into()),
            Self::OtherService => json(r#"{"status": "error", "reason": "quota", "message": "no"}"#.into()),
            Self::List => json("[1, 2]".into()),
            Self::Word => json("\"ok\"".into()),
            Self::CutErrorOfOurs => json(error[..error.len() - 1].to_owned().into()),
            Self::ErrorOfOursForAnotherStatus => json(failure_body(status ^ 1, "go away").to_string().into()),
            Self::ErrorOfOursAsPage => (Some("text/html; charset=utf-8"), error.into()),
            Self::ErrorOfOursWithAKeyMissing => json(json!({"message": "go away", "code": status}).to_string().into()),
            Self::ErrorOfOursZipped | Self::ZippedNonsense => {
                let zipped =
                    if matches!(self, Self::ZippedNonsense) { b"\x1f\x8b\x08 nonsense".to_vec() } else { zip(&error) };
                let response = response.header(header::CONTENT_ENCODING, "gzip");
                return response.header(header::CONTENT_TYPE, "application/json").body(zipped.into()).unwrap();
            }
            Self::CutAnswerOfOurs => json(answer[..answer.len() - 1].to_owned().into()),
            Self::AnswerOfOursAsPage => (Some("text/plain"), answer.into()),
            Self::Endless => json(Body::from_stream(stream::repeat_with(|| {
                Ok::<_, Infallible>(Bytes::from_static(&[b' '; 64 * 1024]))
            }))),
            Self::NeverEnding => json(Body::from_stream(
                stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"{")) }).chain(stream::pending()),
            )),
        };
        let response = match media_type {
            Some(media_type) => response.header(header::CONTENT_TYPE, media_type),
            None => response,
        };
        response.body(body).unwrap()
    }
}

fn zip(text: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// What the server says to a failed request.
fn failure_body(status: u16, message: &str) -> Value {
    json!({"error": "…", "message": message, "code": status})
}

/// What the server says to a registration and to a heartbeat, in one.
fn contented(offline_after: u64) -> Value {
    json!({
        "incarnation": 3, "heartbeat_interval_seconds": 1, "offline_after_seconds": offline_after, "worker": {},
        "worker_id": "w", "policy": "active", "next_heartbeat_seconds": 0, "revision": 1, "resync": false,
    })
}

/// What a call is answered with.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// As the server answers when all is well.
    Good,
    /// As the server answers when it refuses.
    Own(u16),
    Stranger(u16, Stranger),
}

impl Answer {
    fn response(self, offline_after: u64) -> Response<Body> {
        let json = |status: u16, body: Value| {
            let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
            response.body(body.to_string().into()).unwrap()
        };
        match self {
            Self::Good => json(200, contented(offline_after)),
            Self::Own(status) => json(status, failure_body(status, "its own words")),
            Self::Stranger(status, body) => body.response(status),
        }
    }
}

/// Answers each worker by a script of its own, and tells what it was asked.
struct FakeServer {
    url: String,
    scripts: Arc<Mutex<HashMap<String, Script>>>,
}

struct Script {
    answers: std::vec::IntoIter<Answer>,
    offline_after: u64,
    calls: UnboundedSender<Method>,
}

impl FakeServer {
    async fn start() -> Self {
        let scripts: Arc<Mutex<HashMap<String, Script>>> = Arc::default();
        let asked = scripts.clone();
        let answer = move |method: Method, uri: Uri| {
            let id = uri.path().split('/').nth(4).unwrap().to_owned();
            let mut scripts = asked.lock().unwrap();
            let script = scripts.get_mut(&id).unwrap();
            // The last calls may come when the test has seen enough.
            let _ = script.calls.send(method);
            let answer = script.answers.next().unwrap_or(Answer::Good);
            std::future::ready(answer.response(script.offline_after))
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        Self { url, scripts }
    }

    fn expect(&self, id: &str, answers: Vec<Answer>, offline_after: u64) -> UnboundedReceiver<Method> {
        let (calls, called) = unbounded_channel();
        let script = Script { answers: answers.into_iter(), offline_after, calls };
        self.scripts.lock().unwrap().insert(id.to_owned(), script);
        called
    }

    fn options(&self, id: &str, proc: &Path) -> AgentOptions {
        let mut options = AgentOptions::new(&self.url);
        options.id = Some(id.to_owned());
        options.hostname = Some("host".to_owned());
        options.proc = Some(proc.to_owned());
        options
    }

    /// Runs an agent until it has made one call more than these, and says which calls it made; an agent that ends by
    /// itself is told by its error.
    async fn calls(&self, id: &str, answers: Vec<Answer>, offline_after: u64) -> Result<Vec<String>, AgentError> {
        let proc = tempfile::tempdir().unwrap();
        let wanted = answers.len() + 1;
        let mut called = self.expect(id, answers, offline_after);
        let shutdown = CancellationToken::new();
        let agent = agent::run(self.options(id, proc.path()), shutdown.clone());
        let watch = async {
            let mut calls = Vec::new();
            while calls.len() < wanted {
                calls.push(called.recv().await.unwrap().to_string());
            }
            calls
        };
        let ended = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                calls = watch => Ok(calls),
                ended = agent => Err(ended.expect_err("nobody told it to stop")),
            }
        });
        ended.await.unwrap_or_else(|_| panic!("{id}: no call within {PATIENCE:?}"))
    }
}

/// Where in an agent's life it is answered by a stranger, twice: the calls before and after are answered well.
#[derive(Clone, Copy, Debug)]
enum Moment {
    FirstRegistration,
    Heartbeat,
    RegistrationAgain,
}

impl Moment {
    const ALL: [Self; 3] = [Self::FirstRegistration, Self::Heartbeat, Self::RegistrationAgain];

    /// The answers, and the calls that they lead to.
    fn script(self, bad: Answer) -> (Vec<Answer>, Vec<&'static str>) {
        use Answer::{Good, Own};
        match self {
            Self::FirstRegistration => (vec![bad, bad, Good], vec!["PUT", "PUT", "PUT", "POST"]),
            Self::Heartbeat => (vec![Good, Good, bad, bad, Good], vec!["PUT", "POST", "POST", "POST", "POST", "POST"]),
            Self::RegistrationAgain => {
                (vec![Good, Good, Own(404), bad, bad, Good], vec!["PUT", "POST", "POST", "PUT", "PUT", "PUT", "POST"])
            }
        }
    }
}

/// Runs the cases side by side, and lists those that went otherwise.
async fn failures<T>(cases: impl IntoIterator<Item = impl Future<Output = Result<T, String>>>) -> Vec<String> {
    let outcomes = stream::iter(cases).buffer_unordered(AT_ONCE);
    outcomes.filter_map(async |outcome| outcome.err()).collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_goes_on_whatever_something_on_the_way_answers() {
    let server = FakeServer::start().await;
    let mut cases = Vec::new();
    for moment in Moment::ALL {
        for status in STATUSES {
            // What a body is taken for does not depend on who asks, and is crossed with everything below. Here each
            // status comes with two of them, and those that used to mean something with all.
            let matters = [200, 302, 403, 404, 409].contains(&status);
            let usual = |body: &Stranger| matches!(body, Stranger::Page | Stranger::ErrorOfOursForAnotherStatus);
            cases.extend(
                Stranger::QUICK.into_iter().filter(|body| matters || usual(body)).map(|body| (moment, status, body)),
            );
        }
        cases.extend([200, 403, 404].map(|status| (moment, status, Stranger::Endless)));
    }
    let run = async |(number, (moment, status, body)): (usize, (Moment, u16, Stranger))| {
        let (answers, expected) = moment.script(Answer::Stranger(status, body));
        let case = format!("{moment:?}, {status} with {body:?}");
        match server.calls(&format!("w{number}"), answers, 60).await {
            Ok(calls) if calls == expected => Ok(()),
            Ok(calls) => Err(format!("{case}: called {calls:?}")),
            Err(error) => Err(format!("{case}: ended: {error}")),
        }
    };
    let wrong = failures(cases.into_iter().enumerate().map(run)).await;
    assert!(wrong.is_empty(), "{} cases went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_goes_on_when_an_answer_never_ends() {
    let server = FakeServer::start().await;
    let cases = Moment::ALL.into_iter().flat_map(|moment| [200, 302, 404, 409].map(|status| (moment, status)));
    let run = async |(number, (moment, status)): (usize, (Moment, u16))| {
        let (answers, _) = moment.script(Answer::Stranger(status, Stranger::NeverEnding));
        // Such a server is given up on soon, since it would take the worker for lost soon.
        let outcome = server.calls(&format!("w{number}"), answers, 4).await;
        outcome.map_err(|error| format!("{moment:?}, {status}: {error}"))
    };
    let wrong = failures(cases.enumerate().map(run)).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_itself_refuses_ends_an_agent_only_at_its_very_first_registration() {
    let server = FakeServer::start().await;
    let own = [400, 401, 403, 404, 405, 410, 411, 413, 415, 421, 422, 431, 451];
    let cases = Moment::ALL.into_iter().flat_map(|moment| own.map(|status| (moment, status)));
    let run = async |(number, (moment, status)): (usize, (Moment, u16))| {
        let (answers, expected) = moment.script(Answer::Own(status));
        let case = format!("{moment:?}, {status}");
        let forgotten = ["PUT", "POST", "POST", "PUT", "PUT", "POST"];
        match (moment, server.calls(&format!("w{number}"), answers, 60).await) {
            (Moment::FirstRegistration, Err(AgentError::Refused { .. })) => Ok(()),
            // It registers again, until that is taken: also if its token does not speak for the worker any more.
            (Moment::Heartbeat, Ok(calls)) if [403, 404].contains(&status) && calls == forgotten => Ok(()),
            (Moment::Heartbeat | Moment::RegistrationAgain, Ok(calls)) if calls == expected => Ok(()),
            (_, outcome) => Err(format!("{case}: {outcome:?}")),
        }
    };
    let wrong = failures(cases.enumerate().map(run)).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_of_a_client_takes_a_stranger_for_a_server_that_is_away() {
    let server = FakeServer::start().await;
    let client = Client::new(&server.url).unwrap();
    let cases = STATUSES.into_iter().flat_map(|status| Stranger::QUICK.map(|body| (status, body)));
    let run = async |(number, (status, body)): (usize, (u16, Stranger))| {
        let id = format!("w{number}");
        let _calls = server.expect(&id, vec![Answer::Stranger(status, body); 3], 60);
        let registered = client.register(&id, &Registration::default()).await.map(drop);
        let heard = client.heartbeat(&id, &Heartbeat::default()).await.map(drop);
        let said_goodbye = client.goodbye(&id, LifeOf::HostBoot("boot")).await;
        for (call, outcome) in [("register", registered), ("heartbeat", heard), ("goodbye", said_goodbye)] {
            match outcome {
                Err(ClientError::Unavailable { .. }) => {}
                // The one status that says all there is to say.
                Ok(()) if call == "goodbye" && status == 204 => {}
                outcome => return Err(format!("{call}, {status} with {body:?}: {outcome:?}")),
            }
        }
        Ok(())
    };
    let wrong = failures(cases.enumerate().map(run)).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
