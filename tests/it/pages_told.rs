//! What the hub tells on the desk's pages beside questions and outcomes: that consent was withdrawn, that
//! whoever referred the child was told, and what it tells those who go on with the family.

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use mash_gateway::message::{Role, now};

use crate::pages::{location, opened_in, seat};
use crate::pages_says::{BASIS, WHO, fill_in_task, hidden};
use crate::support::{
    Agency, Answer, EARLY_HELP, HUB, POLICE, SOCIAL_CARE, SURGERY, TestGateway, case, text,
};

/// What a page says, filled in as it is now and sent.
pub(crate) async fn say(desk: &Agency, path: &str, fields: &[(&str, &str)]) -> Answer {
    let key = hidden(&desk.page(path).await, "key");
    let fields: Vec<_> = fields.iter().copied().chain([("key", &*key)]).collect();
    desk.fill_in(path, &fields).await
}

/// The day and the time in London, so many minutes from now.
pub(crate) fn there(minutes: i64) -> (String, String) {
    let at = now() + SignedDuration::from_mins(minutes);
    let at = at.to_zoned(TimeZone::get("Europe/London").unwrap());
    (at.strftime("%Y-%m-%d").to_string(), at.strftime("%H:%M").to_string())
}

/// A gateway with those who go on with a family, and an enquiry in which the surgery has answered: its id, the
/// exchange's reference, and the answer's id.
async fn answered() -> (TestGateway, String, String, String) {
    let mut gateway = TestGateway::made(&(case::partners(&[]) + &case::followers()));
    for agency in [EARLY_HELP, SOCIAL_CARE] {
        gateway.certify(agency);
    }
    gateway.serve();
    let asked = gateway.agency(HUB).dispatch(&[SURGERY]).await;
    let reference = asked["exchanges"][0]["reference"].as_str().unwrap().to_owned();
    let surgery = gateway.agency(SURGERY);
    let rfi = surgery.collect_first().await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/exchanges/{reference}/responses");
    let answer = surgery.post(&path, &case::response(&rfi)).await.ok(202);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    (gateway, text(&asked["enquiry"]), reference, text(&answer["message"]))
}

async fn decide(gateway: &TestGateway, reference: &str, outcome: &str) {
    let path = format!("/v1/exchanges/{reference}/outcomes");
    gateway.agency(HUB).post(&path, &case::outcome_of(outcome)).await.ok(202);
}

#[tokio::test]
async fn an_agency_is_told_that_consent_was_withdrawn() {
    let gateway = TestGateway::start();
    let asked = gateway.agency(HUB).dispatch(&[POLICE]).await;
    let reference = asked["exchanges"][0]["reference"].as_str().unwrap();
    let enquiry = format!("/enquiries/{}", asked["enquiry"].as_str().unwrap());
    let representative = seat(&gateway, HUB, Role::HealthRepresentative);
    let path = format!("/exchanges/{reference}/consent-withdrawal");
    assert!(representative.page(&enquiry).await.text().contains(&format!("href=\"{path}\"")));
    let worker = seat(&gateway, HUB, Role::SocialWorker);
    assert!(!worker.page(&enquiry).await.text().contains(&path));

    let empty = say(&representative, &path, &[]).await;
    assert_eq!(empty.status, 422);
    for said in ["Say whose consent was withdrawn.", "Say what the agency is to do now."] {
        assert!(empty.text().contains(said), "{}", empty.text());
    }
    let (day, time) = there(60);
    let fields = |day: &'static str, time: &'static str| {
        vec![
            ("whose", "parent-or-guardian"),
            ("withdrawn-day", day),
            ("withdrawn-time", time),
            ("follows", "wait-for-decision"),
            ("note", "The mother rang this morning."),
            ("name", "Oswin Quillfeather"),
            ("jobTitle", "Health Representative"),
        ]
    };
    let later = fields(day.leak(), time.leak());
    let later = say(&representative, &path, &later).await;
    assert_eq!(later.status, 422, "it has not happened yet");
    assert!(later.text().contains("The mother rang this morning."), "{}", later.text());
    let (day, time) = there(-5);
    let past = fields(day.leak(), time.leak());
    let sent = location(&say(&representative, &path, &past).await);
    assert!(sent.starts_with(&format!("/exchanges/{reference}/sent/")), "{sent}");

    let (_, id) = sent.rsplit_once('/').unwrap();
    let told = gateway.agency(POLICE).get_json(&format!("/v1/messages/{id}")).await;
    assert_eq!(told["data"]["whatFollows"], "wait-for-decision");
    assert_eq!(told["data"]["note"], "The mother rang this morning.");
    gateway.verify_log();
}

#[tokio::test]
async fn that_whoever_referred_the_child_was_told_is_recorded_and_the_paragraph_is_shown_once() {
    let (mut gateway, id, reference, _) = answered().await;
    let worker = seat(&gateway, HUB, Role::SocialWorker);
    let enquiry = format!("/enquiries/{id}");
    let path = format!("{enquiry}/referrer");
    // It follows from a decision that the threshold is not met.
    assert!(!worker.page(&enquiry).await.text().contains(&path));
    decide(&gateway, &reference, "no-further-action-threshold-not-met").await;
    assert!(worker.page(&enquiry).await.text().contains(&format!("href=\"{path}\"")));
    let lead = seat(&gateway, HUB, Role::OperationalLead);
    assert!(!lead.page(&enquiry).await.text().contains(&path));

    let teller = "Marmaduke-Featherstone";
    let empty = worker.fill_in(&path, &[("name", teller)]).await;
    assert_eq!(empty.status, 422);
    let shown = empty.text();
    assert!(shown.contains("<title>Error: Record that whoever referred"), "{shown}");
    assert!(shown.contains("Choose letter or telephone") && shown.contains(teller), "{shown}");
    let mut fields = vec![("channel", "letter"), ("name", teller), ("jobTitle", "Social Worker")];
    for (minutes, said) in
        [(60, "Check this time"), (-60 * 24 * 365, "the enquiry was not made yet")]
    {
        let (day, time) = there(minutes);
        let at = [("at-day", &*day), ("at-time", &*time)];
        let wrong: Vec<_> = fields.iter().copied().chain(at).collect();
        let wrong = worker.fill_in(&path, &wrong).await;
        assert_eq!(wrong.status, 422, "{}", wrong.text());
        assert!(wrong.text().contains(said) || minutes > 0, "{}", wrong.text());
    }
    // The enquiry was made this minute, and a page knows no seconds.
    let (day, time) = there(1);
    fields.extend([("at-day", &*day), ("at-time", &*time)]);
    let mut recorded = worker.fill_in(&path, &fields).await;
    for _ in 0..90 {
        if recorded.status != 422 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        recorded = worker.fill_in(&path, &fields).await;
    }
    assert_eq!(recorded.status, 201, "{}", recorded.text());
    let shown = recorded.text();
    assert!(shown.contains("The referrer was told by letter") && shown.contains(teller), "{shown}");
    assert!(worker.page(&enquiry).await.text().contains("Whoever referred the child was told:"));
    let entry = gateway.entries().into_iter().find(|entry| entry["event"] == "referrer-told");
    assert_eq!(entry.unwrap()["desk"], "social-worker");
    let nowhere = "/enquiries/01890a5d-ac96-774b-bcce-b302099a8057/referrer";
    assert_eq!(worker.page(nowhere).await.status, 404);
    assert_eq!(worker.fill_in(nowhere, &fields).await.status, 404);
    gateway.verify_log();
    gateway.stop();
    gateway.holds_nowhere(&[teller]);
}

#[tokio::test]
async fn an_answer_is_passed_on_to_whoever_assesses_the_child() {
    let (gateway, enquiry, reference, answer) = answered().await;
    let enquiry = format!("/enquiries/{enquiry}");
    let path = format!("/exchanges/{reference}/forward");
    let manager = seat(&gateway, HUB, Role::TeamManager);
    let fields = [
        ("to", SOCIAL_CARE),
        ("message", &*answer),
        ("why", "Whoever assesses her needs what the surgery knows."),
        ("name", "Imogen Fablewright"),
        ("jobTitle", "Manager"),
    ];
    // Nobody is told what follows from an outcome before it is one.
    assert!(!manager.page(&enquiry).await.text().contains(&path));
    let early = say(&manager, &path, &fields).await;
    assert_eq!(early.status, 409, "{}", early.text());
    decide(&gateway, &reference, "social-care-assessment").await;
    let shown = manager.page(&enquiry).await;
    assert!(shown.text().contains(&format!("href=\"{path}\"")), "{}", shown.text());
    assert!(!shown.text().contains("/step-down"), "{}", shown.text());
    let form = manager.page(&path).await;
    // The one team there is is chosen already; the answer is not.
    let chosen = format!("value=\"{SOCIAL_CARE}\" checked");
    assert!(form.text().contains(&chosen), "{}", form.text());
    assert!(form.text().contains(&format!("value=\"{answer}\"")), "{}", form.text());
    assert!(!form.text().contains(EARLY_HELP), "{}", form.text());

    let empty = say(&manager, &path, &[("to", SOCIAL_CARE), ("message", &answer)]).await;
    assert_eq!(empty.status, 422);
    assert!(empty.text().contains("Say why whoever assesses the child needs"), "{}", empty.text());
    for (field, wrong) in [("message", "01890a5d-ac96-774b-bcce-b302099a8057"), ("to", EARLY_HELP)]
    {
        let fields = fields.map(|(name, value)| (name, if name == field { wrong } else { value }));
        let refused = say(&manager, &path, &fields).await;
        assert_eq!(refused.status, 422, "{field}: {}", refused.text());
    }
    let sent = location(&say(&manager, &path, &fields).await);
    let (_, id) = sent.rsplit_once('/').unwrap();
    let told = gateway.agency(SOCIAL_CARE).get_json(&format!("/v1/messages/{id}")).await;
    assert_eq!(told["data"]["answer"]["message"], answer);
    assert_eq!(told["data"]["why"], "Whoever assesses her needs what the surgery knows.");
    gateway.verify_log();
}

#[tokio::test]
async fn early_help_is_told_of_the_concerns_and_of_those_who_are_chosen() {
    let (gateway, enquiry, reference, _) = answered().await;
    let enquiry = format!("/enquiries/{enquiry}");
    let path = format!("/exchanges/{reference}/step-down");
    let representative = seat(&gateway, HUB, Role::HealthRepresentative);
    assert!(!representative.page(&enquiry).await.text().contains(&path));
    decide(&gateway, &reference, "early-help").await;
    assert!(representative.page(&enquiry).await.text().contains(&format!("href=\"{path}\"")));
    let form = representative.page(&path).await;
    assert!(form.text().contains("Wrenna Thistlebank (child)"), "{}", form.text());
    assert!(form.text().contains(&format!("value=\"{EARLY_HELP}\" checked")), "{}", form.text());
    // Whose names were shown, and in which role they were read, is in the log.
    let entries = gateway.entries();
    let read = entries.iter().rfind(|entry| entry["event"] == "opened-by-sender").unwrap();
    assert_eq!(read["desk"], "mash-health-representative");
    assert_eq!(read["reference"], reference.as_str());

    let nobody = say(&representative, &path, &[("to", EARLY_HELP), ("silent", "p1")]).await;
    assert_eq!(nobody.status, 422);
    for said in [
        "Write the concerns that were noted",
        "List at least one child",
        "Choose yes, or not-appropriate",
        "Choose sent, to-follow or not-sent",
    ] {
        assert!(nobody.text().contains(said), "{said}: {}", nobody.text());
    }
    let fields = [
        ("to", EARLY_HELP),
        ("concerns", "She sleeps in the greenhouse when it is loud at home."),
        ("persons", "p1"),
        ("silent", "p1"),
        ("told", "not-appropriate"),
        ("told-why", "Her mother would keep her from the service altogether."),
        ("letter", "sent"),
        ("letter-on", "2026-01-02"),
        ("name", "Oswin Quillfeather"),
        ("jobTitle", "Health Representative"),
    ];
    let sent = location(&say(&representative, &path, &fields).await);
    let (_, id) = sent.rsplit_once('/').unwrap();
    let told = gateway.agency(EARLY_HELP).get_json(&format!("/v1/messages/{id}")).await;
    let told = &told["data"];
    // The child as the request names her, and nobody who was not chosen.
    let wanted = &case::rfi()["persons"][0];
    assert_eq!(
        told["persons"],
        serde_json::json!([wanted]),
        "{}",
        text(told.to_string().as_bytes())
    );
    assert_eq!(told["doNotInform"], serde_json::json!(["p1"]));
    assert_eq!(told["letterToFamily"]["copyAttached"], false);
    gateway.verify_log();
}

#[tokio::test]
async fn an_incident_is_said_by_either_party_and_followed_until_it_is_closed() {
    let gateway = TestGateway::start();
    let officer = seat(&gateway, SURGERY, Role::ContactOfficer);
    let (reference, rfi, enquiry) = opened_in(&gateway, &officer, SURGERY).await;
    let manager = seat(&gateway, HUB, Role::TeamManager);
    let (request, enquiry) = (format!("/requests/{reference}"), format!("/enquiries/{enquiry}"));
    let (day, time) = there(-30);
    let report = [
        ("about", &*rfi),
        ("status", "open"),
        ("near", "no"),
        ("serious", "no"),
        ("nature", "sent-to-wrong-recipient"),
        ("found-day", &*day),
        ("found-time", &*time),
        ("what", "The answer was put into an envelope with another family's letter."),
        ("told", "security-or-data-protection"),
        ("name", "Kit Specimen"),
        ("jobTitle", "Named Nurse"),
    ];
    for (desk, page, place, reader) in [
        (&officer, &request, format!("/requests/{reference}"), HUB),
        (&manager, &enquiry, format!("/exchanges/{reference}"), SURGERY),
    ] {
        let path = format!("{place}/incident");
        assert!(desk.page(page).await.text().contains(&format!("href=\"{path}\"")), "{path}");
        let form = desk.page(&path).await;
        assert!(form.text().contains("Request for information, "), "{}", form.text());
        // Nobody is told before whoever is responsible for it, and what is not known is asked for.
        let empty = say(desk, &path, &[("what", "Short.")]).await;
        assert_eq!(empty.status, 422);
        assert!(empty.text().contains("Tell whoever is responsible for security"));
        assert!(empty.text().contains(">\nShort.</textarea>"), "{}", empty.text());
        for (field, wrong, said) in [
            ("serious", "yes", "Tell the MASH Steering Group"),
            ("status", "closed", "Say what came of it"),
            ("found-time", "", "found-day"),
            ("nature", "worse", "nature-1"),
        ] {
            let fields =
                report.map(|(name, value)| (name, if name == field { wrong } else { value }));
            let refused = say(desk, &path, &fields).await;
            assert_eq!(refused.status, 422, "{field}: {}", refused.text());
            assert!(refused.text().contains(said), "{field}: {}", refused.text());
        }
        let sent = location(&say(desk, &path, &report).await);
        assert!(sent.starts_with(&format!("{place}/sent/")), "{sent}");
        let (_, first) = sent.rsplit_once('/').unwrap();
        let told = gateway.agency(reader).get_json(&format!("/v1/messages/{first}")).await;
        assert_eq!(told["data"]["nearMiss"], false);
        assert_eq!(told["data"]["inReplyTo"], rfi);

        // What became of it is about its first report; closed, it has its outcome and its assessment.
        let form = desk.page(&path).await;
        assert!(form.text().contains(&format!("value=\"{first}\"")), "{}", form.text());
        let mut closed: Vec<_> = report
            .map(|(name, value)| match name {
                "about" => (name, first),
                "status" => (name, "closed"),
                _ => (name, value),
            })
            .to_vec();
        closed.push(("outcome", "The envelope came back unopened, and windows are used now."));
        let unassessed = say(desk, &path, &closed).await;
        assert_eq!(unassessed.status, 422);
        assert!(unassessed.text().contains("Say whether the Information Commissioner"));
        closed.extend([
            ("commissioner", "not-required"),
            ("people", "told"),
            ("why", "Nobody had opened it, and no risk to anybody is left."),
            ("decider", "Tobiah Larkmoor"),
            ("deciderTitle", "Data Protection Officer"),
            ("decided-day", &*day),
            ("decided-time", &*time),
        ]);
        location(&say(desk, &path, &closed).await);
    }
    let state = gateway.agency(HUB).get_json(&format!("/v1/exchanges/{reference}")).await;
    assert_eq!(state["needsAttention"], true, "{state}");
    gateway.verify_log();
}

#[tokio::test]
async fn an_agency_is_asked_what_may_be_released_and_says_so() {
    let (gateway, enquiry, reference, _) = answered().await;
    let manager = seat(&gateway, HUB, Role::TeamManager);
    let officer = seat(&gateway, SURGERY, Role::ContactOfficer);
    let request = format!("/requests/{reference}");
    let (ask, view) =
        (format!("/exchanges/{reference}/subject-access"), format!("{request}/subject-access"));
    assert!(manager.page(&format!("/enquiries/{enquiry}")).await.text().contains(&ask));
    // Nobody says so unasked.
    assert!(!officer.page(&request).await.text().contains(&view));
    let unasked = [("view", "may-release"), ("name", "Kit Specimen"), ("jobTitle", "Named Nurse")];
    assert_eq!(say(&officer, &view, &unasked).await.status, 409);

    let ((day, time), (by_day, by_time)) = (there(-10), there(60 * 24 * 7));
    let fields = [
        ("received-day", &*day),
        ("received-time", &*time),
        ("by-day", &*by_day),
        ("by-time", &*by_time),
        ("about", "p1"),
        ("parts", "neglect"),
        ("name", "Imogen Fablewright"),
        ("jobTitle", "Manager"),
    ];
    for (field, wrong) in [("by-day", &*day), ("received-day", &*by_day), ("name", "")] {
        let fields = fields.map(|(name, value)| (name, if name == field { wrong } else { value }));
        let refused = say(&manager, &ask, &fields).await;
        assert_eq!(refused.status, 422, "{field}: {}", refused.text());
        assert!(refused.text().contains("value=\"neglect\" checked"), "{}", refused.text());
    }
    let sent = location(&say(&manager, &ask, &fields).await);
    let (_, id) = sent.rsplit_once('/').unwrap();
    let asked = gateway.agency(SURGERY).get_json(&format!("/v1/messages/{id}")).await;
    assert_eq!(asked["data"]["aboutPersonIds"], serde_json::json!(["p1"]));
    assert_eq!(asked["data"]["answers"], serde_json::json!([{ "category": "neglect" }]));

    assert!(officer.page(&request).await.text().contains(&format!("href=\"{view}\"")));
    assert!(officer.page(&view).await.text().contains("stays yours to handle"));
    let who = [("name", "Kit Specimen"), ("jobTitle", "Named Nurse")];
    for (fields, said) in [
        (&[][..], "Say may-release, release-in-part or object."),
        (&[("view", "object")], "Name at least one exemption"),
        (&[("view", "release-in-part"), ("parts", "neglect")], "Name at least one exemption"),
        (
            &[
                ("view", "release-in-part"),
                ("exemptions", "other"),
                ("explanation", "It names a neighbour."),
            ],
            "Say which categories must not be released.",
        ),
    ] {
        let fields: Vec<_> = fields.iter().copied().chain(who).collect();
        let refused = say(&officer, &view, &fields).await;
        assert_eq!(refused.status, 422, "{fields:?}: {}", refused.text());
        assert!(refused.text().contains(said), "{fields:?}: {}", refused.text());
    }
    // What was chosen for another view goes with it.
    let fields: Vec<_> = [("view", "may-release"), ("parts", "neglect"), ("exemptions", "other")]
        .into_iter()
        .chain(who)
        .collect();
    let sent = location(&say(&officer, &view, &fields).await);
    let (_, id) = sent.rsplit_once('/').unwrap();
    let told = gateway.agency(HUB).get_json(&format!("/v1/messages/{id}")).await;
    assert_eq!(told["data"]["view"], "may-release");
    assert!(told["data"].get("exemptions").is_none() && told["data"].get("answers").is_none());
    assert!(!officer.page(&request).await.text().contains(&view), "it has been said");
    gateway.verify_log();
}

#[tokio::test]
async fn an_answer_given_by_telephone_is_written_down_for_the_agency_to_check() {
    let gateway = TestGateway::start();
    let officer = seat(&gateway, SURGERY, Role::ContactOfficer);
    let (reference, rfi, enquiry) = opened_in(&gateway, &officer, SURGERY).await;
    let enquiry = format!("/enquiries/{enquiry}");
    let representative = seat(&gateway, HUB, Role::HealthRepresentative);
    let path = format!("/exchanges/{reference}/transcription");
    assert!(representative.page(&enquiry).await.text().contains(&format!("href=\"{path}\"")));
    let tasks = representative.page(&path).await;
    assert!(tasks.text().contains("Who wrote it down"), "{}", tasks.text());
    // Nothing was sent by telephone.
    assert!(!tasks.text().contains("Files that go with it"), "{}", tasks.text());
    for part in ["files", "why-now", "none"] {
        assert_eq!(representative.page(&format!("{path}/{part}")).await.status, 404, "{part}");
    }
    // Whom it is about, in the request's words; and nobody's browser fills in another's name.
    let page = representative.page(&format!("{path}/neglect")).await;
    assert!(page.text().contains("Wrenna Thistlebank (child)"), "{}", page.text());
    let page = representative.page(&format!("{path}/who")).await;
    assert!(!page.text().contains("autocomplete=\"name\""), "{}", page.text());

    let known = [
        ("status", "provided"),
        ("summary", "She was not brought to two appointments."),
        ("about", "p1"),
        ("kind", "fact"),
    ];
    location(&fill_in_task(&representative, &format!("{path}/neglect"), &known).await);
    // The hub's draft is the hub's, and the agency's own reply is another.
    let reply = officer.page(&format!("/requests/{reference}/reply/neglect")).await;
    assert!(!reply.text().contains("two appointments"), "{}", reply.text());
    let version = hidden(&representative.page(&format!("{path}/who")).await, "version");
    let rest = [("version", &*version)];
    let rest = representative.fill_in(&format!("{path}/nothing-known"), &rest).await;
    assert_eq!(location(&rest), path);
    for (part, fields) in [
        ("family", &[("family", "not-without-asking-us")][..]),
        ("lawful-basis", &BASIS),
        ("who", &WHO),
    ] {
        let kept = fill_in_task(&representative, &format!("{path}/{part}"), fields).await;
        assert_eq!(location(&kept), path, "{part}");
    }
    let check = format!("{path}/check");
    let unfinished = representative.page(&check).await;
    assert_eq!(unfinished.status, 422);
    let said = "Say who took the answer down, when, and whether it was read back.";
    assert!(unfinished.text().contains(said), "{}", unfinished.text());
    let (day, time) = there(60);
    let taken = |day: &'static str, time: &'static str| {
        [
            ("taken-day", day),
            ("taken-time", time),
            ("read-back", "yes"),
            ("name", "Oswin Quillfeather"),
            ("jobTitle", "Health Representative"),
        ]
    };
    let part = format!("{path}/taken-down");
    let later = fill_in_task(&representative, &part, &taken(day.leak(), time.leak())).await;
    assert_eq!(later.status, 422, "it has not been said yet");
    let (day, time) = there(-5);
    location(&fill_in_task(&representative, &part, &taken(day.leak(), time.leak())).await);
    let page = representative.page(&check).await;
    assert!(page.text().contains("Send transcription to the agency"), "{}", page.text());
    let version = hidden(&page, "version");
    let sent = location(&representative.fill_in(&check, &[("version", &version)]).await);
    assert!(sent.starts_with(&format!("/exchanges/{reference}/sent/")), "{sent}");
    assert_eq!(representative.page(&sent).await.status, 200);
    // Pressed twice, it is sent once.
    let again = location(&representative.fill_in(&check, &[("version", &version)]).await);
    assert_eq!(location(&representative.page(&again).await), enquiry);
    assert!(!representative.page(&enquiry).await.text().contains(&path));

    // The agency checks it, and puts it right with an answer of its own.
    let (_, id) = sent.rsplit_once('/').unwrap();
    let surgery = gateway.agency(SURGERY);
    let told = surgery.get_json(&format!("/v1/messages/{id}")).await;
    let told = &told["data"];
    assert_eq!(
        (&told["channel"], &told["result"]),
        (&"telephone-transcribed".into(), &"complete".into())
    );
    assert_eq!(told["transcription"]["takenBy"]["name"], "Oswin Quillfeather");
    assert_eq!(told["respondedBy"]["name"], "Dr Jo Madeup");
    let page = officer.page(&format!("/requests/{reference}")).await;
    assert!(
        page.text().contains(&format!("/requests/{reference}/reply\">Reply</a>")),
        "{}",
        page.text()
    );
    let own = format!("/v1/exchanges/{reference}/responses");
    surgery.post(&own, &case::response(&rfi)).await.ok(202);
    gateway.verify_log();
}
