//! A revocation is in force when the command returns: on connections that were open, on new ones and
//! on resumed sessions, over both versions of TLS and of HTTP; and it costs nobody else anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mash_gateway::pki::tls;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{POLICE, TRUST, TestGateway, case, text};

/// How a client speaks.
#[derive(Clone, Copy, Debug)]
struct Manner {
    version: &'static SupportedProtocolVersion,
    alpn: &'static str,
    /// Whether each request has a connection of its own, resuming a session if it can.
    is_anew: bool,
}

const MANNERS: [Manner; 6] = [
    Manner { version: &TLS13, alpn: "http/1.1", is_anew: false },
    Manner { version: &TLS13, alpn: "h2", is_anew: false },
    Manner { version: &TLS13, alpn: "http/1.1", is_anew: true },
    Manner { version: &TLS12, alpn: "http/1.1", is_anew: false },
    Manner { version: &TLS12, alpn: "h2", is_anew: false },
    Manner { version: &TLS12, alpn: "http/1.1", is_anew: true },
];

/// One request: when it began, when it ended, and whether it was answered with 200.
struct Tried {
    began: Instant,
    is_good: bool,
}

/// A client that asks who it is, again and again.
struct Stream {
    config: Arc<ClientConfig>,
    address: String,
    manner: Manner,
}

impl Stream {
    fn new(gateway: &TestGateway, agency: &str, manner: Manner) -> Self {
        let read = |name: String| std::fs::read(gateway.agencies().join(name)).unwrap();
        let chain = CertificateDer::pem_slice_iter(&read(format!("{agency}.pem")))
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(&read(format!("{agency}.key"))).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&read("ca.pem".to_owned())).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[manner.version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        config.resumption = Resumption::in_memory_sessions(16);
        config.alpn_protocols = vec![manner.alpn.as_bytes().to_vec()];
        let address = gateway.url.replace("https://localhost", "127.0.0.1");
        Self { config: Arc::new(config), address, manner }
    }

    async fn connect(&self) -> Option<TlsStream<tokio::net::TcpStream>> {
        let tcp = tokio::net::TcpStream::connect(&self.address).await.ok()?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await.ok()?;
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full), "resumed");
        Some(stream)
    }

    /// Asks until told to stop, and then once more at least on a connection that was open and on one
    /// that is new.
    async fn run(self, stop: Arc<AtomicBool>) -> Vec<Tried> {
        let mut tried = Vec::new();
        let mut rounds_left = ROUNDS_AFTER_STOP;
        while rounds_left > 0 {
            let began = Instant::now();
            let Some(stream) = self.connect().await else {
                tried.push(Tried { began, is_good: false });
                if stop.load(Ordering::SeqCst) {
                    rounds_left -= 1;
                }
                continue;
            };
            let io = TokioIo::new(stream);
            let mut client = match self.manner.alpn {
                "h2" => {
                    let (client, connection) =
                        hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                            .await
                            .unwrap();
                    tokio::spawn(connection);
                    Client::Two(client)
                }
                _ => {
                    let (client, connection) =
                        hyper::client::conn::http1::handshake(io).await.unwrap();
                    tokio::spawn(connection);
                    Client::One(client)
                }
            };
            loop {
                let is_stopping = stop.load(Ordering::SeqCst);
                let began = Instant::now();
                let is_good = client.whoami().await;
                tried.push(Tried { began, is_good });
                if is_stopping {
                    rounds_left -= 1;
                }
                if !is_good || self.manner.is_anew || rounds_left == 0 {
                    break;
                }
            }
        }
        tried
    }
}

enum Client {
    One(hyper::client::conn::http1::SendRequest<Empty<Bytes>>),
    Two(hyper::client::conn::http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    async fn whoami(&mut self) -> bool {
        let request =
            |uri: &str| Request::get(uri).header("host", "localhost").body(Empty::new()).unwrap();
        let asked = async {
            let response = match self {
                Self::One(client) => client.send_request(request("/v1/whoami")).await,
                Self::Two(client) => {
                    let mut request = request("https://localhost/v1/whoami");
                    request.headers_mut().remove("host");
                    client.send_request(request).await
                }
            };
            let Ok(response) = response else { return false };
            let is_good = response.status() == 200;
            is_good && response.into_body().collect().await.is_ok()
        };
        tokio::time::timeout(Duration::from_secs(30), asked).await.unwrap_or(false)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_that_begins_after_the_command_returned_succeeds() {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    gateway.configure("# min = \"1.3\"", "min = \"1.2\"");
    gateway.serve();
    let stop = Arc::new(AtomicBool::new(false));
    let start = |agency: &'static str| {
        MANNERS.map(|manner| {
            let stream = Stream::new(&gateway, agency, manner);
            (manner, tokio::spawn(stream.run(Arc::clone(&stop))))
        })
    };
    let (police, others) = (start(POLICE), start(TRUST));
    // Until everybody is well under way.
    for _ in 0..GETTING_GOING {
        assert!(Stream::new(&gateway, TRUST, MANNERS[0]).connect().await.is_some());
    }
    let began = Instant::now();
    let revoked = tokio::task::block_in_place(|| {
        let arguments =
            ["cert", "revoke", POLICE, "--reason", "key-compromise", "--confirm", POLICE, "--json"];
        gateway.run(&arguments)
    });
    let returned = Instant::now();
    stop.store(true, Ordering::SeqCst);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    let report: Value = serde_json::from_slice(&revoked.stdout).unwrap();
    assert_eq!(report["inForce"], true);
    // The four that were kept open, and perhaps one or two of the others.
    assert!(report["connectionsCut"].as_u64().unwrap() >= 4, "{report}");

    for (manner, streaming) in police {
        let tried = streaming.await.unwrap();
        let good = tried.iter().filter(|one| one.is_good && one.began < began).count();
        assert!(good > 0, "{manner:?} was never let in");
        let after: Vec<_> = tried.iter().filter(|one| one.began > returned).collect();
        assert!(after.len() >= ROUNDS_AFTER_STOP - 1, "{manner:?} did not try again");
        let let_in = after.iter().filter(|one| one.is_good).count();
        assert_eq!(let_in, 0, "{manner:?}: {let_in} of {} after the revocation", after.len());
    }
    for (manner, streaming) in others {
        let tried = streaming.await.unwrap();
        let lost = tried.iter().filter(|one| !one.is_good).count();
        assert_eq!(lost, 0, "{manner:?}: {lost} of {} lost by another agency", tried.len());
        assert!(tried.iter().any(|one| one.began > began && one.began < returned), "{manner:?}");
    }
}

#[tokio::test]
async fn what_a_stolen_key_was_used_for_is_told() {
    let gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(crate::support::HUB), gateway.agency(POLICE));
    hub.dispatch(&[POLICE, TRUST]).await;
    hub.dispatch(&[POLICE]).await;
    let asked = police.collect_first().await;
    let rfi = asked["id"].as_str().unwrap();
    police.post(&case::path(&asked, "responses"), &case::response(rfi)).await.ok(202);
    let revoked = gateway.run(&[
        "cert",
        "revoke",
        POLICE,
        "--reason",
        "key-compromise",
        "--confirm",
        POLICE,
        "--json",
    ]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    let report: Value = serde_json::from_slice(&revoked.stdout).unwrap();
    let used = &report["used"][0];
    let count = |event: &str| {
        let all = used["doings"].as_array().unwrap();
        all.iter().find(|one| one["event"] == event).map(|one| one["count"].as_u64().unwrap())
    };
    assert_eq!((count("accepted"), count("collected"), count("saved")), (Some(1), Some(1), None));
    // What was collected and not saved waits too: whether it is in the agency's record is not known.
    assert_eq!(report["waiting"], 2);
    let serial = used["serial"].as_str().unwrap();
    let shown = gateway.run(&["log", "show", "--certificate", serial, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let events: Vec<_> = shown["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["fields"]["event"].as_str().unwrap().to_owned())
        .collect();
    let wanted = ["certificate-issued", "collected", "accepted", "certificate-revoked"];
    assert_eq!(events, wanted);
    gateway.verify_log();
}

/// Nobody is cut off by the hub's name but the hub: the gateway goes on.
#[tokio::test]
async fn revoking_the_hub_leaves_the_gateway_its_own_certificates() {
    let hub = crate::support::HUB;
    let gateway = TestGateway::start();
    let revoked = gateway.run(&["cert", "revoke", hub, "--reason", "superseded", "--confirm", hub]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    let listed = gateway.run(&["cert", "list", hub, "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    for one in listed["certificates"].as_array().unwrap() {
        let is_own = one["profile"].as_str().unwrap().starts_with("gateway-");
        assert_eq!(one["standing"] == "active", is_own, "{one}");
    }
    assert_eq!(gateway.agency(POLICE).get("/v1/whoami").await.status, 200);
}

/// A client goes on for so many requests after the revocation.
const ROUNDS_AFTER_STOP: usize = 12;
const GETTING_GOING: usize = 20;
