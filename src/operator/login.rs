//! `aetherium login` and `aetherium logout`: which server the other commands ask, and with which token.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use clap::Args;
use console::Term;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use super::connection::{Connection, ConnectionOptions, token_of_environment};
use super::failure::{ExitStatus, Failure};
use super::login_file::{Login, LoginFile};
use super::output::{Format, Notes, Output, OutputOptions};
use super::printable::printable;
use crate::client::{Question, is_clear_text, read_token_text};

/// `aetherium login`.
#[derive(Args, Clone, Debug)]
pub struct LoginOptions {
    /// Base URL of the server, in place of --server.
    #[arg(value_name = "URL")]
    url: Option<String>,

    #[command(flatten)]
    output: OutputOptions,

    #[command(flatten)]
    connection: ConnectionOptions,
}

/// `aetherium logout`.
#[derive(Args, Clone, Debug)]
pub struct LogoutOptions {
    #[command(flatten)]
    output: OutputOptions,
}

impl LoginOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.output
    }

    /// Carries it out.
    pub async fn run(&self, notes: &Notes) -> Result<(), Failure> {
        let mut output = Output::new(&self.output, None)?;
        output.only(&[Format::Table, Format::Json, Format::Jsonl])?;
        let file = LoginFile::of_this_user().ok_or_else(|| {
            Failure::usage("There is no place for the login: neither XDG_CONFIG_HOME nor HOME is an absolute path")
        })?;
        let mut login = self.login_without_token(&file)?;
        let mut session = session(&connect(&login)?).await?;
        if session["asks_for_tokens"] == true {
            login.token = Some(self.token().await?);
            session = self::session(&connect(&login)?).await?;
            if is_clear_text(&login.server) {
                notes.say(
                    "Over http:// the token goes over the network in clear: write https:// if the server has TLS.",
                );
            }
        }
        file.write(&login)?;
        if output.is_json() {
            output.json_line(&json!({"server": login.server, "session": session}).to_string())?;
        } else {
            let token = &session["token"];
            let text = |field: &str| printable(token[field].as_str().unwrap_or_default()).into_owned();
            let who = match token {
                Value::Null => ", which asks for no token".to_owned(),
                _ => format!(" as {} ({})", text("name"), text("role")),
            };
            output.line(&format!("Signed in to {}{who}", printable(&login.server)))?;
        }
        output.flush()
    }

    /// The server that was named, or else the one of the login that there is.
    fn login_without_token(&self, file: &LoginFile) -> Result<Login, Failure> {
        let trust = &self.connection.trust;
        let before = file.read()?;
        let server = self.url.clone().or_else(|| self.connection.server.clone());
        let server = server.or_else(|| before.as_ref().map(|login| login.server.clone()));
        let server = server
            .ok_or_else(|| Failure::usage("Name the server: aetherium login https://aetherium.example.com:8080"))?;
        let mut login = Login { server, token: None, ca_file: None, server_fingerprints: Vec::new() };
        if let Some(path) = trust.ca_file.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            // Commands are typed in other folders than this one.
            let whole = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            login.ca_file = Some(whole.to_string_lossy().into_owned());
        }
        login.server_fingerprints.clone_from(&trust.server_fingerprints);
        // Who signs in again, perhaps with another token, does not have to pin the certificate again.
        if let Some(before) = before.filter(|before| !trust.is_told() && before.is_for(&login.server)) {
            (login.ca_file, login.server_fingerprints) = (before.ca_file, before.server_fingerprints);
        }
        Ok(login)
    }

    /// The token: from the file that was named, from the environment, or typed in.
    async fn token(&self) -> Result<String, Failure> {
        let path = self.connection.token.path().map(Path::to_owned);
        if let Some(path) = path {
            return Ok(off_thread(move || read_token_text(&path)).await??);
        }
        if let Some(token) = token_of_environment() {
            return Ok(token.trim().to_owned());
        }
        // It is read from the one, and asked for on the other.
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Err(Failure::usage(
                "The server asks for a token: name its file with --token-file, or - for standard input",
            ));
        }
        // An interruption leaves the thread behind that reads without echo.
        let _as_before = tcgetattr(io::stdin()).map(Terminal);
        let typed = off_thread(|| {
            let terminal = Term::stderr();
            terminal.write_str("Token: ")?;
            terminal.read_secure_line()
        });
        Ok(typed.await??.trim().to_owned())
    }
}

fn connect(login: &Login) -> Result<Connection, Failure> {
    ConnectionOptions::default().connect_by(login.clone())
}

async fn session(connection: &Connection) -> Result<Value, Failure> {
    Ok(connection.api.value(Question::get(["session"])).await?)
}

/// The settings of the terminal, which it gets back at the end, whatever that is.
struct Terminal(Termios);

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// Runs what waits for a person, so that an interruption is noticed meanwhile.
pub async fn off_thread<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(wait).await;
    done.map_err(|_| Failure::new(ExitStatus::Error, "Standard input cannot be read"))
}

impl LogoutOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.output
    }

    /// Carries it out.
    pub fn run(&self) -> Result<(), Failure> {
        let mut output = Output::new(&self.output, None)?;
        output.only(&[Format::Table, Format::Json, Format::Jsonl])?;
        let was_there = LoginFile::of_this_user().map(|file| file.remove()).transpose()?.unwrap_or_default();
        if output.is_json() {
            output.json_line(&json!({"signed_out": was_there}).to_string())?;
        } else if was_there {
            output.line("Signed out. A token stays valid until an administrator revokes it, or it expires")?;
        } else {
            output.line("There was no login")?;
        }
        output.flush()
    }
}
