//! The file that `aetherium login` writes: which server, and the token for it, for its owner only.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::{env, io};

use serde::{Deserialize, Serialize};

use super::failure::{ExitStatus, Failure};
use crate::tls::Fingerprint;

/// What a login has stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Base URL of the server.
    pub server: String,
    /// The token; none for a server that asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// File with the authorities to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The certificates to trust.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_fingerprints: Vec<Fingerprint>,
}

/// Where it is stored.
#[derive(Clone, Debug)]
pub struct LoginFile(PathBuf);

impl Login {
    /// Whether this URL is that of its server.
    pub fn is_for(&self, server: &str) -> bool {
        // Scheme and host are the same in any case of letters; a path is not, but two servers that differ in nothing else
        // are none that tell each other's tokens apart.
        self.server.trim_end_matches('/').eq_ignore_ascii_case(server.trim_end_matches('/'))
    }
}

impl LoginFile {
    /// That of the user who runs this: below `XDG_CONFIG_HOME`, or `~/.config`; none without a home.
    pub fn of_this_user() -> Option<Self> {
        let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))?;
        Some(Self(config.join("aetherium").join("login.json")))
    }

    /// What is in it; none if it is not there.
    pub fn read(&self) -> Result<Option<Login>, Failure> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.problem("cannot be read", &error)),
        };
        let login = serde_json::from_slice(&text).map_err(|error| {
            let hint = "`aetherium logout` removes it";
            Failure::new(ExitStatus::Error, format!("{} is no login: {error}; {hint}", self.0.display()))
        })?;
        Ok(Some(login))
    }

    /// Writes it: beside its place, and then into it, so that nobody finds a part of it, nor finds it readable for others
    /// for a moment.
    pub fn write(&self, login: &Login) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(login).unwrap_or_default();
        self.try_write(&json).map_err(|error| self.problem("cannot be written", &error))
    }

    fn try_write(&self, text: &str) -> io::Result<()> {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let only_its_owner = Permissions::from_mode(0o600);
        let mut file = tempfile::Builder::new().prefix(".login-").permissions(only_its_owner).tempfile_in(folder)?;
        writeln!(file, "{text}")?;
        file.as_file().sync_all()?;
        file.persist(&self.0).map_err(|error| error.error)?;
        Ok(())
    }

    /// Removes it; says whether it was there.
    pub fn remove(&self) -> Result<bool, Failure> {
        match fs::remove_file(&self.0) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.problem("cannot be removed", &error)),
        }
    }

    fn problem(&self, what: &str, error: &io::Error) -> Failure {
        Failure::new(ExitStatus::Error, format!("The login in {} {what}: {error}", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_stored_for_its_owner_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = LoginFile(folder.path().join("new/aetherium/login.json"));
        assert_eq!(file.read().unwrap(), None);
        let mut login = Login {
            server: "https://a.example".to_owned(),
            token: Some("aev_x".to_owned()),
            ca_file: None,
            server_fingerprints: Vec::new(),
        };
        for token in [Some("aev_x"), Some("aev_y"), None] {
            login.token = token.map(str::to_owned);
            file.write(&login).unwrap();
            assert_eq!(file.read().unwrap().as_ref(), Some(&login));
            assert_eq!(fs::metadata(&file.0).unwrap().permissions().mode() & 0o7777, 0o600);
        }
        assert_eq!(fs::metadata(file.0.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o700);
        assert_eq!(fs::read_dir(file.0.parent().unwrap()).unwrap().count(), 1, "nothing lies about");
        assert_eq!((file.remove().unwrap(), file.remove().unwrap()), (true, false));
        fs::write(&file.0, "{").unwrap();
        assert!(format!("{:?}", file.read()).contains("aetherium logout"));
    }
}
