//! A request for information that is written at the desk: in any order and by several people, sealed until it
//! is sent, sent once, and without consent only by the Team Manager's decision.

use std::fs::read_to_string as read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use jiff::SignedDuration;
use mash_gateway::config::Config;
use mash_gateway::message::{Role, now};
use mash_gateway::worker::sweep::Sweep;

use crate::pages::{location, seat};
use crate::support::told::{self, Told};
use crate::support::{Agency, Answer, HUB, POLICE, SURGERY, TRUST, TestGateway, case, text};

/// Somebody at the hub, and the request that they write.
struct Desk<'a> {
    person: &'a Agency,
    path: String,
}

impl<'a> Desk<'a> {
    async fn begin(person: &'a Agency) -> Self {
        let path = location(&person.fill_in("/rfis", &[]).await);
        Self { person, path }
    }

    async fn version(&self) -> String {
        let page = self.person.page(&format!("{}/requester", self.path)).await;
        between(page.text(), "name=\"version\" value=\"")
    }

    async fn put(&self, part: &str, fields: &[(&str, &str)]) -> Answer {
        let version = self.version().await;
        let fields: Vec<_> = fields.iter().copied().chain([("version", &*version)]).collect();
        self.person.fill_in(&format!("{}/{part}", self.path), &fields).await
    }

    async fn fill_in(&self, part: &str, fields: &[(&str, &str)]) {
        let answer = self.put(part, fields).await;
        assert_eq!(answer.status, 303, "{part}: {}", answer.text());
    }

    /// All but consent: to the police and the trust, the surgery being named by its code.
    async fn fill_in_all(&self) {
        let due = case::hours(8);
        let (day, time) = (&due[..10], &due[11..16]);
        self.fill_in(
            "requester",
            &[
                ("name", "Oswin Quillfeather"),
                ("jobTitle", "Health Representative"),
                ("telephone", "01632 960017"),
            ],
        )
        .await;
        self.fill_in("people/new", &CHILD).await;
        self.fill_in(
            "people/new",
            &[
                ("kind", "parent-or-guardian"),
                ("relationship", "mother"),
                ("given", "Ottoline"),
                ("family", "Thistlebank"),
                ("nhs-none", "nhs-number-not-known"),
            ],
        )
        .await;
        self.decided("safeguarding").await;
        self.fill_in("referral", &[("source", "professional"), ("aware", "yes")]).await;
        let concerns = "She sleeps in the greenhouse when it is loud at home.";
        let earlier = "2024-06: Neglect.\r\nAn older one.";
        self.fill_in("reason", &[("concerns", concerns), ("earlier", earlier)]).await;
        let asked = [("categories", "neglect"), ("categories", "last-seen-at-gp")];
        self.fill_in("categories", &asked).await;
        self.fill_in("due", &[("priority", "urgent"), ("due-day", day), ("due-time", time)]).await;
        self.fill_in("lawful-basis", &BASIS).await;
        let why = "The school saw her at the station.";
        let police = [("agency", POLICE), ("why", why), ("categories", "neglect")];
        self.fill_in("recipients/new", &police).await;
        let why = "She is registered there.";
        self.fill_in("recipients/new", &[("ods", "z99999"), ("why", why)]).await;
        self.fill_in("recipients/new", &[("agency", TRUST), ("why", "The nearest.")]).await;
    }

    /// That it is asked, on this pathway.
    async fn decided(&self, pathway: &str) {
        let decided = case::hours(-2);
        let fields = [
            ("pathway", pathway),
            ("purpose", "assess-risk"),
            ("name", "Imogen Fablewright"),
            ("jobTitle", "Manager"),
            ("decided-day", &decided[..10]),
            ("decided-time", &decided[11..16]),
            ("why", "The account points to significant harm."),
        ];
        self.fill_in("decision", &fields).await;
    }

    async fn agreed(&self) {
        self.fill_in("consent-child", &TOO_YOUNG).await;
        self.fill_in("consent-parents", &[("answer", "yes"), ("how", "verbal")]).await;
    }

    async fn refused(&self) {
        self.fill_in("consent-child", &TOO_YOUNG).await;
        self.fill_in("consent-parents", &REFUSED).await;
    }

    async fn send(&self) -> (Answer, Vec<(String, String)>) {
        let check = self.person.page(&format!("{}/check", self.path)).await;
        assert_eq!(check.status, 200, "{}", check.text());
        let fields = ["version", "asked-at"].map(|name| {
            let value = between(check.text(), &format!("name=\"{name}\" value=\""));
            (name.to_owned(), value)
        });
        (self.press(&fields).await, fields.to_vec())
    }

    async fn press(&self, fields: &[(String, String)]) -> Answer {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        self.person.fill_in(&format!("{}/check", self.path), &fields).await
    }
}

const CHILD: [(&str, &str); 9] = [
    ("kind", "child"),
    ("relationship", "subject child"),
    ("given", "Wrenna"),
    ("family", "Thistlebank"),
    ("born", "2017-05-09"),
    ("nhs", "999 000 0018"),
    ("nhs-status", "number-present-and-verified"),
    ("address", "9 Madeup Road\r\nExampleton"),
    ("postcode", "zz23ab"),
];

const TOO_YOUNG: [(&str, &str); 3] = [
    ("answer", "no"),
    ("reason", "too-young-or-unborn"),
    ("explanation", "She is nine, and her grandmother speaks for her here."),
];

const REFUSED: [(&str, &str); 3] = [
    ("answer", "no"),
    ("reason", "would-increase-risk"),
    ("explanation", "Asking at home would tell those who live there."),
];

const BASIS: [(&str, &str); 8] = [
    ("powers", "children-act-1989-s47"),
    ("article-6", "e"),
    ("special", "yes"),
    ("article-9", "g"),
    ("schedule-1", "pt2-para18"),
    ("no-consent", "2c-would-prejudice-protection"),
    ("aim", "protect-from-neglect-or-harm"),
    ("document", "APD-1"),
];

fn between(page: &str, before: &str) -> String {
    let (_, after) = page.split_once(before).unwrap_or_else(|| panic!("{before} in {page}"));
    after.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_is_written_in_parts_and_sent_once_to_each_agency_with_its_reason() {
    let mut gateway = TestGateway::start();
    let representative = seat(&gateway, HUB, Role::HealthRepresentative);
    let desk = Desk::begin(&representative).await;
    // Before anything is written it says what is missing, and cannot be sent.
    let tasks = representative.page(&desk.path).await;
    assert!(tasks.text().contains("0 of 11 completed"), "{}", tasks.text());
    assert_eq!(representative.page(&format!("{}/check", desk.path)).await.status, 422);
    desk.fill_in_all().await;
    desk.agreed().await;
    // The three questions stand before the hub's lawful basis too (R51).
    let basis = representative.page(&format!("{}/lawful-basis", desk.path)).await;
    let places = ["data protection law?", "private life", "in confidence?", "<form"];
    let places = places.map(|phrase| basis.text().find(phrase).expect(phrase));
    assert!(places.is_sorted(), "{places:?}");
    let tasks = representative.page(&desk.path).await;
    assert!(tasks.text().contains(">Ready<"), "{}", tasks.text());
    assert!(!tasks.text().contains(">Incomplete<"), "{}", tasks.text());

    // It was read by nobody so far, and another at the hub can go on with it.
    assert!(gateway.entries().iter().all(|entry| entry["event"] != "accepted"));
    let manager = seat(&gateway, HUB, Role::TeamManager);
    let list = manager.page("/rfis").await;
    assert!(list.text().contains(&desk.path) && !list.text().contains("Wrenna"));
    let path = desk.path.clone();
    gateway.restart();
    let manager = seat(&gateway, HUB, Role::TeamManager);
    let representative = seat(&gateway, HUB, Role::HealthRepresentative);
    let desk = Desk { person: &representative, path };
    assert!(manager.page(&format!("{}/people", desk.path)).await.text().contains("Wrenna"));

    let check = representative.page(&format!("{}/check", desk.path)).await;
    assert!(check.text().contains("Openness is the rule"), "{}", check.text());
    let (sent, fields) = desk.send().await;
    let sent = location(&sent);
    let page = representative.page(&sent).await;
    // An answer within eight hours is also asked for by telephone.
    assert_eq!(page.text().matches("Ring them now").count(), 3, "{}", page.text());
    let again = desk.press(&fields).await;
    assert_eq!(again.status, 404);
    assert!(again.text().contains("it was sent, or let go"), "{}", again.text());
    assert!(!representative.page("/rfis").await.text().contains(&desk.path));
    let accepted = gateway.entries();
    let accepted: Vec<_> = accepted.iter().filter(|entry| entry["event"] == "accepted").collect();
    assert_eq!(accepted.len(), 3);
    assert!(accepted.iter().all(|entry| entry["desk"] == "mash-health-representative"));

    // Each has what was written, with its own reason and none of the others'.
    let read = async |agency: &str| gateway.agency(agency).collect_first().await["data"].clone();
    let police = read(POLICE).await;
    assert_eq!(police["whyAsked"], "The school saw her at the station.");
    assert_eq!(police["informationRequired"]["categories"], serde_json::json!(["neglect"]));
    let surgery = read(SURGERY).await;
    assert_eq!(surgery["whyAsked"], "She is registered there.");
    assert_eq!(
        surgery["persons"][0],
        serde_json::json!({
            "personId": "p1", "kind": "child", "relationship": "subject child",
            "givenName": "Wrenna", "familyName": "Thistlebank", "birthDate": "2017-05-09",
            "nhsNumber": "9990000018", "nhsNumberStatus": "number-present-and-verified",
            "address": { "line": ["9 Madeup Road", "Exampleton"], "postcode": "ZZ2 3AB" },
        })
    );
    assert_eq!(surgery["requester"]["telephone"], "+441632960017");
    assert_eq!(surgery["consent"]["otherFamilyContacts"]["answer"], "no-such-person");
    assert_eq!(
        surgery["reason"]["previousMashEnquiries"],
        serde_json::json!([
            { "date": "2024-06", "reason": "Neglect." }, { "reason": "An older one." }
        ])
    );
    gateway.verify_log();
}

#[tokio::test]
async fn without_consent_only_the_team_manager_decides_and_for_what_was_looked_at() {
    let gateway = TestGateway::start();
    let representative = seat(&gateway, HUB, Role::HealthRepresentative);
    let manager = seat(&gateway, HUB, Role::TeamManager);
    let desk = Desk::begin(&representative).await;
    desk.fill_in_all().await;
    desk.refused().await;
    let over = format!("{}/override", desk.path);
    assert!(representative.page(&desk.path).await.text().contains(&over));
    let check = representative.page(&format!("{}/check", desk.path)).await;
    assert_eq!(check.status, 422);
    assert!(check.text().contains("Ask the MASH Team Manager to decide"), "{}", check.text());
    let told = representative.page(&over).await;
    assert!(told.text().contains("Ask the MASH Team Manager to open this"), "{}", told.text());
    let decide = format!("{over}/decide");
    assert_eq!(representative.page(&decide).await.status, 403);
    let stop = manager.page(&over).await;
    assert!(stop.text().contains(&decide) && stop.text().contains("safety and welfare decide"));
    assert!(manager.page(&decide).await.text().contains("The child&#39;s safety decides"));
    let consent = manager.page(&format!("{}/consent-parents", desk.path)).await;
    assert!(consent.text().contains("freely, and knowing what is asked"), "{}", consent.text());

    let decided = async |rationale: &str, version: &str| {
        let fields = [
            ("name", "Imogen Fablewright"),
            ("jobTitle", "Manager"),
            ("rationale", rationale),
            ("confidence", "protect-from-harm"),
            ("interest-2", "A child of nine."),
            ("holder-view", "They would share it."),
            ("version", version),
        ];
        manager.fill_in(&decide, &fields).await
    };
    let recorded = || {
        let entries = gateway.entries();
        entries.iter().filter(|entry| entry["event"] == "override-recorded").count()
    };
    let rationale = "Waiting would leave the child there another night.";
    let version = desk.version().await;
    let short = decided("Because.", &version).await;
    assert_eq!(short.status, 422);
    assert!(short.text().contains("A child of nine.") && short.text().contains("Because."));
    assert_eq!(decided(rationale, "1").await.status, 409);
    let mut fields = vec![("rationale", rationale), ("version", &*version)];
    fields.push(("name", "Oswin Quillfeather"));
    assert_eq!(representative.fill_in(&decide, &fields).await.status, 403);
    assert_eq!(recorded(), 0);
    assert_eq!(location(&decided(rationale, &version).await), over);
    assert_eq!(recorded(), 1);
    let shown = representative.page(&over).await;
    assert!(shown.text().contains(&format!("Rationale: {rationale}")), "{}", shown.text());

    // Another person, another decision.
    desk.fill_in(
        "people/new",
        &[("kind", "child"), ("relationship", "sibling"), ("given", "Pim"), ("family", "T")],
    )
    .await;
    let check = representative.page(&format!("{}/check", desk.path)).await;
    assert_eq!(check.status, 422, "{}", check.text());
    let version = desk.version().await;
    location(&decided(rationale, &version).await);
    // What it is not about can be changed.
    desk.fill_in("categories", &[("categories", "neglect")]).await;
    location(&desk.send().await.0);
    let read = gateway.agency(TRUST).collect_first().await;
    let decision = &read["data"]["override"];
    assert_eq!(decision["rationale"], rationale);
    assert_eq!(decision["publicInterest"][0]["question"], 2);
    assert_eq!(decision["viewsConsidered"][0]["of"], "information-holder");
    assert_eq!(decision["decidedBy"]["role"], "mash-team-manager");
    gateway.verify_log();

    // Early intervention takes no for an answer.
    let other = Desk::begin(&representative).await;
    other.fill_in_all().await;
    other.decided("early-intervention").await;
    let refused = other.put("consent-parents", &REFUSED).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("early intervention needs it"), "{}", refused.text());
}

#[tokio::test]
async fn what_is_wrong_is_said_where_it_was_written_and_all_answers_are_kept() {
    let gateway = TestGateway::start();
    let representative = seat(&gateway, HUB, Role::HealthRepresentative);
    let desk = Desk::begin(&representative).await;
    for (part, fields, error) in [
        ("requester", &[("name", "Oswin Quillfeather"), ("telephone", "ring me")][..], "country"),
        ("people/new", &[("kind", "child"), ("given", "Wrenna"), ("nhs", "9990000019")], "NHS"),
        ("people/new", &[("kind", "unborn-child"), ("relationship", "child")], "delivery date"),
        ("people/new", &[("kind", "child"), ("born", "soon")], "Give a date"),
        ("recipients/new", &[("agency", POLICE)], "Say why this agency"),
        ("recipients/new", &[("why", "None is chosen.")], "one of the two"),
        ("referral", &[("source", "professional")], "Choose an answer: Do the parents know"),
        ("categories", &[], "at least one category"),
        ("due", &[("priority", "urgent"), ("due-day", "2027-02-30")], "day and the time"),
        ("consent-child", &[("answer", "no"), ("reason", "other")], "Explain"),
        ("consent-child", &[("answer", "yes")], "in writing or verbally"),
        ("lawful-basis", &[("article-6", "e"), ("special", "yes")], "power in law"),
    ] {
        let answer = desk.put(part, fields).await;
        assert_eq!(answer.status, 422, "{part} {fields:?}");
        let page = answer.text();
        assert!(page.contains("<title>Error: "), "{part}");
        let summary = page.split("class=\"errors\"").nth(1).unwrap();
        let summary = summary.split("</ul>").next().unwrap();
        assert!(summary.contains(error), "{part} {fields:?}: {summary}");
        for (name, value) in fields {
            let is_there = page.contains(&format!("value=\"{value}\""))
                || page.contains(&format!("\n{value}</textarea>"));
            assert!(is_there, "{part}: {name}");
        }
    }
    // A name that nobody's page has is no place to put anything, however deep it is.
    let deep = "a/".repeat(100_000);
    let made_up = [("categories", &*deep), (&*format!("why-{deep}"), "x")];
    assert_eq!(desk.put("categories", &made_up).await.status, 422);
    // A parent can be named before the child; the list says what it lacks.
    let mother = [
        ("kind", "parent-or-guardian"),
        ("relationship", "mother"),
        ("given", "Ottoline"),
        ("family", "Thistlebank"),
    ];
    desk.fill_in("people/new", &mother).await;
    let list = representative.page(&format!("{}/people", desk.path)).await;
    assert!(list.text().contains("at least one child"), "{}", list.text());
    let unborn = [
        ("kind", "unborn-child"),
        ("relationship", "subject child"),
        ("expected", "2027-03-01"),
        ("mother", "p1"),
    ];
    desk.fill_in("people/new", &unborn).await;
    desk.fill_in("not-told", &[("silent", "p1")]).await;
    // Whoever is taken out is referred to nowhere.
    desk.fill_in("people/p1", &[("go", "remove")]).await;
    let child = representative.page(&format!("{}/people/p2", desk.path)).await;
    assert!(child.text().contains("value=\"2027-03-01\""), "{}", child.text());
    assert!(!child.text().contains("Ottoline"));
    let silent = representative.page(&format!("{}/not-told", desk.path)).await;
    assert!(!silent.text().contains("checked"), "{}", silent.text());
    for nowhere in ["people/p1", "people/9", "recipients/1", "recipients/0", "due/new", "nonsense"]
    {
        let page = representative.page(&format!("{}/{nowhere}", desk.path)).await;
        assert_eq!(page.status, 404, "{nowhere}");
    }
    for list in ["people", "recipients"] {
        assert_eq!(desk.put(list, &CHILD).await.status, 404, "{list}");
    }
    // To be gone on with later, anything is kept.
    let later = [("telephone", "ring me"), ("go", "later")];
    desk.fill_in("requester", &later).await;
    let kept = representative.page(&format!("{}/requester", desk.path)).await;
    assert!(kept.text().contains("value=\"ring me\""), "{}", kept.text());
}

#[tokio::test]
async fn an_agency_that_cannot_be_asked_is_found_before_anybody_is() {
    let gateway = TestGateway::start();
    let representative = seat(&gateway, HUB, Role::HealthRepresentative);
    let desk = Desk::begin(&representative).await;
    desk.fill_in_all().await;
    desk.agreed().await;
    desk.fill_in("recipients/2", &[("ods", "X00000"), ("why", "She is registered there.")]).await;
    let (refused, _) = desk.send().await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("no such agency in the directory"), "{}", refused.text());
    let twice = desk.put("recipients/2", &[("agency", POLICE), ("why", "Once more.")]).await;
    assert_eq!(twice.status, 422);
    assert!(twice.text().contains("Name each recipient once"), "{}", twice.text());
    assert!(gateway.entries().iter().all(|entry| entry["event"] != "accepted"));
    desk.fill_in("recipients/2", &[("go", "remove")]).await;
    let (_, mut fields) = {
        let check = representative.page(&format!("{}/check", desk.path)).await;
        let version = between(check.text(), "name=\"version\" value=\"");
        let old = case::hours(-2);
        ((), vec![("version".to_owned(), version), ("asked-at".to_owned(), old)])
    };
    // Looked at long ago, or a time that was made up: it is looked at again.
    let again = format!("{}/check", desk.path);
    assert_eq!(location(&desk.press(&fields).await), again);
    fields[1].1 = case::hours(2);
    assert_eq!(location(&desk.press(&fields).await), again);
    fields[1].1 = "then".to_owned();
    assert_eq!(location(&desk.press(&fields).await), again);
    fields[0].1 = "1".to_owned();
    assert_eq!(desk.press(&fields).await.status, 409);
    location(&desk.send().await.0);
    let accepted = gateway.entries();
    assert_eq!(accepted.iter().filter(|entry| entry["event"] == "accepted").count(), 2);
}

#[tokio::test]
async fn what_was_sent_and_is_still_there_is_not_sent_again() {
    let gateway = TestGateway::start();
    let representative = seat(&gateway, HUB, Role::HealthRepresentative);
    let desk = Desk::begin(&representative).await;
    desk.fill_in_all().await;
    desk.agreed().await;
    // As it would be if the gateway had ended between the two.
    let row = sqlite(
        &gateway.database(),
        "SELECT printf('INSERT INTO rfi_drafts VALUES (x''%s'', ''%s'', %d, %d, %d, ''%s'', x''%s'', x''%s'')',
             hex(id), hub, version, begun_ms, kept_ms, recipient, hex(wrapped_key), hex(ciphertext))
         FROM rfi_drafts",
    );
    let (sent, fields) = desk.send().await;
    let sent = location(&sent);
    sqlite(&gateway.database(), &row);
    // The same button once more is the same request.
    assert_eq!(location(&desk.press(&fields).await), sent);
    sqlite(&gateway.database(), &row);
    // Looked at again it would be another, under the same key.
    let other = [fields[0].clone(), ("asked-at".to_owned(), case::hours(0))];
    let refused = desk.press(&other).await;
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("was sent before"), "{}", refused.text());
    let accepted = gateway.entries();
    assert_eq!(accepted.iter().filter(|entry| entry["event"] == "accepted").count(), 3);
}

fn sqlite(database: &Path, sql: &str) -> String {
    let ran = Command::new("sqlite3").arg(database).arg(sql).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    text(&ran.stdout).trim().to_owned()
}

#[tokio::test]
async fn what_is_written_is_sealed_and_let_go_when_nobody_goes_on() {
    let mut gateway = TestGateway::start();
    let representative = seat(&gateway, HUB, Role::HealthRepresentative);
    let desk = Desk::begin(&representative).await;
    let secret = "Marmaduke-Featherstone";
    desk.fill_in("people/new", &[&CHILD[..2], &[("given", secret), ("family", "T")]].concat())
        .await;
    let other = Desk::begin(&representative).await;
    // What is older than a list shows is said to be there.
    assert!(!representative.page("/rfis").await.text().contains("More were begun"));
    for _ in 0..49 {
        Desk::begin(&representative).await;
    }
    assert!(representative.page("/rfis").await.text().contains("More were begun"));
    sqlite(
        &gateway.database(),
        "DELETE FROM rfi_drafts WHERE version = 1 AND begun_ms >
        (SELECT min(begun_ms) FROM rfi_drafts WHERE version = 1)",
    );
    other.fill_in("discard", &[]).await;
    assert_eq!(representative.page(&other.path).await.status, 404);
    assert_eq!(sqlite(&gateway.database(), "SELECT count(*) FROM rfi_drafts"), "1");

    // A copy has no key of it, the keys beside the copy have it: put together it can be gone on with.
    let backup = gateway.folder().join("backups/first");
    std::fs::create_dir_all(backup.parent().unwrap()).unwrap();
    let made = gateway.run(&["store", "backup", backup.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let keys = gateway.folder().join("backups/enquiry-keys.db");
    let copy = backup.join("gateway.db");
    assert_eq!(sqlite(&copy, "SELECT length(wrapped_key) FROM rfi_drafts"), "0");
    assert_eq!(sqlite(&keys, "SELECT count(*) FROM enquiry_keys"), "1");
    let joined = gateway.folder().join("joined.db");
    std::fs::copy(&copy, &joined).unwrap();
    mash_gateway::store::sqlite::copy::put_keys_in(&joined, &keys).unwrap();
    let own = sqlite(&gateway.database(), "SELECT hex(wrapped_key) FROM rfi_drafts");
    assert_eq!(sqlite(&joined, "SELECT hex(wrapped_key) FROM rfi_drafts"), own);
    gateway.stop();
    gateway.holds_nowhere(&[secret]);

    // Left lying for a month it goes, key and all; and not before.
    let copied = told::copy(&gateway.home());
    let running = Told::of(copied.path());
    let hub = HUB.parse().unwrap();
    let config = Config::parse(&read(copied.path().join("gateway.toml")).unwrap()).unwrap();
    let sweep = Sweep::new(Arc::clone(&running.gateway), &config);
    sweep.round(now() + SignedDuration::from_hours(29 * 24)).await.unwrap();
    assert_eq!(running.store().rfi_drafts(&hub, 9).await.unwrap().len(), 1);
    sweep.round(now() + SignedDuration::from_hours(31 * 24)).await.unwrap();
    assert_eq!(running.store().rfi_drafts(&hub, 9).await.unwrap().len(), 0);
    drop(sweep);
    running.end().await;

    // Once it is sent or let go, no copy can be read with the keys of later.
    gateway.serve();
    let again = seat(&gateway, HUB, Role::TeamManager);
    Desk { person: &again, path: desk.path.clone() }.fill_in("discard", &[]).await;
    let second = gateway.folder().join("backups/second");
    let made = gateway.run(&["store", "backup", second.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_eq!(sqlite(&keys, "SELECT count(*) FROM enquiry_keys"), "0");
    assert!(gateway.entries().iter().all(|entry| entry["event"] != "accepted"), "nobody was asked");
}
