//! Authentication and authorization: what a token is, who asks (a [`Principal`]), and what they may
//! ([`authorize`](Principal::authorize)).
//!
//! Nothing here does I/O: where tokens are stored is the [`journal`](crate::journal)'s business, how a request carries one
//! that of [`http`](crate::http), and every operation that asks for permission is in [`resolvers`](crate::resolvers).

mod action;
mod caller;
mod cost_limit;
mod kind;
mod principal;
mod role;
mod secret;
mod token;

pub use action::{Action, Denied, Permit, Target};
pub use caller::{Caller, RequestDetails};
pub use cost_limit::{CostLimit, CostLimitState, SpentPoints};
pub use kind::{TokenKind, UnknownKind};
pub use principal::{Authenticate, Credential, NoCredential, Principal};
pub use role::{Role, UnknownRole};
pub use secret::{GeneratedToken, InvalidToken, TokenHash, TokenId, TokenText, is_same_secret};
pub use token::{Joins, LastUsed, Token, TokenScope, TokenState};
