//! What commands write: data to standard output, in the format that was asked for, and everything else (notes, progress,
//! failures) to standard error.
//!
//! Objects are written as the server sent them, key for key, in `json` and `jsonl`; the other formats choose columns.

use std::borrow::Cow;
use std::cell::RefCell;
use std::env;
use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};

use clap::{Args, ValueEnum};
use console::{Term, measure_text_width, pad_str, truncate_str};
use serde_json::Value;
use serde_json::value::RawValue;

use super::columns::{Objects, cell, value_at};
use super::failure::{ExitStatus, Failure};
use super::printable::{printable, printable_json};

/// How objects are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people, with the most important columns.
    #[default]
    Table,
    /// A table with all columns.
    Wide,
    /// One JSON document, as the API answers.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a head, all columns (RFC 4180).
    Csv,
    /// The id of each object, one a line.
    Name,
}

/// How a command writes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct OutputOptions {
    /// How to write: errors are JSON on standard error, too, if this is json or jsonl.
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    pub format: Format,

    /// Which columns, such as id,zone,labels.env; fields of the API, and what is inside of them. Json has only these keys then.
    #[arg(short = 'c', long = "columns", value_name = "COLUMNS", value_delimiter = ',')]
    pub columns: Vec<String>,
}

/// One object, read once and kept as it came.
#[derive(Clone, Debug)]
pub struct Row {
    raw: Box<RawValue>,
    /// The object.
    pub value: Value,
}

/// Where a command writes.
#[derive(Debug)]
pub struct Output {
    /// How.
    pub format: Format,
    columns: Vec<String>,
    out: BufWriter<Stdout>,
    /// Whether somebody is looking at it.
    pub is_terminal: bool,
    has_colours: bool,
    is_begun: bool,
}

/// What is said to whoever started the command: on standard error, so that data stays alone on standard output.
#[derive(Debug)]
pub struct Notes {
    is_json: bool,
    /// What is said if the command is interrupted.
    at_interruption: RefCell<Option<String>>,
}

impl OutputOptions {
    /// Whether it is JSON.
    pub fn is_json(&self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl)
    }
}

impl Row {
    /// Of an object as it came.
    pub fn new(raw: Box<RawValue>) -> Self {
        let value = serde_json::from_str(raw.get()).unwrap_or_default();
        Self { raw, value }
    }

    /// Of an object that was made here.
    pub fn of(value: Value) -> Self {
        let raw = RawValue::from_string(value.to_string()).unwrap_or_default();
        Self { raw, value }
    }

    /// A text field; empty if there is none.
    pub fn text(&self, field: &str) -> &str {
        self.value[field].as_str().unwrap_or_default()
    }

    /// The JSON of the object, or of some columns of it, on one line.
    pub fn json(&self, columns: &[String]) -> String {
        if columns.is_empty() {
            // A server that writes its JSON on several lines would break lists of one object a line.
            if self.raw.get().contains('\n') {
                return self.value.to_string();
            }
            return self.raw.get().to_owned();
        }
        let pairs = columns.iter().map(|column| {
            let value = value_at(&self.value, column).unwrap_or(Cow::Owned(Value::Null));
            format!("{}:{value}", Value::from(column.as_str()))
        });
        format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
    }
}

impl Output {
    /// Standard output, with these options, for these objects.
    pub fn new(options: &OutputOptions, objects: Option<&Objects>) -> Result<Self, Failure> {
        let columns = match objects {
            Some(objects) => objects.checked(&options.columns)?,
            None if options.columns.is_empty() => Vec::new(),
            None => return Err(Failure::usage("-c: what this command writes has no columns")),
        };
        let is_terminal = io::stdout().is_terminal();
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Ok(Self {
            format: options.format,
            columns,
            out: BufWriter::new(io::stdout()),
            is_terminal,
            has_colours: is_terminal && !no_colour && !is_dumb,
            is_begun: false,
        })
    }

    /// Refuses formats that a command does not have.
    pub fn only(&self, formats: &[Format]) -> Result<(), Failure> {
        if formats.contains(&self.format) {
            return Ok(());
        }
        let names: Vec<_> = formats.iter().filter_map(|it| it.to_possible_value()).collect();
        let names: Vec<_> = names.iter().map(|name| name.get_name()).collect();
        Err(Failure::usage(format!("-o: this command writes {}", names.join(", "))))
    }

    /// Whether objects can be written before all of them are known.
    pub fn streams(&self) -> bool {
        match self.format {
            Format::Jsonl | Format::Csv | Format::Name => true,
            Format::Table | Format::Wide | Format::Json => false,
        }
    }

    /// Whether it is JSON.
    pub fn is_json(&self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl)
    }

    /// Whether it is text for people.
    pub fn is_text(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// The columns that are written.
    fn columns_of(&self, objects: &Objects) -> Vec<String> {
        if !self.columns.is_empty() {
            return self.columns.clone();
        }
        let all = match self.format {
            Format::Table => objects.table,
            Format::Name => std::slice::from_ref(&objects.name),
            Format::Wide | Format::Csv | Format::Json | Format::Jsonl => objects.columns,
        };
        all.iter().copied().map(str::to_owned).collect()
    }

    /// Writes objects, of which there may be more to come. The columns of a table have fixed widths then, which what is in
    /// them may exceed.
    pub fn stream(&mut self, objects: &Objects, rows: &[Row]) -> Result<(), Failure> {
        let columns = self.columns_of(objects);
        if !std::mem::replace(&mut self.is_begun, true) {
            match self.format {
                Format::Csv => {
                    let head: Vec<_> = columns.iter().map(|column| csv_field(column)).collect();
                    self.line(&head.join(","))?;
                }
                Format::Table | Format::Wide => {
                    let head: Vec<_> = columns.iter().map(|column| column.to_uppercase()).collect();
                    self.line(&loosely_aligned(&columns, &head))?;
                }
                Format::Json | Format::Jsonl | Format::Name => {}
            }
        }
        for row in rows {
            let line = match self.format {
                Format::Csv => {
                    let fields = columns.iter().map(|column| csv_field(&cell(value_at(&row.value, column).as_deref())));
                    fields.collect::<Vec<_>>().join(",")
                }
                Format::Name => {
                    columns.iter().map(|it| cell(value_at(&row.value, it).as_deref())).collect::<Vec<_>>().join(" ")
                }
                Format::Table | Format::Wide => {
                    let cells = columns.iter().map(|it| self.shown(it, &cell(value_at(&row.value, it).as_deref())));
                    let line = loosely_aligned(&columns, &cells.collect::<Vec<_>>());
                    self.line(&line)?;
                    continue;
                }
                Format::Json | Format::Jsonl => {
                    self.json_line(&row.json(&self.columns))?;
                    continue;
                }
            };
            if self.is_terminal {
                self.line(&printable(&line))?;
            } else {
                self.line(&line)?;
            }
        }
        Ok(())
    }

    /// Writes all objects.
    pub fn list(&mut self, objects: &Objects, rows: &[Row]) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                let list: Vec<_> = rows.iter().map(|row| row.json(&self.columns)).collect();
                self.json_line(&format!("{{\"{}\":[{}],\"total\":{}}}", objects.key, list.join(","), rows.len()))
            }
            Format::Table | Format::Wide => {
                for line in self.table(objects, rows) {
                    self.line(&line)?;
                }
                Ok(())
            }
            Format::Jsonl | Format::Csv | Format::Name => self.stream(objects, rows),
        }
    }

    /// Writes one object with all of its fields.
    pub fn details(&mut self, objects: &Objects, row: &Row) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide => {
                let columns = match self.columns.is_empty() {
                    true => objects.columns.iter().copied().map(str::to_owned).collect(),
                    false => self.columns.clone(),
                };
                let mut fields = Vec::new();
                for column in &columns {
                    match value_at(&row.value, column).map(Cow::into_owned) {
                        // An optional field that the object does not have.
                        None => {}
                        Some(Value::Object(inner)) if !is_map(column) => {
                            fields.extend(inner.into_iter().map(|(name, value)| (format!("{column}.{name}"), value)));
                        }
                        Some(value) => fields.push((column.clone(), value)),
                    }
                }
                let width = fields.iter().map(|(name, _)| measure_text_width(name)).max().unwrap_or_default();
                for (name, value) in fields {
                    let column = name.rsplit('.').next().unwrap_or_default();
                    let text = self.shown(column, &cell(Some(&value)));
                    self.line(format!("{name:width$}  {text}").trim_end())?;
                }
                Ok(())
            }
            Format::Json | Format::Jsonl => self.json_line(&row.json(&self.columns)),
            Format::Csv | Format::Name => self.stream(objects, std::slice::from_ref(row)),
        }
    }

    /// The lines of a table with a head.
    pub fn table(&self, objects: &Objects, rows: &[Row]) -> Vec<String> {
        let columns = self.columns_of(objects);
        let cells = rows.iter().map(|row| {
            columns.iter().map(|column| self.shown(column, &cell(value_at(&row.value, column).as_deref()))).collect()
        });
        aligned(&columns.iter().map(|column| column.to_uppercase()).collect::<Vec<_>>(), cells.collect())
    }

    /// A cell as it is shown, with the colour of a status.
    pub fn shown(&self, column: &str, text: &str) -> String {
        let text = printable(text);
        let colour = match &*text {
            _ if !self.has_colours || !matches!(column, "status" | "state" | "is_healthy") => return text.into_owned(),
            "active" | "running" | "live" | "true" | "complete" => "32",
            "draining" | "created" | "starting" | "stopping" | "held" => "33",
            "offline" | "failed" | "revoked" | "expired" | "false" | "overdue" => "31",
            _ => return text.into_owned(),
        };
        format!("\u{1b}[{colour}m{text}\u{1b}[0m")
    }

    /// Writes JSON on a line of its own.
    pub fn json_line(&mut self, json: &str) -> Result<(), Failure> {
        self.line(&printable_json(json))
    }

    /// Writes a line, whose text has to be printable.
    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{line}")?)
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.out.write_all(bytes)?)
    }

    /// Hands on what was written so far.
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }

    /// Replaces what the terminal shows.
    pub fn redraw(&mut self, lines: &[String]) -> Result<(), Failure> {
        let (rows, columns) = self.size();
        let mut screen = String::from("\u{1b}[H\u{1b}[2J");
        for (at, line) in lines.iter().take(rows).enumerate() {
            if at > 0 {
                screen.push_str("\r\n");
            }
            screen.push_str(&truncate_str(line, columns, "…"));
        }
        self.out.write_all(screen.as_bytes())?;
        self.flush()
    }

    /// Rows and columns of the terminal.
    pub fn size(&self) -> (usize, usize) {
        let (rows, columns) = Term::stdout().size();
        (usize::from(rows), usize::from(columns))
    }
}

/// Whether a field holds texts of somebody's own by key, which are shown on one line.
fn is_map(column: &str) -> bool {
    matches!(column, "labels" | "metadata")
}

/// The lines of a table, whose columns are as wide as what is in them. Numbers stand at the right.
pub fn aligned(head: &[String], rows: Vec<Vec<String>>) -> Vec<String> {
    let is_number = |text: &String| text.is_empty() || text.parse::<f64>().is_ok();
    let columns: Vec<_> = (0..head.len())
        .map(|at| {
            let cells = rows.iter().map(|row| &row[at]);
            let width = cells.clone().chain([&head[at]]).map(|text| measure_text_width(text)).max().unwrap_or_default();
            let is_right = cells.clone().all(is_number) && cells.clone().any(|text| !text.is_empty());
            (width, if is_right { console::Alignment::Right } else { console::Alignment::Left })
        })
        .collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&columns).map(|(text, (width, side))| pad_str(text, *width, *side, None));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(line(head)).chain(rows.iter().map(|row| line(row))).collect()
}

/// A line of a table of which not all rows are known.
fn loosely_aligned(columns: &[String], cells: &[String]) -> String {
    let width = |column: &str| match column {
        "at" => "2026-11-29T14:20:15.123456Z".len(),
        "kind" => "worker_drain_started".len(),
        _ => 16,
    };
    let cells = columns
        .iter()
        .zip(cells)
        .map(|(column, text)| pad_str(text, width(column).max(column.len()), console::Alignment::Left, None));
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// A field of comma-separated values.
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) || text.starts_with(' ') || text.ends_with(' ') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

impl Notes {
    /// Notes in the form that goes with a format.
    pub fn new(format: Format) -> Self {
        let is_json = matches!(format, Format::Json | Format::Jsonl);
        Self { is_json, at_interruption: RefCell::new(None) }
    }

    /// Says a sentence.
    pub fn say(&self, sentence: &str) {
        // Nothing can be done about a standard error that takes nothing.
        let _ = if self.is_json {
            let json = serde_json::json!({"message": sentence}).to_string();
            writeln!(io::stderr(), "{}", printable_json(&json))
        } else {
            writeln!(io::stderr(), "aetherium: {}", printable(sentence))
        };
    }

    /// Tells why the command failed.
    pub fn fail(&self, failure: &Failure) {
        let Failure::Told { status: _, message, body } = failure else { return };
        let _ = if self.is_json {
            writeln!(io::stderr(), "{}", printable_json(body))
        } else {
            let stop = if message.ends_with(['.', '!', '?']) { "" } else { "." };
            writeln!(io::stderr(), "aetherium: {}{stop}", printable(message))
        };
    }

    /// What is to be said if somebody presses Ctrl-C from now on.
    pub fn when_interrupted(&self, sentence: impl Into<String>) {
        *self.at_interruption.borrow_mut() = Some(sentence.into());
    }

    /// The failure that an interruption is.
    pub fn interrupted(&self, status: ExitStatus) -> Failure {
        Failure::new(status, self.at_interruption.take().unwrap_or_else(|| "Interrupted".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_at_the_right_and_wide_letters_count_twice() {
        let head = ["ID", "ZONE", "VM_COUNT"].map(str::to_owned);
        let rows = [["w1", "日本", "3"], ["worker-10", "", "12"]].map(|row| row.map(str::to_owned).to_vec());
        let lines = aligned(&head, rows.to_vec());
        assert_eq!(lines, ["ID         ZONE  VM_COUNT", "w1         日本         3", "worker-10              12"]);
        assert_eq!(aligned(&head, Vec::new()), ["ID  ZONE  VM_COUNT"]);
    }

    #[test]
    fn a_field_of_csv_is_quoted_if_it_has_to_be() {
        for (text, expected) in
            [("a", "a"), ("a,b", "\"a,b\""), ("say \"x\"", "\"say \"\"x\"\"\""), ("a\nb", "\"a\nb\"")]
        {
            assert_eq!(csv_field(text), expected);
        }
    }

    #[test]
    fn an_object_is_written_as_it_came_or_with_the_keys_that_are_wanted() {
        let raw = r#"{"b":1.50,"a":"x","labels":{"env":"prod"},"big":9007199254740993}"#;
        let row = Row::new(RawValue::from_string(raw.to_owned()).unwrap());
        assert_eq!(row.json(&[]), raw);
        let columns = ["a", "labels.env", "none"].map(str::to_owned);
        assert_eq!(row.json(&columns), r#"{"a":"x","labels.env":"prod","none":null}"#);
    }
}
