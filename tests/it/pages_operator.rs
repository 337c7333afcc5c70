//! The desk's pages for whoever looks after the machine or sees to it that it is right: what they show, what
//! they never show, and that a certificate revoked there is worthless when the page has answered.

use std::io::Write as _;
use std::process::{Command, Stdio};

use hyper::Method;
use hyper::header::HeaderMap;
use mash_gateway::message::{Kind, Role};
use serde_json::Value;

use crate::support::endpoint::Endpoint;
use crate::support::{
    Agency, Answer, CLOSED, HUB, POLICE, SURGERY, TRUST, TestGateway, case, eventually, text,
};

fn seat(gateway: &TestGateway, agency: &str, role: Role) -> Agency {
    gateway.seated(gateway.desk(agency, role))
}

/// The newest certificate of this agency and profile.
fn serial(gateway: &TestGateway, agency: &str, profile: &str) -> String {
    let listed = gateway.run(&["cert", "list", agency, "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let mut all = listed["certificates"].as_array().unwrap().iter();
    let found = all.find(|one| one["profile"] == profile).unwrap();
    found["serial"].as_str().unwrap().to_owned()
}

fn confirm(agency: &str, serial: &str) -> String {
    format!("/agencies/{agency}/certificates/{serial}/revoke/confirm")
}

/// What a page of the desk says, without its markup.
fn words(answer: &Answer) -> String {
    let main = answer.text().split_once("<main").unwrap().1.split_once("</main>").unwrap().0;
    let mut words = String::new();
    for part in main.split('<').skip(1) {
        let (tag, said) = part.split_once('>').unwrap();
        let name = tag.trim_start_matches('/').split(' ').next().unwrap();
        if !["a", "bdi", "code", "span", "strong", "time"].contains(&name) {
            words.push(' ');
        }
        words.push_str(said);
    }
    words.replace("&#39;", "'").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn an_agency_is_found_with_what_stands_wrong_first() {
    let mut endpoint = Endpoint::reserve();
    let gateway = TestGateway::start_with(&case::partners(&[(TRUST, &endpoint.lines(false))]));
    endpoint.introduce(&gateway.home());
    endpoint.leave();
    let operator = seat(&gateway, HUB, Role::Operator);
    gateway.agency(HUB).dispatch(&[POLICE]).await;
    let start = operator.page("/").await;
    assert_eq!((start.status, &start.headers["location"]), (303, &"/agencies".parse().unwrap()));
    let list = operator.page("/agencies").await;
    let said = words(&list);
    for agency in [HUB, POLICE, TRUST, SURGERY, CLOSED, "test-surgeries"] {
        assert!(list.text().contains(&format!("href=\"/agencies/{agency}\"")), "{agency}: {said}");
    }
    assert!(said.contains("1, the oldest since"), "{said}");
    assert!(!list.text().contains("Thistlebank"), "whom it is about");
    // Closed agencies stand last.
    let place = |agency: &str| list.text().find(&format!("/agencies/{agency}\"")).unwrap();
    assert!(place(POLICE) < place(CLOSED));

    let found = operator.page("/agencies?find=TEST-Pol").await;
    assert!(found.text().contains("/agencies/test-police\""));
    assert!(!found.text().contains("/agencies/test-trust\""));
    // An endpoint that does not answer needs somebody: it stands first.
    for _ in 0..6 {
        gateway.agency(HUB).dispatch(&[TRUST]).await;
    }
    let is_failing = async || operator.page("/agencies").await.text().contains("Does not answer");
    eventually("the endpoint is said not to answer", is_failing).await;
    let list = operator.page("/agencies").await;
    let first = list.text().split("href=\"/agencies/").nth(1).unwrap();
    assert!(first.starts_with(TRUST), "{first}");
    let trust = words(&operator.page(&format!("/agencies/{TRUST}")).await);
    assert!(
        trust.contains("Its endpoint does not answer") && trust.contains("To be pushed 6"),
        "{trust}"
    );

    let none = operator.page("/agencies?find=%3Cb%3Enobody").await;
    assert_eq!(none.status, 200);
    assert!(none.text().contains("&#60;b&#62;nobody"), "{}", none.text());
    for page in ["0", "2", "99999999999"] {
        assert_eq!(operator.page(&format!("/agencies?page={page}")).await.status, 200, "{page}");
    }
    assert_eq!(operator.page("/agencies?page=-1").await.status, 400);

    let police = words(&operator.page(&format!("/agencies/{POLICE}")).await);
    for phrase in [
        "01632 960101",
        "The agency's program",
        "Active",
        "It collects them from its mailbox here.",
        "In its mailbox, not collected 1",
        "Cut it off: revoke all it has at once",
    ] {
        assert!(police.contains(phrase), "{phrase}: {police}");
    }
    for nobody in ["/agencies/no-such-agency", "/agencies/NOT%20ONE", "/agencies/%3Cb%3E"] {
        assert_eq!(operator.page(nobody).await.status, 404, "{nobody}");
    }
    let elsewhere = serial(&gateway, TRUST, "system");
    let wrong = format!("/agencies/{POLICE}/certificates/{elsewhere}");
    assert_eq!(operator.page(&wrong).await.status, 404, "another agency's certificate");
    // The gateway's own stand under the hub's name, and are no agency's.
    let own = gateway.run(&["cert", "list", HUB, "--json"]);
    let own: Value = serde_json::from_slice(&own.stdout).unwrap();
    for one in own["certificates"].as_array().unwrap() {
        let is_own = one["profile"].as_str().unwrap().starts_with("gateway-");
        let path = format!("/agencies/{HUB}/certificates/{}", one["serial"].as_str().unwrap());
        assert_eq!(operator.page(&path).await.status, if is_own { 404 } else { 200 }, "{one}");
    }
    gateway.verify_log();
}

#[tokio::test]
async fn a_certificate_revoked_at_the_desk_is_worthless_when_the_page_has_answered() {
    let mut gateway = TestGateway::start();
    let operator = seat(&gateway, HUB, Role::Operator);
    let officer = seat(&gateway, POLICE, Role::ContactOfficer);
    let deputy = seat(&gateway, POLICE, Role::Deputy);
    let serial_of_operator = serial(&gateway, HUB, "operator");
    let revoked = serial(&gateway, POLICE, "contact-officer");
    // Open, and at work.
    let mut open = officer.connect().await;
    let mut still = async || {
        let sent = open.send(Method::GET, "/requests", HeaderMap::new(), Vec::new().into()).await;
        sent.map(|answer| answer.status.as_u16())
    };
    assert_eq!(still().await.unwrap(), 200);

    let certificate = format!("/agencies/{POLICE}/certificates/{revoked}");
    let before = words(&operator.page(&format!("{certificate}/revoke")).await);
    assert!(before.contains("This cannot be undone"), "{before}");
    assert!(before.contains("2 other certificates that are good"), "{before}");
    let path = confirm(POLICE, &revoked);
    assert_eq!(operator.page(&path).await.status, 200);
    // What is not meant is not done.
    for (fields, complaint) in [
        (&[][..], "Choose why."),
        (&[("reason", "key-compromise")], "Type the agency&#39;s id as it is here: test-police"),
        (&[("reason", "key-compromise"), ("confirm", TRUST)], "as it is here: test-police"),
        (&[("reason", "key-compromise"), ("confirm", "Test-Police")], "as it is here"),
        (&[("reason", "whim"), ("confirm", POLICE)], "Choose why."),
    ] {
        let wrong = operator.fill_in(&path, fields).await;
        assert_eq!(wrong.status, 422, "{fields:?}");
        assert!(wrong.text().contains("<title>Error: "), "{}", wrong.text());
        assert!(wrong.text().contains(complaint), "{complaint}: {}", wrong.text());
    }
    assert_eq!(officer.page("/requests").await.status, 200, "nothing was revoked so far");

    let meant = [("reason", "key-compromise"), ("confirm", POLICE)];
    let done = operator.fill_in(&path, &meant).await;
    let said = words(&done);
    assert_eq!(done.status, 200, "{said}");
    for phrase in [
        "The certificate is revoked",
        "In force: this gateway refuses it at every door.",
        "Connected with it now Nobody",
        "STILL GOOD: 2 other certificates",
        "Telephone the contact officer: A. Officer, 01632 960101",
        "mash-gateway cert issue test-police --desk NAME --role contact-officer",
        &format!("mash-gateway log show --certificate {revoked}"),
    ] {
        assert!(said.contains(phrase), "{phrase}: {said}");
    }
    assert!(!said.contains("NOT CONFIRMED") && !said.contains("NOT SIGNED"), "{said}");
    // The connection that was open is dead, and on a new one they are told.
    assert!(still().await.is_err(), "a connection that was open is cut");
    let refused = officer.page("/requests").await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("Your certificate was revoked"), "{}", refused.text());
    assert_eq!(deputy.page("/requests").await.status, 200, "it costs nobody else anything");
    let shown = words(&operator.page(&certificate).await);
    assert!(shown.contains("Revoked") && shown.contains("Do now"), "{shown}");

    // Sent again, it is no other revocation.
    let again = operator.fill_in(&path, &meant).await;
    assert!(words(&again).contains("nothing was left to revoke"), "{}", words(&again));
    // It is on the list, and in the log once, with the certificate of whoever did it.
    let listed = gateway.run(&["doctor", "--json"]);
    assert!(!text(&listed.stdout).contains("lacks a revocation"), "{}", text(&listed.stdout));
    gateway.stop();
    let entries = gateway.entries();
    let entries: Vec<_> =
        entries.iter().filter(|entry| entry["event"] == "certificate-revoked").collect();
    let [entry] = entries[..] else { panic!("{entries:?}") };
    assert_eq!(entry["serial"], revoked.as_str());
    assert_eq!(entry["reason"], "keyCompromise");
    assert_eq!(entry["certificate"], serial_of_operator.as_str());
    gateway.verify_log();
}

#[tokio::test]
async fn an_operator_who_revokes_their_own_is_cut_off_and_nothing_is_half_done() {
    let mut gateway = TestGateway::start();
    let operator = seat(&gateway, HUB, Role::Operator);
    let own = serial(&gateway, HUB, "operator");
    let before = operator.page(&format!("/agencies/{HUB}/certificates/{own}/revoke")).await;
    assert!(words(&before).contains("Your own, with which you are here"), "{}", words(&before));
    let body = format!("reason=superseded&confirm={HUB}");
    let headers =
        [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "same-origin")];
    // Whether the answer comes before the end of the connection is nobody's promise.
    let _ = operator.ask(Method::POST, &confirm(HUB, &own), &headers, body.into_bytes()).await;
    eventually("it is refused", async || operator.page("/agencies").await.status == 403).await;
    // All of it is done, though nobody waited for it: the list has it too.
    let lacks = async || {
        let doctor = gateway.run(&["doctor", "--json"]);
        !text(&doctor.stdout).contains("revocation list")
    };
    eventually("the lists are signed", lacks).await;
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn an_agency_is_cut_off_as_a_whole_and_nothing_it_has_becomes_a_certificate() {
    let mut gateway = TestGateway::start();
    let operator = seat(&gateway, HUB, Role::Operator);
    let officer = seat(&gateway, POLICE, Role::ContactOfficer);
    let program = gateway.agency(POLICE);
    let token = gateway.run(&["cert", "token", POLICE]);
    assert!(token.status.success(), "{}", text(&token.stderr));
    let by = serial(&gateway, HUB, "operator");
    let before = words(&operator.page(&format!("/agencies/{POLICE}/revoke")).await);
    assert!(before.contains("2 that are good") && before.contains("Nothing else"), "{before}");
    let path = format!("/agencies/{POLICE}/revoke/confirm");
    let wrong = operator.fill_in(&path, &[("reason", "superseded"), ("confirm", TRUST)]).await;
    assert_eq!(wrong.status, 422);
    assert_eq!(program.get("/v1/whoami").await.status, 200, "nothing was revoked so far");

    let fields = [("reason", "privilege-withdrawn"), ("confirm", POLICE)];
    let done = operator.fill_in(&path, &fields).await;
    let said = words(&done);
    assert_eq!(done.status, 200, "{said}");
    for phrase in
        ["The agency is cut off", "In force", "Revoked just now", "A. Officer, 01632 960101"]
    {
        assert!(said.contains(phrase), "{phrase}: {said}");
    }
    assert_eq!(officer.page("/requests").await.status, 403);
    assert!(program.request(Method::GET, "/v1/whoami", &[], Vec::new()).await.is_err());
    let again = words(&operator.fill_in(&path, &fields).await);
    assert!(again.contains("Nothing was left to revoke"), "{again}");
    gateway.stop();
    // Each is an entry, and what ended its token is one, with the certificate of whoever did it.
    let entries = gateway.entries();
    let count = |event: &str| {
        let is_theirs = |entry: &&Value| entry["event"] == event && entry["certificate"] == *by;
        entries.iter().filter(is_theirs).count()
    };
    assert_eq!(count("certificate-revoked"), 2);
    assert_eq!(count("enrolment-tokens-voided"), 2);
    gateway.verify_log();
}

#[tokio::test]
async fn what_cannot_be_written_is_not_revoked_and_the_page_says_so() {
    let gateway = TestGateway::start();
    let operator = seat(&gateway, HUB, Role::Operator);
    let officer = seat(&gateway, POLICE, Role::ContactOfficer);
    let meant = serial(&gateway, POLICE, "contact-officer");
    // Somebody else has the database, and keeps it.
    let mut other = Command::new("sqlite3")
        .arg(gateway.database())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut holds = other.stdin.take().unwrap();
    holds.write_all(b"BEGIN IMMEDIATE;\nSELECT 'held';\n").unwrap();
    let mut held = std::io::BufReader::new(other.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut held, &mut line).unwrap();
    assert_eq!(line, "held\n");
    let path = confirm(POLICE, &meant);
    let fields = [("reason", "key-compromise"), ("confirm", POLICE)];
    let failed = operator.fill_in(&path, &fields).await;
    assert_eq!(failed.status, 503, "{}", failed.text());
    assert!(failed.text().contains("The certificate was NOT revoked."), "{}", failed.text());
    assert!(!failed.text().contains("The certificate is revoked"));
    drop(holds);
    other.wait().unwrap();
    // As if nothing had been asked; and asked again, it is done.
    assert_eq!(officer.page("/requests").await.status, 200);
    let shown = words(&operator.page(&format!("/agencies/{POLICE}/certificates/{meant}")).await);
    assert!(shown.contains("Active") && !shown.contains("Do now"), "{shown}");
    let done = operator.fill_in(&path, &fields).await;
    assert!(words(&done).contains("In force"), "{}", words(&done));
    assert_eq!(officer.page("/requests").await.status, 403);
    gateway.verify_log();
}

#[tokio::test]
async fn nobody_but_an_operator_revokes_and_no_agency_sees_another() {
    let gateway = TestGateway::start();
    let meant = serial(&gateway, TRUST, "system");
    let fields = [("reason", "superseded"), ("confirm", TRUST)];
    for (agency, role, sees_agencies, sees_figures) in [
        (HUB, Role::Auditor, true, true),
        (HUB, Role::OperationalLead, true, true),
        (HUB, Role::TeamManager, false, false),
        (HUB, Role::HealthRepresentative, false, false),
        (HUB, Role::SocialWorker, false, false),
        (POLICE, Role::Auditor, false, false),
        (TRUST, Role::ContactOfficer, false, false),
        (TRUST, Role::Deputy, false, false),
    ] {
        let person = seat(&gateway, agency, role);
        let said = format!("{agency} {role:?}");
        for path in
            ["/agencies".to_owned(), format!("/agencies/{TRUST}"), "/dead-letters".to_owned()]
        {
            let status = person.page(&path).await.status;
            assert_eq!(status, if sees_agencies { 200 } else { 403 }, "{said} {path}");
        }
        let status = person.page("/timeliness").await.status;
        assert_eq!(status, if sees_figures { 200 } else { 403 }, "{said}");
        let path = confirm(TRUST, &meant);
        assert_eq!(person.page(&path).await.status, 403, "{said}");
        let refused = person.fill_in(&path, &fields).await;
        assert_eq!(refused.status, 403, "{said}");
        assert!(refused.text().contains("This is for the operator"), "{}", refused.text());
        if sees_agencies {
            let page = person.page(&format!("/agencies/{TRUST}/certificates/{meant}")).await;
            assert!(!words(&page).contains("Revoke this certificate"), "{said}");
        }
    }
    let operator = seat(&gateway, HUB, Role::Operator);
    assert_eq!(
        operator.page("/timeliness").await.status,
        403,
        "how agencies do is not the machine"
    );
    // No other site's page has an operator's browser revoke anything.
    let cross =
        [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "cross-site")];
    let body = format!("reason=superseded&confirm={TRUST}").into_bytes();
    let foreign = operator.ask(Method::POST, &confirm(TRUST, &meant), &cross, body).await.unwrap();
    assert_eq!(foreign.status, 403);
    assert_eq!(gateway.agency(TRUST).get("/v1/whoami").await.status, 200, "nothing was revoked");
    gateway.verify_log();
}

#[tokio::test]
async fn what_was_returned_is_listed_with_why_and_what_to_type() {
    let mut endpoint = Endpoint::reserve();
    let gateway = TestGateway::start_with(&case::partners(&[(POLICE, &endpoint.lines(false))]));
    endpoint.introduce(&gateway.home());
    endpoint.start(&gateway.home());
    endpoint.answer_with(&[410]);
    let operator = seat(&gateway, HUB, Role::Operator);
    let none = words(&operator.page("/dead-letters").await);
    assert!(none.contains("Nothing was returned"), "{none}");
    let asked = gateway.agency(HUB).dispatch(&[POLICE]).await;
    let asked = &asked["exchanges"][0];
    let (message, reference) =
        (asked["message"].as_str().unwrap(), asked["reference"].as_str().unwrap());
    let is_listed = async || operator.page("/dead-letters").await.text().contains(message);
    eventually("it is returned", is_listed).await;
    let listed = operator.page("/dead-letters").await;
    let said = words(&listed);
    for phrase in [reference, "Request for information", "Test test-police", "dead-letter retry"] {
        assert!(said.contains(phrase), "{phrase}: {said}");
    }
    assert!(!listed.text().contains("Thistlebank"));
    let list = words(&operator.page("/agencies").await);
    assert!(list.contains("1 returned"), "{list}");
    // What an auditor cannot type is not said to them.
    let auditor = seat(&gateway, HUB, Role::Auditor);
    let said = words(&auditor.page("/dead-letters").await);
    assert!(said.contains(reference) && !said.contains("dead-letter retry"), "{said}");
}

#[tokio::test]
async fn each_finds_in_the_log_what_their_agency_is_named_in() {
    let gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    let asked = hub.dispatch(&[POLICE, TRUST]).await;
    let reference = |at: usize| asked["exchanges"][at]["reference"].as_str().unwrap();
    let police = gateway.agency(POLICE);
    let rfi = police.collect_first().await;
    police
        .post(&case::path(&rfi, "responses"), &case::response(rfi["id"].as_str().unwrap()))
        .await
        .ok(202);
    let find = |reference: &str| format!("/log?reference=+{}+", reference.to_lowercase());
    for (agency, role) in [(POLICE, Role::Auditor), (HUB, Role::Operator), (HUB, Role::Auditor)] {
        let person = seat(&gateway, agency, role);
        let found = person.page(&find(reference(0))).await;
        let said = words(&found);
        assert_eq!(found.status, 200, "{agency} {role:?}: {said}");
        for phrase in [
            &format!("What is logged of {}", reference(0)),
            "Accepted: Request for information",
            "Collected",
            "Accepted: Reply",
            "Test test-police to Test test-mash",
        ] {
            assert!(said.contains(phrase), "{phrase}: {said}");
        }
        assert!(!found.text().contains("Thistlebank"));
        // How it stands is there for everybody; what is found damaged is the hub's to know.
        assert!(said.contains("Latest checkpoint") && said.contains("Entries"), "{said}");
        assert_eq!(said.contains("Found damaged None"), agency == HUB, "{said}");
    }
    // Another's request is as one that there is not.
    let auditor = seat(&gateway, POLICE, Role::Auditor);
    let others = auditor.page(&find(reference(1))).await;
    let none = auditor.page(&find("RFI-2026-999999-7")).await;
    let hostile = auditor.page("/log?reference=%3Cscript%3E").await;
    for answer in [&others, &none, &hostile] {
        assert_eq!(answer.status, 404);
        assert!(answer.text().contains("<title>Error: "));
        assert!(answer.text().contains("your agency has no request of that name"));
    }
    assert!(!others.text().contains("What is logged of"));
    assert!(!hostile.text().contains("<script>"), "{}", hostile.text());
    assert!(hostile.text().contains("value=\"&#60;script&#62;\""), "it is kept as it was typed");
    gateway.verify_log();
}

#[tokio::test]
async fn the_figures_are_those_of_the_report() {
    let gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    hub.dispatch(&[POLICE, TRUST]).await;
    let police = gateway.agency(POLICE);
    let rfi = police.collect_first().await;
    police
        .post(&case::path(&rfi, "responses"), &case::response(rfi["id"].as_str().unwrap()))
        .await
        .ok(202);
    hub.post(
        &format!("/v1/exchanges/{}/cancellations", rfi["exchangereference"].as_str().unwrap()),
        &case::said(Kind::Cancellation, rfi["id"].as_str().unwrap()),
    )
    .await;
    let lead = seat(&gateway, HUB, Role::OperationalLead);
    // Made when somebody asks, beside the page.
    let first = lead.page("/timeliness").await;
    assert_eq!(first.status, 200);
    let is_made = async || lead.page("/timeliness").await.text().contains("By agency");
    eventually("the figures are made", is_made).await;
    let page = lead.page("/timeliness").await;
    let said = words(&page);
    let report = gateway.run(&["report", "timeliness", "--format", "json"]);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    for one in report["figures"].as_array().unwrap() {
        if one["priority"] != "all" {
            continue;
        }
        let name = match one["agency"].as_str().unwrap() {
            "all" => "All agencies".to_owned(),
            id => format!("Test {id}"),
        };
        let row = format!(
            "{name} {} asked {} in time {} late {} overdue",
            one["asked"], one["answeredInTime"], one["answeredLate"], one["overdue"]
        );
        assert!(said.contains(&row), "{row}: {said}");
    }
    let plot = lead.page("/timeliness/plot").await;
    assert_eq!(plot.headers["content-type"], "image/svg+xml");
    assert!(plot.text().starts_with("<svg xmlns="), "{}", plot.text());
    assert!(
        plot.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'")
    );
    assert!(page.body.len() + plot.body.len() < 50_000);
}

#[tokio::test]
async fn a_certificate_is_shown_as_it_stands() {
    // Made 62 days ago, each for 90 days.
    let mut gateway = TestGateway::made_long_ago(&case::partners(&[]), "-62d");
    gateway.serve();
    let operator = seat(&gateway, HUB, Role::Operator);
    // The lists had lapsed: nobody is let in until there are new ones.
    eventually("they are let in", async || operator.page("/agencies").await.status == 200).await;
    let row = async |agency: &str| {
        let list = operator.page("/agencies").await;
        let from = list.text().split_once(&format!("/agencies/{agency}\"")).unwrap().1.to_owned();
        from.split_once("</tr>").unwrap().0.to_owned()
    };
    for agency in [POLICE, TRUST] {
        assert!(row(agency).await.contains("Expires soon"), "{agency}");
    }
    // Who has a successor may let the old one end.
    gateway.certify(POLICE);
    let has_two = async || {
        operator.page(&format!("/agencies/{POLICE}")).await.text().matches("program").count() > 2
    };
    eventually("the new one is there", has_two).await;
    let police = row(POLICE).await;
    assert!(police.contains("Active") && !police.contains("Expires soon"), "{police}");
    let page = words(&operator.page(&format!("/agencies/{POLICE}")).await);
    assert!(page.contains("It has a successor."), "{page}");
    // Who has none left.
    let revoked =
        gateway.run(&["cert", "revoke", SURGERY, "--reason", "superseded", "--confirm", SURGERY]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    assert!(row(SURGERY).await.contains("Revoked"));
    assert!(row(CLOSED).await.contains("None"));
    gateway.stop();
    gateway.set_clock(Some("+30d"));
    gateway.serve();
    let operator = seat(&gateway, HUB, Role::Operator);
    let has_expired = async || operator.page("/agencies").await.text().contains("Expired");
    eventually("what ended is said to have", has_expired).await;
    // There is nothing to revoke of it, but if somebody else has its key that is worth knowing.
    let over = serial(&gateway, TRUST, "system");
    let revoke = async |reason| {
        let fields = [("reason", reason), ("confirm", TRUST)];
        words(&operator.fill_in(&confirm(TRUST, &over), &fields).await)
    };
    let none = revoke("superseded").await;
    assert!(none.contains("The certificate has expired It was so before"), "{none}");
    let compromised = revoke("key-compromise").await;
    assert!(compromised.contains("The certificate is revoked In force"), "{compromised}");
    gateway.verify_log();
}
