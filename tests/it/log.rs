//! The tamper-evident log: whatever is changed in the database afterwards is found and named, and a
//! gateway whose log was changed accepts nothing more.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::enrolment::{Enrolling, token};
use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case, text};

/// A stopped gateway in whose log something of each sort has happened.
async fn full() -> TestGateway {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.dispatch(&[POLICE, TRUST]).await;
    let asked = &dispatched["exchanges"][0];
    let rfi = asked["message"].as_str().unwrap();
    police.collect_first().await;
    police.post(&case::path(asked, "responses"), &json!({})).await.problem(422, "schema");
    police.post(&case::path(asked, "responses"), &case::response(rfi)).await.ok(202);
    hub.collect_first().await;
    enrol(&gateway);
    gateway.stop();
    gateway.verify_log();
    gateway
}

/// Tokens made, approved, used and not; what was enrolled, renewed, and revoked.
fn enrol(gateway: &TestGateway) {
    let (good, approved) = (token(gateway, SURGERY, &[]), token(gateway, TRUST, &["--approval"]));
    let (unused, bound) = (token(gateway, POLICE, &[]), token(gateway, POLICE, &["--approval"]));
    assert_ne!(unused, bound);
    let agency = Enrolling::new(gateway, "enrolled");
    let [first, second, third, fourth] =
        ["first", "second", "third", "fourth"].map(|name| agency.request(name, "P-256"));
    agency.take(&agency.enrol(SURGERY, &good, &first), "first");
    agency.take(&agency.renew("first", &second), "second");
    assert_eq!(agency.enrol(TRUST, &approved, &third).status, 202);
    approve(gateway, TRUST);
    agency.take(&agency.enrol(TRUST, &approved, &third), "third");
    assert_eq!(agency.enrol(POLICE, &bound, &fourth).status, 202);
    let revoked =
        gateway.run(&["cert", "revoke", SURGERY, "--reason", "superseded", "--confirm", SURGERY]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
}

/// Approves the one key that waits.
fn approve(gateway: &TestGateway, agency: &str) {
    let listed = gateway.run(&["cert", "approve", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let key = listed["waiting"][0]["keySha256"].as_str().unwrap();
    let done = gateway.run(&["cert", "approve", agency, "--key", key]);
    assert!(done.status.success(), "{}", text(&done.stderr));
}

/// What Debian's sqlite3 says to this.
fn sqlite(gateway: &TestGateway, sql: &str) -> String {
    let ran = Command::new("sqlite3").arg(gateway.database()).arg(sql).output().unwrap();
    assert!(ran.status.success(), "{sql}: {}", text(&ran.stderr));
    text(&ran.stdout).trim().to_owned()
}

#[tokio::test]
async fn whatever_is_changed_is_found_and_named() {
    let gateway = full().await;
    let number = |sql: &str| sqlite(&gateway, sql).parse::<u64>().unwrap();
    // The entry that accepted the first RFI; the one after it accepted the second, in one batch.
    let first = number("SELECT min(entry) FROM messages");
    let response = number("SELECT entry FROM messages WHERE kind = 'response'");
    let size = number("SELECT count(*) FROM entries");
    let last = size - 1;
    let second = first + 1;
    let batch = number(&format!("SELECT min(size) FROM checkpoints WHERE size > {first}")) - 1;
    let swap = |table: &str, key: &str| {
        format!(
            "UPDATE {table} SET {key} = -1 WHERE {key} = {first};
             UPDATE {table} SET {key} = {first} WHERE {key} = {second};
             UPDATE {table} SET {key} = {second} WHERE {key} = -1"
        )
    };
    let of = |sql: &str| format!("{sql} = {first}");
    let mut damages: Vec<(&str, String, u64)> = vec![
        (
            "an entry's text edited",
            of("UPDATE entries SET fields = replace(fields, 'police', 'trust') WHERE idx"),
            first,
        ),
        ("an entry's salt edited", of("UPDATE entries SET salt = zeroblob(32) WHERE idx"), first),
        ("an entry's hash edited", of("UPDATE entries SET nodes = zeroblob(32) WHERE idx"), first),
        ("an entry's text dropped", of("UPDATE entries SET fields = NULL WHERE idx"), first),
        ("an entry dropped", of("DELETE FROM entries WHERE idx"), first),
        ("two entries swapped", swap("entries", "idx"), first),
        ("the last entry dropped", format!("DELETE FROM entries WHERE idx = {last}"), last),
        ("the log cut short", format!("DELETE FROM entries WHERE idx >= {response}"), response),
        (
            "the log cut short, with its checkpoints",
            format!(
                "DELETE FROM entries WHERE idx >= {response};
                 DELETE FROM checkpoints WHERE size > {response}"
            ),
            response,
        ),
        (
            "an entry added",
            format!(
                "INSERT INTO entries SELECT {size}, previous, salt, fields, nodes FROM entries
                 WHERE idx = {last}"
            ),
            size,
        ),
        (
            "the last checkpoint dropped",
            format!("DELETE FROM checkpoints WHERE size = {size}"),
            last,
        ),
        (
            "a checkpoint's root edited",
            format!("UPDATE checkpoints SET root = zeroblob(32) WHERE size = {batch} + 1"),
            batch,
        ),
        (
            "a checkpoint's note edited",
            format!(
                "UPDATE checkpoints SET note = replace(note, 'mash', 'mush')
                 WHERE size = {batch} + 1"
            ),
            batch,
        ),
        (
            "a message's recipient edited",
            of("UPDATE messages SET recipient = 'test-surgery' WHERE entry"),
            first,
        ),
        (
            "a message's sender edited",
            of("UPDATE messages SET sender = 'test-surgery' WHERE entry"),
            first,
        ),
        ("a message's time edited", of("UPDATE messages SET time_ms = 0 WHERE entry"), first),
        ("a message's id edited", of("UPDATE messages SET id = zeroblob(16) WHERE entry"), first),
        ("a message dropped", of("DELETE FROM messages WHERE entry"), first),
        ("two messages swapped", swap("messages", "entry"), first),
        (
            "a payload edited",
            of("UPDATE payloads SET ciphertext = zeroblob(900) WHERE entry"),
            first,
        ),
        (
            "a payload cut short",
            of("UPDATE payloads SET ciphertext = substr(ciphertext, 1, 300) WHERE entry"),
            first,
        ),
        ("a payload dropped", of("DELETE FROM payloads WHERE entry"), first),
        ("two payloads swapped", swap("payloads", "entry"), first),
        (
            "a delivery redirected",
            of("UPDATE deliveries SET recipient = 'test-surgery' WHERE entry"),
            first,
        ),
        ("a delivery dropped", of("DELETE FROM deliveries WHERE entry"), first),
        ("an enquiry dropped", "DELETE FROM enquiries".to_owned(), first),
        (
            "an exchange redirected",
            "UPDATE exchanges SET agency = 'test-surgery' WHERE agency = 'test-police'".to_owned(),
            first,
        ),
        (
            "an entry's text and salt destroyed, and its message changed",
            format!(
                "UPDATE entries SET fields = NULL, salt = NULL WHERE idx = {first};
                 UPDATE messages SET time_ms = 0 WHERE entry = {first}"
            ),
            first,
        ),
        (
            "what the family may be told, edited",
            format!("UPDATE messages SET handling = 'family-may-be-told' WHERE entry = {response}"),
            response,
        ),
        (
            "a payload passed off as sealed to the agency",
            of("UPDATE messages SET is_sealed_to_agency = 1 WHERE entry"),
            first,
        ),
        (
            "a waiting message said to be saved",
            format!("UPDATE deliveries SET state = 'saved' WHERE entry = {second}"),
            second,
        ),
        (
            "a collected message said to be waiting",
            of("UPDATE deliveries SET state = 'held' WHERE entry"),
            first,
        ),
        (
            "an exchange said to be answered",
            "UPDATE exchanges SET state = 'completed', result = 'nothing-known'
             WHERE agency = 'test-trust'"
                .to_owned(),
            second,
        ),
        (
            "an outcome said to be sent",
            "UPDATE exchanges SET outcome_ms = 1 WHERE agency = 'test-trust'".to_owned(),
            second,
        ),
        (
            "an exchange sealed to somebody else",
            "UPDATE exchanges SET sealing_recipient = 'age1other' WHERE agency = 'test-police'"
                .to_owned(),
            first,
        ),
        (
            "an enquiry sealed to somebody else",
            "UPDATE enquiries SET recipient = 'age1other'".to_owned(),
            first,
        ),
        ("an enquiry's key dropped", "UPDATE enquiries SET wrapped_key = NULL".to_owned(), first),
        (
            "an entry hidden from its timeline",
            format!("UPDATE entries SET previous = {first} WHERE idx = {response}"),
            response,
        ),
        (
            "the latest entries hidden from their timeline",
            format!("UPDATE exchanges SET last_entry = {first} WHERE entry = {first}"),
            first,
        ),
        ("a certificate dropped", "DELETE FROM certificates WHERE id = 2".to_owned(), 1),
        (
            "a certificate given to another agency",
            "UPDATE certificates SET agency = 'test-trust' WHERE id = 2".to_owned(),
            1,
        ),
        (
            "a certificate said to be revoked",
            "UPDATE certificates SET revoked_ms = 1, revoked_reason = 'superseded' WHERE id = 2"
                .to_owned(),
            1,
        ),
        (
            "an exchange dropped",
            "DELETE FROM exchanges WHERE agency = 'test-police'".to_owned(),
            first,
        ),
    ];
    damages.extend(register_damages(&gateway));
    let kept = std::fs::read(gateway.database()).unwrap();
    for (what, sql, entry) in damages {
        sqlite(&gateway, &sql);
        let verified = gateway.run(&["log", "verify"]);
        let said = text(&verified.stderr);
        assert_eq!(verified.status.code(), Some(3), "{what}: {said}");
        assert!(said.contains(&format!("entry {entry}:")), "{what} at {entry}: {said}");
        std::fs::write(gateway.database(), &kept).unwrap();
        gateway.verify_log();
    }
}

/// Every column of the register's rows changed, each with the entry it shows at.
fn register_damages(gateway: &TestGateway) -> Vec<(&'static str, String, u64)> {
    let entries = gateway.entries();
    let size = entries.len() as u64;
    let entry = |event: &str, agency: &str, grant: Option<&str>| {
        let is_it = |fields: &&Value| {
            fields["event"] == event
                && fields["agency"] == agency
                && grant.is_none_or(|grant| fields["grant"] == grant)
        };
        let index = entries.iter().position(|fields| is_it(&fields)).unwrap();
        (index as u64, entries[index].clone())
    };
    // The trust's certificate was enrolled; the surgery's first was revoked in the end.
    let (issued, fields) = entry("certificate-issued", TRUST, Some("token"));
    let certificate = |set: &str| {
        format!("UPDATE certificates SET {set} WHERE serial = {}", quoted(&fields["serial"]))
    };
    let (revoked, fields_revoked) = entry("certificate-revoked", SURGERY, None);
    let revocation = |set: &str| {
        format!(
            "UPDATE certificates SET {set} WHERE serial = {}",
            quoted(&fields_revoked["serial"])
        )
    };
    let of_token = |fields: &Value| {
        format!("WHERE lower(hex(substr(hash, 1, 8))) = {}", quoted(&fields["token"]))
    };
    let used = of_token(&fields);
    let (unused, fields) = entry("enrolment-token-made", POLICE, None);
    let fresh = of_token(&fields);
    let bound = "WHERE needs_approval AND approved_ms IS NULL";
    let bound_at = unused + 1;
    let token = |set: &str, which: &str| format!("UPDATE enrolment_tokens SET {set} {which}");
    vec![
        ("a certificate's digest edited", certificate("sha256 = zeroblob(32)"), issued),
        // Under another serial it is a row without an entry and an entry without a row.
        ("a certificate's serial edited", certificate("serial = '00'"), issued),
        ("a certificate's agency edited", certificate("agency = 'test-police'"), issued),
        ("a certificate's issue antedated", certificate("issued_ms = issued_ms - 1"), issued),
        ("a certificate's start edited", certificate("not_before_ms = 0"), issued),
        (
            "a certificate's end put off",
            certificate("not_after_ms = not_after_ms + 86400000"),
            issued,
        ),
        ("a certificate's profile edited", certificate("profile = 'deputy'"), issued),
        (
            "a certificate exchanged for another",
            certificate("pem = (SELECT pem FROM certificates WHERE id = 1)"),
            issued,
        ),
        ("a certificate's text cut short", certificate("pem = substr(pem, 1, 90)"), issued),
        ("a certificate's text doubled", certificate("pem = pem || pem"), issued),
        (
            "a certificate said to be revoked since",
            certificate("revoked_ms = 1, revoked_reason = 'superseded'"),
            issued,
        ),
        ("a revocation undone", revocation("revoked_ms = NULL, revoked_reason = NULL"), revoked),
        ("a revocation postponed", revocation("revoked_ms = revoked_ms + 1"), revoked),
        ("a revocation's reason edited", revocation("revoked_reason = 'keyCompromise'"), revoked),
        (
            "a certificate added",
            "INSERT INTO certificates (sha256, serial, agency, issued_ms, not_before_ms,
             not_after_ms, pem, profile)
             SELECT randomblob(32), 'ff', 'test-hub', issued_ms, not_before_ms, not_after_ms, pem,
             profile FROM certificates WHERE id = 1"
                .to_owned(),
            size,
        ),
        ("a used token's hash edited", token("hash = zeroblob(32)", &used), issued),
        ("a used token's agency edited", token("agency = 'test-police'", &used), issued),
        ("a used token's time edited", token("made_ms = made_ms - 1", &used), issued),
        ("a used token's end edited", token("expires_ms = expires_ms + 1", &used), issued),
        ("a used token's approval not needed", token("needs_approval = 0", &used), issued),
        ("a used token's key edited", token("key_sha256 = zeroblob(32)", &used), issued),
        ("a used token's approval antedated", token("approved_ms = 1", &used), issued),
        ("a used token's approval undone", token("approved_ms = NULL", &used), issued),
        ("a used token's use postponed", token("used_ms = used_ms + 1", &used), issued),
        ("a used token made good again", token("used_ms = NULL", &used), issued),
        ("a used token dropped", format!("DELETE FROM enrolment_tokens {used}"), issued),
        ("an unused token given to another", token("agency = 'test-hub'", &fresh), unused),
        ("an unused token's end put off", token("expires_ms = expires_ms + 1", &fresh), unused),
        ("an unused token said to be used", token("used_ms = made_ms", &fresh), unused),
        ("an unused token bound to a key", token("key_sha256 = zeroblob(32)", &fresh), unused),
        ("an unused token dropped", format!("DELETE FROM enrolment_tokens {fresh}"), unused),
        ("a waiting token approved", token("approved_ms = made_ms", bound), bound_at),
        ("a waiting token needing none", token("needs_approval = 0", bound), bound_at),
        (
            "a token added",
            "INSERT INTO enrolment_tokens (hash, agency, made_ms, expires_ms, needs_approval)
             VALUES (zeroblob(32), 'test-hub', 1, 2, 0)"
                .to_owned(),
            size,
        ),
    ]
}

/// As SQL writes a text of the log.
fn quoted(value: &Value) -> String {
    format!("'{}'", value.as_str().unwrap())
}

/// Puts a row where the gateway issues by it, and returns the token it is for.
type Prepare = fn(&TestGateway) -> String;

/// Whoever writes a row, has the gateway issue by it and takes it away again leaves the rows as they
/// were: what was issued shows it.
#[tokio::test]
async fn what_was_issued_for_a_row_that_nobody_logged_is_found() {
    let plant = |gateway: &TestGateway| {
        let hash: String =
            Sha256::digest("planted").iter().map(|byte| format!("{byte:02x}")).collect();
        sqlite(
            gateway,
            &format!(
                "INSERT INTO enrolment_tokens (hash, agency, made_ms, expires_ms, needs_approval)
                 VALUES (x'{hash}', '{HUB}', 1, {}, 0)",
                i64::MAX / 1_000_000
            ),
        );
        "planted".to_owned()
    };
    let reuse = |gateway: &TestGateway| {
        let good = token(gateway, HUB, &[]);
        let agency = Enrolling::new(gateway, "before");
        agency.take(&agency.enrol(HUB, &good, &agency.request("before", "P-256")), "before");
        sqlite(gateway, "UPDATE enrolment_tokens SET used_ms = NULL");
        good
    };
    let postpone = |gateway: &TestGateway| {
        let made = gateway.run_at("-30d", &["cert", "token", HUB, "--json"]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        sqlite(gateway, "UPDATE enrolment_tokens SET expires_ms = expires_ms + 86400000 * 60");
        made["token"].as_str().unwrap().to_owned()
    };
    let ways: [(&str, Prepare); 3] =
        [("planted", plant), ("used twice", reuse), ("expired", postpone)];
    for (what, prepare) in ways {
        let mut gateway = TestGateway::start();
        let secret = prepare(&gateway);
        let entry = {
            let agency = Enrolling::new(&gateway, "taker");
            let got = agency.enrol(HUB, &secret, &agency.request("taken", "P-256"));
            assert_eq!(got.status, 200, "{what}: {}", text(&got.body));
            let entries = gateway.entries();
            entries.iter().rposition(|fields| fields["event"] == "certificate-issued").unwrap()
        };
        gateway.stop();
        sqlite(&gateway, "DELETE FROM enrolment_tokens");
        let verified = gateway.run(&["log", "verify"]);
        let said = text(&verified.stderr);
        assert_eq!(verified.status.code(), Some(3), "{what}: {said}");
        assert!(said.contains(&format!("entry {entry}: what it was issued for")), "{what}: {said}");
    }
}

/// The same, with the row of a token that was approved for one key and used for another.
#[tokio::test]
async fn what_was_issued_for_another_key_than_was_approved_is_found() {
    let mut gateway = TestGateway::start();
    let secret = token(&gateway, HUB, &["--approval"]);
    let agency = Enrolling::new(&gateway, "taker");
    let [own, other] = ["own", "other"].map(|name| agency.request(name, "P-256"));
    assert_eq!(agency.enrol(HUB, &secret, &own).status, 202);
    approve(&gateway, HUB);
    let kept = |column: &str| sqlite(&gateway, &format!("SELECT {column} FROM enrolment_tokens"));
    let (key, approved_ms) = (kept("hex(key_sha256)"), kept("approved_ms"));
    let set = |row: &str| drop(sqlite(&gateway, &format!("UPDATE enrolment_tokens SET {row}")));
    set("key_sha256 = NULL, approved_ms = NULL");
    assert_eq!(agency.enrol(HUB, &secret, &other).status, 202);
    set(&format!("approved_ms = {approved_ms}"));
    agency.take(&agency.enrol(HUB, &secret, &other), "other");
    set(&format!("key_sha256 = x'{key}'"));
    let entries = gateway.entries();
    let entry = entries.iter().rposition(|fields| fields["event"] == "certificate-issued").unwrap();
    drop(agency);
    gateway.stop();
    let verified = gateway.run(&["log", "verify"]);
    let said = text(&verified.stderr);
    assert_eq!(verified.status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("entry {entry}: the certificate")), "{said}");
}

/// Whoever cuts off the end, and everything that hangs on it, leaves a log that is whole: what was
/// kept elsewhere shows it.
#[tokio::test]
async fn a_checkpoint_kept_elsewhere_shows_that_the_end_is_gone() {
    let gateway = full().await;
    let kept = gateway.run(&["log", "checkpoint"]);
    let path = gateway.folder().join("kept.note");
    std::fs::write(&path, &kept.stdout).unwrap();
    let verify = || gateway.run(&["log", "verify", "--checkpoint", path.to_str().unwrap()]);
    assert!(verify().status.success(), "{}", text(&verify().stderr));
    let size: u64 = text(&kept.stdout).lines().nth(1).unwrap().parse().unwrap();
    // The stop and nothing else.
    let last = size - 1;
    sqlite(
        &gateway,
        &format!(
            "DELETE FROM entries WHERE idx = {last}; DELETE FROM checkpoints WHERE size = {size}"
        ),
    );
    gateway.verify_log();
    let found = verify();
    assert_eq!(found.status.code(), Some(3));
    let said = text(&found.stderr);
    assert!(said.contains(&format!("entry {last}: it is missing")), "{said}");
    std::fs::write(&path, text(&kept.stdout).replace("mash.test", "mush.test")).unwrap();
    assert_eq!(verify().status.code(), Some(3));
}

#[tokio::test]
async fn another_key_verifies_nothing() {
    let gateway = full().await;
    let other = TestGateway::made(&case::partners(&[]));
    let key = other.home().join("certs/log-key.txt");
    let verified = gateway.run(&["log", "verify", "--log-key", key.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(3), "{}", text(&verified.stderr));
}

/// Nothing may be built on a log that contradicts itself: neither when the gateway starts, nor
/// under one that runs.
#[tokio::test]
async fn a_gateway_whose_log_was_changed_accepts_nothing() {
    let mut gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    hub.dispatch(&[POLICE]).await;
    sqlite(&gateway, "DELETE FROM checkpoints WHERE size = (SELECT max(size) FROM checkpoints)");
    let refused = hub.post("/v1/rfis", &case::dispatch(&[POLICE])).await;
    assert!(refused.status >= 500, "{}", refused.text());
    // Reading what is kept still works.
    assert_eq!(hub.get_json("/v1/exchanges").await["exchanges"].as_array().unwrap().len(), 1);
    let ready: Value = serde_json::from_str(&gateway.local("/readyz")).unwrap();
    assert_eq!(ready["status"], "not-ready");
    gateway.kill();
}

/// Every receipt, checkpoint and proof the API gives is recomputed here, after RFC 6962, by nothing
/// of the gateway's.
#[tokio::test]
async fn proofs_hold_for_those_who_compute_them_themselves() {
    let gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    for _ in 0..3 {
        hub.dispatch(&[POLICE, TRUST]).await;
        police.collect_first().await;
    }
    let checkpoint = hub.get("/v1/log/checkpoint").await;
    let note = checkpoint.text().to_owned();
    let mut lines = note.lines();
    let origin = lines.next().unwrap();
    assert!(hub.get("/v1/log/key").await.text().starts_with(&format!("{origin}+")));
    let size: u64 = lines.next().unwrap().parse().unwrap();
    let root = STANDARD.decode(lines.next().unwrap()).unwrap();

    let entries = hub.get_json("/v1/log/entries").await["entries"].as_array().unwrap().clone();
    let leaves: Vec<Vec<u8>> = entries
        .iter()
        .take(usize::try_from(size).unwrap())
        .map(|entry| STANDARD.decode(entry["leafHash"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(leaves.len() as u64, size);
    assert_eq!(tree_hash(&leaves), root);

    for entry in 0..size {
        let path = format!("/v1/log/proof?entry={entry}&size={size}");
        let proof = hashes(&hub.get_json(&path).await);
        let at = usize::try_from(entry).unwrap();
        assert_eq!(inclusion_root(&leaves[at], entry, size, &proof), root, "entry {entry}");
    }
    for from in 1..=size {
        let path = format!("/v1/log/proof?from={from}&to={size}");
        let proof = hashes(&hub.get_json(&path).await);
        let before = tree_hash(&leaves[..usize::try_from(from).unwrap()]);
        assert!(is_consistent(from, size, &before, &root, &proof), "from {from}");
    }

    // Each sees the words of its own entries, and of others' only that they are there.
    let mine: Vec<_> = entries.iter().filter(|entry| entry.get("fields").is_some()).collect();
    assert!(mine.len() >= 6 && mine.len() < entries.len());
    let surgery = gateway.agency(SURGERY);
    let theirs = surgery.get_json("/v1/log/entries").await;
    let theirs = theirs["entries"].as_array().unwrap();
    let own: Vec<_> = theirs.iter().filter_map(|entry| entry.get("fields")).collect();
    assert!(own.iter().all(|fields| fields["event"] == "certificate-issued"), "{own:?}");
}

fn hashes(proof: &Value) -> Vec<Vec<u8>> {
    let hashes = proof["hashes"].as_array().unwrap().iter();
    hashes.map(|hash| STANDARD.decode(hash.as_str().unwrap()).unwrap()).collect()
}

pub(crate) fn node(left: &[u8], right: &[u8]) -> Vec<u8> {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().to_vec()
}

/// RFC 6962 section 2.1, as it is written there.
fn tree_hash(leaves: &[Vec<u8>]) -> Vec<u8> {
    match leaves {
        [] => Sha256::digest([]).to_vec(),
        [leaf] => leaf.clone(),
        _ => {
            let left = leaves.len().next_power_of_two() / 2;
            node(&tree_hash(&leaves[..left]), &tree_hash(&leaves[left..]))
        }
    }
}

/// RFC 9162 section 2.1.3.2.
pub(crate) fn inclusion_root(leaf: &[u8], index: u64, size: u64, proof: &[Vec<u8>]) -> Vec<u8> {
    let (mut at, mut last, mut hash) = (index, size - 1, leaf.to_vec());
    for sibling in proof {
        assert_ne!(last, 0, "the proof is too long");
        if at % 2 == 1 || at == last {
            hash = node(sibling, &hash);
            while at % 2 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    assert_eq!(last, 0, "the proof is too short");
    hash
}

/// RFC 9162 section 2.1.4.2.
fn is_consistent(from: u64, to: u64, before: &[u8], after: &[u8], proof: &[Vec<u8>]) -> bool {
    if from == to {
        return proof.is_empty() && before == after;
    }
    let mut proof = proof.iter().cloned();
    let mut next = if from.is_power_of_two() { Some(before.to_vec()) } else { proof.next() };
    let (mut at, mut last) = (from - 1, to - 1);
    while at % 2 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let Some(start) = next.take() else { return false };
    let (mut old, mut new) = (start.clone(), start);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            old = node(&sibling, &old);
            new = node(&sibling, &new);
            while at % 2 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new = node(&new, &sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old == before && new == after
}
