//! Delivery over days, in milliseconds: the worker is told the time. The store and the endpoint's silence
//! are real.

use std::net::{Ipv4Addr, TcpListener};

use jiff::{SignedDuration, Timestamp};
use mash_gateway::audit::entry::Fields;
use mash_gateway::message::{MessageId, Target, now};
use mash_gateway::store::DeliveryState;
use serde_json::Value;

use crate::support::authority::TestAuthority;
use crate::support::told::Told;
use crate::support::{HUB, POLICE, TestGateway, case};

/// A gateway whose police have an endpoint at which nobody listens; not running.
fn to_nobody() -> TestGateway {
    let port = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    let endpoint = format!(
        "endpoints = [{{ kind = \"push\", url = \"https://localhost:{port}/in\", \
         ca = \"certs/endpoint.pem\" }}]\n"
    );
    let gateway = TestGateway::made(&case::partners(&[(POLICE, &endpoint)]));
    let authority = TestAuthority::new("Endpoints");
    std::fs::write(gateway.home().join("certs/endpoint.pem"), authority.pem()).unwrap();
    gateway
}

/// An RFI to the police, accepted at `at`.
async fn ask(running: &Told, at: Timestamp) -> MessageId {
    let (key, body) = (uuid::Uuid::new_v4().to_string(), case::dispatch(&[POLICE]).to_string());
    let answer = running.submit(HUB, &key, Target::Rfis, &body, at).await.ok().unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["exchanges"][0]["message"].as_str().unwrap().parse().unwrap()
}

async fn state(running: &Told, id: &MessageId) -> DeliveryState {
    running.store().message(id).await.unwrap().delivery
}

/// The entries about a message, in order: what, and when.
async fn told(running: &Told, id: &MessageId) -> Vec<(String, Timestamp)> {
    let store = running.store();
    let exchange = store.message(id).await.unwrap().envelope.exchange;
    let entries = store.timeline(&exchange, usize::MAX).await.unwrap();
    let fields = entries.iter().map(|entry| Fields::parse(entry.fields.as_ref().unwrap()));
    let about = fields
        .map(Option::unwrap)
        .filter(|fields| fields.get("message").is_some_and(|message| message == id.to_string()));
    about
        .map(|fields| {
            let at = fields.get("time").unwrap().parse().unwrap();
            (fields.get("event").unwrap().to_owned(), at)
        })
        .collect()
}

#[tokio::test]
async fn nobody_there_for_five_days_is_tried_for_five_days_and_then_told() {
    let home = to_nobody();
    let mut running = Told::of(&home.home());
    let begun = now();
    let id = ask(&running, begun).await;
    let after = |hours: i64| begun + SignedDuration::from_hours(hours);
    let mut at = begun;
    let mut has_restarted = false;
    while let Some(next) = running.deliver.round(at).await.ok().unwrap() {
        assert!(next > at, "time goes on");
        assert!(next <= after(122), "it comes to an end");
        assert!(matches!(state(&running, &id).await, DeliveryState::Queued { .. }));
        at = next;
        if !has_restarted && at > after(48) {
            assert!(!running.concerns.all().is_empty(), "an operator can see it");
            running = Told::of(&home.home());
            has_restarted = true;
        }
    }
    assert!(has_restarted);
    assert_eq!(state(&running, &id).await, DeliveryState::Returned);

    let told = told(&running, &id).await;
    let of = |event: &str| -> Vec<Timestamp> {
        told.iter().filter(|(what, _)| what == event).map(|(_, at)| *at).collect()
    };
    let [delayed] = of("delayed")[..] else { panic!("told once that it is late: {told:?}") };
    assert_eq!(delayed, begun + SignedDuration::from_mins(15));
    let [returned] = of("returned")[..] else { panic!("told once that it is returned: {told:?}") };
    assert_eq!(returned, after(120));
    // Full jitter under a ceiling that doubles from 5 s to an hour: of 120 waits of half an hour each,
    // on average 240; the sum of so many is never far from that.
    let attempts = of("attempt-failed");
    assert!((150..400).contains(&attempts.len()), "{}", attempts.len());
    let mut ceiling = SignedDuration::from_secs(5);
    for pair in attempts.windows(2) {
        let wait = pair[1].duration_since(pair[0]);
        assert!(wait <= ceiling.max(SignedDuration::from_secs(1)), "{wait} under {ceiling}");
        ceiling = (ceiling * 2).min(SignedDuration::from_hours(1));
    }
    home.verify_log();
    // What an operator sees, and the sender's notice, are tried from outside in `delivery.rs`.
}

#[tokio::test]
async fn a_hundred_that_wait_for_nobody_do_not_cost_a_hundred_attempts_each_round() {
    let home = to_nobody();
    let running = Told::of(&home.home());
    let begun = now();
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(ask(&running, begun).await);
    }
    let mut at = begun;
    let mut attempts = 0;
    while at < begun + SignedDuration::from_mins(14) {
        at = running.deliver.round(at).await.ok().unwrap().expect("they are still queued");
    }
    for id in &waiting {
        let told = told(&running, id).await;
        attempts += told.iter().filter(|(what, _)| what == "attempt-failed").count();
    }
    // One probe at a time, at least every minute; eight in the beginning, before it is known.
    assert!((10..200).contains(&attempts), "{attempts}");
    while at < begun + SignedDuration::from_mins(16) {
        at = running.deliver.round(at).await.ok().unwrap().expect("they are still queued");
    }
    for id in &waiting {
        let told = told(&running, id).await;
        let late = told.iter().filter(|(what, _)| what == "delayed").count();
        assert_eq!(late, 1, "each sender is told, attempted or not: {told:?}");
    }
    home.verify_log();
}
