//! Where log lines go and what they look like.
//!
//! Always to standard error, since standard output is for what was asked for. Sentences on a terminal; elsewhere one
//! flat JSON object a line, so that `jq` and every collector can read it without being told how. In the journal of systemd
//! each line has its priority, for `journalctl -p`.

use std::env;
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;

use aetherium::http::{current_client, current_request, current_trace};
use anyhow::{Context, ensure};
use serde::Serializer;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Says what is logged, in the words of tracing's filters: `debug`, `warn,aetherium::journal=trace`.
const FILTER: &str = "AETHERIUM_LOG";

/// Libraries that talk about themselves. They do so again if the filter names them. At trace level, those of HTTP/2 and of
/// WebSocket write what clients send, tokens included. What rustls_platform_verifier says at each attempt, whoever tried
/// says once, and what to do about it.
const TALKATIVE: &str = "sqlx=warn,sea_orm=warn,hyper=warn,reqwest=warn,rustls=warn,rustls_platform_verifier=off,h2=warn,\
                         tungstenite=warn,tokio_tungstenite=warn";

/// The levels, each with all before it.
const LEVELS: &str = "off, error, warn, info, debug, trace";

/// Begins to log. Call it once.
pub fn init() -> anyhow::Result<()> {
    let wish = env::var(FILTER).ok().filter(|wish| !wish.is_empty()).unwrap_or_else(|| "info".to_owned());
    let filter = filter(&wish)?;
    // A log that cannot be written is nothing to write to the log.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    if io::stderr().is_terminal() {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        lines.with_ansi(!plain).fmt_fields(JsonFields::new()).event_format(Sentences).init();
    } else {
        lines.fmt_fields(JsonFields::new()).event_format(FlatJson { has_priority: is_journal() }).init();
    }
    Ok(())
}

/// Whether standard error is the journal's: systemd says in a variable which socket that is, and who redirects standard
/// error inherits the variable nevertheless.
fn is_journal() -> bool {
    let stderr = fs::metadata("/proc/self/fd/2").map(|socket| format!("{}:{}", socket.dev(), socket.ino()));
    env::var("JOURNAL_STREAM").is_ok_and(|stream| stderr.is_ok_and(|stderr| stderr == stream))
}

/// The priority of a level, as syslog numbers them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// The filter that is wished for. A word by itself has to be a level: to tracing, any other word names a part of the program
/// that is to be logged, and silences all others. Where no level stands by itself, it is `info`, for the same reason.
fn filter(wish: &str) -> anyhow::Result<EnvFilter> {
    let is_not = || format!("{FILTER}={wish} is not a filter, such as debug or info,aetherium::journal=debug");
    let words = wish.split(',').map(str::trim).filter(|word| !word.is_empty() && !word.contains(['=', '[']));
    let mut level = "info,";
    for word in words {
        ensure!(word.parse::<LevelFilter>().is_ok(), "{}: {word} is no level ({LEVELS})", is_not());
        level = "";
    }
    EnvFilter::try_new(format!("{level}{TALKATIVE},{wish}")).with_context(is_not)
}

/// The time, how grave it is, and the sentence. What has a field of its own is in the sentence as well when all is well;
/// with trouble, and when somebody looks closely, the fields follow.
struct Sentences;

impl<S, N> FormatEvent<S, N> for Sentences
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (dim, plain) = if out.has_ansi_escapes() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let level = *event.metadata().level();
        let colour = match level {
            _ if plain.is_empty() => "",
            Level::ERROR => "\x1b[31m",
            Level::WARN => "\x1b[33m",
            Level::INFO => "\x1b[32m",
            _ => "\x1b[34m",
        };
        let time = now()?;
        // `2026-11-23T18:05:44.295495Z`: the date of what happens before one's eyes is known.
        let time = time.get(11..19).unwrap_or(&time);
        let (message, fields) = told(context, event);
        write!(out, "{dim}{time}Z{plain} {colour}{level:>5}{plain} {}", message.as_str().unwrap_or_default())?;
        if level != Level::INFO {
            for (name, value) in fields.0 {
                match value {
                    Value::String(text) => write!(out, " {dim}{name}={plain}{text}")?,
                    value => write!(out, " {dim}{name}={plain}{value}")?,
                }
            }
        }
        writeln!(out)
    }
}

/// One JSON object a line: time, level, message, where it comes from, then the fields. tracing-subscriber's own nests the
/// spans' fields, or leaves them out and with them the id of the request.
struct FlatJson {
    /// Whether each line begins with its priority, `<6>`, which the journal takes off (sd-daemon(3)).
    has_priority: bool,
}

impl<S, N> FormatEvent<S, N> for FlatJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (message, fields) = told(context, event);
        let mut line = Fields::default();
        line.add("timestamp", now()?.into());
        line.add("level", event.metadata().level().as_str().into());
        line.add("message", message);
        line.add("target", event.metadata().target().into());
        for (name, value) in fields.0 {
            line.add(&name, value);
        }
        let mut json = Vec::new();
        let entries = line.0.iter().map(|(name, value)| (name, value));
        serde_json::Serializer::new(&mut json).collect_map(entries).map_err(|_| fmt::Error)?;
        if self.has_priority {
            write!(out, "<{}>", priority(*event.metadata().level()))?;
        }
        writeln!(out, "{}", String::from_utf8_lossy(&json))
    }
}

/// What an event says: its sentence, the fields of it and of the spans that it happened in, and which request was being
/// answered.
fn told<S, N>(context: &FmtContext<'_, S, N>, event: &Event<'_>) -> (Value, Fields)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    let mut fields = Fields::default();
    event.record(&mut fields);
    let message = fields.0.iter().position(|(name, _)| name == "message").map(|at| fields.0.remove(at).1);
    // The innermost span first: what is said there is closer to the event.
    for span in context.lookup_current().into_iter().flat_map(|span| span.scope()) {
        let extensions = span.extensions();
        let formatted = extensions.get::<FormattedFields<N>>().map(|fields| fields.fields.as_str());
        let said: Map<String, Value> = formatted.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        for (name, value) in said {
            fields.add(&name, value);
        }
    }
    if let Some(id) = current_request() {
        fields.add("request.id", id.to_string().into());
    }
    // By the names that OpenTelemetry has for logs of other forms than its own.
    if let Some((trace_id, span_id)) = current_trace() {
        fields.add("trace_id", trace_id.into());
        if let Some(span_id) = span_id {
            fields.add("span_id", span_id.into());
        }
    }
    if let Some(address) = current_client() {
        fields.add("client.address", address.into());
    }
    (message.unwrap_or_default(), fields)
}

fn now() -> Result<String, fmt::Error> {
    let mut time = String::new();
    SystemTime.format_time(&mut Writer::new(&mut time))?;
    Ok(time)
}

/// Names and values in the order in which they were said, each name once: whoever reads the line keeps one of two.
#[derive(Default)]
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn add(&mut self, name: &str, value: Value) {
        if self.0.iter().all(|(known, _)| known != name) {
            self.0.push((name.to_owned(), value));
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), format!("{value:?}").into());
    }
}
