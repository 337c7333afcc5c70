//! What one agency can take of the gateway: room in a mailbox, requests and bodies at once, places at
//! a door. Each limit is seen to hold, and, set higher, not to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::attachments;
use crate::support::{HUB, POLICE, TRUST, TestGateway, case, eventually, text};

/// A gateway with these settings instead of the defaults.
fn configured(settings: &[(&str, &str)]) -> TestGateway {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    for (default, changed) in settings {
        gateway.configure(default, changed);
    }
    gateway.serve();
    gateway
}

/// Openssl's two ends, and openssl.
struct Spoken {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Spoken {
    fn with(gateway: &TestGateway, agency: &str, more: &[&str]) -> Self {
        let mut process = gateway.s_client(agency, more);
        let (stdin, stdout) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, stdin, stdout: BufReader::new(stdout) }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.stdin.write_all(bytes).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Spoken {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A request of the hub's that is in hand, its body still to come.
fn in_hand(gateway: &TestGateway, body_bytes: usize) -> Spoken {
    in_hand_at(gateway, "/v1/rfis", "application/json", body_bytes)
}

fn in_hand_at(gateway: &TestGateway, path: &str, media_type: &str, body_bytes: usize) -> Spoken {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\n\
         Idempotency-Key: {}\r\nExpect: 100-continue\r\nContent-Length: {body_bytes}\r\n\r\n",
        uuid::Uuid::new_v4(),
    );
    let mut spoken = Spoken::with(gateway, HUB, &[]);
    spoken.say(head.as_bytes());
    // The handler has begun to read the body.
    let line = spoken.line();
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    spoken
}

#[tokio::test]
async fn an_agency_has_so_many_requests_in_hand_and_another_its_own() {
    for (max, status) in [(2, 429), (3, 200)] {
        let changed = format!("requests_at_once_per_agency_max = {max}");
        let gateway = configured(&[("# requests_at_once_per_agency_max = 256", changed.as_str())]);
        let held = [in_hand(&gateway, 10), in_hand(&gateway, 10)];
        let hub = gateway.agency(HUB);
        let third = hub.get("/v1/whoami").await;
        assert_eq!(third.status, status, "{}", third.text());
        if status == 429 {
            third.problem(429, "too-many-requests");
            assert_eq!(third.headers["retry-after"], "1");
        }
        assert_eq!(gateway.agency(POLICE).get("/v1/whoami").await.status, 200);
        let line = "mash_gateway_limits_reached_total{limit=\"requests-at-once\"}";
        assert_eq!(gateway.metric(line), u64::from(status == 429));
        drop(held);
        let is_free = async || hub.get("/v1/whoami").await.status == 200;
        eventually("who has gone has nothing in hand", is_free).await;
    }
}

#[tokio::test]
async fn all_bodies_at_once_have_so_much_memory() {
    for (max, status) in [(1 << 20, 503), (2 << 20, 202)] {
        let changed = format!("bodies_bytes_max = {max}");
        let gateway = configured(&[("# bodies_bytes_max = 268435456", changed.as_str())]);
        let held = in_hand(&gateway, 1 << 20);
        let hub = gateway.agency(HUB);
        let second = hub.post("/v1/rfis", &case::dispatch(&[POLICE])).await;
        assert_eq!(second.status, status, "{}", second.text());
        if status == 503 {
            second.problem(503, "busy");
        }
        let line = "mash_gateway_limits_reached_total{limit=\"bodies-at-once\"}";
        assert_eq!(gateway.metric(line), u64::from(status == 503));
        assert_eq!(hub.get("/v1/whoami").await.status, 200, "what has no body is answered");
        drop(held);
        eventually("there is room again", async || {
            hub.post("/v1/rfis", &case::dispatch(&[POLICE])).await.status == 202
        })
        .await;
    }
}

#[tokio::test]
async fn an_agency_sends_so_many_files_at_once() {
    for (max, status) in [(1, 503), (2, 201)] {
        let changed = format!("transfers_per_agency_max = {max}");
        let settings = [("# transfers_per_agency_max = 8", changed.as_str())];
        let gateway = attachments::gateway(&settings);
        let held = in_hand_at(&gateway, "/v1/attachments", "application/pdf", 100_000);
        let upload = async |agency| {
            let (who, file) = (gateway.agency(agency), attachments::pdf(5_000));
            let key = attachments::new_key();
            attachments::upload_as(&who, &key, "application/pdf", &file).await.status
        };
        assert_eq!(upload(HUB).await, status);
        assert_eq!(upload(POLICE).await, 201, "another has its own");
        let line = "mash_gateway_limits_reached_total{limit=\"files-at-once\"}";
        assert_eq!(gateway.metric(line), u64::from(status == 503));
        drop(held);
        eventually("there is a place again", async || upload(HUB).await == 201).await;
    }
}

#[tokio::test]
async fn a_file_has_so_long_to_come_in() {
    let settings = [("# attachment_timeout_s = 600", "attachment_timeout_s = 1")];
    let gateway = attachments::gateway(&settings);
    let mut held = in_hand_at(&gateway, "/v1/attachments", "application/pdf", 100_000);
    assert_eq!(held.line().trim(), "", "the end of the first answer");
    assert!(held.line().starts_with("HTTP/1.1 408"));
    assert_eq!(gateway.metric("mash_gateway_problems_total{problem=\"timeout\"}"), 1);
}

fn mailbox(gateway: &TestGateway, agency: &str) -> (u64, u64) {
    let sql = format!("SELECT messages, bytes FROM mailboxes WHERE recipient = '{agency}'");
    let ran = Command::new("sqlite3").arg(gateway.database()).arg(sql).output().unwrap();
    let row = text(&ran.stdout);
    let (messages, bytes) = row.trim().split_once('|').unwrap_or(("0", "0"));
    (messages.parse().unwrap(), bytes.parse().unwrap())
}

#[tokio::test]
async fn a_full_mailbox_is_the_hubs_to_ring_about_and_never_refuses_an_answer() {
    let mut gateway =
        configured(&[("# mailbox_messages_max = 100000", "mailbox_messages_max = 5")]);
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let says = |what: &str| gateway.local("/readyz").contains(what);
    let first = (uuid::Uuid::new_v4().to_string(), case::dispatch(&[POLICE]).to_string());
    let receipt = hub.post_bytes("/v1/rfis", &first.0, first.1.clone()).await;
    assert_eq!(receipt.status, 202, "{}", receipt.text());
    let mut asked: Vec<Value> = vec![receipt.json()["exchanges"][0].clone()];
    for _ in 0..2 {
        asked.push(hub.dispatch(&[POLICE]).await["exchanges"][0].clone());
    }
    assert!(!says("mailboxes"), "three of five are not many");
    asked.push(hub.dispatch(&[POLICE]).await["exchanges"][0].clone());
    eventually("four of five are", async || says("test-police 80 %")).await;
    asked.push(hub.dispatch(&[POLICE]).await["exchanges"][0].clone());

    // Nobody else gets what cannot go to all of them.
    let refused = hub.post("/v1/rfis", &case::dispatch(&[TRUST, POLICE])).await;
    let problem = refused.problem(409, "mailbox-full");
    assert!(problem["detail"].as_str().unwrap().contains(POLICE), "{problem}");
    assert_eq!(problem["resolver"], "the recipient's contact officer");
    assert_eq!(gateway.agency(TRUST).get_json("/v1/inbox").await["messages"], json!([]));
    let line = "mash_gateway_limits_reached_total{limit=\"mailbox\"}";
    assert_eq!(gateway.metric(line), 1);
    // What was accepted before is accepted: the same bytes again.
    let again = hub.post_bytes("/v1/rfis", &first.0, first.1.clone()).await;
    assert_eq!((again.status, again.text()), (202, receipt.text()));
    eventually("an operator sees it", async || {
        says("test-police 100 %")
            && gateway.metric("mash_gateway_mailbox_messages{agency=\"test-police\"}") == 5
    })
    .await;
    let looked = gateway.run(&["doctor", "--json", "--quick"]);
    let looked: Value = serde_json::from_slice(&looked.stdout).unwrap();
    let full = |one: &&Value| one["code"] == "mailbox-fill" && one["verdict"] == "act";
    let found = looked["findings"].as_array().unwrap().iter().find(full).expect("it is found");
    assert_eq!(found["agency"], POLICE);

    // The hub's own is past its limit, and takes every answer all the same.
    for one in &asked {
        police.get(&format!("/v1/messages/{}", one["message"].as_str().unwrap())).await.ok(200);
        let body = case::acknowledgement(one["message"].as_str().unwrap());
        police.post(&case::path(one, "acknowledgements"), &body).await.ok(202);
        let body = case::response(one["message"].as_str().unwrap());
        police.post(&case::path(one, "responses"), &body).await.ok(202);
    }
    assert_eq!(mailbox(&gateway, HUB).0, 10);
    eventually("and an operator sees that too", async || says("test-mash 200 %")).await;

    // An outcome is refused like an RFI. Collected is not saved; saved makes room.
    let outcome =
        async |at: usize| hub.post(&case::path(&asked[at], "outcomes"), &case::outcome()).await;
    outcome(0).await.problem(409, "mailbox-full");
    let saved = format!("/v1/messages/{}/saved", asked[0]["message"].as_str().unwrap());
    police.post(&saved, &json!({})).await.ok(200);
    police.post(&saved, &json!({})).await.ok(200);
    assert_eq!(mailbox(&gateway, POLICE).0, 4, "saved twice is saved once");
    outcome(0).await.ok(202);
    outcome(1).await.problem(409, "mailbox-full");
    gateway.stop();
    gateway.verify_log();

    // A count that is not what waits is found.
    let wrong = "UPDATE mailboxes SET messages = messages - 1 WHERE recipient = 'test-police'";
    let ran = Command::new("sqlite3").arg(gateway.database()).arg(wrong).status().unwrap();
    assert!(ran.success());
    let verified = gateway.run(&["log", "verify"]);
    assert!(!verified.status.success());
    assert!(text(&verified.stderr).contains("its mailbox"), "{}", text(&verified.stderr));
}

#[tokio::test]
async fn a_mailbox_has_so_many_bytes() {
    let gateway = configured(&[("# mailbox_bytes_max = 1073741824", "mailbox_bytes_max = 16384")]);
    let hub = gateway.agency(HUB);
    let mut accepted = 0;
    let refused = loop {
        let answer = hub.post("/v1/rfis", &case::dispatch(&[POLICE])).await;
        if answer.status != 202 {
            break answer;
        }
        accepted += 1;
    };
    refused.problem(409, "mailbox-full");
    let (messages, bytes) = mailbox(&gateway, POLICE);
    assert_eq!(messages, accepted);
    let each = bytes / accepted;
    assert!(accepted > 1 && bytes <= 16_384 && bytes + each > 16_384, "{accepted}: {bytes}");
}

/// Counted at acceptance and at every end a message can come to, and again when an older file is
/// brought up to date.
#[tokio::test]
async fn an_older_database_is_counted_once_when_it_is_brought_up_to_date() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    for _ in 0..3 {
        hub.dispatch(&[POLICE, TRUST]).await;
    }
    let one = police.collect_first().await;
    let saved = format!("/v1/messages/{}/saved", one["id"].as_str().unwrap());
    police.post(&saved, &json!({})).await.ok(200);
    let before = (mailbox(&gateway, POLICE), mailbox(&gateway, TRUST));
    assert_eq!((before.0.0, before.1.0), (2, 3));
    gateway.stop();
    // As it was before either was kept.
    let older = "DROP TABLE rfi_drafts; DROP TABLE drafts; DROP INDEX exchanges_unanswered;
        DROP INDEX exchanges_unsettled; DROP TABLE notices; DROP TABLE saved_records; ALTER TABLE exchanges DROP COLUMN consent_withdrawn_ms;
        ALTER TABLE exchanges DROP COLUMN assessment_due_ms; DROP INDEX enquiries_kept;
        ALTER TABLE enquiries DROP COLUMN destroyed; ALTER TABLE enquiries DROP COLUMN held;
        DROP TABLE overrides; ALTER TABLE messages DROP COLUMN visible_to;
        DROP INDEX deliveries_attention; ALTER TABLE deliveries DROP COLUMN needs_attention;
        ALTER TABLE enquiries DROP COLUMN referrer_told_ms;
        ALTER TABLE exchanges DROP COLUMN answered_ms;
        ALTER TABLE exchanges DROP COLUMN will_reply_by_ms;
        ALTER TABLE exchanges DROP COLUMN transcribed_ms;
        ALTER TABLE exchanges DROP COLUMN telephoned_ms;
        ALTER TABLE exchanges DROP COLUMN outcome;
        ALTER TABLE exchanges DROP COLUMN decided_ms;
        ALTER TABLE exchanges DROP COLUMN cancelled_ms;
        ALTER TABLE exchanges DROP COLUMN consulted_ms;
        ALTER TABLE exchanges DROP COLUMN viewed_ms;
        DROP TABLE cosignatures; DROP TABLE mailboxes; DROP INDEX deliveries_told;
        ALTER TABLE deliveries DROP COLUMN exchange;
        DELETE FROM refinery_schema_history WHERE version > 5; PRAGMA user_version = 5;";
    let ran = Command::new("sqlite3").arg(gateway.database()).arg(older).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let migrated = gateway.run(&["store", "migrate"]);
    assert!(migrated.status.success(), "{}", text(&migrated.stderr));
    assert_eq!((mailbox(&gateway, POLICE), mailbox(&gateway, TRUST)), before);
    gateway.verify_log();
}

fn silent(address: &str) -> TcpStream {
    TcpStream::connect(address.trim_start_matches("https://").trim_start_matches("http://"))
        .unwrap()
}

/// Asks the local door, once it has a place for us.
async fn lives(gateway: &TestGateway) -> bool {
    let address = gateway.local.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.starts_with("HTTP/1.1 200")
}

/// Two who say nothing have all the places; a third waits, and another door does not.
#[tokio::test]
async fn a_full_door_leaves_the_others_open() {
    let gateway = configured(&[("# local_connections_max = 64", "local_connections_max = 2")]);
    let held = [silent(&gateway.local), silent(&gateway.local)];
    {
        let (third, hub) = (lives(&gateway), gateway.agency(HUB));
        tokio::pin!(third);
        tokio::select! {
            biased;
            _ = third.as_mut() => panic!("a third was let in"),
            answer = hub.get("/v1/whoami") => assert_eq!(answer.status, 200),
        }
        drop(held);
        assert!(third.await, "it waited for a place");
    }

    let gateway = configured(&[("# connections_max = 1024", "connections_max = 2")]);
    let held = [silent(&gateway.url), silent(&gateway.url)];
    let line = "mash_gateway_open_connections";
    eventually("both are in", async || gateway.metric(line) == 2).await;
    let hub = gateway.agency(HUB);
    let third = hub.get("/v1/whoami");
    tokio::pin!(third);
    let others = async {
        // Longer than it takes to be let in and answered.
        for _ in 0..20 {
            assert!(lives(&gateway).await);
        }
    };
    tokio::select! {
        biased;
        _ = third.as_mut() => panic!("a third was let in"),
        () = others => {}
    }
    drop(held);
    assert_eq!(third.await.status, 200, "it waited for a place");
}

#[tokio::test]
async fn a_header_has_so_many_bytes() {
    let small = configured(&[("# header_bytes_max = 32768", "header_bytes_max = 8192")]);
    let usual = TestGateway::start();
    let header = format!("X-Long: {}", "a".repeat(9_000));
    for (gateway, status) in [(&small, "431"), (&usual, "200")] {
        let folder = gateway.agencies();
        let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        for version in ["--http1.1", "--http2"] {
            let asked = Command::new("curl")
                .args(["--silent", "--max-time", "30", "--output", "/dev/null", version])
                .args(["--write-out", "%{http_code}", "--cacert", &file("ca.pem")])
                .args(["--cert", &file("test-police.pem"), "--key", &file("test-police.key")])
                .args(["-H", &header, &format!("{}/v1/whoami", gateway.url)])
                .output()
                .unwrap();
            assert_eq!(text(&asked.stdout), status, "{version}");
        }
    }
    let line = "mash_gateway_connections_cut_total{reason=\"header-too-large\"}";
    assert_eq!((small.metric(line), usual.metric(line)), (1, 0), "over HTTP/1");
}

#[tokio::test]
async fn a_header_has_so_many_fields() {
    let gateway = TestGateway::start();
    let asked = |fields: usize| {
        let fields: String = (0..fields).map(|n| format!("X-{n}: y\r\n")).collect();
        let request = format!(
            "GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n"
        );
        gateway.raw(POLICE, request.as_bytes())
    };
    // With Host and Connection these are 64, and 65.
    assert!(asked(62).starts_with("HTTP/1.1 200"), "{}", asked(62));
    assert!(asked(63).starts_with("HTTP/1.1 431"), "{}", asked(63));
}

#[tokio::test]
async fn an_inbox_is_listed_page_by_page() {
    let gateway = configured(&[("# inbox_page_max = 100", "inbox_page_max = 2")]);
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    for _ in 0..3 {
        hub.dispatch(&[POLICE]).await;
    }
    let first = police.get("/v1/inbox?limit=50").await;
    assert_eq!(first.json()["messages"].as_array().unwrap().len(), 2);
    let link = first.headers["link"].to_str().unwrap();
    let next = link.split_once('<').unwrap().1.split_once('>').unwrap().0;
    let rest = police.get(next).await;
    assert_eq!(rest.json()["messages"].as_array().unwrap().len(), 1);
    assert!(!rest.headers.contains_key("link"));
}

/// A frame (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field as HPACK without its tables (RFC 7541, 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// The kind, stream and payload of the next frame.
fn next_frame(spoken: &mut Spoken) -> (u8, u32, Vec<u8>) {
    let mut header = [0; 9];
    spoken.stdout.read_exact(&mut header).unwrap();
    let [a, b, c, kind, _, w, x, y, z] = header;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    spoken.stdout.read_exact(&mut payload).unwrap();
    (kind, u32::from_be_bytes([w, x, y, z]), payload)
}

#[tokio::test]
async fn a_connection_has_so_many_streams() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    for (max, is_refused) in [(2, true), (3, false)] {
        let changed = format!("http2_streams_max = {max}");
        let gateway = configured(&[("# http2_streams_max = 32", changed.as_str())]);
        let mut spoken = Spoken::with(&gateway, HUB, &["-alpn", "h2"]);
        spoken.say(PREFACE);
        spoken.say(&frame(4, 0, 0, b""));
        for stream in [1, 3, 5] {
            let header = [
                // POST, https, and where to.
                vec![0x83, 0x87],
                field(":path", "/v1/rfis"),
                field(":authority", "localhost"),
                field("content-type", "application/json"),
                field("idempotency-key", &uuid::Uuid::new_v4().to_string()),
            ];
            // Its body is still to come.
            spoken.say(&frame(1, 4, stream, &header.concat()));
        }
        spoken.say(&frame(6, 0, 0, b"all said"));
        let mut reset = Vec::new();
        loop {
            match next_frame(&mut spoken) {
                (3, stream, code) => reset.push((stream, code)),
                (6, 0, payload) if payload == b"all said" => break,
                _ => {}
            }
        }
        let refused = if is_refused { vec![(5, REFUSED_STREAM.to_vec())] } else { vec![] };
        assert_eq!(reset, refused, "{max}");
        let line = "mash_gateway_http2_resets_total{by=\"gateway\"}";
        eventually("it is counted", async || gateway.metric(line) == u64::from(is_refused)).await;
    }
}

/// The same clients at a gateway that waits two seconds, and at one that waits for long: when all are
/// gone from the first, all are still there at the second.
#[tokio::test]
async fn zombies_are_buried_and_whoever_is_only_slow_is_not() {
    let impatient = configured(&[
        ("# handshake_timeout_s = 10", "handshake_timeout_s = 2"),
        ("# header_timeout_s = 10", "header_timeout_s = 2"),
        ("# request_timeout_s = 30", "request_timeout_s = 3"),
        ("# stall_timeout_s = 120", "stall_timeout_s = 4"),
    ]);
    let patient = configured(&[
        ("# handshake_timeout_s = 10", "handshake_timeout_s = 120"),
        ("# header_timeout_s = 10", "header_timeout_s = 120"),
        ("# request_timeout_s = 30", "request_timeout_s = 300"),
        ("# stall_timeout_s = 120", "stall_timeout_s = 600"),
    ]);
    let open = |gateway: &TestGateway| gateway.metric("mash_gateway_open_connections");
    let mut zombies = Vec::new();
    for gateway in [&impatient, &patient] {
        // Who never begins a handshake, or leaves off in the middle.
        let mut half = silent(&gateway.url);
        half.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
        // Whose machine sleeps: after TLS, over either version, and in the middle of a request. The
        // kernel answers for them.
        let mut asleep = vec![
            Spoken::with(gateway, POLICE, &[]),
            Spoken::with(gateway, POLICE, &["-alpn", "h2"]),
            Spoken::with(gateway, POLICE, &[]),
            Spoken::with(gateway, POLICE, &["-alpn", "h2"]),
        ];
        asleep[2].say(b"GET /v1/whoami HTTP/1.1\r\nHost: local");
        // A header that has been begun: its frame says more is to come.
        asleep[3].say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        asleep[3].say(&frame(4, 0, 0, b""));
        asleep[3].say(&[0, 0, 90, 1, 4, 0, 0, 0, 1, 0x82]);
        let accepted = "mash_gateway_handshakes_total{outcome=\"accepted\"}";
        eventually("they are in", async || gateway.metric(accepted) == 4).await;
        for one in &asleep {
            let id = one.process.id().to_string();
            assert!(Command::new("kill").args(["-s", "STOP", &id]).status().unwrap().success());
        }
        zombies.push((silent(&gateway.url), half, asleep));
    }
    eventually("all are there", async || open(&patient) == 6).await;
    eventually("none is left", async || open(&impatient) == 0).await;
    assert_eq!(open(&patient), 6, "it is the limit that buried them");
    let late = "mash_gateway_handshakes_total{outcome=\"timeout\"}";
    assert_eq!((impatient.metric(late), patient.metric(late)), (2, 0));
    assert_eq!(patient.agency(HUB).get("/v1/whoami").await.status, 200);
}
