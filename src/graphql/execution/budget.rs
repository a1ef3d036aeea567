//! How much one request may make: what the document's size does not tell.
//!
//! A short document can ask for the VMs of the workers of the VMs of the workers. So each list is
//! paid for before its objects are made, from a budget that the request brings with it. When it is
//! spent, lists are empty from there on, so that the rest is soon over, and the answer is replaced
//! by one error: an error for each list would be as many as there are objects.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use async_graphql::{Context, Response, Result, ServerError};

use crate::graphql::error::request_error;

/// Most objects in the lists of one answer. The largest that is asked for in earnest is a cluster of
/// 10,000 workers with 20 VMs each, in one query: 210,000, and as many again for what is nested in them.
pub const MAX_OBJECTS: usize = 500_000;

/// What is left of it to one request, or to one item of a subscription.
#[derive(Clone, Debug, Default)]
pub struct Budget(Arc<Account>);

#[derive(Debug, Default)]
struct Account {
    spent: AtomicUsize,
    overdrawn: OnceLock<ServerError>,
}

impl Budget {
    /// Pays for so many objects; false if there is not enough left, and then none of them must be made.
    pub fn pay(ctx: &Context<'_>, objects: usize) -> Result<bool> {
        let Self(account) = ctx.data()?;
        let spent = account.spent.fetch_add(objects, Ordering::Relaxed).saturating_add(objects);
        if spent > MAX_OBJECTS {
            account.overdrawn.get_or_init(|| {
                let problem = format!(
                    "The answer has more than {MAX_OBJECTS} objects in its lists. Ask for it in pages, by `first` and \
                     `after` of the connections, or nest fewer lists"
                );
                let mut error = request_error("QUERY_TOO_COMPLEX", problem);
                error.locations.push(ctx.item.pos);
                ctx.set_error_path(error)
            });
        }
        Ok(spent <= MAX_OBJECTS)
    }

    /// How many objects have been paid for.
    pub fn spent(&self) -> usize {
        self.0.spent.load(Ordering::Relaxed)
    }

    /// A list, paid for; nothing of it if there is not enough left.
    pub fn pay_for<T>(ctx: &Context<'_>, list: Vec<T>) -> Result<Vec<T>> {
        Ok(if Self::pay(ctx, list.len())? { list } else { Vec::new() })
    }

    /// The answer, if it could be paid for.
    pub fn settle(&self, response: Response) -> Response {
        match self.0.overdrawn.get() {
            None => response,
            Some(error) => Response::from_errors(vec![error.clone()]),
        }
    }
}
