//! Lexer and syntax check of documents, exactly as the specification has them, before the parser runs.
//!
//! The parser of `apollo-compiler` accepts texts that are no documents (`worker(id "w1")`, whose argument it drops) and
//! refuses valid ones (descriptions of operations, a comma after `...`). So the syntax is checked here first, and the
//! parser gets a normalized text: comments, commas and descriptions are replaced by blanks, so that every token keeps
//! its position. Tokens and selections are counted on the way, because the [`limits`](super::limits) have to be checked
//! before the parser runs, which is slow.
//!
//! Names and types are not looked up here; that is validation.

/// The tokens of a document.
pub struct Tokens<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    /// How many tokens there are, invalid ones included.
    pub count: usize,
    /// The error of the first invalid token.
    error: Option<SyntaxError>,
}

/// Why a text is no document. Offsets are in bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum SyntaxError {
    /// It violates the grammar.
    Syntax { offset: usize, problem: String },
    /// Selections, types or values are nested deeper than the limit.
    TooDeep { offset: usize },
}

/// A document with correct syntax.
pub struct Recognized {
    /// The text for the parser: all tokens except descriptions at their positions, and blanks between them.
    pub normalized: String,
    /// Most selections in one operation or fragment, as they are written.
    pub selections: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenKind {
    Name,
    Number,
    StringValue,
    /// A punctuator, `...` included.
    Punctuator,
}

#[derive(Clone, Copy)]
struct Token {
    kind: TokenKind,
    start: usize,
    end: usize,
}

impl<'a> Tokens<'a> {
    /// Splits a text into tokens. At most `max_tokens` are stored; the others are only counted.
    pub fn of(text: &'a str, max_tokens: usize) -> Self {
        let mut tokens = Self { text, tokens: Vec::new(), count: 0, error: None };
        let mut at = 0;
        while let Some(rest) = text.as_bytes().get(at..).filter(|rest| !rest.is_empty()) {
            let ignored = ignored_length(rest);
            if ignored > 0 {
                at += ignored;
                continue;
            }
            let (kind, length, problem) = token(text.get(at..).unwrap_or_default());
            if let Some(problem) = problem {
                tokens.error.get_or_insert(SyntaxError::Syntax { offset: at, problem });
            }
            if tokens.count < max_tokens {
                tokens.tokens.push(Token { kind, start: at, end: at + length });
            }
            tokens.count += 1;
            at += length;
        }
        tokens
    }

    /// Checks the syntax of a document, all of whose tokens are stored.
    pub fn recognize(self, max_depth: usize) -> Result<Recognized, SyntaxError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut normalized = vec![b' '; self.text.len()];
        for Token { start, end, .. } in &self.tokens {
            if let (Some(to), Some(from)) = (normalized.get_mut(*start..*end), self.text.as_bytes().get(*start..*end)) {
                to.copy_from_slice(from);
            }
        }
        let mut recognizer = Recognizer {
            text: self.text,
            tokens: self.tokens,
            next: 0,
            normalized,
            selections: 0,
            max_selections: 0,
            depth: 0,
            max_depth,
        };
        recognizer.document()?;
        let Recognizer { normalized, max_selections: selections, .. } = recognizer;
        let normalized = String::from_utf8(normalized).unwrap_or_default();
        Ok(Recognized { normalized, selections })
    }
}

/// The length of what is ignored at the front: a blank, a comma, a byte order mark or a comment.
fn ignored_length(bytes: &[u8]) -> usize {
    match bytes {
        [b' ' | b'\t' | b'\r' | b'\n' | b',', ..] => 1,
        [0xEF, 0xBB, 0xBF, ..] => 3,
        [b'#', rest @ ..] => 1 + count_while(rest, |byte| !matches!(byte, b'\n' | b'\r')),
        _ => 0,
    }
}

/// The token at the front: its kind, its length in bytes, and its error if it is invalid.
fn token(text: &str) -> (TokenKind, usize, Option<String>) {
    let bytes = text.as_bytes();
    match bytes {
        [first, ..] if is_name_start(*first) => (TokenKind::Name, count_while(bytes, is_name_part), None),
        [b'-' | b'0'..=b'9', ..] => number(bytes),
        [b'"', b'"', b'"', ..] => block_string(bytes),
        [b'"', ..] => string_value(text),
        [b'.', b'.', b'.', ..] => (TokenKind::Punctuator, 3, None),
        [b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|' | b'}', ..] => {
            (TokenKind::Punctuator, 1, None)
        }
        _ => {
            let letter = text.chars().next().unwrap_or_default();
            (TokenKind::Punctuator, letter.len_utf8(), Some(format!("{letter:?} is nothing that a document has here")))
        }
    }
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn is_name_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// How many bytes at the front match.
fn count_while(bytes: &[u8], matches: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !matches(*byte)).unwrap_or(bytes.len())
}

fn number(bytes: &[u8]) -> (TokenKind, usize, Option<String>) {
    let from = |at: usize| bytes.get(at..).unwrap_or_default();
    let digits = |at: usize| count_while(from(at), |byte| byte.is_ascii_digit());
    let mut at = usize::from(bytes.starts_with(b"-"));
    let integer_digits = digits(at);
    let mut is_wrong = integer_digits == 0 || integer_digits > 1 && bytes.get(at) == Some(&b'0');
    at += integer_digits;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        is_wrong |= fraction == 0;
        at += 1 + fraction;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let expect = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + expect);
        is_wrong |= exponent == 0;
        at += 1 + expect + exponent;
    }
    // A number must not be followed by a name or another dot directly.
    is_wrong |= bytes.get(at).is_some_and(|next| *next == b'.' || is_name_start(*next));
    (TokenKind::Number, at.max(1), is_wrong.then(|| "this is no number".to_owned()))
}

fn block_string(bytes: &[u8]) -> (TokenKind, usize, Option<String>) {
    let mut at = 3;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match rest {
            [b'"', b'"', b'"', ..] => return (TokenKind::StringValue, at + 3, None),
            [b'\\', b'"', b'"', b'"', ..] => at += 4,
            _ => at += 1,
        }
    }
    (TokenKind::StringValue, bytes.len(), Some("a text in three quotation marks has no end".to_owned()))
}

fn string_value(text: &str) -> (TokenKind, usize, Option<String>) {
    let bytes = text.as_bytes();
    let (mut at, mut error) = (1, None);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        at += match rest {
            [b'"', ..] => return (TokenKind::StringValue, at + 1, error),
            [b'\n' | b'\r', ..] => break,
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'\\', b'u', ..] => match escape_length(rest) {
                Some(length) => length,
                None => {
                    error.get_or_insert_with(|| "a text has an escape in it that stands for no character".to_owned());
                    2
                }
            },
            [b'\\', ..] => {
                error.get_or_insert_with(|| "a text has an escape in it that there is not".to_owned());
                1
            }
            _ => 1,
        };
    }
    (TokenKind::StringValue, at, Some("a text in quotation marks has no end in its line".to_owned()))
}

/// The length of an escape that begins with `\u`, if it stands for a character. A surrogate pair of two escapes counts
/// as one.
fn escape_length(bytes: &[u8]) -> Option<usize> {
    let read = |at: usize, length: usize| {
        let digits = bytes.get(at..at + length).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    };
    if bytes.get(2) == Some(&b'{') {
        /// Longer ones have leading zeros only, and the reference implementation refuses them, too.
        const MAX_LENGTH: usize = 8;
        let length = count_while(bytes.get(3..)?, |byte| byte.is_ascii_hexdigit());
        let is_closed = length <= MAX_LENGTH && bytes.get(3 + length) == Some(&b'}');
        return read(3, length).and_then(char::from_u32).filter(|_| is_closed).map(|_| length + 4);
    }
    match read(2, 4)? {
        0xD800..=0xDBFF => {
            let is_pair = bytes.get(6..8) == Some(b"\\u") && matches!(read(8, 4), Some(0xDC00..=0xDFFF));
            is_pair.then_some(12)
        }
        first => char::from_u32(first).map(|_| 6),
    }
}

/// A recursive descent through the grammar; the methods are named by its rules.
struct Recognizer<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    next: usize,
    normalized: Vec<u8>,
    /// Selections of the definition at hand.
    selections: usize,
    max_selections: usize,
    depth: usize,
    max_depth: usize,
}

type Recognition = Result<(), SyntaxError>;

impl<'a> Recognizer<'a> {
    /// All definitions. From the first definition of a type on the text is left to the parser, because validation
    /// refuses it in any case.
    fn document(&mut self) -> Recognition {
        loop {
            let described = self.description();
            self.selections = 0;
            match self.peek() {
                Some("{") if !described => self.selection_set()?,
                Some("query" | "mutation" | "subscription") => {
                    self.next += 1;
                    self.optional_name();
                    if self.is_next("(") {
                        self.many("(", ")", Self::variable_definition)?;
                    }
                    self.directives(false)?;
                    self.selection_set()?;
                }
                Some("fragment") => {
                    self.next += 1;
                    self.fragment_name()?;
                    self.expect("on")?;
                    self.name("a type")?;
                    self.directives(false)?;
                    self.selection_set()?;
                }
                Some("schema" | "scalar" | "type" | "interface" | "union" | "enum" | "input" | "directive") => {
                    return Ok(());
                }
                Some("extend") if !described => return Ok(()),
                _ => return Err(self.unexpected("an operation or a fragment")),
            }
            self.max_selections = self.max_selections.max(self.selections);
            if self.next == self.tokens.len() {
                return Ok(());
            }
        }
    }

    /// Skips a description, and blanks it in the normalized text.
    fn description(&mut self) -> bool {
        let Some(Token { kind: TokenKind::StringValue, start, end }) = self.token() else { return false };
        if let Some(description) = self.normalized.get_mut(start..end) {
            description.fill(b' ');
        }
        self.next += 1;
        true
    }

    fn variable_definition(&mut self) -> Recognition {
        self.description();
        self.expect("$")?;
        self.name("the name of a variable")?;
        self.expect(":")?;
        self.ty()?;
        if self.is_next("=") {
            self.next += 1;
            self.value(true)?;
        }
        self.directives(true)
    }

    fn ty(&mut self) -> Recognition {
        if self.is_next("[") {
            self.next += 1;
            self.nested(Self::ty)?;
            self.expect("]")?;
        } else {
            self.name("a type")?;
        }
        if self.is_next("!") {
            self.next += 1;
        }
        Ok(())
    }

    fn selection_set(&mut self) -> Recognition {
        self.nested(|it| it.many("{", "}", Self::selection))
    }

    fn selection(&mut self) -> Recognition {
        self.selections += 1;
        if self.is_next("...") {
            self.next += 1;
            if self.is_name() && !self.is_next("on") {
                self.next += 1;
                return self.directives(false);
            }
            if self.is_next("on") {
                self.next += 1;
                self.name("a type")?;
            }
            self.directives(false)?;
            return self.selection_set();
        }
        self.name("a field")?;
        if self.is_next(":") {
            self.next += 1;
            self.name("a field")?;
        }
        self.arguments(false)?;
        self.directives(false)?;
        if self.is_next("{") { self.selection_set() } else { Ok(()) }
    }

    fn fragment_name(&mut self) -> Recognition {
        if self.is_next("on") {
            Err(self.unexpected("the name of a fragment"))
        } else {
            self.name("the name of a fragment")
        }
    }

    fn arguments(&mut self, is_constant: bool) -> Recognition {
        if self.is_next("(") { self.many("(", ")", |it| it.named_value("an argument", is_constant)) } else { Ok(()) }
    }

    fn directives(&mut self, is_constant: bool) -> Recognition {
        while self.is_next("@") {
            self.next += 1;
            self.name("a directive")?;
            self.arguments(is_constant)?;
        }
        Ok(())
    }

    fn named_value(&mut self, what: &str, is_constant: bool) -> Recognition {
        self.name(what)?;
        self.expect(":")?;
        self.value(is_constant)
    }

    fn value(&mut self, is_constant: bool) -> Recognition {
        if self.token().is_some_and(|token| token.kind != TokenKind::Punctuator) {
            self.next += 1;
            return Ok(());
        }
        match self.peek() {
            Some("$") if !is_constant => {
                self.next += 1;
                self.name("the name of a variable")
            }
            Some("[") => {
                self.next += 1;
                self.nested(|it| it.until("]", |it| it.value(is_constant)))
            }
            Some("{") => {
                self.next += 1;
                self.nested(|it| it.until("}", |it| it.named_value("a field", is_constant)))
            }
            Some(_) | None => Err(self.unexpected(if is_constant { "a constant value" } else { "a value" })),
        }
    }

    /// One or more of something, between two punctuators.
    fn many(&mut self, open: &str, close: &str, one: impl Fn(&mut Self) -> Recognition) -> Recognition {
        self.expect(open)?;
        one(self)?;
        self.until(close, one)
    }

    fn until(&mut self, close: &str, one: impl Fn(&mut Self) -> Recognition) -> Recognition {
        while !self.is_next(close) {
            // At the end of the text, the closing punctuator is the simplest expectation to report.
            if self.next == self.tokens.len() {
                return Err(self.unexpected(&format!("\"{close}\"")));
            }
            one(self)?;
        }
        self.next += 1;
        Ok(())
    }

    /// Something nested one level deeper. Beyond the limit, the depth is the only error that is reported.
    fn nested(&mut self, inside: impl FnOnce(&mut Self) -> Recognition) -> Recognition {
        self.depth += 1;
        if self.depth > self.max_depth {
            return Err(SyntaxError::TooDeep { offset: self.offset() });
        }
        inside(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn token(&self) -> Option<Token> {
        self.tokens.get(self.next).copied()
    }

    fn offset(&self) -> usize {
        self.token().map_or(self.text.len(), |token| token.start)
    }

    /// The text of the next token, if it is a name or a punctuator.
    fn peek(&self) -> Option<&'a str> {
        let token = self.token().filter(|token| matches!(token.kind, TokenKind::Name | TokenKind::Punctuator))?;
        self.text.get(token.start..token.end)
    }

    fn is_next(&self, expected: &str) -> bool {
        self.peek() == Some(expected)
    }

    fn is_name(&self) -> bool {
        self.token().is_some_and(|token| token.kind == TokenKind::Name)
    }

    fn optional_name(&mut self) {
        self.next += usize::from(self.is_name());
    }

    fn name(&mut self, what: &str) -> Recognition {
        if !self.is_name() {
            return Err(self.unexpected(what));
        }
        self.next += 1;
        Ok(())
    }

    /// A punctuator or keyword.
    fn expect(&mut self, token: &str) -> Recognition {
        if !self.is_next(token) {
            return Err(self.unexpected(&format!("\"{token}\"")));
        }
        self.next += 1;
        Ok(())
    }

    fn unexpected(&self, expected: &str) -> SyntaxError {
        /// The longest quote of a token, in characters.
        const MAX_QUOTE_LENGTH: usize = 60;
        let found = match self.token() {
            None => "the end of the document".to_owned(),
            Some(Token { kind: TokenKind::StringValue, .. }) => "a text".to_owned(),
            Some(Token { start, end, .. }) => {
                let found = self.text.get(start..end).unwrap_or_default();
                format!("\"{}\"", found.chars().take(MAX_QUOTE_LENGTH).collect::<String>())
            }
        };
        SyntaxError::Syntax { offset: self.offset(), problem: format!("expected {expected}, found {found}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognize(text: &str) -> Result<Recognized, String> {
        Tokens::of(text, 10_000).recognize(100).map_err(|error| match error {
            SyntaxError::Syntax { offset, problem } => format!("{offset}: {problem}"),
            SyntaxError::TooDeep { offset } => format!("{offset}: too deep"),
        })
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
            ("0 0.25 -0", 3),
            ("é", 1),
            ("a...F...F", 5),
            ("\u{feff}{ a:\u{feff}b }", 5),
        ] {
            assert_eq!(Tokens::of(text, 0).count, tokens, "{text}");
        }
    }

    #[test]
    fn selections_are_counted_as_they_are_written() {
        for (text, selections) in [
            ("{ a }", 1),
            ("query Q($a: In = {b: {c: 1}}, $d: Int @x) @y { a b(c: {d: {e: [f {g: h}]}}) { i } }", 3),
            ("{ a: b c: d(e: \"{ f g }\") @include(if: $h) { i: j } }", 3),
            ("{ ... on A { b } ... @include(if: true) { c } ... { d } on { on } fragment { query } }", 10),
            ("{ on: on ... on on { on } }", 3),
            ("{ a...F b...on T{c}...F}", 6),
            ("query A { a { b c } } query B { d { e f g } }", 4),
            ("{ a ...F ...F } fragment F on T { b c d e }", 4),
        ] {
            assert_eq!(recognize(text).unwrap().selections, selections, "{text}");
        }
    }

    #[test]
    fn what_the_parser_would_stumble_over_is_blank() {
        for (text, normalized) in [
            ("\u{feff}{ a(b: 1, c: \"#,\"), # no { \n ... , F }", "   { a(b: 1  c: \"#,\")           ...   F }"),
            ("\"\"\"what\"\"\" query ( \"é\" $a: Int) { b }", "           query (      $a: Int) { b }"),
            ("\"F\" fragment F on T { a }", "    fragment F on T { a }"),
        ] {
            assert_eq!(recognize(text).unwrap().normalized, normalized, "{text}");
        }
    }

    #[test]
    fn what_is_no_document_is_told_by_its_place() {
        for (text, expected) in [
            ("", "0: expected an operation or a fragment, found the end of the document"),
            ("{", "1: expected a field, found the end of the document"),
            ("{}", "1: expected a field, found \"}\""),
            ("{ a", "3: expected \"}\", found the end of the document"),
            ("{ a(b 1) }", "6: expected \":\", found \"1\""),
            ("{ a(b: {c 1}) }", "10: expected \":\", found \"1\""),
            ("{ a() }", "4: expected an argument, found \")\""),
            ("{ a(b: ) }", "7: expected a value, found \")\""),
            ("query($a: Int = $b) { c }", "16: expected a constant value, found \"$\""),
            ("query($a: Int @b(c: [$d])) { c }", "21: expected a constant value, found \"$\""),
            ("query() { a }", "6: expected \"$\", found \")\""),
            ("fragment on on T { a }", "9: expected the name of a fragment, found \"on\""),
            ("fragment F T { a }", "11: expected \"on\", found \"T\""),
            ("{ ...on }", "8: expected a type, found \"}\""),
            ("\"what\" { a }", "7: expected an operation or a fragment, found \"{\""),
            ("{ a } }", "6: expected an operation or a fragment, found \"}\""),
            ("{ a(b: 01) }", "7: this is no number"),
            ("{ a(b: 1.) }", "7: this is no number"),
            ("{ a(b: 1a) }", "7: this is no number"),
            ("{ a(b: -) }", "7: this is no number"),
            ("{ a(b: 1e) }", "7: this is no number"),
            ("{ a(b: \"\n\") }", "7: a text in quotation marks has no end in its line"),
            ("{ a(b: \"\"\"x\\\"\"\") }", "7: a text in three quotation marks has no end"),
            ("{ a(b: \"\\x\") }", "7: a text has an escape in it that there is not"),
            ("{ a(b: \"\\u12\") }", "7: a text has an escape in it that stands for no character"),
            ("{ a(b: \"\\uD800\") }", "7: a text has an escape in it that stands for no character"),
            ("{ a(b: \"\\u{110000}\") }", "7: a text has an escape in it that stands for no character"),
            ("{ a .. b }", "4: '.' is nothing that a document has here"),
            ("{ é }", "2: 'é' is nothing that a document has here"),
        ] {
            assert_eq!(recognize(text).err().as_deref(), Some(expected), "{text}");
        }
        let deep = format!("{}id{}", "{a".repeat(101), "}".repeat(101));
        assert_eq!(recognize(&deep).err().as_deref(), Some("200: too deep"));
    }
}
