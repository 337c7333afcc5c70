//! A door over TLS: accept, handshake, name the peer, serve, drain.
//!
//! Our own accept loop, because the peer must be named before any router runs, a handshake must not
//! hold up the next one, and connections must be counted and cut.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::audit::entry::Event;
use crate::exchange::Gateway;
use crate::http::presence::Presence;
use crate::http::refusals::Refusals;
use crate::message::now;
use crate::pki::ca::Domain;
use crate::pki::identity::{self, Peer, Registry, Standing};
use crate::pki::tls;
use crate::telemetry::Metrics;

/// Limits on connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once, in total.
    pub connections_max: usize,
    /// Connections open at once for one agency.
    pub connections_per_agency_max: usize,
    /// From accept to the end of the handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Duration,
}

/// What the door needs to let somebody in. Each part can change while it is open.
pub struct Door {
    /// TLS settings: our certificate, the agencies' authority, its revocation list.
    pub tls: watch::Receiver<Arc<ServerConfig>>,
    /// The certificates that are good.
    pub registry: watch::Receiver<Arc<Registry>>,
    /// The SPIFFE trust domain.
    pub domain: Domain,
    /// Where refusals are logged.
    pub gateway: Arc<Gateway>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How refusals are thinned out before they reach the log.
    pub refusals: Arc<Refusals>,
    /// What those get who do not speak TLS, if anything: what is public, and signed.
    pub plain: Option<Router>,
    /// Who is connected.
    pub presence: Arc<Presence>,
    /// What is allowed.
    pub limits: Limits,
}

impl Door {
    /// Serves `router` on `listener` until `stop`, then lets requests in hand finish.
    pub async fn serve(
        self,
        listener: TcpListener,
        router: Router,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let door = Arc::new(self);
        let permits = Arc::new(Semaphore::new(door.limits.connections_max));
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        loop {
            let permit = tokio::select! {
                () = stop.cancelled() => break,
                permit = Arc::clone(&permits).acquire_owned() => permit,
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (tcp, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or the peer left already: neither ends the door.
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let door = Arc::clone(&door);
            let router = router.clone();
            let (stop, cut) = (stop.clone(), cut.clone());
            connections.spawn(async move {
                let _permit = permit;
                let _open = door.metrics.connection_opened();
                tokio::select! {
                    () = door.connection(tcp, from, router, stop) => {}
                    () = cut.cancelled() => {}
                }
            });
        }
        connections.close();
        // Whoever sends or reads nothing more is not waited for beyond what a request may take.
        let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
        cut.cancel();
        connections.wait().await;
        Ok(())
    }

    async fn connection(
        &self,
        tcp: TcpStream,
        from: SocketAddr,
        router: Router,
        stop: CancellationToken,
    ) {
        let _ = tcp.set_nodelay(true);
        if let Some(router) = &self.plain {
            let mut first = [0];
            let peeked = tokio::time::timeout(self.limits.handshake_timeout, tcp.peek(&mut first));
            match peeked.await {
                Ok(Ok(1)) if first[0] == TLS_HANDSHAKE => {}
                Ok(Ok(1)) => {
                    let guest = Guest::Nobody(from.ip());
                    return self.http(tcp, false, guest, router.clone(), stop).await;
                }
                Ok(Ok(_) | Err(_)) => return self.refused("connection-closed", from),
                Err(_) => return self.refused("timeout", from),
            }
        }
        let config = Arc::clone(&self.tls.borrow());
        let handshake = TlsAcceptor::from(config).accept(tcp);
        let stream = match tokio::time::timeout(self.limits.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.refused(tls::refusal_reason(&error), from),
            Err(_) => return self.refused("timeout", from),
        };
        self.metrics.key_exchange(tls::key_exchange(stream.get_ref().1));
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        // A certificate that is good TLS but names no agency is told so in HTTP, by the router.
        let guest = match chain {
            // Only where TLS asks for a certificate without insisting.
            [] => Guest::Nobody(from.ip()),
            chain => match identity::peer(chain, &self.domain) {
                Ok(peer) => Guest::Named(Arc::new(peer), from.ip()),
                Err(error) => Guest::Refused(error.code()),
            },
        };
        // Entered, and subscribed, before the standing is read: a revocation in between is then
        // seen as a change, and waits for us to be gone.
        let mut registry = self.registry.clone();
        let place = guest
            .peer()
            .map(|peer| self.presence.enter(peer, self.limits.connections_per_agency_max));
        if let Some(None) = place {
            return self.refused("too-many-connections", from);
        }
        match &guest {
            Guest::Named(..) | Guest::Nobody(_) => self.metrics.handshake("accepted"),
            Guest::Refused(code) => self.metrics.handshake(code),
        }
        let peer = guest.peer().cloned();
        // Chosen by ALPN and not by sniffing, which has no timeout before the first byte.
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        tokio::select! {
            () = self.http(stream, is_h2, guest, router, stop) => {}
            // Dropping the connection ends requests in flight too: a revoked agency is cut off.
            () = revoked(&mut registry, peer.as_deref()) => self.presence.note_cut(),
        }
    }

    async fn http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        is_h2: bool,
        guest: Guest,
        router: Router,
        stop: CancellationToken,
    ) {
        let service = TowerToHyperService::new(router.map_request(
            move |mut request: Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(guest.clone());
                request.map(Body::new)
            },
        ));
        let io = TokioIo::new(stream);
        if is_h2 {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(self.limits.header_timeout)
                .keep_alive_timeout(self.limits.header_timeout)
                .max_concurrent_streams(32)
                .max_header_list_size(16 * 1024)
                .serve_connection(io, service);
            tokio::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        } else {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.header_timeout)
                .max_headers(64)
                .max_buf_size(64 * 1024)
                .serve_connection(io, service);
            tokio::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        }
    }

    fn refused(&self, reason: &'static str, from: SocketAddr) {
        self.metrics.handshake(reason);
        let event = Event::handshake_refused(reason);
        if self.refusals.note(&self.gateway, None, reason, &event, now()) {
            tracing::info!(reason, peer.address = %from.ip(), "a TLS handshake was refused");
        }
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

// Ends when the peer's certificate is no longer good.
async fn revoked(registry: &mut watch::Receiver<Arc<Registry>>, peer: Option<&Peer>) {
    let Some(peer) = peer else { return std::future::pending().await };
    loop {
        let standing = registry.borrow_and_update().standing(peer.sha256(), now());
        if standing == Standing::Revoked {
            return;
        }
        if registry.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// The type of a TLS record that begins a handshake (RFC 8446, 5.1); no HTTP begins so.
const TLS_HANDSHAKE: u8 = 22;

/// How long requests in hand may take to finish once the door closes.
const DRAIN: Duration = Duration::from_secs(30);
