//! A whole exchange in which every free text is a word that is nowhere else, and every way to fail that
//! such a text can come into, with everything logged: the word is in nothing that the gateway wrote.

use std::process::{Command, Output};

use hyper::Method;
use mash_gateway::message::Role;
use serde_json::{Value, json};

use crate::support::endpoint::Endpoint;
use crate::support::{Agency, HUB, POLICE, TRUST, TestGateway, case, eventually, text};

/// What must not be found. In no code list, no name and no path.
const CANARY: &str = "Zyxwacanary";

/// The same document with the word in every text that people write, and how many there are: what has
/// more than one word is such a text, and so are names.
fn marked(document: &Value) -> (Value, usize) {
    let mut count = 0;
    let document = mark(document, "", &mut count);
    (document, count)
}

fn mark(value: &Value, name: &str, count: &mut usize) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().map(|(name, value)| (name.clone(), mark(value, name, count))).collect()
        }
        Value::Array(items) => items.iter().map(|value| mark(value, name, count)).collect(),
        Value::String(text) if text.contains(' ') || name.ends_with("Name") => {
            *count += 1;
            json!(format!("{text} {CANARY}"))
        }
        other => other.clone(),
    }
}

/// Posts a document with the word in it.
async fn post(who: &Agency, path: &str, document: &Value, least: usize) -> Value {
    let (document, count) = marked(document);
    assert!(count >= least, "{count} texts in what goes to {path}");
    who.post(path, &document).await.ok(202)
}

/// Everything that commands say of it.
fn said(outputs: &[Output]) -> String {
    outputs.iter().map(|ran| text(&ran.stdout) + &text(&ran.stderr)).collect()
}

#[tokio::test]
async fn what_people_write_is_in_nothing_that_the_gateway_writes() {
    let mut endpoint = Endpoint::reserve();
    let mut gateway = TestGateway::made(&case::partners(&[(POLICE, &endpoint.lines(false))]));
    endpoint.introduce(&gateway.home());
    // An endpoint that says what it was sent, when it does not want it.
    endpoint.answer_with(&[503, 422]);
    endpoint.ask_to_wait(CANARY);
    gateway.configure("# retry_base_s = 5", "retry_base_s = 1");
    gateway.log_filter = Some("trace");
    endpoint.start(&gateway.home());
    gateway.serve();
    let (hub, police, trust) = (gateway.agency(HUB), gateway.agency(POLICE), gateway.agency(TRUST));

    // All that goes well.
    let mut dispatch = case::dispatch(&[POLICE, TRUST]);
    dispatch["rfi"] = case::rfi_without_consent();
    let manager = gateway.desk(HUB, Role::TeamManager);
    let (decided, count) = marked(&case::overriding(&dispatch["rfi"]));
    assert!(count >= 5, "{count} texts in what is decided");
    let decision = manager.post("/v1/overrides", &decided).await.ok(201);
    dispatch["rfi"]["override"]["decisionCode"] = decision["decisionCode"].clone();
    let dispatched = post(&hub, "/v1/rfis", &dispatch, 12).await;
    let asked = &dispatched["exchanges"][1];
    let collected = trust.collect_first().await;
    assert!(collected.to_string().contains(CANARY), "it is there for whom it is meant");
    let id = asked["message"].as_str().unwrap();
    post(&trust, &case::path(asked, "acknowledgements"), &case::acknowledgement(id), 2).await;
    post(&trust, &case::path(asked, "responses"), &case::response(id), 3).await;
    post(&trust, &case::path(asked, "supplements"), &case::supplement(id), 3).await;
    post(&hub, &case::path(asked, "outcomes"), &case::outcome(), 2).await;
    let saved = format!("/v1/messages/{id}/saved");
    trust.request(Method::POST, &saved, &[("x-note", CANARY)], Vec::new()).await.unwrap().ok(200);
    let path =
        format!("/v1/exchanges/{}", dispatched["exchanges"][0]["exchange"].as_str().unwrap());
    eventually("the police's came back", async || {
        hub.get_json(&path).await["undelivered"] == "returned"
    })
    .await;

    // And all that does not: each refused, by whatever looks at it first.
    let (rfi, _) = marked(&case::dispatch(&[POLICE]));
    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut rfi = rfi.clone();
        change(&mut rfi);
        rfi.to_string()
    };
    let good = rfi.to_string();
    let replied = |of: &str| case::path(asked, of);
    let canary_path = format!("/v1/{CANARY}");
    let canary_exchange = format!("/v1/exchanges/{CANARY}/responses");
    let canary_query = format!("/v1/inbox?limit={CANARY}");
    let key = uuid::Uuid::new_v4().to_string();
    let refused = [
        (&hub, "/v1/rfis", wrong(&|rfi| rfi["rfi"]["priority"] = json!(CANARY)), 422),
        (&hub, "/v1/rfis", wrong(&|rfi| rfi["rfi"][CANARY] = json!(CANARY)), 422),
        (
            &hub,
            "/v1/rfis",
            wrong(&|rfi| rfi["rfi"]["persons"][0]["nhsNumber"] = json!(CANARY)),
            422,
        ),
        (&hub, "/v1/rfis", wrong(&|rfi| rfi["recipients"][0]["agency"] = json!(CANARY)), 422),
        (&hub, "/v1/rfis", format!("{{\"{CANARY}\":1,\"{CANARY}\":2}}"), 400),
        (&hub, "/v1/rfis", format!("{CANARY}{good}"), 400),
        (&hub, "/v1/rfis", good.replace('}', &format!("{CANARY}}}")), 400),
        (&hub, "/v1/rfis", good.replace(CANARY, &CANARY.repeat(100_000)), 413),
        (&trust, "/v1/rfis", good.clone(), 403),
        (&trust, replied("responses").as_str(), good.clone(), 422),
        (&police, replied("responses").as_str(), good.clone(), 404),
        (&trust, canary_exchange.as_str(), good.clone(), 404),
        (&hub, canary_path.as_str(), good.clone(), 404),
    ]
    .map(|(who, path, body, status)| (who, path.to_owned(), body, status));
    for (who, path, body, status) in refused {
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", key.as_str()),
            ("user-agent", CANARY),
            ("traceparent", CANARY),
        ];
        let answer = who.request(Method::POST, &path, &headers, body.into_bytes()).await.unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(!answer.text().contains(CANARY), "{path}: {}", answer.text());
        assert!(!format!("{:?}", answer.headers).contains(CANARY), "{path}");
    }
    for (headers, status) in [
        ([("content-type", CANARY), ("idempotency-key", key.as_str())], 415),
        ([("content-type", "application/json"), ("idempotency-key", CANARY)], 400),
        ([("content-digest", CANARY), ("idempotency-key", key.as_str())], 415),
    ] {
        let body = good.clone().into_bytes();
        let answer = hub.request(Method::POST, "/v1/rfis", &headers, body).await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(!answer.text().contains(CANARY), "{}", answer.text());
    }
    hub.get(&canary_query).await.problem(400, "invalid-parameter");
    // The same over HTTP/2, whose library says much when everything is logged.
    let document = gateway.folder().join("rfi.json");
    std::fs::write(&document, &good).unwrap();
    let file = |name: &str| gateway.agencies().join(name).to_str().unwrap().to_owned();
    for (path, status) in [("/v1/rfis", "202"), (canary_path.as_str(), "404")] {
        let asked = Command::new("curl")
            .args(["--silent", "--http2", "--output", "/dev/null", "--write-out", "%{http_code}"])
            .args(["--cacert", &file("ca.pem"), "--cert", &file(&format!("{HUB}.pem"))])
            .args(["--key", &file(&format!("{HUB}.key")), "-H", "Content-Type: application/json"])
            .args(["-H", &format!("X-Note: {CANARY}"), "-A", CANARY])
            .args(["-H", &format!("Idempotency-Key: {}", uuid::Uuid::new_v4())])
            .arg("--data-binary")
            .arg(format!("@{}", document.display()))
            .arg(format!("{}{path}", gateway.url))
            .output()
            .unwrap();
        assert_eq!(text(&asked.stdout), status, "{path}");
    }
    // What is not HTTP, and a host that is not ours.
    for raw in [
        format!("GET / HTTP/1.1\r\nHost: {CANARY}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost : {CANARY}\r\n\r\n"),
        format!("{CANARY} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        format!("{CANARY}\r\n\r\n"),
    ] {
        let answer = gateway.raw(HUB, raw.as_bytes());
        assert!(!answer.contains(CANARY), "{answer}");
    }

    let seen = [gateway.local("/metrics"), gateway.local("/readyz"), gateway.local("/version")];
    let reference = asked["reference"].as_str().unwrap();
    let outputs = [
        gateway.run(&["log", "show", "--json"]),
        gateway.run(&["log", "show", reference]),
        gateway.run(&["dead-letter", "list", "--json"]),
        gateway.run(&["doctor", "--json"]),
        gateway.run(&["log", "verify"]),
    ];
    // The write-ahead log is still there.
    let files = gateway.files();
    assert!(files.iter().any(|file| file.to_string_lossy().ends_with("-wal")), "{files:?}");
    let log = gateway.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(CANARY)).collect();
    assert!(lines.is_empty(), "{} lines: {:#?}", lines.len(), &lines[..lines.len().min(5)]);
    gateway.holds_nowhere(&[CANARY]);
    assert!(!seen.concat().contains(CANARY) && !said(&outputs).contains(CANARY));
    assert!(log.contains("\"level\":\"TRACE\""), "everything was logged");
    gateway.stop();
    let backup = gateway.folder().join("backup");
    let made = gateway.run(&["store", "backup", backup.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let is_in = |path: &std::path::Path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
    };
    let mut count = 0;
    for entry in std::fs::read_dir(&backup).unwrap() {
        let path = entry.unwrap().path();
        assert!(!is_in(&path), "{}", path.display());
        count += 1;
    }
    assert!(count > 1, "a backup was made");
    gateway.holds_nowhere(&[CANARY]);
    // And it would be found: what the trust collected has it.
    let kept = gateway.folder().join("collected.json");
    std::fs::write(&kept, collected.to_string()).unwrap();
    assert!(is_in(&kept));
}
