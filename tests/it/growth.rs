//! Growth: whoever kept a checkpoint or a receipt finds a log that was cut, written anew or forked,
//! on the gateway's machine and from outside.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mash_gateway::audit::checkpoint::LogKey;
use mash_gateway::audit::tree::{Hash, leaf_hash};
use serde_json::{Value, json};

use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case, text};

const ORIGIN: &str = "mash.test.example/log/1";

/// `log verify --since`, as the surgery asks it of the gateway with nothing but its own files.
fn ask(gateway: &TestGateway, kept: &Path, log_key: &Path) -> Output {
    let own = |end: &str| gateway.agencies().join(format!("{SURGERY}.{end}"));
    Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
        .args(["log", "verify", "--json", "--gateway", &gateway.url])
        .arg("--since")
        .arg(kept)
        .arg("--log-key")
        .arg(log_key)
        .arg("--cert")
        .arg(own("pem"))
        .arg("--key")
        .arg(own("key"))
        .arg("--ca")
        .arg(gateway.agencies().join("ca.pem"))
        .current_dir(gateway.folder())
        .output()
        .unwrap()
}

fn log_key(gateway: &TestGateway) -> PathBuf {
    gateway.agencies().join("log-key.txt")
}

/// The same of the database.
fn look(gateway: &TestGateway, kept: &Path) -> Output {
    gateway.run(&["log", "verify", "--since", kept.to_str().unwrap()])
}

fn keep(gateway: &TestGateway, name: &str, contents: &str) -> PathBuf {
    let path = gateway.folder().join(name);
    std::fs::write(&path, contents).unwrap();
    path
}

#[track_caller]
fn refused(found: &Output, saying: &str) {
    let said = text(&found.stderr);
    assert_eq!(found.status.code(), Some(3), "{saying}: {said}");
    assert!(said.contains(saying), "{saying}: {said}");
}

/// The log's key, in a thief's hands.
fn stolen_key(gateway: &TestGateway) -> LogKey {
    let pem = std::fs::read_to_string(gateway.home().join("keys/log-key.pem")).unwrap();
    LogKey::from_pem(ORIGIN, &pem).unwrap()
}

fn sqlite(gateway: &TestGateway, sql: &str) {
    let ran = Command::new("sqlite3").arg(gateway.database()).arg(sql).output().unwrap();
    assert!(ran.status.success(), "{sql}: {}", text(&ran.stderr));
}

fn size(note: &str) -> u64 {
    note.lines().nth(1).unwrap().parse().unwrap()
}

/// A gateway on which this many RFIs were sent, with the checkpoint after each.
async fn grown(count: usize) -> (TestGateway, Vec<PathBuf>) {
    let gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    let mut kept = Vec::new();
    for i in 0..count {
        hub.dispatch(&[POLICE, TRUST]).await;
        let note = hub.get("/v1/log/checkpoint").await.text().to_owned();
        kept.push(keep(&gateway, &format!("{i}.note"), &note));
    }
    (gateway, kept)
}

#[tokio::test]
async fn growth_is_proved_from_whatever_was_kept_and_across_restarts() {
    let (mut gateway, mut kept) = grown(3).await;
    let answer = gateway.agency(HUB).post("/v1/rfis", &case::dispatch(&[POLICE, TRUST])).await;
    let receipt = answer.json()["exchanges"][0]["receipt"].as_str().unwrap().to_owned();
    kept.push(keep(&gateway, "receipt", &receipt));
    kept.push(keep(&gateway, "answer.json", answer.text()));
    for restart in 0..2 {
        if restart > 0 {
            gateway.restart();
        }
        for file in &kept {
            let asked = ask(&gateway, file, &log_key(&gateway));
            assert!(asked.status.success(), "{}: {}", file.display(), text(&asked.stderr));
            let asked: Value = serde_json::from_slice(&asked.stdout).unwrap();
            assert_eq!(asked["verified"], true);
            assert!(asked["since"].as_u64().unwrap() <= asked["size"].as_u64().unwrap());
            let looked = look(&gateway, file);
            assert!(looked.status.success(), "{}: {}", file.display(), text(&looked.stderr));
        }
    }
    // The name it had before.
    let file = kept[0].to_str().unwrap();
    assert!(gateway.run(&["log", "verify", "--checkpoint", file]).status.success());
}

#[tokio::test]
async fn a_log_cut_at_its_end_is_shorter_to_whoever_kept_more() {
    let (mut gateway, kept) = grown(2).await;
    let (receipt, last) = (keep(&gateway, "receipt", ""), kept.last().unwrap());
    let answer = gateway.agency(HUB).dispatch(&[POLICE]).await;
    let signed = answer["exchanges"][0]["receipt"].as_str().unwrap();
    std::fs::write(&receipt, signed).unwrap();
    gateway.kill();
    // All that came after the last checkpoint kept but one, as a restored backup would have it.
    let at = size(&std::fs::read_to_string(last).unwrap());
    sqlite(
        &gateway,
        &format!(
            "DELETE FROM deliveries WHERE entry >= {at}; DELETE FROM payloads WHERE entry >= {at};
             DELETE FROM messages WHERE entry >= {at}; DELETE FROM exchanges WHERE entry >= {at};
             DELETE FROM enquiries WHERE id NOT IN (SELECT enquiry FROM exchanges);
             DELETE FROM entries WHERE idx >= {at}; DELETE FROM checkpoints WHERE size > {at};
             UPDATE mailboxes SET (messages, bytes) = (
                 SELECT count(*), coalesce(sum(m.size_bytes), 0)
                 FROM deliveries AS d JOIN messages AS m USING (entry)
                 WHERE d.recipient = mailboxes.recipient AND d.state <> 'delivered')"
        ),
    );
    // The log by itself is whole.
    gateway.verify_log();
    assert!(look(&gateway, last).status.success());
    refused(&look(&gateway, &receipt), "the log is shorter");
    // And once the gateway has signed something else in the place of what was cut: who could cut it
    // could take away what the gateway remembers it by, too.
    std::fs::remove_file(gateway.home().join("keys/log-anchor.txt")).unwrap();
    gateway.serve();
    let asked = ask(&gateway, &receipt, &log_key(&gateway));
    refused(&asked, "for the same size");
    gateway.agency(HUB).dispatch(&[TRUST]).await;
    let asked = ask(&gateway, &receipt, &log_key(&gateway));
    refused(&asked, "the proof is wrong");
    refused(&look(&gateway, &receipt), "the proof is wrong");
    assert!(text(&asked.stderr).contains("it is evidence"));
    assert!(ask(&gateway, last, &log_key(&gateway)).status.success());
}

/// Whoever has the log's key can sign anything. What was kept is signed too.
#[tokio::test]
async fn what_was_signed_twice_with_the_stolen_key_does_not_fit() {
    let (gateway, kept) = grown(3).await;
    let key = stolen_key(&gateway);
    let sign = |size, root: &Hash| keep(&gateway, "forged.note", &key.sign(size, root));
    let other = leaf_hash(b"other");
    let now = gateway.agency(HUB).get("/v1/log/checkpoint").await.text().to_owned();
    let now = size(&now);
    for (at, saying) in [
        (now + 9, "the log is shorter"),
        (now, "another root for the same size"),
        (now - 1, "the proof is wrong"),
        (1, "the proof is wrong"),
    ] {
        let file = sign(at, &other);
        refused(&ask(&gateway, &file, &log_key(&gateway)), saying);
        refused(&look(&gateway, &file), saying);
    }
    // An honest one with the same key still fits: the fault above was in what was signed.
    assert!(ask(&gateway, &kept[0], &log_key(&gateway)).status.success());
}

#[tokio::test]
async fn what_is_not_of_this_log_is_said_to_be_of_another_or_damaged() {
    let (gateway, kept) = grown(1).await;
    let note = std::fs::read_to_string(&kept[0]).unwrap();
    let root = leaf_hash(b"x");
    let sign = |origin: &str| LogKey::generate(origin).unwrap().sign(3, &root);
    let signed = format!("\n{}\n", size(&note));
    for (contents, saying) in [
        (sign("mash.test.example/log/2"), "it is of another log"),
        (sign(ORIGIN), "not signed by this log's key"),
        (note.replacen(&signed, "\n1\n", 1), "its signature does not verify"),
        (String::new(), "not a well-formed checkpoint"),
        (json!({}).to_string(), "it is not a receipt"),
    ] {
        let file = keep(&gateway, "wrong.note", &contents);
        refused(&ask(&gateway, &file, &log_key(&gateway)), saying);
        refused(&look(&gateway, &file), saying);
    }
    // Another gateway's log is not this one, and a file that is not there is no refusal.
    let other = TestGateway::made(&case::partners(&[]));
    let asked = ask(&gateway, &kept[0], &other.home().join("certs/log-key.txt"));
    refused(&asked, "not signed by this log's key");
    let missing = ask(&gateway, Path::new("no-such-file"), &log_key(&gateway));
    assert_eq!(missing.status.code(), Some(4));
    let halves = gateway.run(&["log", "verify", "--gateway", &gateway.url]);
    assert_eq!(halves.status.code(), Some(2), "{}", text(&halves.stderr));
}

/// Signatures of others on a note, witnesses' for one, change nothing.
#[tokio::test]
async fn a_note_that_others_signed_too_is_as_good() {
    let (gateway, kept) = grown(1).await;
    let note = std::fs::read_to_string(&kept[0]).unwrap();
    let witness = LogKey::generate("witness.example").unwrap().sign(3, &leaf_hash(b"x"));
    let cosigned = format!("{note}{}\n", witness.lines().last().unwrap());
    let file = keep(&gateway, "cosigned.note", &cosigned);
    assert!(ask(&gateway, &file, &log_key(&gateway)).status.success());
    assert!(look(&gateway, &file).status.success());
}
