//! Receipts: what an agency holds in its hand, checked with the gateway gone, and worth nothing once
//! a byte of it is changed.

use std::path::PathBuf;
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{HUB, POLICE, TRUST, TestGateway, case, eventually, text};

/// `receipt verify` of these bytes, with only the log's public key beside them.
fn verify(gateway: &TestGateway, receipt: &[u8]) -> Output {
    let path = gateway.folder().join("kept.receipt");
    std::fs::write(&path, receipt).unwrap();
    gateway.run(&[
        "receipt",
        "verify",
        path.to_str().unwrap(),
        "--json",
        "--log-key",
        log_key(gateway).to_str().unwrap(),
    ])
}

/// The key as `cert issue` gives it to each agency.
fn log_key(gateway: &TestGateway) -> PathBuf {
    gateway.agencies().join("log-key.txt")
}

#[tokio::test]
async fn a_receipt_proves_what_was_accepted_with_the_gateway_gone() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let answer = hub.post("/v1/rfis", &case::dispatch(&[POLICE, TRUST])).await;
    let dispatched = answer.json();
    let asked = &dispatched["exchanges"][0];
    let rfi = asked["message"].as_str().unwrap();
    let path = case::path(asked, "responses");
    let accepted = police.post(&path, &case::response(rfi)).await.ok(202);
    // The same receipt again, for the sender and the recipient.
    let path = format!("/v1/messages/{}/receipt", accepted["message"].as_str().unwrap());
    for party in [&police, &hub] {
        assert_eq!(party.get(&path).await.text(), accepted["receipt"].as_str().unwrap());
    }
    gateway.stop();
    std::fs::remove_dir_all(gateway.home()).unwrap();

    let receipt = accepted["receipt"].as_str().unwrap();
    let verified = verify(&gateway, receipt.as_bytes());
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    let proven: Value = serde_json::from_slice(&verified.stdout).unwrap();
    let fields = &proven["receipts"][0]["fields"];
    for (name, value) in [
        ("event", json!("accepted")),
        ("kind", json!("response")),
        ("sender", json!(POLICE)),
        ("recipient", json!(HUB)),
        ("message", accepted["message"].clone()),
        ("reference", accepted["reference"].clone()),
        ("time", accepted["acceptedAt"].clone()),
        ("inReplyTo", json!(rfi)),
    ] {
        assert_eq!(fields[name], value, "{name}");
    }
    // The whole 202 can be kept instead; a dispatch has a receipt for each agency asked.
    let whole = verify(&gateway, &answer.body);
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let proven: Value = serde_json::from_slice(&whole.stdout).unwrap();
    let recipients: Vec<_> = proven["receipts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|receipt| receipt["fields"]["recipient"].as_str().unwrap())
        .collect();
    assert_eq!(recipients, [POLICE, TRUST]);
}

#[tokio::test]
async fn a_receipt_with_any_byte_changed_proves_nothing() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.dispatch(&[POLICE]).await;
    let asked = &dispatched["exchanges"][0];
    let rfi = asked["message"].as_str().unwrap();
    let path = case::path(asked, "responses");
    let accepted = police.post(&path, &case::response(rfi)).await.ok(202);
    gateway.stop();
    let receipt = accepted["receipt"].as_str().unwrap().as_bytes().to_vec();
    assert!(verify(&gateway, &receipt).status.success());

    // Each byte in the library, which is the same code; some through the command.
    let key = std::fs::read_to_string(log_key(&gateway)).unwrap();
    let key = mash_gateway::audit::checkpoint::LogVerifier::parse(key.trim()).unwrap();
    let verifies = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).ok();
        text.is_some_and(|text| mash_gateway::audit::receipt::verify_answer(&text, &key).is_ok())
    };
    assert!(verifies(&receipt));
    for at in 0..receipt.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut changed = receipt.clone();
            changed[at] ^= flip;
            assert!(!verifies(&changed), "byte {at} of {}", receipt.len());
        }
        let mut shorter = receipt.clone();
        shorter.remove(at);
        // But for the newline at the end, which programs add and take away.
        assert_eq!(verifies(&shorter), at == receipt.len() - 1, "without byte {at}");
    }
    assert!(verifies(&[&receipt[..], b"\n"].concat()), "as jq -r prints it");
    for at in (0..receipt.len()).step_by(receipt.len() / 12) {
        let mut changed = receipt.clone();
        changed[at] ^= 0x01;
        let verified = verify(&gateway, &changed);
        assert_eq!(verified.status.code(), Some(3), "byte {at}");
        assert!(text(&verified.stderr).contains("does not verify"));
    }
    // Nor does another gateway's key verify it, or the receipt of another message fit.
    let other = TestGateway::made(&case::partners(&[]));
    let path = gateway.folder().join("kept.receipt");
    std::fs::write(&path, &receipt).unwrap();
    let verified = other.run(&["receipt", "verify", path.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(3));
    for nothing in [&b""[..], b"\xff\xfe", b"{}", b"[]", b"null", b"{\"receipt\":\"\"}"] {
        assert_eq!(verify(&gateway, nothing).status.code(), Some(3), "{nothing:?}");
    }
    let missing = gateway.run(&["receipt", "verify", "no-such-file"]);
    assert_eq!(missing.status.code(), Some(4));
}

/// What was refused is in the log as well; that is no receipt.
#[tokio::test]
async fn a_refusal_cannot_be_passed_off_as_an_acceptance() {
    let gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.dispatch(&[POLICE]).await;
    let path = case::path(&dispatched["exchanges"][0], "responses");
    police.post(&path, &json!({})).await.problem(422, "schema");
    // Everything a receipt is made of can be had for any entry of one's own.
    let refused = async || {
        let page = police.get_json("/v1/log/entries").await;
        let mut entries = page["entries"].as_array().unwrap().clone().into_iter();
        entries.find(|entry| entry["fields"]["event"] == "refused")
    };
    eventually("the refusal is logged", async || refused().await.is_some()).await;
    let entry = refused().await.unwrap();
    let note = police.get("/v1/log/checkpoint").await.text().to_owned();
    let (index, size) = (&entry["index"], note.lines().nth(1).unwrap());
    let proof = police.get_json(&format!("/v1/log/proof?entry={index}&size={size}")).await;
    let extra = json!({ "fields": entry["fields"], "salt": entry["salt"] }).to_string();
    let mut receipt =
        format!("c2sp.org/tlog-proof@v1\nextra {}\nindex {index}\n", STANDARD.encode(extra));
    for hash in proof["hashes"].as_array().unwrap() {
        receipt.push_str(&format!("{}\n", hash.as_str().unwrap()));
    }
    receipt.push_str(&format!("\n{note}"));
    let verified = verify(&gateway, receipt.as_bytes());
    assert_eq!(verified.status.code(), Some(3));
    assert!(
        text(&verified.stderr).contains("neither accepted a message nor returned one"),
        "{}",
        text(&verified.stderr)
    );
}

/// An answer whose words outside the receipt were changed is not what the receipt proves.
#[tokio::test]
async fn an_answer_is_held_to_its_receipts() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.dispatch(&[POLICE]).await;
    let asked = &dispatched["exchanges"][0];
    let path = case::path(asked, "responses");
    let response = case::response(asked["message"].as_str().unwrap());
    let accepted = police.post(&path, &response).await.ok(202);
    gateway.stop();
    assert!(verify(&gateway, accepted.to_string().as_bytes()).status.success());
    for (name, value) in accepted.as_object().unwrap() {
        let mut changed = accepted.clone();
        changed[name] = match value {
            Value::Number(number) => json!(number.as_u64().unwrap() + 1),
            _ => json!(value.as_str().unwrap().replacen(['0', '2', 'c'], "1", 1)),
        };
        assert_ne!(changed, accepted, "{name}");
        let verified = verify(&gateway, changed.to_string().as_bytes());
        assert_eq!(verified.status.code(), Some(3), "{name}: {changed:#}");
    }
}
