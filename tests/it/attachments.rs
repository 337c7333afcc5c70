//! Files that are sent with messages, through the front door: what is taken and what is not, who has
//! them, and that they come out as they went in.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Output, Stdio};

use hyper::Method;
use mash_gateway::event::content_digest;
use mash_gateway::message::sha256;
use serde_json::{Value, json};

use crate::support::{
    Agency, Answer, HUB, POLICE, SURGERY, TRUST, TestGateway, case, eventually, text,
};

/// In every file that is sent, and in the clear nowhere.
pub(crate) const CANARY: &str = "Wexcombe-Larkspur-Nightjar";

/// What a directory says of an agency that may send files.
pub(crate) const MAY_ATTACH: &str = "endpoints = [{ kind = \"mailbox\" }]\nattachments = true\n";

/// A gateway whose hub and police may send files, with these settings instead of the defaults.
pub(crate) fn gateway(settings: &[(&str, &str)]) -> TestGateway {
    let partners = case::partners(&[(HUB, MAY_ATTACH), (POLICE, MAY_ATTACH)]);
    let mut gateway = TestGateway::made(&partners);
    for (default, changed) in settings {
        gateway.configure(default, changed);
    }
    gateway.serve();
    gateway
}

/// An invented PDF of this length, with the canary at its beginning and at its end.
pub(crate) fn pdf(length: usize) -> Vec<u8> {
    let mut file = format!("%PDF-1.7\n{CANARY}\n").into_bytes();
    // No two pieces of it are alike.
    let filling = (0_u64..).flat_map(|n| sha256(&n.to_be_bytes()));
    file.extend(filling.take(length.saturating_sub(file.len() + CANARY.len())));
    file.extend(CANARY.bytes());
    file
}

pub(crate) fn new_key() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Uploads a file under this key.
pub(crate) async fn upload_as(who: &Agency, key: &str, media_type: &str, file: &[u8]) -> Answer {
    let digest = content_digest(&sha256(file));
    let headers =
        [("content-type", media_type), ("idempotency-key", key), ("content-digest", &*digest)];
    who.request(Method::POST, "/v1/attachments", &headers, file.to_vec()).await.unwrap()
}

/// Uploads a file; returns how a message names it.
pub(crate) async fn upload(who: &Agency, media_type: &str, file: &[u8]) -> Value {
    let answer = upload_as(who, &new_key(), media_type, file).await;
    let location = answer.headers.get("location").cloned();
    let named = answer.ok(201);
    assert_eq!(location.unwrap(), format!("/v1/attachments/{}", id(&named)));
    named
}

pub(crate) fn id(named: &Value) -> String {
    named["id"].as_str().unwrap().to_owned()
}

/// Asks for a file.
pub(crate) async fn fetch(who: &Agency, named: &Value) -> Answer {
    who.get(&format!("/v1/attachments/{}", id(named))).await
}

/// An RFI to the police that names these files, and what was answered.
pub(crate) fn dispatch_with(recipients: &[&str], files: &[&Value]) -> Value {
    let mut dispatch = case::dispatch(recipients);
    dispatch["rfi"]["attachments"] = json!(files);
    dispatch
}

/// A response of the police's in this exchange that names these files.
pub(crate) fn response_with(asked: &Value, files: &[&Value]) -> Value {
    let mut response = case::response(asked["message"].as_str().unwrap());
    response["attachments"] = json!(files);
    response
}

/// What curl says, as this agency, when it is told to do this; the status is the last line.
pub(crate) fn curl(gateway: &TestGateway, agency: &str, arguments: &[&str]) -> Command {
    let folder = gateway.agencies();
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "300", "--write-out", "\n%{http_code}"])
        .arg("--cacert")
        .arg(folder.join("ca.pem"))
        .arg("--cert")
        .arg(folder.join(format!("{agency}.pem")))
        .arg("--key")
        .arg(folder.join(format!("{agency}.key")))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// How curl uploads what it reads from its input, without saying how long it is.
pub(crate) fn stream(gateway: &TestGateway, agency: &str) -> Child {
    let key = format!("Idempotency-Key: {}", new_key());
    let url = format!("{}/v1/attachments", gateway.url);
    let arguments =
        ["-X", "POST", "-T", "-", "-H", "Content-Type: application/pdf", "-H", &key, &url];
    curl(gateway, agency, &arguments).spawn().unwrap()
}

fn status(ran: &Output) -> String {
    text(&ran.stdout).lines().last().unwrap_or_default().to_owned()
}

/// Of one agency, how many files it has uploaded that no message names.
fn unsent(gateway: &TestGateway) -> u64 {
    let sql = "SELECT count(*) FROM attachment_parts";
    let ran = Command::new("sqlite3").arg(gateway.database()).arg(sql).output().unwrap();
    text(&ran.stdout).trim().parse().unwrap()
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01 and so on";
const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0 and so on";

#[tokio::test]
async fn each_type_comes_out_as_it_went_in() {
    let mut gateway = gateway(&[]);
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let note = format!("Wrenna’s note: {CANARY}\n").into_bytes();
    let large = pdf(3 * (1 << 20) + 17);
    let files: [(&str, &[u8]); 5] = [
        ("application/pdf", &large),
        ("image/png", PNG),
        ("image/jpeg", JPEG),
        ("text/plain; charset=UTF-8", &note),
        ("application/pdf", b"%PDF-1.4"),
    ];
    let mut named = Vec::new();
    for (media_type, file) in files {
        let one = upload(&hub, media_type, file).await;
        assert_eq!(one["digest"], content_digest(&sha256(file)));
        assert_eq!(one["size"], file.len());
        named.push(one);
    }
    let all: Vec<_> = named.iter().collect();
    let dispatched = hub.post("/v1/rfis", &dispatch_with(&[POLICE], &all)).await.ok(202);
    let message = police.collect_first().await;
    assert_eq!(message["data"]["attachments"], json!(named));
    let mut ids: Vec<_> = named.iter().map(id).collect();
    ids.sort();
    assert_eq!(message["attachments"], ids.join(" "));
    for ((media_type, file), named) in files.iter().zip(&named) {
        let answer = fetch(&police, named).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body == *file, "{media_type}: other bytes");
        let shown = media_type.replace("UTF-8", "utf-8");
        assert_eq!(answer.headers["content-type"], shown);
        assert_eq!(answer.headers["content-length"], file.len().to_string());
        assert_eq!(answer.headers["content-digest"], content_digest(&sha256(file)));
        let disposition = answer.headers["content-disposition"].to_str().unwrap();
        assert!(disposition.starts_with(&format!("attachment; filename=\"{}.", id(named))));
    }
    // Asked again and again, it is there again, and the log is not filled with it.
    for _ in 0..3 {
        assert!(fetch(&police, &named[0]).await.body == large);
    }
    let exchange = dispatched["exchanges"][0]["exchange"].as_str().unwrap();
    let timeline = police.get_json(&format!("/v1/exchanges/{exchange}")).await;
    let events: Vec<_> = timeline["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["event"].as_str().unwrap())
        .collect();
    let fetched = events.iter().filter(|event| **event == "attachment-collected").count();
    assert_eq!(fetched, files.len() + 1, "{events:?}");
    assert_eq!(timeline["timeline"][0]["attachments"], ids.join(" "));
    // What the uploader may read of the log; and that nobody else may.
    for (who, count) in [(&hub, files.len()), (&police, 0)] {
        let entries = who.get_json("/v1/log/entries").await;
        let uploaded = |entry: &&Value| entry["fields"]["event"] == "attachment-uploaded";
        assert_eq!(entries["entries"].as_array().unwrap().iter().filter(uploaded).count(), count);
    }
    gateway.stop();
    gateway.holds_nowhere(&[CANARY]);
    gateway.verify_log();
}

#[tokio::test]
async fn what_is_not_what_it_is_said_to_be_is_not_taken() {
    let gateway = gateway(&[]);
    let police = gateway.agency(POLICE);
    let late_nul = [vec![b'a'; 200_000], vec![0]].concat();
    let files: [(&str, &[u8]); 17] = [
        ("application/pdf", PNG),
        ("image/png", JPEG),
        ("image/jpeg", b"GIF89a and so on"),
        ("application/pdf", b"<html>%PDF-1.7</html>"),
        ("application/pdf", b"\n%PDF-1.7 and so on"),
        ("application/pdf", b""),
        ("text/plain", b""),
        ("text/plain", b"%PDF-1.7 all letters"),
        ("text/plain", &late_nul),
        ("text/plain", b"not UTF-8: \xe9"),
        ("text/plain; charset=iso-8859-1", b"text"),
        ("text/html", b"<html>"),
        ("application/pdf; x=y", b"%PDF-1.7"),
        ("application/json", b"{}"),
        ("application/octet-stream", b"%PDF-1.7"),
        ("image/svg+xml", b"<svg/>"),
        ("text", b"text"),
    ];
    for (media_type, file) in files {
        let answer = upload_as(&police, &new_key(), media_type, file).await;
        let problem = answer.problem(415, "media-type");
        assert!(!problem["remedy"].as_str().unwrap().is_empty());
    }
    let headers = [("idempotency-key", &*new_key())];
    let nothing = police.request(Method::POST, "/v1/attachments", &headers, pdf(100)).await;
    nothing.unwrap().problem(415, "media-type");
    for key in ["", "not-a-uuid"] {
        let answer = upload_as(&police, key, "application/pdf", &pdf(100)).await;
        answer.problem(400, "idempotency-key-missing");
    }
    // Of none of them anything is left.
    eventually("nothing is left", async || unsent(&gateway) == 0).await;
    let log = gateway.entries();
    assert!(log.iter().all(|fields| fields["event"] != "attachment-uploaded"));
    assert!(log.iter().any(|fields| fields["problem"] == "media-type"));
}

#[tokio::test]
async fn a_digest_is_checked_when_it_is_given() {
    let gateway = gateway(&[]);
    let police = gateway.agency(POLICE);
    let file = pdf(1_500_000);
    let other = content_digest(&sha256(b"other"));
    let own = content_digest(&sha256(&file));
    for (given, is_right) in [
        (own.clone(), true),
        (format!("sha-512=:AAAA:, {own}"), true),
        ("sha-512=:AAAA:".to_owned(), true),
        (other, false),
        ("sha-256=:AAAA:".to_owned(), false),
    ] {
        let key = new_key();
        let headers = [
            ("content-type", "application/pdf"),
            ("idempotency-key", &*key),
            ("content-digest", &*given),
        ];
        let answer = police.request(Method::POST, "/v1/attachments", &headers, file.clone()).await;
        if is_right {
            assert_eq!(answer.unwrap().ok(201)["digest"], own);
        } else {
            answer.unwrap().problem(400, "content-digest-mismatch");
        }
    }
}

#[tokio::test]
async fn only_agencies_that_the_directory_allows_send_files() {
    let mut gateway = gateway(&[]);
    let (trust, police) = (gateway.agency(TRUST), gateway.agency(POLICE));
    let answer = upload_as(&trust, &new_key(), "application/pdf", &pdf(100)).await;
    let problem = answer.problem(403, "attachments-not-allowed");
    assert!(problem["resolver"].as_str().unwrap().contains("operator"), "{problem}");
    assert_eq!(trust.get_json("/v1/whoami").await.get("attachmentBytesMax"), None);
    assert_eq!(police.get_json("/v1/whoami").await["attachmentBytesMax"], 26_214_400);
    gateway.stop();
    let allowed = case::partners(&[(TRUST, MAY_ATTACH)]);
    std::fs::write(gateway.home().join("partners.toml"), allowed).unwrap();
    gateway.serve();
    let (trust, police) = (gateway.moved(trust), gateway.moved(police));
    upload(&trust, "application/pdf", &pdf(100)).await;
    let answer = upload_as(&police, &new_key(), "application/pdf", &pdf(100)).await;
    answer.problem(403, "attachments-not-allowed");
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_read_and_while_it_is() {
    let gateway = gateway(&[
        ("# attachment_bytes_max = 26214400", "attachment_bytes_max = 2000000"),
        ("# attachments_unsent_bytes_max = 104857600", "attachments_unsent_bytes_max = 5000000"),
    ]);
    let police = gateway.agency(POLICE);
    upload(&police, "application/pdf", &pdf(2_000_000)).await;
    let answer = upload_as(&police, &new_key(), "application/pdf", &pdf(2_000_001)).await;
    answer.problem(413, "body-too-large");

    // One who asks first hears it before a byte is sent.
    let key = format!("Idempotency-Key: {}", new_key());
    let file = gateway.folder().join("large.pdf");
    std::fs::write(&file, pdf(3_000_000)).unwrap();
    let url = format!("{}/v1/attachments", gateway.url);
    let sent_of = |arguments: &[&str]| {
        let ran = curl(&gateway, POLICE, arguments).output().unwrap();
        let said = text(&ran.stdout);
        let last = said.lines().last().unwrap_or_default().to_owned();
        assert!(said.contains("urn:mash:problem:body-too-large"), "{said} {}", text(&ran.stderr));
        last
    };
    let (name, content) = (file.to_str().unwrap(), "Content-Type: application/pdf");
    let told = sent_of(&[
        "-X",
        "POST",
        "-T",
        name,
        "-H",
        content,
        "-H",
        &key,
        "-H",
        "Expect: 100-continue",
        "--http1.1",
        "--expect100-timeout",
        "60",
        "--write-out",
        "\n%{http_code} %{size_upload}",
        &url,
    ]);
    assert_eq!(told, "413 0");
    // Of one who does not say how long it is, it is found out as it comes.
    let mut streaming = stream(&gateway, POLICE);
    streaming.stdin.take().unwrap().write_all(&pdf(3_000_000)).unwrap();
    let ran = streaming.wait_with_output().unwrap();
    assert_eq!(status(&ran), "413", "{}", text(&ran.stderr));

    // Nor may there be too many that no message names: 2 MB are here, and 5 MB may be.
    upload(&police, "application/pdf", &pdf(1_000_000)).await;
    let answer = upload_as(&police, &new_key(), "application/pdf", &pdf(2_000_000)).await;
    answer.problem(409, "attachments-unsent");
    // The same when it is not known before: what is written of it is taken away again.
    let before = unsent(&gateway);
    let mut streaming = stream(&gateway, POLICE);
    streaming.stdin.take().unwrap().write_all(&pdf(2_000_000)).unwrap();
    let ran = streaming.wait_with_output().unwrap();
    assert_eq!(status(&ran), "409", "{}", text(&ran.stderr));
    upload(&police, "application/pdf", &pdf(1_500_000)).await;
    // Another agency's are its own.
    upload(&gateway.agency(HUB), "application/pdf", &pdf(2_000_000)).await;
    assert!(before > 0);
}

#[tokio::test]
async fn the_same_upload_under_the_same_key_is_one_file() {
    let mut gateway = gateway(&[]);
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let (key, file) = (new_key(), pdf(1_200_000));
    let first = upload_as(&police, &key, "application/pdf", &file).await;
    let quoted = format!("\"{}\"", key.to_uppercase());
    for key in [&key, &quoted] {
        let again = upload_as(&police, key, "application/pdf", &file).await;
        assert_eq!((again.status, &again.body), (201, &first.body));
        assert_eq!(again.headers["location"], first.headers["location"]);
    }
    let other = upload_as(&police, &key, "application/pdf", &pdf(1_200_001)).await;
    other.problem(409, "idempotency-key-reused");
    let other = upload_as(&police, &key, "text/plain", b"a text").await;
    other.problem(409, "idempotency-key-reused");
    // Keys are an agency's own, and uploads' apart from messages'.
    let of_hub = upload_as(&hub, &key, "application/pdf", &file).await.ok(201);
    assert_ne!(of_hub["id"], first.json()["id"]);
    let dispatch = dispatch_with(&[POLICE], &[&of_hub]);
    let asked = hub.post_bytes("/v1/rfis", &key, dispatch.to_string()).await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    // A message sent again gets its first answer, although its files are sent.
    let again = hub.post_bytes("/v1/rfis", &key, dispatch.to_string()).await;
    assert_eq!((again.status, again.body), (202, asked.body));
    // Also after a restart, and when the file has been sent.
    gateway.restart();
    let (hub, police) = (gateway.moved(hub), gateway.moved(police));
    let again = upload_as(&police, &key, "application/pdf", &file).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    let again = upload_as(&hub, &key, "application/pdf", &file).await;
    assert_eq!(again.ok(201), of_hub);

    // Two at once are one as well.
    let key = new_key();
    let (one, two) = tokio::join!(
        upload_as(&police, &key, "application/pdf", &file),
        upload_as(&police, &key, "application/pdf", &file),
    );
    assert_eq!((one.status, two.status), (201, 201));
    assert_eq!(one.body, two.body);
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn a_message_names_its_senders_own_files_as_they_are_and_each_file_once() {
    let mut gateway = gateway(&[]);
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.dispatch(&[POLICE, TRUST]).await;
    let asked = &dispatched["exchanges"][0];
    let path = case::path(asked, "responses");
    let file = upload(&police, "image/png", PNG).await;
    let of_hub = upload(&hub, "image/png", PNG).await;
    let mut unknown = file.clone();
    unknown["id"] = json!("01890a5d-ac96-774b-bcce-b302099a8057");
    let changed = |member: &str, value: Value| {
        let mut changed = file.clone();
        changed[member] = value;
        changed
    };
    let refused = async |files: &[&Value], places: &[(&str, &str)]| {
        let problem = police.post(&path, &response_with(asked, files)).await.problem(422, "schema");
        let found: Vec<_> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| (e["pointer"].as_str().unwrap(), e["code"].as_str().unwrap()))
            .collect();
        assert_eq!(found, places);
    };
    let unknown_place = [("/attachments/0", "attachment-unknown")];
    refused(&[&unknown], &unknown_place).await;
    // That the hub has such a file is not told.
    refused(&[&of_hub], &unknown_place).await;
    let differs = [("/attachments/0", "attachment-differs")];
    refused(&[&changed("size", json!(PNG.len() + 1))], &differs).await;
    refused(&[&changed("mediaType", json!("image/jpeg"))], &differs).await;
    refused(&[&changed("digest", json!(content_digest(&sha256(b"other"))))], &differs).await;
    refused(
        &[&file, &unknown, &changed("size", json!(1))],
        &[("/attachments/2/id", "attachment-twice")],
    )
    .await;
    refused(&[&file, &unknown], &[("/attachments/1", "attachment-unknown")]).await;

    // Two messages at once: one of them has it.
    let asked_again = hub.dispatch(&[POLICE]).await;
    let other = &asked_again["exchanges"][0];
    let other_path = case::path(other, "responses");
    let (one, two) = (response_with(asked, &[&file]), response_with(other, &[&file]));
    let (one, two) = tokio::join!(police.post(&path, &one), police.post(&other_path, &two));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 422], "{} {}", one.text(), two.text());
    let loser = if one.status == 422 { one } else { two };
    assert_eq!(loser.problem(422, "schema")["errors"][0]["code"], "attachment-sent");
    // The loser was not kept: its response is still to come, with another file.
    let left = unanswered(&hub, &[asked, other]).await;
    let fresh = upload(&police, "image/png", PNG).await;
    let response = response_with(&left, &[&fresh]);
    police.post(&case::path(&left, "responses"), &response).await.ok(202);

    // A copy of consent is one of the files.
    let mut dispatch = dispatch_with(&[POLICE], &[&of_hub]);
    dispatch["rfi"]["referral"]["parentsAware"] = json!("yes");
    dispatch["rfi"]["consent"]["child"] = json!({
        "answer": "yes", "copyAttached": true, "attachmentId": unknown["id"], "howGiven": "written",
    });
    let problem = hub.post("/v1/rfis", &dispatch).await.problem(422, "schema");
    assert_eq!(problem["errors"][0]["code"], "copy-not-among-attachments", "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], "/rfi/consent/child/attachmentId");
    gateway.stop();
    gateway.verify_log();
}

/// The one of these exchanges that has no answer yet.
async fn unanswered(hub: &Agency, exchanges: &[&Value]) -> Value {
    for exchange in exchanges {
        let id = exchange["exchange"].as_str().unwrap();
        let view = hub.get_json(&format!("/v1/exchanges/{id}")).await;
        if view["state"] != "completed" {
            return (*exchange).clone();
        }
    }
    panic!("both were answered");
}

#[tokio::test]
async fn nobody_but_the_recipient_has_a_file() {
    let gateway = gateway(&[]);
    let (hub, police, trust) = (gateway.agency(HUB), gateway.agency(POLICE), gateway.agency(TRUST));
    let dispatched = hub.dispatch(&[POLICE, TRUST]).await;
    let asked = &dispatched["exchanges"][0];
    let file = upload(&police, "application/pdf", &pdf(5_000)).await;
    let mut unknown = file.clone();
    unknown["id"] = json!("01890a5d-ac96-774b-bcce-b302099a8057");
    let nobody = async |who: &Agency, named: &Value| {
        let mut problem = fetch(who, named).await.problem(404, "not-found");
        problem["instance"] = Value::Null;
        problem
    };
    let nothing = nobody(&trust, &unknown).await;
    // Before it is sent, nobody; not even the agency whose it is.
    for who in [&hub, &police, &trust] {
        assert_eq!(nobody(who, &file).await, nothing);
    }
    let response = response_with(asked, &[&file]);
    police.post(&case::path(asked, "responses"), &response).await.ok(202);
    assert_eq!(fetch(&hub, &file).await.body, pdf(5_000));
    for who in [&police, &trust] {
        assert_eq!(nobody(who, &file).await, nothing);
    }
    for id in ["p1", "..", "01890A5D-AC96-774B-BCCE-B302099A8057"] {
        trust.get(&format!("/v1/attachments/{id}")).await.problem(404, "not-found");
    }
}

#[tokio::test]
async fn everybody_who_is_asked_has_the_files_and_one_that_keeps_its_key_has_them_sealed() {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    let identity = gateway.home().join("surgery-identity.txt");
    let made = Command::new("age-keygen").arg("-o").arg(&identity).output().unwrap();
    assert!(made.status.success());
    let recipient = std::fs::read_to_string(&identity).unwrap();
    let recipient = recipient.lines().find_map(|l| l.strip_prefix("# public key: ")).unwrap();
    let keeps = format!(
        "endpoints = [{{ kind = \"mailbox\" }}]\ncustody = \"agency\"\n\
         age_recipients = [\"{recipient}\"]\n"
    );
    let partners = case::partners(&[(HUB, MAY_ATTACH), (SURGERY, &keeps)]);
    std::fs::write(gateway.home().join("partners.toml"), partners).unwrap();
    gateway.serve();
    let hub = gateway.agency(HUB);
    let (police, surgery) = (gateway.agency(POLICE), gateway.agency(SURGERY));
    let file = pdf(2_300_000);
    let named = upload(&hub, "application/pdf", &file).await;
    let dispatch = dispatch_with(&[POLICE, TRUST, SURGERY], &[&named]);
    hub.post("/v1/rfis", &dispatch).await.ok(202);
    for who in [&police, &gateway.agency(TRUST)] {
        assert!(fetch(who, &named).await.body == file);
    }
    let message = surgery.collect_first().await;
    assert_eq!((&message["attachments"], message.get("data")), (&named["id"], None));
    let sealed = fetch(&surgery, &named).await;
    assert_eq!(sealed.headers["content-type"], "application/octet-stream");
    assert_eq!(sealed.headers["content-digest"], content_digest(&sha256(&sealed.body)));
    let key = sealed.headers["attachment-key"].to_str().unwrap().trim_matches(':').to_owned();
    let key = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, key).unwrap();
    for (name, bytes) in [("file.age", &sealed.body), ("file-key.age", &key)] {
        std::fs::write(gateway.home().join(name), bytes).unwrap();
    }
    // The agency opens it with stock age; the gateway's keys open nothing of it.
    let opened = gateway.age_decrypt("surgery-identity.txt", "file-key.age").unwrap();
    for identity in ["keys/at-rest-identity.txt", "keys/recovery-identity.txt"] {
        assert!(gateway.age_decrypt(identity, "file-key.age").is_none());
    }
    std::fs::write(gateway.home().join("file-key.txt"), opened).unwrap();
    assert!(gateway.age_decrypt("file-key.txt", "file.age").unwrap() == file);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let gateway = gateway(&[]);
    let mut streaming = stream(&gateway, POLICE);
    let mut input = streaming.stdin.take().unwrap();
    input.write_all(&pdf(3 << 20)).unwrap();
    input.flush().unwrap();
    eventually("some of it is here", async || unsent(&gateway) > 0).await;
    streaming.kill().unwrap();
    streaming.wait().unwrap();
    drop(input);
    // It counts no more at once; its parts go with the next sweep.
    let states = || {
        let sql = "SELECT group_concat(state) FROM attachments";
        let ran = Command::new("sqlite3").arg(gateway.database()).arg(sql).output().unwrap();
        text(&ran.stdout).trim().to_owned()
    };
    eventually("it is given up", async || states() == "discarded" || states().is_empty()).await;
    assert!(gateway.entries().iter().all(|fields| fields["event"] != "attachment-uploaded"));

    // One that is whole meanwhile was not held up by it.
    upload(&gateway.agency(POLICE), "application/pdf", &pdf(100)).await;
    let mut rest = String::new();
    streaming.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
}

#[tokio::test]
async fn the_commands_send_and_collect_files_under_names_made_of_their_ids() {
    let mut gateway = gateway(&[]);
    let as_agency = |arguments: &[&str], agency: &str| {
        let file = |name: String| gateway.agencies().join(name).to_str().unwrap().to_owned();
        let (cert, key) = (file(format!("{agency}.pem")), file(format!("{agency}.key")));
        let own = ["--gateway", &gateway.url, "--cert", &cert, "--key", &key];
        let ca = file("ca.pem".to_owned());
        gateway.run(&[arguments, &own, &["--ca", &ca]].concat())
    };
    let file = pdf(900_000);
    let name = gateway.folder().join(format!("{CANARY}.pdf"));
    std::fs::write(&name, &file).unwrap();
    let path = name.to_str().unwrap();
    let first = as_agency(&["attach", path, "--json"], HUB);
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(as_agency(&["attach", path, "--json"], HUB).stdout, first.stdout);
    let named: Value = serde_json::from_slice(&first.stdout).unwrap();
    let shown = as_agency(&["attach", path], HUB);
    assert!(text(&shown.stdout).contains(&format!("\"attachments\": [{named}]")));
    let metrics = gateway.local("/metrics");
    let unsent = format!("mash_gateway_unsent_attachments_bytes{{agency=\"{HUB}\"}} 9");
    assert!(metrics.contains(&unsent), "{metrics}");
    let looked = gateway.run(&["doctor", "--quick"]);
    assert!(text(&looked.stdout).contains("1 files of"), "{}", text(&looked.stdout));

    // What is wrong is said, and nothing is taken for what it is not.
    for (arguments, code) in [
        (["attach", path, "--type", "image/png"], 1),
        (["attach", path, "--type", "text/html"], 2),
        (["attach", "no-such.pdf", "--type", "application/pdf"], 4),
    ] {
        let refused = as_agency(&arguments, HUB);
        assert_eq!(refused.status.code(), Some(code), "{}", text(&refused.stderr));
    }
    let nameless = gateway.folder().join("nameless");
    std::fs::write(&nameless, &file).unwrap();
    assert_eq!(as_agency(&["attach", nameless.to_str().unwrap()], HUB).status.code(), Some(2));

    let hub = gateway.agency(HUB);
    hub.post("/v1/rfis", &dispatch_with(&[POLICE], &[&named])).await.ok(202);
    let inbox = gateway.agency(POLICE).get_json("/v1/inbox").await;
    let message = inbox["messages"][0]["id"].as_str().unwrap().to_owned();
    let folder = gateway.folder().join("collected");
    std::fs::create_dir(&folder).unwrap();
    let output = folder.join("rfi.json");
    let collected =
        as_agency(&["inbox", "collect", &message, "--output", output.to_str().unwrap()], POLICE);
    assert!(collected.status.success(), "{}", text(&collected.stderr));
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let own = format!("{}.pdf", id(&named));
    assert_eq!(names, [own.clone(), "rfi.json".to_owned()]);
    assert!(std::fs::read(folder.join(own)).unwrap() == file);
    gateway.stop();
    gateway.holds_nowhere(&[CANARY]);
    gateway.verify_log();
}
