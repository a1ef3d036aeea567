//! Which server is asked, whom it is trusted to be, and with which token: from the command line, else from the
//! environment, else from what `aetherium login` has stored.
//!
//! What a login has stored belongs to its server. A command that names another one gets nothing of it, so that a token
//! never goes to a server that it is not for.

use std::env;
use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use super::login_file::{Login, LoginFile};
use crate::client::{ApiClient, ClientToken, TokenOptions, TrustOptions};
use crate::tls::Fingerprint;

/// The server that is asked if nobody named one: that of `aetherium dev`, and of `aetherium serve` on this machine.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// The variable with the text of a token.
const TOKEN: &str = "AETHERIUM_TOKEN";

/// Which server, and with what.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Server")]
pub struct ConnectionOptions {
    /// Base URL of the server, such as https://10.0.0.5:8080; by default that of `aetherium login`, or else
    /// http://127.0.0.1:8080.
    #[arg(long, env = "AETHERIUM_SERVER", value_name = "URL")]
    pub server: Option<String>,

    /// Whom it is trusted to be.
    #[command(flatten)]
    pub trust: TrustOptions,

    /// Who asks.
    #[command(flatten)]
    pub token: TokenOptions,
}

/// A server, and what to ask it with.
#[derive(Debug)]
pub struct Connection {
    /// Its base URL.
    pub server: String,
    /// The certificates that it is known by.
    pub server_fingerprints: Vec<Fingerprint>,
    /// Questions to it.
    pub api: ApiClient,
}

/// What was said on the command line and in the environment, and what a login has stored.
#[derive(Debug)]
struct Sources<'a> {
    options: &'a ConnectionOptions,
    /// The variable [`TOKEN`].
    token: Option<String>,
    login: Option<Login>,
}

impl ConnectionOptions {
    /// Prepares questions. Nothing is sent yet.
    pub fn connect(&self) -> Result<Connection, Failure> {
        let login = LoginFile::of_this_user().map(|file| file.read()).transpose()?.flatten();
        Sources { options: self, token: token_of_environment(), login }.connect()
    }

    /// Prepares questions with a login alone, whatever the environment says.
    pub(super) fn connect_by(&self, login: Login) -> Result<Connection, Failure> {
        Sources { options: self, token: None, login: Some(login) }.connect()
    }

    /// Whether it is said which token to send, or a login is stored: by which a command that could do without a server
    /// knows that it is to ask one.
    pub fn has_credentials(&self) -> Result<bool, Failure> {
        if self.token.path().is_some() || token_of_environment().is_some() {
            return Ok(true);
        }
        let login = LoginFile::of_this_user().map(|file| file.read()).transpose()?.flatten();
        Ok(login.is_some_and(|login| self.server.as_ref().is_none_or(|server| login.is_for(server))))
    }
}

/// The token in the environment. Its processes' user may read that, and nobody else; an argument, everybody.
pub(super) fn token_of_environment() -> Option<String> {
    env::var(TOKEN).ok().filter(|token| !token.trim().is_empty())
}

impl Sources<'_> {
    fn connect(&self) -> Result<Connection, Failure> {
        let (server, trust, token) = (self.server(), self.trust(), self.token()?);
        let api = ApiClient::new(&server, &trust.read()?, token)?;
        Ok(Connection { server, server_fingerprints: trust.server_fingerprints, api })
    }

    fn server(&self) -> String {
        let stored = || self.login.as_ref().map(|login| login.server.clone());
        self.options.server.clone().or_else(stored).unwrap_or_else(|| DEFAULT_SERVER.to_owned())
    }

    /// The login, if it is for the server that is asked.
    fn login(&self) -> Option<&Login> {
        self.login.as_ref().filter(|login| login.is_for(&self.server()))
    }

    fn trust(&self) -> TrustOptions {
        if self.options.trust.is_told() {
            return self.options.trust.clone();
        }
        let stored = self.login().map(|login| TrustOptions {
            ca_file: login.ca_file.as_ref().map(PathBuf::from),
            server_fingerprints: login.server_fingerprints.clone(),
        });
        stored.unwrap_or_default()
    }

    fn token(&self) -> Result<Option<ClientToken>, Failure> {
        if let Some(token) = self.options.token.read()? {
            return Ok(Some(token));
        }
        if let Some(text) = &self.token {
            let token = ClientToken::of(text);
            return token
                .map(Some)
                .ok_or_else(|| Failure::usage(format!("{TOKEN} holds no token: it has to be one word")));
        }
        Ok(self.login().and_then(|login| login.token.as_deref()).and_then(ClientToken::of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = "https://cluster.example:8080";

    fn sources<'a>(options: &'a ConnectionOptions, token: Option<&str>) -> Sources<'a> {
        let login = Login {
            server: STORED.to_owned(),
            token: Some("stored".to_owned()),
            ca_file: None,
            server_fingerprints: vec![("sha256:".to_owned() + &"11".repeat(32)).parse().unwrap()],
        };
        Sources { options, token: token.map(str::to_owned), login: Some(login) }
    }

    #[test]
    fn a_login_counts_for_its_own_server_only() {
        for (server, asked, counts) in [
            (None, STORED, true),
            (Some(STORED), STORED, true),
            (Some("https://CLUSTER.example:8080/"), "https://CLUSTER.example:8080/", true),
            (Some("http://cluster.example:8080"), "http://cluster.example:8080", false),
            (Some("https://other.example"), "https://other.example", false),
        ] {
            let options = ConnectionOptions { server: server.map(str::to_owned), ..ConnectionOptions::default() };
            let sources = sources(&options, None);
            assert_eq!(sources.server(), asked);
            assert_eq!(sources.token().unwrap().is_some(), counts, "{server:?}");
            assert_eq!(sources.trust().is_told(), counts, "{server:?}");
        }
    }

    #[test]
    fn a_token_of_the_environment_comes_before_that_of_the_login() {
        let options =
            ConnectionOptions { server: Some("https://other.example".to_owned()), ..ConnectionOptions::default() };
        assert!(sources(&options, Some("told")).token().unwrap().is_some());
        assert!(sources(&options, Some("two words")).token().is_err());
    }
}
