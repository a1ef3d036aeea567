//! A request body that is read up to a limit, and no further.
//!
//! The limit is the route's, and is looked up when the first byte is asked for: most requests have no body, and then
//! nobody has to know it. This is why tower-http's `RequestBodyLimitLayer` is not used: around all routes it would hold
//! every one to one number, and around one of them it would miss the handlers that read the stream themselves.
//!
//! The limit is a promise about what we read. A body that no handler asks for is not looked at, whatever length it
//! declares, and its connection is closed behind the answer.

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

/// A body whose reading is held to [`RequestContext::body_limit`].
pub struct LimitedBody {
    stage: Stage,
    context: Arc<RequestContext>,
}

enum Stage {
    Untouched(Body),
    Reading(Limited<Body>),
}

impl LimitedBody {
    /// Wraps a body that has one; a request without stays as it is, which saves most GETs an allocation.
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

/// The body up to the limit. One that declares to be longer fails at once, before `100 Continue` invites it in.
fn limited(body: Body, limit: usize) -> Limited<Body> {
    let declared = body.size_hint().lower();
    if usize::try_from(declared).is_ok_and(|declared| declared <= limit) {
        Limited::new(body, limit)
    } else {
        // `LengthLimitError`, which readers know to be a 413, can only be made by going over a limit.
        Limited::new(Body::from("."), 0)
    }
}
