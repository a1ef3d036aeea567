//! The URL of a database, which may hold a password: it is shown and logged only without. Nothing is parsed or
//! connected here: [`postgres`](super::postgres) and [`sqlite`](super::sqlite) do that.

use std::fmt;
use std::sync::Arc;

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

#[cfg(test)]
mod tests {
    use super::*;

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
