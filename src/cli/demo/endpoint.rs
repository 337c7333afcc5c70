//! A contact officer's push endpoint, as a partner might run one: takes what the gateway posts over
//! mutual TLS, and from nobody else.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::cli::{Exit, Failure};
use crate::pki::ca::Domain;
use crate::pki::identity;

/// An endpoint that is listening; it ends with the runtime.
pub(super) struct Endpoint {
    taken: mpsc::UnboundedReceiver<Value>,
}

impl Endpoint {
    /// Starts an endpoint on `listener` that takes documents from the gateway of `domain`.
    pub(super) fn start(listener: TcpListener, tls: Arc<ServerConfig>, domain: Domain) -> Self {
        let (give, taken) = mpsc::unbounded_channel();
        let acceptor = TlsAcceptor::from(tls);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, give, domain) = (acceptor.clone(), give.clone(), domain.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    let is_gateway = identity::is_gateway(chain, &domain);
                    let service =
                        service_fn(move |request| take(request, is_gateway, give.clone()));
                    // However it ends: the gateway tries again when it was not answered.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { taken }
    }

    /// The next document taken.
    pub(super) async fn next(&mut self) -> Result<Value, Failure> {
        let waited = tokio::time::timeout(PATIENCE, self.taken.recv()).await;
        waited.ok().flatten().ok_or_else(|| {
            Failure::new(Exit::Failed, "the gateway did not push what it had accepted")
        })
    }
}

async fn take(
    request: Request<Incoming>,
    is_gateway: bool,
    give: mpsc::UnboundedSender<Value>,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let answer = |status| {
        let mut response = Response::new(Empty::new());
        *response.status_mut() = status;
        Ok(response)
    };
    if !is_gateway {
        return answer(StatusCode::FORBIDDEN);
    }
    if request.method() != Method::POST {
        return answer(StatusCode::METHOD_NOT_ALLOWED);
    }
    let body = request.into_body().collect().await?.to_bytes();
    match serde_json::from_slice(&body) {
        Ok(document) => answer(match give.send(document) {
            Ok(()) => StatusCode::NO_CONTENT,
            Err(_) => StatusCode::SERVICE_UNAVAILABLE,
        }),
        Err(_) => answer(StatusCode::BAD_REQUEST),
    }
}

/// A listener on a port of the system's choice, and that port.
pub(super) async fn listen() -> Result<(TcpListener, u16), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

const PATIENCE: Duration = Duration::from_secs(30);
