//! What the command lines of hypervisors have in common: options, lists of `key=value`, and sizes.

use std::collections::BTreeMap;

/// One hypervisor process, as far as its arguments are concerned.
#[derive(Clone, Debug)]
pub(super) struct CommandLine {
    /// The process.
    pub(super) pid: u32,
    /// Its arguments, without the program.
    pub(super) arguments: Vec<String>,
}

impl CommandLine {
    /// The values given to an option, in order: `-name x`, `--name x` and `--name=x` alike.
    pub(super) fn values<'a, 'o>(&'a self, option: &'o str) -> impl Iterator<Item = &'a str> + use<'a, 'o> {
        self.arguments.iter().enumerate().filter_map(move |(position, argument)| {
            let given = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'))?;
            match given.strip_prefix(option)? {
                "" => self.arguments.get(position + 1).map(String::as_str),
                rest => rest.strip_prefix('='),
            }
        })
    }

    /// The value that counts: the last one given.
    pub(super) fn value(&self, option: &str) -> Option<&str> {
        self.values(option).last()
    }

    /// All `key=value` pairs given to an option, later ones over earlier ones. A first value without a key belongs to
    /// the `implied` one.
    pub(super) fn pairs(&self, option: &str, implied: &str) -> BTreeMap<String, String> {
        self.values(option).flat_map(|value| pairs(value, implied)).collect()
    }
}

/// Splits `first,key=value,…`. Two commas stand for one that is meant, as QEMU has it.
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

/// A number of something, such as virtual CPUs. Zero and nonsense are `None`.
pub(super) fn count(text: &str) -> Option<u64> {
    text.parse().ok().filter(|count| *count > 0)
}

/// A size such as `2048`, `2G`, `1.5g` or `2097152k` in MiB, rounded up; `unit` is what a bare number is in. Zero and
/// nonsense are `None`.
pub(super) fn size_mib(text: &str, unit: Unit) -> Option<u64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let unit = match suffix.trim_end_matches(['i', 'B']).to_ascii_uppercase().as_str() {
        "" if suffix.is_empty() => unit,
        "" => Unit::Byte,
        "K" => Unit::Kib,
        "M" => Unit::Mib,
        "G" => Unit::Gib,
        "T" => Unit::Tib,
        _ => return None,
    };
    let mib = (number.parse::<f64>().ok()? * unit.in_mib()).ceil();
    // The conversion saturates, and a VM larger than any figure is cut to the largest later.
    (mib >= 1.0).then_some(mib as u64)
}

/// What a number stands for.
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
        }
    }
}

#[cfg(test)]
pub(super) fn command_line(pid: u32, words: &str) -> CommandLine {
    CommandLine { pid, arguments: words.split_whitespace().map(str::to_owned).collect() }
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
            assert_eq!(command_line(1, words).value("name"), value, "{words}");
        }
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
            ("0", Unit::Mib, None),
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
