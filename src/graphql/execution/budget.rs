//! The object budget of one execution: a limit on the objects in the lists of a response, counted while it is resolved.
//!
//! A short document can select the VMs of the workers of the VMs of the workers, which its size does not show. So a
//! resolver pays for each list from the request's budget before it makes the list's objects. Once the budget is spent,
//! every further list is empty, so that execution ends soon, and the whole response is replaced by one error: one error
//! for each list would be as many errors as there are objects.
//!
//! The estimate that refuses an operation before it runs is [`cost`](crate::graphql::operation::cost). Plans count for
//! themselves, against the same [`MAX_OBJECTS`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use async_graphql::{Context, Response, Result, ServerError};

use crate::graphql::error::request_error;

/// Most objects in the lists of one response. The largest realistic query lists a cluster of 10,000 workers with 20 VMs
/// each: 210,000 objects, and as many again for what is nested in them.
pub const MAX_OBJECTS: usize = 500_000;

/// The budget of one request, or of one item of a subscription. Clones share one account.
#[derive(Clone, Debug, Default)]
pub struct Budget(Arc<Account>);

#[derive(Debug, Default)]
struct Account {
    spent: AtomicUsize,
    overdrawn: OnceLock<ServerError>,
}

impl Budget {
    /// Takes this many objects out of the budget. False if not enough is left: then none of them may be made.
    pub fn pay(ctx: &Context<'_>, objects: usize) -> Result<bool> {
        let Self(account) = ctx.data()?;
        let spent = account.spent.fetch_add(objects, Ordering::Relaxed).saturating_add(objects);
        if spent > MAX_OBJECTS {
            account.overdrawn.get_or_init(|| {
                let message = format!(
                    "The answer has more than {MAX_OBJECTS} objects in its lists. Ask for it in pages, by `first` and \
                     `after` of the connections, or nest fewer lists"
                );
                let mut error = request_error("QUERY_TOO_COMPLEX", message);
                error.locations.push(ctx.item.pos);
                ctx.set_error_path(error)
            });
        }
        Ok(spent <= MAX_OBJECTS)
    }

    /// A budget of which this much has been spent.
    #[cfg(test)]
    pub fn with_spent(objects: usize) -> Self {
        Self(Arc::new(Account { spent: AtomicUsize::new(objects), ..Account::default() }))
    }

    /// How many objects have been taken out so far.
    pub fn spent(&self) -> usize {
        self.0.spent.load(Ordering::Relaxed)
    }

    /// Pays for a list and returns it; returns an empty list if not enough is left.
    pub fn pay_for<T>(ctx: &Context<'_>, list: Vec<T>) -> Result<Vec<T>> {
        Ok(if Self::pay(ctx, list.len())? { list } else { Vec::new() })
    }

    /// The response, or the error that replaces it if the budget was overdrawn.
    pub fn settle(&self, response: Response) -> Response {
        match self.0.overdrawn.get() {
            None => response,
            Some(error) => Response::from_errors(vec![error.clone()]),
        }
    }
}
