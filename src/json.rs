//! JSON, written straight to bytes.
//!
//! Rows of lists are written by the thousand, and half of what serde takes for one is handing on quotes, keys and
//! commas, one by one. Whoever knows its keys beforehand writes each with what is around it at once, and the values with
//! these. What is not worth a function here is written by serde: see [`value`].

use std::fmt::Display;
use std::io::Write as _;

use serde::Serialize;

/// Anything, as serde writes it.
pub fn value(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    // Writing to memory does not fail, and neither does any value of ours.
    let _ = serde_json::to_writer(out, value);
}

/// A text. Hardly any has something that JSON would have to escape, which is quickly seen.
pub fn text(text: &str, out: &mut Vec<u8>) {
    if is_plain(text.as_bytes()) { plain(text, out) } else { value(text, out) }
}

/// Whether JSON has nothing to escape here. Eight bytes at a time: a loop over each took a tenth of what a row takes.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    // What is missing of the last word is filled up with letters.
    let mut last = [b'x'; 8];
    last[..rest.len()].copy_from_slice(rest);
    words.chain([u64::from_le_bytes(last)]).fold(0, |so_far, word| so_far | escaped(word)) == 0
}

/// The highest bit of each byte that JSON has to escape, and perhaps of bytes above one; none if there is none.
fn escaped(word: u64) -> u64 {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    // A byte below the other becomes negative, unless it was already (which letters beyond ASCII are).
    let below = |word: u64, byte: u8| word.wrapping_sub(each(byte)) & !word;
    (below(word, b' ') | below(word ^ each(b'"'), 1) | below(word ^ each(b'\\'), 1)) & each(0x80)
}

/// A text, if there is one.
pub fn optional(value: Option<&str>, out: &mut Vec<u8>) {
    match value {
        Some(value) => text(value, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// A text that has nothing in it that JSON would have to escape.
pub fn plain(text: impl AsRef<[u8]>, out: &mut Vec<u8>) {
    let text = text.as_ref();
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// The same of something that shows itself as such a text.
pub fn displayed(value: impl Display, out: &mut Vec<u8>) {
    let _ = write!(out, "\"{value}\"");
}

/// A number with two decimals, as serde writes it: the general way to find the shortest text of a number takes longer.
pub fn hundredths(number: f64, out: &mut Vec<u8>) {
    /// Numbers up to here differ from their neighbours by less than a hundredth.
    const MOST: f64 = 1e12;
    let hundredths = (number * 100.0).round();
    if !(0.0..MOST).contains(&hundredths) || hundredths / 100.0 != number || number.is_sign_negative() {
        return value(&number, out);
    }
    let hundredths = hundredths as u64;
    let digit = |digit: u64| b'0' + (digit % 10) as u8;
    value(&(hundredths / 100), out);
    out.extend([b'.', digit(hundredths / 10)]);
    if !hundredths.is_multiple_of(10) {
        out.push(digit(hundredths));
    }
}

/// Whether something is so.
pub fn truth(truth: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if truth { b"true" } else { b"false" });
}

/// A list.
pub fn list<T>(entries: impl IntoIterator<Item = T>, out: &mut Vec<u8>, mut write: impl FnMut(T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, entry) in entries.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(entry, out);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_written_as_serde_writes_them(
            any in "(?s).{0,40}",
            plain in "[ !#-\\[\\]-~é]{0,40}",
            nearly in "[ !#-\\[\\]-~é]{0,20}[\u{0}-\u{1f}\"\\\\\u{7f}]?[ !#-\\[\\]-~é]{0,20}",
        ) {
            prop_assert!(is_plain(plain.as_bytes()));
            for text in [&any, &plain, &nearly] {
                let (mut ours, mut of_nothing) = (Vec::new(), Vec::new());
                super::text(text, &mut ours);
                optional(None, &mut of_nothing);
                prop_assert_eq!(String::from_utf8(ours).unwrap(), serde_json::to_string(text).unwrap());
                prop_assert_eq!(of_nothing, b"null");
            }
        }
    }

    proptest! {
        #[test]
        fn hundredths_are_written_as_serde_writes_them(
            hundredths in prop_oneof![0_u64..30_000, any::<u64>()],
            any in any::<f64>(),
        ) {
            for number in [hundredths as f64 / 100.0, -(hundredths as f64) / 100.0, any, 0.0, -0.0, 1e10 - 0.01] {
                let mut ours = Vec::new();
                super::hundredths(number, &mut ours);
                prop_assert_eq!(String::from_utf8(ours).unwrap(), serde_json::to_string(&number).unwrap());
            }
        }
    }

    #[test]
    fn lists_have_commas_between_their_entries() {
        for (entries, expected) in [(&[][..], "[]"), (&["a"], "[\"a\"]"), (&["a", "\"", "c"], "[\"a\",\"\\\"\",\"c\"]")]
        {
            let mut out = Vec::new();
            list(entries, &mut out, |entry, out| text(entry, out));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
