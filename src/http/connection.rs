//! HTTP on one connection, whichever door it came in by: within limits, and for whom it is meant.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::audit::entry::Event;
use crate::exchange::Gateway;
use crate::http::guard::Guarded;
use crate::http::host::HostNames;
use crate::http::refusals::Refusals;
use crate::http::work::{Moving, Work};
use crate::message::{MessageId, now};
use crate::pki::identity::Peer;
use crate::problem::{Problem, ProblemType};
use crate::telemetry::Metrics;

/// What one connection may do.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Frames a second over HTTP/2 that carry nothing, and for a moment ten times as many.
    pub control_frames_per_second: u32,
    /// The largest header, in bytes.
    pub header_bytes_max: u32,
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Duration,
    /// For how long no request may end, or one that is in hand may not move.
    pub stall_timeout: Duration,
    /// Requests at once over HTTP/2.
    pub streams_max: u32,
    /// What a peer may send over HTTP/2 before it is read, in bytes: for each request, and for all
    /// of a connection together.
    pub window_bytes: u32,
    /// For how long the peer may take nothing of an answer.
    pub write_timeout: Duration,
}

/// How a door serves HTTP.
#[derive(Clone)]
pub struct Http {
    /// Where refusals are logged.
    pub gateway: Arc<Gateway>,
    /// The names it is asked by.
    pub names: watch::Receiver<Arc<HostNames>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How refusals are thinned out before they reach the log.
    pub refusals: Arc<Refusals>,
    /// What is allowed.
    pub limits: HttpLimits,
}

impl Http {
    /// Serves `router` to `guest` on `stream`, until the one or the other has had enough. After `stop`
    /// requests in hand finish.
    pub async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        is_h2: bool,
        guest: Guest,
        router: Router,
        stop: CancellationToken,
    ) {
        let (work, metrics) = (Work::new(), Arc::clone(&self.metrics));
        let service = hyper::service::service_fn({
            let (http, guest, work) = (self.clone(), guest.clone(), Arc::clone(&work));
            move |request| {
                let (http, guest, router) = (http.clone(), guest.clone(), router.clone());
                let in_hand = work.begin();
                async move {
                    let answer = match http.fault(&request) {
                        Some(fault) => http.refuse(&guest, fault),
                        None => {
                            let mut request = request.map(|body: Incoming| {
                                Body::new(Moving::new(body, Arc::clone(&in_hand)))
                            });
                            request.extensions_mut().insert(guest);
                            router.oneshot(request).await.unwrap_or_else(|never| match never {})
                        }
                    };
                    Ok::<_, std::convert::Infallible>(answer.map(|body| Moving::new(body, in_hand)))
                }
            }
        });
        let limits = self.limits;
        let stalled = async {
            work.stalled(limits.stall_timeout).await;
            self.metrics.connection_cut("stalled");
        };
        let found;
        if is_h2 {
            let frames = limits.control_frames_per_second;
            let stream = Guarded::http2(stream, limits.write_timeout, metrics, frames);
            found = stream.found();
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(limits.header_timeout)
                .keep_alive_timeout(limits.header_timeout)
                .max_concurrent_streams(limits.streams_max)
                .max_local_error_reset_streams(Some(limits.streams_max as usize))
                .initial_stream_window_size(limits.window_bytes)
                .initial_connection_window_size(limits.window_bytes)
                .max_header_list_size(limits.header_bytes_max)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let is_last = tokio::select! {
                _ = connection.as_mut() => true,
                () = stop.cancelled() => false,
                () = stalled => {
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(limits.header_timeout, connection.as_mut()).await;
                    true
                }
            };
            if !is_last {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        } else {
            let stream = Guarded::http1(stream, limits.write_timeout, metrics);
            found = stream.found();
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.header_timeout)
                .max_headers(HEADERS_MAX)
                .max_buf_size(limits.header_bytes_max as usize)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let is_last = tokio::select! {
                ended = connection.as_mut() => {
                    // Which the library has answered, with 431.
                    if ended.is_err_and(|error| error.is_parse_too_large()) {
                        self.metrics.connection_cut("header-too-large");
                    }
                    true
                }
                () = stop.cancelled() => false,
                () = stalled => true,
            };
            if !is_last {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
        match found.get().copied() {
            None => {}
            Some(fault @ ("control-frames" | "nothing-read")) => {
                self.metrics.connection_cut(fault);
                let agency = guest.peer().map(|peer| peer.agency().as_str());
                tracing::info!(reason = fault, agency.id = agency, "a connection was cut");
            }
            // The library has answered with 400: what it was given is not HTTP.
            Some(fault) => drop(self.note(&guest, &malformed(fault))),
        }
    }

    fn fault<B>(&self, request: &Request<B>) -> Option<&'static str> {
        self.names.borrow().fault(request)
    }

    fn refuse(&self, guest: &Guest, fault: &'static str) -> Response {
        let problem = malformed(fault);
        let instance = self.note(guest, &problem);
        let body = problem.document(&instance);
        let mut response = problem.into_response();
        response.extensions_mut().clear();
        *response.body_mut() = Body::from(body);
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }

    // Counts and logs it; returns the instance it is known by.
    fn note(&self, guest: &Guest, problem: &Problem) -> String {
        let at = now();
        let instance = MessageId::new(at).to_string();
        let code = problem.kind.facts().code;
        self.metrics.problem(code);
        if let Some(reason) = problem.reason {
            self.metrics.malformed(reason);
        }
        let agency = guest.peer().map(|peer| peer.agency());
        let event = Event::refused(agency, code, &instance, "other").because(problem.reason);
        if self.refusals.note(&self.gateway, agency, code, &event, at) {
            tracing::info!(
                instance,
                problem.code = code,
                reason = problem.reason,
                agency.id = agency.map(crate::message::AgencyId::as_str),
                "a request was refused"
            );
        }
        instance
    }
}

/// Who is on the other end of a connection.
#[derive(Clone, Debug)]
pub enum Guest {
    /// The one agency the certificate names, and from where.
    Named(Arc<Peer>, IpAddr),
    /// Somebody without a certificate, where none is needed, and from where.
    Nobody(IpAddr),
    /// The certificate passed TLS but does not name exactly one agency of ours.
    Refused(&'static str),
}

impl Guest {
    /// The peer, if the certificate names one.
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        match self {
            Self::Named(peer, _) => Some(peer),
            Self::Nobody(_) | Self::Refused(_) => None,
        }
    }
}

fn malformed(fault: &'static str) -> Problem {
    let detail = match fault {
        "foreign-host" => "The request is for a host that is none of this gateway's names.",
        "no-host" => "The request does not say which host it is for.",
        "two-hosts" => "The request says more than once which host it is for.",
        "not-a-path" => "What is asked for is not written as a path.",
        "upgrade" => "The request asks for another protocol.",
        _ => "Where the request ends can be understood in more than one way.",
    };
    Problem::new(ProblemType::MalformedRequest, detail).with_reason(fault)
}

/// Several times as many as any client sends.
const HEADERS_MAX: usize = 64;
