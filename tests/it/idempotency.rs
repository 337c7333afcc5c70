//! A submission that is sent again, however soon or late and whatever happened in between, gets its first
//! answer to the byte and does nothing more.

use std::collections::HashMap;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use mash_gateway::message::{ExchangeId, Kind, Target, now};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use crate::support::told::{self, Told};
use crate::support::{Agency, HUB, POLICE, SURGERY, TRUST, TestGateway, case, eventually, text};

const KEY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const OTHER_KEY: &str = "01890a5d-ac96-774b-bcce-b302099a9058";

async fn count(agency: &Agency, list: &str) -> usize {
    agency.get_json(&format!("/v1/{list}")).await[match list {
        "inbox" => "messages",
        other => other,
    }]
    .as_array()
    .unwrap()
    .len()
}

/// That the first answer is given again, that another body is refused, and that there is one message.
async fn is_remembered(gateway: &TestGateway, body: &str, first: &str, when: &str) {
    let hub = gateway.agency(HUB);
    let again = hub.post_bytes("/v1/rfis", KEY, body).await;
    assert_eq!((again.status, again.text()), (202, first), "{when}");
    let other = case::dispatch(&[TRUST]).to_string();
    hub.post_bytes("/v1/rfis", KEY, other).await.problem(409, "idempotency-key-reused");
    assert_eq!(count(&hub, "exchanges").await, 1, "{when}");
    assert_eq!(count(&gateway.agency(POLICE), "inbox").await, 1, "{when}");
    assert_eq!(count(&gateway.agency(TRUST), "inbox").await, 0, "{when}");
}

#[tokio::test]
async fn the_first_answer_is_given_again_at_once_after_a_restart_and_after_a_restore() {
    let mut gateway = TestGateway::start();
    let body = case::dispatch(&[POLICE]).to_string();
    let first = gateway.agency(HUB).post_bytes("/v1/rfis", KEY, body.clone()).await;
    assert_eq!(first.status, 202);
    let first = first.text();
    is_remembered(&gateway, &body, first, "at once").await;
    gateway.restart();
    is_remembered(&gateway, &body, first, "after a restart").await;
    gateway.kill();
    gateway.serve();
    is_remembered(&gateway, &body, first, "after a power cut").await;

    // Stopped before it is copied: the anchor knows of the stop, too.
    gateway.stop();
    let backup = gateway.folder().join("backup");
    let run = |arguments: &[&str]| {
        let ran = gateway.run(&[&["store"], arguments].concat());
        assert!(ran.status.success(), "{}", text(&ran.stderr));
    };
    run(&["backup", backup.to_str().unwrap()]);
    std::fs::remove_file(gateway.database()).unwrap();
    let kept = gateway.folder().join("first.json");
    std::fs::write(&kept, first).unwrap();
    run(&["restore", backup.to_str().unwrap(), "--since", kept.to_str().unwrap()]);
    gateway.serve();
    is_remembered(&gateway, &body, first, "after a restore").await;
    gateway.stop();
    gateway.verify_log();
}

/// The whole of it by another clock: the gateway, and the agency that asks it for the first time.
#[tokio::test]
async fn the_first_answer_is_given_again_a_month_later() {
    let mut gateway = TestGateway::made_long_ago(&case::partners(&[]), AGO);
    gateway.set_clock(Some(AGO));
    gateway.serve();
    let body = {
        let mut body = case::dispatch(&[POLICE]);
        for name in ["dateOfRequest", "responseRequiredBy"] {
            body["rfi"][name] =
                json!(case::hours(if name == "dateOfRequest" { -1 } else { 8 } - 31 * 24));
        }
        body["rfi"]["enquiryAuthorisation"]["at"] = json!(case::hours(-2 - 31 * 24));
        body.to_string()
    };
    std::fs::write(gateway.folder().join("body.json"), &body).unwrap();
    let posted = Command::new("faketime")
        .args(["-f", AGO, "curl", "--silent", "--show-error", "--max-time", "60"])
        .args(["--cacert", "agencies/ca.pem"])
        .args(["--cert", &format!("agencies/{HUB}.pem"), "--key", &format!("agencies/{HUB}.key")])
        .args(["--header", "content-type: application/json"])
        .args(["--header", &format!("idempotency-key: {KEY}"), "--data-binary", "@body.json"])
        .arg(format!("{}/v1/rfis", gateway.url))
        .current_dir(gateway.folder())
        .output()
        .unwrap();
    assert!(posted.status.success(), "{}", text(&posted.stderr));
    let first = text(&posted.stdout);
    let answer: Value = serde_json::from_str(&first).unwrap();
    assert!(answer["exchanges"][0]["receipt"].is_string(), "{answer}");
    gateway.stop();
    gateway.set_clock(None);
    gateway.serve();
    // Its revocation lists ended weeks ago: it lets somebody in when it has signed new ones.
    eventually("new lists", async || {
        let hub = gateway.agency(HUB);
        hub.request(hyper::Method::GET, "/v1/whoami", &[], Vec::new()).await.is_ok()
    })
    .await;
    is_remembered(&gateway, &body, &first, "a month later").await;
    gateway.verify_log();
}

const AGO: &str = "-31d";

/// The clock is the gateway's own here: it is told the time, from a second to more than a year.
#[tokio::test]
async fn the_first_answer_is_given_again_however_much_later() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let mut home = told::copy(&gateway.home());
    let running = Told::of(home.path());
    let begun = now();
    let dispatch = case::dispatch(&[TRUST]).to_string();
    let first = running.submit(HUB, KEY, Target::Rfis, &dispatch, begun).await.ok().unwrap();
    let answer: Value = serde_json::from_str(&first).unwrap();
    let row = &answer["exchanges"][0];
    let exchange: ExchangeId = row["exchange"].as_str().unwrap().parse().unwrap();
    let reply = Target::Exchange(exchange, Kind::Response);
    let response = case::response(row["message"].as_str().unwrap()).to_string();
    let replied = running.submit(TRUST, KEY, reply.clone(), &response, begun).await.ok().unwrap();
    running.end().await;

    let later = [
        ("1 s", SignedDuration::from_secs(1)),
        ("11 min", SignedDuration::from_mins(11)),
        ("25 h", SignedDuration::from_hours(25)),
        ("31 d", SignedDuration::from_hours(31 * 24)),
        ("400 d", SignedDuration::from_hours(400 * 24)),
    ];
    for (when, after) in later {
        // Each time in another copy, by a gateway that was just started: nothing is remembered but what
        // the file remembers.
        home = told::copy(home.path());
        let running = Told::of(home.path());
        let at = begun + after;
        let submit =
            async |sender: &str, target: &Target, body: &str| -> Result<String, &'static str> {
                let answered = running.submit(sender, KEY, target.clone(), body, at).await;
                answered.map_err(|problem| problem.kind.facts().code)
            };
        // The deadline in it is long over, and it has been answered since.
        assert_eq!(submit(HUB, &Target::Rfis, &dispatch).await.as_ref(), Ok(&first), "{when}");
        assert_eq!(submit(TRUST, &reply, &response).await.as_ref(), Ok(&replied), "{when}");
        let reused = Err("idempotency-key-reused");
        let other = case::dispatch(&[SURGERY]).to_string();
        assert_eq!(submit(HUB, &Target::Rfis, &other).await, reused, "{when}");
        let spaced = format!("{response} ");
        assert_eq!(submit(TRUST, &reply, &spaced).await, reused, "{when}: another byte");
        // Nonsense under a key that was used is the key's fault first.
        assert_eq!(submit(TRUST, &reply, "{").await, reused, "{when}");
        assert_eq!(running.store().message_digests(0, u64::MAX >> 1).await.unwrap().len(), 2);
        told::verify(running.store(), running.gateway.log()).await.unwrap();
        running.end().await;
    }
}

#[tokio::test]
async fn what_is_sent_eight_times_at_once_is_accepted_once() {
    let gateway = TestGateway::start();
    for round in 0..4 {
        let key = uuid::Uuid::new_v4().to_string();
        // Every other round two different submissions fight over one key.
        let body = case::dispatch(&[POLICE]).to_string();
        let other =
            if round % 2 == 0 { body.clone() } else { case::dispatch(&[TRUST]).to_string() };
        let bodies = [body, other];
        let before = count(&gateway.agency(HUB), "exchanges").await;
        let posts: Vec<_> = (0..8)
            .map(|i| {
                // Each over a connection of its own.
                let (hub, key, body) = (gateway.agency(HUB), key.clone(), bodies[i % 2].clone());
                tokio::spawn(async move {
                    let answer = hub.post_bytes("/v1/rfis", &key, body.clone()).await;
                    (body, answer)
                })
            })
            .collect();
        let mut accepted = HashMap::new();
        for post in posts {
            let (body, answer) = post.await.unwrap();
            if answer.status == 202 {
                let first = accepted.entry(body).or_insert_with(|| answer.text().to_owned());
                assert_eq!(first, answer.text());
            } else {
                answer.problem(409, "idempotency-key-reused");
                assert!(round % 2 == 1, "nobody is refused what was accepted");
            }
        }
        assert_eq!(accepted.len(), 1, "one submission has the key");
        assert_eq!(count(&gateway.agency(HUB), "exchanges").await, before + 1);
    }
    gateway.verify_log();
}

#[tokio::test]
async fn a_key_is_its_senders_own_and_for_one_path() {
    let gateway = TestGateway::start();
    let (hub, police, trust) = (gateway.agency(HUB), gateway.agency(POLICE), gateway.agency(TRUST));
    let dispatched = hub.post_bytes("/v1/rfis", KEY, case::dispatch(&[POLICE, TRUST]).to_string());
    let dispatched = dispatched.await.ok(202);
    let [to_police, to_trust] = [0, 1].map(|i| &dispatched["exchanges"][i]);
    let id = |row: &Value| row["message"].as_str().unwrap().to_owned();
    // Three agencies, one key: three submissions.
    for (agency, row) in [(&police, to_police), (&trust, to_trust)] {
        let body = case::response(&id(row)).to_string();
        agency.post_bytes(&case::path(row, "responses"), KEY, body).await.ok(202);
    }
    assert_eq!(count(&hub, "inbox").await, 2);

    // On another path it is another submission, whatever the body.
    let outcome = case::outcome().to_string();
    let path = case::path(to_police, "outcomes");
    hub.post_bytes(&path, KEY, outcome.clone()).await.problem(409, "idempotency-key-reused");
    let path = case::path(to_police, "supplements");
    let supplement = case::supplement(&id(to_police)).to_string();
    police.post_bytes(&path, KEY, supplement).await.problem(409, "idempotency-key-reused");
    // And in another exchange.
    let first =
        hub.post_bytes(&case::path(to_police, "outcomes"), OTHER_KEY, outcome.clone()).await;
    assert_eq!(first.status, 202);
    let other = hub.post_bytes(&case::path(to_trust, "outcomes"), OTHER_KEY, outcome.clone()).await;
    other.problem(409, "idempotency-key-reused");
    // A path that names the same exchange by its reference is the same path.
    let path = format!("/v1/exchanges/{}/outcomes", to_police["reference"].as_str().unwrap());
    let again = hub.post_bytes(&path, OTHER_KEY, outcome).await;
    assert_eq!(again.text(), first.text());
}

#[tokio::test]
async fn a_refusal_is_not_remembered_and_an_acceptance_is() {
    let gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    let mut wrong = case::dispatch(&[POLICE]);
    wrong["rfi"]["priority"] = json!("whenever");
    let refused = hub.post_bytes("/v1/rfis", KEY, wrong.to_string()).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    hub.post_bytes("/v1/rfis", KEY, "{").await.problem(400, "not-json");
    // Put right under the same key, it is taken.
    let right = case::dispatch(&[POLICE]).to_string();
    let first = hub.post_bytes("/v1/rfis", KEY, right.clone()).await;
    assert_eq!(first.status, 202, "{}", first.text());
    // From then on the key is that submission's.
    for body in [wrong.to_string(), "{".to_owned()] {
        hub.post_bytes("/v1/rfis", KEY, body).await.problem(409, "idempotency-key-reused");
    }
    assert_eq!(hub.post_bytes("/v1/rfis", KEY, right).await.text(), first.text());
    assert_eq!(count(&hub, "exchanges").await, 1);
}

#[tokio::test]
async fn a_key_is_one_uuid_in_whatever_case() {
    let gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    let body = case::dispatch(&[POLICE]).to_string();
    let long = "0".repeat(4_000);
    let braced = format!("{{{KEY}}}");
    let simple = KEY.replace('-', "");
    let two = format!("{KEY}, {KEY}");
    for key in ["", " ", "1", "key", &braced, &simple, &two, &long, &KEY[1..], "\u{a0}"] {
        let refused = hub.post_bytes("/v1/rfis", key, body.clone()).await;
        refused.problem(400, "idempotency-key-missing");
    }
    for keys in [vec![], vec![KEY, KEY], vec![KEY, OTHER_KEY]] {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(keys.into_iter().map(|key| ("idempotency-key", key)));
        let post = hub.request(hyper::Method::POST, "/v1/rfis", &headers, body.clone().into());
        post.await.unwrap().problem(400, "idempotency-key-missing");
    }
    assert_eq!(count(&hub, "exchanges").await, 0);
    let first = hub.post_bytes("/v1/rfis", KEY, body.clone()).await;
    let shouted = hub.post_bytes("/v1/rfis", &KEY.to_ascii_uppercase(), body).await;
    assert_eq!((shouted.status, shouted.text()), (202, first.text()));
    assert_eq!(count(&hub, "exchanges").await, 1);
}

/// Somebody sends something, or the gateway is started again.
#[derive(Clone, Debug)]
enum Step {
    Send { is_hub: bool, key: u8, body: u8 },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let send = (any::<bool>(), 0..4_u8, 0..3_u8);
    let send = send.prop_map(|(is_hub, key, body)| Step::Send { is_hub, key, body });
    prop::collection::vec(prop_oneof![9 => send, 1 => Just(Step::Restart)], 1..24)
}

/// What has to come of such steps: each key has the first body that was accepted under it.
#[test]
fn any_keys_and_bodies_in_any_order_are_as_a_map_has_it() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let mut ready = None;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let begun = now();
    runtime.block_on(async {
        let running = Told::of(&gateway.home());
        let body = case::dispatch(&[TRUST]).to_string();
        let answer = running.submit(HUB, KEY, Target::Rfis, &body, begun).await.ok().unwrap();
        ready = Some(serde_json::from_str::<Value>(&answer).unwrap()["exchanges"][0].clone());
        running.end().await;
    });
    let row = ready.unwrap();
    // Several valid bodies of each sort.
    let [requests, replies] = [false, true].map(|is_reply| {
        [0, 1, 2].map(|spaces| {
            let body = match is_reply {
                false => case::dispatch(&[SURGERY]),
                true => case::partial(row["message"].as_str().unwrap()),
            };
            format!("{body}{}", " ".repeat(spaces))
        })
    });
    let exchange: ExchangeId = row["exchange"].as_str().unwrap().parse().unwrap();
    let (home, requests, replies) = (gateway.home(), &requests, &replies);
    let mut runner =
        TestRunner::new(Config { cases: 32, failure_persistence: None, ..Config::default() });
    let held = runner.run(&steps(), |steps| {
        runtime.block_on(async {
            let home = told::copy(&home);
            let mut running = Told::of(home.path());
            let mut model: HashMap<(bool, u8), (u8, String)> = HashMap::new();
            for (time, step) in steps.into_iter().enumerate() {
                let Step::Send { is_hub, key, body } = step else {
                    running.end().await;
                    running = Told::of(home.path());
                    continue;
                };
                let at: Timestamp = begun + SignedDuration::from_secs(time as i64);
                let text = format!("01890a5d-ac96-774b-bcce-{key:012}");
                let answered = if is_hub {
                    let body = &requests[usize::from(body)];
                    running.submit(HUB, &text, Target::Rfis, body, at).await
                } else {
                    let target = Target::Exchange(exchange, Kind::Response);
                    running.submit(TRUST, &text, target, &replies[usize::from(body)], at).await
                };
                match (model.get(&(is_hub, key)), answered) {
                    (None, Ok(answer)) => {
                        model.insert((is_hub, key), (body, answer));
                    }
                    (Some((first, answer)), Ok(again)) => {
                        prop_assert_eq!(*first, body, "another body was accepted");
                        prop_assert_eq!(answer, &again);
                    }
                    (Some((first, _)), Err(problem)) => {
                        prop_assert_ne!(*first, body, "what was accepted is refused");
                        prop_assert_eq!(problem.kind.facts().code, "idempotency-key-reused");
                    }
                    (None, Err(problem)) => {
                        return Err(TestCaseError::fail(problem.detail));
                    }
                }
            }
            let messages = running.store().message_digests(0, u64::MAX >> 1).await.unwrap();
            prop_assert_eq!(messages.len(), model.len() + 1);
            running.end().await;
            Ok(())
        })
    });
    held.unwrap();
}
