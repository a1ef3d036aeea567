//! A guest: what the arguments of a hypervisor process say of its VM. Its id and its status are assigned in
//! `processes`.

use std::ffi::OsStr;

/// What the arguments of a hypervisor process say of its VM; none where they say nothing. Nothing is guessed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Guest {
    /// The VM's UUID, which is the same on every host, and which no other VM has.
    pub(super) uuid: Option<String>,
    /// Its name, which other VMs may have, too.
    pub(super) name: Option<String>,
    /// Virtual CPUs.
    pub(super) vcpus: Option<u64>,
    /// Memory in MiB.
    pub(super) memory_mib: Option<u64>,
    /// When it starts.
    pub(super) start: GuestStart,
}

/// When the VM of a process starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum GuestStart {
    /// When the process starts.
    #[default]
    WithProcess,
    /// On a command to the process, which the arguments do not show.
    OnCommand,
    /// When its migration from another process is done.
    AfterMigration,
    /// Later: the process has no threads for virtual CPUs yet.
    NotStarted,
}

/// What can be read of a process beside its arguments.
pub(super) trait ProcessView {
    /// A file by its path as the process itself resolves it; none if it cannot be read.
    fn read(&self, path: &OsStr) -> Option<Vec<u8>>;

    /// Its threads; none if they cannot be listed.
    fn threads(&self) -> Option<Vec<Thread>>;
}

/// A thread of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    /// Its name.
    pub(super) name: String,
    /// Whether it is the main thread.
    pub(super) is_main: bool,
    /// How much CPU time it has used, in clock ticks.
    pub(super) ticks: u64,
}

/// A UUID in its usual spelling. The nil UUID counts as none: hypervisors show it where none was given.
pub(super) fn uuid(text: &str) -> Option<String> {
    let uuid = uuid::Uuid::try_parse(text).ok().filter(|uuid| !uuid.is_nil())?;
    Some(uuid.hyphenated().to_string())
}

/// A process made of values.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(super) struct FakeProcess {
    pub(super) files: Vec<(&'static str, &'static str)>,
    pub(super) threads: Option<Vec<&'static str>>,
}

#[cfg(test)]
impl ProcessView for FakeProcess {
    fn read(&self, path: &OsStr) -> Option<Vec<u8>> {
        let file = self.files.iter().find(|(name, _)| path == OsStr::new(name));
        file.map(|(_, text)| text.as_bytes().to_vec())
    }

    fn threads(&self) -> Option<Vec<Thread>> {
        let thread = |name: &&str| Thread { name: (*name).to_owned(), is_main: false, ticks: 0 };
        Some(self.threads.as_ref()?.iter().map(thread).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_one_spelling() {
        let usual = "6f0e0000-0000-4000-8000-00000000000a";
        for (text, expected) in [
            (usual, Some(usual)),
            ("6F0E0000-0000-4000-8000-00000000000A", Some(usual)),
            ("6f0e000000004000800000000000000a", Some(usual)),
            ("00000000-0000-0000-0000-000000000000", None),
            ("web", None),
            ("", None),
        ] {
            assert_eq!(uuid(text).as_deref(), expected, "{text}");
        }
    }
}
