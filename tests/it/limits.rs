//! What somebody without a certificate can take of the gateway: a share of its doors, and an end.

use std::net::TcpStream;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Body, Bytes, Frame};
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{HUB, POLICE, TestGateway, case, eventually, resident_kib, text};

type Tcp = tokio::net::TcpStream;

/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(60);

/// A gateway with these settings instead of the defaults.
fn gateway(settings: &[(&str, &str)]) -> TestGateway {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    for (default, changed) in settings {
        gateway.configure(default, changed);
    }
    gateway.serve();
    gateway
}

/// A connection to the enrolment door, over TLS, without a certificate.
async fn guest(gateway: &TestGateway, protocol: &[u8]) -> std::io::Result<TlsStream<Tcp>> {
    guest_at(gateway, &gateway.enrolment, protocol).await
}

/// The same, at another door.
async fn guest_at(
    gateway: &TestGateway,
    door: &str,
    protocol: &[u8],
) -> std::io::Result<TlsStream<Tcp>> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(gateway.agencies().join("ca.pem")).unwrap() {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_owned()];
    let tcp = Tcp::connect(door.replace("https://localhost", "127.0.0.1")).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

fn address(gateway: &TestGateway) -> String {
    gateway.enrolment.replace("https://localhost", "127.0.0.1")
}

/// Asks again and again on one connection, until it is closed.
async fn ask_until_closed(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = || {
        let request = Request::get("/pki/none").header("host", "localhost");
        request.body(Empty::<Bytes>::new()).unwrap()
    };
    while sender.ready().await.is_ok() && sender.send_request(request()).await.is_ok() {}
    let _ = connection.await;
}

#[tokio::test]
async fn whoever_has_no_certificate_does_not_stay() {
    let gateway = gateway(&[
        ("# guest_timeout_s = 60", "guest_timeout_s = 2"),
        ("# header_timeout_s = 10", "header_timeout_s = 30"),
    ]);
    let police = gateway.agency(POLICE);
    let mut named = police.connect().await;
    let nothing = || (hyper::HeaderMap::new(), Vec::new().into());
    let (headers, body) = nothing();
    assert_eq!(named.send(Method::GET, "/v1/whoami", headers, body).await.unwrap().status, 200);

    // Which answers every ping, and so is never idle.
    let idle = guest(&gateway, b"h2").await.unwrap();
    let (sender, connection) =
        http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(idle))
            .await
            .unwrap();
    let ended = tokio::time::timeout(LONG, connection).await;
    assert!(ended.is_ok(), "HTTP/2");
    drop(sender);
    let busy = guest(&gateway, b"http/1.1").await.unwrap();
    assert!(tokio::time::timeout(LONG, ask_until_closed(busy)).await.is_ok(), "HTTP/1.1");
    let plain = Tcp::connect(address(&gateway)).await.unwrap();
    assert!(tokio::time::timeout(LONG, ask_until_closed(plain)).await.is_ok(), "without TLS");

    let (headers, body) = nothing();
    let still = named.send(Method::GET, "/v1/whoami", headers, body).await;
    assert_eq!(still.unwrap().status, 200, "an agency stays");
}

/// It answers every ping and asks nothing, or takes a little of its answers from time to time: each
/// shorter wait begins anew, and only that nothing ends is left to go by.
#[tokio::test]
async fn whoever_keeps_a_connection_moving_for_nothing_is_let_go_of() {
    let gateway = gateway(&[
        ("# guest_timeout_s = 60", "guest_timeout_s = 3600"),
        ("# header_timeout_s = 10", "header_timeout_s = 2"),
        ("# request_timeout_s = 30", "request_timeout_s = 3"),
        ("# stall_timeout_s = 120", "stall_timeout_s = 4"),
    ]);
    let cut = |reason: &str| {
        let metrics = gateway.local("/metrics");
        let line = format!("mash_gateway_connections_cut_total{{reason=\"{reason}\"}} ");
        metrics.lines().find_map(|l| l.strip_prefix(&line)?.parse::<u64>().ok()).unwrap_or(0)
    };
    // Where the last of these waits is long, who does the same stays.
    let patient = self::gateway(&[
        ("# guest_timeout_s = 60", "guest_timeout_s = 3600"),
        ("# header_timeout_s = 10", "header_timeout_s = 2"),
        ("# request_timeout_s = 30", "request_timeout_s = 3"),
    ]);
    let stays = guest(&patient, b"h2").await.unwrap();
    let (_other_sender, other) =
        http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stays))
            .await
            .unwrap();
    let other = tokio::spawn(other);
    let idle = guest(&gateway, b"h2").await.unwrap();
    let (sender, connection) =
        http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(idle))
            .await
            .unwrap();
    assert!(tokio::time::timeout(LONG, connection).await.is_ok(), "idle over HTTP/2");
    assert_eq!(cut("stalled"), 1);
    drop(sender);
    assert!(!other.is_finished(), "it is the limit that cut it off");
    assert_eq!(patient.metric("mash_gateway_open_connections"), 1);

    // Ten thousand answers are asked for, and read a little every second.
    let (mut reading, mut writing) = tokio::io::split(guest(&gateway, b"http/1.1").await.unwrap());
    let request = "GET /.well-known/est/cacerts HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let asking = tokio::spawn(async move {
        for _ in 0..100 {
            if writing.write_all(request.as_bytes()).await.is_err() {
                break;
            }
        }
    });
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let dripping = async {
        let mut little = [0; 16];
        loop {
            tick.tick().await;
            match tokio::io::AsyncReadExt::read(&mut reading, &mut little).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            // Whichever it is that the window, which moves in leaps, lets run out first.
            if cut("stalled") + cut("nothing-read") > 1 {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(LONG, dripping).await.is_ok(), "reading in drips");
    drop(reading);
    assert!(tokio::time::timeout(LONG, asking).await.is_ok());
}

#[tokio::test]
async fn an_address_has_a_share_and_an_agency_has_its_own() {
    let gateway =
        gateway(&[("# connections_per_address_max = 32", "connections_per_address_max = 3")]);
    // Whoever does not even begin a handshake has a place too.
    let silent = TcpStream::connect(address(&gateway)).unwrap();
    let guests = [guest(&gateway, b"h2").await.unwrap(), guest(&gateway, b"h2").await.unwrap()];
    let is_full = async || guest(&gateway, b"h2").await.is_err();
    eventually("one is too many", is_full).await;
    let metrics = gateway.local("/metrics");
    let refused = metrics.lines().find(|line| line.contains("outcome=\"too-many-connections\""));
    assert!(refused.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    drop((silent, guests));
    eventually("places are free again", async || guest(&gateway, b"h2").await.is_ok()).await;

    // Once it is known who it is, only the agency's share counts.
    let (police, mut open) = (gateway.agency(POLICE), Vec::new());
    for _ in 0..8 {
        let mut connection = police.connect().await;
        let nothing = (hyper::HeaderMap::new(), Vec::new().into());
        let answer = connection.send(Method::GET, "/v1/whoami", nothing.0, nothing.1).await;
        assert_eq!(answer.unwrap().status, 200);
        open.push(connection);
    }
}

#[tokio::test]
async fn a_full_enrolment_door_leaves_the_others_open() {
    let gateway =
        gateway(&[("# enrolment_connections_max = 256", "enrolment_connections_max = 2")]);
    let first = guest(&gateway, b"h2").await.unwrap();
    let _second = guest(&gateway, b"h2").await.unwrap();
    let third = guest(&gateway, b"h2");
    tokio::pin!(third);
    let hub = gateway.agency(HUB);
    tokio::select! {
        biased;
        _ = third.as_mut() => panic!("a third was let in"),
        answer = hub.get("/v1/whoami") => assert_eq!(answer.status, 200),
    }
    assert!(gateway.local("/readyz").contains("\"ready\""));
    drop(first);
    let third = tokio::time::timeout(LONG, third).await;
    assert!(third.is_ok_and(|third| third.is_ok()), "it waited for a place");
}

#[tokio::test]
async fn a_full_desk_leaves_the_others_open() {
    let gateway = gateway(&[("# desk_connections_max = 512", "desk_connections_max = 2")]);
    let at_desk = || guest_at(&gateway, &gateway.desk, b"h2");
    let first = at_desk().await.unwrap();
    let _second = at_desk().await.unwrap();
    let third = at_desk();
    tokio::pin!(third);
    let hub = gateway.agency(HUB);
    tokio::select! {
        biased;
        _ = third.as_mut() => panic!("a third was let in"),
        answer = hub.get("/v1/whoami") => assert_eq!(answer.status, 200),
    }
    assert!(gateway.local("/readyz").contains("\"ready\""));
    drop(first);
    let third = tokio::time::timeout(LONG, third).await;
    assert!(third.is_ok_and(|third| third.is_ok()), "it waited for a place");
}

#[tokio::test]
async fn whoever_asks_and_never_reads_is_let_go_of() {
    let gateway = gateway(&[
        ("# guest_timeout_s = 60", "guest_timeout_s = 3600"),
        ("# header_timeout_s = 10", "header_timeout_s = 2"),
        ("# request_timeout_s = 30", "request_timeout_s = 2"),
    ]);
    let mut stream = guest(&gateway, b"http/1.1").await.unwrap();
    let request = "GET /.well-known/est/cacerts HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let asked = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    assert!(tokio::time::timeout(LONG, asked).await.is_ok(), "the connection is still open");
}

/// A body of this many pieces that never ends.
struct Unfinished {
    left: usize,
    sent: Arc<AtomicUsize>,
}

const PIECE: [u8; 16 * 1024] = [b'A'; 16 * 1024];

impl Body for Unfinished {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        self.left -= 1;
        self.sent.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECE)))))
    }
}

/// Sixty requests, each with 240 KiB of a body that goes on: of each the gateway keeps 16 KiB.
#[tokio::test]
async fn unfinished_bodies_take_little_memory() {
    let gateway = gateway(&[]);
    let mut connections = Vec::new();
    let mut senders = Vec::new();
    for _ in 0..15 {
        let stream = guest(&gateway, b"h2").await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        connections.push(tokio::spawn(connection));
        senders.push(sender);
    }
    let (before, sent) = (resident_kib(gateway.pid()), Arc::new(AtomicUsize::new(0)));
    let mut answers = tokio::task::JoinSet::new();
    for sender in &mut senders {
        for _ in 0..4 {
            let body = Unfinished { left: 15, sent: Arc::clone(&sent) };
            let request = Request::post("https://localhost/.well-known/est/simpleenroll");
            answers.spawn(sender.send_request(request.body(body).unwrap()));
        }
    }
    // What was given to the connections is, but for their small windows, with the gateway.
    eventually("all is sent", async || sent.load(Ordering::Relaxed) == 15 * 4 * 15).await;
    let grown = resident_kib(gateway.pid()) - before;
    assert!(grown < 8 * 1024, "{grown} KiB");
    // Nor may one connection ask more at a time: the fifth waits until another is answered.
    let body = Unfinished { left: 1, sent: Arc::clone(&sent) };
    let request = Request::post("https://localhost/.well-known/est/simpleenroll");
    let fifth = senders[0].send_request(request.body(body).unwrap());
    tokio::pin!(fifth);
    let hub = gateway.agency(HUB);
    tokio::select! {
        biased;
        _ = fifth.as_mut() => panic!("a fifth was answered"),
        answer = hub.get("/v1/whoami") => assert_eq!(answer.status, 200),
    }
    assert_eq!(sent.load(Ordering::Relaxed), 15 * 4 * 15);
}

#[test]
fn open_files_are_raised_to_what_the_doors_need() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let serve = |limit: &str| {
        Command::new("sh")
            .args(["-c", &format!("ulimit {limit} && exec \"$0\" serve --home \"$1\"")])
            .arg(env!("CARGO_BIN_EXE_mash-gateway"))
            .arg(gateway.home())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let refused = serve("-n 1024").wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let says = text(&refused.stderr);
    assert!(says.contains("needs 2144 open files and may have 1024"), "{says}");
    assert!(says.contains("connections_max"), "{says}");

    let mut raised = serve("-Sn 256");
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(raised.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", raised.id())).unwrap();
    raised.kill().unwrap();
    raised.wait().unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open_files.split_whitespace().nth(3), Some("2144"), "{line}{open_files}");
}
