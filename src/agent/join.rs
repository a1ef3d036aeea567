//! Joining: an agent that has a join token and no token of its own makes one, keeps it in its
//! [state folder](super::state_folder), and has the server take it. What it does with it is not decided here.
//!
//! **The same token is sent until the server has answered.** A request whose answer is lost, or that a crash interrupts,
//! is repeated with the same token and the same join token, which the server answers as before and does not count twice.

use std::fmt;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use clap::Args;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::servers::ServerSelector;
use super::state_folder::{Membership, StateError, StateFolder};
use crate::client::{
    ClientError, ClientToken, RetryLimits, TokenFileError, TrustOptions, WorkerToken, public_id, read_token_text,
};

/// For how long a join token that is not accepted is sent again: one that was made on the database is known to a running
/// server a moment later, and a script may be faster than that. If it is the first token of all, the server has none until
/// then, and lets nobody join (403).
const UNKNOWN_TOKEN_GRACE: Duration = Duration::from_secs(3);

/// The wait before it is sent again.
const UNKNOWN_TOKEN_RETRY: Duration = Duration::from_millis(750);

/// How this host joins, and where it keeps what it has joined with.
#[derive(Args, Clone, Debug, Default)]
pub struct JoinOptions {
    /// File with a join token, `-` for standard input. With it the host joins the cluster unless it has before: the agent
    /// makes a token of its own, which is used from then on.
    #[arg(long, env = "AETHERIUM_JOIN_TOKEN_FILE", value_name = "FILE")]
    pub join_token_file: Option<PathBuf>,

    /// Folder in which the agent keeps its own token; by default $STATE_DIRECTORY, as systemd sets it, else
    /// /var/lib/aetherium-agent for root, and ~/.local/state/aetherium-agent for others.
    #[arg(long, env = "AETHERIUM_AGENT_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Whether anything is kept at all.
    #[arg(skip = true)]
    pub keeps_state: bool,
}

impl JoinOptions {
    /// The state folder, if there is one.
    pub(super) fn folder(&self) -> Option<StateFolder> {
        if self.keeps_state { StateFolder::find(self.state_dir.as_deref()) } else { None }
    }

    /// The file with the join token, if one is named.
    pub(super) fn join_token(&self) -> Option<&Path> {
        self.join_token_file.as_deref().filter(|path| !path.as_os_str().is_empty())
    }
}

/// A worker that has joined, and where that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HasJoined {
    worker_id: String,
    server: Option<String>,
    folder: String,
}

impl fmt::Display for HasJoined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker_id, server, folder } = self;
        let server = server.as_deref().unwrap_or("the cluster");
        write!(
            f,
            "Worker {worker_id} has joined {server}. Its token is kept in {folder}: start the agent, or restart it if it \
             runs."
        )
    }
}

/// Why a host has not joined. Failures that may pass are not among these: they are waited out.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The join token cannot be read.
    #[error(transparent)]
    Token(TokenFileError),
    /// What the agent keeps cannot be read or written.
    #[error(transparent)]
    State(StateError),
    /// The server does not let the worker in.
    #[error("worker {id} cannot join")]
    NotLetIn {
        /// The worker.
        id: String,
        /// The answer of the server.
        source: ClientError,
    },
    /// The process was told to stop before the server had answered.
    #[error("told to stop before this host had joined; the same command again goes on where it was")]
    Interrupted,
}

/// A join token, as it was read; `Debug` hides it.
pub(super) struct JoinToken {
    text: ClientToken,
    id: Option<String>,
}

impl JoinToken {
    /// Reads it from a file or standard input, for which nothing else waits.
    pub(super) async fn read(path: &Path) -> Result<Self, JoinError> {
        let path = path.to_owned();
        let not_a_token = TokenFileError::NotAToken { path: path.clone() };
        let text = spawn_blocking(move || read_token_text(&path)).await.map_err(|_| JoinError::Interrupted)?;
        let text = text.map_err(JoinError::Token)?;
        let id = public_id(&text).map(str::to_owned);
        Ok(Self { text: ClientToken::of(&text).ok_or(JoinError::Token(not_a_token))?, id })
    }
}

/// What a worker joins as.
pub(super) struct Joining<'a> {
    pub(super) folder: &'a StateFolder,
    pub(super) worker_id: &'a str,
    pub(super) hostname: Option<String>,
    /// The server that was named.
    pub(super) server: Option<&'a str>,
    /// Whom it trusts to be its server.
    pub(super) trust: &'a TrustOptions,
    /// Whether somebody waits for it, who can mend what is wrong with a certificate.
    pub(super) is_by_hand: bool,
    /// What it has joined with before, if it has.
    pub(super) before: Option<&'a Membership>,
}

impl Joining<'_> {
    /// Joins, trying until a server answers, and keeps that it has. Afterwards the servers are sent the worker's own token.
    pub(super) async fn join(
        self,
        join_token: JoinToken,
        servers: &mut ServerSelector,
    ) -> Result<HasJoined, JoinError> {
        let Self { folder, worker_id, hostname, server, trust, is_by_hand, before } = self;
        let JoinToken { text, id: join_token_id } = join_token;
        // Of an interrupted request, whose answer may have been lost; or of one that was answered, as when a command is
        // pasted twice. Any other join token is a new beginning.
        let is_same = |kept: &Membership| {
            kept.worker_id == worker_id && join_token_id.is_some() && kept.join_token_id == join_token_id
        };
        let interrupted = folder.joining().map_err(JoinError::State)?;
        let again = interrupted.as_ref().into_iter().chain(before).find(|kept| is_same(kept));
        let token = again.map_or_else(WorkerToken::generate, |kept| kept.token.clone());
        let request = token.join_request();
        let own = token.to_client_token();
        let server = server.map(str::to_owned);
        let membership = Membership {
            server: server.clone(),
            ca_file: trust.ca_file.as_deref().and_then(|path| absolute(path).ok()),
            server_fingerprints: trust.server_fingerprints.clone(),
            worker_id: worker_id.to_owned(),
            hostname,
            join_token_id,
            token,
        };
        folder.begin(&membership).map_err(JoinError::State)?;

        servers.set_token(Some(text));
        let (mut backoff, limits) = (Backoff::default(), RetryLimits::default());
        let mut not_accepted_since = None;
        loop {
            match servers.client().await.join(worker_id, &request).await {
                Ok(_) => break,
                Err(source) if is_by_hand && source.is_about_tls() => {
                    return Err(JoinError::NotLetIn { id: worker_id.to_owned(), source });
                }
                Err(error @ ClientError::Unavailable { .. }) => {
                    if !servers.failed() {
                        sleep(backoff.failed(worker_id, &error, &limits)).await;
                    }
                }
                Err(ClientError::Refused { status: 401 | 403, .. })
                    if not_accepted_since.get_or_insert_with(Instant::now).elapsed() < UNKNOWN_TOKEN_GRACE =>
                {
                    sleep(UNKNOWN_TOKEN_RETRY).await;
                }
                Err(source) => return Err(JoinError::NotLetIn { id: worker_id.to_owned(), source }),
            }
        }
        backoff.over(worker_id);
        servers.succeeded();
        servers.set_token(own);
        folder.complete().map_err(JoinError::State)?;
        Ok(HasJoined { worker_id: worker_id.to_owned(), server, folder: folder.to_string() })
    }
}
