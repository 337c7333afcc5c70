//! The desk's pages, asked for as a browser asks: who is let in to what, that what is written is sealed and
//! goes with the enquiry, and that no other site's page sends anything. How they look and feel, a real browser
//! says (`tests/browser/desk.mjs`).

use std::collections::BTreeSet;
use std::process::Command;

use hyper::Method;
use mash_gateway::message::{Kind, Reference, Role};

use crate::attachments::{MAY_ATTACH, upload};
use crate::support::{Agency, Answer, HUB, POLICE, SURGERY, TRUST, TestGateway, case, text};

/// Every page, with whether it is shown or sends something.
const PAGES: [(&str, &[Method]); 69] = [
    ("/", &[Method::GET]),
    ("/find", &[Method::GET]),
    ("/requests", &[Method::GET]),
    ("/requests/{reference}", &[Method::GET]),
    ("/requests/{reference}/open", &[Method::POST]),
    ("/requests/{reference}/details", &[Method::GET]),
    ("/requests/{reference}/acknowledge", &[Method::GET, Method::POST]),
    ("/requests/{reference}/not-for-us", &[Method::GET, Method::POST]),
    ("/requests/{reference}/question", &[Method::GET, Method::POST]),
    ("/requests/{reference}/family", &[Method::GET, Method::POST]),
    ("/requests/{reference}/subject-access", &[Method::GET, Method::POST]),
    ("/requests/{reference}/incident", &[Method::GET, Method::POST]),
    ("/requests/{reference}/sent/{message}", &[Method::GET]),
    ("/requests/{reference}/reply", &[Method::GET]),
    ("/requests/{reference}/reply/nothing-known", &[Method::POST]),
    ("/requests/{reference}/reply/check", &[Method::GET, Method::POST]),
    ("/requests/{reference}/reply/{part}", &[Method::GET, Method::POST]),
    ("/requests/{reference}/reply/files", &[Method::GET, Method::POST]),
    ("/requests/{reference}/reply/files/remove", &[Method::POST]),
    ("/requests/{reference}/supplement", &[Method::GET]),
    ("/requests/{reference}/supplement/files", &[Method::GET, Method::POST]),
    ("/requests/{reference}/supplement/files/remove", &[Method::POST]),
    ("/requests/{reference}/supplement/check", &[Method::GET, Method::POST]),
    ("/requests/{reference}/supplement/{part}", &[Method::GET, Method::POST]),
    ("/rfis", &[Method::GET, Method::POST]),
    ("/rfis/{id}", &[Method::GET]),
    ("/rfis/{id}/check", &[Method::GET, Method::POST]),
    ("/rfis/{id}/discard", &[Method::POST]),
    ("/rfis/{id}/override", &[Method::GET]),
    ("/rfis/{id}/override/decide", &[Method::GET, Method::POST]),
    ("/rfis/{id}/{part}", &[Method::GET, Method::POST]),
    ("/rfis/{id}/{part}/{item}", &[Method::GET, Method::POST]),
    ("/enquiries/{id}/asked", &[Method::GET]),
    ("/enquiries/{id}/sent", &[Method::GET]),
    ("/enquiries", &[Method::GET]),
    ("/enquiries/{id}", &[Method::GET]),
    ("/enquiries/{id}/answers", &[Method::GET]),
    ("/enquiries/{id}/referrer", &[Method::GET, Method::POST]),
    ("/exchanges/{reference}/consent-withdrawal", &[Method::GET, Method::POST]),
    ("/exchanges/{reference}/forward", &[Method::GET, Method::POST]),
    ("/exchanges/{reference}/step-down", &[Method::GET, Method::POST]),
    ("/exchanges/{reference}/subject-access", &[Method::GET, Method::POST]),
    ("/exchanges/{reference}/transcription", &[Method::GET]),
    ("/exchanges/{reference}/transcription/nothing-known", &[Method::POST]),
    ("/exchanges/{reference}/transcription/check", &[Method::GET, Method::POST]),
    ("/exchanges/{reference}/transcription/{part}", &[Method::GET, Method::POST]),
    ("/exchanges/{reference}/incident", &[Method::GET, Method::POST]),
    ("/exchanges/{reference}/telephone", &[Method::GET, Method::POST]),
    ("/exchanges/{reference}/cancel", &[Method::GET, Method::POST]),
    ("/exchanges/{reference}/question", &[Method::GET, Method::POST]),
    ("/exchanges/{reference}/outcome", &[Method::GET, Method::POST]),
    ("/exchanges/{reference}/sent/{message}", &[Method::GET]),
    ("/agencies", &[Method::GET]),
    ("/agencies/{agency}", &[Method::GET]),
    ("/agencies/{agency}/revoke", &[Method::GET]),
    ("/agencies/{agency}/revoke/confirm", &[Method::GET, Method::POST]),
    ("/agencies/{agency}/certificates/{serial}", &[Method::GET]),
    ("/agencies/{agency}/certificates/{serial}/revoke", &[Method::GET]),
    ("/agencies/{agency}/certificates/{serial}/revoke/confirm", &[Method::GET, Method::POST]),
    ("/dead-letters", &[Method::GET]),
    ("/log", &[Method::GET]),
    ("/timeliness", &[Method::GET]),
    ("/timeliness/plot", &[Method::GET]),
    ("/attachments/{id}", &[Method::GET]),
    ("/messages/{id}", &[Method::GET]),
    ("/messages/{id}/saved", &[Method::POST]),
    ("/messages/{id}/answer", &[Method::GET, Method::POST]),
    ("/messages/{id}/receipt", &[Method::GET]),
    ("/accessibility", &[Method::GET]),
];

/// What is nobody's.
const FOR_ANYBODY: [&str; 3] = ["/accessibility", "/desk.css", "/desk.js"];

fn routes() -> BTreeSet<&'static str> {
    let sources =
        [include_str!("../../src/http/desk/mod.rs"), include_str!("../../src/http/desk/office.rs")];
    let after = sources.into_iter().flat_map(|source| source.split(".route(").skip(1));
    after.map(|rest| rest.split('"').nth(1).unwrap()).collect()
}

pub(crate) fn seat(gateway: &TestGateway, agency: &str, role: Role) -> Agency {
    gateway.seated(gateway.desk(agency, role))
}

pub(crate) fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer.headers["location"].to_str().unwrap().to_owned()
}

/// A request to this agency that somebody at its desk has opened: its reference, and the RFI's id.
pub(crate) async fn opened(gateway: &TestGateway, desk: &Agency, agency: &str) -> (String, String) {
    let (reference, rfi, _) = opened_in(gateway, desk, agency).await;
    (reference, rfi)
}

/// The same, and its enquiry.
pub(crate) async fn opened_in(
    gateway: &TestGateway,
    desk: &Agency,
    agency: &str,
) -> (String, String, String) {
    let answer = gateway.agency(HUB).dispatch(&[agency]).await;
    let exchange = &answer["exchanges"][0];
    let reference = exchange["reference"].as_str().unwrap().to_owned();
    let details = location(&desk.fill_in(&format!("/requests/{reference}/open"), &[]).await);
    assert_eq!(details, format!("/requests/{reference}/details"));
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    (reference, text(&exchange["message"]), text(&answer["enquiry"]))
}

#[tokio::test]
async fn each_role_sees_exactly_what_it_may() {
    let gateway = TestGateway::start();
    let known = PAGES.iter().map(|(page, _)| *page).chain(FOR_ANYBODY).collect::<BTreeSet<_>>();
    assert_eq!(routes(), known, "a page without a row here");
    let officer = seat(&gateway, POLICE, Role::ContactOfficer);
    let (reference, rfi, enquiry) = opened_in(&gateway, &officer, POLICE).await;
    let serial = gateway.agency(TRUST).get_json("/v1/whoami").await;
    let serial = serial["certificate"]["serial"].as_str().unwrap().to_owned();
    let real = |page: &str| {
        let id = if page.starts_with("/enquiries") { &enquiry } else { &rfi };
        let part = page.replace("{part}", "family").replace("{message}", &rfi);
        let part = part.replace("{agency}", TRUST).replace("{serial}", &serial);
        part.replace("{reference}", &reference).replace("{id}", id)
    };
    for (agency, roles) in [
        (POLICE, &[Role::ContactOfficer, Role::Deputy, Role::Auditor][..]),
        (
            HUB,
            &[
                Role::HealthRepresentative,
                Role::TeamManager,
                Role::SocialWorker,
                Role::OperationalLead,
                Role::Operator,
                Role::Auditor,
            ],
        ),
    ] {
        for role in roles {
            let person = seat(&gateway, agency, *role);
            let answers = matches!(role, Role::ContactOfficer | Role::Deputy);
            let asks = matches!(role, Role::HealthRepresentative | Role::TeamManager);
            let reads = answers || asks || matches!(role, Role::SocialWorker);
            let sees_board = asks || matches!(role, Role::SocialWorker | Role::OperationalLead);
            let is_operator = *role == Role::Operator;
            let oversees = agency == HUB && matches!(role, Role::Auditor | Role::OperationalLead);
            let reads_receipts = answers || !matches!(role, Role::Operator);
            for (page, methods) in PAGES {
                for method in methods {
                    let path = match page {
                        "/find" => format!("/find?reference=+{}", reference.to_lowercase()),
                        page => real(page),
                    };
                    let answer = match *method {
                        Method::GET => person.page(&path).await,
                        _ => person.fill_in(&path, &[("key", "no key")]).await,
                    };
                    let is_let_in = match page {
                        "/" | "/accessibility" => true,
                        "/find" => *role != Role::Operator,
                        "/messages/{id}/receipt" => reads_receipts,
                        "/messages/{id}/answer" => answers || asks,
                        page if page.ends_with("/revoke") => is_operator,
                        page if page.ends_with("/revoke/confirm") => is_operator,
                        page if page.starts_with("/agencies") => is_operator || oversees,
                        "/dead-letters" => is_operator || oversees,
                        "/timeliness" | "/timeliness/plot" => oversees,
                        "/log" => true,
                        "/enquiries" | "/enquiries/{id}" => sees_board,
                        "/enquiries/{id}/referrer" => sees_board && reads,
                        "/enquiries/{id}/answers" | "/enquiries/{id}/asked" => sees_board && reads,
                        "/rfis/{id}/override/decide" => *role == Role::TeamManager,
                        "/enquiries/{id}/sent" => asks,
                        page if page.starts_with("/rfis") => asks,
                        page if page.starts_with("/exchanges") => asks,
                        page if page.starts_with("/messages") => reads,
                        page if page.starts_with("/attachments") => reads,
                        _ => answers,
                    };
                    let said = format!("{agency} {role:?} {method} {path}: {}", answer.status);
                    assert_eq!(answer.status != 403, is_let_in, "{said}");
                    assert!(answer.status < 500, "{said}");
                    let is_page = answer.status == 303
                        || ["text/", "image/svg+xml"].iter().any(|kind| {
                            answer.headers["content-type"].to_str().unwrap().starts_with(kind)
                        });
                    assert!(is_page, "{said}");
                }
            }
        }
    }
    // A program is no person.
    let program = gateway.seated(gateway.agency(POLICE));
    let refused = program.page("/requests").await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("Pages are for people"), "{}", refused.text());
    for path in FOR_ANYBODY {
        assert_eq!(program.page(path).await.status, 200, "{path}");
    }
    gateway.verify_log();
}

#[tokio::test]
async fn anothers_request_is_not_there() {
    let gateway = TestGateway::start();
    let police = seat(&gateway, POLICE, Role::ContactOfficer);
    let trust = seat(&gateway, TRUST, Role::ContactOfficer);
    let (reference, rfi) = opened(&gateway, &police, POLICE).await;
    let family = [("family", "not-without-asking-us"), ("version", "0")];
    let part = format!("/requests/{reference}/reply/family");
    assert_eq!(
        location(&police.fill_in(&part, &family).await),
        format!("/requests/{reference}/reply")
    );
    let nowhere = Reference::new(2026, 999_999).to_string();
    for (page, methods) in PAGES {
        // The hub's pages are no agency's at all.
        let is_hubs = ["/e", "/agencies", "/rfis"].iter().any(|start| page.starts_with(start));
        let has_id = page.contains('{') && !is_hubs;
        for method in methods.iter().filter(|_| has_id) {
            let path = |reference: &str, id: &str| {
                let part = page.replace("{part}", "family").replace("{message}", id);
                part.replace("{reference}", reference).replace("{id}", id)
            };
            let ask = async |path: String| match *method {
                Method::GET => trust.page(&path).await,
                _ => trust.fill_in(&path, &family).await,
            };
            let anothers = ask(path(&reference, &rfi)).await;
            let none = ask(path(&nowhere, "01890a5d-ac96-774b-bcce-b302099a8057")).await;
            assert_eq!((anothers.status, none.status), (404, 404), "{method} {page}");
            // But for the number under which it is in the log.
            let said = |answer: &Answer| {
                let (before, after) = answer.text().split_once("class=\"number\">").unwrap();
                before.to_owned() + after.split_once('<').unwrap().1
            };
            assert_eq!(said(&anothers), said(&none), "{method} {page}");
        }
    }
}

#[tokio::test]
async fn what_is_written_is_sealed_and_goes_with_the_enquiry() {
    let mut gateway = TestGateway::start();
    let officer = seat(&gateway, SURGERY, Role::ContactOfficer);
    let (reference, rfi) = opened(&gateway, &officer, SURGERY).await;
    let part = format!("/requests/{reference}/reply/neglect");
    let secret = "Marmaduke-Featherstone";
    let told = [("status", "provided"), ("summary", secret), ("go", "later"), ("version", "0")];
    assert_eq!(location(&officer.fill_in(&part, &told).await), format!("/requests/{reference}"));
    // Asked for again because the answer was lost, it is kept once; of another, nothing is lost.
    assert_eq!(location(&officer.fill_in(&part, &told).await), format!("/requests/{reference}"));
    let other = [("status", "nothing-known"), ("go", "later"), ("version", "0")];
    let overtaken = officer.fill_in(&part, &other).await;
    assert_eq!(overtaken.status, 409, "{}", overtaken.text());
    assert!(officer.page(&part).await.text().contains(secret));

    gateway.restart();
    let officer = seat(&gateway, SURGERY, Role::Deputy);
    assert!(officer.page(&part).await.text().contains(secret), "whoever stands in goes on with it");
    let cancelled = format!("/v1/exchanges/{reference}/cancellations");
    let hub = gateway.agency(HUB);
    hub.post(&cancelled, &case::said(Kind::Cancellation, &rfi)).await.ok(202);
    gateway.stop();
    gateway.holds_nowhere(&[secret, "Thistlebank"]);

    // Destroyed with the enquiry.
    let drafts = |gateway: &TestGateway| {
        let count = Command::new("sqlite3")
            .arg(gateway.database())
            .arg("SELECT count(*) FROM drafts")
            .output()
            .unwrap();
        text(&count.stdout).trim().to_owned()
    };
    assert_eq!(drafts(&gateway), "1");
    let destroyed = gateway.run_at("+400d", &["retention", "run"]);
    assert!(destroyed.status.success(), "{}", text(&destroyed.stderr));
    assert_eq!(drafts(&gateway), "0", "{}", text(&destroyed.stdout));
}

#[tokio::test]
async fn no_other_site_sends_anything_and_only_the_start_is_opened_from_there() {
    let gateway = TestGateway::start();
    let officer = seat(&gateway, POLICE, Role::ContactOfficer);
    let answer = gateway.agency(HUB).dispatch(&[POLICE]).await;
    let reference = answer["exchanges"][0]["reference"].as_str().unwrap();
    let open = format!("/requests/{reference}/open");
    let ask = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        officer.ask(method, path, headers, Vec::new()).await.unwrap().status
    };
    for headers in [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("sec-fetch-site", "none")],
        [("origin", "https://elsewhere.example")],
        [("origin", "null")],
    ] {
        assert_eq!(ask(Method::POST, &open, &headers).await, 403, "{headers:?}");
    }
    let state = gateway.agency(HUB).get_json(&format!("/v1/exchanges/{reference}")).await;
    assert_eq!(state["state"], "requested", "nobody opened it");
    let cross = [("sec-fetch-site", "cross-site")];
    assert_eq!(ask(Method::GET, "/", &cross).await, 303);
    assert_eq!(ask(Method::GET, "/requests", &cross).await, 403);
    // Nor anything that no browser sends from a form of ours.
    let json = [("content-type", "application/json"), ("sec-fetch-site", "same-origin")];
    let family = format!("/requests/{reference}/reply/family");
    let sent = officer.ask(Method::POST, &family, &json, b"{}".to_vec()).await.unwrap();
    assert_eq!(sent.status, 415);
    let large = vec![b'a'; 3 << 20];
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let sent = officer.ask(Method::POST, &family, &form, large).await.unwrap();
    assert_eq!(sent.status, 413, "{}", sent.text());
    // A look at the head would otherwise open it.
    assert_eq!(ask(Method::HEAD, &format!("/requests/{reference}/details"), &[]).await, 405);
    assert_eq!(ask(Method::POST, &open, &[("origin", &gateway.desk)]).await, 303);
}

#[tokio::test]
async fn a_reply_is_sent_once_however_often_the_button_is_pressed() {
    let gateway = TestGateway::start();
    let officer = seat(&gateway, POLICE, Role::ContactOfficer);
    let (reference, _) = opened(&gateway, &officer, POLICE).await;
    let reply = format!("/requests/{reference}/reply");
    let version = async || {
        let page = officer.page(&format!("{reply}/who")).await;
        let (_, after) = page.text().split_once("name=\"version\" value=\"").unwrap();
        after.split('"').next().unwrap().to_owned()
    };
    let nothing = format!("{reply}/nothing-known");
    location(&officer.fill_in(&nothing, &[("version", &version().await)]).await);
    for (part, fields) in [
        ("family", &[("family", "not-without-asking-us")][..]),
        (
            "lawful-basis",
            &[("powers", "children-act-2004-s11"), ("article-6", "e"), ("special", "no")],
        ),
        (
            "who",
            &[
                ("name", "Sgt Alex Invented"),
                ("jobTitle", "Detective Sergeant"),
                ("accuracy", "checked-against-record"),
                ("confirmed", "yes"),
            ],
        ),
    ] {
        let version = version().await;
        let fields: Vec<_> = fields.iter().copied().chain([("version", &*version)]).collect();
        location(&officer.fill_in(&format!("{reply}/{part}"), &fields).await);
    }
    let check = format!("{reply}/check");
    // What is sent is what was looked at.
    assert_eq!(officer.fill_in(&check, &[("version", "1")]).await.status, 409);
    let version = version().await;
    let sent = location(&officer.fill_in(&check, &[("version", &version)]).await);
    assert!(sent.starts_with(&format!("/requests/{reference}/sent/")), "{sent}");
    let again = location(&officer.fill_in(&check, &[("version", &version)]).await);
    assert_eq!(again, format!("/requests/{reference}"));
    let accepted = gateway
        .entries()
        .iter()
        .filter(|entry| entry["event"] == "accepted" && entry["kind"] == "response")
        .count();
    assert_eq!(accepted, 1);
    let entry = gateway.entries().into_iter().find(|entry| entry["kind"] == "response").unwrap();
    assert_eq!(entry["desk"], "contact-officer");
    gateway.verify_log();
}

#[tokio::test]
async fn three_questions_are_put_before_the_lawful_basis() {
    let gateway = TestGateway::start();
    for (agency, article_9, power) in [
        (SURGERY, true, "children-act-2004-s11"),
        (POLICE, false, "crime-and-disorder-act-1998-s115"),
    ] {
        let officer = seat(&gateway, agency, Role::ContactOfficer);
        let (reference, _) = opened(&gateway, &officer, agency).await;
        let page = officer.page(&format!("/requests/{reference}/reply/lawful-basis")).await;
        let page = page.text();
        // Data protection, private life, confidence: before what is to be chosen.
        let places = ["data protection law?", "private life", "in confidence?", "<form"];
        let places = places.map(|phrase| page.find(phrase).expect(phrase));
        assert!(places.is_sorted(), "{places:?}");
        // What such an agency usually relies on is chosen already, and what has to be judged is not.
        let is_chosen = |value: &str| page.contains(&format!("value=\"{value}\" checked"));
        assert!(is_chosen("e") && is_chosen(power));
        assert_eq!(is_chosen("h"), article_9);
        assert!(!is_chosen("pt2-para18"));
    }
}

#[tokio::test]
async fn all_that_was_answered_is_side_by_side_with_whose_it_is() {
    let gateway = TestGateway::start();
    let answer = gateway.agency(HUB).dispatch(&[POLICE, TRUST, SURGERY]).await;
    let enquiry = answer["enquiry"].as_str().unwrap();
    let mut receipts = Vec::new();
    for agency in [POLICE, TRUST] {
        let party = gateway.agency(agency);
        let asked = party.collect_first().await;
        let path =
            format!("/v1/exchanges/{}/responses", asked["exchangereference"].as_str().unwrap());
        let sent = party.post(&path, &case::response(asked["id"].as_str().unwrap())).await.ok(202);
        receipts.push(sent["message"].as_str().unwrap().to_owned());
    }
    let path = format!("/enquiries/{enquiry}/answers");
    let manager = seat(&gateway, HUB, Role::TeamManager);
    let shown = manager.page(&path).await;
    let shown = shown.text();
    // Each agency with what it said under its name, and with where that is proved.
    let places = [POLICE, TRUST, SURGERY]
        .map(|agency| shown.find(&format!("<bdi>Test {agency}</bdi>: RFI-")).expect(agency));
    let receipts =
        receipts.iter().map(|id| shown.find(&format!("/messages/{id}/receipt")).unwrap());
    let receipts: Vec<_> = receipts.collect();
    assert!(places[0] < receipts[0] && receipts[0] < places[1], "{places:?} {receipts:?}");
    assert!(places[1] < receipts[1] && receipts[1] < places[2], "{places:?} {receipts:?}");
    assert!(shown[places[2]..].contains("Silence is not an answer of nothing known"));
    assert_eq!(shown.matches("The family may be told:").count(), 3);
    // What the police say is for two roles, and for the others it is said to be there.
    assert!(!shown.contains("Its sender shows this to"));
    let representative = seat(&gateway, HUB, Role::HealthRepresentative);
    let less = representative.page(&path).await;
    assert_eq!(less.text().matches("Its sender shows this to").count(), 1, "{}", less.text());
    // Each reading is in the log, by whom and in which role.
    let read = gateway.entries().into_iter().filter(|entry| entry["event"] == "collected");
    let by: Vec<_> = read.filter_map(|entry| entry["desk"].as_str().map(str::to_owned)).collect();
    assert!(by.contains(&"mash-team-manager".to_owned()), "{by:?}");
}

#[tokio::test]
async fn what_the_hub_asked_is_read_again_the_child_first_and_that_is_in_the_log() {
    let mut gateway = TestGateway::start();
    let mut dispatch = case::dispatch(&[POLICE, TRUST]);
    let mother = serde_json::json!({
        "personId": "p2", "kind": "parent-or-guardian", "relationship": "mother",
        "familyName": "Thistlebank", "givenName": "Ottoline",
    });
    let child = dispatch["rfi"]["persons"][0].clone();
    dispatch["rfi"]["persons"] = serde_json::json!([mother, child]);
    let answer = gateway.agency(HUB).post("/v1/rfis", &dispatch).await.ok(202);
    let path = format!("/enquiries/{}/asked", answer["enquiry"].as_str().unwrap());
    let manager = seat(&gateway, HUB, Role::TeamManager);
    let shown = manager.page(&path).await;
    let shown = shown.text();
    let places = ["Wrenna", "Ottoline", "greenhouse", "Test test-police", "Test test-trust"];
    let places = places.map(|phrase| shown.find(phrase).expect(phrase));
    assert!(places.is_sorted(), "{places:?}");
    let read = || {
        let entries = gateway.entries().into_iter();
        entries.filter(|entry| entry["event"] == "opened-by-sender").collect::<Vec<_>>()
    };
    let entries = read();
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry["desk"] == "mash-team-manager"));
    // Nothing was collected by it: the agencies have opened nothing.
    let reference = answer["exchanges"][0]["reference"].as_str().unwrap();
    let state = gateway.agency(HUB).get_json(&format!("/v1/exchanges/{reference}")).await;
    assert_eq!(state["state"], "requested");
    let lead = seat(&gateway, HUB, Role::OperationalLead);
    assert_eq!(lead.page(&path).await.status, 403);
    assert_eq!(read().len(), 2);
    gateway.verify_log();
    gateway.stop();
    let report = gateway.run(&["report", "access", "--agency", HUB]);
    assert!(text(&report.stdout).contains("opened-by-sender"), "{}", text(&report.stdout));
}

#[tokio::test]
async fn a_file_is_fetched_by_whose_message_names_it_and_by_nobody_else() {
    let gateway = TestGateway::start_with(&case::partners(&[(HUB, MAY_ATTACH)]));
    let hub = gateway.agency(HUB);
    let file = b"The school's note of 20 November.".to_vec();
    let named = upload(&hub, "text/plain", &file).await;
    let mut dispatch = case::dispatch(&[POLICE]);
    dispatch["rfi"]["attachments"] = serde_json::json!([named]);
    let answer = hub.post("/v1/rfis", &dispatch).await.ok(202);
    let reference = answer["exchanges"][0]["reference"].as_str().unwrap();
    let officer = seat(&gateway, POLICE, Role::ContactOfficer);
    location(&officer.fill_in(&format!("/requests/{reference}/open"), &[]).await);
    let details = officer.page(&format!("/requests/{reference}/details")).await;
    let link = format!("/attachments/{}", named["id"].as_str().unwrap());
    assert!(details.text().contains(&format!("<a href=\"{link}\">File 1: plain text, 1 KiB</a>")));
    let fetched = officer.page(&link).await;
    assert_eq!((fetched.status, &fetched.body), (200, &file));
    // No browser shows it as a page of ours.
    let shown = fetched.headers["content-disposition"].to_str().unwrap();
    assert!(shown.starts_with("attachment; "), "{shown}");
    assert_eq!(fetched.headers["x-content-type-options"], "nosniff");
    let other = seat(&gateway, TRUST, Role::ContactOfficer);
    assert_eq!(other.page(&link).await.status, 404);
}

#[tokio::test]
async fn what_was_answered_in_part_is_gone_on_with_and_nothing_longer_than_a_reply_is_kept() {
    let gateway = TestGateway::start();
    let officer = seat(&gateway, POLICE, Role::ContactOfficer);
    let (reference, rfi) = opened(&gateway, &officer, POLICE).await;
    let path = format!("/v1/exchanges/{reference}/responses");
    let police = gateway.agency(POLICE);
    police.post(&path, &case::partial(&rfi)).await.ok(202);
    let request = format!("/requests/{reference}");
    assert!(officer.page(&request).await.text().contains("Send the rest of your reply"));
    // Each page is within the limit, and all together are not.
    let long = "x".repeat(900_000);
    for (part, follows, status) in [("neglect", "0", 303), ("criminal-activity", "1", 413)] {
        let fields =
            [("status", "provided"), ("summary", &long), ("go", "later"), ("version", follows)];
        let kept = officer.fill_in(&format!("{request}/reply/{part}"), &fields).await;
        assert_eq!(kept.status, status, "{part}");
    }
    police.post(&path, &case::response(&rfi)).await.ok(202);
    assert!(!officer.page(&request).await.text().contains("of your reply</a>"));
    assert!(officer.page(&request).await.text().contains("Say again what the family may be told"));
}

#[tokio::test]
async fn what_is_sealed_to_the_agencys_own_key_is_not_said_to_be_opened() {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    let identity = gateway.home().join("police-identity.txt");
    let made = Command::new("age-keygen").arg("-o").arg(&identity).output().unwrap();
    assert!(made.status.success());
    let recipient = std::fs::read_to_string(&identity).unwrap();
    let recipient = recipient.lines().find_map(|l| l.strip_prefix("# public key: ")).unwrap();
    let keeps = format!(
        "endpoints = [{{ kind = \"mailbox\" }}]\ncustody = \"agency\"\n\
         age_recipients = [\"{recipient}\"]\n"
    );
    std::fs::write(gateway.home().join("partners.toml"), case::partners(&[(POLICE, &keeps)]))
        .unwrap();
    gateway.serve();
    let answer = gateway.agency(HUB).dispatch(&[POLICE]).await;
    let reference = answer["exchanges"][0]["reference"].as_str().unwrap();
    let officer = seat(&gateway, POLICE, Role::ContactOfficer);
    let request = format!("/requests/{reference}");
    let shown = officer.page(&request).await;
    assert!(shown.text().contains("sealed to your agency's own key"), "{}", shown.text());
    assert!(!shown.text().contains("Open the request"));
    // Nor by whoever knows the address.
    assert_eq!(location(&officer.fill_in(&format!("{request}/open"), &[]).await), request);
    let state = gateway.agency(HUB).get_json(&format!("/v1/exchanges/{reference}")).await;
    assert_eq!(state["state"], "requested", "nobody has seen it");
    // Its program has: from then on it can be answered here too.
    gateway.agency(POLICE).collect_first().await;
    let reply = officer.page(&format!("{request}/reply")).await;
    assert!(reply.text().contains("Reply to request"), "{}", reply.text());
}

#[tokio::test]
async fn a_lawful_basis_is_nobodys_until_somebody_has_looked_at_it() {
    let gateway = TestGateway::start();
    let officer = seat(&gateway, SURGERY, Role::ContactOfficer);
    let (reference, _) = opened(&gateway, &officer, SURGERY).await;
    let reply = format!("/requests/{reference}/reply");
    for (part, follows, fields) in [
        ("nothing-known", "0", &[][..]),
        ("family", "1", &[("family", "family-may-be-told")]),
        (
            "who",
            "2",
            &[
                ("name", "Dr Jo Madeup"),
                ("jobTitle", "General Practitioner"),
                ("accuracy", "checked-against-record"),
                ("confirmed", "yes"),
            ],
        ),
    ] {
        let fields: Vec<_> = fields.iter().copied().chain([("version", follows)]).collect();
        location(&officer.fill_in(&format!("{reply}/{part}"), &fields).await);
    }
    let check = format!("{reply}/check");
    let page = officer.page(&check).await;
    assert_eq!(page.status, 422);
    assert!(page.text().contains("Look at on what basis you share it"), "{}", page.text());
    assert_eq!(officer.fill_in(&check, &[("version", "3")]).await.status, 422);
    let basis = [
        ("powers", "children-act-2004-s11"),
        ("article-6", "e"),
        ("special", "yes"),
        ("article-9", "h"),
        ("version", "3"),
    ];
    location(&officer.fill_in(&format!("{reply}/lawful-basis"), &basis).await);
    location(&officer.fill_in(&check, &[("version", "4")]).await);
}
