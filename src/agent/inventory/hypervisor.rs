//! The hypervisors that the agent knows: how their programs are recognised, and which are installed on this host. How
//! their arguments are parsed is in a file of each.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Where Red Hat installs `qemu-kvm`, which is on no `PATH`.
const LIBEXEC: &str = "/usr/libexec";

/// A program that runs VMs as processes of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hypervisor {
    /// Cloud Hypervisor.
    CloudHypervisor,
    /// Firecracker.
    Firecracker,
    /// QEMU's system emulators, with or without KVM.
    Qemu,
}

impl Hypervisor {
    /// Its name as a capability of a worker.
    pub fn name(self) -> &'static str {
        match self {
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::Firecracker => "firecracker",
            Self::Qemu => "qemu",
        }
    }

    /// The hypervisor with a program of this file name, if any: by the exact name, and with the suffixes of
    /// distributions and release archives, so that `qemu-img` or `firecracker-containerd` are not taken for
    /// hypervisors.
    pub fn of_program(file_name: &str) -> Option<Self> {
        let is_release = |rest: &str| rest.starts_with("-v") && rest[2..].starts_with(|c: char| c.is_ascii_digit());
        match file_name {
            "qemu-kvm" | "kvm" => Some(Self::Qemu),
            "firecracker" => Some(Self::Firecracker),
            "cloud-hypervisor" => Some(Self::CloudHypervisor),
            _ if file_name.starts_with("qemu-system-") => Some(Self::Qemu),
            _ if file_name.starts_with("cloud-hypervisor-static") => Some(Self::CloudHypervisor),
            _ if file_name.strip_prefix("firecracker").is_some_and(is_release) => Some(Self::Firecracker),
            _ => None,
        }
    }
}

/// The hypervisors this host could run, by the programs on its `PATH`, sorted by name.
pub(in crate::agent) fn installed() -> Vec<Hypervisor> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).chain([LIBEXEC.into()]).collect();
    installed_in(folders.iter().map(AsRef::as_ref))
}

fn installed_in<'a>(folders: impl Iterator<Item = &'a Path>) -> Vec<Hypervisor> {
    let mut found: Vec<_> = folders
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let hypervisor = Hypervisor::of_program(entry.file_name().to_str()?)?;
            // Follows symbolic links, as starting the program does.
            let metadata = fs::metadata(entry.path()).ok()?;
            (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then_some(hypervisor)
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_apart_by_their_names() {
        use Hypervisor::{CloudHypervisor, Firecracker, Qemu};
        for (program, expected) in [
            ("qemu-system-x86_64", Some(Qemu)),
            ("qemu-system-aarch64", Some(Qemu)),
            ("qemu-kvm", Some(Qemu)),
            ("kvm", Some(Qemu)),
            ("qemu-img", None),
            ("qemu-x86_64", None),
            ("kvm-ok", None),
            ("firecracker", Some(Firecracker)),
            ("firecracker-v1.13.1-x86_64", Some(Firecracker)),
            ("firecracker-containerd", None),
            ("firecracker-v", None),
            ("cloud-hypervisor", Some(CloudHypervisor)),
            ("cloud-hypervisor-static-aarch64", Some(CloudHypervisor)),
            ("", None),
            ("bash", None),
        ] {
            assert_eq!(Hypervisor::of_program(program), expected, "{program}");
        }
    }

    #[test]
    fn only_programs_that_can_be_started_count_as_installed() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let put = |folder: &Path, name: &str, mode| {
            fs::write(folder.join(name), "").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        put(first.path(), "qemu-system-x86_64", 0o755);
        put(first.path(), "cloud-hypervisor", 0o644);
        put(second.path(), "qemu-system-aarch64", 0o755);
        put(second.path(), "firecracker", 0o755);

        let folders = [first.path(), Path::new("/no/such/folder"), second.path()];
        assert_eq!(installed_in(folders.into_iter()), [Hypervisor::Firecracker, Hypervisor::Qemu]);
    }
}
