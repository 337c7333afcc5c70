//! What one had of the other was lost, leaked or nearly so: whose it is learns of it, and is kept informed
//! until it is closed (R91 to R95).

use jiff::{SignedDuration, Timestamp};
use mash_gateway::message::{Kind, Role};
use serde_json::{Value, json};

use crate::support::{Agency, HUB, POLICE, SURGERY, TestGateway, case, text};

async fn asked(hub: &Agency, agency: &str) -> Value {
    hub.dispatch(&[agency]).await["exchanges"][0].clone()
}

fn incident(asked: &Value) -> Value {
    case::said(Kind::Incident, asked["message"].as_str().unwrap())
}

async fn view(who: &Agency, asked: &Value) -> Value {
    who.get_json(&format!("/v1/exchanges/{}", asked["exchange"].as_str().unwrap())).await
}

/// When it has to be decided whether the Commissioner is told, and whose that is; nothing when it is.
fn assessment(view: &Value) -> Option<(Timestamp, String)> {
    let all = view["due"].as_array()?;
    let due = all.iter().find(|due| due["timer"] == "incident-assessment")?;
    Some((due["at"].as_str()?.parse().ok()?, due["owner"].as_str()?.to_owned()))
}

#[tokio::test]
async fn the_hub_hears_of_an_agencys_incident_and_of_its_outcome() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let asked = asked(&hub, POLICE).await;
    let path = case::path(&asked, "incidents");
    let mut report = incident(&asked);
    report["whatHappened"] = json!("Constable Quillfeather's laptop was taken from a parked car.");
    let first = police.post(&path, &report).await.ok(202);

    // Whoever leads there sees that there is something to look at, and how long there is to decide.
    let seen = view(&hub, &asked).await;
    assert_eq!(seen["needsAttention"], true);
    let found: Timestamp = report["foundAt"].as_str().unwrap().parse().unwrap();
    let due = (found + SignedDuration::from_hours(72), "hub".to_owned());
    assert_eq!(assessment(&seen), Some(due));
    let manager = gateway.desk(HUB, Role::TeamManager);
    let message = manager.collect_first().await;
    assert_eq!(message["type"], "org.mash.incident.v1");
    assert_eq!(message["data"]["nature"], "sent-to-wrong-recipient");

    // It is assessed, and then closed: each is another message, about the first.
    let mut later = report.clone();
    later["inReplyTo"] = first["message"].clone();
    later["status"] = json!("contained");
    later["assessment"] = json!({
        "commissioner": "not-required", "people": "not-required", "at": case::hours(0),
        "why": "The laptop was encrypted, and was found again unopened.",
        "by": { "name": "Lee Inventham", "jobTitle": "Data Protection Officer" },
    });
    police.post(&path, &later).await.ok(202);
    assert_eq!(assessment(&view(&hub, &asked).await), None);
    later["status"] = json!("closed");
    later["outcome"] = json!("Laptops are no longer left in cars, and this one was wiped.");
    police.post(&path, &later).await.ok(202);
    let timeline = view(&hub, &asked).await["timeline"].clone();
    let kinds = timeline.as_array().unwrap().iter().filter(|entry| entry["kind"] == "incident");
    assert_eq!(kinds.filter(|entry| entry["event"] == "accepted").count(), 3);

    // Nobody else learns of it, and nothing of what is in it is written anywhere.
    let surgery = gateway.agency(SURGERY);
    surgery.post(&path, &report).await.problem(404, "not-found");
    surgery
        .get(&format!("/v1/messages/{}", first["message"].as_str().unwrap()))
        .await
        .problem(404, "not-found");
    gateway.stop();
    gateway.holds_nowhere(&["Quillfeather", "laptop", "Laptops"]);
    gateway.verify_log();
}

#[tokio::test]
async fn an_agency_whose_information_the_hub_lost_is_told() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let asked = asked(&hub, POLICE).await;
    let rfi = asked["message"].as_str().unwrap();
    let response = case::response(rfi);
    let answer = police.post(&case::path(&asked, "responses"), &response).await.ok(202);
    // About the police's answer; as a person there does it, by the command.
    let mut report = incident(&asked);
    report["inReplyTo"] = answer["message"].clone();
    report["serious"] = json!(true);
    report["reportedTo"] = json!(["security-or-data-protection", "mash-steering-group"]);
    std::fs::write(gateway.folder().join("lost.json"), report.to_string()).unwrap();
    let reference = view(&hub, &asked).await["reference"].as_str().unwrap().to_owned();
    let agencies = gateway.agencies();
    let file = |name: &str| agencies.join(name).to_str().unwrap().to_owned();
    let sent = gateway.run(&[
        "incident",
        &reference,
        "lost.json",
        "--gateway",
        &gateway.url,
        "--cert",
        &file(&format!("{HUB}.pem")),
        "--key",
        &file(&format!("{HUB}.key")),
        "--ca",
        &file("ca.pem"),
    ]);
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    let inbox = police.get_json("/v1/inbox").await;
    let kinds: Vec<_> =
        inbox["messages"].as_array().unwrap().iter().map(|each| each["kind"].clone()).collect();
    assert_eq!(kinds, ["rfi", "incident"]);
    assert!(assessment(&view(&police, &asked).await).is_some());
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn a_near_miss_is_told_and_has_no_clock() {
    let gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let asked = asked(&hub, POLICE).await;
    let mut report = incident(&asked);
    report["nearMiss"] = json!(true);
    police.post(&case::path(&asked, "incidents"), &report).await.ok(202);
    let seen = view(&hub, &asked).await;
    assert_eq!((&seen["needsAttention"], assessment(&seen)), (&json!(true), None));
}

#[tokio::test]
async fn what_is_not_told_to_those_responsible_or_not_whole_is_refused() {
    let gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let (asked, other) = (asked(&hub, POLICE).await, asked(&hub, SURGERY).await);
    let path = case::path(&asked, "incidents");
    type Change = fn(&mut Value);
    let changes: [(&str, &str, Change); 6] = [
        ("/reportedTo", "security-not-told", |it| it["reportedTo"] = json!(["police"])),
        ("/reportedTo", "steering-group-not-told", |it| it["serious"] = json!(true)),
        ("/foundAt", "in-the-future", |it| it["foundAt"] = json!(case::hours(1))),
        ("/foundAt", "found-before-it-happened", |it| it["happenedAt"] = json!(case::hours(0))),
        ("/aboutPersonIds/0", "person-not-in-rfi", |it| it["aboutPersonIds"] = json!(["p9"])),
        ("/outcome", "outcome-missing", |it| {
            it["status"] = json!("closed");
            it["nearMiss"] = json!(true);
        }),
    ];
    for (pointer, code, change) in changes {
        let mut report = incident(&asked);
        change(&mut report);
        let problem = police.post(&path, &report).await.problem(422, "schema");
        let errors = problem["errors"].as_array().unwrap();
        let places: Vec<_> =
            errors.iter().map(|error| (&error["pointer"], &error["code"])).collect();
        assert_eq!(places, [(&json!(pointer), &json!(code))], "{problem}");
    }
    // About a message of somebody else's exchange: as if there were none.
    let mut report = incident(&asked);
    report["inReplyTo"] = other["message"].clone();
    let problem = police.post(&path, &report).await.problem(422, "schema");
    assert_eq!(problem["errors"][0]["code"], "not-in-this-exchange");
    // Who only watches reports nothing.
    let auditor = gateway.desk(POLICE, Role::Auditor);
    auditor.post(&path, &incident(&asked)).await.problem(403, "role-not-permitted");
}

/// Who hears of incidents is named in the directory, or missed by the doctor.
#[test]
fn an_agency_names_who_is_responsible() {
    let named = "security_contact = { name = \"C. Example\", telephone = \"01632 960177\" }\n";
    let lines = format!("endpoints = [{{ kind = \"mailbox\" }}]\n{named}");
    let gateway = TestGateway::made(&case::partners(&[(POLICE, &lines)]));
    let shown = gateway.run(&["partner", "show", POLICE, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["securityContact"], "C. Example, 01632 960177");
    let doctor = gateway.run(&["doctor", "--json"]);
    let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let missed: Vec<_> = doctor["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| {
            finding["code"] == "security-contact" || finding["check"] == "security-contact"
        })
        .map(|finding| finding["agency"].clone())
        .collect();
    assert!(missed.contains(&json!(HUB)) && !missed.contains(&json!(POLICE)), "{doctor:#}");
}
