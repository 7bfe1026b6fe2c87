//! The admin socket: read-only `GET /status`, `/metrics`, `/healthz`. It asks the library and formats; it changes nothing.

use super::dirs::ADMIN_SOCKET;
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use hotshoe::{Blame, ExitCode, Host, Problem, config_file::Admin};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::net::{TcpListener, UnixListener};

/// The socket's file, removed on drop.
pub(crate) struct Served(Option<PathBuf>);

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// Binds and serves on the current runtime until the process ends.
///
/// # Errors
/// The address cannot be bound.
pub(crate) async fn serve(
    host: Arc<Host>,
    admin: &Admin,
    run_dir: &Path,
) -> Result<Served, Problem> {
    let router = router(host);
    match admin {
        Admin::Off => Ok(Served(None)),
        Admin::Unix => {
            let path = run_dir.join(ADMIN_SOCKET);
            // The lock of the run folder is ours, so a socket that is there is left over.
            let _ = fs::remove_file(&path);
            let listener = UnixListener::bind(&path)
                .map_err(|error| taken(&path.display().to_string(), &error))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
                .map_err(|error| taken(&path.display().to_string(), &error))?;
            tokio::spawn(async move { axum::serve(listener, router).await });
            Ok(Served(Some(path)))
        }
        Admin::Tcp(address) => {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| taken(&address.to_string(), &error))?;
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "admin socket");
            }
            tokio::spawn(async move { axum::serve(listener, router).await });
            Ok(Served(None))
        }
    }
}

fn taken(address: &str, error: &std::io::Error) -> Problem {
    let headline = format!("the admin socket cannot listen on {address}: {error}");
    Problem::error(ExitCode::Init, Blame::Environment, "admin-socket", headline)
        .wanted(format!("{address} free to listen on"))
        .found(error.to_string())
        .remedy(
            error,
            "stop whoever listens there, or set [host] admin to \"unix\", another address, or \"off\"",
        )
}

fn router(host: Arc<Host>) -> Router {
    Router::new()
        .route(
            "/status",
            get(|State(host): State<Arc<Host>>| async move { Json(host.status()) }),
        )
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .with_state(host)
}

async fn metrics(State(host): State<Arc<Host>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], host.metrics())
}

async fn healthz(State(host): State<Arc<Host>>) -> (StatusCode, &'static str) {
    match host.is_ready() {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}
