//! The settings of a QEMU process, in the order in which they apply: its arguments, and in the place of `-readconfig`
//! the settings of that file. What the settings mean is not known here.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::arguments::{CommandLine, pairs, readable};
use super::super::guest::ProcessView;

/// Options without a value; every other option takes the next argument as its value, whatever that looks like.
const SWITCHES: [&str; 51] = [
    "S",
    "alt-grab",
    "async-teardown",
    "audio-help",
    "ctrl-grab",
    "curses",
    "daemonize",
    "enable-fips",
    "enable-kvm",
    "enable-nesting",
    "enable-sync-profile",
    "full-screen",
    "h",
    "help",
    "mem-prealloc",
    "no-acpi",
    "no-fd-bootchk",
    "no-frame",
    "no-hpet",
    "no-kvm",
    "no-kvm-irqchip",
    "no-kvm-pit",
    "no-kvm-pit-reinjection",
    "no-quit",
    "no-reboot",
    "no-shutdown",
    "no-user-config",
    "nodefaults",
    "nodefconfig",
    "nographic",
    "nouserconfig",
    "old-param",
    "one-insn-per-tb",
    "only-migratable",
    "portrait",
    "preconfig",
    "rtc-td-hack",
    "s",
    "sdl",
    "semihosting",
    "show-cursor",
    "singlestep",
    "snapshot",
    "tdf",
    "usb",
    "version",
    "win2k-hack",
    "xen-attach",
    "xen-create",
    "xen-domid-restrict",
    "xen-migrate",
];

/// One option, under the name that the command line has for it, and the `key=value` pairs given to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) option: String,
    pub(super) pairs: BTreeMap<String, String>,
}

/// All settings of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) list: Vec<Setting>,
    /// Whether there are more settings, which cannot be read.
    pub(super) are_incomplete: bool,
}

impl Settings {
    /// The settings of a process with these arguments.
    pub(super) fn of(command: &CommandLine, process: &impl ProcessView) -> Self {
        let mut settings = Self::default();
        let mut arguments = command.texts().iter().enumerate();
        while let Some((_, argument)) = arguments.next() {
            // An option has one dash or two. An argument without is the image of a disk.
            let Some(option) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
                continue;
            };
            if SWITCHES.contains(&option) {
                settings.list.push(Setting { option: option.to_owned(), pairs: BTreeMap::new() });
                continue;
            }
            let Some((position, value)) = arguments.next() else {
                break;
            };
            if option == "readconfig" {
                let file = command.raw(position).and_then(|path| process.read(path));
                match file.and_then(|file| in_file(&readable(&file))) {
                    Some(list) => settings.list.extend(list),
                    None => settings.are_incomplete = true,
                }
                continue;
            }
            match in_value(option, value) {
                Some(pairs) => settings.list.push(Setting { option: option.to_owned(), pairs }),
                None => settings.are_incomplete = true,
            }
        }
        settings
    }

    /// What was given to an option, in order.
    pub(super) fn values<'a>(&'a self, option: &'a str) -> impl Iterator<Item = &'a BTreeMap<String, String>> {
        self.list.iter().filter(move |setting| setting.option == option).map(|setting| &setting.pairs)
    }

    /// Whether an option is given.
    pub(super) fn has(&self, option: &str) -> bool {
        self.values(option).next().is_some()
    }
}

/// The pairs in the value of an option; none if it cannot be read.
fn in_value(option: &str, value: &str) -> Option<BTreeMap<String, String>> {
    if value.starts_with('{') {
        return in_json(value);
    }
    let implied = match option {
        "machine" | "M" => "type",
        "m" => "size",
        "smp" => "cpus",
        "name" => "guest",
        "object" => "qom-type",
        "device" => "driver",
        // For options without pairs, the key of the value itself.
        _ => "",
    };
    if option == "uuid" { Some([(String::new(), value.to_owned())].into()) } else { Some(pairs(value, implied)) }
}

/// The top level of a JSON object. QEMU takes single quotes, too.
fn in_json(text: &str) -> Option<BTreeMap<String, String>> {
    let object = serde_json::from_str(text).or_else(|_| serde_json::from_str(&with_double_quotes(text))).ok()?;
    let Value::Object(object) = object else {
        return None;
    };
    let pair = |(key, value): (String, Value)| match value {
        Value::String(text) => Some((key, text)),
        Value::Number(number) => Some((key, number.to_string())),
        Value::Bool(on) => Some((key, if on { "on" } else { "off" }.to_owned())),
        // No size is written as one of these.
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    Some(object.into_iter().filter_map(pair).collect())
}

/// The text with strings in single quotes written in double ones.
fn with_double_quotes(text: &str) -> String {
    let mut rewritten = String::with_capacity(text.len());
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', Some(_)) => match characters.next() {
                Some('\'') => rewritten.push('\''),
                Some(escaped) => rewritten.extend(['\\', escaped]),
                None => rewritten.push('\\'),
            },
            ('"', Some('\'')) => rewritten.push_str("\\\""),
            ('"' | '\'', None) => {
                quote = Some(character);
                rewritten.push('"');
            }
            (character, Some(open)) if character == open => {
                quote = None;
                rewritten.push('"');
            }
            (character, _) => rewritten.push(character),
        }
    }
    rewritten
}

/// The settings in a configuration file; none if it cannot be one.
///
/// A group is an option: `[memory]`, or `[device "disk0"]` for one that has an id. The pairs below it are written
/// `size = "1G"`, always in quotes.
fn in_file(text: &str) -> Option<Vec<Setting>> {
    let mut list: Vec<Setting> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(group) = line.strip_prefix('[') {
            let group = group.split_once(']')?.0;
            let (name, id) = match group.split_once(char::is_whitespace) {
                Some((name, id)) => (name, Some(id.trim().strip_prefix('"')?.strip_suffix('"')?)),
                None => (group, None),
            };
            let option = match name {
                "memory" => "m",
                "smp-opts" => "smp",
                // QEMU reads groups of these names otherwise than the options.
                "smbios" | "uuid" => "",
                name => name,
            };
            let pairs = id.map(|id| ("id".to_owned(), id.to_owned())).into_iter().collect();
            list.push(Setting { option: option.to_owned(), pairs });
        } else {
            let (key, value) = line.split_once('=')?;
            let value = value.trim().strip_prefix('"')?.split_once('"')?.0;
            list.last_mut()?.pairs.insert(key.trim().to_owned(), value.to_owned());
        }
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::super::super::arguments::command_line;
    use super::super::super::guest::FakeProcess;
    use super::*;

    fn words(settings: &Settings) -> Vec<String> {
        let pairs = |pairs: &BTreeMap<String, String>| {
            pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
        };
        settings.list.iter().map(|it| format!("{} {}", it.option, pairs(&it.pairs))).collect()
    }

    #[test]
    fn switches_take_no_value_and_everything_else_does() {
        let settings = Settings::of(
            &command_line("-S -name -m -nodefaults disk.img --m 64 -append -S -m"),
            &FakeProcess::default(),
        );
        assert_eq!(words(&settings), ["S ", "name guest=-m", "nodefaults ", "m size=64", "append =-S"]);
    }

    #[test]
    fn a_configuration_file_counts_where_it_is_named() {
        let file = "# QEMU\n[memory]\n  size = \"96M\"\n\n[object \"m 1\"]\nqom-type = \"memory-backend-ram\"\n[smp-opts]\ncpus=\"3\"";
        let seen =
            FakeProcess { files: vec![("/q.conf", file), ("/odd.conf", "size = \"96M\"")], ..FakeProcess::default() };
        let settings = Settings::of(&command_line("-m 64 -readconfig /q.conf -smp 2"), &seen);
        let expected =
            ["m size=64", "m size=96M", "object id=m 1,qom-type=memory-backend-ram", "smp cpus=3", "smp cpus=2"];
        assert_eq!(words(&settings), expected);
        assert!(!settings.are_incomplete);
        for path in ["/odd.conf", "/no.conf"] {
            let settings = Settings::of(&command_line(&format!("-m 64 -readconfig {path}")), &seen);
            assert!(settings.are_incomplete, "{path}");
        }
    }

    #[test]
    fn json_is_read_in_either_kind_of_quotes() {
        for (text, expected) in [
            (r#"{"driver":"pc-dimm","size":64,"x":{"y":1},"on":true}"#, Some("driver=pc-dimm on=on size=64")),
            (r"{'driver':'pc-dimm','id':'a\'b','q':'say \'\' it'}", Some("driver=pc-dimm id=a'b q=say '' it")),
            (r#"{'driver':'a"b'}"#, Some("driver=a\"b")),
            ("{'driver'", None),
            ("[]", None),
        ] {
            let pairs = in_json(text)
                .map(|pairs| pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "));
            assert_eq!(pairs.as_deref(), expected, "{text}");
        }
    }
}
