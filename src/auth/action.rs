//! Authorization: what may be asked of the cluster, and which role each of it needs. Which operation asks for what is in
//! [`resolvers`](crate::resolvers); who asks is a [`principal`](super::principal).

use super::principal::{NoCredential, Principal};
use super::role::Role;
use super::secret::TokenId;

/// What is asked for. Every operation names one, and [`authorize`](Principal::authorize) has a rule for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To read the cluster, its change log, or a stream of either.
    Read,
    /// To drain or activate a worker.
    SetSchedulingPolicy,
    /// To hold room for VMs that are not there yet, or to give it back.
    Reserve,
    /// To take a worker out of service.
    Deregister,
    /// To remove a worker with its VMs.
    Purge,
    /// To let a worker join, which gives it a token of its own.
    Join,
    /// To register a worker.
    Register,
    /// To send a heartbeat of a worker.
    Heartbeat,
    /// To deregister a worker that the caller speaks for, without removing it.
    Leave,
    /// To list tokens.
    ReadTokens,
    /// To create a token.
    CreateToken,
    /// To revoke a token.
    RevokeToken,
    /// To make a link for signing in.
    CreateSignInCode,
    /// To open a session of a browser.
    SignIn,
    /// To end one's own session.
    SignOut,
    /// To be told who one is.
    ReadCaller,
}

/// What an action is about.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// The cluster, or an object of it whoever speaks for it.
    Cluster,
    /// A worker that is registered, with the id of the token that speaks for it.
    Worker {
        /// Its id.
        id: &'a str,
        /// The token that registered it.
        owner: Option<&'a TokenId>,
    },
}

/// The proof that an action was authorized, without which [`resolvers`](crate::resolvers) do not reach the journal.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Permit(());

/// Why an action is denied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The server does not know who asks.
    #[error("{}", .0.message())]
    Unauthenticated(NoCredential),
    /// The role does not allow it.
    #[error("This needs the role {needs}, and the token has the role {has}")]
    Role {
        /// The least role that would allow it.
        needs: Role,
        /// The role of the token.
        has: Role,
    },
    /// A server without tokens does not let those who reach it make the first one.
    #[error("The first token is made where the database is: `aetherium token create --role admin --name me`")]
    FirstToken,
    /// A link for signing in is made where the database is.
    #[error("Sign-in links are made where the database is: `aetherium token sign-in`")]
    SignInCode,
    /// A token for workers speaks for a worker that is not its own.
    #[error("The token does not speak for worker {0}: a worker is spoken for by the token that registered it")]
    NotItsWorker(String),
    /// A join token that names a worker is used for another one.
    #[error("The join token is for one worker, which is not {0}")]
    JoinsAnother(String),
}

impl Principal {
    /// Asks whether the principal may do this.
    pub fn authorize(&self, action: Action, target: Target<'_>) -> Result<Permit, Denied> {
        let token = match self {
            Self::Anonymous(why) => return Err(Denied::Unauthenticated(*why)),
            // Whoever made the first token over the network would have the server to themselves.
            Self::Unrestricted if matches!(action, Action::CreateToken | Action::Join) => {
                return Err(Denied::FirstToken);
            }
            Self::Unrestricted if action == Action::CreateSignInCode => return Err(Denied::SignInCode),
            Self::Unrestricted | Self::Server => return Ok(Permit(())),
            Self::Holder(token) => token,
        };
        let needs = match action {
            Action::ReadCaller => return Ok(Permit(())),
            Action::Read | Action::SignIn | Action::SignOut => Role::Viewer,
            Action::SetSchedulingPolicy | Action::Reserve | Action::Deregister => Role::Operator,
            Action::Purge | Action::ReadTokens | Action::CreateToken | Action::RevokeToken => Role::Admin,
            // Made where the database is, and so by the server: whoever could make links could open sessions that do not
            // end with their own token.
            Action::CreateSignInCode => return Err(Denied::SignInCode),
            Action::Register | Action::Heartbeat | Action::Leave => Role::Worker,
            Action::Join => Role::Join,
        };
        if !token.role.includes(needs) {
            return Err(Denied::Role { needs, has: token.role });
        }
        match target {
            Target::Worker { id, owner } if token.role == Role::Worker && owner != Some(&token.id) => {
                Err(Denied::NotItsWorker(id.to_owned()))
            }
            Target::Cluster | Target::Worker { .. } => Ok(Permit(())),
        }
    }
}
