//! The running gateway, as commands that changed something in its home see it.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::Value;

use super::read_text;
use crate::config::{Config, Home};

/// Whether a running gateway took what was changed into use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Told {
    /// It did, and cut so many connections that were open with what is no longer good.
    InUse {
        /// How many.
        cut: u64,
    },
    Failed,
    NotRunning,
}

impl Told {
    /// Whether it did.
    pub(super) fn is_in_use(&self) -> bool {
        match self {
            Self::InUse { .. } => true,
            Self::Failed | Self::NotRunning => false,
        }
    }
}

/// Has the running gateway of this home take changed files into use; returns when it has, or when it
/// is clear that it will not. The local door takes them into use and answers when they are.
pub(super) async fn tell(home: &Home, config: &Config) -> Told {
    let log = read_text(&home.log_key_public()).unwrap_or_default();
    let asked =
        tokio::time::timeout(Duration::from_secs(15), ask_to_reload(config.listen.local)).await;
    match asked {
        // Another home's gateway may listen there: its word is worth nothing.
        Ok(Ok(Some(answered))) if answered["log"] == log.trim() => {
            Told::InUse { cut: answered["cut"].as_u64().unwrap_or(0) }
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Told::NotRunning,
        Ok(_) | Err(_) => Told::Failed,
    }
}

// What a gateway there answers; none when it refuses.
async fn ask_to_reload(address: SocketAddr) -> std::io::Result<Option<Value>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    let request = hyper::Request::post("/reload")
        .header("host", address.to_string())
        .body(http_body_util::Empty::<hyper::body::Bytes>::new())
        .map_err(std::io::Error::other)?;
    let response = sender.send_request(request).await.map_err(std::io::Error::other)?;
    let is_done = response.status().is_success();
    let body = response.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
    Ok(serde_json::from_slice(&body).ok().filter(|_| is_done))
}
