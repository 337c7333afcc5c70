//! Everything else that is said in an exchange: questions, calls, what is written down, what is taken back,
//! what may be told on and what may be released; each from either side, in time and out of it.

use jiff::{SignedDuration, Timestamp};
use mash_gateway::message::{Kind, Target, now, rfc3339};
use serde_json::{Value, json};

use crate::support::told::Told;
use crate::support::{Agency, HUB, POLICE, SURGERY, TRUST, TestGateway, case};

/// An RFI to this agency, as the 202 names its exchange.
async fn asked(gateway: &TestGateway, agency: &str) -> Value {
    gateway.agency(HUB).dispatch(&[agency]).await["exchanges"][0].clone()
}

async fn say(who: &Agency, asked: &Value, kind: Kind) -> Value {
    let body = case::said(kind, asked["message"].as_str().unwrap());
    who.post(&case::path(asked, kind.path().unwrap()), &body).await.ok(202)
}

async fn refused(who: &Agency, asked: &Value, kind: Kind, code: &str) {
    let body = case::said(kind, asked["message"].as_str().unwrap());
    who.post(&case::path(asked, kind.path().unwrap()), &body).await.problem(409, code);
}

/// How the exchange stands, as its parties see it.
async fn stands(who: &Agency, asked: &Value) -> Value {
    who.get_json(&format!("/v1/exchanges/{}", asked["exchange"].as_str().unwrap())).await
}

/// What is due of it, in order.
fn due(exchange: &Value) -> Vec<(&str, &str)> {
    let all = exchange["due"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|due| (due["timer"].as_str().unwrap(), due["owner"].as_str().unwrap())).collect()
}

/// Collects a message and says that it is saved.
async fn save(who: &Agency, accepted: &Value) {
    let id = accepted["message"].as_str().unwrap();
    assert_eq!(who.get(&format!("/v1/messages/{id}")).await.status, 200);
    let saved = format!("/v1/messages/{id}/saved");
    who.request(hyper::Method::POST, &saved, &[], Vec::new()).await.unwrap().ok(200);
}

#[tokio::test]
async fn an_urgent_request_is_rung_about_and_what_was_said_by_telephone_is_written_down() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let asked = asked(&gateway, POLICE).await;
    // Eight hours are less than 24 working hours by any clock.
    let exchange = stands(&hub, &asked).await;
    assert_eq!(due(&exchange), [("telephone", "hub"), ("reply", "agency")]);
    assert_eq!(exchange["due"][0]["grade"], "overdue", "it is due at once");

    say(&hub, &asked, Kind::TelephoneContact).await;
    let exchange = stands(&police, &asked).await;
    assert_eq!(due(&exchange), [("reply", "agency")]);
    assert!(exchange["telephonedAt"].is_string());

    // Nobody but the hub rings, and nobody but the hub writes down for another.
    for kind in [Kind::TelephoneContact, Kind::Transcription, Kind::Cancellation] {
        let body = case::said(kind, asked["message"].as_str().unwrap());
        let path = case::path(&asked, kind.path().unwrap());
        police.post(&path, &body).await.problem(403, "wrong-party");
    }

    let written = say(&hub, &asked, Kind::Transcription).await;
    let exchange = stands(&hub, &asked).await;
    assert_eq!(
        (&exchange["state"], &exchange["result"]),
        (&json!("completed"), &json!("complete"))
    );
    assert!(exchange["transcribedAt"].is_string());
    assert_eq!(exchange.get("answeredAt"), None, "the agency itself has not answered");
    assert_eq!(due(&exchange), [("outcome", "hub")]);
    refused(&hub, &asked, Kind::Transcription, "already-answered").await;
    // It is the hub's word, and the agency is sent it to check.
    let message = written["message"].as_str().unwrap();
    let document = police.get_json(&format!("/v1/messages/{message}")).await;
    assert_eq!(document["source"], format!("spiffe://{}/agency/{HUB}", crate::support::DOMAIN));
    assert_eq!(document["type"], "org.mash.transcription.v1");
    assert_eq!(document["handling"], "not-without-asking-us");
    // Its own answer still counts, once.
    say(&police, &asked, Kind::Response).await;
    assert!(stands(&hub, &asked).await["answeredAt"].is_string());
    refused(&police, &asked, Kind::Response, "already-answered").await;
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn either_side_asks_and_is_answered_in_the_exchange_it_is_about() {
    let mut gateway = TestGateway::start();
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    let (asked, other) = (asked(&gateway, TRUST).await, asked(&gateway, SURGERY).await);
    let path = case::path(&asked, "clarifications");
    let question = say(&trust, &asked, Kind::Clarification).await;
    // It is silence still: nothing was answered. But somebody should look.
    let exchange = stands(&hub, &asked).await;
    assert_eq!(
        (&exchange["silence"], &exchange["needsAttention"]),
        (&json!("not-collected"), &json!(true))
    );

    let actor = json!({ "name": "Oswin Quillfeather", "jobTitle": "Health Representative" });
    let answer =
        |about: &Value| json!({ "inReplyTo": about, "from": actor, "answer": "Yes, it does." });
    hub.post(&path, &answer(&question["message"])).await.ok(202);
    // Not about a message of another exchange, nor about none; and the two are told alike.
    for about in [other["message"].clone(), json!("01890a5d-ac96-774b-bcce-b302099a8057")] {
        let problem = hub.post(&path, &answer(&about)).await.problem(422, "schema");
        assert_eq!(problem["errors"][0]["code"], "not-in-this-exchange");
    }
    let mut wrong = case::said(Kind::Clarification, asked["message"].as_str().unwrap());
    wrong["category"] = json!("cse-cce");
    let problem = trust.post(&path, &wrong).await.problem(422, "schema");
    assert_eq!(problem["errors"][0]["pointer"], "/category");

    save(&hub, &question).await;
    assert_eq!(stands(&hub, &asked).await.get("needsAttention"), None);
    // What the hub says asks for nobody's attention.
    assert_eq!(stands(&hub, &other).await.get("needsAttention"), None);
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn what_crosses_a_cancellation_is_taken_and_seen() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let (crossed, answered) = (asked(&gateway, POLICE).await, asked(&gateway, POLICE).await);
    say(&police, &crossed, Kind::Acknowledgement).await;
    say(&hub, &crossed, Kind::Cancellation).await;
    let exchange = stands(&police, &crossed).await;
    assert_eq!((&exchange["state"], exchange.get("silence")), (&json!("cancelled"), None));
    assert!(exchange["cancelledAt"].is_string());
    assert_eq!(exchange["isOverdue"], false);
    assert_eq!(due(&exchange), []);
    refused(&hub, &crossed, Kind::Cancellation, "already-cancelled").await;
    refused(&police, &crossed, Kind::Acknowledgement, "already-cancelled").await;

    let answer = say(&police, &crossed, Kind::Response).await;
    let exchange = stands(&hub, &crossed).await;
    assert_eq!(
        (&exchange["state"], &exchange["needsAttention"]),
        (&json!("completed"), &json!(true))
    );
    save(&hub, &answer).await;
    assert_eq!(stands(&hub, &crossed).await.get("needsAttention"), None);

    // What is answered needs no cancelling.
    say(&police, &answered, Kind::Response).await;
    refused(&hub, &answered, Kind::Cancellation, "already-answered").await;
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn what_the_family_may_be_told_is_said_again_by_whose_it_is() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let asked = asked(&gateway, POLICE).await;
    refused(&police, &asked, Kind::OnwardDisclosure, "not-yet-answered").await;
    say(&police, &asked, Kind::Response).await;
    let confirmed = say(&police, &asked, Kind::OnwardDisclosure).await;
    let message = confirmed["message"].as_str().unwrap();
    let document = hub.get_json(&format!("/v1/messages/{message}")).await;
    // The label travels outside the payload, as that of the answer does.
    assert_eq!(document["handling"], "family-may-be-told-part");
    assert_eq!(stands(&hub, &asked).await["needsAttention"], true);
    let body = case::said(Kind::OnwardDisclosure, asked["message"].as_str().unwrap());
    hub.post(&case::path(&asked, "onward-disclosures"), &body).await.problem(403, "wrong-party");
    // Also after the outcome, and as often as it changes.
    say(&hub, &asked, Kind::Outcome).await;
    say(&police, &asked, Kind::OnwardDisclosure).await;
    // So is new information (R85).
    let supplement = say(&police, &asked, Kind::Supplement).await;
    for said in [&confirmed, &supplement] {
        save(&hub, said).await;
        assert_eq!(stands(&hub, &asked).await["needsAttention"], true, "one is still not saved");
    }
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn nothing_is_released_before_whose_it_is_was_asked() {
    let mut gateway = TestGateway::start();
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    let asked = asked(&gateway, TRUST).await;
    let (asks, says) = (Kind::SubjectAccessConsultation, Kind::SubjectAccessView);
    refused(&hub, &asked, asks, "not-yet-answered").await;
    say(&trust, &asked, Kind::Response).await;
    refused(&trust, &asked, says, "not-consulted").await;
    say(&hub, &asked, asks).await;
    let exchange = stands(&trust, &asked).await;
    assert!(exchange["consultedAt"].is_string() && exchange.get("viewedAt").is_none());
    assert!(due(&exchange).contains(&("subject-access-view", "agency")));
    say(&trust, &asked, says).await;
    assert!(stands(&hub, &asked).await["viewedAt"].is_string());
    // Once; and anew when it is asked anew.
    refused(&trust, &asked, says, "not-consulted").await;
    say(&hub, &asked, asks).await;
    say(&trust, &asked, says).await;
    gateway.stop();
    gateway.verify_log();
}

/// The clocks of an enquiry, over days: what is due, for whom, and when it is late.
#[tokio::test]
async fn what_is_due_is_seen_on_the_right_working_day() {
    let home = TestGateway::made(&case::partners(&[]));
    let running = Told::of(&home.home());
    // Time enough, whatever holidays are ahead.
    let begun = now();
    let mut body = case::dispatch(&[SURGERY]);
    body["rfi"]["responseRequiredBy"] = json!(rfc3339(begun + SignedDuration::from_hours(24 * 30)));
    let key = || uuid::Uuid::new_v4().to_string();
    let answer = running.submit(HUB, &key(), Target::Rfis, &body.to_string(), begun).await;
    let answer: Value = serde_json::from_str(&answer.ok().unwrap()).unwrap();
    let text = |name: &str| answer["exchanges"][0][name].as_str().unwrap();
    let id = text("exchange").parse().unwrap();
    let due = async |at: Timestamp| {
        let exchange = running.store().exchange(&id).await.unwrap();
        let due = running.gateway.timers().due(&exchange, at);
        due.into_iter()
            .map(|due| (due.timer.as_str(), due.at, due.grade.as_str()))
            .collect::<Vec<_>>()
    };
    let work = running.gateway.timers().working_time.clone();
    let required_by: Timestamp =
        body["rfi"]["responseRequiredBy"].as_str().unwrap().parse().unwrap();
    assert_eq!(due(begun).await, [("reply", required_by, "running")]);
    let late = required_by + SignedDuration::from_secs(1);
    assert_eq!(due(late).await, [("reply", required_by, "overdue")]);

    let reply = case::response(text("message")).to_string();
    let target = |kind| Target::Exchange(id, kind);
    running.submit(SURGERY, &key(), target(Kind::Response), &reply, late).await.ok().unwrap();
    let backstop = work.days_after(late, 10);
    assert_eq!(due(late).await, [("outcome", backstop, "running")]);
    let outcome = case::outcome_of("no-further-action-threshold-not-met");
    let decided: Timestamp = outcome["decidedAt"].as_str().unwrap().parse().unwrap();
    let outcome = outcome.to_string();
    running.submit(HUB, &key(), target(Kind::Outcome), &outcome, late).await.ok().unwrap();
    // The agency is told; whoever referred the child still has to be.
    let referrer = work.days_after(decided, 1);
    assert_eq!(
        due(decided).await.first().map(|due| (due.0, due.1)),
        Some(("referrer-told", referrer))
    );
    assert_eq!(due(referrer).await, [("referrer-told", referrer, "overdue")]);
    running.end().await;
    let (store, log) = crate::support::told::store(&home.home());
    crate::support::told::verify(&store, &log).await.unwrap();
}
