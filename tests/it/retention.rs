//! What is destroyed when its time has come: here, in files, and in every backup that was made before; and
//! that receipts and the log outlive it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::attachments::{MAY_ATTACH, dispatch_with, fetch, pdf, upload};
use crate::support::{Agency, HUB, POLICE, TRUST, TestGateway, case, eventually, text};

fn sqlite(database: &Path, sql: &str) -> String {
    let ran = Command::new("sqlite3").arg(database).arg(sql).output().unwrap();
    assert!(ran.status.success(), "{sql}: {}", text(&ran.stderr));
    text(&ran.stdout).trim().to_owned()
}

/// What `retention` did, and what it says of it.
fn retention(gateway: &TestGateway, clock: &str, arguments: &[&str]) -> Value {
    let ran = gateway.run_at(clock, &[&["retention"], arguments, &["--json"]].concat());
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

async fn save(who: &Agency, message: &str) {
    let record = json!({
        "recordRef": "CASE-0042", "savedAt": case::hours(0),
        "savedBy": { "name": "Tobiah Larkmoor", "jobTitle": "Safeguarding Lead" },
    });
    who.post(&format!("/v1/messages/{message}/saved"), &record).await.ok(200);
}

/// Everybody collects all that waits, and saves it.
async fn save_all(agencies: &[&Agency]) {
    for agency in agencies {
        let inbox = agency.get_json("/v1/inbox").await;
        for message in inbox["messages"].as_array().unwrap() {
            let id = message["id"].as_str().unwrap();
            agency.get_json(&format!("/v1/messages/{id}")).await;
            save(agency, id).await;
        }
    }
}

fn backup(gateway: &TestGateway, name: &str) -> PathBuf {
    let folder = gateway.folder().join(format!("backups/{name}"));
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let made = gateway.run(&["store", "backup", folder.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    folder
}

/// What stock age opens of a message in this database, with the keys in that one (as `from` selects them)
/// and every identity that the home has.
fn opened(gateway: &TestGateway, payloads: &Path, keys: &Path, from: &str, id: &str) -> Vec<u8> {
    let home = gateway.home();
    let hex = id.replace('-', "");
    let write = |name: &str, database: &Path, sql: &str| {
        let path = home.join(name);
        let _ = std::fs::remove_file(&path);
        sqlite(database, &format!("SELECT writefile('{}', b) FROM ({sql})", path.display()));
        path.exists()
    };
    let enquiry =
        sqlite(payloads, &format!("SELECT hex(enquiry) FROM messages WHERE id = x'{hex}'"));
    let payload = format!(
        "SELECT p.ciphertext AS b FROM payloads p JOIN messages m ON m.entry = p.entry
         WHERE m.id = x'{hex}'"
    );
    let wrap = format!("SELECT wrapped_key AS b FROM {from} WHERE id = x'{enquiry}'");
    if !write("payload.age", payloads, &payload) || !write("key.age", keys, &wrap) {
        return Vec::new();
    }
    for identity in ["keys/at-rest-identity.txt", "keys/recovery-identity.txt"] {
        if let Some(key) = gateway.age_decrypt(identity, "key.age") {
            std::fs::write(home.join("key.txt"), key).unwrap();
            return gateway.age_decrypt("key.txt", "payload.age").unwrap_or_default();
        }
    }
    Vec::new()
}

fn has(bytes: &[u8], phrase: &[u8]) -> bool {
    bytes.windows(phrase.len()).any(|window| window == phrase)
}

/// Of the case, in the RFI and in the answer.
const ASKED: &[u8] = b"greenhouse";
const ANSWERED: &[u8] = b"without a coat";

#[tokio::test]
async fn what_everybody_has_on_record_is_destroyed_after_a_month_also_in_backups() {
    let mut gateway = TestGateway::start();
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    let dispatched = hub.dispatch(&[TRUST]).await;
    std::fs::write(gateway.folder().join("rfi.receipt"), dispatched.to_string()).unwrap();
    let asked = &dispatched["exchanges"][0];
    let rfi = asked["message"].as_str().unwrap();
    let answered = trust.post(&case::path(asked, "responses"), &case::response(rfi)).await.ok(202);
    let answer = answered["message"].as_str().unwrap();
    save_all(&[&hub, &trust]).await;
    gateway.stop();

    // A backup has no keys in it; they are beside it, and with both and the home's keys all can be read.
    let first = backup(&gateway, "first");
    let keys = gateway.folder().join("backups/enquiry-keys.db");
    let copy = first.join("gateway.db");
    assert!(has(&opened(&gateway, &copy, &keys, "enquiry_keys", answer), ANSWERED));
    assert!(opened(&gateway, &copy, &copy, "enquiries", answer).is_empty());
    let wrap = sqlite(&keys, "SELECT hex(wrapped_key) FROM enquiry_keys LIMIT 1");
    let wrap: Vec<u8> = (0..wrap.len() / 2)
        .map(|at| u8::from_str_radix(&wrap[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    assert!(has(&std::fs::read(&keys).unwrap(), &wrap));
    assert!(!has(&std::fs::read(&copy).unwrap(), &wrap), "what was taken out is not left behind");

    // Not before its time, and not by looking.
    assert_eq!(retention(&gateway, "+29d", &["run"])["destroyed"], json!([]));
    let due = retention(&gateway, "+31d", &["run", "--dry-run"]);
    assert_eq!(due["destroyed"][0]["rule"], "saved");
    let enquiry = due["destroyed"][0]["enquiry"].clone();
    assert!(has(&opened(&gateway, &copy, &keys, "enquiry_keys", rfi), ASKED));
    let kept = keys.to_str().unwrap();
    let done = retention(&gateway, "+31d", &["run", "--keys", kept]);
    assert_eq!(done["destroyed"], due["destroyed"]);
    assert_eq!(retention(&gateway, "+31d", &["run"])["destroyed"], json!([]), "once is enough");

    // Neither here nor in the backup that was made before, with every key that there is.
    for id in [rfi, answer] {
        assert!(opened(&gateway, &copy, &keys, "enquiry_keys", id).is_empty());
        let home = gateway.database();
        assert!(opened(&gateway, &home, &home, "enquiries", id).is_empty());
    }
    for file in [gateway.database(), keys, copy] {
        assert!(!has(&std::fs::read(&file).unwrap(), &wrap), "{}", file.display());
    }
    let count = "SELECT (SELECT count(*) FROM payloads) + (SELECT count(*) FROM saved_records)";
    assert_eq!(sqlite(&gateway.database(), count), "0");

    // The log says so, verifies, and so does each receipt.
    gateway.verify_log();
    let last = gateway.entries().pop().unwrap();
    assert_eq!((&last["event"], &last["rule"]), (&json!("enquiry-destroyed"), &json!("saved")));
    assert_eq!(last["enquiry"], enquiry);
    let receipt = gateway.run(&["receipt", "verify", "rfi.receipt"]);
    assert!(receipt.status.success(), "{}", text(&receipt.stderr));
    assert!(gateway.run(&["store", "check"]).status.success());

    // Nobody can read it or add to it; that it was there is still known to those whose it was.
    gateway.serve();
    let (hub, trust) = (gateway.moved(hub), gateway.moved(trust));
    let view =
        hub.get_json(&format!("/v1/exchanges/{}", asked["exchange"].as_str().unwrap())).await;
    assert!(view["destroyedAt"].is_string(), "{view}");
    hub.get(&format!("/v1/messages/{answer}")).await.problem(410, "gone");
    let supplement = case::supplement(rfi);
    trust.post(&case::path(asked, "supplements"), &supplement).await.problem(410, "gone");
    gateway.agency(POLICE).get(&format!("/v1/messages/{answer}")).await.problem(404, "not-found");
    let again = hub.get(&format!("/v1/messages/{rfi}/receipt")).await;
    assert_eq!(again.status, 200, "{}", again.text());
}

#[tokio::test]
async fn what_is_not_answered_or_not_saved_stays_until_it_has_long_been_closed() {
    let mut gateway = TestGateway::start();
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    let silent = hub.dispatch(&[TRUST]).await;
    save_all(&[&trust]).await;
    let answered = hub.dispatch(&[TRUST]).await;
    let asked = &answered["exchanges"][0];
    let rfi = asked["message"].as_str().unwrap();
    trust.post(&case::path(asked, "responses"), &case::response(rfi)).await.ok(202);
    gateway.stop();
    // Of the one there is no answer, and of the other nobody has the answer on record.
    let run = retention(&gateway, "+400d", &["run", "--dry-run"]);
    assert_eq!((&run["destroyed"], &run["open"]), (&json!([]), &json!(2)));

    gateway.serve();
    let (hub, _) = (gateway.moved(hub), gateway.moved(trust));
    hub.post(&case::path(asked, "outcomes"), &case::outcome()).await.ok(202);
    let asked_first = &silent["exchanges"][0];
    let cancelled = json!({
        "inReplyTo": asked_first["message"], "reason": "no-longer-needed",
        "why": "The child has moved to another hub's area, and that hub asks.",
        "cancelledBy": { "name": "Oswin Quillfeather", "jobTitle": "Health Representative" },
    });
    hub.post(&case::path(asked_first, "cancellations"), &cancelled).await.ok(202);
    let waiting = "SELECT count(*) FROM deliveries WHERE state = 'held'";
    assert_eq!(sqlite(&gateway.database(), waiting), "4");
    gateway.stop();
    assert_eq!(retention(&gateway, "+179d", &["run"])["destroyed"], json!([]));
    let run = retention(&gateway, "+181d", &["run"]);
    let rules: Vec<_> =
        run["destroyed"].as_array().unwrap().iter().map(|one| one["rule"].clone()).collect();
    assert_eq!(rules, ["closed", "closed"]);
    // What waited waits no more, for nobody.
    assert_eq!(sqlite(&gateway.database(), waiting), "0");
    let mailboxes = "SELECT sum(messages), sum(bytes) FROM mailboxes";
    assert_eq!(sqlite(&gateway.database(), mailboxes), "0|0");
    gateway.verify_log();
}

#[tokio::test]
async fn a_legal_hold_keeps_it_whatever_its_age() {
    let mut gateway = TestGateway::start();
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    let dispatched = hub.dispatch(&[TRUST]).await;
    let asked = &dispatched["exchanges"][0];
    let rfi = asked["message"].as_str().unwrap();
    trust.post(&case::path(asked, "responses"), &case::response(rfi)).await.ok(202);
    save_all(&[&hub, &trust]).await;
    let view =
        hub.get_json(&format!("/v1/exchanges/{}", asked["exchange"].as_str().unwrap())).await;
    let (reference, enquiry) =
        (view["reference"].as_str().unwrap(), view["enquiry"].as_str().unwrap());
    // By a reference or by its id, beside a gateway that runs.
    let held = retention(&gateway, "+0", &["hold", reference, "--reason", "inquiry"]);
    assert_eq!((&held["enquiry"], &held["reason"]), (&json!(enquiry), &json!("inquiry")));
    let again = gateway.run(&["retention", "hold", enquiry, "--reason", "complaint"]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again.stderr));
    for (named, code) in [
        ("01890a5d-ac96-774b-bcce-b302099a8057", 4),
        ("RFI-2026-999999-K", 2),
        ("Aurelia Thistledown", 2),
    ] {
        let refused = gateway.run(&["retention", "release", named]);
        assert_eq!(refused.status.code(), Some(code), "{named}: {}", text(&refused.stderr));
    }
    let unknown = gateway.run(&["retention", "hold", enquiry, "--reason", "because"]);
    assert_eq!(unknown.status.code(), Some(2));
    gateway.stop();
    let run = retention(&gateway, "+9999d", &["run"]);
    assert_eq!((&run["destroyed"], &run["held"]), (&json!([]), &json!(1)));
    gateway.verify_log();
    retention(&gateway, "+9999d", &["release", enquiry]);
    let run = retention(&gateway, "+9999d", &["run"]);
    assert_eq!(run["destroyed"][0]["enquiry"], enquiry);
    let late = gateway.run_at("+9999d", &["retention", "hold", enquiry, "--reason", "inquiry"]);
    assert_eq!(late.status.code(), Some(1), "there is nothing left to hold");
    gateway.verify_log();
}

#[tokio::test]
async fn files_go_with_the_messages_that_name_them() {
    let mut gateway = TestGateway::start_with(&case::partners(&[(HUB, MAY_ATTACH)]));
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    let file = pdf(2_500_000);
    let sent = upload(&hub, "application/pdf", &file).await;
    let unsent = backup(&gateway, "unsent");
    let dispatched = hub.post("/v1/rfis", &dispatch_with(&[TRUST], &[&sent])).await.ok(202);
    let asked = &dispatched["exchanges"][0];
    let rfi = asked["message"].as_str().unwrap();
    trust.post(&case::path(asked, "responses"), &case::response(rfi)).await.ok(202);
    assert!(fetch(&trust, &sent).await.body == file);
    save_all(&[&hub, &trust]).await;
    gateway.stop();
    // While no message named it, its key was of its own: it is in no backup either.
    let empty = "SELECT count(*) FROM attachments WHERE length(wrapped_key) > 0";
    assert_eq!(sqlite(&unsent.join("gateway.db"), empty), "0");
    let keys = gateway.folder().join("backups/enquiry-keys.db");
    assert_eq!(sqlite(&keys, "SELECT count(*) FROM file_keys"), "1");
    let kept = keys.to_str().unwrap();
    assert_eq!(
        retention(&gateway, "+31d", &["run", "--keys", kept])["destroyed"][0]["rule"],
        "saved"
    );
    assert_eq!(sqlite(&keys, "SELECT count(*) FROM file_keys"), "0");
    let references = "SELECT count(*) FROM attachment_references";
    assert_eq!(sqlite(&gateway.database(), references), "0");
    gateway.verify_log();
    gateway.serve();
    let parts = "SELECT count(*) FROM attachment_parts";
    eventually("its parts are cleared away", async || sqlite(&gateway.database(), parts) == "0")
        .await;
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn what_was_destroyed_since_is_destroyed_again_when_a_backup_brings_it_back() {
    let mut gateway = TestGateway::start();
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    let dispatched = hub.dispatch(&[TRUST]).await;
    let asked = &dispatched["exchanges"][0];
    let rfi = asked["message"].as_str().unwrap();
    trust.post(&case::path(asked, "responses"), &case::response(rfi)).await.ok(202);
    save_all(&[&hub, &trust]).await;
    let other = hub.dispatch(&[POLICE]).await;
    std::fs::write(gateway.folder().join("newest.receipt"), other.to_string()).unwrap();
    gateway.stop();
    // Nothing but the receipt is known of what comes after the backup.
    gateway.configure("# anchor = \"keys/log-anchor.txt\"", "anchor = \"off\"");
    let folder = backup(&gateway, "whole");
    let keys = gateway.folder().join("backups/enquiry-keys.db");
    let before = std::fs::read(&keys).unwrap();
    // Whoever closes a database last takes its write-ahead log away. A reader is there for longer, so that
    // one is left.
    let reader = rusqlite::Connection::open(gateway.database()).unwrap();
    let read = reader.query_row("SELECT count(*) FROM enquiries", (), |row| row.get::<_, i64>(0));
    assert_eq!(read.unwrap(), 2);
    let run = retention(&gateway, "+31d", &["run", "--keys", keys.to_str().unwrap()]);
    assert_eq!(run["destroyed"].as_array().unwrap().len(), 1);
    let log = gateway.home().join("data/gateway.db-wal");
    let left = std::fs::read(&log).unwrap();
    assert!(!left.is_empty());
    drop(reader);
    std::fs::remove_file(gateway.database()).unwrap();
    // What is left beside a database that is gone is not taken for the new one's: here, all that came after
    // the backup.
    std::fs::write(&log, left).unwrap();
    let since = gateway.folder().join("newest.receipt");
    let restore = |more: &[&str]| {
        let common =
            ["store", "restore", folder.to_str().unwrap(), "--since", since.to_str().unwrap()];
        gateway.run(&[&common[..], more].concat())
    };
    // Keys of another gateway, of none, or from before: nothing is put back with them.
    let stranger = TestGateway::made(&case::partners(&[]));
    let theirs = stranger.folder().join("theirs");
    let made = stranger.run(&["store", "backup", theirs.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let of_others = stranger.folder().join("enquiry-keys.db");
    for (file, code, saying) in [
        (of_others.as_path(), 1, "another gateway's"),
        (since.as_path(), 1, "is no file of keys"),
        (Path::new("nowhere.db"), 4, "is not there"),
    ] {
        let refused = restore(&["--keys", file.to_str().unwrap()]);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{said}");
        assert!(said.contains(saying) && !gateway.database().exists(), "{said}");
    }
    let older = gateway.folder().join("older.db");
    std::fs::write(&older, before).unwrap();
    sqlite(&older, "UPDATE about SET entries = entries - 1");
    let refused = restore(&["--keys", older.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));

    let restored = restore(&["--json"]);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    let told: Value = serde_json::from_slice(&restored.stdout).unwrap();
    assert_eq!(told["destroyedAgain"], 1);
    gateway.verify_log();
    let last = gateway.entries().pop().unwrap();
    assert_eq!((&last["event"], &last["rule"]), (&json!("enquiry-destroyed"), &json!("restored")));
    // The other enquiry is as it was.
    gateway.serve();
    let (hub, police) = (gateway.moved(hub), gateway.agency(POLICE));
    assert_eq!(police.collect_first().await["id"], other["exchanges"][0]["message"]);
    let receipt = hub.get(&format!("/v1/messages/{rfi}/receipt")).await;
    assert_eq!(receipt.status, 200, "{}", receipt.text());
}

/// Whoever has the database in their hands and destroys something, or hides that it was, is found out.
#[tokio::test]
async fn what_is_destroyed_without_an_entry_is_found() {
    let mut gateway = TestGateway::start();
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    for _ in 0..2 {
        let dispatched = hub.dispatch(&[TRUST]).await;
        let asked = &dispatched["exchanges"][0];
        let rfi = asked["message"].as_str().unwrap();
        trust.post(&case::path(asked, "responses"), &case::response(rfi)).await.ok(202);
        save_all(&[&hub, &trust]).await;
    }
    let held = hub.get_json("/v1/exchanges").await["exchanges"][0]["enquiry"].clone();
    gateway.stop();
    gateway.configure("# anchor = \"keys/log-anchor.txt\"", "anchor = \"off\"");
    retention(&gateway, "+0", &["hold", held.as_str().unwrap(), "--reason", "inquiry"]);
    retention(&gateway, "+31d", &["run"]);
    gateway.verify_log();
    sqlite(&gateway.database(), "PRAGMA wal_checkpoint(TRUNCATE)");
    let original = std::fs::read(gateway.database()).unwrap();
    let gone = "(SELECT id FROM enquiries WHERE destroyed IS NOT NULL)";
    let kept = "(SELECT id FROM enquiries WHERE destroyed IS NULL)";
    for (what, sql) in [
        (
            "said to be destroyed",
            format!(
                "UPDATE enquiries SET destroyed = 3, wrapped_key = NULL WHERE id = {kept}; DELETE FROM payloads"
            ),
        ),
        ("only its payloads", "DELETE FROM payloads".to_owned()),
        ("only its key", format!("UPDATE enquiries SET wrapped_key = NULL WHERE id = {kept}")),
        ("never destroyed", format!("UPDATE enquiries SET destroyed = NULL WHERE id = {gone}")),
        ("the hold gone", "UPDATE enquiries SET held = NULL".to_owned()),
        (
            "a message that is still to come",
            format!(
                "UPDATE deliveries SET state = 'held' WHERE entry = (SELECT max(entry) FROM messages \
                 WHERE enquiry = {gone})"
            ),
        ),
    ] {
        std::fs::write(gateway.database(), &original).unwrap();
        sqlite(&gateway.database(), &sql);
        let verified = gateway.run(&["log", "verify"]);
        assert_eq!(verified.status.code(), Some(3), "{what}: {}", text(&verified.stderr));
    }
}
