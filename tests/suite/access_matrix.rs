//! Who may do what: every operation of both protocols, for every role, on every way in.
//!
//! What is expected is in two tables, [`REST`] and [`GRAPHQL`]. An operation that is in the OpenAPI document or in the
//! schema and has no line fails the test, and so does a line without an operation: nobody adds an operation without
//! saying who may do it.

use std::collections::BTreeSet;

use aetherium::graphql::TrustedMode;
use aetherium::server::ServerOptions;
use serde_json::{Value, json};

use self::Needs::{
    Admin, AdminToRead, Joiner, Nothing, NothingWrong, Operator, OperatorOrOwner, OwnPage, OwnPageAndNothingWrong,
    Owner, Viewer,
};
use crate::harness::openapi::{BASE, document};
use crate::harness::*;

/// Who may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Everybody, with or without a token.
    Nothing,
    /// Everybody, but a token or a session that is sent has to be accepted. A cookie that does not count is none.
    NothingWrong,
    /// Everybody except for pages of other origins.
    OwnPage,
    /// The same, but a token or a session that is sent has to be accepted.
    OwnPageAndNothingWrong,
    /// Viewers and whoever may do more.
    Viewer,
    /// Operators and administrators.
    Operator,
    /// Administrators.
    Admin,
    /// Administrators; but it is a question, and who may ask none is told that first.
    AdminToRead,
    /// Workers; and if it is about a worker, only that one.
    Owner,
    /// Those who join; and if the token names a worker, only that one.
    Joiner,
    /// Operators and administrators, and a worker itself.
    OperatorOrOwner,
}

/// What is joined with. The join token of the matrix is used up, so that this changes nothing.
const JOIN: &str = r#"{"token_id": "0123456789ab", "token_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}"#;

/// Methods and paths below [`BASE`], who may, and the body.
const REST: &[(&str, Needs, &str)] = &[
    ("GET /workers", Viewer, ""),
    ("GET /workers/{id}", Viewer, ""),
    ("PUT /workers/{id}", Owner, r#"{"hostname": "h", "address": "a:1", "cpu_cores": 1, "memory_mb": 1}"#),
    ("DELETE /workers/{id}", OperatorOrOwner, ""),
    ("GET /workers/{id}/vms", Viewer, ""),
    ("GET /workers/{id}/drain", Viewer, ""),
    ("GET /workers/{id}/drains", Viewer, ""),
    ("GET /workers/{id}/history", Viewer, ""),
    ("GET /drains", Viewer, ""),
    ("POST /workers/{id}/drain", Operator, ""),
    ("POST /workers/{id}/activate", Operator, ""),
    ("POST /drains", Operator, r#"{"filter": {"ids": ["nobody"]}}"#),
    ("POST /activations", Operator, r#"{"filter": {"ids": ["nobody"]}}"#),
    ("GET /evacuation-plan", Viewer, ""),
    ("POST /purges", Admin, r#"{"filter": {"ids": ["nobody"]}}"#),
    ("GET /vms", Viewer, ""),
    ("GET /vms/{id}", Viewer, ""),
    ("GET /cluster/stats", Viewer, ""),
    ("GET /cluster/distribution", Viewer, ""),
    ("GET /cluster/history", Viewer, ""),
    ("GET /zones/{zone}/history", Viewer, ""),
    ("GET /placement", Viewer, ""),
    ("GET /capacity", Viewer, ""),
    ("GET /reservations", Viewer, ""),
    ("POST /reservations", Operator, r#"{"vcpus": 1, "memory_mb": 1}"#),
    ("GET /reservations/{id}", Viewer, ""),
    ("DELETE /reservations/{id}", Operator, ""),
    ("GET /cluster/zones", Viewer, ""),
    ("GET /cluster/worker-counts", Viewer, ""),
    ("GET /cluster/vm-counts", Viewer, ""),
    ("GET /events", Viewer, ""),
    ("GET /sd/prometheus", Viewer, ""),
    ("POST /workers/{id}/join", Joiner, JOIN),
    ("POST /workers/{id}/heartbeat", Owner, r#"{"incarnation": 1}"#),
    // Whose heartbeats they are is asked for each of them.
    ("POST /heartbeats", Owner, r#"{"heartbeats": [{"worker_id": "own", "incarnation": 1}]}"#),
    ("GET /tokens", AdminToRead, ""),
    ("POST /tokens", Admin, r#"{"name": "n", "role": "viewer"}"#),
    ("DELETE /tokens/{id}", Admin, ""),
    ("GET /session", NothingWrong, ""),
    ("POST /session", OwnPage, "{}"),
    ("GET /health", Nothing, ""),
    ("GET /openapi.json", Nothing, ""),
    // Last, since sessions are over after that.
    ("DELETE /session", OwnPageAndNothingWrong, ""),
];

/// What monitoring asks, beside the documented API.
const MONITORING: &[(&str, Needs, &str)] = &[
    ("GET /metrics", Viewer, ""),
    ("GET /metrics/workers", Viewer, ""),
    ("GET /livez", Nothing, ""),
    ("GET /readyz", Nothing, ""),
    ("GET /readyz?verbose", Nothing, ""),
    ("GET /version", Nothing, ""),
];

/// What other parameters make another operation of.
const REST_BY_PARAMETERS: &[(&str, Needs, &str)] = &[
    ("DELETE /workers/{id}?incarnation=1", OperatorOrOwner, ""),
    ("DELETE /workers/{id}?purge=true&force=true", Admin, ""),
    ("DELETE /workers/{id}?purge=true&force=true&incarnation=1", Admin, ""),
    ("GET /workers?min_revision=1", Viewer, ""),
    // They are answered at once: there is news after the first revision.
    ("GET /workers?wait=60s&after_revision=1", Viewer, ""),
    ("POST /workers/{id}/drain?", Operator, r#"{"reason": "r"}"#),
];

/// Root fields, who may, and their selections. `$id` is a worker.
const GRAPHQL: &[(&str, Needs, &str)] = &[
    ("query node", Viewer, "node(id: $id) { id }"),
    ("query nodes", Viewer, "nodes(ids: [$id]) { id }"),
    ("query workers", Viewer, "workers { id }"),
    ("query workersConnection", Viewer, "workersConnection(first: 1) { totalCount }"),
    ("query worker", Viewer, "worker(id: $id) { id }"),
    ("query vms", Viewer, "vms { id }"),
    ("query vmsConnection", Viewer, "vmsConnection(first: 1) { totalCount }"),
    ("query vm", Viewer, "vm(id: $id) { id }"),
    ("query drains", Viewer, "drains(first: 1) { totalCount }"),
    ("query clusterStats", Viewer, "clusterStats { totalWorkers }"),
    ("query vmDistribution", Viewer, "vmDistribution { __typename }"),
    ("query placement", Viewer, "placement(request: {vcpus: 1, memoryMb: 1}) { fits }"),
    ("query capacity", Viewer, "capacity(request: {vcpus: 1, memoryMb: 1}) { vms }"),
    ("query evacuationPlan", Viewer, r#"evacuationPlan(filter: {ids: ["nobody"]}) { fits }"#),
    ("query reservations", Viewer, "reservations(first: 1) { totalCount }"),
    ("query reservation", Viewer, "reservation(id: $id) { id }"),
    ("query zones", Viewer, "zones { name history { length } }"),
    ("query clusterHistory", Viewer, "clusterHistory { length }"),
    ("query zoneHistory", Viewer, r#"zoneHistory(zone: "a") { length }"#),
    ("query workerCounts", Viewer, "workerCounts { total }"),
    ("query vmCounts", Viewer, "vmCounts { total }"),
    ("query health", Viewer, "health { __typename }"),
    ("query session", Viewer, "session { asksForTokens token { id } }"),
    ("query tokens", AdminToRead, "tokens { id name state }"),
    ("query events", Viewer, "events(first: 1) { endCursor }"),
    ("mutation drainWorker", Operator, "drainWorker(input: {workerId: $id}) { changed }"),
    ("mutation activateWorker", Operator, "activateWorker(input: {workerId: $id}) { changed }"),
    ("mutation drainWorkers", Operator, r#"drainWorkers(input: {filter: {ids: ["nobody"]}}) { totalChanged }"#),
    ("mutation activateWorkers", Operator, r#"activateWorkers(input: {filter: {ids: ["nobody"]}}) { totalChanged }"#),
    ("mutation reserve", Operator, "reserve(input: {vcpus: 1, memoryMb: 1}) { reservation { id } }"),
    ("mutation releaseReservation", Operator, "releaseReservation(input: {reservationId: $id}) { changed }"),
    (
        "mutation registerWorker",
        Owner,
        r#"registerWorker(input: {workerId: $id, hostname: "h", address: "a:1", cpuCores: 1, memoryMb: 1}) { __typename }"#,
    ),
    (
        "mutation joinWorker",
        Joiner,
        r#"joinWorker(input: {workerId: $id, tokenId: "0123456789ab", tokenSha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}) { tokenId }"#,
    ),
    ("mutation recordHeartbeat", Owner, "recordHeartbeat(input: {workerId: $id, incarnation: 1}) { __typename }"),
    ("mutation deregisterWorker", OperatorOrOwner, "deregisterWorker(input: {workerId: $id}) { workerId }"),
    ("mutation purgeWorkers", Admin, r#"purgeWorkers(input: {filter: {ids: ["nobody"]}}) { remaining }"#),
    ("mutation createToken", Admin, r#"createToken(input: {name: "n", role: VIEWER}) { secret }"#),
    ("mutation revokeToken", Admin, "revokeToken(input: {tokenId: $id}) { __typename }"),
    ("subscription workerHeartbeats", Viewer, "workerHeartbeats { __typename }"),
    ("subscription workerUpdates", Viewer, "workerUpdates { __typename }"),
    ("subscription drainProgress", Viewer, "drainProgress { __typename }"),
    ("subscription clusterEvents", Viewer, "clusterEvents(after: $after) { kind }"),
    ("subscription clusterStats", Viewer, "clusterStats { totalWorkers }"),
];

/// The same, where arguments make another operation of a field, and the fields that every root has.
const GRAPHQL_BY_ARGUMENTS: &[(&str, Needs, &str)] = &[
    (
        "mutation purge",
        Admin,
        "deregisterWorker(input: {workerId: $id, purge: true, force: true, incarnation: 1}) { workerId }",
    ),
    // Reading in the payload of a mutation is no way around what the mutation needs.
    ("mutation drainAndRead", Operator, "drainWorker(input: {workerId: $id}) { worker { id events { kind } } }"),
    (
        "mutation drainAndReadHistory",
        Operator,
        "drainWorker(input: {workerId: $id}) { worker { id history { length } } }",
    ),
    ("query workerHistory", Viewer, "worker(id: $id) { history { length } }"),
    // Next to a field that is allowed stands one that is not.
    ("query statsAndTokens", AdminToRead, "clusterStats { totalWorkers } tokens { id }"),
    ("query typename", Viewer, "__typename"),
    ("query introspection", Viewer, "__schema { queryType { name } }"),
    ("query introspectionOfType", Viewer, r#"__type(name: "Worker") { name }"#),
];

const NOBODY: &str = "This server asks for a token: send it as `Authorization: Bearer <token>`";
const MALFORMED: &str =
    "The token cannot be read, its form or its checksum is wrong: it is sent as `Authorization: Bearer <token>`";

const MISPLACED: &str = "This is a secret of another kind: tokens are sent as `Authorization: Bearer <token>`, a session's \
                         secret only in its cookie, a sign-in code only to open a session";
const CROSS_SITE: &str = "The session's cookie counts only for requests of this server's own pages";
const SESSION_ENDED: &str = "The session has ended: sign in again";

/// An origin whose pages may ask, with tokens of their own.
const ALLOWED_ORIGIN: &str = "https://dashboard.example.com";

/// Somebody who asks.
#[derive(Clone, Debug)]
struct Who {
    /// A role; or none, for those who are nobody.
    role: Option<&'static str>,
    /// What they send with each request.
    headers: Vec<(&'static str, String)>,
    /// Why they are nobody.
    refusal: &'static str,
}

impl Who {
    /// What has to become of an operation about this worker, or about none.
    fn expected(&self, needs: Needs, worker: Option<&str>) -> Outcome {
        let is_nobody = self.role.is_none();
        match needs {
            Nothing => return Outcome::Passed,
            OwnPage | OwnPageAndNothingWrong if self.is_other_page() => {
                return Outcome::Forbidden("Only this server's own pages sign in and out".to_owned());
            }
            OwnPage => return Outcome::Passed,
            NothingWrong | OwnPageAndNothingWrong if is_nobody && ![NOBODY, CROSS_SITE].contains(&self.refusal) => {
                // An ended session can be closed.
                if needs == OwnPageAndNothingWrong && self.refusal == SESSION_ENDED {
                    return Outcome::Passed;
                }
                return Outcome::Unauthenticated(self.refusal.to_owned());
            }
            NothingWrong | OwnPageAndNothingWrong => return Outcome::Passed,
            Viewer | Operator | Admin | AdminToRead | Owner | Joiner | OperatorOrOwner => {}
        }
        let Some(role) = self.role else { return Outcome::Unauthenticated(self.refusal.to_owned()) };
        let word = match needs {
            Nothing | NothingWrong | OwnPage | OwnPageAndNothingWrong | Viewer => "viewer",
            AdminToRead if ["worker", "join"].contains(&role) => "viewer",
            Operator | OperatorOrOwner => "operator",
            Admin | AdminToRead => "admin",
            Owner => "worker",
            Joiner => "join",
        };
        let may = match needs {
            Nothing | NothingWrong | OwnPage | OwnPageAndNothingWrong => true,
            Viewer => !["worker", "join"].contains(&role),
            Operator => ["operator", "admin"].contains(&role),
            OperatorOrOwner => !["viewer", "join"].contains(&role),
            Admin | AdminToRead => role == "admin",
            Owner => role == "worker",
            Joiner => role == "join",
        };
        match worker {
            _ if !may => Outcome::Forbidden(format!("This needs the role {word}, and the token has the role {role}")),
            Some(id) if role == "worker" && id != "own" => Outcome::Forbidden(format!(
                "The token does not speak for worker {id}: a worker is spoken for by the token that registered it"
            )),
            Some(id) if role == "join" && id != "own" => {
                Outcome::Forbidden(format!("The join token is for one worker, which is not {id}"))
            }
            Some(_) | None => Outcome::Passed,
        }
    }

    /// The workers to ask about: which one it is makes a difference only to workers.
    fn targets(&self, is_about_worker: bool) -> &'static [&'static str] {
        let is_for_one = ["worker", "join"].map(Some).contains(&self.role);
        if is_about_worker && is_for_one { &["own", "other"] } else { &["own"] }
    }

    fn headers<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = self.headers.iter().map(|(name, value)| (*name, value.as_str()));
        own.chain(more.iter().copied()).collect()
    }

    /// What they send as `authorization`.
    fn authorization(&self) -> Option<&str> {
        self.headers.iter().find(|(name, _)| *name == "authorization").map(|(_, value)| value.as_str())
    }

    /// Whether they are a page of another origin.
    fn is_other_page(&self) -> bool {
        self.headers.iter().any(|(name, _)| *name == "origin")
    }

    fn ask(&self, cluster: &TestCluster, method: &str, path: &str) -> Ask {
        let ask = cluster.rest().ask(method, path);
        self.headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value))
    }
}

/// What became of an operation, as far as it is about permission.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Unauthenticated(String),
    Forbidden(String),
}

impl Outcome {
    /// By the errors of a GraphQL response.
    fn of_errors(errors: &Value) -> Self {
        let Some(error) = errors.as_array().and_then(|errors| errors.first()) else { return Self::Passed };
        let message = error["message"].as_str().unwrap().to_owned();
        match error["extensions"]["code"].as_str() {
            Some("UNAUTHENTICATED") => Self::Unauthenticated(message),
            Some("FORBIDDEN") => Self::Forbidden(message),
            Some("INTERNAL" | "UNAVAILABLE" | "GRAPHQL_VALIDATION_FAILED" | "GRAPHQL_PARSE_FAILED" | "BAD_REQUEST")
            | None => panic!("this is about something else: {errors}"),
            Some(_) => Self::Passed,
        }
    }

    /// By a response to GraphQL over HTTP.
    fn of_graphql(answer: &Answer) -> Self {
        let outcome = Self::of_errors(&answer.json()["errors"]);
        let is_unauthenticated = matches!(outcome, Self::Unauthenticated(_));
        assert_eq!(is_unauthenticated, answer.status == 401, "{}", answer.body);
        assert_eq!(is_unauthenticated, answer.header("www-authenticate") == Some("Bearer"), "{:?}", answer.headers);
        assert!(answer.status < 500, "{}: {}", answer.status, answer.body);
        if outcome != Self::Passed {
            // What is refused is null, whatever else the document asks for.
            let (data, errors) = (answer.json()["data"].take(), answer.json()["errors"].take());
            for path in errors.as_array().into_iter().flatten().filter_map(|error| error["path"][0].as_str()) {
                assert_eq!(data[path], Value::Null, "{}", answer.body);
            }
            assert!(data.is_null() || errors[0]["path"].is_array(), "{}", answer.body);
        }
        outcome
    }

    /// By a response of REST, of the documented form.
    fn of_rest(answer: &Answer) -> Self {
        match answer.status {
            401 | 403 => {
                answer.assert_house_shape();
                let challenge = answer.header("www-authenticate");
                assert_eq!(challenge, (answer.status == 401).then_some("Bearer"), "{:?}", answer.headers);
                let message = answer.json()["message"].as_str().unwrap().to_owned();
                if answer.status == 401 { Self::Unauthenticated(message) } else { Self::Forbidden(message) }
            }
            status => {
                assert!(status < 500, "{status}: {}", answer.body);
                assert_eq!(answer.header("www-authenticate"), None);
                Self::Passed
            }
        }
    }
}

/// A cluster with two workers and tokens of all kinds, and whoever asks.
struct Matrix {
    cluster: TestCluster,
    everybody: Vec<Who>,
    own: TestToken,
    other: TestToken,
}

impl Matrix {
    async fn on(db: &TestDatabase) -> Self {
        Self::of(TestCluster::configured(db, allow_origin).await).await
    }

    async fn of(cluster: TestCluster) -> Self {
        let bearing = |role, text: String, refusal| Who { role, headers: vec![("authorization", text)], refusal };
        let own_page = |role, cookie: String, refusal| Who {
            role,
            headers: vec![("cookie", cookie), ("sec-fetch-site", "same-origin".into())],
            refusal,
        };
        let mut everybody = vec![
            Who { role: None, headers: Vec::new(), refusal: NOBODY },
            bearing(None, "Bearer aea_x".into(), MALFORMED),
            bearing(None, "Basic YTpi".into(), MALFORMED),
        ];
        let mut tokens = Vec::new();
        for role in ["viewer", "operator", "admin"] {
            let token = cluster.token(role_token(role)).await;
            everybody.push(bearing(Some(role), token.bearer(), ""));
            tokens.push((role, token));
        }
        let join = cluster.token(join_token(Some("own"), 1)).await;
        let (own, joined) = cluster.join(&join, "own").await;
        assert_eq!(joined.status, 200, "{}", joined.body);
        let other = cluster.token(worker_token("other")).await;
        everybody.push(bearing(Some("worker"), own.bearer(), ""));
        everybody.push(bearing(Some("join"), join.bearer(), ""));
        for (role, token) in &tokens {
            everybody.push(own_page(Some(*role), cluster.session(token).await.cookie(), ""));
        }
        let (_, admin) = &tokens[2];
        let session = cluster.session(admin).await;
        let code = cluster.sign_in_code("admin").await;
        // Each secret where another kind is wanted.
        everybody.push(bearing(None, format!("Bearer {}", session.text), MISPLACED));
        everybody.push(bearing(None, code.bearer(), MISPLACED));
        everybody.push(own_page(None, format!("aetherium={}", admin.text), MISPLACED));
        everybody.push(own_page(None, format!("aetherium={}", code.text), MISPLACED));
        everybody.push(own_page(None, format!("{}; aetherium=another", session.cookie()), SESSION_ENDED));
        // Pages of this origin may ask with tokens, but the cookie does not count for them.
        let headers = vec![("cookie", session.cookie()), ("origin", ALLOWED_ORIGIN.to_owned())];
        everybody.push(Who { role: None, headers, refusal: CROSS_SITE });
        let matrix = Self { cluster, everybody, own, other };
        matrix.put_back().await;
        matrix
    }

    fn who(&self, role: &str) -> &Who {
        self.everybody.iter().find(|who| who.role == Some(role)).unwrap()
    }

    /// Registers the workers, which the operation before may have removed, and drains one.
    async fn put_back(&self) {
        for (token, id) in [(&self.own, "own"), (&self.other, "other")] {
            let ask = self.cluster.holder(token).put(&format!("/api/v1/workers/{id}"));
            let answer = ask.json(worker(id).registration()).await;
            assert!([200, 201].contains(&answer.status), "{}", answer.body);
        }
        // So that there is a drain to follow.
        let drained = self.who("operator").ask(&self.cluster, "POST", "/api/v1/workers/other/drain").await;
        assert_eq!(drained.status, 200, "{}", drained.body);
    }

    /// Holds an outcome against the table; what is refused has changed nothing.
    #[track_caller]
    fn hold(&self, what: &str, who: &Who, outcome: Outcome, needs: Needs, worker: Option<&str>, before: u64) {
        let expected = who.expected(needs, worker);
        assert_eq!(outcome, expected, "{what} of {worker:?} by {who:?}");
        if expected != Outcome::Passed {
            assert_eq!(self.cluster.revision(), before, "{what} of {worker:?} by {who:?} has changed something");
        }
    }

    fn variables(&self, selection: &str, id: &str) -> Value {
        let mut variables = json!({});
        if selection.contains("$id") {
            variables["id"] = id.into();
        }
        if selection.contains("$after") {
            variables["after"] = self.cluster.first_cursor().into();
        }
        variables
    }
}

/// An operation of [`GRAPHQL`] as a document, and the name of its root field.
fn graphql_document(name: &str, selection: &str) -> String {
    let (kind, field) = name.split_once(' ').unwrap();
    let declared = match () {
        () if selection.contains("$id") => "($id: ID!)",
        () if selection.contains("$after") => "($after: Cursor)",
        () => "",
    };
    format!("{kind} {kind}_{field}{declared} {{ {selection} }}")
}

fn is_about_worker(name: &str, selection: &str) -> bool {
    name.starts_with("mutation") && selection.contains("workerId: $id")
}

fn graphql_lines() -> impl Iterator<Item = (&'static str, Needs, &'static str)> {
    GRAPHQL.iter().chain(GRAPHQL_BY_ARGUMENTS).copied()
}

#[test]
fn every_operation_of_rest_is_in_the_table() {
    let document = document();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        documented.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let table: BTreeSet<_> = REST.iter().map(|(operation, ..)| (*operation).to_owned()).collect();
    assert_eq!(documented, table);
}

#[tokio::test]
async fn every_root_field_of_the_schema_is_in_the_table() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    let mut known = BTreeSet::new();
    for root in ["query", "mutation", "subscription"] {
        let schema = cluster.graphql(&format!("{{ __schema {{ root: {root}Type {{ fields {{ name }} }} }} }}")).await;
        let fields = schema["__schema"]["root"]["fields"].as_array().unwrap();
        known.extend(fields.iter().map(|field| format!("{root} {}", field["name"].as_str().unwrap())));
    }
    let table: BTreeSet<_> = GRAPHQL.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(known, table);
}

on_both_databases! {
    async fn rest_lets_in_whom_the_table_says(db: TestDatabase) {
        let matrix = Matrix::on(&db).await;
        let of_api = REST_BY_PARAMETERS.iter().chain(REST).map(|line| (BASE, line));
        for (base, (operation, needs, body)) in MONITORING.iter().map(|line| ("", line)).chain(of_api) {
            let (needs, body) = (*needs, *body);
            let (method, template) = operation.split_once(' ').unwrap();
            let is_about_worker = template.starts_with("/workers/{id}");
            for who in &matrix.everybody {
                for target in who.targets(is_about_worker) {
                    let path = format!("{base}{}", template.replace("{id}", target).replace("{zone}", "a"));
                    let slash = if path.contains('?') { path.replacen('?', "/?", 1) } else { format!("{path}/") };
                    for path in [path, slash] {
                        matrix.put_back().await;
                        let before = matrix.cluster.revision();
                        let ask = who.ask(&matrix.cluster, method, &path);
                        let ask = if body.is_empty() { ask } else { ask.json(serde_json::from_str(body).unwrap()) };
                        let outcome = Outcome::of_rest(&in_time(ask.into_future()).await);
                        matrix.hold(&format!("{method} {path}"), who, outcome, needs, is_about_worker.then_some(target), before);
                        if method == "GET" {
                            let head = who.ask(&matrix.cluster, "HEAD", &path).await;
                            let status = match who.expected(needs, None) {
                                Outcome::Passed => None,
                                Outcome::Unauthenticated(_) => Some(401),
                                Outcome::Forbidden(_) => Some(403),
                            };
                            assert_eq!(Some(head.status).filter(|status| [401, 403].contains(status)), status, "{path}");
                            assert_eq!(head.body, "");
                        }
                    }
                }
            }
        }
    }

    async fn streams_and_long_polls_of_rest_let_in_viewers(db: TestDatabase) {
        let matrix = Matrix::on(&db).await;
        let port = Port::of(&matrix.cluster).await;
        let after = matrix.cluster.first_cursor();
        for who in &matrix.everybody {
            for media in ["text/event-stream", "application/x-ndjson"] {
                for path in ["/api/v1/events", "/api/v1/events/", "/api/v1/drains"] {
                    let headers = who.headers(&[("accept", media), ("last-event-id", &after)]);
                    let mut stream = HttpStream::get(&port.authority(), path, &headers).await;
                    let expected = match who.expected(Viewer, None) {
                        Outcome::Passed => 200,
                        Outcome::Unauthenticated(_) => 401,
                        Outcome::Forbidden(_) => 403,
                    };
                    assert_eq!(stream.status, expected, "{media} by {who:?}");
                    if expected == 200 {
                        assert_eq!(stream.next_line().await.unwrap().map(|line| line.is_empty()), Some(false));
                    } else {
                        assert_eq!(stream.line_to_end().await["code"], expected);
                    }
                }
            }
            if who.expected(Viewer, None) != Outcome::Passed {
                // It would wait for the next change.
                let poll = who.ask(&matrix.cluster, "GET", "/api/v1/workers?wait=60s").into_future();
                let outcome = Outcome::of_rest(&in_time(poll).await);
                assert_eq!(outcome, who.expected(Viewer, None), "{who:?}");
            }
        }
    }

    async fn graphql_over_http_lets_in_whom_the_table_says(db: TestDatabase) {
        let matrix = Matrix::of(trusting(&db).await).await;
        let admin = matrix.who("admin");
        for (name, needs, selection) in graphql_lines() {
            let document = graphql_document(name, selection);
            let is_query = name.starts_with("query");
            if name.starts_with("subscription") {
                continue;
            }
            let hash = json!({"persistedQuery": {"version": 1, "sha256Hash": sha256(&document)}});
            let body = json!({"query": document, "variables": matrix.variables(selection, "none"), "extensions": hash});
            // Somebody who may registers the document for those who ask by its hash.
            admin.ask(&matrix.cluster, "POST", "/graphql").json(body).await;
            for who in &matrix.everybody {
                for target in who.targets(is_about_worker(name, selection)) {
                    let variables = matrix.variables(selection, target);
                    let encoded = variables.to_string().replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
                    let id = name.replace(' ', ".");
                    let mut ways = vec![
                        ("POST", "/graphql".to_owned(), json!({"query": document, "variables": variables})),
                        ("POST", "/graphql/".to_owned(), json!({"query": document, "variables": variables})),
                        // Equal bytes are found in the cache of requests, whoever sent them first.
                        ("POST", "/graphql".to_owned(), json!({"query": document, "variables": variables})),
                        ("POST", "/graphql".to_owned(), json!({"extensions": hash, "variables": variables})),
                        ("POST", "/graphql".to_owned(), json!({"documentId": id, "variables": variables})),
                        ("POST", format!("/api/v1/q/{id}"), variables.clone()),
                        ("POST", format!("/api/v1/q/{id}/"), variables.clone()),
                    ];
                    if is_query {
                        let text = document.replace(' ', "%20").replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
                        let extensions = hash.to_string().replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
                        let id_parameter = if selection.contains("$id") { format!("?id={target}") } else { String::new() };
                        ways.extend([
                            ("GET", format!("/graphql?query={text}&variables={encoded}"), Value::Null),
                            ("GET", format!("/graphql/?query={text}&variables={encoded}"), Value::Null),
                            ("GET", format!("/graphql?extensions={extensions}&variables={encoded}"), Value::Null),
                            ("GET", format!("/graphql?documentId={id}&variables={encoded}"), Value::Null),
                            ("GET", format!("/api/v1/q/{id}{id_parameter}"), Value::Null),
                        ]);
                    }
                    for (method, path, body) in ways {
                        if !is_query {
                            matrix.put_back().await;
                        }
                        let before = matrix.cluster.revision();
                        let ask = who.ask(&matrix.cluster, method, &path);
                        let ask = if body.is_null() { ask } else { ask.json(body.clone()) };
                        let answer = ask.await;
                        let target = is_about_worker(name, selection).then_some(*target);
                        let what = format!("{name}: {method} {path} {body}");
                        matrix.hold(&what, who, Outcome::of_graphql(&answer), needs, target, before);
                        if method == "GET" {
                            let head = who.ask(&matrix.cluster, "HEAD", &path).await;
                            assert_eq!((head.status == 401, head.body.as_str()), (who.role.is_none(), ""), "{what}");
                        }
                    }
                }
            }
        }
    }

    async fn graphql_over_server_sent_events_lets_in_whom_the_table_says(db: TestDatabase) {
        let matrix = Matrix::of(trusting(&db).await).await;
        let port = Port::of(&matrix.cluster).await;
        for (name, needs, selection) in graphql_lines() {
            let document = graphql_document(name, selection);
            for who in &matrix.everybody {
                for target in who.targets(is_about_worker(name, selection)) {
                    let variables = matrix.variables(selection, target);
                    let headers = who.headers(&[("accept", "text/event-stream")]);
                    let id = name.replace(' ', ".");
                    let parameter = match () {
                        () if selection.contains("$id") => format!("?id={target}"),
                        () if selection.contains("$after") => format!("?after={}", variables["after"].as_str().unwrap()),
                        () => String::new(),
                    };
                    let (whole, by_id) = (json!({"query": document, "variables": variables}), json!({"documentId": id, "variables": variables}));
                    for (path, body) in [
                        ("/graphql".to_owned(), Some(whole)),
                        ("/graphql".to_owned(), Some(by_id)),
                        (format!("/api/v1/q/{id}{parameter}"), name.starts_with("mutation").then(|| variables.clone())),
                    ] {
                        if path.contains("/q/") && name.starts_with("query") {
                            continue;
                        }
                        if name.starts_with("mutation") {
                            matrix.put_back().await;
                        }
                        let before = matrix.cluster.revision();
                        let path = if body.is_some() { path.split('?').next().unwrap() } else { &path };
                        let mut stream = match &body {
                            Some(body) => HttpStream::post(&port.authority(), path, &headers, body).await,
                            None => HttpStream::get(&port.authority(), path, &headers).await,
                        };
                        let is_stream = stream.headers["content-type"].starts_with("text/event-stream");
                        let answer = if is_stream { stream.message().await.json() } else { stream.line_to_end().await };
                        let outcome = Outcome::of_errors(&answer["errors"]);
                        assert_eq!(stream.status == 401, who.role.is_none(), "{name} {path} by {who:?}");
                        let target = is_about_worker(name, selection).then_some(*target);
                        matrix.hold(&format!("{name} {path}"), who, outcome, needs, target, before);
                    }
                }
            }
        }
    }

    async fn graphql_over_websocket_lets_in_whom_the_table_says(db: TestDatabase) {
        let matrix = Matrix::on(&db).await;
        let port = Port::of(&matrix.cluster).await;
        for who in &matrix.everybody {
            for protocol in [TRANSPORT_WS, "graphql-ws"] {
                let ways = ["handshake", "payload", "payload without Bearer", "both"];
                // Cookies are sent in one way only.
                let ways = if who.authorization().is_some() { &ways[..] } else { &ways[..1] };
                for way in ways {
                    let Some(mut client) = Client::open(&port, who, protocol, way).await else { continue };
                    for (name, needs, selection) in graphql_lines() {
                        for target in who.targets(is_about_worker(name, selection)) {
                            if name.starts_with("mutation") {
                                matrix.put_back().await;
                            }
                            let before = matrix.cluster.revision();
                            let errors = client.ask(&graphql_document(name, selection), matrix.variables(selection, target)).await;
                            let target = is_about_worker(name, selection).then_some(*target);
                            matrix.hold(&format!("{name} over {protocol}"), who, Outcome::of_errors(&errors), needs, target, before);
                        }
                    }
                }
            }
        }
    }
}

/// A client of either WebSocket protocol.
struct Client {
    socket: Socket,
    is_legacy: bool,
    asked: usize,
}

impl Client {
    /// Begins a session; none if it was refused, as it has to be for nobody.
    async fn open(port: &Port, who: &Who, protocol: &str, way: &str) -> Option<Self> {
        let mut handshake = port.handshake().protocol(protocol);
        let mut payload = json!({"client": "test"});
        for (name, value) in &who.headers {
            if *name != "authorization" || ["handshake", "both"].contains(&way) {
                handshake = handshake.header(name, value);
            }
        }
        if let Some(authorization) = who.authorization() {
            match way {
                "payload" | "both" => payload["Authorization"] = authorization.into(),
                "payload without Bearer" => {
                    payload["authorization"] = authorization.trim_start_matches("Bearer ").into();
                }
                _ => {}
            }
        }
        let mut socket = Socket::open(handshake).await.expect("the handshake should succeed");
        socket.say(json!({"type": "connection_init", "payload": payload})).await;
        if who.role.is_none() {
            let mut told = Vec::new();
            let (code, reason) = socket.closed_after(&mut told).await;
            assert_eq!((code, told.len()), (4403, 0), "{reason}: {told:?}");
            assert!(format!("Forbidden: {}", who.refusal).starts_with(&reason), "{reason}");
            return None;
        }
        let mut client = Self { socket, is_legacy: protocol == "graphql-ws", asked: 0 };
        assert_eq!(client.hear().await["type"], "connection_ack");
        Some(client)
    }

    /// The next message that is more than a sign of life.
    async fn hear(&mut self) -> Value {
        loop {
            let message = self.socket.hear().await;
            if message["type"] != "ka" {
                return message;
            }
        }
    }

    /// The errors in the first message about an operation, which is ended then.
    async fn ask(&mut self, query: &str, variables: Value) -> Value {
        self.asked += 1;
        let id = self.asked.to_string();
        let (start, stop) = if self.is_legacy { ("start", "stop") } else { ("subscribe", "complete") };
        self.socket.say(json!({"id": id, "type": start, "payload": {"query": query, "variables": variables}})).await;
        let mut message = loop {
            let message = self.hear().await;
            if message["id"] == id {
                break message;
            }
        };
        match message["type"].as_str().unwrap() {
            "next" | "data" => {
                self.socket.say(json!({"id": id, "type": stop})).await;
                message["payload"]["errors"].take()
            }
            "error" if message["payload"].is_array() => message["payload"].take(),
            "error" => json!([message["payload"].take()]),
            _ => panic!("{message}"),
        }
    }
}

#[tokio::test]
async fn a_session_does_not_begin_again_as_somebody_else() {
    let matrix = Matrix::on(&TestDatabase::sqlite()).await;
    let port = Port::of(&matrix.cluster).await;
    let mut client = Client::open(&port, matrix.who("viewer"), TRANSPORT_WS, "payload").await.unwrap();
    let admin = matrix.who("admin").authorization();
    client.socket.say(json!({"type": "connection_init", "payload": {"authorization": admin}})).await;
    assert_eq!(client.socket.closed().await.0, 4429);

    // What the payload says counts, not what the handshake said: it was meant for this.
    let handshake = port.handshake().protocol(TRANSPORT_WS).header("authorization", admin.unwrap());
    for wrong in [json!("Bearer nonsense"), json!(5), json!({}), json!("")] {
        let mut socket = Socket::open(handshake.clone()).await.unwrap();
        socket.say(json!({"type": "connection_init", "payload": {"authorization": wrong}})).await;
        assert_eq!(socket.closed().await.0, 4403, "{wrong}");
    }
    // Nothing is answered before the session has begun.
    for authorization in ["Bearer nonsense", matrix.who("admin").authorization().unwrap()] {
        let handshake = port.handshake().protocol(TRANSPORT_WS).header("authorization", authorization);
        let mut socket = Socket::open(handshake).await.unwrap();
        socket.subscribe("1", "{ workers { id } }", json!({})).await;
        assert_eq!(socket.closed().await.0, 4401);
    }
}

#[tokio::test]
async fn what_needs_no_token_is_public_and_what_is_nowhere_is_not() {
    let matrix = Matrix::on(&TestDatabase::sqlite()).await;
    let (cluster, html) = (&matrix.cluster, "text/html,*/*;q=0.8");
    for who in &matrix.everybody {
        for path in [
            "/",
            "/docs",
            "/docs/",
            "/graphql",
            "/assets/icon.svg",
            "/docs/assets/icon.svg",
            "/graphql/assets/icon.svg",
        ] {
            for method in ["GET", "HEAD"] {
                let answer = who.ask(cluster, method, path).header("accept", html).await;
                assert_eq!(answer.status, 200, "{method} {path} by {who:?}: {}", answer.body);
            }
        }
        for (method, path) in [
            ("GET", "/nowhere"),
            ("GET", "/api/v1/nowhere"),
            ("PATCH", "/api/v1/workers/own"),
            ("POST", "/api/v1/health"),
            ("DELETE", "/"),
        ] {
            let answer = who.ask(cluster, method, path).await;
            assert_eq!(answer.status == 401, who.role.is_none(), "{method} {path} by {who:?}: {}", answer.status);
            assert_eq!(answer.status, if who.role.is_none() { 401 } else { answer.status.max(404) }, "{method} {path}");
        }
        let batch = json!([{"query": "{ workers { id } }"}, {"query": "{ tokens { id } }"}]);
        let answer = who.ask(cluster, "POST", "/graphql").json(batch).await;
        assert_eq!(answer.status, if who.role.is_none() { 401 } else { 400 }, "{}", answer.body);

        let schema = who.ask(cluster, "GET", "/graphql/schema.graphql").await;
        let status = match who.expected(Viewer, None) {
            Outcome::Passed => 200,
            Outcome::Unauthenticated(_) => 401,
            Outcome::Forbidden(_) => 403,
        };
        assert_eq!((schema.status, schema.body.contains("type Query")), (status, status == 200), "{who:?}");
    }
}

#[tokio::test]
async fn without_allowed_origins_there_are_no_preflights() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    let viewer = cluster.token(role_token("viewer")).await;
    assert_eq!(cluster.rest().ask("OPTIONS", "/api/v1/workers").await.status, 401);
    assert_eq!(cluster.holder(&viewer).ask("OPTIONS", "/api/v1/workers").await.status, 405);
}

// Browsers send no token with the question whether they may.
#[tokio::test]
async fn a_page_of_an_allowed_origin_may_ask_with_a_token_and_read_why_not() {
    let cluster = TestCluster::configured(&TestDatabase::sqlite(), |options| {
        allow_origin(options);
    })
    .await;
    let viewer = cluster.token(role_token("viewer")).await;
    let origin = "https://dashboard.example.com";
    let preflight = cluster
        .rest()
        .ask("OPTIONS", "/api/v1/workers")
        .header("origin", origin)
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization")
        .await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-headers")), (200, Some("authorization")));
    let refused = cluster.rest().get("/api/v1/workers").header("origin", origin).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some(origin)));
    let allowed = cluster.holder(&viewer).get("/api/v1/workers").header("origin", origin).await;
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (200, Some(origin)));
    assert_eq!(allowed.header("access-control-allow-credentials"), None);
}

/// A cluster with all operations of the table as trusted documents.
async fn trusting(db: &TestDatabase) -> TestCluster {
    let operations: Vec<_> = graphql_lines()
        .map(|(name, _, selection)| {
            let (kind, field) = name.split_once(' ').unwrap();
            let body = graphql_document(name, selection);
            json!({"id": format!("{kind}.{field}"), "name": format!("{kind}_{field}"), "type": kind, "body": body})
        })
        .collect();
    let manifest = json!({"format": "apollo-persisted-query-manifest", "version": 1, "operations": operations});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("manifest.json");
    std::fs::write(&file, manifest.to_string()).unwrap();
    TestCluster::configured(db, |options| {
        allow_origin(options);
        options.graphql.trusted_documents = Some(file);
        options.graphql.trusted_documents_mode = TrustedMode::Allow;
    })
    .await
}

fn allow_origin(options: &mut ServerOptions) {
    options.http.cors_origins = vec![ALLOWED_ORIGIN.parse().unwrap()];
}

fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
