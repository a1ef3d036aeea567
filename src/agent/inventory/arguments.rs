//! Parsing of what the command lines of hypervisors have in common: options, lists of `key=value`, and sizes. Which
//! options mean what is in the file of each hypervisor.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// The arguments of one hypervisor process, without the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CommandLine {
    /// The arguments as text, see [`readable`].
    texts: Vec<String>,
    /// The arguments as bytes, for paths.
    raw: Vec<OsString>,
}

impl CommandLine {
    /// A command line of these arguments.
    pub(super) fn of<'a>(arguments: impl Iterator<Item = &'a [u8]>) -> Self {
        let raw: Vec<_> = arguments.map(|bytes| OsString::from_vec(bytes.to_vec())).collect();
        Self { texts: raw.iter().map(|argument| readable(argument.as_bytes())).collect(), raw }
    }

    /// All of them, in order.
    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The argument at a position, as bytes.
    pub(super) fn raw(&self, position: usize) -> Option<&OsStr> {
        self.raw.get(position).map(OsString::as_os_str)
    }

    /// The values given to an option, in order: `-name x`, `--name x` and `--name=x` alike.
    pub(super) fn values<'a, 'o>(&'a self, option: &'o str) -> impl Iterator<Item = &'a str> + use<'a, 'o> {
        self.texts.iter().enumerate().filter_map(move |(position, argument)| match given(argument, option)? {
            "" => self.texts.get(position + 1).map(String::as_str),
            rest => rest.strip_prefix('='),
        })
    }

    /// The values given to an option that takes any number of them: `--zone a b --zone c`.
    pub(super) fn lists<'a, 'o>(&'a self, option: &'o str) -> impl Iterator<Item = &'a str> + use<'a, 'o> {
        let places = self.texts.iter().enumerate().filter_map(move |(position, argument)| {
            let rest = given(argument, option)?;
            (rest.is_empty() || rest.starts_with('=')).then_some((position, rest.strip_prefix('=')))
        });
        places.flat_map(|(position, first)| {
            let further = self.texts[position + 1..].iter().map(String::as_str);
            first.into_iter().chain(further.take_while(|argument| !argument.starts_with('-')))
        })
    }

    /// The last value given to an option, which is the one that counts.
    pub(super) fn value(&self, option: &str) -> Option<&str> {
        self.values(option).last()
    }

    /// The last value given to an option, as bytes.
    pub(super) fn path(&self, option: &str) -> Option<&OsStr> {
        let places = self.texts.iter().enumerate().rev();
        places
            .filter_map(|(position, argument)| match given(argument, option)? {
                "" => self.raw(position + 1),
                rest if rest.starts_with('=') => {
                    let equals = self.raw(position)?.as_bytes().iter().position(|byte| *byte == b'=')?;
                    Some(OsStr::from_bytes(&self.raw(position)?.as_bytes()[equals + 1..]))
                }
                _ => None,
            })
            .next()
    }

    /// Whether an option is there, with or without a value.
    pub(super) fn has(&self, option: &str) -> bool {
        self.texts
            .iter()
            .any(|argument| given(argument, option).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
    }

    /// All `key=value` pairs given to an option, later ones over earlier ones. A first value without a key belongs to
    /// the `implied` one.
    pub(super) fn pairs(&self, option: &str, implied: &str) -> BTreeMap<String, String> {
        self.values(option).flat_map(|value| pairs(value, implied)).collect()
    }
}

/// What follows the name of an option in an argument that begins with it.
fn given<'a>(argument: &'a str, option: &str) -> Option<&'a str> {
    argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'))?.strip_prefix(option)
}

/// Bytes as text, so that different bytes have different texts: bytes that are not UTF-8 are written `\xff`, and in a
/// text that has such bytes, backslashes are doubled.
pub(super) fn readable(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut readable = String::new();
    for chunk in bytes.utf8_chunks() {
        readable.push_str(&chunk.valid().replace('\\', "\\\\"));
        for byte in chunk.invalid() {
            let _ = write!(readable, "\\x{byte:02x}");
        }
    }
    readable
}

/// Splits `first,key=value,…`. Two commas stand for a comma in a value, as in QEMU.
pub(super) fn pairs(text: &str, implied: &str) -> BTreeMap<String, String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == ',' && characters.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts
        .into_iter()
        .enumerate()
        .filter_map(|(position, part)| match part.split_once('=') {
            Some((key, value)) => Some((key.to_owned(), value.to_owned())),
            None if position == 0 => Some((implied.to_owned(), part)),
            // A switch such as `hotplug`; none of them says how large a VM is.
            None => None,
        })
        .collect()
}

/// A positive number, such as that of virtual CPUs; none if it is zero or cannot be parsed.
pub(super) fn count(text: &str) -> Option<u64> {
    text.parse().ok().filter(|count| *count > 0)
}

/// A size such as `2048`, `2G`, `1.5g`, `0x40` or `2097152k`, in MiB, rounded up; `unit` is the unit of a number
/// without one. None if it cannot be parsed.
pub(super) fn size_mib(text: &str, unit: Unit) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        let number = u64::from_str_radix(&hex[..end], 16).ok()?;
        return size_mib(&format!("{number}{}", &hex[end..]), unit);
    }
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let unit = match suffix.trim_end_matches(['i', 'B']).to_ascii_uppercase().as_str() {
        "" if suffix.is_empty() => unit,
        "" => Unit::Byte,
        "K" => Unit::Kib,
        "M" => Unit::Mib,
        "G" => Unit::Gib,
        "T" => Unit::Tib,
        "P" => Unit::Pib,
        "E" => Unit::Eib,
        _ => return None,
    };
    let mib = (number.parse::<f64>().ok()? * unit.in_mib()).ceil();
    // The conversion saturates; the size is cut to the largest figure later.
    (mib >= 0.0).then_some(mib as u64)
}

/// The unit of a number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// One byte.
    Byte,
    /// 1024 bytes.
    Kib,
    /// 1024 KiB.
    Mib,
    /// 1024 MiB.
    Gib,
    /// 1024 GiB.
    Tib,
    /// 1024 TiB.
    Pib,
    /// 1024 PiB.
    Eib,
}

impl Unit {
    fn in_mib(self) -> f64 {
        const STEP: f64 = 1024.0;
        match self {
            Self::Byte => 1.0 / (STEP * STEP),
            Self::Kib => 1.0 / STEP,
            Self::Mib => 1.0,
            Self::Gib => STEP,
            Self::Tib => STEP * STEP,
            Self::Pib => STEP * STEP * STEP,
            Self::Eib => STEP * STEP * STEP * STEP,
        }
    }
}

#[cfg(test)]
pub(super) fn command_line(words: &str) -> CommandLine {
    CommandLine::of(words.split_whitespace().map(str::as_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_however_they_are_written() {
        for (words, value) in [
            ("-name a", Some("a")),
            ("--name a", Some("a")),
            ("--name=a", Some("a")),
            ("-name a -name b", Some("b")),
            ("-nameless a", None),
            ("name a", None),
            ("-name", None),
            ("", None),
        ] {
            assert_eq!(command_line(words).value("name"), value, "{words}");
        }
    }

    #[test]
    fn an_option_may_take_any_number_of_values() {
        let values = |words: &str| command_line(words).lists("zone").map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(values("--zone a b --other c --zone d"), ["a", "b", "d"]);
        assert_eq!(values("--zone=a b --zones c"), ["a", "b"]);
        assert_eq!(values("zone a --zone"), [""; 0]);
    }

    #[test]
    fn what_is_no_text_is_written_without_loss() {
        for (bytes, expected) in [
            (&b"plain \\ text"[..], "plain \\ text"),
            (b"w\xffb", "w\\xffb"),
            (b"w\xfeb", "w\\xfeb"),
            (b"\\xff\xff", "\\\\xff\\xff"),
            (b"\xe2\x82", "\\xe2\\x82"),
        ] {
            assert_eq!(readable(bytes), expected);
        }
        let command = CommandLine::of([&b"--file"[..], b"/a\xff", b"--file=/b\xff"].into_iter());
        assert_eq!(command.path("file").map(OsStr::as_bytes), Some(&b"/b\xff"[..]));
        assert_eq!(command.value("file"), Some("/b\\xff"));
    }

    #[test]
    fn pairs_know_an_implied_key_and_doubled_commas() {
        for (text, expected) in [
            ("4", vec![("first", "4")]),
            ("4,b=2", vec![("b", "2"), ("first", "4")]),
            ("a=1,b=2", vec![("a", "1"), ("b", "2")]),
            ("a=x,,y,b=2", vec![("a", "x,y"), ("b", "2")]),
            ("a=1,switch", vec![("a", "1")]),
            ("a=b=c", vec![("a", "b=c")]),
            ("", vec![("first", "")]),
        ] {
            let found = pairs(text, "first");
            let found: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_any_unit() {
        for (text, unit, mib) in [
            ("2048", Unit::Mib, Some(2048)),
            ("1073741824", Unit::Byte, Some(1024)),
            ("2G", Unit::Mib, Some(2048)),
            ("2g", Unit::Mib, Some(2048)),
            ("2GiB", Unit::Mib, Some(2048)),
            ("1.5G", Unit::Mib, Some(1536)),
            ("2097152k", Unit::Mib, Some(2048)),
            ("1T", Unit::Byte, Some(1024 * 1024)),
            ("1048577B", Unit::Mib, Some(2)),
            ("99999999999999999999999999T", Unit::Mib, Some(u64::MAX)),
            ("0x40", Unit::Mib, Some(64)),
            ("0x40M", Unit::Byte, Some(64)),
            ("1P", Unit::Byte, Some(1 << 30)),
            ("1e", Unit::Byte, Some(1 << 40)),
            ("0", Unit::Mib, Some(0)),
            ("0x", Unit::Mib, None),
            ("", Unit::Mib, None),
            ("-5", Unit::Mib, None),
            ("1.2.3", Unit::Mib, None),
            ("5X", Unit::Mib, None),
            ("nan", Unit::Mib, None),
        ] {
            assert_eq!(size_mib(text, unit), mib, "{text}");
        }
    }
}
