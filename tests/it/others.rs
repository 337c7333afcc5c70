//! What is another's does not exist: whoever is no party gets the same bytes for what is there as for
//! what is not, by every route of the description that takes an id.

use std::collections::BTreeMap;

use hyper::Method;
use mash_gateway::message::{EnquiryId, ExchangeId, MessageId, Reference, now};
use serde_json::Value;

use crate::support::endpoint::Endpoint;
use crate::support::{
    Agency, HUB, POLICE, SUSPENDED, TRUST, TestGateway, case, eventually, openapi,
};

/// What can be named in a path.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Thing {
    Enquiry,
    Exchange,
    /// An exchange, by the name people read to one another.
    Reference,
    /// From the hub to the police.
    Asked,
    /// From the police to the hub.
    Said,
}

/// What an operation takes, and to whom that is more than nothing. A route without a row fails.
fn row(operation: &str) -> &'static [(Thing, &'static [&'static str])] {
    const PARTIES: &[&str] = &[HUB, POLICE];
    match operation {
        "getEnquiry" | "recordReferrerContact" => &[(Thing::Enquiry, &[HUB])],
        "acknowledge"
        | "answerTest"
        | "cancel"
        | "clarify"
        | "reportIncident"
        | "confirmDisclosure"
        | "consultOnSubjectAccess"
        | "forwardAnswer"
        | "getExchange"
        | "giveSubjectAccessView"
        | "recordTelephoneContact"
        | "respond"
        | "sendOutcome"
        | "stepDown"
        | "supplement"
        | "transcribe"
        | "withdrawConsent" => &[(Thing::Exchange, PARTIES), (Thing::Reference, PARTIES)],
        // A file is another's until it is sent: `attachments::nobody_but_the_recipient_has_a_file`.
        "collectAttachment" => &[],
        "collectMessage" | "getSaved" | "saveMessage" => {
            &[(Thing::Asked, &[POLICE]), (Thing::Said, &[HUB])]
        }
        "getReceipt" => &[(Thing::Asked, PARTIES), (Thing::Said, PARTIES)],
        // Only the one was returned, and only its sender is told.
        "getNonDelivery" => &[(Thing::Asked, &[HUB]), (Thing::Said, &[])],
        other => panic!("{other} takes an id and is in no row of this table: whose is it?"),
    }
}

/// A request as far as it goes: with all that is needed, without a key, with what is no JSON.
const REQUESTS: [(&[(&str, &str)], &str); 3] = [
    (&[("content-type", "application/json"), ("idempotency-key", KEY)], "{}"),
    (&[("content-type", "application/json")], "{}"),
    (&[("content-type", "application/json"), ("idempotency-key", KEY)], "{"),
];
const KEY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// What is told apart: everything but which request it was, and when.
async fn told(who: &Agency, method: &Method, path: &str, request: usize) -> (u16, String) {
    let (headers, body) = REQUESTS[request];
    let (headers, body) = match *method {
        Method::POST => (headers, body.as_bytes().to_vec()),
        _ => (&[][..], Vec::new()),
    };
    let answer = who.request(method.clone(), path, headers, body).await.unwrap();
    let mut told = String::new();
    for (name, value) in &answer.headers {
        if name != "date" && name != "ratelimit" {
            told += &format!("{name}: {}\n", value.to_str().unwrap());
        }
    }
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(mut problem) if answer.status >= 400 => {
            assert!(problem["instance"].take().is_string(), "{problem}");
            told += &problem.to_string();
        }
        _ => told += answer.text(),
    }
    (answer.status, told)
}

#[tokio::test]
async fn whoever_is_no_party_cannot_tell_what_is_there_from_what_is_not() {
    // So that a message comes back to its sender, and there is a notice of that.
    let mut endpoint = Endpoint::reserve();
    let mut gateway = TestGateway::made(&case::partners(&[(POLICE, &endpoint.lines(false))]));
    endpoint.introduce(&gateway.home());
    endpoint.answer_with(&[410]);
    endpoint.start(&gateway.home());
    gateway.serve();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.dispatch(&[POLICE]).await;
    let asked = &dispatched["exchanges"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let notice = format!("/v1/messages/{}/non-delivery", text(&asked["message"]));
    eventually("it came back", async || hub.get(&notice).await.status == 200).await;
    let acknowledgement = case::acknowledgement(&text(&asked["message"]));
    let said = police.post(&case::path(asked, "acknowledgements"), &acknowledgement).await.ok(202);

    let there = BTreeMap::from([
        (Thing::Enquiry, text(&dispatched["enquiry"])),
        (Thing::Exchange, text(&asked["exchange"])),
        (Thing::Reference, text(&asked["reference"])),
        (Thing::Asked, text(&asked["message"])),
        (Thing::Said, text(&said["message"])),
    ]);
    let at = now();
    let not_there = BTreeMap::from([
        (Thing::Enquiry, EnquiryId::new(at).to_string()),
        (Thing::Exchange, ExchangeId::new(at).to_string()),
        (Thing::Reference, Reference::new(2026, 999_999).to_string()),
        (Thing::Asked, MessageId::new(at).to_string()),
        (Thing::Said, MessageId::new(at).to_string()),
    ]);
    let (mut compared, mut seen) = (0, 0);
    let mut operations = openapi::operations();
    // Before it is collected after all; and of what is saved by then.
    operations
        .sort_by_key(|(_, _, operation)| (operation != "getNonDelivery", operation == "getSaved"));
    for (path, method, operation) in operations {
        if !path.contains("{id}") {
            assert!(!path.contains('{') || path.contains("{name}"), "{path} takes something new");
            continue;
        }
        let requests = if method == Method::POST { REQUESTS.len() } else { 1 };
        for (thing, parties) in row(&operation) {
            for agency in [HUB, POLICE, TRUST, SUSPENDED] {
                let who = gateway.agency(agency);
                let context = format!("{operation}, {thing:?}, {agency}");
                for request in 0..requests {
                    let of = |id: &str| path.replace("{id}", id);
                    let (real, nothing) = (of(&there[thing]), of(&not_there[thing]));
                    let told_of_it = told(&who, &method, &real, request).await;
                    if parties.contains(&agency) {
                        // So that it is there: its parties are told something else, but that it is
                        // no test.
                        let is_one = operation != "answerTest";
                        assert!(!is_one || told_of_it.0 != 404, "{context}: {told_of_it:?}");
                        seen += usize::from(is_one);
                        continue;
                    }
                    let told_of_nothing = told(&who, &method, &nothing, request).await;
                    assert_eq!(told_of_it, told_of_nothing, "{context}");
                    if request == 0 {
                        let status = if agency == SUSPENDED { 403 } else { 404 };
                        assert_eq!(told_of_it.0, status, "{context}");
                    }
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 40 && seen > 20, "{compared}, {seen}");
    gateway.stop();
    gateway.verify_log();
}
