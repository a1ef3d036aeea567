//! Who may do what, and for how long: the door that every operation passes.
//!
//! Without the [`Permit`] that it gives, no operation reaches the [journal](super::guarded_journal). What outlives its
//! request, a stream or a long poll, ends as soon as the token that it was begun with is not accepted any more
//! ([`Resolvers::denied_later`]), on each server that shares the database. Which role an action needs is not decided here
//! but in [`auth`](crate::auth).

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{self, Stream, StreamExt as _};

use tokio::time::sleep;

use super::Resolvers;
use crate::auth::{
    Action, Authenticate, Caller, CostLimit, CostLimitState, Credential, Denied, NoCredential, Permit, Principal,
    Target, TokenKind,
};
use crate::clock::Timestamp;
use crate::cluster::Snapshot;
use crate::error::{Error, Result};

/// How often a stream notes that it goes on using its token.
const USE_PERIOD: Duration = Duration::from_secs(60);

impl Authenticate for Resolvers {
    fn authenticate(&self, credential: Credential<'_>) -> Principal {
        let of_secret = |snapshot: &Snapshot, kind, text: &str| {
            Principal::of_secret(kind, text, self.clock.now(), |id| snapshot.token(id))
        };
        self.journal.for_server().peek(|snapshot| match credential {
            // Whatever they send, which may be for a proxy in front of this server.
            _ if !self.asks_for_tokens(snapshot) => Principal::Unrestricted,
            Credential::None => Principal::Anonymous(NoCredential::Missing),
            Credential::Malformed => Principal::Anonymous(NoCredential::Malformed),
            Credential::CrossSite => Principal::Anonymous(NoCredential::CrossSite),
            Credential::Token(text) => of_secret(snapshot, TokenKind::Bearer, text),
            Credential::Session(text) => of_secret(snapshot, TokenKind::Session, text),
            Credential::SignInCode(text) => of_secret(snapshot, TokenKind::SignInCode, text),
        })
    }

    fn accepts_still(&self, principal: &Principal) -> bool {
        self.journal.for_server().peek(|snapshot| principal.is_current(self.clock.now(), |id| snapshot.token(id)))
    }

    fn cost_limit_state(&self, principal: &Principal) -> Option<CostLimitState> {
        self.cost_limit.state(&principal.token()?.spent, || self.clock.monotonic())
    }
}

impl Resolvers {
    fn asks_for_tokens(&self, snapshot: &Snapshot) -> bool {
        let has_seen_tokens = self.has_seen_tokens.load(Ordering::Relaxed);
        if snapshot.has_tokens() && !has_seen_tokens {
            self.has_seen_tokens.store(true, Ordering::Relaxed);
        }
        has_seen_tokens || snapshot.has_tokens()
    }

    /// Asks whether the caller may do this to the cluster. What is about a worker is asked again when its command is
    /// decided, since a worker may change hands until then.
    pub fn authorize(&self, caller: &Caller, action: Action) -> Result<Permit> {
        Ok(caller.principal().authorize(action, Target::Cluster)?)
    }

    /// Spends points of the caller's token on a query, or refuses it until those before are paid for. Only queries cost:
    /// whoever asks too much can still drain a worker, and heartbeats have limits of their own.
    pub fn spend(&self, caller: &Caller, points: u64) -> Result<()> {
        let Some(token) = caller.principal().token() else { return Ok(()) };
        self.cost_limit.spend(&token.spent, points, || self.clock.monotonic()).map_err(|retry_after| {
            let CostLimit { per_second } = self.cost_limit;
            Error::CostLimitReached { limit: self.cost_limit.burst(), per_second, retry_after }
        })
    }

    /// Spends points on a query that has been let in, when it is known what it costs.
    pub fn spend_more(&self, caller: &Caller, points: u64) {
        if let Some(token) = caller.principal().token() {
            token.spent.add(points);
        }
    }

    /// Waits until a principal that was accepted is not accepted any more, and says why: its token was revoked or has
    /// expired, or the server has tokens from now on and asks for one.
    pub async fn denied_later(&self, principal: &Principal) -> Error {
        let journal = self.journal.for_server();
        let mut changes = journal.token_changes();
        loop {
            changes.mark_unchanged();
            let now = self.clock.now();
            let snapshot = journal.snapshot();
            let why = principal.denied_since(now, snapshot.has_tokens(), |id| snapshot.token(id));
            let end = principal.token().and_then(|token| token.expires_at);
            if let Some(why) = why {
                return Denied::Unauthenticated(why).into();
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    // The journal has ended, and the server with it.
                    return Error::ShuttingDown;
                },
                () = self.passes(now, end) => {}
                () = sleep(USE_PERIOD) => {
                    // A stream goes on using the token that it was begun with.
                    if let Some(token) = principal.token() {
                        token.last_used.note(self.clock.now());
                    }
                }
            }
        }
    }

    /// Waits for a moment; for ever without one.
    async fn passes(&self, now: Timestamp, moment: Option<Timestamp>) {
        match moment {
            Some(moment) => self.clock.left(now.min(moment)..moment).await,
            None => std::future::pending().await,
        }
    }

    /// A stream for as long as the principal is accepted: then its last item is the error that says why not.
    pub(super) fn while_accepted<T: Send, I: Stream<Item = Result<T>> + Send>(
        &self,
        principal: &Principal,
        items: I,
    ) -> impl Stream<Item = Result<T>> + Send + use<T, I> {
        let (resolvers, principal) = (self.clone(), principal.clone());
        let denied = async move { resolvers.denied_later(&principal).await };
        let state = Some((Box::pin(items), denied.boxed(), self.metrics.open_stream()));
        stream::unfold(state, |state| async move {
            let (mut items, mut denied, open) = state?;
            tokio::select! {
                biased;
                why = &mut denied => Some((Err(why), None)),
                item = items.next() => item.map(|item| (item, Some((items, denied, open)))),
            }
        })
    }
}
