//! What is told to whom afterwards, and the edges of consent: the referrer, the record, those who go on with
//! the family, and whoever is to look again.

use hyper::Method;
use mash_gateway::message::{Kind, Role};
use serde_json::{Value, json};

use crate::support::{
    Agency, Answer, EARLY_HELP, HUB, POLICE, SOCIAL_CARE, SURGERY, TRUST, TestGateway, case, text,
};

async fn say(who: &Agency, asked: &Value, kind: Kind, body: &Value) -> Value {
    who.post(&case::path(asked, kind.path().unwrap()), body).await.ok(202)
}

/// How an exchange stands, as its parties see it.
async fn stands(who: &Agency, asked: &Value) -> Value {
    who.get_json(&format!("/v1/exchanges/{}", asked["exchange"].as_str().unwrap())).await
}

fn is_due(exchange: &Value, timer: &str) -> bool {
    exchange["due"].as_array().into_iter().flatten().any(|due| due["timer"] == timer)
}

/// The one thing that is wrong: where, and which rule.
#[track_caller]
fn wrong(answer: &Answer) -> (String, String) {
    let problem = answer.problem(422, "schema");
    let [error] = &problem["errors"].as_array().unwrap()[..] else { panic!("{problem}") };
    let part = |name: &str| error[name].as_str().unwrap().to_owned();
    (part("pointer"), part("code"))
}

#[track_caller]
fn is_wrong(answer: &Answer, pointer: &str, code: &str) {
    assert_eq!(wrong(answer), (pointer.to_owned(), code.to_owned()));
}

fn contact(channel: &str, told_at: &str) -> Value {
    json!({
        "channel": channel, "toldAt": told_at,
        "toldBy": { "name": "Juno Withycombe", "jobTitle": "Social Worker" },
    })
}

fn threshold_not_met() -> Value {
    let mut outcome = case::outcome_of("no-further-action-threshold-not-met");
    outcome["textForRecord"] = json!("The threshold for social care is not met.");
    outcome
}

#[tokio::test]
async fn the_referrer_is_told_and_nothing_is_due_of_it_any_more() {
    let mut gateway = TestGateway::start();
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    let dispatched = hub.dispatch(&[TRUST, SURGERY]).await;
    let [asked, other] = &dispatched["exchanges"].as_array().unwrap()[..] else { panic!("two") };
    let enquiry = format!("/v1/enquiries/{}", dispatched["enquiry"].as_str().unwrap());
    let contacts = format!("{enquiry}/referrer-contacts");
    let rfi = asked["message"].as_str().unwrap();
    say(&trust, asked, Kind::Response, &case::response(rfi)).await;
    say(&hub, asked, Kind::Outcome, &threshold_not_met()).await;
    for exchange in [asked, other] {
        assert!(is_due(&stands(&hub, exchange).await, "referrer-told"));
    }
    assert_eq!(hub.get_json(&enquiry).await.get("referrerToldAt"), None);

    // Not so, not then, not by nobody, and not by those who were asked.
    let refused = hub.post(&contacts, &contact("email", &case::hours(0))).await;
    is_wrong(&refused, "/channel", "channel-letter-or-telephone");
    let refused = hub.post(&contacts, &contact("letter", &case::hours(1))).await;
    is_wrong(&refused, "/toldAt", "in-the-future");
    let refused = hub.post(&contacts, &contact("letter", &case::hours(-1))).await;
    is_wrong(&refused, "/toldAt", "before-the-enquiry");
    let mut nobody = contact("letter", &case::hours(0));
    nobody.as_object_mut().unwrap().remove("toldBy");
    is_wrong(&hub.post(&contacts, &nobody).await, "/toldBy", "required");
    let told = contact("telephone", &case::hours(0));
    trust.post(&contacts, &told).await.problem(404, "not-found");
    hub.post("/v1/enquiries/none/referrer-contacts", &told).await.problem(404, "not-found");
    assert!(is_due(&stands(&hub, asked).await, "referrer-told"), "nothing was recorded");

    // The social worker tells them, by the agreement, and says so.
    let worker = gateway.desk(HUB, Role::SocialWorker);
    let recorded = worker.post(&contacts, &told).await.ok(201);
    let paragraph = recorded["textForRecord"].as_str().unwrap();
    assert!(paragraph.contains("by telephone") && paragraph.contains("Juno Withycombe"));
    for exchange in [asked, other] {
        assert!(!is_due(&stands(&hub, exchange).await, "referrer-told"));
    }
    let told_at = hub.get_json(&enquiry).await["referrerToldAt"].clone();
    assert_eq!(told_at, told["toldAt"]);
    // A letter as well: it is in the log, and the first word still was the first.
    hub.post(&contacts, &contact("letter", &case::hours(0))).await.ok(201);
    assert_eq!(hub.get_json(&enquiry).await["referrerToldAt"], told_at);
    // The hub can read that in the log, and nobody else.
    for (who, sees) in [(&hub, true), (&trust, false)] {
        let log = who.get_json("/v1/log/entries").await;
        let entries = log["entries"].as_array().unwrap();
        let is_it = |entry: &Value| entry["fields"]["event"] == "referrer-told";
        assert_eq!(entries.iter().any(is_it), sees);
    }

    gateway.stop();
    gateway.verify_log();
    let entries = gateway.entries();
    let told: Vec<_> = entries.iter().filter(|entry| entry["event"] == "referrer-told").collect();
    let [first, second] = &told[..] else { panic!("{told:?}") };
    assert_eq!(
        (&first["channel"], &first["desk"], &first["agency"]),
        (&json!("telephone"), &json!("social-worker"), &json!(HUB))
    );
    assert_eq!((&second["channel"], second.get("desk")), (&json!("letter"), None));
    gateway.holds_nowhere(&["Withycombe"]);
}

#[tokio::test]
async fn the_referrer_may_hear_before_any_agency_does_and_from_the_command_line() {
    let mut gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    let dispatched = hub.dispatch(&[TRUST]).await;
    let asked = &dispatched["exchanges"][0];
    let file = gateway.folder().join("told.json");
    std::fs::write(&file, contact("letter", &case::hours(0)).to_string()).unwrap();
    let agencies = gateway.agencies();
    let path = |name: &str| agencies.join(name).to_str().unwrap().to_owned();
    let run = |enquiry: &str| {
        let arguments = [
            "enquiry",
            "referrer-told",
            enquiry,
            file.to_str().unwrap(),
            "--gateway",
            &gateway.url,
            "--cert",
            &path(&format!("{HUB}.pem")),
            "--key",
            &path(&format!("{HUB}.key")),
            "--ca",
            &path("ca.pem"),
        ];
        gateway.run(&arguments)
    };
    let done = run(asked["reference"].as_str().unwrap());
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stdout).contains("told by letter"), "{}", text(&done.stdout));
    let unknown = run("01890a5d-ac96-774b-bcce-b302099a8057");
    assert_eq!(unknown.status.code(), Some(4), "{}", text(&unknown.stderr));
    say(&hub, asked, Kind::Outcome, &threshold_not_met()).await;
    assert!(!is_due(&stands(&hub, asked).await, "referrer-told"));
    gateway.stop();
    gateway.verify_log();
}

/// Somebody with the database in their hands cannot make it look as if the referrer had been told.
#[tokio::test]
async fn a_referrer_who_was_not_told_is_not_told_by_a_row() {
    let mut gateway = TestGateway::start();
    gateway.agency(HUB).dispatch(&[TRUST]).await;
    gateway.stop();
    gateway.verify_log();
    let sql = "UPDATE enquiries SET referrer_told_ms = opened_ms + 1";
    let changed = std::process::Command::new("sqlite3").arg(gateway.database()).arg(sql).status();
    assert!(changed.unwrap().success());
    let verified = gateway.run(&["log", "verify"]);
    assert_eq!(verified.status.code(), Some(3), "{}", text(&verified.stdout));
}

fn saved(reference: Option<&str>) -> Value {
    let mut saved = json!({
        "savedBy": { "name": "Oswin Quillfeather", "jobTitle": "Health Representative" },
        "savedAt": case::hours(0),
    });
    if let Some(reference) = reference {
        saved["recordRef"] = json!(reference);
    }
    saved
}

async fn save(who: &Agency, path: &str) -> Answer {
    who.request(Method::POST, path, &[], Vec::new()).await.unwrap()
}

#[tokio::test]
async fn where_an_answer_was_saved_is_known_to_whoever_saved_it_and_to_nobody_else() {
    let mut gateway = TestGateway::start();
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    let dispatched = hub.dispatch(&[TRUST]).await;
    let asked = &dispatched["exchanges"][0];
    let response = case::response(asked["message"].as_str().unwrap());
    let answered = say(&trust, asked, Kind::Response, &response).await;
    let message = format!("/v1/messages/{}", answered["message"].as_str().unwrap());
    let path = format!("{message}/saved");

    let record = saved(Some("THISTLEBANK-2017-W"));
    hub.post(&path, &record).await.problem(409, "not-collected");
    hub.get(&path).await.problem(404, "not-found");
    hub.get_json(&message).await;
    // What is wrong with it is said before anything is saved.
    let mut nobody = record.clone();
    nobody.as_object_mut().unwrap().remove("savedBy");
    is_wrong(&hub.post(&path, &nobody).await, "/savedBy", "required");
    let mut later = record.clone();
    later["savedAt"] = json!(case::hours(1));
    is_wrong(&hub.post(&path, &later).await, "/savedAt", "in-the-future");
    let mut more = record.clone();
    more["summary"] = json!("Seen without a coat.");
    is_wrong(&hub.post(&path, &more).await, "", "unknown-field");
    hub.post_bytes(&path, "", "{").await.problem(400, "not-json");
    let plain = [("content-type", "text/plain")];
    let refused = hub.request(Method::POST, &path, &plain, b"{}".to_vec()).await.unwrap();
    refused.problem(415, "content-type");
    hub.get(&path).await.problem(404, "not-found");

    let first = hub.post(&path, &record).await.ok(200);
    // Said again, or otherwise, or not at all: the first stands.
    for again in [hub.post(&path, &saved(Some("ANOTHER"))).await, save(&hub, &path).await] {
        assert_eq!(again.ok(200), first);
    }
    let shown = hub.get_json(&path).await;
    assert_eq!((&shown["record"], &shown["entry"]), (&record, &first["entry"]));
    trust.get(&path).await.problem(404, "not-found");
    trust.post(&path, &record).await.problem(404, "not-found");

    // Whoever said only that it is saved may say later where.
    let rfi = format!("/v1/messages/{}", asked["message"].as_str().unwrap());
    trust.get_json(&rfi).await;
    let path = format!("{rfi}/saved");
    let first = save(&trust, &path).await.ok(200);
    assert_eq!(trust.get_json(&path).await.get("record"), None);
    assert_eq!(trust.post(&path, &saved(None)).await.ok(200), first);
    assert_eq!(trust.get_json(&path).await["record"].get("recordRef"), None);
    assert_eq!(trust.get_json(&path).await["record"]["savedBy"], saved(None)["savedBy"]);

    gateway.stop();
    gateway.verify_log();
    let entries = gateway.entries();
    let logged: Vec<_> = entries.iter().filter(|entry| entry["event"] == "saved").collect();
    let has_record: Vec<_> = logged.iter().map(|entry| entry["record"].is_string()).collect();
    assert_eq!(has_record, [true, false, true]);
    gateway.holds_nowhere(&["THISTLEBANK-2017-W", "Quillfeather"]);
    // What is kept of it is held to the log.
    let sql = "UPDATE saved_records SET ciphertext = x'00' WHERE entry = (SELECT min(entry) FROM saved_records)";
    let changed = std::process::Command::new("sqlite3").arg(gateway.database()).arg(sql).status();
    assert!(changed.unwrap().success());
    assert_eq!(gateway.run(&["log", "verify"]).status.code(), Some(3));
}

fn born(years_ago: i16, days_later: i64) -> String {
    let today = mash_gateway::message::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let then = today.checked_sub(jiff::Span::new().years(years_ago)).unwrap();
    then.checked_add(jiff::Span::new().days(days_later)).unwrap().to_string()
}

/// What a dispatch about these persons is warned of; it is sent all the same, and when sent again is warned
/// of alike.
async fn warned_of(hub: &Agency, persons: &Value) -> Vec<(String, String)> {
    let mut dispatch = case::dispatch(&[TRUST]);
    dispatch["rfi"]["persons"] = persons.clone();
    dispatch["rfi"]["responseRequiredBy"] = json!(case::hours(24 * 7));
    let (key, body) = (uuid::Uuid::new_v4().to_string(), dispatch.to_string());
    let first = hub.post_bytes("/v1/rfis", &key, body.clone()).await;
    let again = hub.post_bytes("/v1/rfis", &key, body).await;
    assert_eq!((first.status, first.text()), (again.status, again.text()));
    let answer = first.ok(202);
    let part = |warning: &Value, name: &str| warning[name].as_str().unwrap().to_owned();
    let warnings = answer["warnings"].as_array().cloned().unwrap_or_default();
    warnings.iter().map(|it| (part(it, "pointer"), part(it, "code"))).collect()
}

#[tokio::test]
async fn ages_are_warned_of_and_stop_nothing() {
    let mut gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    let child = |number: u8, birth_date: &str| {
        json!({
            "personId": format!("p{number}"), "kind": "child", "relationship": "child",
            "familyName": "Thistlebank", "givenName": "Wrenna", "birthDate": birth_date,
        })
    };
    assert_eq!(warned_of(&hub, &json!([child(1, &born(9, 0))])).await, []);
    let mut judged = child(5, &born(14, 0));
    judged["competentToDecide"] =
        json!({ "answer": "yes", "reason": "She was asked, and understood what it means." });
    let persons = json!([
        child(1, &born(16, -1)),
        child(2, &born(16, 5)),
        child(3, &born(18, 5)),
        child(4, &born(13, -1)),
        judged,
        child(6, &born(20, 0)),
    ]);
    let place = |at: u8, member: &str| format!("/rfi/persons/{at}/{member}");
    let expected = [
        (place(0, "birthDate"), "own-answer-from-16"),
        (place(1, "competentToDecide"), "competence-not-judged"),
        (place(1, "birthDate"), "turns-16-before-due"),
        (place(2, "birthDate"), "own-answer-from-16"),
        (place(2, "birthDate"), "turns-18-before-due"),
        (place(3, "competentToDecide"), "competence-not-judged"),
        (place(5, "birthDate"), "adult-from-18"),
    ];
    let expected = expected.map(|(pointer, code)| (pointer, code.to_owned()));
    assert_eq!(warned_of(&hub, &persons).await, expected);

    // The receipts in such an answer are as good as any.
    let mut dispatch = case::dispatch(&[TRUST]);
    dispatch["rfi"]["persons"] = persons;
    let answer = hub.post("/v1/rfis", &dispatch).await;
    assert_eq!(answer.status, 202);
    let file = gateway.folder().join("answer.json");
    std::fs::write(&file, answer.text()).unwrap();
    let verified = gateway.run(&["receipt", "verify", file.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    gateway.stop();
    gateway.verify_log();
    // What is warned of is nobody's but the sender's.
    gateway.holds_nowhere(&["own-answer-from-16", "turns-18-before-due"]);
}

#[tokio::test]
async fn what_is_about_crime_says_so_outside_its_payload() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.dispatch(&[POLICE]).await;
    let asked = &dispatched["exchanges"][0];
    let rfi = asked["message"].as_str().unwrap();
    let labelled = async |accepted: Value| {
        let path = format!("/v1/messages/{}", accepted["message"].as_str().unwrap());
        hub.get_json(&path).await["handling"].clone()
    };
    // Nothing is known of any.
    let answer = say(&police, asked, Kind::Response, &case::partial(rfi)).await;
    assert_eq!(labelled(answer).await, "not-without-asking-us");
    let mut response = case::response(rfi);
    response["answers"][1] = case::supplement(rfi)["answers"][0].clone();
    let answer = say(&police, asked, Kind::Response, &response).await;
    assert_eq!(labelled(answer).await, "not-without-asking-us criminal-offence-data");
    let more = say(&police, asked, Kind::Supplement, &case::supplement(rfi)).await;
    assert_eq!(labelled(more).await, "not-without-asking-us criminal-offence-data");
    gateway.stop();
    gateway.verify_log();
    let entries = gateway.entries();
    let supplement = entries.iter().find(|entry| entry["kind"] == "supplement").unwrap();
    assert_eq!(supplement["handling"], "not-without-asking-us criminal-offence-data");
}

/// A gateway whose directory has those who go on with a family.
fn with_followers() -> TestGateway {
    let mut gateway = TestGateway::made(&(case::partners(&[]) + &case::followers()));
    gateway.certify(EARLY_HELP);
    gateway.certify(SOCIAL_CARE);
    gateway.serve();
    gateway
}

/// What an agency's message is, as the hub names it.
fn id(accepted: &Value) -> &str {
    accepted["message"].as_str().unwrap()
}

async fn document(who: &Agency, accepted: &Value) -> Value {
    who.get_json(&format!("/v1/messages/{}", id(accepted))).await
}

#[tokio::test]
async fn an_answer_goes_to_whoever_assesses_the_child_with_its_labels_and_to_nobody_else() {
    let mut gateway = with_followers();
    let (hub, police, trust) = (gateway.agency(HUB), gateway.agency(POLICE), gateway.agency(TRUST));
    let social_care = gateway.agency(SOCIAL_CARE);
    let dispatched = hub.dispatch(&[POLICE, TRUST]).await;
    let [asked, other] = &dispatched["exchanges"].as_array().unwrap()[..] else { panic!("two") };
    let rfi = id(asked);
    let forwardings = case::path(asked, "forwardings");
    let mut response = case::partial(rfi);
    response["answers"][0] = case::supplement(rfi)["answers"][0].clone();
    let answer = say(&police, asked, Kind::Response, &response).await;
    let forwarding = case::forwarding(rfi, id(&answer));

    // Not before it is decided that somebody assesses.
    hub.post(&forwardings, &forwarding).await.problem(409, "outcome-not-sent");
    say(&hub, other, Kind::Outcome, &case::outcome_of("social-care-assessment")).await;
    let passed_on = hub.post(&forwardings, &forwarding).await.ok(202);
    let received = document(&social_care, &passed_on).await;
    assert_eq!(received["type"], "org.mash.forwarding.v1");
    assert_eq!(received["source"], format!("spiffe://{}/agency/{HUB}", crate::support::DOMAIN));
    let label = "not-without-asking-us criminal-offence-data";
    assert_eq!((&received["handling"], &received["to"]), (&json!(label), &json!(SOCIAL_CARE)));
    assert_eq!(received["visibleto"], "mash-team-manager social-worker");
    let within = &received["data"]["answer"];
    assert_eq!((&within["data"], &within["from"]), (&response, &json!(POLICE)));
    assert_eq!((&within["handling"], &within["message"]), (&json!(label), &answer["message"]));
    assert_eq!(received["data"].get("confirmation"), None);

    // Whose it is sees that it went further, and nothing else; who has it is no party to anything.
    let timeline = stands(&police, asked).await["timeline"].clone();
    let told: Vec<_> = timeline.as_array().unwrap().iter().map(|e| &e["recipient"]).collect();
    assert!(told.contains(&&json!(SOCIAL_CARE)), "{timeline}");
    let path = format!("/v1/messages/{}", id(&passed_on));
    police.get(&path).await.problem(404, "not-found");
    let exchange = format!("/v1/exchanges/{}", asked["exchange"].as_str().unwrap());
    social_care.get(&exchange).await.problem(404, "not-found");
    let reply = case::said(Kind::Clarification, rfi);
    social_care.post(&case::path(asked, "clarifications"), &reply).await.problem(404, "not-found");

    // To the social work team, of this exchange's answers, by the hub.
    for (to, code) in [
        (TRUST, "recipient-of-another-kind"),
        (EARLY_HELP, "recipient-of-another-kind"),
        (HUB, "recipient-is-the-hub"),
        ("test-nobody", "unknown-recipient"),
    ] {
        let mut wrong = forwarding.clone();
        wrong["to"] = json!(to);
        let problem = hub.post(&forwardings, &wrong).await.problem(422, "recipient");
        let error = &problem["errors"][0];
        assert_eq!((&error["pointer"], &error["code"]), (&json!("/to"), &json!(code)));
    }
    let others = say(&trust, other, Kind::Response, &case::response(id(other))).await;
    for message in [id(&others), rfi, "01890a5d-ac96-774b-bcce-b302099a8057"] {
        let wrong = case::forwarding(rfi, message);
        is_wrong(&hub.post(&forwardings, &wrong).await, "/message", "not-an-answer-here");
    }
    let mut wrong = forwarding.clone();
    wrong["answer"] = within.clone();
    is_wrong(&hub.post(&forwardings, &wrong).await, "/answer", "written-by-gateway");
    police.post(&forwardings, &forwarding).await.problem(403, "wrong-party");
    social_care.post(&forwardings, &forwarding).await.problem(404, "not-found");

    // Nobody passes on what they may not see, and nothing goes to whom its sender does not show it.
    let representative = gateway.desk(HUB, Role::HealthRepresentative);
    representative.post(&forwardings, &forwarding).await.problem(403, "role-not-permitted");
    gateway.desk(HUB, Role::TeamManager).post(&forwardings, &forwarding).await.ok(202);
    response["visibleTo"] = json!(["mash-team-manager"]);
    let answer = say(&police, asked, Kind::Response, &response).await;
    let kept = case::forwarding(rfi, id(&answer));
    let problem = hub.post(&forwardings, &kept).await.problem(403, "role-not-permitted");
    assert_eq!(problem["detail"], "Its sender shows this to the MASH Team Manager only.");

    // What the family may be told goes by what was said last: wider, and narrower again.
    for (said, label) in [
        ("family-may-be-told", "family-may-be-told criminal-offence-data"),
        ("not-without-asking-us", "not-without-asking-us criminal-offence-data"),
    ] {
        let mut confirmed = case::said(Kind::OnwardDisclosure, rfi);
        confirmed.as_object_mut().unwrap().remove("answers");
        confirmed["onwardDisclosure"] = json!(said);
        say(&police, asked, Kind::OnwardDisclosure, &confirmed).await;
        let passed_on = hub.post(&forwardings, &forwarding).await.ok(202);
        let received = document(&social_care, &passed_on).await;
        assert_eq!(
            (&received["handling"], &received["data"]["confirmation"]),
            (&json!(label), &confirmed)
        );
        // What it was labelled when it came is still to be seen.
        let was = &received["data"]["answer"]["handling"];
        assert_eq!(was, "not-without-asking-us criminal-offence-data");
    }
    // The same once more is the same.
    let key = uuid::Uuid::new_v4().to_string();
    let first = hub.post_bytes(&forwardings, &key, forwarding.to_string()).await;
    let again = hub.post_bytes(&forwardings, &key, forwarding.to_string()).await;
    assert_eq!((first.status, first.text()), (202, again.text()));

    gateway.stop();
    gateway.verify_log();
    let entries = gateway.entries();
    let passed_on = |entry: &&Value| entry["event"] == "accepted" && entry["kind"] == "forwarding";
    let labels: Vec<_> = entries.iter().filter(passed_on).map(|e| e["handling"].clone()).collect();
    let (asking, open) =
        ("not-without-asking-us criminal-offence-data", "family-may-be-told criminal-offence-data");
    assert_eq!(labels, [asking, asking, open, asking, asking]);
    gateway.holds_nowhere(&["caution was found", "what the school saw"]);
}

#[tokio::test]
async fn early_help_hears_of_the_concerns_once_it_is_the_outcome() {
    let mut gateway = with_followers();
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    let early_help = gateway.agency(EARLY_HELP);
    let dispatched = hub.dispatch(&[TRUST]).await;
    let asked = &dispatched["exchanges"][0];
    let rfi = id(asked);
    let step_downs = case::path(asked, "step-downs");
    let step_down = case::said(Kind::StepDown, rfi);
    hub.post(&step_downs, &step_down).await.problem(409, "outcome-not-sent");

    // Early help is no outcome without what the family knows of it (R108, R116).
    let outcomes = case::path(asked, "outcomes");
    for (member, code) in [
        ("familyTold", "family-told-required"),
        ("letterToFamily", "letter-to-family-required"),
        ("nextAgency", "next-agency-required"),
    ] {
        let mut outcome = case::outcome();
        outcome.as_object_mut().unwrap().remove(member);
        is_wrong(&hub.post(&outcomes, &outcome).await, &format!("/{member}"), code);
    }
    hub.post(&outcomes, &case::outcome()).await.ok(202);
    // Below the threshold for social care: whoever referred the child is owed a word of it as well.
    assert!(is_due(&stands(&hub, asked).await, "referrer-told"));

    let told = hub.post(&step_downs, &step_down).await.ok(202);
    let received = document(&early_help, &told).await;
    assert_eq!(
        (&received["type"], &received["data"]),
        (&json!("org.mash.step-down.v1"), &step_down)
    );
    trust.get(&format!("/v1/messages/{}", id(&told))).await.problem(404, "not-found");
    let timeline = stands(&trust, asked).await["timeline"].clone();
    assert!(
        timeline.as_array().unwrap().iter().any(|e| e["recipient"] == EARLY_HELP),
        "{timeline}"
    );
    let mut wrong = step_down.clone();
    wrong["to"] = json!(SOCIAL_CARE);
    let problem = hub.post(&step_downs, &wrong).await.problem(422, "recipient");
    assert_eq!(problem["errors"][0]["code"], "recipient-of-another-kind");
    let mut wrong = step_down.clone();
    wrong["letterToFamily"] =
        json!({ "state": "sent", "sentOn": "2026-01-05", "copyAttached": true });
    is_wrong(&hub.post(&step_downs, &wrong).await, "/attachments", "letter-copy-without-file");
    trust.post(&step_downs, &step_down).await.problem(403, "wrong-party");
    // Nothing was asked of Early Help, and nothing is due from it.
    let exchange = stands(&hub, asked).await;
    assert_eq!((&exchange["agency"], &exchange["state"]), (&json!(TRUST), &json!("requested")));
    gateway.stop();
    gateway.verify_log();
    gateway.holds_nowhere(&["greenhouse"]);
}

#[tokio::test]
async fn once_consent_is_withdrawn_no_answer_rests_on_it() {
    let mut gateway = TestGateway::start();
    let (hub, trust, surgery) =
        (gateway.agency(HUB), gateway.agency(TRUST), gateway.agency(SURGERY));
    let dispatched = hub.dispatch(&[TRUST, SURGERY]).await;
    let [asked, other] = &dispatched["exchanges"].as_array().unwrap()[..] else { panic!("two") };
    let on_consent = |asked: &Value| {
        let mut response = case::partial(id(asked));
        response["lawfulBasis"]["article6"] = json!("a");
        response
    };
    // Until then it may.
    say(&trust, asked, Kind::Response, &on_consent(asked)).await;
    let mut cancellation = case::said(Kind::Cancellation, id(other));
    cancellation["reason"] = json!("consent-withdrawn");
    let cancellations = case::path(other, "cancellations");
    let refused = hub.post(&cancellations, &cancellation).await;
    is_wrong(&refused, "/reason", "withdrawal-not-recorded");
    let withdrawal = case::said(Kind::ConsentWithdrawal, id(asked));
    let path = case::path(asked, "consent-withdrawals");
    trust.post(&path, &withdrawal).await.problem(403, "wrong-party");
    let mut wrong = withdrawal.clone();
    wrong["withdrawnAt"] = json!(case::hours(1));
    is_wrong(&hub.post(&path, &wrong).await, "/withdrawnAt", "in-the-future");

    // Whoever was asked in the enquiry is told, each once however often the command is run.
    let file = gateway.folder().join("withdrawn.json");
    let mut body = withdrawal;
    body.as_object_mut().unwrap().remove("inReplyTo");
    std::fs::write(&file, body.to_string()).unwrap();
    let agencies = gateway.agencies();
    let own = |name: &str| agencies.join(name).to_str().unwrap().to_owned();
    for _ in 0..2 {
        let arguments = [
            "rfi",
            "consent-withdrawn",
            dispatched["enquiry"].as_str().unwrap(),
            file.to_str().unwrap(),
            "--receipts",
            &own("."),
            "--gateway",
            &gateway.url,
            "--cert",
            &own(&format!("{HUB}.pem")),
            "--key",
            &own(&format!("{HUB}.key")),
            "--ca",
            &own("ca.pem"),
        ];
        let done = gateway.run(&arguments);
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    for (who, exchange) in [(&trust, asked), (&surgery, other)] {
        assert!(stands(who, exchange).await["consentWithdrawnAt"].is_string());
        let inbox = who.get_json("/v1/inbox").await;
        let kinds = inbox["messages"].as_array().unwrap().iter().map(|it| it["kind"].clone());
        assert_eq!(kinds.filter(|kind| kind == "consent-withdrawal").count(), 1);
    }

    for (member, value, pointer) in
        [("article6", "a", "/lawfulBasis/article6"), ("article9", "a", "/lawfulBasis/article9")]
    {
        let mut response = case::response(id(other));
        response["lawfulBasis"][member] = json!(value);
        let refused = surgery.post(&case::path(other, "responses"), &response).await;
        is_wrong(&refused, pointer, "consent-withdrawn");
    }
    let mut response = case::response(id(other));
    response["confidenceGateway"] = json!("consent");
    let refused = surgery.post(&case::path(other, "responses"), &response).await;
    is_wrong(&refused, "/confidenceGateway", "consent-withdrawn");
    let mut supplement = case::supplement(id(asked));
    supplement["lawfulBasis"]["article6"] = json!("a");
    let refused = trust.post(&case::path(asked, "supplements"), &supplement).await;
    is_wrong(&refused, "/lawfulBasis/article6", "consent-withdrawn");
    let mut written = case::said(Kind::Transcription, id(other));
    written["lawfulBasis"]["article6"] = json!("a");
    let refused = hub.post(&case::path(other, "transcriptions"), &written).await;
    is_wrong(&refused, "/lawfulBasis/article6", "consent-withdrawn");
    // On another basis whoever knows something is heard; and who is to stop is told so.
    say(&trust, asked, Kind::Response, &case::response(id(asked))).await;
    hub.post(&cancellations, &cancellation).await.ok(202);

    // The manager may decide to go on: a request of its own, which says by whose decision.
    let manager = gateway.desk(HUB, Role::TeamManager);
    let rfi = case::rfi_without_consent();
    let decision = manager.post("/v1/overrides", &case::overriding(&rfi)).await.ok(201);
    let mut dispatch = case::dispatch(&[SURGERY]);
    dispatch["rfi"] = rfi;
    dispatch["rfi"]["override"]["decisionCode"] = decision["decisionCode"].clone();
    let anew = hub.post("/v1/rfis", &dispatch).await.ok(202)["exchanges"][0].clone();
    say(&surgery, &anew, Kind::Response, &case::response(id(&anew))).await;
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn an_outcome_is_somebodys_to_feed_back_and_that_is_to_be_seen() {
    let mut gateway = TestGateway::start();
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    let dispatched = hub.dispatch(&[TRUST]).await;
    let asked = &dispatched["exchanges"][0];
    say(&trust, asked, Kind::Response, &case::response(id(asked))).await;
    let whose = |exchange: &Value| {
        let due = exchange["due"].as_array().unwrap();
        due.iter().find(|due| due["timer"] == "outcome").unwrap()["representative"].clone()
    };
    let representative =
        json!({ "name": "Oswin Quillfeather", "jobTitle": "Health Representative" });
    assert_eq!(whose(&stands(&hub, asked).await), representative);
    let colleague = gateway.desk(HUB, Role::HealthRepresentative);
    assert_eq!(whose(&stands(&colleague, asked).await), representative);
    // Who looks on reads nothing of what was said, not that either; and the agency has it in the RFI.
    let auditor = gateway.desk(HUB, Role::Auditor);
    assert_eq!(whose(&stands(&auditor, asked).await), Value::Null);
    assert_eq!(whose(&stands(&trust, asked).await), Value::Null);

    let mut nobodys = case::outcome();
    nobodys.as_object_mut().unwrap().remove("representative");
    let outcomes = case::path(asked, "outcomes");
    is_wrong(&hub.post(&outcomes, &nobodys).await, "/representative", "representative-required");
    let told = colleague.post(&outcomes, &case::outcome()).await.ok(202);
    assert_eq!(document(&trust, &told).await["data"]["representative"], representative);
    gateway.stop();
    gateway.verify_log();
    let entries = gateway.entries();
    let sent = entries.iter().find(|entry| entry["kind"] == "outcome").unwrap();
    assert_eq!(sent["desk"], "mash-health-representative", "the role, and no name");
    gateway.holds_nowhere(&["Quillfeather"]);
}

#[tokio::test]
async fn the_family_may_be_told_nothing_until_whose_it_is_says_so_and_as_was_said_last() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.dispatch(&[POLICE]).await;
    let asked = &dispatched["exchanges"][0];
    let rfi = id(asked);
    let level = async || stands(&hub, asked).await["familyMayBeTold"].clone();
    assert_eq!(level().await, Value::Null, "there is nothing yet to tell");
    let mut response = case::response(rfi);
    response["onwardDisclosure"] = json!("decision-to-follow");
    say(&police, asked, Kind::Response, &response).await;
    assert_eq!(level().await, "nothing");

    let confirmed = |label: &str| {
        let mut body = case::said(Kind::OnwardDisclosure, rfi);
        body["onwardDisclosure"] = json!(label);
        if label != "family-may-be-told-part" {
            body.as_object_mut().unwrap().remove("answers");
        }
        body
    };
    for (label, expected) in [
        ("family-may-be-told-part", "part"),
        ("family-may-be-told", "all"),
        ("not-without-asking-us", "nothing"),
        ("family-may-be-told", "all"),
    ] {
        say(&police, asked, Kind::OnwardDisclosure, &confirmed(label)).await;
        assert_eq!(level().await, expected, "{label}");
    }
    // A decision that is still to follow is no confirmation, and nobody confirms for another.
    let path = case::path(asked, "onward-disclosures");
    let undecided = confirmed("decision-to-follow");
    is_wrong(
        &police.post(&path, &undecided).await,
        "/onwardDisclosure",
        "onward-disclosure-missing",
    );
    hub.post(&path, &confirmed("family-may-be-told")).await.problem(403, "wrong-party");
    gateway
        .agency(TRUST)
        .post(&path, &confirmed("family-may-be-told"))
        .await
        .problem(404, "not-found");
    // What is new is not covered by what was said before.
    say(&police, asked, Kind::Supplement, &case::supplement(rfi)).await;
    assert_eq!(level().await, "nothing");
    say(&police, asked, Kind::OnwardDisclosure, &confirmed("family-may-be-told-part")).await;
    assert_eq!(
        (level().await, stands(&police, asked).await["familyMayBeTold"].clone()),
        (json!("part"), json!("part"))
    );
    gateway.stop();
    gateway.verify_log();
    let entries = gateway.entries();
    let said: Vec<_> = entries
        .iter()
        .filter(|entry| entry["kind"] == "onward-disclosure" && entry["event"] == "accepted")
        .map(|entry| entry["handling"].as_str().unwrap())
        .collect();
    assert_eq!(
        said,
        [
            "family-may-be-told-part",
            "family-may-be-told",
            "not-without-asking-us",
            "family-may-be-told",
            "family-may-be-told-part",
        ]
    );
}

/// Who there can be in a family, as they arrive: in any script, not yet born, two at once, known in part.
#[tokio::test]
async fn whoever_a_family_has_arrives_as_they_were_written() {
    let mut gateway = TestGateway::start();
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    let unborn = |number: u8| {
        json!({
            "personId": format!("p{number}"), "kind": "unborn-child", "relationship": "unborn child",
            "expectedDeliveryDate": "2031-02-28", "motherPersonId": "p1",
        })
    };
    let persons = json!([
        { "personId": "p1", "kind": "parent-or-guardian", "relationship": "mother",
          "familyName": "\u{738b}", "givenName": "\u{5c0f}\u{660e}", "birthDate": "2003" },
        unborn(2), unborn(3),
        { "personId": "p4", "kind": "child", "relationship": "child",
          "familyName": "\u{627}\u{644}\u{634}\u{645}\u{631}\u{64a}",
          // A letter and its accent apart: not put together on the way.
          "givenName": "Zoe\u{308} d'\u{d2}-\u{1e24}ali\u{304}ma", "birthDate": "2019-11" },
    ]);
    let mut dispatch = case::dispatch(&[TRUST]);
    dispatch["rfi"]["persons"] = persons.clone();
    hub.post("/v1/rfis", &dispatch).await.ok(202);
    assert_eq!(trust.collect_first().await["data"]["persons"], persons);

    // One spelling of an NHS number: whoever has it with spaces is told so.
    for (at, member, value, code) in [
        (3, "nhsNumber", json!("999 000 0018"), "nhs-number-format"),
        (3, "birthDate", json!("2019-13"), "date-format"),
        (3, "givenName", json!("\u{0007}"), "line-format"),
        (1, "expectedDeliveryDate", json!("2031-02-30"), "date-format"),
        (1, "motherPersonId", json!("p9"), "person-not-in-rfi"),
        (2, "birthDate", json!("2026-01-01"), "unborn-no-birth-date"),
    ] {
        let mut wrong = dispatch.clone();
        wrong["rfi"]["persons"][at][member] = value;
        if member == "nhsNumber" {
            wrong["rfi"]["persons"][at]["nhsNumberStatus"] = json!("number-present-and-verified");
        }
        let pointer = format!("/rfi/persons/{at}/{member}");
        is_wrong(&hub.post("/v1/rfis", &wrong).await, &pointer, code);
    }
    gateway.stop();
    gateway.verify_log();
}

/// A case that is over is not over for what comes after it; and an answer that somebody else wrote down is
/// theirs, not the agency's.
#[tokio::test]
async fn what_comes_after_the_end_is_seen_and_who_wrote_an_answer_down_is_known() {
    let mut gateway = TestGateway::start();
    let (hub, surgery) = (gateway.agency(HUB), gateway.agency(SURGERY));
    let dispatched = hub.dispatch(&[SURGERY]).await;
    let asked = &dispatched["exchanges"][0];
    let written =
        say(&hub, asked, Kind::Transcription, &case::said(Kind::Transcription, id(asked))).await;
    let data = document(&surgery, &written).await["data"].clone();
    assert_ne!(data["transcription"]["takenBy"]["name"], data["respondedBy"]["name"]);
    say(&hub, asked, Kind::Outcome, &case::outcome()).await;
    assert_eq!(stands(&hub, asked).await.get("needsAttention"), None);
    let more = say(&surgery, asked, Kind::Supplement, &case::supplement(id(asked))).await;
    let exchange = stands(&hub, asked).await;
    assert_eq!(
        (&exchange["state"], &exchange["needsAttention"]),
        (&json!("completed"), &json!(true))
    );
    document(&hub, &more).await;
    save(&hub, &format!("/v1/messages/{}/saved", id(&more))).await.ok(200);
    assert_eq!(stands(&hub, asked).await.get("needsAttention"), None);
    gateway.stop();
    gateway.verify_log();
}

/// What only an agency's own key opens is neither shown nor passed on, and says so.
#[tokio::test]
async fn what_the_gateway_cannot_open_it_does_not_pass_on() {
    let (_, recipient) = mash_gateway::seal::generate_identity("of a test");
    let own_key = format!(
        "custody = \"agency\"\nage_recipients = [\"{recipient}\"]\n\
         endpoints = [{{ kind = \"mailbox\" }}]\n"
    );
    let partners = case::partners(&[(HUB, &own_key), (TRUST, &own_key)]);
    let mut gateway = TestGateway::made(&(partners + &case::followers()));
    gateway.serve();
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    let dispatched = hub.dispatch(&[TRUST]).await;
    let asked = &dispatched["exchanges"][0];
    let answer = say(&trust, asked, Kind::Response, &case::response(id(asked))).await;
    let exchange = stands(&hub, asked).await;
    let outcome = exchange["due"].as_array().unwrap().iter().find(|due| due["timer"] == "outcome");
    assert_eq!(
        outcome.unwrap().get("representative"),
        None,
        "it stands in what the trust alone opens"
    );
    say(&hub, asked, Kind::Outcome, &case::outcome_of("social-care-assessment")).await;
    let forwarding = case::forwarding(id(asked), id(&answer));
    let refused = hub.post(&case::path(asked, "forwardings"), &forwarding).await;
    is_wrong(&refused, "/message", "sealed-to-the-hub");
    gateway.stop();
    gateway.verify_log();
}
