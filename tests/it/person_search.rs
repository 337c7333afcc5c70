//! Somebody asks what is held about them: the enquiries in which they are named are found in what is sealed, by
//! the operator alone, and nothing of the search is kept but that it was made.

use std::io::Write as _;
use std::process::Output;

use mash_gateway::message::Kind;
use serde_json::{Value, json};

use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case, text};

fn search(gateway: &TestGateway, person: &Value) -> Output {
    std::fs::write(gateway.folder().join("person.json"), person.to_string()).unwrap();
    gateway.run(&["subject-access", "search", "person.json", "--json"])
}

fn found(gateway: &TestGateway, person: &Value) -> Value {
    let ran = search(gateway, person);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[tokio::test]
async fn whoever_asks_is_found_in_the_enquiries_that_name_them_and_in_no_other() {
    let own_key = "endpoints = [{ kind = \"mailbox\" }]\ncustody = \"agency\"\n\
        age_recipients = [\"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\"]\n";
    let mut gateway = TestGateway::start_with(&case::partners(&[(SURGERY, own_key)]));
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let first = hub.dispatch(&[POLICE, TRUST]).await;
    let asked = &first["exchanges"][0];
    let rfi = asked["message"].as_str().unwrap();
    police.post(&case::path(asked, "responses"), &case::response(rfi)).await.ok(202);
    let mut other = case::dispatch(&[TRUST]);
    other["rfi"]["persons"][0]["familyName"] = json!("Mosscrop");
    other["rfi"]["persons"][0]["nhsNumber"] = json!("9990000026");
    hub.post("/v1/rfis", &other).await.ok(202);
    // Of this one the surgery alone has the key.
    hub.dispatch(&[SURGERY]).await;

    // Beside a gateway that runs, however the name is written.
    let child = json!({ "familyName": "thistle bank", "givenName": "WRENNA", "birthDate": "2017" });
    let told = found(&gateway, &child);
    assert_eq!((&told["looked"], &told["unopened"]), (&json!(3), &json!(1)));
    let [enquiry] = told["enquiries"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!(enquiry["likeness"], "name-and-birth-date");
    let agencies: Vec<_> =
        enquiry["exchanges"].as_array().unwrap().iter().map(|one| &one["agency"]).collect();
    assert_eq!(agencies, [POLICE, TRUST]);
    assert_eq!(enquiry["exchanges"][0]["hasAnswered"], true);
    assert!(!told.to_string().contains("Thistlebank"), "{told}");
    let by_number = found(&gateway, &json!({ "nhsNumber": "999 000 0026" }));
    assert_eq!(by_number["enquiries"][0]["likeness"], "nhs-number");
    assert_eq!(by_number["enquiries"].as_array().unwrap().len(), 1);
    let nobody = json!({ "familyName": "Nobody", "givenName": "Known" });
    assert_eq!(found(&gateway, &nobody)["enquiries"], json!([]));
    let said = gateway.run(&["subject-access", "search", "person.json"]);
    assert!(text(&said.stdout).contains("nobody like that is named"), "{}", text(&said.stdout));

    // From a pipe as well; and what says nobody is refused without being repeated.
    let mut piped = std::process::Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
        .args(["subject-access", "search", "-", "--json", "--home"])
        .arg(gateway.home())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    piped.stdin.take().unwrap().write_all(child.to_string().as_bytes()).unwrap();
    let piped = piped.wait_with_output().unwrap();
    let told: Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!(told["enquiries"].as_array().unwrap().len(), 1);
    for half in [
        json!({ "familyName": "Zyxwacanary" }),
        json!({ "nhsNumber": "Zyxwacanary" }),
        json!({ "Zyxwacanary": "Zyxwacanary" }),
        json!("Zyxwacanary"),
    ] {
        let refused = search(&gateway, &half);
        assert_eq!(refused.status.code(), Some(2), "{half}");
        assert!(!text(&refused.stderr).contains("Zyxwacanary"), "{}", text(&refused.stderr));
    }

    // Of all that the log has how many enquiries were looked through, and nobody's name.
    gateway.stop();
    let searches: Vec<_> = gateway
        .entries()
        .into_iter()
        .filter(|fields| fields["event"] == "subject-access-searched")
        .collect();
    assert_eq!(searches.len(), 5);
    assert!(searches.iter().all(|fields| fields["enquiries"] == 3), "{searches:?}");
    std::fs::remove_file(gateway.folder().join("person.json")).unwrap();
    gateway.holds_nowhere(&["Thistlebank", "9990000018", "Mosscrop", "9990000026"]);
    gateway.verify_log();
}

#[tokio::test]
async fn nothing_is_released_before_every_agency_has_said_or_somebody_decides() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let asked = hub.dispatch(&[POLICE, TRUST]).await["exchanges"][0].clone();
    let rfi = asked["message"].as_str().unwrap();
    let path = format!("/v1/exchanges/{}", asked["exchange"].as_str().unwrap());
    let reference = hub.get_json(&path).await["reference"].as_str().unwrap().to_owned();
    let release = |more: &[&str]| {
        gateway.run(&[&["subject-access", "release", &reference, "--json"][..], more].concat())
    };
    let refused = |ran: Output, saying: &str| {
        let said = text(&ran.stderr);
        assert!(ran.status.code() == Some(1) && said.contains(saying), "{said}");
    };
    refused(release(&[]), "no agency has sent anything");
    police.post(&case::path(&asked, "responses"), &case::response(rfi)).await.ok(202);
    refused(release(&[]), "not said by test-police");
    // Asked, and not yet answered.
    let consultation = case::said(Kind::SubjectAccessConsultation, rfi);
    let consultations = case::path(&asked, "subject-access-consultations");
    hub.post(&consultations, &consultation).await.ok(202);
    refused(release(&[]), "not said by test-police");
    let told: Value =
        serde_json::from_slice(&release(&["--without-view", "no-reply-in-time"]).stdout).unwrap();
    assert_eq!((&told["missing"], &told["withoutView"]), (&json!(1), &json!("no-reply-in-time")));
    let view = case::said(Kind::SubjectAccessView, rfi);
    police.post(&case::path(&asked, "subject-access-views"), &view).await.ok(202);
    let told: Value = serde_json::from_slice(&release(&[]).stdout).unwrap();
    assert_eq!((&told["missing"], &told["withoutView"]), (&json!(0), &json!(null)));
    gateway.stop();
    gateway.verify_log();
}
