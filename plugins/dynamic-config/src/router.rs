//! Which request is answered by what, and the order in which it is checked (config-api §2 steps 3 to 9, §3).
//!
//! Guards come before routes, so that a stranger does not learn which paths exist. No handler decides about another
//! handler's route.

use crate::{
    answer,
    app::App,
    change,
    error::{Problem, Slug, echo},
    guard::{self, BrowserRule, Peer},
    history, read, status,
};
use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{HeaderValue, Method, header::ALLOW, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::any,
};
use std::sync::Arc;
use tokio::time::Instant;

/// A row of config-api §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Root,
    Touch,
    Config,
    Rollback,
    History,
    HistoryEntry,
    Schema,
    Status,
    Health,
    Ready,
}

/// Paths are never normalised: a trailing slash is another path, below `/v1/config` another pointer.
const PATHS: [(&str, Route); 12] = [
    ("/", Route::Root),
    ("/v1/touch", Route::Touch),
    ("/v1/config", Route::Config),
    ("/v1/config/", Route::Config),
    ("/v1/config/{*pointer}", Route::Config),
    ("/v1/rollback", Route::Rollback),
    ("/v1/history", Route::History),
    ("/v1/history/{generation}", Route::HistoryEntry),
    ("/v1/schema", Route::Schema),
    ("/v1/status", Route::Status),
    ("/healthz", Route::Health),
    ("/readyz", Route::Ready),
];

/// What is asked of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// `GET`, and `HEAD` where the route takes it.
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Route {
    /// The methods, as `allow` lists them.
    const fn methods(self) -> &'static str {
        match self {
            Self::Root => "GET",
            Self::Touch | Self::Rollback => "POST",
            Self::Config => "GET, HEAD, PUT, PATCH, DELETE",
            _ => "GET, HEAD",
        }
    }

    fn verb(self, method: &Method) -> Result<Verb, Problem> {
        let verb = match *method {
            Method::GET | Method::HEAD => Some(Verb::Get),
            Method::POST => Some(Verb::Post),
            Method::PUT => Some(Verb::Put),
            Method::PATCH => Some(Verb::Patch),
            Method::DELETE => Some(Verb::Delete),
            _ => None,
        };
        let methods = self.methods();
        let taken = methods.split(", ").any(|own| own == method.as_str());
        verb.filter(|_| taken).ok_or_else(|| {
            let detail = format!("{} is not a method of this route", echo(method.as_str()));
            let allow = HeaderValue::from_static(methods);
            Problem::new(Slug::MethodNotAllowed, detail)
                .hint(format!("it takes {methods}"))
                .header(ALLOW, allow)
        })
    }

    const fn browser_rule(self, verb: Verb) -> BrowserRule {
        match (self, verb) {
            (Self::Root, _) => BrowserRule::Strict,
            (_, Verb::Get) => BrowserRule::Read,
            _ => BrowserRule::Change,
        }
    }

    /// Answered at every time: they tell what time it is.
    const fn is_probe(self) -> bool {
        matches!(self, Self::Health | Self::Ready | Self::Status)
    }
}

/// One request on its way.
pub(crate) struct Ask {
    pub(crate) app: Arc<App>,
    pub(crate) head: Parts,
    /// Whether nothing follows the head. The body itself goes to the handlers that read one: it cannot be shared.
    pub(crate) is_empty: bool,
    /// When its head was complete.
    pub(crate) since: Instant,
    pub(crate) peer: Peer,
}

impl Ask {
    pub(crate) fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }
}

/// The whole surface. Every request carries its [`Peer`] as an extension.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for (path, route) in PATHS {
        let handler = move |State(app): State<Arc<App>>, request: Request| async move {
            match serve(app, route, request).await {
                Ok(response) => response,
                Err(problem) => problem.into_response(),
            }
        };
        router = router.route(path, any(handler));
    }
    router
        .fallback(no_such_route)
        .layer(from_fn_with_state(Arc::clone(&app), guarded))
        .with_state(app)
}

async fn no_such_route(request: Request) -> Response {
    let detail = format!("there is nothing at {}", echo(request.uri().path()));
    Problem::new(Slug::NoSuchRoute, detail).into_response()
}

/// Steps 3 to 6.
async fn guarded(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match check(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn peer_of(request: &Request) -> Result<Peer, Problem> {
    let peer = request.extensions().get::<Peer>().copied();
    peer.ok_or_else(|| Problem::new(Slug::Internal, "a request without a peer"))
}

fn check(app: &App, request: &Request) -> Result<(), Problem> {
    let peer = peer_of(request)?;
    let (headers, uri) = (request.headers(), request.uri());
    guard::host(headers, uri, peer, &app.plan.allowed_hosts)?;
    guard::peer(peer)?;
    let exempt = ["/healthz", "/readyz"].contains(&uri.path());
    match &app.tokens {
        Some(tokens) if !exempt => guard::token(headers, tokens),
        _ => Ok(()),
    }
}

async fn serve(app: Arc<App>, route: Route, request: Request) -> Result<Response, Problem> {
    let since = Instant::now();
    let peer = peer_of(&request)?;
    let (head, body) = request.into_parts();
    let verb = route.verb(&head.method)?;
    let rule = route.browser_rule(verb);
    guard::browser(&head.headers, rule)?;
    if !route.is_probe() {
        app.phase.admits(rule != BrowserRule::Read)?;
    }
    let is_head = head.method == Method::HEAD;
    let ask = Ask {
        app,
        head,
        is_empty: body.is_end_stream(),
        since,
        peer,
    };
    let mut response = match (route, verb) {
        (Route::Root, _) => change::root(ask).await,
        (Route::Touch, _) => change::touch(ask).await,
        (Route::Rollback, _) => change::rollback(ask, body).await,
        (Route::Config, Verb::Get) => read::config(&ask),
        (Route::Config, Verb::Delete) => change::delete(ask).await,
        (Route::Config, Verb::Patch) => change::patch(ask, body).await,
        (Route::Config, Verb::Put | Verb::Post) => change::put(ask, body).await,
        (Route::History, _) => history::page(ask).await,
        (Route::HistoryEntry, _) => history::entry(ask).await,
        (Route::Schema, _) => read::schema(&ask),
        (Route::Status, _) => status::status(ask).await,
        (Route::Health, _) => read::health(&ask),
        (Route::Ready, _) => read::ready(&ask),
    }?;
    if is_head {
        // The length of what `GET` would answer stays.
        *response.body_mut() = Body::empty();
    }
    debug_assert!(response.headers().contains_key(answer::FIXED[0].0.clone()));
    Ok(response)
}
