//! Text of others on a terminal. Names, labels and reasons come from whoever may write to the API: an escape sequence in
//! one would move the cursor, a direction mark would show another id than there is. Such characters are shown as what
//! they are, `\u{1b}`, in text, and written as the escapes that JSON has for them in JSON.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character is shown as nothing, or changes how others are shown: controls, marks of direction, invisible
/// ones, and the two that end a line.
fn is_dangerous(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}')
}

/// A text for one line of a terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |out, letter| {
        // Writing to memory does not fail.
        let _ = write!(out, "{}", letter.escape_unicode());
    })
}

/// JSON that means the same, and in which nothing but its line ends is dangerous.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    escaped(json, |out, letter| match letter {
        // Between two values. In a text, JSON itself has no such characters.
        '\n' | '\r' | '\t' => out.push(letter),
        letter => {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    })
}

fn escaped(text: &str, escape: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.contains(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_dangerous(letter) { escape(&mut out, letter) } else { out.push(letter) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_would_not_be_seen_is_shown() {
        for (text, expected) in [
            ("worker-01", "worker-01"),
            ("köln 日本 👍", "köln 日本 👍"),
            ("\u{1b}[31mred", r"\u{1b}[31mred"),
            ("a\nb\tc\r", r"a\u{a}b\u{9}c\u{d}"),
            ("\u{202e}evil", r"\u{202e}evil"),
            ("\u{9b}2J", r"\u{9b}2J"),
            ("zero\u{200b}width", r"zero\u{200b}width"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    proptest! {
        #[test]
        fn json_means_the_same_afterwards(text in any::<String>(), key in any::<String>()) {
            let value = serde_json::json!({key: [text, "\u{202e}\u{9b}\u{e0041}"]});
            for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let shown = printable_json(&json);
                prop_assert!(!shown.chars().any(|letter| letter != '\n' && is_dangerous(letter)));
                prop_assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value.clone());
            }
        }
    }
}
