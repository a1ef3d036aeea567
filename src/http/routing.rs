//! Routing: finds the handler of a path, and the options of its route. No route is listed here: each protocol lists its
//! own (`rest::routes`, `graphql`, `pages`).
//!
//! Handlers and extractors are axum's, and paths are matched by `matchit`, which axum's router uses, too. The router
//! itself is not used: it keeps the match to itself, while the middleware around it needs the route as well (how much
//! of a body is read, how loud the log line is), and its way to a handler is seven allocations, more than it takes to
//! find a worker (ADR 0036). Here a path is matched once, when the request context is made.

use std::{fmt, future::ready, ops::Range, pin::Pin, sync::Arc, time::Duration};

use axum::{
    extract::Request,
    handler::Handler,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::error::HttpError;
use super::query_params::{self, Parameter};
use super::request_metrics::{RequestMetrics, RouteMetrics};

/// Routes whose handlers still need a state `S`.
pub struct Routes<S = ()>(Vec<Route<Unbound<S>>>);

/// A route: the template of its path, such as `/api/v1/workers/{id}`, its options and its handlers.
pub(super) struct Route<A = Action> {
    pub(super) path: &'static str,
    pub(super) wants: RouteOptions,
    methods: Vec<MethodHandler<A>>,
}

/// The handler of one method.
struct MethodHandler<A> {
    method: Method,
    /// The query parameters that it takes; any, if none were declared.
    parameters: Option<Vec<Parameter>>,
    action: A,
}

/// The handlers of a path by method: begun with [`get`] or [`post`].
pub struct MethodRouter<S = ()>(Vec<MethodHandler<Unbound<S>>>);

/// A handler with its state.
type Action = Box<dyn Fn(Request) -> ResponseFuture + Send + Sync>;

/// A handler without its state.
type Unbound<S> = Box<dyn FnOnce(S) -> Action>;

/// The future of a response, boxed as axum's handlers return it.
pub(super) type ResponseFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

/// The options of a route: how the middleware treats it differently from others.
#[derive(Clone, Copy, Debug)]
pub struct RouteOptions {
    pub(super) body: Option<usize>,
    pub(super) time: Option<Duration>,
    pub(super) is_quiet: bool,
    pub(super) may_only_ask: bool,
    pub(super) is_public: bool,
    /// See [`RouteOptions::takes_credentials`].
    pub(super) takes_credentials: bool,
    pub(super) hides_path: bool,
    pub(super) failures: Option<ErrorRenderer>,
}

/// How a route writes errors whose clients expect another form than the documented one.
#[derive(Clone, Copy, Debug)]
pub struct ErrorRenderer {
    /// Chooses the media type by the headers of the request.
    pub media_type: fn(&HeaderMap) -> &'static str,
    /// The body.
    pub body: ErrorBodyWriter,
}

/// Writes an error as the body of a response.
pub type ErrorBodyWriter = fn(&HttpError) -> Vec<u8>;

impl RouteOptions {
    /// The defaults.
    pub const NOTHING: Self = Self {
        body: None,
        time: None,
        is_quiet: false,
        may_only_ask: false,
        is_public: false,
        takes_credentials: false,
        hides_path: false,
        failures: None,
    };

    /// Sets the longest request body.
    #[must_use]
    pub const fn body(mut self, bytes: usize) -> Self {
        self.body = Some(bytes);
        self
    }

    /// Sets how long a response may take to begin.
    #[must_use]
    pub const fn time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// Declares that a POST may be a query. A handler that carries out a command says so, by
    /// [`mark_as_command`](super::middleware::request_context::mark_as_command).
    #[must_use]
    pub const fn questions(mut self) -> Self {
        self.may_only_ask = true;
        self
    }

    /// Lets GET and HEAD of nobody through: what is answered is for everybody, or its handler asks for the principal
    /// itself.
    #[must_use]
    pub const fn public(mut self) -> Self {
        self.is_public = true;
        self
    }

    /// Lets all requests of nobody through, commands too: here one becomes somebody.
    #[must_use]
    pub const fn takes_credentials(mut self) -> Self {
        self.takes_credentials = true;
        self
    }

    /// Leaves the path out of the log line, for routes to whose paths people may append a secret by mistake.
    #[must_use]
    pub const fn path_hidden(mut self) -> Self {
        self.hides_path = true;
        self
    }

    /// Sets how its errors are written, those of the middleware included.
    #[must_use]
    pub const fn failures(mut self, format: ErrorRenderer) -> Self {
        self.failures = Some(format);
        self
    }

    /// Logs successes at debug level, for routes with many equal requests, such as heartbeats.
    #[must_use]
    pub const fn quiet(mut self) -> Self {
        self.is_quiet = true;
        self
    }
}

/// A handler for GET, and for HEAD, whose response is sent without its body.
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

/// A handler for DELETE.
pub fn delete<T: 'static, S: Clone + Send + Sync + 'static>(
    handler: impl Handler<T, S, Future = ResponseFuture>,
) -> MethodRouter<S> {
    MethodRouter(Vec::new()).on(Method::DELETE, handler)
}

impl<S: Clone + Send + Sync + 'static> MethodRouter<S> {
    /// Adds a handler for POST.
    #[must_use]
    pub fn post<T: 'static>(self, handler: impl Handler<T, S, Future = ResponseFuture>) -> Self {
        self.on(Method::POST, handler)
    }

    /// Adds a handler for PUT.
    #[must_use]
    pub fn put<T: 'static>(self, handler: impl Handler<T, S, Future = ResponseFuture>) -> Self {
        self.on(Method::PUT, handler)
    }

    /// Adds a handler for DELETE.
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
    /// No routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route with the default options. Each path is added once, with all its methods.
    #[must_use]
    pub fn route(self, path: &'static str, methods: MethodRouter<S>) -> Self {
        self.route_with(RouteOptions::NOTHING, path, methods)
    }

    /// Adds a route with options, which hold for all its methods.
    #[must_use]
    pub fn route_with(mut self, wants: RouteOptions, path: &'static str, methods: MethodRouter<S>) -> Self {
        self.0.push(Route { path, wants, methods: methods.0 });
        self
    }

    /// Adds the routes of another set.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Declares the query parameters of these routes, by method and path: any other is refused.
    #[must_use]
    pub fn with_parameters(mut self, taken: impl Fn(&Method, &str) -> Vec<Parameter>) -> Self {
        for Route { path, methods, .. } in &mut self.0 {
            for MethodHandler { method, parameters, .. } in methods {
                *parameters = Some(taken(method, path));
            }
        }
        self
    }

    /// Gives the handlers their state.
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

/// All routes, indexed by path.
pub(super) struct Router {
    routes: Vec<Route>,
    places: matchit::Router<usize>,
    /// What is counted of each route, in the same places, and of the paths that none matches.
    metrics: Vec<Arc<RouteMetrics>>,
    unknown: Arc<RouteMetrics>,
}

/// A matched path.
#[derive(Clone, Debug)]
pub(super) struct RouteMatch {
    place: usize,
    /// The range of the id in the path: the parameter `{id}`, or the only one.
    id: Option<Range<usize>>,
}

impl RouteMatch {
    /// The id in the path that was matched, not decoded.
    pub(super) fn id<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.get(self.id.clone()?)
    }
}

impl Router {
    /// A router of these routes, whose requests are counted here.
    pub(super) fn new(routes: Routes, metrics: &RequestMetrics) -> Self {
        let routes: Vec<_> = routes.0.into_iter().map(|route| route.bind(&())).collect();
        let mut places = matchit::Router::new();
        for (place, route) in routes.iter().enumerate() {
            places.insert(route.path, place).expect("a path is given once, with all its methods");
        }
        let unknown = metrics.of_unknown_routes();
        let metrics = routes.iter().map(|route| metrics.of_route(route.path)).collect();
        Self { routes, places, metrics, unknown }
    }

    /// Matches a path.
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

    /// What is counted of a matched route, or of paths that none matches.
    pub(super) fn metrics(&self, found: Option<&RouteMatch>) -> &RouteMetrics {
        found.and_then(|found| self.metrics.get(found.place)).unwrap_or(&self.unknown)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|route| route.path)).finish()
    }
}

impl Route {
    /// Calls the handler of the request's method; without one, the response names the methods that there are.
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
        // Method names and commas are always a valid header value.
        HeaderValue::try_from(names.collect::<Vec<_>>().join(",")).unwrap_or(HeaderValue::from_static(""))
    }
}
