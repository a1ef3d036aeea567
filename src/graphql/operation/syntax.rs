//! The syntax of documents, to the letter of the specification, before a parser sees them.
//!
//! The parser of `apollo-compiler` takes what is no document (`worker(id "w1")`, of which it forgets the argument) and
//! refuses what is one (descriptions of operations, a comma after `...`). So a document is recognized here first, token
//! by token, and the parser is given the tokens without anything between them that it could stumble over: blanks stand
//! for comments, commas and descriptions, so that every token stays where it was. What is counted on the way is what
//! the limits of [`guard`](super::limits) need to know before a parser, which takes its time, sees a document.

/// What a document is made of.
pub struct Tokens<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    /// How many there are, with those that are none.
    pub count: usize,
    /// The first that is none.
    wrong: Option<SyntaxError>,
}

/// Why a text is no document. Places are in bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum SyntaxError {
    /// It is none by its syntax.
    Syntax { offset: usize, problem: String },
    /// Selections, types or values lie in each other deeper than is allowed.
    TooDeep { offset: usize },
}

/// A document that is one by its syntax.
pub struct Recognized {
    /// Its tokens at their places, without descriptions and with blanks between them.
    pub plain: String,
    /// The most selections in one operation or fragment, as they are written.
    pub selections: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IndexedType {
    Name,
    Number,
    Text,
    /// Any sign, `...` among them.
    Sign,
}

#[derive(Clone, Copy)]
struct Token {
    kind: IndexedType,
    start: usize,
    end: usize,
}

impl<'a> Tokens<'a> {
    /// The tokens of a text, of which so many are wanted at most; the others are counted.
    pub fn of(text: &'a str, at_most: usize) -> Self {
        let mut found = Self { text, tokens: Vec::new(), count: 0, wrong: None };
        let mut at = 0;
        while let Some(rest) = text.as_bytes().get(at..).filter(|rest| !rest.is_empty()) {
            let ignored = ignored_length(rest);
            if ignored > 0 {
                at += ignored;
                continue;
            }
            let (kind, length, problem) = token(text.get(at..).unwrap_or_default());
            if let Some(problem) = problem {
                found.wrong.get_or_insert(SyntaxError::Syntax { offset: at, problem });
            }
            if found.count < at_most {
                found.tokens.push(Token { kind, start: at, end: at + length });
            }
            found.count += 1;
            at += length;
        }
        found
    }

    /// Recognizes a document, whose tokens are all here.
    pub fn recognize(self, deepest: usize) -> Result<Recognized, SyntaxError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let mut plain = vec![b' '; self.text.len()];
        for Token { start, end, .. } in &self.tokens {
            if let (Some(to), Some(from)) = (plain.get_mut(*start..*end), self.text.as_bytes().get(*start..*end)) {
                to.copy_from_slice(from);
            }
        }
        let mut recognizer = Recognizer {
            text: self.text,
            tokens: self.tokens,
            next: 0,
            plain,
            selections: 0,
            most_selections: 0,
            depth: 0,
            deepest,
        };
        recognizer.document()?;
        let Recognizer { plain, most_selections: selections, .. } = recognizer;
        let plain = String::from_utf8(plain).unwrap_or_default();
        Ok(Recognized { plain, selections })
    }
}

/// How many bytes at the front are nothing to the language: blanks, commas, byte order marks and comments.
fn ignored_length(bytes: &[u8]) -> usize {
    match bytes {
        [b' ' | b'\t' | b'\r' | b'\n' | b',', ..] => 1,
        [0xEF, 0xBB, 0xBF, ..] => 3,
        [b'#', rest @ ..] => 1 + run(rest, |byte| !matches!(byte, b'\n' | b'\r')),
        _ => 0,
    }
}

/// The token at the front: what it is, how long, and what is wrong with it.
fn token(text: &str) -> (IndexedType, usize, Option<String>) {
    let bytes = text.as_bytes();
    match bytes {
        [first, ..] if is_name_start(*first) => (IndexedType::Name, run(bytes, is_name_part), None),
        [b'-' | b'0'..=b'9', ..] => number(bytes),
        [b'"', b'"', b'"', ..] => block_text(bytes),
        [b'"', ..] => quoted_text(text),
        [b'.', b'.', b'.', ..] => (IndexedType::Sign, 3, None),
        [b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|' | b'}', ..] => {
            (IndexedType::Sign, 1, None)
        }
        _ => {
            let letter = text.chars().next().unwrap_or_default();
            (IndexedType::Sign, letter.len_utf8(), Some(format!("{letter:?} is nothing that a document has here")))
        }
    }
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn is_name_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// How many bytes from the front are such.
fn run(bytes: &[u8], is_such: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !is_such(*byte)).unwrap_or(bytes.len())
}

fn number(bytes: &[u8]) -> (IndexedType, usize, Option<String>) {
    let from = |at: usize| bytes.get(at..).unwrap_or_default();
    let digits = |at: usize| run(from(at), |byte| byte.is_ascii_digit());
    let mut at = usize::from(bytes.starts_with(b"-"));
    let whole = digits(at);
    let mut is_wrong = whole == 0 || whole > 1 && bytes.get(at) == Some(&b'0');
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        is_wrong |= fraction == 0;
        at += 1 + fraction;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        is_wrong |= exponent == 0;
        at += 1 + sign + exponent;
    }
    // What follows at once would be read with it.
    is_wrong |= bytes.get(at).is_some_and(|next| *next == b'.' || is_name_start(*next));
    (IndexedType::Number, at.max(1), is_wrong.then(|| "this is no number".to_owned()))
}

fn block_text(bytes: &[u8]) -> (IndexedType, usize, Option<String>) {
    let mut at = 3;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match rest {
            [b'"', b'"', b'"', ..] => return (IndexedType::Text, at + 3, None),
            [b'\\', b'"', b'"', b'"', ..] => at += 4,
            _ => at += 1,
        }
    }
    (IndexedType::Text, bytes.len(), Some("a text in three quotation marks has no end".to_owned()))
}

fn quoted_text(text: &str) -> (IndexedType, usize, Option<String>) {
    let bytes = text.as_bytes();
    let (mut at, mut wrong) = (1, None);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        at += match rest {
            [b'"', ..] => return (IndexedType::Text, at + 1, wrong),
            [b'\n' | b'\r', ..] => break,
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'\\', b'u', ..] => match escape_length(rest) {
                Some(length) => length,
                None => {
                    wrong.get_or_insert_with(|| "a text has an escape in it that stands for no character".to_owned());
                    2
                }
            },
            [b'\\', ..] => {
                wrong.get_or_insert_with(|| "a text has an escape in it that there is not".to_owned());
                1
            }
            _ => 1,
        };
    }
    (IndexedType::Text, at, Some("a text in quotation marks has no end in its line".to_owned()))
}

/// The length of an escape that begins with `\u`, if it stands for a character: two of them may, together.
fn escape_length(bytes: &[u8]) -> Option<usize> {
    let read = |at: usize, length: usize| {
        let digits = bytes.get(at..at + length).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    };
    if bytes.get(2) == Some(&b'{') {
        /// More are only zeros, and the reference implementation takes no more of them.
        const LONGEST: usize = 8;
        let length = run(bytes.get(3..)?, |byte| byte.is_ascii_hexdigit());
        let is_closed = length <= LONGEST && bytes.get(3 + length) == Some(&b'}');
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

/// Goes through the tokens of a document by the rules of its grammar, which give the methods their names.
struct Recognizer<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    next: usize,
    plain: Vec<u8>,
    /// Of the definition at hand.
    selections: usize,
    most_selections: usize,
    depth: usize,
    deepest: usize,
}

type Recognition = Result<(), SyntaxError>;

impl<'a> Recognizer<'a> {
    /// The definitions. From the first of a type on they are left to the parser: they are refused in any case.
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
                    self.sign("on")?;
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
            self.most_selections = self.most_selections.max(self.selections);
            if self.next == self.tokens.len() {
                return Ok(());
            }
        }
    }

    /// Takes a description, and leaves blanks.
    fn description(&mut self) -> bool {
        let Some(Token { kind: IndexedType::Text, start, end }) = self.token() else { return false };
        if let Some(description) = self.plain.get_mut(start..end) {
            description.fill(b' ');
        }
        self.next += 1;
        true
    }

    fn variable_definition(&mut self) -> Recognition {
        self.description();
        self.sign("$")?;
        self.name("the name of a variable")?;
        self.sign(":")?;
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
            self.sign("]")?;
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
        self.sign(":")?;
        self.value(is_constant)
    }

    fn value(&mut self, is_constant: bool) -> Recognition {
        if self.token().is_some_and(|token| token.kind != IndexedType::Sign) {
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

    /// One or more, between signs.
    fn many(&mut self, open: &str, close: &str, one: impl Fn(&mut Self) -> Recognition) -> Recognition {
        self.sign(open)?;
        one(self)?;
        self.until(close, one)
    }

    fn until(&mut self, close: &str, one: impl Fn(&mut Self) -> Recognition) -> Recognition {
        while !self.is_next(close) {
            // Where something else could stand as well, the sign is the shorter thing to say.
            if self.next == self.tokens.len() {
                return Err(self.unexpected(&format!("\"{close}\"")));
            }
            one(self)?;
        }
        self.next += 1;
        Ok(())
    }

    /// What lies in something else. Deeper than is allowed, only the depth is of interest.
    fn nested(&mut self, inside: impl FnOnce(&mut Self) -> Recognition) -> Recognition {
        self.depth += 1;
        if self.depth > self.deepest {
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

    /// The next name or sign as it is written.
    fn peek(&self) -> Option<&'a str> {
        let token = self.token().filter(|token| matches!(token.kind, IndexedType::Name | IndexedType::Sign))?;
        self.text.get(token.start..token.end)
    }

    fn is_next(&self, wanted: &str) -> bool {
        self.peek() == Some(wanted)
    }

    fn is_name(&self) -> bool {
        self.token().is_some_and(|token| token.kind == IndexedType::Name)
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

    /// A sign, or a word that is as good as one.
    fn sign(&mut self, sign: &str) -> Recognition {
        if !self.is_next(sign) {
            return Err(self.unexpected(&format!("\"{sign}\"")));
        }
        self.next += 1;
        Ok(())
    }

    fn unexpected(&self, expected: &str) -> SyntaxError {
        /// Texts may be long.
        const LONGEST: usize = 60;
        let found = match self.token() {
            None => "the end of the document".to_owned(),
            Some(Token { kind: IndexedType::Text, .. }) => "a text".to_owned(),
            Some(Token { start, end, .. }) => {
                let found = self.text.get(start..end).unwrap_or_default();
                format!("\"{}\"", found.chars().take(LONGEST).collect::<String>())
            }
        };
        SyntaxError::Syntax { offset: self.offset(), problem: format!("expected {expected}, found {found}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognize(text: &str) -> Result<Recognized, String> {
        Tokens::of(text, 10_000).recognize(100).map_err(|wrong| match wrong {
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
        for (text, plain) in [
            ("\u{feff}{ a(b: 1, c: \"#,\"), # no { \n ... , F }", "   { a(b: 1  c: \"#,\")           ...   F }"),
            ("\"\"\"what\"\"\" query ( \"é\" $a: Int) { b }", "           query (      $a: Int) { b }"),
            ("\"F\" fragment F on T { a }", "    fragment F on T { a }"),
        ] {
            assert_eq!(recognize(text).unwrap().plain, plain, "{text}");
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
