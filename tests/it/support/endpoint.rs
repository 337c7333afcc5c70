//! A push endpoint that does as it is told.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mash_gateway::pki::tls::{self, ClientCertificate, MinTls, ServerMaterial};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::authority::TestAuthority;

/// What an endpoint was sent.
#[derive(Clone, Debug)]
pub(crate) struct Pushed {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) document: Value,
}

/// An endpoint that listens until the test ends. Answers 204 unless told otherwise.
pub(crate) struct Endpoint {
    pub(crate) port: u16,
    listener: Option<std::net::TcpListener>,
    authority: TestAuthority,
    pushed: Arc<Mutex<Vec<Pushed>>>,
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
    /// What it says about when it may be asked again, while it does not take what it is sent.
    retry_after: Arc<Mutex<Option<String>>>,
}

impl Endpoint {
    /// A port of its own; nothing answers there yet.
    pub(crate) fn reserve() -> Self {
        let listener = listen(0);
        Self {
            port: listener.local_addr().unwrap().port(),
            listener: Some(listener),
            authority: TestAuthority::new("Endpoints"),
            pushed: Arc::default(),
            answers: Arc::default(),
            retry_after: Arc::default(),
        }
    }

    /// The directory's lines for it, with or without a mailbox to fall back on.
    pub(crate) fn lines(&self, has_mailbox: bool) -> String {
        let mailbox = if has_mailbox { ", { kind = \"mailbox\" }" } else { "" };
        format!(
            "endpoints = [{{ kind = \"push\", url = \"https://localhost:{}/in\", \
             ca = \"certs/endpoint.pem\" }}{mailbox}]\n",
            self.port
        )
    }

    /// Puts its authority's certificate into the gateway's home.
    pub(crate) fn introduce(&self, home: &Path) {
        std::fs::write(home.join("certs/endpoint.pem"), self.authority.pem()).unwrap();
    }

    /// The next answers, in order.
    pub(crate) fn answer_with(&self, statuses: &[u16]) {
        let statuses = statuses.iter().map(|s| StatusCode::from_u16(*s).unwrap());
        self.answers.lock().unwrap().extend(statuses);
    }

    /// With each of these answers that is no success it says this in `Retry-After`.
    pub(crate) fn ask_to_wait(&self, retry_after: &str) {
        *self.retry_after.lock().unwrap() = Some(retry_after.to_owned());
    }

    /// Whoever connects from now on is refused, until it starts.
    pub(crate) fn leave(&mut self) {
        self.listener = None;
    }

    /// Starts to answer, to whom the gateway's authority vouches for.
    pub(crate) fn start(&mut self, home: &Path) {
        let listener = self.listener.take().unwrap_or_else(|| listen(self.port));
        let listener = TcpListener::from_std(listener).unwrap();
        let (chain, key) = self.authority.server(&["localhost"]);
        let read = |name: &str| std::fs::read_to_string(home.join(name)).unwrap();
        let material = ServerMaterial {
            chain: &chain,
            key: &key,
            agency_authorities: &read("certs/agency-ca.pem"),
            crls: &read("certs/agency-ca.crl.pem"),
        };
        let acceptor = TlsAcceptor::from(
            tls::server_config(material, ClientCertificate::Required, MinTls::Tls13).unwrap(),
        );
        let (pushed, answers) = (Arc::clone(&self.pushed), Arc::clone(&self.answers));
        let retry_after = Arc::clone(&self.retry_after);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                let (pushed, answers) = (Arc::clone(&pushed), Arc::clone(&answers));
                let retry_after = Arc::clone(&retry_after);
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(move |request| {
                        let retry_after = retry_after.lock().unwrap().clone();
                        take(request, Arc::clone(&pushed), Arc::clone(&answers), retry_after)
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
    }

    /// Everything it was sent so far.
    pub(crate) fn pushed(&self) -> Vec<Pushed> {
        self.pushed.lock().unwrap().clone()
    }
}

async fn take(
    request: Request<Incoming>,
    pushed: Arc<Mutex<Vec<Pushed>>>,
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
    retry_after: Option<String>,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let document = serde_json::from_slice(&body).unwrap();
    pushed.lock().unwrap().push(Pushed { headers: head.headers, body, document });
    let status = answers.lock().unwrap().pop_front().unwrap_or(StatusCode::NO_CONTENT);
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    if status.is_redirection() {
        response.headers_mut().insert("location", "https://localhost:1/".parse().unwrap());
    }
    if let Some(retry_after) = retry_after.filter(|_| !status.is_success()) {
        response.headers_mut().insert("retry-after", retry_after.parse().unwrap());
    }
    Ok(response)
}

fn listen(port: u16) -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}
