//! Refuses documents that would cost too much, before the engine looks at them.
//!
//! The engine's own limits walk every spread of a fragment again, so a document of 750 bytes in
//! which each fragment spreads the next one twice keeps a core busy for twenty seconds (measured).
//! Here each fragment is measured once and its size remembered, which is linear in the document;
//! and what is written out is counted before the parser, which takes its time, sees it.

use std::collections::HashMap;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{Directive, ExecutableDocument, Field, Selection, SelectionSet};
use async_graphql::{Name, Positioned, Response, SchemaBuilder, Value, Variables};

use super::error::request_error;

/// How large a request may be. Everything that is over a limit is refused in words that name the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: usize,
    /// Bytes of a document.
    pub document: usize,
    /// Words and signs of a document.
    pub tokens: usize,
    /// Entries of the lists in the variables.
    pub entries: usize,
    /// Selections of a document with all its fragments written out.
    pub selections: usize,
    /// Nesting of fields.
    pub depth: usize,
    /// Aliases of a document with all its fragments written out.
    pub aliases: usize,
    /// Fields at the root of one operation.
    pub root_fields: usize,
    /// Directives of one field, fragment or operation.
    pub directives: usize,
    /// Fields of the largest answer to an operation, and rows that are looked at for it; see [`cost`](super::cost).
    pub cost: u64,
}

impl Default for Limits {
    /// Several times what playgrounds, code generators and dashboards ask for; the longest of these is introspection,
    /// with 13 levels, 90 selections and 280 tokens.
    fn default() -> Self {
        Self {
            body: 256 * 1024,
            document: 64 * 1024,
            // To parse more takes longer than a refusal may.
            tokens: 4_000,
            // More VMs than a report in the largest body can name; all other lists are shorter.
            entries: 15_000,
            selections: 1_000,
            depth: 15,
            aliases: 100,
            root_fields: 100,
            directives: 20,
            // Ten times the largest page that is asked for in earnest, and half of the time that an answer may take.
            cost: 10_000_000,
        }
    }
}

impl Limits {
    /// Nesting of selections, for which a fragment counts as a field does: room for as many fragments as fields.
    fn nesting(&self) -> usize {
        self.depth.saturating_mul(2).saturating_add(2)
    }

    /// Tells the engine, whose own limits are never reached before these.
    pub(super) fn tell<Q, M, S>(&self, schema: SchemaBuilder<Q, M, S>) -> SchemaBuilder<Q, M, S> {
        schema.limit_recursive_depth(self.nesting())
    }
}

/// Parses a document, and refuses it if it is too large in any way.
pub(super) fn read(text: &str, limits: &Limits) -> Result<(ExecutableDocument, usize), Response> {
    within("bytes", text.len(), limits.document)?;
    let written = AsWritten::of(text);
    within("tokens", written.tokens, limits.tokens)?;
    if written.is_open {
        // The parser would take its first two quotation marks for an empty text, and what follows for a document.
        let problem = "The document cannot be parsed: a text in three quotation marks has no end";
        return Err(refused("GRAPHQL_PARSE_FAILED", problem));
    }
    within("selections in one operation or fragment", written.selections, limits.selections)?;
    let document = parse_query(text).map_err(|error| {
        let mut error = async_graphql::ServerError::from(error);
        error.message = format!("The document cannot be parsed: {}", in_short(&error.message));
        error.extensions.get_or_insert_default().set("code", "GRAPHQL_PARSE_FAILED");
        Response::from_errors(vec![error])
    })?;
    let size = Scales::new(&document).measure().map_err(|Cycle(fragment)| {
        let problem = format!("The fragment \"{fragment}\" spreads itself, directly or through others");
        refused("GRAPHQL_VALIDATION_FAILED", problem)
    })?;
    within("selections with its fragments written out", size.selections, limits.selections)?;
    within("levels of fields", size.depth, limits.depth)?;
    within("levels of fields and fragments", size.nesting, limits.nesting())?;
    within("aliases with its fragments written out", size.aliases, limits.aliases)?;
    within("fields at the root of an operation", size.root_fields, limits.root_fields)?;
    within("directives in one place", size.directives, limits.directives)?;
    Ok((document, size.selections))
}

/// Refuses variables with longer lists than anything could be asked with.
pub(super) fn check_variables(variables: &Variables, limits: &Limits) -> Result<(), Response> {
    let entries = variables.values().map(count_entries).sum::<usize>();
    if entries <= limits.entries {
        return Ok(());
    }
    let problem = format!("The variables have {entries} entries in lists; at most {} are allowed", limits.entries);
    Err(refused("QUERY_TOO_COMPLEX", problem))
}

/// How many entries there are in the lists of a value. (What it was read by bounds how deep it is.)
fn count_entries(value: &Value) -> usize {
    match value {
        Value::List(entries) => entries.len() + entries.iter().map(count_entries).sum::<usize>(),
        Value::Object(fields) => fields.values().map(count_entries).sum(),
        _ => 0,
    }
}

fn within(what: &str, asked: usize, limit: usize) -> Result<(), Response> {
    if asked <= limit {
        return Ok(());
    }
    /// Above it a number of nested fragments tells nobody anything, and may have stopped counting.
    const COUNTABLE: usize = 1_000_000_000;
    let asked = if asked > COUNTABLE { format!("more than {COUNTABLE}") } else { asked.to_string() };
    Err(refused("QUERY_TOO_COMPLEX", format!("The document has {asked} {what}; at most {limit} are allowed")))
}

fn refused(code: &str, message: impl Into<String>) -> Response {
    Response::from_errors(vec![request_error(code, message)])
}

/// The parser's words with the line that they are about, or without it if that is too long to be of help.
fn in_short(message: &str) -> String {
    const READABLE: usize = 1_000;
    let message = message.trim();
    let (place, rest) = message.split_once('\n').unwrap_or((message, ""));
    let problem = rest.rsplit('\n').next().unwrap_or_default().trim();
    match message.len() {
        ..=READABLE => message.to_owned(),
        _ => format!("{place} {problem}").chars().take(READABLE).collect(),
    }
}

/// How much a text holds as it is written, or a little more; never less than the parser would make of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct AsWritten {
    tokens: usize,
    /// Whether there is a text in three quotation marks that does not end.
    is_open: bool,
    /// The most in one operation or fragment.
    selections: usize,
}

impl AsWritten {
    fn of(text: &str) -> Self {
        /// What a name means by what it follows.
        #[derive(PartialEq)]
        enum Next {
            /// It selects something.
            Selected,
            /// It is a fragment's, or `on`.
            Spread,
            /// It is part of what was selected already.
            Part,
        }
        let mut written = Self::default();
        let (mut arguments, mut levels, mut selections, mut next) = (0_usize, 0_usize, 0, Next::Selected);
        for token in (Tokens { rest: text.as_bytes() }) {
            written.tokens += values_in(token);
            written.is_open |= string_length(token).is_none();
            match token {
                b"(" => arguments += 1,
                b")" => arguments = arguments.saturating_sub(1),
                _ if arguments > 0 => continue,
                b"{" => levels += 1,
                b"}" => {
                    levels = levels.saturating_sub(1);
                    if levels == 0 {
                        selections = 0;
                    }
                }
                b"..." => selections += 1,
                [first, ..] if levels > 0 && is_word(*first) && next == Next::Selected => selections += 1,
                _ => {}
            }
            written.selections = written.selections.max(selections);
            next = match token {
                b"..." => Next::Spread,
                b"on" if next == Next::Spread => Next::Part,
                b":" | b"@" => Next::Part,
                _ => Next::Selected,
            };
        }
        written
    }
}

/// The tokens of the language in a text.
struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let [first, tail @ ..] = self.rest {
            let length = match first {
                b' ' | b'\t' | b'\r' | b'\n' | b',' => {
                    self.rest = tail;
                    continue;
                }
                b'#' => {
                    self.rest = after(tail, |byte| matches!(byte, b'\n' | b'\r'));
                    continue;
                }
                b'"' => string_length(self.rest).unwrap_or(self.rest.len()),
                // A byte order mark is white space, wherever it stands.
                0xEF if tail.starts_with(&[0xBB, 0xBF]) => {
                    self.rest = tail.get(2..).unwrap_or_default();
                    continue;
                }
                b'.' if self.rest.starts_with(b"...") => 3,
                b'-' | b'0'..=b'9' => number_length(self.rest),
                // A name has no dots: those after it are a spread.
                first if is_word(*first) => 1 + run(tail, is_word),
                // The other bytes of a letter beyond ASCII are part of it.
                _ => 1 + run(tail, |byte| byte & 0xC0 == 0x80),
            };
            let (token, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
            self.rest = rest;
            return Some(token);
        }
        None
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// How many bytes from the front are such.
fn run(bytes: &[u8], is_such: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !is_such(*byte)).unwrap_or(bytes.len())
}

/// What follows the first such byte.
fn after(bytes: &[u8], is_such: impl Fn(u8) -> bool) -> &[u8] {
    bytes.get(run(bytes, |byte| !is_such(byte))..).unwrap_or_default()
}

/// How many values the parser may see in a token: it wants nothing between `true` and `null`.
fn values_in(token: &[u8]) -> usize {
    const WORDS: [&[u8]; 3] = [b"true", b"false", b"null"];
    if WORDS.iter().any(|word| token.starts_with(word)) { token.len() / 4 } else { 1 }
}

/// The length of the number at the front, as far as the parser takes it for one: it sees several in `000`.
fn number_length(bytes: &[u8]) -> usize {
    let sign = usize::from(bytes.starts_with(b"-"));
    match bytes.get(sign..) {
        Some([b'0', b'0'..=b'9', ..]) => sign + 1,
        _ => 1 + run(bytes.get(1..).unwrap_or_default(), |byte| is_word(byte) || byte == b'.'),
    }
}

/// The length of the text in quotation marks at the front, if there is one; none if it is in three and does not end.
fn string_length(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(b"\"") {
        return Some(0);
    }
    let quote: &[u8] = if bytes.starts_with(b"\"\"\"") { b"\"\"\"" } else { b"\"" };
    let mut at = quote.len();
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match rest {
            rest if rest.starts_with(quote) => return Some(at + quote.len()),
            [b'\\', b'"', b'"', b'"', ..] if quote.len() == 3 => at += 4,
            [b'\\', _, ..] if quote.len() == 1 => at += 2,
            [b'\n' | b'\r', ..] if quote.len() == 1 => return Some(at),
            _ => at += 1,
        }
    }
    (quote.len() == 1).then_some(bytes.len())
}

/// How large a document is, or a part of it, with its fragments written out.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    selections: usize,
    aliases: usize,
    /// Levels of fields.
    depth: usize,
    /// Levels of fields and fragments.
    nesting: usize,
    /// Fields that are not in others.
    root_fields: usize,
    /// The most that are in one place.
    directives: usize,
}

impl Size {
    /// Of one thing beside another.
    fn beside(self, other: Self) -> Self {
        Self {
            selections: self.selections.saturating_add(other.selections),
            aliases: self.aliases.saturating_add(other.aliases),
            depth: self.depth.max(other.depth),
            nesting: self.nesting.max(other.nesting),
            root_fields: self.root_fields.saturating_add(other.root_fields),
            directives: self.directives.max(other.directives),
        }
    }

    /// Of a field with this inside.
    fn in_field(self, field: &Field) -> Self {
        Self {
            selections: self.selections.saturating_add(1),
            aliases: self.aliases.saturating_add(usize::from(field.alias.is_some())),
            depth: self.depth + 1,
            nesting: if field.selection_set.node.items.is_empty() { 0 } else { self.nesting + 1 },
            root_fields: 1,
            directives: self.directives.max(field.directives.len()),
        }
    }

    /// Of a fragment with this inside. It counts as well as what it holds: of fragments without any field, 2^30 are as
    /// slow to walk.
    fn in_fragment(self, directives: &[Positioned<Directive>]) -> Self {
        Self {
            selections: self.selections.saturating_add(1),
            nesting: self.nesting + 1,
            directives: self.directives.max(directives.len()),
            ..self
        }
    }
}

/// Measures a document, each fragment once.
struct Scales<'a> {
    document: &'a ExecutableDocument,
    fragments: HashMap<&'a Name, Measured>,
}

#[derive(Clone, Copy)]
enum Measured {
    NotYet,
    Known(Size),
}

/// A fragment that contains itself.
struct Cycle(Name);

impl<'a> Scales<'a> {
    fn new(document: &'a ExecutableDocument) -> Self {
        Self { document, fragments: HashMap::new() }
    }

    fn measure(mut self) -> Result<Size, Cycle> {
        let document = self.document;
        let mut total = Size::default();
        let mut root_fields = 0;
        for (_, operation) in document.operations.iter() {
            let size = self.size_of(&operation.node.selection_set.node)?;
            root_fields = root_fields.max(size.root_fields);
            total = total.beside(size);
            let variables = operation.node.variable_definitions.iter().map(|variable| variable.node.directives.len());
            total.directives = variables.chain([operation.node.directives.len()]).fold(total.directives, usize::max);
        }
        // Fragments nobody spreads are validated too.
        for name in document.fragments.keys() {
            let size = self.size_of_fragment(name)?;
            total.selections = total.selections.max(size.selections);
            total.aliases = total.aliases.max(size.aliases);
            total.depth = total.depth.max(size.depth);
            total.nesting = total.nesting.max(size.nesting);
            total.directives = total.directives.max(size.directives);
        }
        total.root_fields = root_fields;
        Ok(total)
    }

    fn size_of(&mut self, set: &'a SelectionSet) -> Result<Size, Cycle> {
        let mut size = Size::default();
        for selection in &set.items {
            size = size.beside(match &selection.node {
                Selection::Field(field) => self.size_of(&field.node.selection_set.node)?.in_field(&field.node),
                Selection::InlineFragment(inline) => {
                    self.size_of(&inline.node.selection_set.node)?.in_fragment(&inline.node.directives)
                }
                Selection::FragmentSpread(spread) => {
                    self.size_of_fragment(&spread.node.fragment_name.node)?.in_fragment(&spread.node.directives)
                }
            });
        }
        Ok(size)
    }

    fn size_of_fragment(&mut self, name: &'a Name) -> Result<Size, Cycle> {
        match self.fragments.get(name) {
            Some(Measured::Known(size)) => return Ok(*size),
            Some(Measured::NotYet) => return Err(Cycle(name.clone())),
            None => {}
        }
        // An unknown fragment is the validation's to name.
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(Size::default()) };
        self.fragments.insert(name, Measured::NotYet);
        let mut size = self.size_of(&fragment.node.selection_set.node)?;
        size.directives = size.directives.max(fragment.node.directives.len());
        self.fragments.insert(name, Measured::Known(size));
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(query: &str) -> Option<String> {
        // Some of these are longer than they may be: here it is about what they unfold to.
        let response = read(query, &Limits { tokens: 10_000, ..Limits::default() }).err()?;
        Some(response.errors.into_iter().map(|error| error.message).collect())
    }

    #[test]
    fn exponential_fragments_are_refused_without_being_written_out() {
        let mut query = "{ workers { ...F0 } }".to_owned();
        for level in 0..60 {
            query += &format!("fragment F{level} on Worker {{ {} }}", format!("...F{} ", level + 1).repeat(40));
        }
        query += "fragment F60 on Worker { id }";
        assert_eq!(
            refusal(&query).unwrap(),
            "The document has more than 1000000000 selections with its fragments written out; at most 1000 are allowed"
        );
    }

    #[test]
    fn exponential_fragments_of_nothing_are_refused_too() {
        let mut query = "{ ...F0 }".to_owned();
        for level in 0..30 {
            query += &format!("fragment F{level} on Query {{ ...F{next} ...F{next} }}", next = level + 1);
        }
        assert!(refusal(&query).is_some_and(|message| message.contains("at most 1000 are allowed")));
    }

    #[test]
    fn cycles_are_refused_and_ordinary_documents_pass() {
        let cycle = "{ workers { ...A } } fragment A on Worker { ...B } fragment B on Worker { ...A }";
        assert!(refusal(cycle).is_some_and(|message| message.ends_with("spreads itself, directly or through others")));
        assert_eq!(refusal("{ workers { id ...A } } fragment A on Worker { hostname vms { id } }"), None);
    }

    #[test]
    fn each_limit_says_what_it_is_and_how_much_was_asked() {
        let tight = Limits {
            body: 0,
            document: 200,
            tokens: 40,
            entries: 0,
            selections: 12,
            depth: 4,
            aliases: 2,
            root_fields: 3,
            directives: 1,
            cost: 0,
        };
        let deep = |levels: usize| format!("{}id{}", "{vms".repeat(levels - 1) + "{", "}".repeat(levels));
        for (document, expected) in [
            (format!("{{id}}#{}", "x".repeat(196)), "201 bytes; at most 200"),
            (format!("{{{}}}", "id,".repeat(39)), "41 tokens; at most 40"),
            (format!("{{a{{{}}}}}", "id ".repeat(12)), "13 selections in one operation or fragment; at most 12"),
            (
                format!("{{...F b}} fragment F on Query {{{}}}", "id ".repeat(11)),
                "13 selections with its fragments written out; at most 12",
            ),
            (deep(5), "5 levels of fields; at most 4"),
            (format!("{}id{}", "{...".repeat(11), "}".repeat(11)), "11 levels of fields and fragments; at most 10"),
            ("{a{x:id y:id z:id}}".to_owned(), "3 aliases with its fragments written out; at most 2"),
            ("{a b ...{c d}}".to_owned(), "4 fields at the root of an operation; at most 3"),
            ("{a @x @y}".to_owned(), "2 directives in one place; at most 1"),
            ("query($a:Int @x @y){a}".to_owned(), "2 directives in one place; at most 1"),
            ("query @x @y {a}".to_owned(), "2 directives in one place; at most 1"),
        ] {
            let response = read(&document, &tight).expect_err(&document);
            assert_eq!(response.errors[0].message, format!("The document has {expected} are allowed"), "{document}");
        }
        for document in [deep(4), "{a b c} query B {x y z}".replace("{a", "query A {a"), "{a{x:id y:id}}".to_owned()] {
            assert!(read(&document, &tight).is_ok(), "{document}");
        }
    }

    #[test]
    fn tokens_are_those_of_the_language() {
        for (text, tokens) in [
            ("", 0),
            (" ,\n\t# a comment { } \n", 0),
            ("{ workers { id } }", 6),
            ("query Q($a: [Int!]! = [1, -2.5e3]) @x { ...F }", 23),
            (r#"{ a(b: "c \" { } d") }"#, 8),
            ("{ a(b: \"\"\"c \\\"\"\" { \"x\" \n } d\"\"\") }", 8),
            ("\"no end", 1),
            ("\"\"\"no end", 1),
            ("000", 3),
            ("-00.5", 2),
            ("0 0.25 -0 -01", 5),
            ("truetruenull", 3),
            ("[nullnull true]", 5),
            ("é", 1),
            ("a...F...F", 5),
            ("\u{feff}{ a:\u{feff}b }", 5),
        ] {
            assert_eq!(AsWritten::of(text).tokens, tokens, "{text}");
        }
    }

    #[test]
    fn a_text_that_has_no_end_is_not_left_to_the_parser() {
        for (text, is_open) in [
            ("{ a(b: \"\"\"x\"\"\") }", false),
            ("{ a(b: \"\"\"x\\\"\"\"\"\"\") }", false),
            ("{ a(b: \"x) }", false),
            ("{ a(b: [\"\"\"x\"]) { id } }", true),
            ("{ a(b: \"\"\"x\\\"\"\") }", true),
            ("\"\"\"", true),
            ("# \"\"\"", false),
        ] {
            assert_eq!(AsWritten::of(text).is_open, is_open, "{text}");
        }
    }

    #[test]
    fn selections_are_counted_without_the_parser_as_with_it() {
        for text in [
            "{ a }",
            "query Q($a: In = {b: {c: 1}}, $d: Int @x) @y { a b(c: {d: {e: [f {g: h}]}}) { i } }",
            "{ a: b c: d(e: \"{ f g }\") @include(if: $h) { i: j } }",
            "{ ... on A { b } ... @include(if: true) { c } ... { d } on { on } fragment { query } }",
            "{ on: on ... on on { on } }",
            "{ a...F b...on T{c}...F}",
            "\u{feff}{ a:\u{feff}b @\u{feff}include(if: true) ...\u{feff}F }",
            "query A { a { b c } } query B { d { e f g } }",
        ] {
            let document = parse_query(text).unwrap();
            let mut scales = Scales::new(&document);
            let sizes = document.operations.iter().map(|(_, operation)| {
                scales.size_of(&operation.node.selection_set.node).map_or(0, |size| size.selections)
            });
            assert_eq!(AsWritten::of(text).selections, sizes.max().unwrap(), "{text}");
        }
        assert_eq!(AsWritten::of("{ a ...F ...F } fragment F on T { b c d e }").selections, 4);
    }

    #[test]
    fn the_entries_of_all_lists_in_variables_are_counted() {
        for (variables, entries) in [
            (json!({}), 0),
            (json!({"a": {"b": "c"}}), 0),
            (json!({"a": [], "b": [1]}), 1),
            (json!({"a": {"b": [1, {"c": [2, 3], "d": 4}]}}), 4),
        ] {
            let variables = Variables::from_json(variables);
            let check = |entries| check_variables(&variables, &Limits { entries, ..Limits::default() });
            assert!(check(entries).is_ok(), "{variables}");
            assert!(entries == 0 || check(entries - 1).is_err(), "{variables}");
        }
    }
}
