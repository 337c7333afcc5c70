//! What accepting a message costs, end to end and in its parts, beside a server that does nothing.
//!
//! `cargo bench --bench accept` runs all of it in some minutes; `-- --quick` leaves out the million
//! stored messages. Gateway and do-nothing server are processes of their own, so that their
//! processor time and memory are theirs alone; the load generator runs beside them on the same
//! machine, as it would not in life.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "the figures are the result")]

#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, reason = "the tests' harness does more than a benchmark needs")]
mod support;

#[expect(dead_code, reason = "shared with the other benchmarks")]
mod load;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use load::{LoadTarget, body, client, cpu, headers, memory_kib, percentile_ms, targets};
use mash_gateway::audit::checkpoint::LogKey;
use mash_gateway::audit::entry::{Event, NewEntry};
use mash_gateway::message::{Exchange, Kind, MessageId, Submission, Target, now};
use mash_gateway::pki::tls::{self, ClientCertificate, MinTls, ServerMaterial};
use mash_gateway::schema::Schemas;
use mash_gateway::store::sqlite::Sqlite;
use mash_gateway::store::{
    Accept, Change, DeliveryState, IdempotencyToken, MailboxLimits, NewMessage, Step, Store as _,
};
use serde_json::Value;
use support::{POLICE, TestGateway};

const CONNECTIONS: [usize; 3] = [1, 8, 64];
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(6);
const BODY_BYTES: usize = 4_096;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [server, home] = &arguments[..]
        && server == "--do-nothing"
    {
        return do_nothing(home);
    }
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        parts().await;
        let mut gateway = TestGateway::made(&support::case::partners(&[]));
        // As an operator would who measures.
        gateway.configure(
            "# requests_per_agency_per_minute = 60000",
            "requests_per_agency_per_minute = 100000000",
        );
        gateway.serve();
        let targets = targets(&gateway, BODY_BYTES).await;
        idle(&gateway);
        ceiling(&gateway).await;
        println!("\ngateway, each message durable before its 202");
        heading();
        for connections in CONNECTIONS {
            let url = gateway.url.clone();
            run(&gateway, &url, gateway.pid(), &targets, connections).await;
        }
        if !is_quick {
            growth(&mut gateway, &targets).await;
        }
    });
}

fn idle(gateway: &TestGateway) {
    println!("\nidle, after start: {} KiB resident", memory_kib(gateway.pid(), "VmRSS"));
}

/// The same connections, bodies and answers' sizes, with nothing done in between.
async fn ceiling(gateway: &TestGateway) {
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--do-nothing".as_ref(), gateway.home().as_os_str()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
    println!("\nceiling: mutual TLS and HTTP, the body read, a fixed answer");
    heading();
    let targets = vec![LoadTarget {
        agency: POLICE.to_owned(),
        path: "/".to_owned(),
        body: body(&MessageId::new(now()).to_string(), BODY_BYTES),
    }];
    for connections in CONNECTIONS {
        run(gateway, url.trim(), server.id(), &targets, connections).await;
    }
    end(&mut server);
}

fn end(server: &mut Child) {
    server.kill().unwrap();
    server.wait().unwrap();
}

fn heading() {
    println!(
        "{:>12} {:>10} {:>9} {:>9} {:>9} {:>14} {:>10}",
        "connections", "per s", "p50 ms", "p99 ms", "max ms", "CPU us/message", "peak KiB"
    );
}

/// Posts as fast as answers come, and prints what came of it; returns the rate per second.
async fn run(
    gateway: &TestGateway,
    url: &str,
    pid: u32,
    targets: &[LoadTarget],
    connections: usize,
) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let counting = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..connections {
        let LoadTarget { agency, path, body } = targets[i % targets.len()].clone();
        let client = client(gateway, &agency);
        let (url, stop, counting) = (url.to_owned(), Arc::clone(&stop), Arc::clone(&counting));
        tasks.spawn(async move {
            let mut connection = client.connect(&url.parse().unwrap()).await.unwrap();
            let mut latencies = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let sent = connection.send(Method::POST, &path, headers(), body.to_vec().into());
                let answer = sent.await.unwrap();
                assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
                if counting.load(Ordering::Relaxed) {
                    latencies.push(begun.elapsed());
                }
            }
            latencies
        });
    }
    tokio::time::sleep(WARM_UP).await;
    counting.store(true, Ordering::Relaxed);
    let (cpu_before, begun) = (cpu(pid), Instant::now());
    tokio::time::sleep(MEASURED).await;
    let (cpu_used, elapsed) = (cpu(pid) - cpu_before, begun.elapsed());
    counting.store(false, Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    let mut latencies: Vec<Duration> = tasks.join_all().await.concat();
    latencies.sort_unstable();
    let at = |share| percentile_ms(&latencies, share);
    let rate = latencies.len() as f64 / elapsed.as_secs_f64();
    println!(
        "{connections:>12} {rate:>10.0} {:>9.2} {:>9.2} {:>9.2} {:>14.0} {:>10}",
        at(0.5),
        at(0.99),
        at(1.0),
        cpu_used.as_secs_f64() * 1e6 / latencies.len() as f64,
        memory_kib(pid, "VmHWM"),
    );
    rate
}

/// The rate with few messages stored, and with a million.
async fn growth(gateway: &mut TestGateway, targets: &[LoadTarget]) {
    println!("\ngateway, 64 connections, as the store grows");
    let mut rates = Vec::new();
    for stored in [10_000, 1_000_000] {
        gateway.stop();
        fill(gateway, targets, stored).await;
        gateway.serve();
        let size_mib = std::fs::metadata(gateway.database()).unwrap().len() >> 20;
        println!("{stored} messages stored, {size_mib} MiB");
        heading();
        let url = gateway.url.clone();
        rates.push(run(gateway, &url, gateway.pid(), targets, 64).await);
    }
    println!("rate at a million / rate at ten thousand: {:.2}", rates[1] / rates[0]);
}

/// Fills the store through its own write path, up to `wanted` entries.
async fn fill(gateway: &TestGateway, targets: &[LoadTarget], wanted: u64) {
    let store = Sqlite::open(&gateway.database()).unwrap();
    let key = log_key(gateway);
    let id = targets[0].path.split('/').nth(3).unwrap().parse().unwrap();
    let exchange = store.exchange(&id).await.unwrap();
    let mut size = store.head().await.unwrap().unwrap().size;
    while size < wanted {
        let batch = (0..128).map(|_| change(&exchange)).collect();
        store.append(batch, &key).await.unwrap();
        size += 128;
    }
}

fn log_key(gateway: &TestGateway) -> LogKey {
    let pem = std::fs::read_to_string(gateway.home().join("keys/log-key.pem")).unwrap();
    LogKey::from_pem(&format!("{}/log/1", support::DOMAIN), &pem).unwrap()
}

/// A message as the ledger hands it to the store.
fn change(exchange: &Exchange) -> Change {
    let at = now();
    let envelope = mash_gateway::message::Envelope {
        id: MessageId::new(at),
        kind: Kind::Response,
        enquiry: exchange.enquiry,
        exchange: exchange.id,
        reference: exchange.reference.clone(),
        sender: exchange.agency.clone(),
        recipient: exchange.hub.clone(),
        time: at,
        priority: exchange.priority,
        handling: None,
        visible_to: None,
        in_reply_to: Some(exchange.rfi),
        digest: [7; 32],
        size_bytes: BODY_BYTES as u64,
        is_sealed_to_agency: false,
        traceparent: None,
    };
    let mut body_mac = [0; 32];
    body_mac[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    Change::Accept(Box::new(Accept {
        token: IdempotencyToken { key_hash: *uuid::Uuid::new_v4().as_bytes(), body_mac },
        decision: None,
        enquiry: None,
        messages: vec![NewMessage {
            entry: NewEntry::new(&Event::accepted(&envelope, &[9; 32]), at),
            envelope,
            ciphertext: vec![0xa5; BODY_BYTES + 500],
            attachments: Vec::new(),
            delivery: DeliveryState::Held,
            step: Step::Say(mash_gateway::message::Said::Response(
                mash_gateway::message::ResponseResult::Partial,
            )),
        }],
        mailbox: MailboxLimits { messages_max: u64::MAX, bytes_max: u64::MAX },
    }))
}

/// What each part costs on its own, on one thread.
async fn parts() {
    let mut gateway = TestGateway::start();
    let targets = targets(&gateway, BODY_BYTES).await;
    gateway.stop();
    let store = Sqlite::open(&gateway.database()).unwrap();
    let key = log_key(&gateway);
    let LoadTarget { path, body, .. } = &targets[0];
    let id = path.split('/').nth(3).unwrap().parse().unwrap();
    let exchange = store.exchange(&id).await.unwrap();
    let schemas = Schemas::compiled();
    let submission = || Submission {
        sender: exchange.agency.clone(),
        desk: None,
        idempotency_key: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
        target: Target::Exchange(exchange.id, Kind::Response),
        body: body.to_vec(),
        traceparent: None,
        certificate: None,
    };
    println!("parts, us for one message of {BODY_BYTES} bytes on one thread");
    part("parse, as serde_json does", 1, || {
        serde_json::from_slice::<Value>(body).unwrap();
    });
    part("parse strictly and validate", 1, || {
        schemas.check(submission(), Some(exchange.clone()), now()).ok().unwrap();
    });
    let directory = mash_gateway::directory::Directory::parse(
        &std::fs::read_to_string(gateway.home().join("partners.toml")).unwrap(),
        mash_gateway::directory::parse::ParseOptions { allow_loopback: true },
        now(),
    )
    .unwrap();
    let identity =
        std::fs::read_to_string(gateway.home().join("keys/at-rest-identity.txt")).unwrap();
    let identities = mash_gateway::seal::Identities::parse(&identity.into()).unwrap();
    let sealer = mash_gateway::seal::Sealer::new(identities, &[]).unwrap();
    part("parse, validate, route and seal", 1, || {
        let new = submission();
        let token = mash_gateway::seal::idempotency_token(&new);
        let valid = schemas.check(new, Some(exchange.clone()), now()).ok().unwrap();
        sealer.seal(directory.route(valid, 0, now()).unwrap(), token, None, &[]).unwrap();
    });
    for batch in [1, 8, 64] {
        let begun = Instant::now();
        let mut appended = 0;
        while begun.elapsed() < Duration::from_secs(2) {
            let changes = (0..batch).map(|_| change(&exchange)).collect();
            store.append(changes, &key).await.unwrap();
            appended += batch;
        }
        let each_us = begun.elapsed().as_secs_f64() * 1e6 / f64::from(appended);
        println!("{each_us:>10.1}  append, synced, in batches of {batch}");
    }
}

fn part(name: &str, each: u32, mut work: impl FnMut()) {
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_secs(1) {
        work();
        rounds += each;
    }
    println!("{:>10.1}  {name}", begun.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
}

/// The do-nothing server, with the gateway's own TLS settings.
fn do_nothing(home: &str) {
    let read = |name: &str| std::fs::read_to_string(format!("{home}/{name}")).unwrap();
    let material = ServerMaterial {
        chain: &read("certs/gateway.pem"),
        key: &read("keys/tls-key.pem"),
        agency_authorities: &read("certs/agency-ca.pem"),
        crls: &read("certs/agency-ca.crl.pem"),
    };
    let config = tls::server_config(material, ClientCertificate::Required, MinTls::Tls13).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(config);
    // As long as a receipt's answer.
    let answer = Bytes::from(vec![b' '; 2_400]);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        println!("https://localhost:{}", listener.local_addr().unwrap().port());
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(tcp).await else { return };
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer.clone();
                    async move {
                        request.into_body().collect().await?;
                        let mut response = Response::new(Full::new(answer));
                        *response.status_mut() = hyper::StatusCode::ACCEPTED;
                        Ok::<_, hyper::Error>(response)
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}
