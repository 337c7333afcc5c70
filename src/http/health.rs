//! The local door: whether the gateway lives, whether it can take work, and its figures. Plain HTTP
//! on the loopback address only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::sync::mpsc;

use crate::exchange::Gateway;
use crate::message::now;
use crate::telemetry::Metrics;

/// What the local door shows.
#[derive(Clone)]
pub struct Local {
    /// The gateway whose health it is.
    pub gateway: Arc<Gateway>,
    /// The figures.
    pub metrics: Arc<Metrics>,
    /// Where to say that files have changed; each message is answered when they are in use.
    pub reload: mpsc::Sender<Reload>,
    /// What an operator should look at.
    pub concerns: Arc<Concerns>,
}

/// A request to take changed files into use, and where to say how it went.
pub struct Reload(pub tokio::sync::oneshot::Sender<Result<Reloaded, String>>);

/// What was taken into use.
#[derive(Clone, Copy, Debug)]
pub struct Reloaded {
    /// In words.
    pub changed: &'static str,
    /// How many connections were open with what is revoked; they are gone.
    pub cut: usize,
}

/// What an operator should look at although the gateway works, one sentence for each matter.
#[derive(Debug, Default)]
pub struct Concerns(Mutex<BTreeMap<&'static str, String>>);

impl Concerns {
    /// Says how a matter stands: what there is to look at, or nothing.
    pub fn set(&self, matter: &'static str, concern: Option<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match concern {
            Some(concern) => {
                if all.get(matter) != Some(&concern) {
                    tracing::warn!(matter, concern, "an operator should look at this");
                }
                all.insert(matter, concern);
            }
            None => drop(all.remove(matter)),
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(matter, concern)| format!("{matter}: {concern}")).collect()
    }
}

/// The local door's routes.
pub fn router(local: Local) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .route("/reload", post(reload))
        .layer(middleware::from_fn(ours_only))
        .with_state(local)
}

// A page in a browser on this machine is not this machine's operator, whatever name it gives us.
async fn ours_only(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_ours = matches!(name, "" | "127.0.0.1" | "[::1]" | "localhost");
    if is_ours && !headers.contains_key(header::ORIGIN) {
        next.run(request).await
    } else {
        StatusCode::FORBIDDEN.into_response()
    }
}

async fn ready(State(local): State<Local>) -> Response {
    if let Ok(room) = local.gateway.store().room().await {
        local.concerns.set("disk", room.is_little().then(|| room.to_string()));
    }
    let concerns = local.concerns.all();
    // Whose gateway this is, so that nobody takes another's word for it.
    let log = local.gateway.log().to_string();
    match local.gateway.check(now()).await {
        Ok(()) => {
            let status = if concerns.is_empty() { "ready" } else { "ready-with-concerns" };
            let body = json!({ "status": status, "concerns": concerns, "log": log });
            json_response(StatusCode::OK, body)
        }
        Err(problem) => {
            tracing::error!(
                problem.code = problem.kind.facts().code,
                problem.internal = problem.internal.as_deref(),
                "the health check failed"
            );
            let reason = problem.detail;
            let body = json!({
                "status": "not-ready", "reason": reason, "concerns": concerns, "log": log,
            });
            json_response(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

async fn metrics(State(local): State<Local>) -> Response {
    if let Ok(Some(head)) = local.gateway.store().head().await {
        local.metrics.log_size(head.size);
    }
    if let Ok(room) = local.gateway.store().room().await {
        local.metrics.store_free(room.free_bytes);
    }
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, media_type)], local.metrics.render()).into_response()
}

async fn version() -> Response {
    json_response(StatusCode::OK, json!({ "version": env!("CARGO_PKG_VERSION") }))
}

async fn reload(State(local): State<Local>) -> Response {
    let (reply, answer) = tokio::sync::oneshot::channel();
    if local.reload.send(Reload(reply)).await.is_err() {
        return json_response(
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "error": "the gateway is stopping" }),
        );
    }
    match answer.await {
        Ok(Ok(Reloaded { changed, cut })) => {
            let log = local.gateway.log().to_string();
            json_response(StatusCode::OK, json!({ "changed": changed, "cut": cut, "log": log }))
        }
        Ok(Err(error)) => {
            json_response(StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": error }))
        }
        Err(_) => json_response(
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "error": "the gateway is stopping" }),
        ),
    }
}

fn json_response(status: StatusCode, value: serde_json::Value) -> Response {
    let body = format!("{value}\n");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
