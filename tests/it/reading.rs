//! A message as a person reads it at the command line: what must be known stands first and last, urgency only
//! where it is meant, and nothing that somebody wrote is obeyed by the terminal.

use mash_gateway::message::Role;
use serde_json::{Value, json};

use crate::support::{Agency, HUB, POLICE, SURGERY, TestGateway, case, text};

/// What `inbox read` shows an agency of a message.
fn read(gateway: &TestGateway, agency: &str, message: &str) -> String {
    let agencies = gateway.agencies();
    let file = |name: &str| agencies.join(name).to_str().unwrap().to_owned();
    let ran = gateway.run(&[
        "inbox",
        "read",
        message,
        "--gateway",
        &gateway.url,
        "--cert",
        &file(&format!("{agency}.pem")),
        "--key",
        &file(&format!("{agency}.key")),
        "--ca",
        &file("ca.pem"),
    ]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    text(&ran.stdout)
}

async fn asked(hub: &Agency, agency: &str, rfi: &Value) -> Value {
    let dispatch = json!({ "recipients": [{ "agency": agency, "why": "Known." }], "rfi": rfi });
    hub.post("/v1/rfis", &dispatch).await.ok(202)["exchanges"][0].clone()
}

#[tokio::test]
async fn what_must_be_known_comes_before_the_request() {
    let gateway = TestGateway::start();
    let (hub, manager) = (gateway.agency(HUB), gateway.desk(HUB, Role::TeamManager));
    let mut rfi = case::rfi_without_consent();
    rfi["doNotInform"] = json!(["p1"]);
    // Whoever writes so wants the next words to be read from right to left.
    rfi["reason"]["concerns"] = json!("She was seen on the roof\u{202E} again.");
    let secret = asked(&manager, POLICE, &rfi).await;
    let page = read(&gateway, POLICE, secret["message"].as_str().unwrap());
    let place = |what: &str| page.find(what).unwrap_or_else(|| panic!("no {what} in\n{page}"));
    let warning = "DO NOT MENTION THIS REQUEST TO THE FAMILY";
    assert!(page.starts_with("*** URGENT REQUEST ***"), "{page}");
    assert!(place(warning) < place("She was seen on the roof<U+202E> again."), "{page}");
    assert!(page.rfind(warning).unwrap() > place("She was seen"), "at its end, too");
    place("NOT TO BE TOLD OF IT: Wrenna Thistlebank");
    place("ring Oswin Quillfeather on +441632960017");
    assert!(
        place("THE CHILD'S OR CHILDREN'S HEALTH") < place("neglect: missed health appointments")
    );

    // Neither of it where it is not meant.
    let mut rfi = case::rfi();
    rfi["priority"] = json!("routine");
    let open = asked(&hub, SURGERY, &rfi).await;
    let page = read(&gateway, SURGERY, open["message"].as_str().unwrap());
    assert!(!page.contains("URGENT") && !page.contains("!!!"), "{page}");
    assert!(page.contains("The answer is required by"), "{page}");
}

#[tokio::test]
async fn what_may_be_passed_on_stands_above_and_below_an_answer() {
    let gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let asked = asked(&hub, POLICE, &case::rfi()).await;
    let rfi = asked["message"].as_str().unwrap();
    let mut response = case::response(rfi);
    response["answers"][1] = json!({
        "category": "criminal-activity", "status": "provided", "aboutPersonIds": ["p1"],
        "summary": "A caution was given in March.", "factOrOpinion": "fact",
    });
    let answer = police.post(&case::path(&asked, "responses"), &response).await.ok(202);
    let page = read(&gateway, HUB, answer["message"].as_str().unwrap());
    for label in [
        "TELL NOBODY IN THE FAMILY OF THIS without asking whoever sent it.",
        "CRIMINAL OFFENCE DATA",
        "ONLY FOR: MASH Team Manager, social worker",
    ] {
        let places: Vec<_> = page.match_indices(label).map(|(at, _)| at).collect();
        let words = page.find("A caution was given in March.").unwrap();
        assert!(matches!(places[..], [above, below] if above < words && words < below), "{page}");
    }
}
