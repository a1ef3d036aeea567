//! `aetherium api` and `aetherium query`: anything that the API can be asked, with the server and the token that the other
//! commands have.

use std::fs;
use std::io::{self, Read as _};

use clap::Args;
use serde_json::{Map, Value, json};

use super::connection::ConnectionOptions;
use super::failure::{ExitStatus, Failure};
use super::login::off_thread;
use super::output::{Format, Output, OutputOptions};
use super::printable::printable_json;
use crate::client::Question;

/// What is beside the API and can be asked all the same: a container has no other client for its health check.
const BESIDE_THE_API: [&str; 5] = ["/livez", "/readyz", "/version", "/metrics", "/metrics/workers"];

/// `aetherium api`.
#[derive(Args, Clone, Debug)]
pub struct ApiOptions {
    /// What to ask, such as workers or /api/v1/workers?zone=a; also /livez, /readyz, /version and /metrics.
    #[arg(value_name = "PATH")]
    path: String,

    /// Method; by default GET, or POST with a body.
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<String>,

    /// Body, JSON: the text itself, @FILE, or @- for standard input.
    #[arg(short = 'd', long, value_name = "BODY")]
    data: Option<String>,

    /// Header to send, such as 'If-Match: "812"'; repeat it for several.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    #[command(flatten)]
    connection: ConnectionOptions,
}

/// `aetherium query`.
#[derive(Args, Clone, Debug)]
pub struct QueryOptions {
    /// GraphQL document: the text itself, @FILE, or @- for standard input.
    #[arg(value_name = "DOCUMENT")]
    document: String,

    /// Variable, whose value is JSON, or else a text; repeat it for several.
    #[arg(short = 'v', long = "variable", value_name = "NAME=VALUE")]
    variables: Vec<String>,

    /// All variables as one JSON object: the text itself, @FILE, or @- for standard input.
    #[arg(long = "variables", value_name = "JSON", conflicts_with = "variables")]
    object: Option<String>,

    /// Operation to run, of a document with several.
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,

    #[command(flatten)]
    connection: ConnectionOptions,
}

/// What these two write: JSON, always.
pub fn json_output() -> OutputOptions {
    OutputOptions { format: Format::Json, columns: Vec::new() }
}

impl ApiOptions {
    /// Carries it out.
    pub async fn run(&self) -> Result<(), Failure> {
        let mut output = Output::new(&json_output(), None)?;
        let question = self.question().await?;
        let connection = self.connection.connect()?;
        let answer = connection.api.ask_for_anything(question).await?;
        if output.is_terminal {
            output.bytes(printable_json(&String::from_utf8_lossy(&answer.body)).as_bytes())?;
        } else {
            output.bytes(&answer.body)?;
        }
        if !answer.body.is_empty() && !answer.body.ends_with(b"\n") {
            output.line("")?;
        }
        output.flush()
    }

    async fn question(&self) -> Result<Question, Failure> {
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let is_beside_the_api = BESIDE_THE_API.contains(&path);
        let path = path.trim_start_matches('/');
        let path = path.strip_prefix("api/v1/").unwrap_or(path).trim_end_matches('/');
        let segments: Result<Vec<_>, _> =
            path.split('/').map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8()).collect();
        let no_path =
            || Failure::usage(format!("{:?} is no path of the API: write it as in workers?zone=a", self.path));
        let segments = segments.map_err(|_| no_path())?;
        if path.is_empty() {
            return Err(no_path());
        }
        let body = match &self.data {
            Some(data) => Some(read_argument(data).await?),
            None => None,
        };
        let method = self.method.as_deref().unwrap_or(if body.is_some() { "POST" } else { "GET" });
        let question = Question::with_method(method, segments.iter().map(|segment| &**segment));
        let mut question = question.ok_or_else(|| Failure::usage(format!("-X: {method:?} is no method")))?;
        if is_beside_the_api {
            question = question.below_root();
        }
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            question = question.with(&name, value);
        }
        if let Some(body) = body {
            question = question.with_body(body.into_bytes());
        }
        for header in &self.headers {
            let pair = header.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
            let with = pair.and_then(|(name, value)| question.clone().with_header(name, value));
            question = with.ok_or_else(|| Failure::usage(format!("-H: {header:?} is no header: write NAME: VALUE")))?;
        }
        Ok(question)
    }
}

impl QueryOptions {
    /// Carries it out.
    pub async fn run(&self) -> Result<(), Failure> {
        let mut output = Output::new(&json_output(), None)?;
        let mut body = json!({"query": read_argument(&self.document).await?, "variables": self.variables().await?});
        if let Some(operation) = &self.operation {
            body["operationName"] = operation.as_str().into();
        }
        let connection = self.connection.connect()?;
        let answer = connection.api.graphql(&body).await?;
        let value = answer.value()?;
        if !value["data"].is_null() {
            output.json_line(&String::from_utf8_lossy(&answer.body))?;
            output.flush()?;
        }
        match value["errors"].get(0) {
            None => Ok(()),
            Some(error) => Err(graphql_failure(error)),
        }
    }

    async fn variables(&self) -> Result<Map<String, Value>, Failure> {
        if let Some(text) = &self.object {
            let object = serde_json::from_str(&read_argument(text).await?);
            return object.map_err(|error| Failure::usage(format!("--variables is no JSON object: {error}")));
        }
        let pairs = self.variables.iter().map(|pair| {
            let (name, text) = pair
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("-v: {pair:?} is no variable: write NAME=VALUE")))?;
            let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
            Ok((name.to_owned(), value))
        });
        pairs.collect()
    }
}

/// The failure that an error of GraphQL is, with its code in the terms of REST.
fn graphql_failure(error: &Value) -> Failure {
    let message = error["message"].as_str().unwrap_or("The query failed");
    let status = match error["extensions"]["code"].as_str().unwrap_or_default() {
        "NOT_FOUND" => ExitStatus::NotFound,
        "UNAUTHENTICATED" | "FORBIDDEN" => ExitStatus::NotAllowed,
        "CONFLICT" | "PRECONDITION_FAILED" => ExitStatus::Conflict,
        "UNAVAILABLE" | "TOO_MANY_REQUESTS" | "RATE_LIMITED" => ExitStatus::Unavailable,
        "INVALID_ARGUMENT"
        | "BAD_USER_INPUT"
        | "GRAPHQL_PARSE_FAILED"
        | "GRAPHQL_VALIDATION_FAILED"
        | "BAD_REQUEST" => ExitStatus::Usage,
        _ => ExitStatus::Error,
    };
    Failure::new(status, message)
}

/// An argument that is a text, or names a file with one.
async fn read_argument(text: &str) -> Result<String, Failure> {
    let Some(path) = text.strip_prefix('@') else { return Ok(text.to_owned()) };
    let read = match path {
        "-" => {
            off_thread(|| {
                let mut text = String::new();
                io::stdin().read_to_string(&mut text).map(|_| text)
            })
            .await?
        }
        path => fs::read_to_string(path),
    };
    read.map_err(|error| Failure::usage(format!("{path} cannot be read: {error}")))
}
