//! A door over TLS: accept, handshake, name the peer, serve, drain.
//!
//! Our own accept loop, because the peer must be named before any router runs, a handshake must not
//! hold up the next one, and connections must be counted and cut.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep};
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
    /// Connections open at once from one address, of those that no agency is known to be behind.
    pub connections_per_address_max: usize,
    /// Connections open at once for one agency.
    pub connections_per_agency_max: usize,
    /// From accept to the end, for whoever has no good certificate.
    pub guest_timeout: Duration,
    /// From accept to the end of the handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Duration,
    /// Requests at once on one connection over HTTP/2.
    pub streams_max: u32,
    /// What a peer may send over HTTP/2 before it is read, in bytes: for each request, and for all
    /// of a connection together.
    pub window_bytes: u32,
    /// For how long the peer may take nothing of an answer.
    pub write_timeout: Duration,
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
        let unnamed = Arc::new(Unnamed::default());
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
            let unnamed = Arc::clone(&unnamed);
            let (stop, cut) = (stop.clone(), cut.clone());
            connections.spawn(async move {
                let _permit = permit;
                let _open = door.metrics.connection_opened();
                let max = door.limits.connections_per_address_max;
                let Some(place) = unnamed.enter(from.ip(), max) else {
                    return door.refused("too-many-connections", from);
                };
                tokio::select! {
                    () = door.connection(tcp, from, place, router, stop) => {}
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
        unnamed: UnnamedPlace,
        router: Router,
        stop: CancellationToken,
    ) {
        let _ = tcp.set_nodelay(true);
        let guest_end = Instant::now() + self.limits.guest_timeout;
        if let Some(router) = &self.plain {
            let mut first = [0];
            let peeked = tokio::time::timeout(self.limits.handshake_timeout, tcp.peek(&mut first));
            match peeked.await {
                Ok(Ok(1)) if first[0] == TLS_HANDSHAKE => {}
                Ok(Ok(1)) => {
                    let guest = Guest::Nobody(from.ip());
                    let served = self.http(tcp, false, guest, router.clone(), stop);
                    let _ = tokio::time::timeout_at(guest_end, served).await;
                    return;
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
        // An agency has its own share of the connections, and may stay.
        let (_unnamed, guest_end) = match &peer {
            Some(_) => {
                drop(unnamed);
                (None, None)
            }
            None => (Some(unnamed), Some(guest_end)),
        };
        // Chosen by ALPN and not by sniffing, which has no timeout before the first byte.
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        tokio::select! {
            () = self.http(stream, is_h2, guest, router, stop) => {}
            // Dropping the connection ends requests in flight too: a revoked agency is cut off.
            () = revoked(&mut registry, peer.as_deref()) => self.presence.note_cut(),
            () = until(guest_end) => {}
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
        let io = TokioIo::new(Impatient::new(stream, self.limits.write_timeout));
        if is_h2 {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(self.limits.header_timeout)
                .keep_alive_timeout(self.limits.header_timeout)
                .max_concurrent_streams(self.limits.streams_max)
                .initial_stream_window_size(self.limits.window_bytes)
                .initial_connection_window_size(self.limits.window_bytes)
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

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// What counts as one address: whoever has one of IPv6 has the 64 bits after the network's too.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            [a, b, c, d, 0, 0, 0, 0].into()
        }
    }
}

/// The connections that no agency is known to be behind, by network.
#[derive(Debug, Default)]
struct Unnamed {
    networks: Mutex<HashMap<IpAddr, usize>>,
}

impl Unnamed {
    fn enter(self: &Arc<Self>, address: IpAddr, max: usize) -> Option<UnnamedPlace> {
        let network = network(address);
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let count = networks.entry(network).or_insert(0);
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(UnnamedPlace { unnamed: Arc::clone(self), network })
    }
}

/// One such connection's place; given up when dropped.
#[derive(Debug)]
struct UnnamedPlace {
    unnamed: Arc<Unnamed>,
    network: IpAddr,
}

impl Drop for UnnamedPlace {
    fn drop(&mut self) {
        let mut networks = self.unnamed.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = networks.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                networks.remove(&self.network);
            }
        }
    }
}

/// A stream that fails when its peer takes nothing of what is written for too long: whoever asks and
/// never reads is let go of.
struct Impatient<S> {
    stream: S,
    limit: Duration,
    /// Runs while a write waits for the peer.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, waiting: None }
    }

    fn or_give_up<T>(
        &mut self,
        context: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.waiting = None;
            return progress;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.or_give_up(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.or_give_up(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(context);
        self.or_give_up(context, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(context);
        self.or_give_up(context, progress)
    }
}

/// The type of a TLS record that begins a handshake (RFC 8446, 5.1); no HTTP begins so.
const TLS_HANDSHAKE: u8 = 22;

/// How long requests in hand may take to finish once the door closes.
const DRAIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_is_one_address() {
        let parse = |address: &str| network(address.parse().unwrap()).to_string();
        assert_eq!(parse("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(parse("2001:db8:1:3::1"), "2001:db8:1:3::");
        assert_eq!(parse("192.0.2.7"), "192.0.2.7");
        assert_eq!(parse("::ffff:192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn a_place_is_free_again_when_it_is_given_up() {
        let unnamed = Arc::new(Unnamed::default());
        let from = |last: u8| IpAddr::from([192, 0, 2, last]);
        let (first, _second) = (unnamed.enter(from(1), 2).unwrap(), unnamed.enter(from(1), 2));
        assert!(unnamed.enter(from(1), 2).is_none());
        assert!(unnamed.enter(from(2), 2).is_some(), "another's share");
        drop(first);
        assert!(unnamed.enter(from(1), 2).is_some());
    }
}
