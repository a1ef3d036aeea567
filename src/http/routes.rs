//! The routes, and what each of them wants to be different from the others.
//!
//! A route says so where it is spelled: [`Routes::route_with`]. It is looked up only when somebody wants to know (how
//! much of a body to read, how loud its line in the log is), by the outer layers, which see the path and not the route.
//! Layers around single routes would say it too; but each is a box, another future and some copies for every request,
//! more than it takes to find and write a worker (ADR 0036).

use std::{fmt, time::Duration};

use axum::{Router, routing::MethodRouter};

/// A router that knows its routes.
pub struct Routes<S = ()> {
    router: Router<S>,
    known: Vec<Route>,
}

/// A route, by the template of its path, such as `/api/v1/workers/{id}`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) wants: Wants,
}

/// What a route wants to be different.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    pub(super) body: Option<usize>,
    pub(super) time: Option<Duration>,
    pub(super) is_routine: bool,
}

impl Wants {
    /// It is as any other.
    pub const NOTHING: Self = Self { body: None, time: None, is_routine: false };

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

    /// Its successes are too many and too alike to be told, such as those of heartbeats: they are logged at debug.
    #[must_use]
    pub const fn routine(mut self) -> Self {
        self.is_routine = true;
        self
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None.
    pub fn new() -> Self {
        Self { router: Router::new(), known: Vec::new() }
    }

    /// Adds a route that is as any other. A path is given once, with all its methods.
    #[must_use]
    pub fn route(self, path: &'static str, methods: MethodRouter<S>) -> Self {
        self.route_with(Wants::NOTHING, path, methods)
    }

    /// Adds a route that wants something to be different, whatever the method.
    #[must_use]
    pub fn route_with(mut self, wants: Wants, path: &'static str, methods: MethodRouter<S>) -> Self {
        self.known.push(Route { path, wants });
        Self { router: self.router.route(path, methods), known: self.known }
    }

    /// Puts others beside these.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.known.extend(other.known);
        Self { router: self.router.merge(other.router), known: self.known }
    }

    /// Gives the handlers what they work with.
    pub fn with_state<T>(self, state: S) -> Routes<T> {
        Routes { router: self.router.with_state(state), known: self.known }
    }
}

impl Routes {
    /// What answers, and what finds the route of a path.
    pub(super) fn into_parts(self) -> (Router, Table) {
        let mut table = Table::default();
        for route in self.known {
            let inserted = table.0.insert(route.path, route);
            debug_assert!(inserted.is_ok(), "a path is given once, with all its methods: {}", route.path);
        }
        (self.router, table)
    }
}

impl<S> fmt::Debug for Routes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.iter().map(|route| route.path)).finish()
    }
}

/// Finds the route of a path, by the same rules as the router (it is the same library).
#[derive(Clone, Default)]
pub(super) struct Table(matchit::Router<Route>);

impl Table {
    pub(super) fn find(&self, path: &str) -> Option<&Route> {
        self.0.at(path).ok().map(|found| found.value)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}
