//! Which request is answered by what, and the order in which it is checked (config-api §2 steps 3 to 9, §3);
//! the routes themselves are rows of `contract.rs`.
//!
//! Guards come before routes, so that a stranger does not learn which paths exist. No handler decides about another
//! handler's route.

use crate::{
    answer,
    app::App,
    change,
    contract::{Call, ENDPOINTS, Endpoint, Route, Verb},
    error::{Problem, Slug},
    guard::{self, BrowserRule, Peer},
    history, metrics, openapi,
    rates::Cost,
    read,
    request::Query,
    status, watch,
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
use hotshoe_json::echo;
use std::sync::Arc;
use tokio::time::Instant;

/// A plain `GET` of [`Route::Root`] changes the value; the others change by their method.
const fn browser_rule(route: Route, call: &Call) -> BrowserRule {
    match (route, call.verb) {
        (Route::Root, _) => BrowserRule::Strict,
        (_, Verb::Get) => BrowserRule::Read,
        _ => BrowserRule::Change,
    }
}

/// Answered at every time: they tell what time it is.
const fn is_probe(route: Route) -> bool {
    matches!(route, Route::Health | Route::Ready | Route::Status)
}

fn not_allowed(endpoint: &Endpoint, method: &Method) -> Problem {
    let methods = endpoint.methods();
    let detail = format!("{} is not a method of this route", echo(method.as_str()));
    let allow = HeaderValue::from_str(&methods).expect("methods are a header value");
    Problem::new(Slug::MethodNotAllowed, detail)
        .hint(format!("it takes {methods}"))
        .header(ALLOW, allow)
}

/// One request on its way.
pub(crate) struct Ask {
    pub(crate) app: Arc<App>,
    pub(crate) head: Parts,
    /// The row of the table that it asks for.
    pub(crate) call: &'static Call,
    /// Whether nothing follows the head. The body itself goes to the handlers that read one: it cannot be shared.
    pub(crate) is_empty: bool,
    /// When its head was complete.
    pub(crate) since: Instant,
    pub(crate) peer: Peer,
}

impl Ask {
    /// The query's parameters: only what the route's row names, each at most once.
    pub(crate) fn query(&self) -> Result<Query<'_>, Problem> {
        Query::parse(self.head.uri.query(), self.call.parameters)
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }
}

/// The whole surface. Every request carries its [`Peer`] as an extension.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for endpoint in ENDPOINTS {
        let handler = move |State(app): State<Arc<App>>, request: Request| async move {
            match serve(app, endpoint, request).await {
                Ok(response) => response,
                Err(problem) => problem.into_response(),
            }
        };
        router = router.route(endpoint.path, any(handler));
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
    let response = match check(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    if let Some(slug) = response.extensions().get::<Slug>() {
        app.metrics.refused(*slug);
    }
    response
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
    let (key, now) = (peer.key(), std::time::Instant::now());
    if let Some(key) = key {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let cost = if reads { Cost::Read } else { Cost::Change };
        app.rates.admit(key, cost, now)?;
    }
    let open = |endpoint: &Endpoint| endpoint.open && endpoint.path == uri.path();
    let Some(tokens) = app.tokens.as_ref().filter(|_| !ENDPOINTS.iter().any(open)) else {
        return Ok(());
    };
    let Some(key) = key else {
        return guard::token(headers, tokens);
    };
    app.rates.may_guess(key, now)?;
    let outcome = guard::token(headers, tokens);
    if outcome
        .as_ref()
        .is_err_and(|problem| problem.slug() == Slug::TokenInvalid)
    {
        app.rates.guessed(key, now);
    }
    outcome
}

async fn serve(
    app: Arc<App>,
    endpoint: &'static Endpoint,
    request: Request,
) -> Result<Response, Problem> {
    let route = endpoint.route;
    let since = Instant::now();
    let peer = peer_of(&request)?;
    let (head, body) = request.into_parts();
    let call = endpoint
        .call(&head.method)
        .ok_or_else(|| not_allowed(endpoint, &head.method))?;
    let rule = browser_rule(route, call);
    guard::browser(&head.headers, rule)?;
    if !is_probe(route) {
        app.phase.admits(rule != BrowserRule::Read)?;
    }
    let is_head = head.method == Method::HEAD;
    let ask = Ask {
        app,
        head,
        call,
        is_empty: body.is_end_stream(),
        since,
        peer,
    };
    let mut response = match (route, call.verb) {
        (Route::Root, _) => change::root(ask).await,
        (Route::Touch, _) => change::touch(ask).await,
        (Route::Confirm, _) => change::confirm(ask, body).await,
        (Route::Rollback, _) => change::rollback(ask, body).await,
        (Route::Config, Verb::Get) => read::config(&ask),
        (Route::Config, Verb::Delete) => change::delete(ask).await,
        (Route::Config, Verb::Patch) => change::patch(ask, body).await,
        (Route::Config, Verb::Put | Verb::Post) => change::put(ask, body).await,
        (Route::History, _) => history::page(ask).await,
        (Route::HistoryEntry, _) => history::entry(ask).await,
        (Route::Diff, _) => history::diff(ask).await,
        (Route::Watch, _) => watch::watch(ask),
        (Route::OpenApi, _) => openapi::openapi(&ask),
        (Route::Metrics, _) => metrics::metrics(ask).await,
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
