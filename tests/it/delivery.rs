//! Delivery by push: the right endpoint and no other, each attempt logged, nothing lost whatever the
//! endpoint or a power cut does.

use std::process::{Command, Output};

use mash_gateway::event::content_digest;
use mash_gateway::message::sha256;
use serde_json::{Value, json};

use crate::support::authority::TestAuthority;
use crate::support::endpoint::Endpoint;
use crate::support::{Agency, HUB, POLICE, TRUST, TestGateway, case, eventually, text};

/// A gateway that pushes to the police at `endpoint` and waits for nothing longer than it must; not
/// running yet.
fn pushing(endpoint: &Endpoint, has_mailbox: bool) -> TestGateway {
    let partners = case::partners(&[(POLICE, &endpoint.lines(has_mailbox))]);
    let gateway = TestGateway::made(&partners);
    endpoint.introduce(&gateway.home());
    gateway.configure("# retry_base_s = 5", "retry_base_s = 1");
    gateway.configure("# attempt_timeout_s = 30", "attempt_timeout_s = 3");
    gateway.configure("# lease_s = 60", "lease_s = 4");
    gateway
}

/// The timeline of an exchange as its hub sees it.
async fn timeline(hub: &Agency, exchange: &Value) -> Vec<Value> {
    let path = format!("/v1/exchanges/{}", exchange["exchange"].as_str().unwrap());
    hub.get_json(&path).await["timeline"].as_array().unwrap().clone()
}

/// The timeline's last entry, once it is this event.
async fn last(hub: &Agency, exchange: &Value, event: &str) -> Value {
    eventually(event, async || {
        timeline(hub, exchange).await.last().is_some_and(|last| last["event"] == event)
    })
    .await;
    timeline(hub, exchange).await.pop().unwrap()
}

fn queued(gateway: &TestGateway) -> String {
    let sql = "SELECT count(*) FROM deliveries WHERE state = 'queued'";
    let ran = Command::new("sqlite3").arg(gateway.database()).arg(sql).output().unwrap();
    text(&ran.stdout).trim().to_owned()
}

#[tokio::test]
async fn a_push_is_the_document_with_its_id_its_digest_and_its_attempt() {
    let mut endpoint = Endpoint::reserve();
    let mut gateway = pushing(&endpoint, true);
    endpoint.start(&gateway.home());
    gateway.serve();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.dispatch(&[POLICE, TRUST]).await;
    let asked = &dispatched["exchanges"][0];
    let delivered = last(&hub, asked, "delivered").await;
    assert_eq!((&delivered["attempt"], &delivered["endpoint"]), (&json!(1), &json!(0)));

    let pushed = endpoint.pushed();
    assert_eq!(pushed.len(), 1, "the trust's message went to its mailbox, not here");
    let pushed = &pushed[0];
    assert_eq!(pushed.headers["content-type"], "application/cloudevents+json");
    assert_eq!(pushed.headers["mash-message-id"], asked["message"].as_str().unwrap());
    assert_eq!(pushed.headers["mash-attempt"], "1");
    assert_eq!(pushed.headers["content-digest"], content_digest(&sha256(&pushed.body)).as_str());
    assert_eq!(pushed.document["id"], asked["message"]);
    assert_eq!(pushed.document["to"], POLICE);
    assert_eq!(pushed.document["data"]["persons"][0]["givenName"], "Wrenna");
    // It is the same document that the mailbox gives.
    let message = format!("/v1/messages/{}", asked["message"].as_str().unwrap());
    assert_eq!(police.get(&message).await.body, pushed.body);
    let path = format!("/v1/exchanges/{}", asked["reference"].as_str().unwrap());
    assert_eq!(hub.get_json(&path).await["state"], "received");
    // Delivered is not saved: the agency says that itself.
    police.post(&format!("{message}/saved"), &json!({})).await.ok(200);
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn an_endpoint_that_asks_to_wait_gets_the_same_message_again() {
    let mut endpoint = Endpoint::reserve();
    let mut gateway = pushing(&endpoint, true);
    endpoint.answer_with(&[503, 429, 500]);
    endpoint.start(&gateway.home());
    gateway.serve();
    let hub = gateway.agency(HUB);
    let dispatched = hub.dispatch(&[POLICE]).await;
    let asked = &dispatched["exchanges"][0];
    assert_eq!(last(&hub, asked, "delivered").await["attempt"], 4);
    let attempts: Vec<_> = endpoint
        .pushed()
        .iter()
        .map(|pushed| {
            assert_eq!(pushed.document["id"], asked["message"]);
            pushed.headers["mash-attempt"].to_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(attempts, ["1", "2", "3", "4"]);
    let failed: Vec<_> = timeline(&hub, asked)
        .await
        .into_iter()
        .filter(|entry| entry["event"] == "attempt-failed")
        .map(|entry| {
            assert!(entry["next"].is_string(), "{entry}");
            entry["status"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(failed, [503, 429, 500]);
}

#[tokio::test]
async fn a_refusal_goes_to_the_mailbox_or_back_to_the_sender() {
    for (status, has_mailbox, event) in
        [(410, true, "attempt-failed"), (403, true, "attempt-failed"), (410, false, "returned")]
    {
        let mut endpoint = Endpoint::reserve();
        let mut gateway = pushing(&endpoint, has_mailbox);
        endpoint.answer_with(&[status]);
        endpoint.start(&gateway.home());
        gateway.serve();
        let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
        let dispatched = hub.dispatch(&[POLICE]).await;
        let asked = &dispatched["exchanges"][0];
        let entry = last(&hub, asked, event).await;
        assert_eq!(entry["code"], "refused");
        let waiting = police.get_json("/v1/inbox").await["messages"].as_array().unwrap().len();
        // What was returned to the sender waits for its recipient all the same.
        assert_eq!(waiting, 1);
        let message = format!("/v1/messages/{}", asked["message"].as_str().unwrap());
        assert_eq!(police.get_json(&message).await["id"], asked["message"]);
        assert_eq!(endpoint.pushed().len(), 1, "a refusal is not tried again");
        assert_eq!(queued(&gateway), "0");
    }
}

#[tokio::test]
async fn an_officer_whose_endpoint_does_not_come_back_finds_it_in_the_mailbox() {
    // Redirects are not followed; a server that somebody else vouches for is told nothing.
    for (what, code) in [("redirects", "redirected"), ("impostor", "server-certificate-untrusted")]
    {
        let mut endpoint = Endpoint::reserve();
        let mut gateway = pushing(&endpoint, true);
        gateway.configure("# delayed_after_s = 900", "delayed_after_s = 1");
        if what == "impostor" {
            let other = TestAuthority::new("Somebody else");
            std::fs::write(gateway.home().join("certs/endpoint.pem"), other.pem()).unwrap();
        } else {
            endpoint.answer_with(&[302; 50]);
        }
        endpoint.start(&gateway.home());
        gateway.serve();
        let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
        let dispatched = hub.dispatch(&[POLICE]).await;
        eventually("it is in the mailbox", async || {
            police.get_json("/v1/inbox").await["messages"] != json!([])
        })
        .await;
        let failed = timeline(&hub, &dispatched["exchanges"][0]).await;
        let failed: Vec<_> =
            failed.iter().filter(|entry| entry["event"] == "attempt-failed").collect();
        assert_eq!(failed[0]["code"], code);
        // Moved after a failed attempt, or because it was late and the endpoint known to be silent.
        assert!(failed.iter().all(|entry| entry["code"] == code || entry["code"] == "late"));
        assert_eq!(endpoint.pushed().is_empty(), what == "impostor");
        police.collect_first().await;
    }
}

#[tokio::test]
async fn a_power_cut_between_accepting_and_pushing_loses_nothing() {
    let mut endpoint = Endpoint::reserve();
    let mut gateway = pushing(&endpoint, true);
    gateway.serve();
    let mut messages = Vec::new();
    for _ in 0..5 {
        let dispatched = gateway.agency(HUB).dispatch(&[POLICE]).await;
        messages.push(dispatched["exchanges"][0]["message"].clone());
        gateway.kill();
        gateway.serve();
    }
    assert!(endpoint.pushed().is_empty(), "nothing answered there so far");
    endpoint.start(&gateway.home());
    eventually("all are pushed", async || {
        let pushed = endpoint.pushed();
        messages.iter().all(|message| pushed.iter().any(|one| one.document["id"] == *message))
    })
    .await;
    eventually("and known to be", async || queued(&gateway) == "0").await;
    gateway.stop();
    gateway.verify_log();
}

/// An endpoint that takes a connection and then says nothing holds up nobody else's messages.
#[tokio::test]
async fn a_hung_endpoint_holds_up_no_other() {
    let hung = Endpoint::reserve();
    let mut well = Endpoint::reserve();
    let (police, trust) = (hung.lines(true), well.lines(true));
    let trust = trust.replace("endpoint.pem", "well.pem");
    let mut gateway = TestGateway::made(&case::partners(&[(POLICE, &police), (TRUST, &trust)]));
    gateway.configure("# lease_s = 60", "lease_s = 600");
    gateway.configure("# attempt_timeout_s = 30", "attempt_timeout_s = 300");
    well.introduce(&gateway.home());
    let certs = gateway.home().join("certs");
    std::fs::rename(certs.join("endpoint.pem"), certs.join("well.pem")).unwrap();
    hung.introduce(&gateway.home());
    well.start(&gateway.home());
    gateway.serve();
    let hub = gateway.agency(HUB);
    for _ in 0..3 {
        hub.dispatch(&[POLICE]).await;
    }
    let dispatched = hub.dispatch(&[TRUST]).await;
    last(&hub, &dispatched["exchanges"][0], "delivered").await;
    assert_eq!(queued(&gateway), "3");
}

#[tokio::test]
async fn what_is_collected_while_it_waits_is_not_pushed_any_more() {
    let mut endpoint = Endpoint::reserve();
    let mut gateway = pushing(&endpoint, false);
    gateway.configure("retry_base_s = 1", "retry_base_s = 3600");
    endpoint.answer_with(&[503]);
    endpoint.start(&gateway.home());
    gateway.serve();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.dispatch(&[POLICE]).await;
    let asked = &dispatched["exchanges"][0];
    last(&hub, asked, "attempt-failed").await;
    assert_eq!(queued(&gateway), "1");
    let message = format!("/v1/messages/{}", asked["message"].as_str().unwrap());
    police.get(&message).await.ok(200);
    assert_eq!(queued(&gateway), "0");
    assert_eq!(endpoint.pushed().len(), 1);
}

#[tokio::test]
async fn an_agency_that_was_suspended_meanwhile_is_not_pushed_to() {
    let mut endpoint = Endpoint::reserve();
    let mut gateway = pushing(&endpoint, true);
    endpoint.answer_with(&[503; 3]);
    gateway.serve();
    let hub = gateway.agency(HUB);
    let dispatched = hub.dispatch(&[POLICE]).await;
    let asked = &dispatched["exchanges"][0];
    last(&hub, asked, "attempt-failed").await;
    gateway.stop();
    let path = gateway.home().join("partners.toml");
    let partners = std::fs::read_to_string(&path).unwrap();
    let (before, after) = partners.split_once(&format!("id = \"{POLICE}\"")).unwrap();
    let after = after.replacen("status = \"active\"", "status = \"suspended\"", 1);
    std::fs::write(&path, format!("{before}id = \"{POLICE}\"{after}")).unwrap();
    endpoint.start(&gateway.home());
    gateway.serve();
    let hub = gateway.agency(HUB);
    eventually("it is held", async || {
        let timeline = timeline(&hub, asked).await;
        timeline.last().unwrap()["code"] == "recipient-not-active"
    })
    .await;
    assert!(endpoint.pushed().is_empty());
    assert_eq!(queued(&gateway), "0");
}

/// What the hub sees of an exchange's messages that have not arrived, wherever it is shown.
async fn undelivered(gateway: &TestGateway, asked: &Value) -> Option<String> {
    let hub = gateway.agency(HUB);
    let (id, enquiry) = (&asked["exchange"], asked["enquiry"].as_str().unwrap());
    let shown = hub.get_json(&format!("/v1/exchanges/{}", id.as_str().unwrap())).await;
    let all = hub.get_json("/v1/exchanges").await["exchanges"].clone();
    let board = hub.get_json("/v1/enquiries").await["enquiries"][0]["exchanges"].clone();
    let one = hub.get_json(&format!("/v1/enquiries/{enquiry}")).await["exchanges"].clone();
    for list in [all, board, one] {
        let found = list.as_array().unwrap().iter().find(|one| one["id"] == *id).unwrap().clone();
        // What happens between two of these questions is asked again.
        if found["undelivered"] != shown["undelivered"] {
            return Some("changing".to_owned());
        }
    }
    shown["undelivered"].as_str().map(str::to_owned)
}

fn status(gateway: &TestGateway) -> String {
    let file = |name: &str| gateway.agencies().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (file(&format!("{HUB}.pem")), file(&format!("{HUB}.key")));
    let at = ["--gateway", &gateway.url, "--cert", &cert, "--key", &key, "--ca", &file("ca.pem")];
    let ran = gateway.run(&[&["rfi", "status"], &at[..]].concat());
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    text(&ran.stdout)
}

#[tokio::test]
async fn a_board_shows_what_is_late_and_what_was_returned_until_it_arrives() {
    let mut endpoint = Endpoint::reserve();
    let mut gateway = pushing(&endpoint, false);
    gateway.configure("# delayed_after_s = 900", "delayed_after_s = 1");
    endpoint.answer_with(&[503, 503, 410]);
    gateway.serve();
    let dispatched = gateway.agency(HUB).dispatch(&[POLICE, TRUST]).await;
    let of = |at: usize| {
        let mut asked = dispatched["exchanges"][at].clone();
        asked["enquiry"] = dispatched["enquiry"].clone();
        asked
    };
    let (asked, other) = (of(0), of(1));
    let is = async |wanted: Option<&str>| undelivered(&gateway, &asked).await.as_deref() == wanted;
    // Nothing answers there yet.
    eventually("it is late", async || is(Some("delayed")).await).await;
    assert!(status(&gateway).contains("DELAYED"), "{}", status(&gateway));
    endpoint.start(&gateway.home());
    eventually("it is refused", async || is(Some("returned")).await).await;
    assert!(status(&gateway).contains("RETURNED"), "{}", status(&gateway));
    assert_eq!(undelivered(&gateway, &other).await, None, "the other one waits in its mailbox");
    let again = dead_letter(&gateway, &["retry", "--agency", POLICE]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    eventually("it has arrived", async || is(None).await).await;
    last(&gateway.agency(HUB), &asked, "delivered").await;
    let status = status(&gateway);
    assert!(!status.contains("DELAYED") && !status.contains("RETURNED"), "{status}");
    gateway.stop();
    gateway.verify_log();
}

fn dead_letter(gateway: &TestGateway, arguments: &[&str]) -> Output {
    gateway.run(&[&["dead-letter"], arguments].concat())
}

#[track_caller]
fn refused(ran: &Output, code: i32, saying: &str) {
    let said = text(&ran.stdout) + &text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(code), "{said}");
    assert!(said.contains(saying), "{saying}: {said}");
}

#[tokio::test]
async fn what_was_returned_is_proved_to_its_sender_and_can_be_delivered_again() {
    let mut endpoint = Endpoint::reserve();
    let mut gateway = pushing(&endpoint, false);
    endpoint.answer_with(&[410]);
    endpoint.start(&gateway.home());
    gateway.serve();
    let (hub, police, trust) = (gateway.agency(HUB), gateway.agency(POLICE), gateway.agency(TRUST));
    let dispatched = hub.dispatch(&[POLICE, TRUST]).await;
    let asked = &dispatched["exchanges"][0];
    assert_eq!(last(&hub, asked, "returned").await["fault"], "refused");
    let id = asked["message"].as_str().unwrap();
    let path = format!("/v1/messages/{id}/non-delivery");

    // For its sender, who can check it with nothing but the log's key; and for nobody else.
    let notice = hub.get(&path).await;
    assert_eq!(notice.status, 200, "{}", notice.text());
    let file = gateway.folder().join("non-delivery.txt");
    std::fs::write(&file, notice.text()).unwrap();
    let checked = gateway.run(&["receipt", "verify", file.to_str().unwrap()]);
    let said = text(&checked.stdout);
    assert!(checked.status.success(), "{said}{}", text(&checked.stderr));
    assert!(said.contains("gave up delivering") && said.contains(id), "{said}");
    assert!(!said.contains("accepted"), "it says no more than happened: {said}");
    // It cannot be passed off as the acceptance.
    let passed_off = dispatched
        .to_string()
        .replace(&json!(asked["receipt"]).to_string(), &json!(notice.text()).to_string());
    std::fs::write(&file, passed_off).unwrap();
    let checked = gateway.run(&["receipt", "verify", file.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(3), "{}", text(&checked.stdout));
    for other in [&police, &trust] {
        other.get(&path).await.problem(404, "not-found");
    }
    let on_its_way = dispatched["exchanges"][1]["message"].as_str().unwrap();
    hub.get(&format!("/v1/messages/{on_its_way}/non-delivery")).await.problem(404, "not-found");

    let listed: Value =
        serde_json::from_slice(&dead_letter(&gateway, &["list", "--json"]).stdout).unwrap();
    let [one] = &listed["messages"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&one["message"], &one["recipient"]), (&json!(id), &json!(POLICE)));
    let none = dead_letter(&gateway, &["list", "--agency", TRUST]);
    assert_eq!(text(&none.stdout).trim(), "nothing was returned");

    let again = dead_letter(&gateway, &["retry", "--agency", POLICE]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(last(&hub, asked, "delivered").await["message"], *id);
    let ids: Vec<_> = endpoint.pushed().iter().map(|one| one.document["id"].clone()).collect();
    assert_eq!(ids, [json!(id), json!(id)], "under the same id");
    hub.get(&path).await.problem(404, "not-found");
    refused(&dead_letter(&gateway, &["retry", id]), 1, "it was not returned: it is delivered");
    let none = dead_letter(&gateway, &["retry", "--all"]);
    assert!(none.status.success() && text(&none.stdout).contains("nothing was returned"));
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn an_operator_gives_up_what_is_still_tried_and_the_sender_is_told_why() {
    let endpoint = Endpoint::reserve();
    let mut gateway = pushing(&endpoint, false);
    // Nobody pushes meanwhile.
    let dispatched = {
        gateway.serve();
        gateway.agency(HUB).dispatch(&[POLICE, TRUST]).await
    };
    let asked = &dispatched["exchanges"][0];
    let id = asked["message"].as_str().unwrap();
    let give_up = |id: &str, reason: &str, confirm: &str| {
        dead_letter(&gateway, &["return", id, "--reason", reason, "--confirm", confirm])
    };
    refused(&give_up(id, "no-reason", POLICE), 2, "wrong-recipient");
    refused(&give_up(id, "wrong-recipient", TRUST), 2, "nothing was returned");
    let nobody = "01890a5d-ac96-774b-bcce-b302099a8057";
    refused(&give_up(nobody, "wrong-recipient", POLICE), 4, "no such message");
    let held = dispatched["exchanges"][1]["message"].as_str().unwrap();
    refused(&give_up(held, "wrong-recipient", TRUST), 1, "it is held");
    refused(&dead_letter(&gateway, &["retry", nobody]), 4, "no such message");
    refused(&dead_letter(&gateway, &["retry"]), 2, "--all");
    // While an attempt is under way it may yet be taken: then it is not given up.
    eventually("it is given up", async || {
        let done = give_up(id, "wrong-recipient", POLICE);
        assert!(matches!(done.status.code(), Some(0 | 1)), "{}", text(&done.stderr));
        done.status.success()
    })
    .await;
    let hub = gateway.agency(HUB);
    let returned = last(&hub, asked, "returned").await;
    assert_eq!(
        (&returned["code"], &returned["fault"]),
        (&json!("wrong-recipient"), &json!("operator"))
    );
    refused(&give_up(id, "wrong-recipient", POLICE), 1, "it is returned");
    assert_eq!(hub.get(&format!("/v1/messages/{id}/non-delivery")).await.status, 200);

    // To an agency that is suspended nothing goes again.
    let suspended = gateway.run(&["partner", "suspend", POLICE, "--confirm", POLICE]);
    assert!(suspended.status.success(), "{}", text(&suspended.stderr));
    refused(&dead_letter(&gateway, &["retry", id]), 1, "is not active");
    gateway.stop();
    gateway.verify_log();
}
