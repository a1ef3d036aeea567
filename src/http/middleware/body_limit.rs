//! The body limit: a request body that cannot be read beyond the limit of its route.
//!
//! Its value is in [`options`](crate::http::options); a route may have another one, which it declares in its
//! [`RouteOptions`](crate::http::routing::RouteOptions).
//!
//! The limit is looked up when the first byte is read: most requests have no body. tower-http's `RequestBodyLimitLayer`
//! is not used because around all routes it would have one limit for all, and around single ones it would miss the
//! handlers that read the stream themselves.
//!
//! The limit bounds what is read, not what a client declares: a body that no handler reads is ignored whatever its
//! declared length, and its connection is closed after the response.

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    BoxError,
    body::{Body, HttpBody},
    extract::Request,
};
use bytes::Bytes;
use http_body_util::Limited;
use hyper::body::{Frame, SizeHint};

use super::request_context::RequestContext;

/// A body that can be read up to [`RequestContext::body_limit`].
pub struct LimitedBody {
    stage: Stage,
    context: Arc<RequestContext>,
}

enum Stage {
    Untouched(Body),
    Reading(Limited<Body>),
}

impl LimitedBody {
    /// Wraps the body of a request. A request without a body stays as it is, which saves most GETs an allocation.
    pub fn wrap(request: Request, context: &Arc<RequestContext>) -> Request {
        if request.body().is_end_stream() {
            return request;
        }
        request.map(|body| Body::new(Self { stage: Stage::Untouched(body), context: Arc::clone(context) }))
    }
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let reading = loop {
            match &mut this.stage {
                Stage::Untouched(body) => {
                    this.stage = Stage::Reading(limited(mem::take(body), this.context.body_limit()))
                }
                Stage::Reading(body) => break Pin::new(body),
            }
        };
        let frame = reading.poll_frame(cx);
        this.context.note_body_awaited(frame.is_pending());
        Poll::Ready(ready!(frame))
    }

    fn is_end_stream(&self) -> bool {
        match &self.stage {
            Stage::Untouched(body) => body.is_end_stream(),
            Stage::Reading(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.stage {
            Stage::Untouched(body) => body.size_hint(),
            Stage::Reading(body) => body.size_hint(),
        }
    }
}

/// The body up to the limit. If its declared length is over the limit, the first read fails, before `100 Continue` is
/// sent.
fn limited(body: Body, limit: usize) -> Limited<Body> {
    let declared = body.size_hint().lower();
    if usize::try_from(declared).is_ok_and(|declared| declared <= limit) {
        Limited::new(body, limit)
    } else {
        // `LengthLimitError`, which readers map to 413, can only be made by exceeding a limit.
        Limited::new(Body::from("."), 0)
    }
}
