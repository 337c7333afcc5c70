//! The running gateway, as commands that changed something in its home see it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::read_text;
use crate::config::{Config, Home};
use crate::register::Told;

/// Has the running gateway of this home take changed files into use; returns when it has, or when it
/// is clear that it will not. The local door takes them into use and answers when they are.
pub(super) async fn tell(home: &Home, config: &Config) -> Told {
    match ask(config, Method::POST, "/reload", Duration::from_secs(15)).await {
        Ok((status, answered)) if status.is_success() && is_ours(home, &answered) => {
            Told::InUse { cut: answered["cut"].as_u64().unwrap_or(0) }
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Told::NotRunning,
        Ok(_) | Err(_) => Told::Failed,
    }
}

/// What the gateway at the local door answers: the status, and the body if it is JSON.
pub(super) async fn ask(
    config: &Config,
    method: Method,
    path: &str,
    timeout: Duration,
) -> io::Result<(StatusCode, Value)> {
    let asked = tokio::time::timeout(timeout, exchange(config.listen.local, method, path)).await;
    asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Whether the gateway that answered so is this home's: another's may listen there, and its word is
/// worth nothing.
pub(super) fn is_ours(home: &Home, answered: &Value) -> bool {
    let log = read_text(&home.log_key_public()).unwrap_or_default();
    answered["log"] == log.trim()
}

async fn exchange(
    address: SocketAddr,
    method: Method,
    path: &str,
) -> io::Result<(StatusCode, Value)> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}
