//! The routes: which handler answers on which path, and what a route wants to be different from the others.
//!
//! Handlers and what they ask for are axum's, and a path is found by the library that axum's router finds it with. The
//! router itself is not used: it finds a path for itself alone, while the layers around it have to know it too, for how
//! much of a body is read and how loud a line in the log is; and its way to a handler is seven allocations, more than
//! it takes to find a worker (ADR 0036). Here a path is looked up once, before anything else.

use std::{fmt, future::ready, ops::Range, pin::Pin, time::Duration};

use axum::{
    extract::Request,
    handler::Handler,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::error::HttpError;
use super::query_params::{self, Parameter};

/// Routes, whose handlers have yet to be given a state `S`.
pub struct Routes<S = ()>(Vec<Route<Unbound<S>>>);

/// A path by its template, such as `/api/v1/workers/{id}`, and what answers there.
pub(super) struct Route<A = Action> {
    pub(super) path: &'static str,
    pub(super) wants: RouteOptions,
    methods: Vec<MethodHandler<A>>,
}

/// What answers to one method.
struct MethodHandler<A> {
    method: Method,
    /// The parameters that it takes in a query string; any, if it has not said which.
    parameters: Option<Vec<Parameter>>,
    action: A,
}

/// What answers on a path, method by method: begun with [`get`] or [`post`].
pub struct MethodRouter<S = ()>(Vec<MethodHandler<Unbound<S>>>);

/// A handler that has all it needs but a request.
type Action = Box<dyn Fn(Request) -> ResponseFuture + Send + Sync>;

/// A handler that lacks its state.
type Unbound<S> = Box<dyn FnOnce(S) -> Action>;

/// An answer in the making. It is in a box as it comes: axum puts what a handler does into one.
pub(super) type ResponseFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

/// What a route wants to be different.
#[derive(Clone, Copy, Debug)]
pub struct RouteOptions {
    pub(super) body: Option<usize>,
    pub(super) time: Option<Duration>,
    pub(super) is_quiet: bool,
    pub(super) may_only_ask: bool,
    pub(super) failures: Option<ErrorRenderer>,
}

/// How failures are written, by a route whose clients expect another form than the documented one.
#[derive(Clone, Copy, Debug)]
pub struct ErrorRenderer {
    /// The media type, by the headers of the request.
    pub media_type: fn(&HeaderMap) -> &'static str,
    /// The body.
    pub body: ErrorBodyWriter,
}

/// Writes a failure as the body of an answer.
pub type ErrorBodyWriter = fn(&HttpError) -> Vec<u8>;

impl RouteOptions {
    /// It is as any other.
    pub const NOTHING: Self = Self { body: None, time: None, is_quiet: false, may_only_ask: false, failures: None };

    /// Bodies of up to this many bytes are read.
    #[must_use]
    pub const fn body(mut self, bytes: usize) -> Self {
        self.body = Some(bytes);
        self
    }

    /// It may take up to this long until an answer begins.
    #[must_use]
    pub const fn time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// A POST may only ask a question. Its handler says if it does not, by [`mark_as_command`](super::middleware::request_context::mark_as_command).
    #[must_use]
    pub const fn questions(mut self) -> Self {
        self.may_only_ask = true;
        self
    }

    /// Its failures are written like this, whoever says that it failed.
    #[must_use]
    pub const fn failures(mut self, format: ErrorRenderer) -> Self {
        self.failures = Some(format);
        self
    }

    /// Its successes are too many and too alike to be told, such as those of heartbeats: they are logged at debug.
    #[must_use]
    pub const fn quiet(mut self) -> Self {
        self.is_quiet = true;
        self
    }
}

/// A handler for GET, and for HEAD, whose answer leaves without its body.
pub fn get<T: 'static, S: Clone + Send + Sync + 'static>(
    handler: impl Handler<T, S, Future = ResponseFuture>,
) -> MethodRouter<S> {
    MethodRouter(Vec::new()).on(Method::GET, handler)
}

/// A handler for POST.
pub fn post<T: 'static, S: Clone + Send + Sync + 'static>(
    handler: impl Handler<T, S, Future = ResponseFuture>,
) -> MethodRouter<S> {
    MethodRouter(Vec::new()).on(Method::POST, handler)
}

impl<S: Clone + Send + Sync + 'static> MethodRouter<S> {
    /// And one for POST.
    #[must_use]
    pub fn post<T: 'static>(self, handler: impl Handler<T, S, Future = ResponseFuture>) -> Self {
        self.on(Method::POST, handler)
    }

    /// And one for PUT.
    #[must_use]
    pub fn put<T: 'static>(self, handler: impl Handler<T, S, Future = ResponseFuture>) -> Self {
        self.on(Method::PUT, handler)
    }

    /// And one for DELETE.
    #[must_use]
    pub fn delete<T: 'static>(self, handler: impl Handler<T, S, Future = ResponseFuture>) -> Self {
        self.on(Method::DELETE, handler)
    }

    fn on<T: 'static>(mut self, method: Method, handler: impl Handler<T, S, Future = ResponseFuture>) -> Self {
        let unbound = |state: S| -> Action { Box::new(move |request| handler.clone().call(request, state.clone())) };
        self.0.push(MethodHandler { method, parameters: None, action: Box::new(unbound) });
        self
    }
}

impl<S> fmt::Debug for MethodRouter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|answers| &answers.method)).finish()
    }
}

impl<S> Default for Routes<S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S: Clone + 'static> Routes<S> {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route that is as any other. A path is given once, with all its methods.
    #[must_use]
    pub fn route(self, path: &'static str, methods: MethodRouter<S>) -> Self {
        self.route_with(RouteOptions::NOTHING, path, methods)
    }

    /// Adds a route that wants something to be different, whatever the method.
    #[must_use]
    pub fn route_with(mut self, wants: RouteOptions, path: &'static str, methods: MethodRouter<S>) -> Self {
        self.0.push(Route { path, wants, methods: methods.0 });
        self
    }

    /// Puts others beside these.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Says which parameters these routes take, by method and path: any other is refused.
    #[must_use]
    pub fn with_parameters(mut self, taken: impl Fn(&Method, &str) -> Vec<Parameter>) -> Self {
        for Route { path, methods, .. } in &mut self.0 {
            for MethodHandler { method, parameters, .. } in methods {
                *parameters = Some(taken(method, path));
            }
        }
        self
    }

    /// Gives the handlers what they work with.
    pub fn with_state(self, state: S) -> Routes {
        let bound = self.0.into_iter().map(|route| {
            let route = route.bind(&state);
            let methods = route.methods.into_iter().map(|MethodHandler { method, parameters, action }| {
                let unbound: Unbound<()> = Box::new(|()| action);
                MethodHandler { method, parameters, action: unbound }
            });
            Route { path: route.path, wants: route.wants, methods: methods.collect() }
        });
        Routes(bound.collect())
    }
}

impl<S: Clone> Route<Unbound<S>> {
    fn bind(self, state: &S) -> Route {
        let Self { path, wants, methods } = self;
        let methods = methods.into_iter().map(|MethodHandler { method, parameters, action }| MethodHandler {
            method,
            parameters,
            action: action(state.clone()),
        });
        Route { path, wants, methods: methods.collect() }
    }
}

impl<S> fmt::Debug for Routes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|route| route.path)).finish()
    }
}

/// All routes, ready to be found.
pub(super) struct Router {
    routes: Vec<Route>,
    places: matchit::Router<usize>,
}

/// Where a path leads.
#[derive(Clone, Debug)]
pub(super) struct RouteMatch {
    place: usize,
    /// Where in the path its id is: the parameter `{id}`, or the only one.
    id: Option<Range<usize>>,
}

impl RouteMatch {
    /// The id in the path that was looked up, as it is spelled there.
    pub(super) fn id<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.get(self.id.clone()?)
    }
}

impl From<Routes> for Router {
    fn from(routes: Routes) -> Self {
        let routes: Vec<_> = routes.0.into_iter().map(|route| route.bind(&())).collect();
        let mut places = matchit::Router::new();
        for (place, route) in routes.iter().enumerate() {
            places.insert(route.path, place).expect("a path is given once, with all its methods");
        }
        Self { routes, places }
    }
}

impl Router {
    /// Where a path leads, if anywhere.
    pub(super) fn find(&self, path: &str) -> Option<RouteMatch> {
        let found = self.places.at(path).ok()?;
        let id = found.params.get("id").or_else(|| found.params.iter().next().map(|(_, only)| only));
        let id = id.map(|id| {
            let begin = id.as_ptr().addr() - path.as_ptr().addr();
            begin..begin + id.len()
        });
        Some(RouteMatch { place: *found.value, id })
    }

    pub(super) fn route(&self, found: &RouteMatch) -> Option<&Route> {
        self.routes.get(found.place)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|route| route.path)).finish()
    }
}

impl Route {
    /// What the handler for the request's method makes of it; if there is none, which methods there are.
    pub(super) fn answer(&self, mut request: Request) -> ResponseFuture {
        let answers = |wanted: &Method| self.methods.iter().find(|answers| answers.method == *wanted);
        let answers = answers(request.method())
            .or_else(|| if request.method() == Method::HEAD { answers(&Method::GET) } else { None });
        match answers {
            Some(MethodHandler { parameters, action, .. }) => {
                if let Some(taken) = parameters {
                    match query_params::check(request.uri(), taken) {
                        Ok(None) => {}
                        Ok(Some(plain)) => *request.uri_mut() = plain,
                        Err(refused) => return Box::pin(ready(refused.into_response())),
                    }
                }
                action(request)
            }
            None => {
                let refused = (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, self.allowed())]).into_response();
                Box::pin(ready(refused))
            }
        }
    }

    fn allowed(&self) -> HeaderValue {
        let names = self.methods.iter().map(|answers| match answers.method {
            Method::GET => "GET,HEAD",
            ref other => other.as_str(),
        });
        // Names of methods and commas always make a header value.
        HeaderValue::try_from(names.collect::<Vec<_>>().join(",")).unwrap_or(HeaderValue::from_static(""))
    }
}
