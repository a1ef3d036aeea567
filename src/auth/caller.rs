//! The caller: the principal of one request, and what the audit trail says of that.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::principal::Principal;
use crate::trace::TraceContext;

/// What the audit trail says of a request, beside whose it is. It is asked only if an event is recorded.
pub trait RequestDetails: fmt::Debug + Send + Sync {
    /// The request id.
    fn id(&self) -> String;

    /// The IP address that the request came from.
    fn address(&self) -> Option<IpAddr>;

    /// The trace that it belongs to.
    fn trace(&self) -> Option<&TraceContext>;
}

/// The caller of an operation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller {
    principal: Principal,
    request: Option<Arc<dyn RequestDetails>>,
}

impl Caller {
    /// A caller without a request, such as a test.
    pub fn new(principal: Principal) -> Self {
        Self { principal, request: None }
    }

    /// The caller of a request.
    pub fn of_request(principal: Principal, request: Arc<dyn RequestDetails>) -> Self {
        Self { principal, request: Some(request) }
    }

    /// The same request, with another principal.
    #[must_use]
    pub fn with_principal(self, principal: Principal) -> Self {
        Self { principal, ..self }
    }

    /// The server itself.
    pub fn server() -> Self {
        Self::new(Principal::Server)
    }

    /// Whoever reaches a server that has no tokens.
    pub fn unrestricted() -> Self {
        Self::new(Principal::Unrestricted)
    }

    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The request, if there is one.
    pub fn request(&self) -> Option<&dyn RequestDetails> {
        self.request.as_deref()
    }
}
