//! What the measurements share: who posts what, over which connections, and how a process is watched.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use mash_gateway::http::client::{AddressPolicy, Client, Limits};
use mash_gateway::pki::tls::{self, ClientMaterial, MinTls};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case};

/// A path that can be posted to again and again, by whom and with which body.
#[derive(Clone)]
pub(crate) struct LoadTarget {
    pub(crate) agency: String,
    pub(crate) path: String,
    pub(crate) body: Bytes,
}

/// One for each exchange of 22 enquiries to three agencies, with bodies of `body_bytes`.
pub(crate) async fn targets(gateway: &TestGateway, body_bytes: usize) -> Vec<LoadTarget> {
    let hub = gateway.agency(HUB);
    let mut targets = Vec::new();
    for _ in 0..22 {
        let dispatched = hub.dispatch(&[POLICE, TRUST, SURGERY]).await;
        for exchange in dispatched["exchanges"].as_array().unwrap() {
            targets.push(LoadTarget {
                agency: exchange["agency"].as_str().unwrap().to_owned(),
                path: case::path(exchange, "responses"),
                body: body(exchange["message"].as_str().unwrap(), body_bytes),
            });
        }
    }
    targets
}

/// A partial answer of `bytes`: any number of them may be sent.
pub(crate) fn body(rfi: &str, bytes: usize) -> Bytes {
    let mut response = case::partial(rfi);
    let second = json!({
        "category": "criminal-activity", "status": "provided", "aboutPersonIds": ["p1"],
        "summary": "", "factOrOpinion": "fact",
    });
    response["answers"].as_array_mut().unwrap().push(second);
    let words = "Seen without a coat, and said that nobody was at home. ";
    for i in 0..2 {
        let missing = bytes - response.to_string().len();
        // In equal shares: each summary has a largest length of its own.
        let share = if i == 0 { missing / 2 } else { missing };
        let summary = response["answers"][i]["summary"].as_str().unwrap().to_owned();
        let more: String = words.chars().cycle().take(share).collect();
        response["answers"][i]["summary"] = json!(summary + &more);
    }
    let body = response.to_string();
    assert_eq!(body.len(), bytes);
    body.into()
}

/// What a message is posted with: a key of its own, as random as a sender's would be.
pub(crate) fn headers() -> HeaderMap {
    let key = uuid::Uuid::new_v4().to_string();
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (HeaderName::from_static("idempotency-key"), HeaderValue::from_str(&key).unwrap()),
    ])
}

/// A client with the agency's certificate.
pub(crate) fn client(gateway: &TestGateway, agency: &str) -> Client {
    let read = |name: String| std::fs::read_to_string(gateway.agencies().join(name)).unwrap();
    let material = ClientMaterial {
        chain: &read(format!("{agency}.pem")),
        key: &read(format!("{agency}.key")),
        roots: &read("ca.pem".to_owned()),
    };
    let limits = Limits {
        connect_timeout: Duration::from_secs(20),
        answer_timeout: Duration::from_secs(60),
        response_bytes_max: 1 << 20,
    };
    let config = tls::client_config(material, MinTls::Tls13).unwrap();
    Client::new(config, AddressPolicy::AllowAny, limits)
}

/// A load that does not wait for its answers: each message is posted on its own clock, and one that
/// waits for the one before it is late, and counts as late.
#[derive(Clone, Copy)]
pub(crate) struct Steady {
    pub(crate) connections: u32,
    pub(crate) per_second: u32,
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
}

impl Steady {
    /// Connects, and posts to `targets` in turn; how long each answer took is added to `latencies`.
    pub(crate) async fn start(
        self,
        gateway: &TestGateway,
        targets: &[LoadTarget],
        latencies: &Arc<Mutex<Vec<Duration>>>,
    ) -> JoinSet<()> {
        let Self { connections, per_second, begin, end } = self;
        let mut senders = JoinSet::new();
        for i in 0..connections {
            let LoadTarget { agency, path, body } = targets[i as usize % targets.len()].clone();
            let interval = Duration::from_secs(1) * connections / per_second;
            let mut due = begin + interval * i / connections;
            let url = gateway.url.parse().unwrap();
            let mut connection = client(gateway, &agency).connect(&url).await.unwrap();
            let latencies = Arc::clone(latencies);
            senders.spawn(async move {
                while due < end {
                    tokio::time::sleep_until(due.into()).await;
                    let body = body.to_vec().into();
                    let sent = connection.send(Method::POST, &path, headers(), body);
                    let answer = sent.await.unwrap();
                    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
                    latencies.lock().unwrap().push(due.elapsed());
                    due += interval;
                }
            });
        }
        senders
    }
}

/// The value below which `share` of the sorted durations are, in milliseconds.
pub(crate) fn percentile_ms(sorted: &[Duration], share: f64) -> f64 {
    let place = ((sorted.len() - 1) as f64 * share) as usize;
    sorted[place].as_secs_f64() * 1_000.0
}

/// The processor time a process has used, in user and system mode.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<_> = after_name.split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in hundredths of a second on every Linux we run on.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// A line of `/proc/PID/status` that is in KiB.
pub(crate) fn memory_kib(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
