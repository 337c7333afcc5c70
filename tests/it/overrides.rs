//! Without consent nothing is asked but by the Team Manager's decision, which is made in person, held to the
//! letter, and spent once; and what the police say is seen by those only who assess and decide.

use hyper::Method;
use mash_gateway::message::Role;
use serde_json::{Value, json};

use crate::support::{Agency, HUB, POLICE, TRUST, TestGateway, case};

async fn recorded(manager: &Agency, rfi: &Value) -> Value {
    manager.post("/v1/overrides", &case::overriding(rfi)).await.ok(201)
}

fn dispatch(rfi: &Value) -> Value {
    json!({ "recipients": [{ "agency": TRUST, "why": "They know the family." }], "rfi": rfi })
}

async fn is_not_recorded(who: &Agency, rfi: &Value) {
    let problem = who.post("/v1/rfis", &dispatch(rfi)).await.problem(422, "schema");
    let error = &problem["errors"][0];
    assert_eq!(error["pointer"], "/rfi/override/decisionCode");
    assert_eq!(error["code"], "override-not-recorded");
    // Who can decide, and how.
    assert!(error["message"].as_str().unwrap().contains("MASH Team Manager"), "{error}");
}

#[tokio::test]
async fn an_rfi_without_consent_goes_out_once_the_manager_has_put_the_decision_on_record() {
    let mut gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    let asks = gateway.desk(HUB, Role::HealthRepresentative);
    let manager = gateway.desk(HUB, Role::TeamManager);
    let mut rfi = case::rfi_without_consent();

    // It says that the manager has decided; nobody believes it.
    is_not_recorded(&hub, &rfi).await;
    is_not_recorded(&asks, &rfi).await;
    // Nor can anybody else decide: not the hub's system, not its representative, not an agency.
    for other in [&hub, &asks, &gateway.agency(POLICE), &gateway.desk(POLICE, Role::ContactOfficer)]
    {
        let problem = other.post("/v1/overrides", &case::overriding(&rfi)).await;
        let problem = problem.problem(403, "role-not-permitted");
        assert!(problem["detail"].as_str().unwrap().contains("MASH Team Manager"), "{problem}");
    }

    let decision = recorded(&manager, &rfi).await;
    let text = decision["textForRecord"].as_str().unwrap();
    assert!(text.contains("Imogen Fablewright") && text.contains("another night"), "{text}");
    let code = decision["decisionCode"].clone();
    // The code alone does not do: consent, persons and decision are word for word what was decided on.
    type Change = (&'static str, fn(&mut Value));
    let changes: [Change; 4] = [
        ("another child", |rfi| rfi["persons"][0]["givenName"] = json!("Ottilie")),
        ("another reason", |rfi| {
            rfi["consent"]["child"]["notObtainedReason"] = json!("cannot-be-given");
        }),
        ("another rationale", |rfi| {
            rfi["override"]["rationale"] = json!("It seemed to be the quickest way to go on.");
        }),
        ("another person besides", |rfi| {
            let mut other = rfi["persons"][0].clone();
            other["personId"] = json!("p2");
            other["nhsNumber"] = json!("9990000026");
            rfi["persons"].as_array_mut().unwrap().push(other);
        }),
    ];
    rfi["override"]["decisionCode"] = code.clone();
    for (_, change) in changes {
        let mut other = rfi.clone();
        change(&mut other);
        is_not_recorded(&asks, &other).await;
    }
    let mut wrong = rfi.clone();
    wrong["override"]["decisionCode"] = json!("0e8400e2-9b1d-41d4-a716-446655440000");
    is_not_recorded(&asks, &wrong).await;

    // What is asked, of whom and why is not what was decided on. And it is spent by that.
    rfi["reason"]["concerns"] = json!("She was seen on the roof.");
    let key = "01890a5d-ac96-774b-bcce-b302099a8057";
    let body = dispatch(&rfi).to_string().into_bytes();
    let first = asks.post_bytes("/v1/rfis", key, body.clone()).await;
    assert_eq!(first.status, 202, "{}", first.text());
    is_not_recorded(&asks, &rfi).await;
    // The same submission again is the same answer still.
    assert_eq!(asks.post_bytes("/v1/rfis", key, body.clone()).await.text(), first.text());
    gateway.restart();
    assert_eq!(gateway.moved(asks).post_bytes("/v1/rfis", key, body).await.text(), first.text());

    gateway.stop();
    gateway.verify_log();
    let entries = gateway.entries();
    let entry = |event: &str| entries.iter().find(|entry| entry["event"] == event).unwrap();
    let on_record = entry("override-recorded");
    assert_eq!(on_record["desk"], "mash-team-manager");
    let sent = entries.iter().find(|entry| entry["kind"] == "rfi" && entry["event"] == "accepted");
    assert_eq!(sent.unwrap()["decision"], on_record["decision"]);
    // Neither the code nor what was decided is anywhere.
    let code = code.as_str().unwrap().to_owned();
    gateway.holds_nowhere(&["another night", "Thistlebank", &code]);
}

#[tokio::test]
async fn the_manager_may_send_it_in_person_and_nobody_may_where_consent_comes_first() {
    let mut gateway = TestGateway::start();
    let manager = gateway.desk(HUB, Role::TeamManager);
    let rfi = case::rfi_without_consent();
    manager.post("/v1/rfis", &dispatch(&rfi)).await.ok(202);
    // What they put on record before is spent like anybody's, and a code that is none is none of theirs either.
    let mut recorded = case::rfi_without_consent();
    recorded["persons"][0]["givenName"] = json!("Pim");
    let told = manager.post("/v1/overrides", &case::overriding(&recorded)).await.ok(201);
    recorded["override"]["decisionCode"] = told["decisionCode"].clone();
    manager.post("/v1/rfis", &dispatch(&recorded)).await.ok(202);
    let again = manager.post("/v1/rfis", &dispatch(&recorded)).await.problem(422, "schema");
    assert_eq!(again["errors"][0]["code"], "override-not-recorded", "{again}");
    // Early intervention: a "no" ends it, whoever decides.
    let mut early = rfi;
    early["pathway"] = json!("early-intervention");
    let problem = manager.post("/v1/rfis", &dispatch(&early)).await.problem(422, "schema");
    let codes: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|e| &e["code"]).collect();
    assert!(codes.contains(&&json!("consent-comes-first")), "{problem}");
    assert!(!problem.to_string().contains("override-not-recorded"), "no override is offered");
    // What is wrong with a decision is said before it is on record.
    let mut wrong = case::rfi_without_consent();
    wrong["override"].as_object_mut().unwrap().remove("confidenceGateway");
    let problem = manager.post("/v1/overrides", &case::overriding(&wrong)).await;
    let problem = problem.problem(422, "schema");
    assert_eq!(problem["errors"][0]["code"], "confidence-gateway-required");
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn what_the_police_say_is_for_the_manager_and_the_social_worker_unless_they_say_otherwise() {
    let mut gateway = TestGateway::start();
    let (hub, police, trust) = (gateway.agency(HUB), gateway.agency(POLICE), gateway.agency(TRUST));
    let dispatched = hub.dispatch(&[POLICE, TRUST]).await;
    let [to_police, to_trust] = &dispatched["exchanges"].as_array().unwrap()[..] else {
        panic!("{dispatched}")
    };
    let said = async |who: &Agency, exchange: &Value, roles: Option<Value>| {
        let mut body = case::partial(exchange["message"].as_str().unwrap());
        if let Some(roles) = roles {
            body["visibleTo"] = roles;
        }
        let accepted = who.post(&case::path(exchange, "responses"), &body).await.ok(202);
        format!("/v1/messages/{}", accepted["message"].as_str().unwrap())
    };
    let from_police = said(&police, to_police, None).await;
    let from_trust = said(&trust, to_trust, None).await;
    let for_representative =
        said(&police, to_police, Some(json!(["mash-health-representative"]))).await;

    let representative = gateway.desk(HUB, Role::HealthRepresentative);
    let problem = representative.get(&from_police).await.problem(403, "role-not-permitted");
    assert_eq!(
        problem["detail"],
        "Its sender shows this to the MASH Team Manager or the social worker only."
    );
    for path in [&from_trust, &for_representative] {
        assert_eq!(representative.get(path).await.status, 200);
    }
    for role in [Role::TeamManager, Role::SocialWorker] {
        let reader = gateway.desk(HUB, role);
        let document = reader.get_json(&from_police).await;
        assert_eq!(document["visibleto"], "mash-team-manager social-worker");
        assert_eq!(document["handling"], "not-without-asking-us", "the label stays on it");
        let problem = reader.get(&for_representative).await;
        problem.problem(403, "role-not-permitted");
    }
    // The hub's system shows it to people itself, and has the label to do it by.
    assert_eq!(hub.get_json(&from_police).await["visibleto"], "mash-team-manager social-worker");
    assert_eq!(hub.get_json(&from_trust).await.get("visibleto"), None);
    // Whoever may not see it cannot say that it is saved either.
    let saved = format!("{from_police}/saved");
    let answer = representative.request(Method::POST, &saved, &[], Vec::new()).await.unwrap();
    answer.problem(403, "role-not-permitted");
    gateway.stop();
    gateway.verify_log();
}
