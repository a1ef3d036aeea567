//! Operations on sessions of browsers: to sign in, to sign out, and to be told who one is; and sign-in codes, which are
//! made where the database is.
//!
//! The secret of a session is made here and given to the browser in a cookie; the journal gets its hash. How a cookie is
//! read and written is [`http`](crate::http)'s business, how a session is checked in [`access`](super::access).

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::checks::{self, MAX_TEXT};
use super::tokens::TokenView;
use super::{Reading, Resolvers};
use crate::auth::{
    Action, Authenticate, Caller, Credential, Denied, GeneratedToken, NoCredential, Principal, Role, TokenKind,
    TokenScope, TokenText,
};
use crate::error::{Error, Result};
use crate::journal::Committed;
use crate::journal::commands::{CloseSession, CreateToken, OpenSession};

/// How long a sign-in link can be followed: as long as it takes to go from the terminal to the browser.
pub(crate) const SIGN_IN_CODE_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// What it costs to sign in with a token, in points of the [cost limit](crate::auth::CostLimit). Each time is a commit, and an
/// event that is kept for long: so there are ten a second at most, in the long run.
const COST_OF_SIGN_IN: u64 = 400_000;

/// Who asks, as the server knows it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Whether the server asks for tokens; if not, whoever reaches it may do everything.
    pub asks_for_tokens: bool,
    /// The session or the token of who asks; none if nobody is known.
    pub token: Option<TokenView>,
}

/// A session that was opened, with its secret.
#[derive(Clone, Debug)]
pub struct SessionOpened {
    /// The secret, for the browser's cookie.
    pub secret: TokenText,
    /// The session.
    pub session: TokenView,
}

impl SessionOpened {
    /// How long it lasts.
    pub fn lifetime(&self) -> Duration {
        let TokenView { token, .. } = &self.session;
        let lasts = token.expires_at.map(|end| end - token.created_at).and_then(|time| time.to_std().ok());
        lasts.unwrap_or_default()
    }
}

impl Resolvers {
    /// Opens a session with a token or a sign-in code. The session is another one each time, whatever else the browser
    /// has sent.
    pub async fn open_session(&self, caller: &Caller, credential: Credential<'_>) -> Result<SessionOpened> {
        let principal = self.authenticate(credential);
        if let Principal::Unrestricted = principal {
            return Err(Error::NothingToSignInTo);
        }
        let role = principal.role();
        let caller = caller.clone().with_principal(principal);
        let permit = self.authorize(&caller, Action::SignIn)?;
        self.spend(&caller, COST_OF_SIGN_IN)?;
        let GeneratedToken { text, id, hash } = GeneratedToken::new(TokenKind::Session, role.unwrap_or(Role::Viewer));
        let command = OpenSession { id, hash };
        let Committed { reply: token, snapshot } = self.journal.with(permit).commit_for(command, &caller).await?;
        info!(token.id = %token.id, token.role = %token.role, "Session {} ({:?}) was opened", token.id, token.name);
        let view = self.reading(snapshot).view;
        Ok(SessionOpened { secret: text, session: TokenView { token, view } })
    }

    /// Closes the session of the caller. It is no error if there is none, or not any more.
    pub async fn close_session(&self, caller: &Caller) -> Result<()> {
        let session = match caller.principal() {
            Principal::Holder(token) if token.kind == TokenKind::Session => token,
            Principal::Holder(_) => return Err(Error::NotASession),
            Principal::Anonymous(NoCredential::Missing | NoCredential::SessionEnded)
            | Principal::Unrestricted
            | Principal::Server => return Ok(()),
            Principal::Anonymous(why) => return Err(Denied::Unauthenticated(*why).into()),
        };
        let permit = self.authorize(caller, Action::SignOut)?;
        match self.journal.with(permit).commit_for(CloseSession, caller).await {
            Ok(_) => {
                info!(token.id = %session.id, "Session {} ({:?}) was closed", session.id, session.name);
                Ok(())
            }
            // It was closed by another request meanwhile.
            Err(Error::Denied(Denied::Unauthenticated(_))) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Who asks. To ask it needs no token, but one that is sent has to be accepted: so a browser learns that its session
    /// has ended.
    pub fn session(&self, caller: &Caller, reading: &Reading) -> Result<SessionView> {
        let principal = caller.principal();
        if let Principal::Anonymous(NoCredential::Missing | NoCredential::CrossSite) = principal {
            return Ok(SessionView { asks_for_tokens: true, token: None });
        }
        let _ = self.authorize(caller, Action::ReadCaller)?;
        let view = reading.view();
        let token = principal.token().map(|token| {
            let present = view.snapshot.token(token.id.as_str()).unwrap_or(token);
            TokenView { token: Arc::clone(present), view: view.clone() }
        });
        Ok(SessionView { asks_for_tokens: !matches!(principal, Principal::Unrestricted), token })
    }

    /// Creates a sign-in code, with which one session of this role can be opened.
    pub async fn create_sign_in_code(&self, caller: &Caller, role: &str, name: &str) -> Result<TokenText> {
        let permit = self.authorize(caller, Action::CreateSignInCode)?;
        let name = checks::text("name", name.to_owned(), 1..=MAX_TEXT)?;
        let role: Role = role.parse().map_err(|problem| Error::invalid("role", format!("{problem}")))?;
        if !role.includes(Role::Viewer) {
            return Err(Error::invalid("role", "must be one of viewer, operator, admin: no other role reads anything"));
        }
        let GeneratedToken { text, id, hash } = GeneratedToken::new(TokenKind::SignInCode, role);
        let (kind, scope, lifetime) = (TokenKind::SignInCode, TokenScope::Nobody, Some(SIGN_IN_CODE_LIFETIME));
        let command = CreateToken { id, hash, kind, role, name, scope, max_uses: None, lifetime };
        self.journal.with(permit).commit_for(command, caller).await?;
        Ok(text)
    }
}
