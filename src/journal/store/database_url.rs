//! The URL of a database, which may hold a password: it is shown and logged only without. Nothing is parsed or
//! connected here: [`postgres`](super::postgres) and [`sqlite`](super::sqlite) do that.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;

use sea_orm::sqlx::sqlite::SqliteConnectOptions;

/// A URL that is shown without its password.
#[derive(Clone)]
pub struct DatabaseUrl(Arc<str>);

impl DatabaseUrl {
    pub fn new(url: &str) -> Self {
        Self(url.into())
    }

    /// With its password, to connect by.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// As it may be shown.
    pub fn shown(&self) -> String {
        without_password(&self.0)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// A URL as it may be shown: without a password, and without options, which may hold one, too.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let path = path.split('?').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}{path}")
        }
        None => format!("{scheme}://{authority}{path}"),
    }
}

/// The file of a SQLite database; none for one in memory, and for other databases.
pub fn database_file(url: &str) -> Option<PathBuf> {
    if !url.starts_with("sqlite:") || is_in_memory(url) {
        return None;
    }
    Some(SqliteConnectOptions::from_str(url).ok()?.get_filename().to_owned())
}

/// Whether the URL of a SQLite database is that of one in memory.
pub fn is_in_memory(url: &str) -> bool {
    url.contains(":memory:") || url.contains("mode=memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_is_a_file() {
        for (url, file) in [
            ("sqlite://aetherium.db?mode=rwc", Some("aetherium.db")),
            ("sqlite:///var/lib/a%20b.db", Some("/var/lib/a b.db")),
            ("sqlite::memory:", None),
            ("sqlite://a.db?mode=memory", None),
            ("postgres://db/fleet", None),
        ] {
            assert_eq!(database_file(url), file.map(PathBuf::from), "{url}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("sqlite://aetherium.db?mode=rwc", "sqlite://aetherium.db"),
            ("postgres://me:secret@db:5432/fleet?password=x", "postgres://me@db:5432/fleet"),
            ("postgres://db/fleet", "postgres://db/fleet"),
            ("mysql", "mysql"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
