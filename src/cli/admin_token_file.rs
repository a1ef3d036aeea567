//! The file with an administrator's token that automation hands to a server (`--admin-token-file`), or that the server
//! makes. What becomes of the token is in `resolvers::tokens`.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aetherium::auth::{GeneratedToken, Role, TokenKind};
use anyhow::{Context, bail};

/// The token in the file; if the file is not there, a new one, which is written to it for its owner only. Of two servers
/// that start at once, each has the token of the one that was first.
pub fn read_or_make(path: &Path) -> anyhow::Result<GeneratedToken> {
    let shown = path.display();
    let no_token = || format!("There is no administrator's token in {shown} (--admin-token-file)");
    if let Some(text) = read(path).with_context(|| format!("Cannot read {shown} (--admin-token-file)"))? {
        let Ok(token) = GeneratedToken::of_text(TokenKind::Bearer, Role::Admin, text.trim()) else {
            bail!("{}: it begins with aea_, as `aetherium token create --role admin` prints it", no_token());
        };
        return Ok(token);
    }
    let token = GeneratedToken::new(TokenKind::Bearer, Role::Admin);
    match write(path, token.text.expose()) {
        Ok(()) => Ok(token),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let text = read(path)?.with_context(no_token)?;
            GeneratedToken::of_text(TokenKind::Bearer, Role::Admin, text.trim()).with_context(no_token)
        }
        Err(error) => Err(error).with_context(|| format!("Cannot write {shown} (--admin-token-file)")),
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file that is not there yet: beside its place, and then into it, so that nobody finds a part of it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let only_its_owner = Permissions::from_mode(0o600);
    let mut file = tempfile::Builder::new().prefix(".").permissions(only_its_owner).tempfile_in(folder)?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_read_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        let made = read_or_make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let read = read_or_make(&path).unwrap();
        assert_eq!((read.text.expose(), &read.id), (made.text.expose(), &made.id));
        assert!(read.hash.is_same(&made.hash));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_token_of_an_administrator_is_refused_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        let viewer = GeneratedToken::new(TokenKind::Bearer, Role::Viewer).text.expose().to_owned();
        let session = GeneratedToken::new(TokenKind::Session, Role::Admin).text.expose().to_owned();
        for text in ["", "aea_nonsense", &viewer, &session] {
            fs::write(&path, text).unwrap();
            let error = read_or_make(&path).unwrap_err().to_string();
            assert!(
                error.contains("no administrator's token in") && (text.is_empty() || !error.contains(text)),
                "{error}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert!(
            read_or_make(&folder.path().join("nowhere/admin.token")).unwrap_err().to_string().contains("Cannot write")
        );
        assert!(read_or_make(folder.path()).unwrap_err().to_string().contains("Cannot read"));
    }
}
