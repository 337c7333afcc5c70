//! What slow and greedy clients cost the others: nothing that anybody notices.
//!
//! `cargo bench --bench idle` measures how long one agency's messages take when nobody else is there, and
//! then while 10,000 connections from hundreds of addresses and two other agencies are idle or drip. Both
//! in one run, so that they are of one machine. Whoever is let go of comes back at once. It exits with 1
//! when the slowest hundredth of the messages takes more than twice as long, or when it was not beset.
//! `-- --connections 500 --seconds 5 --per-second 50` is a short one. It needs as many open files as
//! connections, twice: `ulimit -Hn`.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "the figures are the result")]

#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, reason = "the tests' harness does more than a benchmark needs")]
mod support;

#[expect(dead_code, reason = "shared with the other benchmarks")]
mod load;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use load::{LoadTarget, Steady, memory_kib, percentile_ms, targets};
use mash_gateway::pki::tls::{self, ClientMaterial, MinTls};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use support::{POLICE, SURGERY, TRUST, TestGateway};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

const BODY_BYTES: usize = 10_000;
const CONNECTIONS: u32 = 8;
/// Of one address that no agency is known to be behind, and of one agency: the defaults leave them so
/// many.
const PER_ADDRESS: usize = 32;
const PER_AGENCY: usize = 128;
/// As long as the gateway waits for a handshake: they leave as they came.
const ARRIVAL: Duration = Duration::from_secs(10);
/// What is allowed.
const RATIO_MAX: f64 = 2.0;

fn main() -> ExitCode {
    let connections = argument("--connections").unwrap_or(10_000);
    let seconds = argument("--seconds").unwrap_or(30);
    let per_second = argument("--per-second").unwrap_or(100);
    allow_open_files(u64::from(connections) + 1_024);
    Runtime::new().unwrap().block_on(measure(connections, seconds, per_second))
}

fn argument(name: &str) -> Option<u32> {
    let arguments: Vec<_> = std::env::args().collect();
    let place = arguments.iter().position(|argument| argument == name)?;
    Some(arguments[place + 1].parse().unwrap())
}

fn allow_open_files(needed: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    assert!(maximum.is_none_or(|maximum| maximum >= needed), "ulimit -Hn {needed} is needed");
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).unwrap();
}

async fn measure(connections: u32, seconds: u32, per_second: u32) -> ExitCode {
    let mut gateway = TestGateway::made(&support::case::partners(&[]));
    let places = format!("connections_max = {}", connections + 1_024);
    gateway.configure("# connections_max = 1024", &places);
    gateway.serve();
    let mut targets = targets(&gateway, BODY_BYTES).await;
    targets.retain(|target| target.agency == POLICE);
    println!("{per_second} messages a second, {BODY_BYTES} bytes each, {CONNECTIONS} connections");
    println!(
        "{:>6} {:>11} {:>9} {:>9} {:>9} {:>13}",
        "", "connections", "p50 ms", "p99 ms", "max ms", "resident KiB"
    );
    let load = |length| {
        let begin = Instant::now() + Duration::from_secs(1);
        Steady { connections: CONNECTIONS, per_second, begin, end: begin + length }
    };
    // The first seconds warm up, and are not counted.
    let length = Duration::from_secs(seconds.into());
    timed(&gateway, &targets, load(Duration::from_secs(3))).await;
    let quiet = timed(&gateway, &targets, load(length)).await;
    let open = show(&gateway, "quiet", &quiet);
    assert!(open < 100, "nobody else is there");

    // On threads of their own: what they cost on this side is not what is measured.
    let elsewhere = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let besiegers = besiege(&gateway, &elsewhere, connections as usize);
    let wanted = u64::from(connections) * 9 / 10;
    support::eventually("it is beset", async || open_connections(&gateway) >= wanted).await;
    let beset = timed(&gateway, &targets, load(length)).await;
    let open = show(&gateway, "beset", &beset);
    drop(besiegers);
    elsewhere.shutdown_background();

    let ratio = percentile_ms(&beset, 0.99) / percentile_ms(&quiet, 0.99);
    println!("\n{ratio:>8.2}  p99 beset / p99 quiet, of at most {RATIO_MAX}");
    println!("{open:>8}  connections open at the end, of at least {wanted}");
    if ratio <= RATIO_MAX && open >= wanted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How long each message took under this load, sorted.
async fn timed(gateway: &TestGateway, targets: &[LoadTarget], load: Steady) -> Vec<Duration> {
    let latencies = Arc::new(Mutex::new(Vec::new()));
    load.start(gateway, targets, &latencies).await.join_all().await;
    let mut sorted = std::mem::take(&mut *latencies.lock().unwrap());
    sorted.sort_unstable();
    sorted
}

/// A line of the table; returns how many connections are open.
fn show(gateway: &TestGateway, what: &str, sorted: &[Duration]) -> u64 {
    let open = open_connections(gateway);
    println!(
        "{what:>6} {open:>11} {:>9.2} {:>9.2} {:>9.2} {:>13}",
        percentile_ms(sorted, 0.5),
        percentile_ms(sorted, 0.99),
        percentile_ms(sorted, 1.0),
        memory_kib(gateway.pid(), "VmRSS"),
    );
    open
}

fn open_connections(gateway: &TestGateway) -> u64 {
    gateway.metric("mash_gateway_open_connections")
}

/// What one of them does with its connection, again and again.
#[derive(Clone)]
enum Besieger {
    /// Nothing at all.
    Silent,
    /// Begins a handshake, a byte a second.
    DripsHandshake,
    /// An agency's: shows its certificate, and then sends a request, a byte a second.
    DripsRequest(Arc<ClientConfig>),
}

/// So many connections, until what is returned is dropped.
fn besiege(gateway: &TestGateway, on: &Runtime, count: usize) -> JoinSet<()> {
    let port = gateway.url.rsplit(':').next().unwrap().parse().unwrap();
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let agencies: Vec<_> = [TRUST, SURGERY].map(|agency| config(gateway, agency)).into();
    let mut besiegers = JoinSet::new();
    for i in 0..count {
        let how = match agencies.get(i / PER_AGENCY) {
            Some(config) => Besieger::DripsRequest(Arc::clone(config)),
            None if i % 2 == 0 => Besieger::Silent,
            None => Besieger::DripsHandshake,
        };
        // Each network its own share: 127.1.0.0, 127.1.0.1, and so on.
        let address =
            u32::from(Ipv4Addr::new(127, 1, 0, 0)) + u32::try_from(i / PER_ADDRESS).unwrap();
        let from = SocketAddr::from((Ipv4Addr::from(address), 0));
        // One after the other, so that they do not go and come back as one wave either: what is measured
        // is what so many open connections cost, and not how many a second can be opened.
        let begin = ARRIVAL * u32::try_from(i).unwrap() / u32::try_from(count).unwrap();
        let besieger = async move {
            tokio::time::sleep(begin).await;
            loop {
                if let Ok(tcp) = connected(from, to).await {
                    // However it ends, it begins again.
                    let _ = hold(how.clone(), tcp).await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        besiegers.spawn_on(besieger, on.handle());
    }
    besiegers
}

async fn connected(from: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(from)?;
    socket.connect(to).await
}

/// Until the gateway has had enough.
async fn hold(besieger: Besieger, mut tcp: TcpStream) -> std::io::Result<()> {
    match besieger {
        Besieger::Silent => drop(tcp.read(&mut [0]).await?),
        Besieger::DripsHandshake => {
            drip(tcp, &[&[22, 3, 1, 2, 0, 1, 0][..], &[0; 500]].concat()).await?
        }
        Besieger::DripsRequest(config) => {
            let name = ServerName::try_from("localhost").unwrap();
            let stream = TlsConnector::from(config).connect(name, tcp).await?;
            let header =
                format!("GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\nX: {}", "y".repeat(500));
            drip(stream, header.as_bytes()).await?;
        }
    }
    Ok(())
}

async fn drip(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    bytes: &[u8],
) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            read = stream.read_u8() => drop(read?),
        }
    }
    Ok(())
}

fn config(gateway: &TestGateway, agency: &str) -> Arc<ClientConfig> {
    let read = |name: String| std::fs::read_to_string(gateway.agencies().join(name)).unwrap();
    let material = ClientMaterial {
        chain: &read(format!("{agency}.pem")),
        key: &read(format!("{agency}.key")),
        roots: &read("ca.pem".to_owned()),
    };
    let mut config = Arc::unwrap_or_clone(tls::client_config(material, MinTls::Tls13).unwrap());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}
