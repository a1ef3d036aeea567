//! Operations on tokens: the list, creation and revocation.
//!
//! The text of a token is made here and given to whoever creates it; the journal gets its hash, and nobody can ask for
//! the text again. How tokens are checked is in [`access`](super::access).

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::checks::{self, MAX_TEXT, Whole};
use super::{Reading, Resolvers};
use crate::auth::{Action, Caller, GeneratedToken, Role, Token, TokenId, TokenKind, TokenScope, TokenState, TokenText};
use crate::cluster::{View, WorkerId};
use crate::error::{Error, Result};
use crate::journal::Committed;
use crate::journal::commands::{CreateToken, RevokeToken};

/// Most workers that one token may speak for.
pub(crate) const MAX_WORKERS: i64 = 1_000_000;

/// The shortest lifetime of a token: what the database's clock tells apart.
const MIN_LIFETIME: Duration = Duration::from_millis(1);

/// The longest lifetime of a token: ten years.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Most workers that one token may let join: one for all that are set up from one image.
pub(crate) const MAX_USES: i64 = 10_000;

/// How many workers a join token lets in if nobody says.
pub(crate) const DEFAULT_USES: i64 = 1;

/// The longest lifetime of a join token: it lies in images and scripts, where many read it.
pub(crate) const MAX_JOIN_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The lifetime of a join token if nobody says: long enough to go to a host and paste a command.
const DEFAULT_JOIN_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// A token at one moment.
#[derive(Clone, Debug)]
pub struct TokenView {
    /// The token.
    pub token: Arc<Token>,
    /// The cluster at that moment.
    pub view: Arc<View>,
}

impl TokenView {
    /// Whether it is accepted.
    pub fn state(&self) -> TokenState {
        self.token.state(self.view.now, |id| self.view.snapshot.token(id))
    }
}

/// A token that was created, with its text.
#[derive(Clone, Debug)]
pub struct TokenCreated {
    /// The text, which is shown once.
    pub text: TokenText,
    /// The token.
    pub token: TokenView,
}

/// What a token is created with, as either protocol reads it.
#[derive(Clone, Debug, Default)]
pub struct TokenInput {
    /// A name for lists and for the audit trail.
    pub name: String,
    /// The word for the role.
    pub role: String,
    /// After which time it expires, as Go writes durations. If it is none: never, and a join token after an hour.
    pub expires_in: Option<String>,
    /// The only worker that its holder speaks for, or may let join; for the roles `worker` and `join`.
    pub worker_id: Option<String>,
    /// As many workers as this, whichever it registers first; for the role `worker`.
    pub max_workers: Option<i64>,
    /// How many workers it lets join; for the role `join`.
    pub max_uses: Option<i64>,
}

impl TokenInput {
    fn check(self) -> Result<(GeneratedToken, CreateToken)> {
        let Self { name, role, expires_in, worker_id, max_workers, max_uses } = self;
        let name = checks::text("name", name, 1..=MAX_TEXT)?;
        let role: Role = role.parse().map_err(|problem| Error::invalid("role", format!("{problem}")))?;
        let longest = if role == Role::Join { MAX_JOIN_LIFETIME } else { MAX_LIFETIME };
        let lifetime = expires_in.map(|text| checks::duration("expires_in", &text, longest)).transpose()?;
        if lifetime.is_some_and(|lifetime| lifetime < MIN_LIFETIME) {
            return Err(Error::invalid("expires_in", "must be at least 1ms"));
        }
        let lifetime = if role == Role::Join { lifetime.or(Some(DEFAULT_JOIN_LIFETIME)) } else { lifetime };
        let max_uses = match (role, max_uses) {
            (Role::Join, max_uses) => {
                Some(checks::figure("max_uses", Whole(max_uses.unwrap_or(DEFAULT_USES)), 1, MAX_USES)?)
            }
            (_, None) => None,
            (_, Some(_)) => return Err(Error::invalid("max_uses", "is only for the role join")),
        };
        let scope = match (role, worker_id, max_workers) {
            (Role::Worker | Role::Join, Some(id), None) => {
                let id = WorkerId::parse(&id).map_err(|problem| Error::invalid("worker_id", problem.to_string()))?;
                TokenScope::Worker(id.shared())
            }
            (Role::Join, None, None) => TokenScope::NewWorkers,
            (Role::Worker, None, Some(most)) => match u32::try_from(most) {
                Ok(number) if number > 0 && most <= MAX_WORKERS => TokenScope::AtMost(number),
                Ok(_) | Err(_) => {
                    return Err(Error::invalid("max_workers", format!("must be from 1 to {MAX_WORKERS}, not {most}")));
                }
            },
            (Role::Worker, Some(_), Some(_)) => {
                return Err(Error::invalid("max_workers", "cannot be given together with worker_id"));
            }
            (Role::Worker, None, None) => {
                let problem = "is needed for the role worker: the worker that the token speaks for; or max_workers, for a \
                               gateway that speaks for several";
                return Err(Error::invalid("worker_id", problem));
            }
            (Role::Viewer | Role::Operator | Role::Admin, None, None) => TokenScope::Nobody,
            (Role::Viewer | Role::Operator | Role::Admin, Some(_), _) => {
                return Err(Error::invalid("worker_id", "is only for the roles worker and join"));
            }
            (Role::Viewer | Role::Operator | Role::Admin | Role::Join, _, Some(_)) => {
                return Err(Error::invalid("max_workers", "is only for the role worker"));
            }
        };
        let kind = TokenKind::Bearer;
        let generated = GeneratedToken::new(kind, role);
        let (id, hash) = (generated.id.clone(), generated.hash);
        Ok((generated, CreateToken { id, hash, kind, role, name, scope, max_uses, lifetime }))
    }
}

impl Resolvers {
    /// All tokens, by id: those that ended, too, so that the audit trail can be read.
    pub fn list_tokens(&self, caller: &Caller, reading: &Reading) -> Result<Vec<TokenView>> {
        let _ = self.authorize(caller, Action::ReadTokens)?;
        let view = reading.view();
        Ok(view.snapshot.tokens().map(|token| TokenView { token: token.clone(), view: view.clone() }).collect())
    }

    /// Creates a token. Its text is in the answer and nowhere else.
    pub async fn create_token(&self, caller: &Caller, input: TokenInput) -> Result<TokenCreated> {
        let permit = self.authorize(caller, Action::CreateToken)?;
        let (generated, command) = input.check()?;
        let Committed { reply: token, snapshot } = self.journal.with(permit).commit_for(command, caller).await?;
        info!(token.id = %token.id, token.role = %token.role, "Token {} ({:?}) was created", token.id, token.name);
        let view = self.reading(snapshot).view;
        Ok(TokenCreated { text: generated.text, token: TokenView { token, view } })
    }

    /// Makes a token that was made elsewhere an administrator's, if it is not one already. It does not come back once it was
    /// revoked.
    pub async fn ensure_admin_token(&self, caller: &Caller, token: GeneratedToken, name: &str) -> Result<()> {
        let permit = self.authorize(caller, Action::CreateToken)?;
        let journal = self.journal.with(permit);
        let snapshot = journal.snapshot();
        if let Some(known) = snapshot.token(token.id.as_str()) {
            let state = known.state(self.clock.now(), |id| snapshot.token(id));
            let is_admin = known.role == Role::Admin && known.kind == TokenKind::Bearer && state == TokenState::Live;
            return match is_admin && known.hash.is_same(&token.hash) {
                true => Ok(()),
                false => Err(Error::NotAnAdminToken(token.id.to_string())),
            };
        }
        let (kind, role, scope) = (TokenKind::Bearer, Role::Admin, TokenScope::Nobody);
        let GeneratedToken { id, hash, .. } = token;
        let command = CreateToken { id, hash, kind, role, name: name.into(), scope, max_uses: None, lifetime: None };
        journal.commit_for(command, caller).await?;
        Ok(())
    }

    /// Revokes a token: it is not accepted any more, and what was begun with it ends. Revoked again, it stays so.
    pub async fn revoke_token(&self, caller: &Caller, id: &str) -> Result<TokenView> {
        let permit = self.authorize(caller, Action::RevokeToken)?;
        let id = TokenId::meant_by(id).ok_or(Error::NoTokenId)?;
        let command = RevokeToken { id: id.to_string() };
        let Committed { reply: token, snapshot } = self.journal.with(permit).commit_for(command, caller).await?;
        info!(token.id = %token.id, "Token {} ({:?}) was revoked", token.id, token.name);
        Ok(TokenView { token, view: self.reading(snapshot).view })
    }
}
