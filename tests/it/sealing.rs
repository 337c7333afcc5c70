//! At rest: nothing of what was said can be read from any file, stock `age` opens a payload with the
//! right identity and with no other, and what an agency keeps the key of only it opens.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case, text};

/// A blob from the database, as a file in the home.
fn extract(gateway: &TestGateway, name: &str, sql: &str) {
    let path = gateway.home().join(name);
    let sql = format!("SELECT writefile('{}', ({sql}))", path.display());
    let ran = Command::new("sqlite3").arg(gateway.database()).arg(sql).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert!(std::fs::metadata(&path).unwrap().len() > 200, "{name}");
}

/// A key pair made by Debian's age-keygen, as an agency would; the identity is in the home.
fn age_keygen(gateway: &TestGateway, name: &str) -> String {
    let path = gateway.home().join(name);
    let made = Command::new("age-keygen").arg("-o").arg(&path).output().unwrap();
    assert!(made.status.success());
    let identity = std::fs::read_to_string(path).unwrap();
    identity.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned()
}

#[tokio::test]
async fn stock_age_opens_a_payload_with_the_right_identity_only() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let first = hub.dispatch(&[POLICE]).await;
    let _second = hub.dispatch(&[TRUST]).await;
    let asked = &first["exchanges"][0];
    let response = case::response(asked["message"].as_str().unwrap());
    police.post(&case::path(asked, "responses"), &response).await.ok(202);
    gateway.stop();

    let of_enquiry = |kind: &str, at: u32| {
        format!("SELECT {kind} FROM enquiries ORDER BY opened_ms LIMIT 1 OFFSET {at}")
    };
    extract(&gateway, "first-key.age", &of_enquiry("wrapped_key", 0));
    extract(&gateway, "second-key.age", &of_enquiry("wrapped_key", 1));
    extract(
        &gateway,
        "response.age",
        "SELECT ciphertext FROM payloads JOIN messages USING (entry) WHERE kind = 'response'",
    );
    // The enquiry's key opens with the gateway's at-rest identity, or with the recovery identity.
    let opened = gateway.age_decrypt("keys/at-rest-identity.txt", "first-key.age").unwrap();
    let recovered = gateway.age_decrypt("keys/recovery-identity.txt", "first-key.age").unwrap();
    assert_eq!(opened, recovered);
    let second = gateway.age_decrypt("keys/at-rest-identity.txt", "second-key.age").unwrap();
    std::fs::write(gateway.home().join("first-key.txt"), &opened).unwrap();
    std::fs::write(gateway.home().join("second-key.txt"), second).unwrap();
    // The payload opens with the enquiry's key.
    let payload = text(&gateway.age_decrypt("first-key.txt", "response.age").unwrap());
    let (header, body) = payload.split_once('\n').unwrap();
    assert!(header.starts_with("mash-seal/v1 ") && header.contains(POLICE), "{header}");
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), response);

    // With nothing else: another enquiry's key, the gateway's own, another agency's.
    age_keygen(&gateway, "stranger.txt");
    for (identity, file) in [
        ("second-key.txt", "response.age"),
        ("keys/at-rest-identity.txt", "response.age"),
        ("keys/authority-identity.txt", "response.age"),
        ("stranger.txt", "response.age"),
        ("stranger.txt", "first-key.age"),
        ("keys/authority-identity.txt", "first-key.age"),
    ] {
        assert!(gateway.age_decrypt(identity, file).is_none(), "{identity} opened {file}");
    }
    // `open` does the same as age, and says whose it is.
    let open = |identity: &str| {
        let at = |name: &str| gateway.home().join(name).to_str().unwrap().to_owned();
        gateway.run(&["open", &at("response.age"), "--identity", &at(identity)])
    };
    let opened = open("first-key.txt");
    assert!(opened.status.success(), "{}", text(&opened.stderr));
    assert_eq!(serde_json::from_slice::<Value>(&opened.stdout).unwrap(), response);
    let refused = open("stranger.txt");
    assert_eq!(refused.status.code(), Some(3));
    assert!(refused.stdout.is_empty());
}

#[tokio::test]
async fn nothing_that_was_said_is_in_any_file() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.dispatch(&[POLICE, TRUST, SURGERY]).await;
    let asked = &dispatched["exchanges"][0];
    let rfi = asked["message"].as_str().unwrap();
    police.collect_first().await;
    police.post(&case::path(asked, "acknowledgements"), &case::acknowledgement(rfi)).await.ok(202);
    let mut bad = case::response(rfi);
    bad["answers"][0]["category"] = json!("not-a-category");
    police.post(&case::path(asked, "responses"), &bad).await.problem(422, "schema");
    police.post(&case::path(asked, "responses"), &case::response(rfi)).await.ok(202);
    hub.collect_first().await;
    hub.post(&case::path(asked, "outcomes"), &case::outcome()).await.ok(202);

    let mut said = Vec::new();
    for body in [
        case::dispatch(&[POLICE]),
        case::response(rfi),
        case::acknowledgement(rfi),
        case::outcome(),
    ] {
        phrases(&body, &mut said);
    }
    for name in ["Wrenna", "Thistlebank", "9990000018", "2017-05-09", "Imogen Fablewright"] {
        assert!(said.iter().any(|phrase| phrase == name), "{name} is among what was said");
    }
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    // While it runs, with the write-ahead log and the page cache as they are; and afterwards.
    gateway.holds_nowhere(&said);
    let metrics = gateway.local("/metrics");
    assert!(said.iter().all(|phrase| !metrics.contains(phrase)));
    gateway.stop();
    gateway.holds_nowhere(&said);
}

/// Words about people: longer than a code, and not from one of the contract's lists.
fn phrases(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.values().for_each(|value| phrases(value, found)),
        Value::Array(items) => items.iter().for_each(|value| phrases(value, found)),
        Value::String(text) => {
            let is_about_people = text.contains(' ')
                || text.starts_with("999")
                || text.starts_with("+44")
                || ["Wrenna", "Thistlebank", "2017-05-09"].contains(&text.as_str());
            if is_about_people {
                found.push(text.clone());
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn what_an_agency_keeps_the_key_of_only_it_opens() {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    let recipient = age_keygen(&gateway, "police.txt");
    let lines = format!(
        "custody = \"agency\"\nage_recipients = [\"{recipient}\"]\n\
         endpoints = [{{ kind = \"mailbox\" }}]\n"
    );
    let partners = case::partners(&[(POLICE, &lines)]);
    std::fs::write(gateway.home().join("partners.toml"), partners).unwrap();
    gateway.serve();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.dispatch(&[POLICE]).await;
    let document = police.collect_first().await;
    assert_eq!(document["datacontenttype"], "application/octet-stream");
    assert!(document.get("data").is_none());
    let sealed = STANDARD.decode(document["data_base64"].as_str().unwrap()).unwrap();
    std::fs::write(gateway.home().join("rfi.age"), sealed).unwrap();
    let opened = text(&gateway.age_decrypt("police.txt", "rfi.age").unwrap());
    assert!(opened.contains("Wrenna"));
    // Neither the gateway nor the recovery identity opens it, whatever keys they unwrap.
    extract(&gateway, "key.age", "SELECT wrapped_key FROM enquiries");
    let key = gateway.age_decrypt("keys/at-rest-identity.txt", "key.age").unwrap();
    std::fs::write(gateway.home().join("key.txt"), key).unwrap();
    for identity in ["key.txt", "keys/at-rest-identity.txt", "keys/recovery-identity.txt"] {
        assert!(gateway.age_decrypt(identity, "rfi.age").is_none(), "{identity}");
    }
    // What the police answer goes to the hub, whose custody is the gateway's.
    let asked = &dispatched["exchanges"][0];
    let response = case::response(asked["message"].as_str().unwrap());
    police.post(&case::path(asked, "responses"), &response).await.ok(202);
    assert_eq!(hub.collect_first().await["data"], response);
}
