//! `aetherium token create`, `list` and `revoke`, over the API. How they work straight on a database is in `cli::token`.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::columns::TOKENS;
use super::connection::Connection;
use super::failure::{ExitStatus, Failure};
use super::output::{Format, Output, OutputOptions, Row};
use super::pages::List;
use crate::client::Question;

/// Lists the tokens.
pub async fn list(connection: &Connection, options: &OutputOptions) -> Result<(), Failure> {
    let mut output = Output::new(options, Some(&TOKENS))?;
    let rows = all(connection).await?;
    output.list(&TOKENS, &rows)?;
    output.flush()
}

/// Creates a token. `shown` makes what is printed of its text.
pub async fn create(
    connection: &Connection,
    options: &OutputOptions,
    body: &Value,
    shown: impl FnOnce(&str) -> String,
) -> Result<(), Failure> {
    let mut output = Output::new(options, None)?;
    output.only(&[Format::Table, Format::Json, Format::Jsonl, Format::Name])?;
    let answer = connection.api.ask(Question::post(["tokens"], body)).await?;
    let created = answer.value()?;
    let text = created["secret"].as_str().unwrap_or_default();
    let written = match output.format {
        Format::Json | Format::Jsonl => output.json_line(&String::from_utf8_lossy(&answer.body)),
        Format::Name => output.line(created["token"]["id"].as_str().unwrap_or_default()),
        Format::Table | Format::Wide | Format::Csv => output.line(&shown(text)),
    };
    written.and_then(|()| output.flush()).map_err(|_| {
        let id = created["token"]["id"].as_str().unwrap_or_default();
        Failure::new(ExitStatus::Error, format!("The token {id} was created and cannot be shown: revoke it"))
    })
}

/// Revokes a token, and says which it was.
pub async fn revoke(connection: &Connection, options: &OutputOptions, id: &str) -> Result<(), Failure> {
    let mut output = Output::new(options, Some(&TOKENS))?;
    connection.api.ask(Question::delete(["tokens", id])).await?;
    // An administrator may have revoked its own.
    let known = all(connection).await.unwrap_or_default().into_iter().find(|row| row.text("id") == id);
    let row = known.unwrap_or_else(|| Row::of(json!({"id": id, "state": "revoked"})));
    match output.format {
        Format::Table | Format::Wide => {
            output.line(&format!("revoked {id} ({})", super::printable::printable(row.text("name"))))?;
        }
        Format::Json | Format::Jsonl | Format::Csv | Format::Name => output.details(&TOKENS, &row)?,
    }
    output.flush()
}

/// All tokens; the API has no pages of them.
async fn all(connection: &Connection) -> Result<Vec<Row>, Failure> {
    let list = List { objects: &TOKENS, path: &["tokens"], parameters: Vec::new() };
    let answer = connection.api.ask(Question::get(list.path.iter().copied())).await?;
    let mut body: std::collections::BTreeMap<String, Box<RawValue>> = answer.read()?;
    let rows: Vec<Box<RawValue>> =
        serde_json::from_str(body.remove(TOKENS.key).unwrap_or_default().get()).unwrap_or_default();
    Ok(rows.into_iter().map(Row::new).collect())
}
