//! `reconcile`: an agency's own records against the gateway's. Whatever only one of them has is named.

use std::path::Path;
use std::process::{Command, Output};

use hyper::Method;
use jiff::{SignedDuration, Timestamp};
use mash_gateway::message::MessageId;
use serde_json::{Value, json};

use crate::support::{Agency, HUB, POLICE, SURGERY, TRUST, TestGateway, case, text};

/// `reconcile`, as this agency runs it where it keeps its records.
fn reconcile(gateway: &TestGateway, agency: &str, arguments: &[&str]) -> Output {
    let own = |end: &str| gateway.agencies().join(format!("{agency}.{end}"));
    Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
        .args(["reconcile", "--gateway", &gateway.url])
        .arg("--cert")
        .arg(own("pem"))
        .arg("--key")
        .arg(own("key"))
        .arg("--ca")
        .arg(gateway.agencies().join("ca.pem"))
        .args(arguments)
        .current_dir(gateway.folder())
        .output()
        .unwrap()
}

/// The same as JSON, ending so.
#[track_caller]
fn compared(gateway: &TestGateway, agency: &str, arguments: &[&str], exit: i32) -> Value {
    let ran = reconcile(gateway, agency, &[arguments, &["--json"]].concat());
    assert_eq!(ran.status.code(), Some(exit), "{}{}", text(&ran.stdout), text(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// Code and id of each gap.
fn gaps(compared: &Value) -> Vec<(&str, &str)> {
    let gaps = compared["gaps"].as_array().unwrap().iter();
    gaps.map(|gap| (gap["gap"].as_str().unwrap(), gap["id"].as_str().unwrap())).collect()
}

fn write(gateway: &TestGateway, name: &str, contents: &str) -> String {
    let path = gateway.folder().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, contents).unwrap();
    name.to_owned()
}

fn id(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

/// Collects all that waits, as a system would, into files.
async fn collect_all(gateway: &TestGateway, agency: &Agency, folder: &str) -> Vec<String> {
    let inbox = agency.get_json("/v1/inbox").await;
    let mut ids = Vec::new();
    for message in inbox["messages"].as_array().unwrap() {
        let id = id(message, "id");
        let document = agency.get(&format!("/v1/messages/{id}")).await;
        write(gateway, &format!("{folder}/{id}.json"), document.text());
        ids.push(id);
    }
    ids
}

/// Answers what was asked first, and keeps the answer's receipt.
async fn answer(gateway: &TestGateway, agency: &Agency, exchange: &Value, file: &str) -> String {
    let rfi = id(exchange, "message");
    let said = agency.post(&case::path(exchange, "responses"), &case::response(&rfi)).await.ok(202);
    write(gateway, file, said["receipt"].as_str().unwrap());
    id(&said, "message")
}

fn sqlite(gateway: &TestGateway, sql: &str) {
    let ran = Command::new("sqlite3").arg(gateway.database()).arg(sql).output().unwrap();
    assert!(ran.status.success(), "{sql}: {}", text(&ran.stderr));
}

fn blob(id: &str) -> String {
    format!("x'{}'", id.replace('-', ""))
}

#[tokio::test]
async fn records_that_agree_agree_whatever_they_are_kept_as() {
    let gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.post("/v1/rfis", &case::dispatch(&[POLICE, TRUST])).await;
    write(&gateway, "hub/answer.json", dispatched.text());
    let exchange = dispatched.json()["exchanges"][0].clone();
    let asked = collect_all(&gateway, &police, "police").await;
    answer(&gateway, &police, &exchange, "police/answer.receipt").await;
    collect_all(&gateway, &hub, "hub").await;
    write(&gateway, "police/read-me.txt", "What the clerk wrote down.\n");

    let log_key = gateway.agencies().join("log-key.txt");
    let log_key = ["--log-key", log_key.to_str().unwrap()];
    let found = compared(&gateway, POLICE, &[&["police"], &log_key[..]].concat(), 0);
    assert_eq!(found["agreed"], json!({ "byIdAlone": 0, "received": 1, "sent": 1 }));
    assert_eq!((&found["filesPassedOver"], &found["gaps"]), (&json!(1), &json!([])));
    let found = compared(&gateway, HUB, &["hub"], 0);
    assert_eq!(found["agreed"], json!({ "byIdAlone": 0, "received": 1, "sent": 2 }));

    // The same as lists, of one form each.
    let listed = police.get("/v1/messages").await;
    let page = listed.json();
    let messages = page["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2);
    let (first, second) = (&messages[0], &messages[1]);
    assert_eq!(
        (id(first, "id"), id(first, "direction")),
        (asked[0].clone(), "received".to_owned())
    );
    assert_eq!((id(first, "agency"), id(second, "direction")), (HUB.to_owned(), "sent".to_owned()));
    assert_eq!((id(first, "state"), id(second, "state")), ("collected".into(), "collected".into()));
    let (one, two) = (id(first, "id"), id(second, "id"));
    let base64 = id(second, "contentDigest");
    let receipt = Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
        .args(["receipt", "verify", "police/answer.receipt", "--json"])
        .args(log_key)
        .current_dir(gateway.folder())
        .output()
        .unwrap();
    let receipt: Value = serde_json::from_slice(&receipt.stdout).unwrap();
    let hex = id(&receipt["receipts"][0]["fields"], "digest");
    for (name, contents, by_id) in [
        ("a.csv", format!("\u{feff}\"id\",\"digest\"\r\n\"{one}\"\r\n\"{two}\",\"{hex}\"\r\n"), 1),
        ("b.txt", format!("# ours\n{one}\n\n{two},{base64}\n{two}\n"), 1),
        ("c.csv", format!("id;digest\n{};\n{two};{}\n", one.to_uppercase(), hex.to_uppercase()), 1),
        ("d.json", json!([one, { "id": two, "digest": hex }]).to_string(), 1),
        ("e.json", json!([{ "message": one }, { "id": two }]).to_string(), 2),
        ("f.json", listed.text().to_owned(), 0),
    ] {
        let file = write(&gateway, name, &contents);
        let found = compared(&gateway, POLICE, &[&file], 0);
        let agreed = json!({ "byIdAlone": by_id, "received": 1, "sent": 1 });
        assert_eq!(found["agreed"], agreed, "{name}");
    }
    let shown = reconcile(&gateway, POLICE, &["police", "a.csv"]);
    assert!(text(&shown.stdout).contains("2 messages agree (1 sent, 1 received)"));
    // No progress where nobody watches.
    assert!(text(&shown.stderr).is_empty(), "{}", text(&shown.stderr));
}

#[tokio::test]
async fn each_kind_of_gap_is_named_with_what_to_do() {
    let push = "endpoints = [{ kind = \"push\", url = \"https://localhost:9/in\", \
                ca = \"certs/root.pem\" }]\n";
    let mut gateway = TestGateway::start_with(&case::partners(&[(TRUST, push)]));
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let first = hub.dispatch(&[POLICE, TRUST]).await;
    let exchange = &first["exchanges"][0];
    collect_all(&gateway, &police, "police").await;
    let sent = answer(&gateway, &police, exchange, "police/answer.receipt").await;
    compared(&gateway, POLICE, &["police"], 0);
    let asked = id(exchange, "message");
    let of = |found: &Value| -> Vec<(String, String)> {
        gaps(found).iter().map(|(gap, id)| ((*gap).to_owned(), (*id).to_owned())).collect()
    };
    let is = |gap: &str, id: &str| vec![(gap.to_owned(), id.to_owned())];

    // What the agency does not have: one that it took, one that it sent.
    let received = gateway.folder().join(format!("police/{asked}.json"));
    let elsewhere = gateway.folder().join("elsewhere.json");
    std::fs::rename(&received, &elsewhere).unwrap();
    assert_eq!(of(&compared(&gateway, POLICE, &["police"], 3)), is("not-kept", &asked));
    std::fs::rename(&elsewhere, &received).unwrap();
    let list = write(&gateway, "list.csv", &asked);
    assert_eq!(of(&compared(&gateway, POLICE, &[&list], 3)), is("unknown-sent", &sent));
    // What waits, and what is on its way.
    let second = hub.dispatch(&[POLICE]).await;
    let waiting = id(&second["exchanges"][0], "message");
    assert_eq!(of(&compared(&gateway, POLICE, &["police"], 3)), is("not-collected", &waiting));
    let queued = id(&first["exchanges"][1], "message");
    let nothing = write(&gateway, "nothing.csv", "id,digest\n");
    assert_eq!(of(&compared(&gateway, TRUST, &[&nothing], 3)), is("on-its-way", &queued));
    collect_all(&gateway, &police, "police").await;
    // Another digest than the gateway's.
    let other =
        write(&gateway, "other.csv", &format!("{sent},{}\n{asked}\n{waiting}\n", "ab".repeat(32)));
    let found = compared(&gateway, POLICE, &[&other], 3);
    assert_eq!(of(&found), is("digest-differs", &sent));
    assert_eq!(found["gaps"][0]["place"], "other.csv line 1");

    // What the gateway lost, to which the agency has a receipt. The gateway takes part in none of it.
    compared(&gateway, POLICE, &["police"], 0);
    gateway.kill();
    sqlite(
        &gateway,
        &format!(
            "DELETE FROM deliveries WHERE entry = (SELECT entry FROM messages WHERE id = {id});
             DELETE FROM payloads WHERE entry = (SELECT entry FROM messages WHERE id = {id});
             DELETE FROM messages WHERE id = {id}",
            id = blob(&sent)
        ),
    );
    gateway.serve();
    let found = compared(&gateway, POLICE, &["police"], 3);
    assert_eq!(of(&found), is("missing-at-gateway", &sent));
    let gap = &found["gaps"][0];
    assert_eq!(gap["place"], "police/answer.receipt");
    assert!(id(gap, "next").contains("receipt verify"), "{gap}");
    // In words: each kind once, with what to do, and the messages below it.
    let shown = reconcile(&gateway, POLICE, &["police/answer.receipt"]);
    assert_eq!(shown.status.code(), Some(3));
    let (said, complained) = (text(&shown.stdout), text(&shown.stderr));
    for phrase in [
        "0 messages agree (0 sent, 0 received)",
        "missing-at-gateway: 1 message that you have and the gateway does not\n  do: keep the receipt",
        "not-kept: 2 messages that your agency took and that you do not have\n  do: look where",
        &format!("{asked}  rfi from {HUB}  RFI-"),
    ] {
        assert!(said.contains(phrase), "{phrase}: {said}");
    }
    assert!(complained.contains("3 gaps between your records and the gateway's"), "{complained}");
}

#[tokio::test]
async fn the_list_is_of_ones_own_and_of_the_period_alone() {
    let mut gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    let first = hub.dispatch(&[POLICE, SURGERY]).await;
    let second = hub.dispatch(&[POLICE, TRUST]).await;
    let ids = |page: &Value| -> Vec<String> {
        page["messages"].as_array().unwrap().iter().map(|message| id(message, "id")).collect()
    };
    let to = |dispatched: &Value, place: usize| id(&dispatched["exchanges"][place], "message");
    let (surgery, trust) = (to(&first, 1), to(&second, 1));
    for (agency, wanted) in [
        (HUB, vec![to(&first, 0), to(&first, 1), to(&second, 0), to(&second, 1)]),
        (POLICE, vec![to(&first, 0), to(&second, 0)]),
        (SURGERY, vec![surgery.clone()]),
        (TRUST, vec![trust.clone()]),
    ] {
        let agency = gateway.agency(agency);
        assert_eq!(ids(&agency.get_json("/v1/messages").await), wanted);
        // Page after page, one at a time.
        let (mut paged, mut next) = (Vec::new(), Some("/v1/messages?limit=1".to_owned()));
        while let Some(path) = next {
            let page = agency.get(&path).await;
            let link = page.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
            next = link.map(|link| link[1..link.find('>').unwrap()].to_owned());
            paged.extend(ids(&page.ok(200)));
        }
        assert_eq!(paged, wanted);
    }
    // A page after somebody else's message is nobody's.
    let police = gateway.agency(POLICE);
    for after in [surgery.as_str(), "no-id", "01931d5e-0000-7000-8000-000000000000"] {
        police.get(&format!("/v1/messages?after={after}")).await.problem(404, "not-found");
    }
    // From its instant on, and until just before it.
    let listed = police.get_json("/v1/messages").await;
    let at = id(&listed["messages"][1], "time");
    let from = police.get_json(&format!("/v1/messages?from={at}")).await;
    assert_eq!(ids(&from), [to(&second, 0)]);
    let until = police.get_json(&format!("/v1/messages?to={at}")).await;
    assert_eq!(ids(&until), [to(&first, 0)]);
    let elsewhere: Timestamp = at.parse().unwrap();
    let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(5));
    let elsewhere = elsewhere.to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S%.3f%%2B05:00");
    let from = police.get_json(&format!("/v1/messages?from={elsewhere}")).await;
    assert_eq!((ids(&from), id(&from, "from")), (vec![to(&second, 0)], at.clone()));
    let today = &at[..10];
    let whole = police.get_json(&format!("/v1/messages?from={today}&to={today}")).await;
    assert_eq!(id(&whole, "from"), format!("{today}T00:00:00.000Z"));
    assert!(!ids(&whole).is_empty());
    for wrong in ["from=yesterday", "to=2026-13-01", "from=2026-11-02&to=2026-11-01", "limit=x"] {
        police.get(&format!("/v1/messages?{wrong}")).await.problem(400, "invalid-parameter");
    }

    // The command leaves out the same on both sides.
    let list = write(&gateway, "list.csv", &ids(&listed).join("\n"));
    for (arguments, received) in
        [([&list, "--from", &at], 1), ([&list, "--to", &at], 1), ([&list, "--to", today], 2)]
    {
        let found = compared(&gateway, POLICE, &arguments, 0);
        assert_eq!(found["agreed"]["received"], received);
        assert_eq!(found["outsidePeriod"], 2 - received);
    }
    for period in [["--from", "soon"], ["--to", "2026-11-01T09:00"], ["--to", "1969-01-01"]] {
        let misused = reconcile(&gateway, POLICE, &[&[list.as_str()], &period[..]].concat());
        assert_eq!(misused.status.code(), Some(2), "{}", text(&misused.stderr));
    }
    // Nothing was collected by it, and the log says nothing of it.
    gateway.stop();
    assert!(gateway.entries().iter().all(|fields| fields["event"] != "collected"));
    gateway.verify_log();
}

/// Who has yet to join has nothing to compare; and a test is about nobody, so that nobody need keep it.
#[tokio::test]
async fn tests_are_no_gaps_and_a_pending_agency_has_no_list() {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    let partners = gateway.home().join("partners.toml");
    let active = std::fs::read_to_string(&partners).unwrap();
    let entry = format!("id = \"{SURGERY}\"");
    let (before, after) = active.split_once(&entry).unwrap();
    let pending = format!("{before}{entry}{}", after.replacen("\"active\"", "\"pending\"", 1));
    std::fs::write(&partners, pending).unwrap();
    gateway.serve();
    let surgery = gateway.agency(SURGERY);
    surgery.get("/v1/messages").await.problem(403, "agency-inactive");
    let tested = gateway.run(&["partner", "test", SURGERY, "--wait", "1ms"]);
    assert_eq!(tested.status.code(), Some(1), "{}", text(&tested.stderr));
    std::fs::write(&partners, active).unwrap();
    gateway.restart();
    let listed = gateway.agency(SURGERY).get_json("/v1/messages").await;
    assert_eq!(listed["messages"][0]["kind"], "test");
    let nothing = write(&gateway, "nothing.csv", "");
    for agency in [HUB, SURGERY] {
        let found = compared(&gateway, agency, &[&nothing], 0);
        assert_eq!(found["agreed"], json!({ "byIdAlone": 0, "received": 0, "sent": 0 }));
    }
    // Whoever kept it finds it again.
    let list = write(&gateway, "list.csv", &id(&listed["messages"][0], "id"));
    assert_eq!(compared(&gateway, HUB, &[&list], 0)["agreed"]["sent"], 1);
}

/// Copies of one message's rows, made where nobody would wait for their sealing.
fn multiply(gateway: &TestGateway, first: &Value, times: i64) {
    let at: Timestamp = id(first, "time").parse().unwrap();
    let mut sql = "BEGIN; CREATE TEMP TABLE ids (n INTEGER PRIMARY KEY, id, time_ms);\n".to_owned();
    for n in 1..=times {
        // Three at the same instant: their order is then the entries'.
        let at = at + SignedDuration::from_millis(n / 3);
        let id = blob(&MessageId::new(at).to_string());
        sql.push_str(&format!("INSERT INTO ids VALUES ({n}, {id}, {});\n", at.as_millisecond()));
    }
    sql.push_str(
        "CREATE TEMP TABLE copies AS SELECT m.* FROM messages AS m, ids
             WHERE m.entry = (SELECT max(entry) FROM messages);
         UPDATE copies SET entry = entry + 1000 + rowid, key_hash = NULL, body_mac = NULL,
             submission_count = NULL, id = (SELECT id FROM ids WHERE n = copies.rowid),
             time_ms = (SELECT time_ms FROM ids WHERE n = copies.rowid);
         INSERT INTO messages SELECT * FROM copies;
         INSERT INTO deliveries (entry, recipient, state) SELECT entry, recipient, 'saved' FROM copies;
         COMMIT;",
    );
    let file = gateway.folder().join("copies.sql");
    std::fs::write(&file, sql).unwrap();
    sqlite(gateway, &format!(".read {}", file.display()));
}

#[tokio::test]
async fn thousands_of_messages_are_compared_page_by_page() {
    let mut gateway = TestGateway::start();
    let dispatched = gateway.agency(HUB).dispatch(&[POLICE]).await;
    let first = gateway.agency(POLICE).get_json("/v1/messages").await["messages"][0].clone();
    gateway.stop();
    multiply(&gateway, &first, 3_500);
    gateway.serve();
    let police = gateway.agency(POLICE);
    let mut all = Vec::new();
    let mut next = Some("/v1/messages?to=2100-01-01".to_owned());
    while let Some(path) = next {
        let page = police.get(&path).await;
        let link = page.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link[1..link.find('>').unwrap()].to_owned());
        let messages = page.ok(200)["messages"].as_array().unwrap().clone();
        assert!(messages.len() <= 100);
        all.extend(messages.iter().map(|message| id(message, "id")));
    }
    assert_eq!((all.len(), all[0].clone()), (3_501, id(&dispatched["exchanges"][0], "message")));
    let mut once = all.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), all.len());

    let list = write(&gateway, "list.csv", &all.join("\n"));
    let to = ["--to", "2100-01-01"];
    let found = compared(&gateway, POLICE, &[&[list.as_str()], &to[..]].concat(), 0);
    assert_eq!(found["agreed"]["received"], 3_501);
    // One missing on each side, far apart.
    let lost = all.remove(2_900);
    let made_up = MessageId::new(id(&first, "time").parse().unwrap()).to_string();
    let list = write(&gateway, "list.csv", &format!("{made_up}\n{}", all.join("\n")));
    let found = compared(&gateway, POLICE, &[&[list.as_str()], &to[..]].concat(), 3);
    assert_eq!(gaps(&found), [("missing-at-gateway", &*made_up), ("not-kept", &*lost)]);
    assert_eq!(found["agreed"]["received"], 3_500);
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_refused_by_its_lines_and_never_repeated() {
    let gateway = TestGateway::start();
    let dispatched = gateway.agency(HUB).post("/v1/rfis", &case::dispatch(&[POLICE])).await;
    let answer = dispatched.json();
    let receipt = answer["exchanges"][0]["receipt"].as_str().unwrap();
    let message = id(&answer["exchanges"][0], "message");
    let digest = "ab".repeat(32);
    let changed = receipt.replacen("index", "Index", 1);
    let secret = "Wrenna Thistlebank";
    for (name, contents, places) in [
        (
            "a.csv",
            format!("id\n{message}\n{secret}\n,{digest}\n"),
            &["a.csv line 3", "a.csv line 4"][..],
        ),
        ("b.csv", format!("{message},{secret}\n"), &["b.csv line 1: its digest"]),
        (
            "c.csv",
            format!("{message},{digest}\n\n{message},{}\n", "cd".repeat(32)),
            &["c.csv line 3: it has another digest than c.csv line 1"],
        ),
        ("d.json", format!("[\"{message}\",\n{secret}]"), &["d.json line 2: this is not JSON"]),
        ("e.json", json!([message, { "name": secret }, 7]).to_string(), &["item 2", "item 3"]),
        ("f.json", json!({ "name": secret }).to_string(), &["f.json: this is no message"]),
        ("g.receipt", changed, &["g.receipt: it is not a receipt, or a byte of it was changed"]),
        ("h.txt", secret.to_owned(), &["h.txt line 1"]),
        (
            "i.json",
            format!("{{\"specversion\":\"1.0\",\"id\":\"{message}\",\n\"data\":"),
            &["i.json line 2"],
        ),
    ] {
        let file = write(&gateway, name, &contents);
        let refused = reconcile(&gateway, POLICE, &[&file]);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{name}: {said}");
        for place in places {
            assert!(said.contains(place), "{name}: {said}");
        }
        assert!(!said.contains(secret) && refused.stdout.is_empty(), "{name}: {said}");
    }
    // A hundred mistakes are not a hundred lines.
    let file = write(&gateway, "many.csv", &"x\n".repeat(100));
    let said = text(&reconcile(&gateway, POLICE, &[&file]).stderr);
    assert!(
        said.contains("line 20:") && !said.contains("line 21:") && said.contains("and 80 more")
    );
    std::fs::write(gateway.folder().join("bytes.bin"), [0xff, 0xfe, 0]).unwrap();
    let bytes = reconcile(&gateway, POLICE, &["bytes.bin"]);
    assert_eq!(bytes.status.code(), Some(2));
    let missing = reconcile(&gateway, POLICE, &["no-such-file.csv"]);
    assert_eq!(missing.status.code(), Some(4));
    assert_eq!(reconcile(&gateway, POLICE, &[]).status.code(), Some(2));
    // A good receipt, and another log's key to check it with.
    let file = write(&gateway, "good.receipt", receipt);
    let other = TestGateway::made(&case::partners(&[]));
    let other = other.agencies().join("log-key.txt");
    let refused = reconcile(&gateway, POLICE, &[&file, "--log-key", other.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("good.receipt: this receipt does not verify"));
}

/// Whoever alone can open what it is sent has the sealed payload, and need not believe its label.
#[tokio::test]
async fn an_agency_with_its_own_key_compares_the_payload_itself() {
    let gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    let dispatched = hub.dispatch(&[POLICE]).await;
    let police = gateway.agency(POLICE);
    let message = id(&dispatched["exchanges"][0], "message");
    let digest = id(&police.get_json("/v1/messages").await["messages"][0], "contentDigest");
    let payload = sealed(&gateway, &message);
    let document = |data: &[u8]| {
        use base64::Engine as _;
        let data = base64::engine::general_purpose::STANDARD.encode(data);
        json!({
            "specversion": "1.0", "id": message, "contentdigest": digest, "data_base64": data,
        })
    };
    let file = write(&gateway, "whole.json", &document(&payload).to_string());
    assert_eq!(compared(&gateway, POLICE, &[&file], 0)["agreed"]["received"], 1);
    let mut changed = payload;
    *changed.last_mut().unwrap() ^= 1;
    let file = write(&gateway, "changed.json", &document(&changed).to_string());
    let found = compared(&gateway, POLICE, &[&file], 3);
    assert_eq!(gaps(&found), [("digest-differs", &*message)]);
}

fn sealed(gateway: &TestGateway, message: &str) -> Vec<u8> {
    let file: &Path = &gateway.folder().join("payload.age");
    sqlite(
        gateway,
        &format!(
            "SELECT writefile('{}', p.ciphertext) FROM payloads AS p JOIN messages AS m
             ON m.entry = p.entry WHERE m.id = {}",
            file.display(),
            blob(message)
        ),
    );
    std::fs::read(file).unwrap()
}

/// An attempt with a wrong method or a body changes nothing and is described.
#[tokio::test]
async fn the_list_is_read_and_nothing_else() {
    let gateway = TestGateway::start();
    let police = gateway.agency(POLICE);
    let post = police.request(Method::POST, "/v1/messages", &[], Vec::new()).await.unwrap();
    post.problem(405, "method-not-allowed");
    assert_eq!(police.get_json("/v1/messages").await["messages"], json!([]));
}
