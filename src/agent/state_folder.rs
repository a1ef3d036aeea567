//! The state folder: what an agent keeps between its starts, which is the token that it made for itself, and with which
//! server and as which worker it has joined. How it joins is in [`join`](super::join).
//!
//! There are two files, of one form. `joining.json` is written before the server hears of the token, and becomes
//! `agent.json` by being renamed once the server has taken it. Each is written beside its place, brought to the disk and
//! renamed, so that a crash leaves the whole of it or nothing. Nobody but their owner can read them.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::{env, fmt};

use serde::{Deserialize, Serialize};

use crate::client::{TrustOptions, WorkerToken};
use crate::tls::Fingerprint;

/// Where it is kept with which token the worker has joined.
const JOINED: &str = "agent.json";

/// Where it is kept with which token the worker is about to join.
const JOINING: &str = "joining.json";

/// The name of the folder, in whichever folder of the system or the user it is.
const NAME: &str = "aetherium-agent";

/// What is kept of a worker that has joined, or is about to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Membership {
    /// The address of the server that was named; none if it was found in Consul.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<String>,
    /// The file with the authorities that it is to be trusted by, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ca_file: Option<PathBuf>,
    /// The fingerprints of the only certificates to accept, if any were named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) server_fingerprints: Vec<Fingerprint>,
    /// The id of the worker.
    pub(super) worker_id: String,
    /// What the host called itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hostname: Option<String>,
    /// The public id of the join token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) join_token_id: Option<String>,
    /// The worker's own token.
    pub(super) token: WorkerToken,
}

impl Membership {
    /// Whom the worker trusts to be its server.
    pub(super) fn trust(&self) -> TrustOptions {
        TrustOptions { ca_file: self.ca_file.clone(), server_fingerprints: self.server_fingerprints.clone() }
    }

    /// Whether this may be the address of the server that the worker has joined, which it is if that one was found in
    /// Consul.
    pub(super) fn may_be_of(&self, server: &str) -> bool {
        let bare = |text: &str| text.trim_end_matches('/').to_owned();
        self.server.as_deref().is_none_or(|kept| bare(kept) == bare(server))
    }
}

/// Why what is kept cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is no folder to keep it in.
    #[error(
        "there is no folder to keep the token of this worker in, since the user has no home; name one with --state-dir"
    )]
    NoFolder,
    /// The file cannot be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        reason: io::Error,
    },
    /// What is in it was not written by an agent, or was changed. It is not repeated: it may be most of a token.
    #[error("{} is not what an agent writes; move it away, and let the host join again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("{} cannot be written", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        reason: io::Error,
    },
}

/// The state folder, which may not exist yet.
#[derive(Clone, Debug)]
pub(super) struct StateFolder(PathBuf);

impl fmt::Display for StateFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl StateFolder {
    /// The folder that is named; or that of the service, as systemd says; or the one that such a service has, for root; or
    /// one of the user. None for a user without a home.
    pub(super) fn find(named: Option<&Path>) -> Option<Self> {
        let path = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let named = named.filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned);
        let folder = named.or_else(of_the_service).or_else(|| match is_root() {
            true => Some(Path::new("/var/lib").join(NAME)),
            false => path("XDG_STATE_HOME")
                .or_else(|| path("HOME").map(|home| home.join(".local/state")))
                .map(|state| state.join(NAME)),
        });
        folder.map(Self)
    }

    /// With which token the worker has joined, if it has.
    pub(super) fn joined(&self) -> Result<Option<Membership>, StateError> {
        self.read(JOINED)
    }

    /// With which token the worker was about to join, if it was interrupted.
    pub(super) fn joining(&self) -> Result<Option<Membership>, StateError> {
        self.read(JOINING)
    }

    /// Keeps with which token the worker is about to join.
    pub(super) fn begin(&self, membership: &Membership) -> Result<(), StateError> {
        let path = self.0.join(JOINING);
        self.write(&path, membership).map_err(|reason| StateError::Unwritable { path, reason })
    }

    /// Makes of it what the worker has joined with.
    pub(super) fn complete(&self) -> Result<(), StateError> {
        let path = self.0.join(JOINED);
        let renamed = fs::rename(self.0.join(JOINING), &path).and_then(|()| File::open(&self.0)?.sync_all());
        renamed.map_err(|reason| StateError::Unwritable { path, reason })
    }

    fn read(&self, name: &str) -> Result<Option<Membership>, StateError> {
        let path = self.0.join(name);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|_| StateError::Damaged { path }),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(reason) => Err(StateError::Unreadable { path, reason }),
        }
    }

    fn write(&self, path: &Path, membership: &Membership) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let only_its_owner = fs::Permissions::from_mode(0o600);
        let mut file =
            tempfile::Builder::new().prefix(".").suffix(".new").permissions(only_its_owner).tempfile_in(&self.0)?;
        serde_json::to_writer_pretty(&mut file, membership)?;
        writeln!(file)?;
        // Root may let a host join whose agent is another user's, who has to be able to read it.
        let folder = fs::metadata(&self.0)?;
        if is_root() && folder.uid() != 0 {
            fchown(file.as_file(), Some(folder.uid()), Some(folder.gid()))?;
        }
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(&self.0)?.sync_all()
    }
}

/// The first of the state folders that systemd has made for this service.
fn of_the_service() -> Option<PathBuf> {
    let folders = env::var_os("STATE_DIRECTORY")?;
    env::split_paths(&folders).next().filter(|path| path.is_absolute())
}

#[cfg(target_os = "linux")]
fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

#[cfg(not(target_os = "linux"))]
fn is_root() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        Membership {
            server: Some("https://127.0.0.1:8080".to_owned()),
            ca_file: Some(PathBuf::from("/etc/ca.pem")),
            server_fingerprints: vec![
                "76c33ded8e7f02d72d7e0701b770bd1a32bd6e62647dd93e070d590bf8e73036".parse().unwrap(),
            ],
            worker_id: "host-1".to_owned(),
            hostname: None,
            join_token_id: Some("0123456789ab".to_owned()),
            token: WorkerToken::generate(),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_kept_is_read_back_and_is_for_its_owner_only() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let folder = StateFolder::find(Some(&path)).unwrap();
        assert_eq!((folder.joining().unwrap(), folder.joined().unwrap()), (None, None));
        let membership = membership();
        folder.begin(&membership).unwrap();
        assert_eq!((folder.joining().unwrap(), folder.joined().unwrap()), (Some(membership.clone()), None));
        assert_eq!((mode(&path), mode(&path.join(JOINING))), (0o700, 0o600));
        folder.complete().unwrap();
        assert_eq!((folder.joining().unwrap(), folder.joined().unwrap()), (None, Some(membership)));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "nothing else is left there");
    }

    #[test]
    fn what_an_agent_did_not_write_is_refused_and_not_repeated() {
        let parent = tempfile::tempdir().unwrap();
        let folder = StateFolder::find(Some(parent.path())).unwrap();
        let text = serde_json::to_string(&membership()).unwrap();
        let secret = String::from(membership().token);
        for damaged in ["", "{", &text.replace("aew_", "aea_"), &format!("{{\"worker_id\": {{\"{secret}\": 1}}}}")] {
            fs::write(parent.path().join(JOINED), damaged).unwrap();
            let error = folder.joined().unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(said.contains("is not what an agent writes") && !said.contains(&secret), "{said}");
        }
        // What a later version keeps, too, is left alone.
        let more = text.replacen('{', "{\"later\": [1], ", 1);
        fs::write(parent.path().join(JOINED), more).unwrap();
        assert_eq!(folder.joined().unwrap().unwrap().worker_id, "host-1");
        // A folder that is a file has nothing in it, and takes nothing.
        let file = StateFolder(parent.path().join(JOINED));
        assert_eq!(file.joined().unwrap(), None);
        assert!(file.begin(&membership()).is_err());
    }
}
