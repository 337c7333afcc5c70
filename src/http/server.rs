//! A door over TLS: accept, handshake, name the peer, serve, drain.
//!
//! Our own accept loop, because the peer must be named before any router runs, a handshake must not
//! hold up the next one, and connections must be counted and cut.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::entry::Event;
use crate::http::connection::{Guest, Http};
use crate::http::handshakes::Handshakes;
use crate::http::presence::Presence;
use crate::http::share::{Place, Shares};
use crate::message::now;
use crate::pki::ca::Domain;
use crate::pki::identity::{self, IdentityError, Peer, Registry, Standing};
use crate::pki::tls::{self, Judge};

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
    /// Handshakes begun by one address in a second, and for a moment ten times as many.
    pub handshakes_per_second: NonZeroU32,
}

/// What the door needs to let somebody in. Each part can change while it is open.
pub struct Door {
    /// TLS settings: our certificate, the agencies' authority, its revocation list.
    pub tls: watch::Receiver<Arc<ServerConfig>>,
    /// Who judges the certificates that are shown, where TLS lets through any.
    pub judge: Option<watch::Receiver<Arc<Judge>>>,
    /// The certificates that are good.
    pub registry: watch::Receiver<Arc<Registry>>,
    /// The SPIFFE trust domain.
    pub domain: Domain,
    /// Where handshakes run.
    pub handshakes: Arc<Handshakes>,
    /// How HTTP is spoken, once somebody is in.
    pub http: Http,
    /// What those get who do not speak TLS, if anything: what is public, and signed.
    pub plain: Option<Router>,
    /// Who is connected.
    pub presence: Arc<Presence>,
    /// What is allowed.
    pub limits: Limits,
}

impl Door {
    /// Serves `router` on `listener` until `stop`, then lets requests in hand finish.
    pub async fn serve(self, listener: TcpListener, router: Router, stop: CancellationToken) {
        let door = Arc::new(self);
        let permits = Arc::new(Semaphore::new(door.limits.connections_max));
        // Those that no agency is known to be behind, by network.
        let unnamed: Arc<Shares<IpAddr>> = Arc::default();
        let pace = Pace::new(door.limits.handshakes_per_second);
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        while let Some((tcp, from, permit)) = accept(&listener, &permits, &stop).await {
            let door = Arc::clone(&door);
            if !pace.may_begin(from.ip()) {
                // Closed before it costs anything.
                door.refused("too-many-handshakes", from);
                continue;
            }
            let router = router.clone();
            let unnamed = Arc::clone(&unnamed);
            let (stop, cut) = (stop.clone(), cut.clone());
            connections.spawn(async move {
                let _permit = permit;
                let _open = door.http.metrics.connection_opened();
                let max = door.limits.connections_per_address_max;
                let Some(place) = unnamed.enter(network(from.ip()), max) else {
                    return door.refused("too-many-connections", from);
                };
                tokio::select! {
                    () = door.connection(tcp, from, place, router, stop) => {}
                    () = cut.cancelled() => {}
                }
            });
        }
        drain(connections, cut).await;
    }

    async fn connection(
        &self,
        tcp: TcpStream,
        from: SocketAddr,
        unnamed: Place<IpAddr>,
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
                    let served = self.http.serve(tcp, false, guest, router.clone(), stop);
                    let _ = tokio::time::timeout_at(guest_end, served).await;
                    return;
                }
                Ok(Ok(_) | Err(_)) => return self.refused("connection-closed", from),
                Err(_) => return self.refused("timeout", from),
            }
        }
        let config = Arc::clone(&self.tls.borrow());
        let handshake = TlsAcceptor::from(config).accept(tcp);
        let timeout = self.limits.handshake_timeout;
        let handshake = async move { tokio::time::timeout(timeout, handshake).await };
        let stream = match self.handshakes.run(handshake).await {
            Some(Ok(Ok(stream))) => stream,
            Some(Ok(Err(error))) => return self.refused(tls::refusal_reason(&error), from),
            Some(Err(_)) => return self.refused("timeout", from),
            None => return self.refused("connection-closed", from),
        };
        self.http.metrics.key_exchange(tls::key_exchange(stream.get_ref().1));
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        // A certificate that is good TLS but names no agency is told so in HTTP, by the router.
        let guest = match chain {
            // Only where TLS asks for a certificate without insisting.
            [] => Guest::Nobody(from.ip()),
            chain => match self.named(chain) {
                Ok(peer) => Guest::Named(Arc::new(peer), from.ip()),
                Err(code) => Guest::Refused(code),
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
            Guest::Named(..) | Guest::Nobody(_) => self.http.metrics.handshake("accepted"),
            Guest::Refused(code) => self.http.metrics.handshake(code),
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
            () = self.http.serve(stream, is_h2, guest, router, stop) => {}
            // Dropping the connection ends requests in flight too: a revoked agency is cut off.
            () = revoked(&mut registry, peer.as_deref()) => self.presence.note_cut(),
            () = until(guest_end) => {}
        }
    }

    // Whom this chain names, or why it names nobody.
    fn named(&self, chain: &[CertificateDer<'_>]) -> Result<Peer, &'static str> {
        if let Some(judge) = &self.judge {
            judge.borrow().judge(chain, UnixTime::now())?;
        }
        let peer = identity::peer(chain, &self.domain).map_err(IdentityError::code)?;
        // Where a page says so, one is not cut off before it could.
        let standing = self.registry.borrow().standing(peer.sha256(), now());
        if self.judge.is_some() && standing == Standing::Revoked {
            return Err("certificate-revoked");
        }
        Ok(peer)
    }

    fn refused(&self, reason: &'static str, from: SocketAddr) {
        self.http.metrics.handshake(reason);
        let event = Event::handshake_refused(reason);
        if self.http.refusals.note(&self.http.gateway, None, reason, &event, now()) {
            tracing::info!(reason, peer.address = %from.ip(), "a TLS handshake was refused");
        }
    }
}

/// The local door: plain HTTP for this machine, in a small number of connections.
pub struct LocalDoor {
    /// How HTTP is spoken.
    pub http: Http,
    /// Connections open at once; further ones wait.
    pub connections_max: usize,
}

impl LocalDoor {
    /// Serves `router` on `listener` until `stop`, then lets requests in hand finish.
    pub async fn serve(self, listener: TcpListener, router: Router, stop: CancellationToken) {
        let permits = Arc::new(Semaphore::new(self.connections_max));
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        while let Some((tcp, from, permit)) = accept(&listener, &permits, &stop).await {
            let (http, router) = (self.http.clone(), router.clone());
            let (stop, cut) = (stop.clone(), cut.clone());
            connections.spawn(async move {
                let _permit = permit;
                let guest = Guest::Nobody(from.ip());
                tokio::select! {
                    () = http.serve(tcp, false, guest, router, stop) => {}
                    () = cut.cancelled() => {}
                }
            });
        }
        drain(connections, cut).await;
    }
}

// The next connection, when there is room for one; none when the door is to close.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = tokio::select! {
        () = stop.cancelled() => return None,
        permit = Arc::clone(permits).acquire_owned() => permit.ok()?,
    };
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, from)) => return Some((tcp, from, permit)),
            Err(error) => {
                // Out of descriptors, or the peer left already: neither ends the door.
                tracing::warn!(error = %error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

// Whoever sends or reads nothing more is not waited for beyond what a request may take.
async fn drain(connections: TaskTracker, cut: CancellationToken) {
    connections.close();
    let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
    cut.cancel();
    connections.wait().await;
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

/// How often each network begins a handshake: each costs us more than it costs whoever begins it.
struct Pace(DefaultKeyedRateLimiter<IpAddr>);

impl Pace {
    fn new(per_second: NonZeroU32) -> Self {
        let burst = per_second.saturating_mul(BURST_S);
        Self(RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)))
    }

    fn may_begin(&self, address: IpAddr) -> bool {
        if self.0.len() > NETWORKS_MAX {
            self.0.retain_recent();
        }
        self.0.check_key(&network(address)).is_ok()
    }
}

/// So many seconds' handshakes may come at once.
const BURST_S: NonZeroU32 = NonZeroU32::new(10).expect("10 is not zero");
/// Networks remembered before the quiet ones are forgotten.
const NETWORKS_MAX: usize = 10_000;

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
}
