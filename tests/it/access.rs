//! What each role may do: every route of the description, by everybody, against the one table.

use std::collections::BTreeMap;

use hyper::Method;
use mash_gateway::directory::AgencyKind;
use mash_gateway::directory::permission::{self, Action};
use mash_gateway::message::Role;
use serde_json::{Value, json};

use crate::support::{Agency, HUB, POLICE, TestGateway, case, openapi};

/// What each operation of the description is.
fn action(operation: &str) -> Action {
    match operation {
        "acknowledge"
        | "answerTest"
        | "confirmDisclosure"
        | "giveSubjectAccessView"
        | "respond"
        | "supplement" => Action::Answer,
        "clarify" | "reportIncident" => Action::Clarify,
        "collectAttachment" | "collectMessage" | "getSaved" | "saveMessage" => Action::Collect,
        "consultOnSubjectAccess" => Action::Consult,
        "cosign" | "getCheckpoint" | "getLogKey" | "getProof" | "listEntries" => Action::ReadLog,
        "getEnquiry" | "listEnquiries" => Action::ReadBoard,
        "getExchange" | "listExchanges" => Action::ReadExchanges,
        "getOpenapi" | "getSchema" | "listSchemas" => Action::ReadContract,
        "getNonDelivery" | "getReceipt" | "listMessages" => Action::ReadReceipts,
        "listInbox" => Action::ReadInbox,
        "recordOverride" => Action::Override,
        "recordReferrerContact" => Action::TellReferrer,
        "forwardAnswer" | "sendOutcome" | "stepDown" => Action::SendOutcome,
        "cancel" | "recordTelephoneContact" | "sendRfi" | "transcribe" | "withdrawConsent" => {
            Action::SendRfi
        }
        "uploadAttachment" => Action::Attach,
        "whoami" => Action::WhoAmI,
        other => panic!("{other} is in no row of this table: who may do it?"),
    }
}

/// Who may, in the words of a refusal; written out, so that a slip in the table is seen.
fn those_who_may(action: Action) -> &'static str {
    match action {
        Action::Answer => "the contact officer or the deputy",
        Action::Attach | Action::Clarify => {
            "the contact officer, the deputy, the MASH health representative or the MASH Team Manager"
        }
        Action::Collect | Action::ReadInbox => {
            "the contact officer, the deputy, the MASH health representative, the social worker or \
             the MASH Team Manager"
        }
        Action::Override => "the MASH Team Manager",
        Action::ReadBoard => {
            "the MASH health representative, the MASH Operational Lead, the social worker or the \
             MASH Team Manager"
        }
        Action::ReadExchanges | Action::ReadReceipts => {
            "the auditor, the contact officer, the deputy, the MASH health representative, \
             the MASH Operational Lead, the social worker or the MASH Team Manager"
        }
        Action::Consult | Action::SendOutcome | Action::SendRfi => {
            "the MASH health representative or the MASH Team Manager"
        }
        Action::ReadFigures | Action::RevokeCertificate | Action::SeeAgencies => {
            panic!("{action:?} is at the desk alone: pages.rs has who may")
        }
        Action::TellReferrer => {
            "the MASH health representative, the social worker or the MASH Team Manager"
        }
        Action::ReadContract | Action::ReadLog | Action::Renew | Action::WhoAmI => "everybody",
    }
}

/// What partners read of it is what is enforced.
#[test]
fn the_description_names_the_roles_of_each_operation() {
    for (_, _, operation) in openapi::operations() {
        let roles = permission::who_may(action(&operation));
        let named: Vec<_> = roles.into_iter().map(Role::as_str).collect();
        assert_eq!(openapi::roles(&operation), named, "{operation}");
    }
}

/// Asks for every operation as `who`; the answers by operation.
async fn ask_everything(who: &Agency, ids: &BTreeMap<&str, String>) -> Vec<(String, Value, u16)> {
    let mut answers = Vec::new();
    for (path, method, operation) in openapi::operations() {
        let mut path = path;
        for (name, value) in ids {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        assert!(!path.contains('{'), "{path} has a parameter this test does not know");
        let answer = match method {
            Method::GET => who.get(&path).await,
            Method::POST => who.post(&path, &json!({})).await,
            other => panic!("{other} is new here"),
        };
        let is_json = answer.headers["content-type"].to_str().unwrap().contains("json");
        let body = if is_json { answer.json() } else { Value::Null };
        answers.push((operation, body, answer.status));
    }
    answers
}

#[tokio::test]
async fn every_route_is_for_those_whom_the_table_names() {
    let mut gateway = TestGateway::start();
    let dispatched = gateway.agency(HUB).dispatch(&[POLICE]).await;
    let exchange = &dispatched["exchanges"][0];
    let id = |value: &Value| value.as_str().unwrap().to_owned();
    let ids = BTreeMap::from([
        ("id", id(&exchange["exchange"])),
        ("name", "rfi.v1.schema.json".to_owned()),
    ]);

    let mut everybody = vec![(HUB, None), (POLICE, None)];
    for role in Role::ALL {
        for (agency, kind) in [(HUB, AgencyKind::Hub), (POLICE, AgencyKind::Police)] {
            if permission::exists_at(role, kind) {
                everybody.push((agency, Some(role)));
            }
        }
    }
    assert_eq!(everybody.len(), 2 + 5 + 2 + 2);
    let mut asked = 0;
    for (agency, role) in everybody {
        let who = match role {
            Some(role) => gateway.desk(agency, role),
            None => gateway.agency(agency),
        };
        for (operation, body, status) in ask_everything(&who, &ids).await {
            let (action, context) =
                (action(&operation), format!("{operation}, {agency}, {role:?}"));
            let refused = body["type"] == "urn:mash:problem:role-not-permitted";
            let is_allowed = match role {
                Some(role) => permission::may(role, action),
                None => permission::may_system(action),
            };
            assert_eq!(refused, !is_allowed, "{context}: {status} {body}");
            if refused {
                assert_eq!(status, 403, "{context}");
                let in_person = if role.is_none() { ", in person" } else { "" };
                let expected = format!("This is for {}{in_person}.", those_who_may(action));
                assert_eq!(body["detail"], expected, "{context}");
            }
            asked += 1;
        }
    }
    assert_eq!(asked, 11 * openapi::operations().len());

    gateway.stop();
    // Each refusal is in the log: by agency and problem, without the person.
    let entries = gateway.entries();
    assert!(
        entries
            .iter()
            .any(|fields| fields["problem"] == "role-not-permitted" && fields["agency"] == POLICE)
    );
    gateway.holds_nowhere_but(&["gateway.db"], &["Wilhelmina"]);
    gateway.verify_log();
}

#[tokio::test]
async fn people_at_desks_do_the_whole_job_and_the_log_says_in_which_role() {
    let mut gateway = TestGateway::start();
    let asks = gateway.desk(HUB, Role::HealthRepresentative);
    let answers = gateway.desk(POLICE, Role::Deputy);
    let whoami = answers.get_json("/v1/whoami").await;
    assert_eq!((&whoami["agency"], &whoami["role"]), (&json!(POLICE), &json!("partner")));
    assert_eq!(whoami["desk"], "deputy");
    assert_eq!(gateway.agency(POLICE).get_json("/v1/whoami").await.get("desk"), None);

    asks.dispatch(&[POLICE]).await;
    let rfi = answers.collect_first().await;
    let id = rfi["id"].as_str().unwrap().to_owned();
    let saved = format!("/v1/messages/{id}/saved");
    answers.request(Method::POST, &saved, &[], Vec::new()).await.unwrap().ok(200);
    let path = case::path(&rfi, "responses");
    answers.post(&path, &case::response(&id)).await.ok(202);
    // Those who look on see how it stands, and not what was said.
    let auditor = gateway.desk(HUB, Role::Auditor);
    let exchanges = auditor.get_json("/v1/exchanges").await;
    assert_eq!(exchanges["exchanges"][0]["state"], "completed");
    auditor.get("/v1/inbox").await.problem(403, "role-not-permitted");
    auditor.get(&format!("/v1/messages/{id}")).await.problem(403, "role-not-permitted");

    gateway.stop();
    let entries = gateway.entries();
    let desk_of = |event: &str, kind: &str| {
        let entry = entries
            .iter()
            .find(|fields| fields["event"] == event && fields["kind"] == kind)
            .unwrap_or_else(|| panic!("no entry {event} {kind}"));
        entry["desk"].clone()
    };
    assert_eq!(desk_of("accepted", "rfi"), "mash-health-representative");
    assert_eq!(desk_of("collected", "rfi"), "deputy");
    assert_eq!(desk_of("saved", "rfi"), "deputy");
    assert_eq!(desk_of("accepted", "response"), "deputy");
    let issued: Vec<_> = entries
        .iter()
        .filter(|fields| fields["event"] == "certificate-issued")
        .filter_map(|fields| fields["profile"].as_str().and_then(Role::parse))
        .map(Role::as_str)
        .collect();
    assert_eq!(issued, ["mash-health-representative", "deputy", "auditor"]);
    gateway.verify_log();
}

/// The directory may change after a certificate was issued; the door asks it each time.
#[tokio::test]
async fn a_role_that_the_agency_no_longer_has_is_worth_nothing() {
    let mut gateway = TestGateway::start();
    let (officer, auditor) =
        (gateway.desk(POLICE, Role::ContactOfficer), gateway.desk(POLICE, Role::Auditor));
    officer.get("/v1/inbox").await.ok(200);
    gateway.stop();
    // The police are the hub now, and the hub the police.
    let partners = case::partners(&[])
        .replace(POLICE, "test-swapped")
        .replace(HUB, POLICE)
        .replace("test-swapped", HUB);
    std::fs::write(gateway.home().join("partners.toml"), partners).unwrap();
    gateway.serve();
    let (officer, auditor) = (gateway.moved(officer), gateway.moved(auditor));
    let whoami = officer.get_json("/v1/whoami").await;
    assert_eq!((&whoami["role"], &whoami["desk"]), (&json!("hub"), &json!("contact-officer")));
    for path in ["/v1/inbox", "/v1/log/checkpoint", "/openapi.json"] {
        let problem = officer.get(path).await.problem(403, "role-not-permitted");
        assert_eq!(
            problem["detail"],
            "This agency has no contact officer. At its desks are the auditor, the MASH health \
             representative, the MASH Operational Lead, the operator, the social worker or the MASH Team \
             Manager."
        );
    }
    let dispatch = case::dispatch(&["test-trust"]);
    officer.post("/v1/rfis", &dispatch).await.problem(403, "role-not-permitted");
    assert_eq!(auditor.get("/v1/exchanges").await.status, 200);
}
