//! Whoever has to see that it was done as agreed can: figures worked out by hand, case files that anybody
//! checks offline, samples that are drawn again, and who read what. None of it says anything about a family
//! unless somebody opens it for that, which is in the log.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use jiff::{SignedDuration, Timestamp};
use mash_gateway::message::{Kind, Role, Target, rfc3339};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::attachments::{self, CANARY, upload};
use crate::log::inclusion_root;
use crate::support::endpoint::{Behaviour, Endpoint};
use crate::support::told::Told;
use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case, text};

/// What no report may say: of whom it is, what is feared for them, what was told of them.
const PERSONAL: [&str; 8] = [
    CANARY,
    "Wrenna",
    "Thistlebank",
    "9990000018",
    "2017-05-09",
    "greenhouse",
    "without a coat",
    "Tobiah Larkmoor",
];

/// What only a case file says for which messages were opened.
const OPENED: [&str; 4] =
    ["another night", "Imogen Fablewright", "would-increase-risk", "children-act-1989-s47"];

/// Runs a command that must succeed, and returns what it printed.
#[track_caller]
fn printed(gateway: &TestGateway, arguments: &[&str]) -> String {
    let ran = gateway.run(arguments);
    assert!(ran.status.success(), "{arguments:?}: {}", text(&ran.stderr));
    text(&ran.stdout)
}

#[track_caller]
fn printed_json(gateway: &TestGateway, arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(gateway, arguments)).unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn at(text: &str) -> Timestamp {
    // January: London keeps UTC.
    format!("{}Z", text.replace(' ', "T")).parse().unwrap()
}

/// A hub and agencies that act at given times.
struct Acted<'a>(&'a Told);

impl Acted<'_> {
    async fn say(&self, sender: &str, target: Target, body: &Value, when: &str) -> Value {
        let key = uuid::Uuid::new_v4().to_string();
        let answer = self.0.submit(sender, &key, target, &body.to_string(), at(when)).await;
        let answer = answer.unwrap_or_else(|problem| panic!("{when}: {:?}", problem.errors));
        serde_json::from_str(&answer).unwrap()
    }

    /// Asks, and returns the exchange with each agency.
    async fn ask(&self, agencies: &[&str], when: &str, due: &str, priority: &str) -> Vec<Value> {
        let mut body = case::dispatch(agencies);
        let before = rfc3339(at(when) - SignedDuration::from_mins(5));
        body["rfi"]["dateOfRequest"] = json!(before);
        body["rfi"]["enquiryAuthorisation"]["at"] = json!(before);
        body["rfi"]["responseRequiredBy"] = json!(rfc3339(at(due)));
        body["rfi"]["priority"] = json!(priority);
        let answer = self.say(HUB, Target::Rfis, &body, when).await;
        answer["exchanges"].as_array().unwrap().clone()
    }

    async fn reply(&self, exchange: &Value, sender: &str, kind: Kind, body: &Value, when: &str) {
        let id = exchange["exchange"].as_str().unwrap().parse().unwrap();
        self.say(sender, Target::Exchange(id, kind), body, when).await;
    }

    async fn collect(&self, exchange: &Value, when: &str) {
        let agency = exchange["agency"].as_str().unwrap().parse().unwrap();
        let id = exchange["message"].as_str().unwrap().parse().unwrap();
        self.0.gateway.collect(&agency, None, None, &id, at(when)).await.ok().unwrap();
    }

    async fn answer(&self, exchange: &Value, when: &str) {
        let body = case::response(exchange["message"].as_str().unwrap());
        let agency = exchange["agency"].as_str().unwrap();
        self.reply(exchange, agency, Kind::Response, &body, when).await;
    }
}

/// Two weeks in January 2027, with a surgery that has an endpoint.
async fn two_weeks() -> TestGateway {
    let mut endpoint = Endpoint::reserve();
    let gateway = TestGateway::made(&case::partners(&[(SURGERY, &endpoint.lines(true))]));
    endpoint.introduce(&gateway.home());
    endpoint.start(&gateway.home());
    let told = Told::of(&gateway.home());
    let acted = Acted(&told);
    // A Sunday: before the report begins.
    acted.ask(&[POLICE], "2027-01-10 12:00", "2027-01-12 17:00", "urgent").await;

    // Monday. The police answer in time, the trust says that it is not theirs.
    let asked = acted.ask(&[POLICE, TRUST], "2027-01-11 09:00", "2027-01-12 17:00", "urgent").await;
    acted.collect(&asked[0], "2027-01-11 10:30").await;
    acted.collect(&asked[1], "2027-01-11 09:30").await;
    let rfi = asked[1]["message"].as_str().unwrap();
    let who = json!({ "name": "Tobiah Larkmoor", "jobTitle": "Safeguarding Lead" });
    let not_ours = json!({
        "inReplyTo": rfi, "acknowledgedBy": who,
        "wrongRecipient": { "suggestion": "The family has moved." },
    });
    acted.reply(&asked[1], TRUST, Kind::Acknowledgement, &not_ours, "2027-01-11 11:00").await;
    acted.answer(&asked[0], "2027-01-12 12:00").await;

    // The police answer late.
    let late = acted.ask(&[POLICE], "2027-01-11 10:00", "2027-01-12 12:00", "routine").await;
    acted.collect(&late[0], "2027-01-12 09:00").await;
    acted.answer(&late[0], "2027-01-13 10:00").await;

    // Nobody needs this answer any more.
    let off = acted.ask(&[POLICE], "2027-01-14 09:00", "2027-01-15 17:00", "urgent").await;
    let mut cancelled = case::said(Kind::Cancellation, off[0]["message"].as_str().unwrap());
    cancelled["cancelledBy"] = who.clone();
    acted.reply(&off[0], HUB, Kind::Cancellation, &cancelled, "2027-01-14 10:00").await;

    // Friday afternoon, for Monday: nobody at the police even collects it.
    acted.ask(&[POLICE], "2027-01-15 16:00", "2027-01-18 12:00", "urgent").await;

    // Half an answer counts as one, and says that it is half of one.
    let half = acted.ask(&[TRUST], "2027-01-19 09:00", "2027-01-21 17:00", "routine").await;
    acted.collect(&half[0], "2027-01-19 10:00").await;
    let mut part = case::partial(half[0]["message"].as_str().unwrap());
    part["moreToFollowBy"] = json!(rfc3339(at("2027-01-21 12:00")));
    acted.reply(&half[0], TRUST, Kind::Response, &part, "2027-01-19 15:00").await;
    acted.ask(&[TRUST], "2027-01-20 11:00", "2027-01-20 15:00", "stat").await;
    acted.ask(&[TRUST], "2027-01-20 11:30", "2027-01-22 17:00", "routine").await;

    // The surgery's endpoint takes one ten minutes after it was sent; then it is busy, and after a quarter of
    // an hour the mailbox takes over.
    acted.ask(&[SURGERY], "2027-01-11 09:00", "2027-01-12 17:00", "urgent").await;
    told.deliver.round(at("2027-01-11 09:10")).await.ok().unwrap();
    endpoint.behave(Behaviour::AreBusy);
    let moved = acted.ask(&[SURGERY], "2027-01-12 09:00", "2027-01-13 17:00", "urgent").await;
    let mut next = Some(at("2027-01-12 09:00"));
    while let Some(round) = next {
        assert!(round < at("2027-01-12 10:00"));
        next = told.deliver.round(round).await.ok().unwrap();
    }
    acted.collect(&moved[0], "2027-01-12 11:00").await;
    told.end().await;
    gateway
}

/// What the command prints as of noon on Wednesday the 20th.
fn timeliness(gateway: &TestGateway, more: &[&str]) -> String {
    let span = ["report", "timeliness", "--from", "2027-01-11", "--to", "2027-01-24"];
    let ran = gateway.run_at("@2027-01-20 12:00:00", &[&span[..], more].concat());
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    text(&ran.stdout)
}

#[tokio::test]
async fn the_figures_are_those_worked_out_by_hand() {
    let gateway = two_weeks().await;
    let report: Value = serde_json::from_str(&timeliness(&gateway, &["--format", "json"])).unwrap();
    assert!(report["asAt"].as_str().unwrap().starts_with("2027-01-20T12:00:0"), "{report}");
    assert_eq!(report["from"], "2027-01-11T00:00:00.000Z");
    assert_eq!(report["to"], "2027-01-25T00:00:00.000Z");
    let figures = |agency: &str, priority: &str| {
        let all = report["figures"].as_array().unwrap().iter();
        let mut found = all.filter(|one| one["agency"] == agency && one["priority"] == priority);
        found.next().cloned().unwrap_or_else(|| panic!("{agency} {priority}"))
    };
    let spread = |count: u64, hours: [f64; 3], working: [f64; 3]| {
        let of = |[median, p90, worst]: [f64; 3]| json!({ "median": median, "p90": p90, "worst": worst });
        json!({ "count": count, "hours": of(hours), "workingHours": of(working) })
    };
    let at_once = |count| spread(count, [0.0; 3], [0.0; 3]);
    let police = figures(POLICE, "(all)");
    let counts = json!({
        "agency": POLICE, "priority": "(all)", "asked": 4, "answeredInTime": 1, "answeredLate": 1,
        "answeredInPart": 0, "overdue": 1, "dueSoon": 0, "running": 0, "rejected": 0,
        "cancelled": 1, "inTimePercent": 33.3,
        "toDispatch": at_once(4),
        // Monday 9:00 to 10:30; Monday 10:00 to Tuesday 9:00, of which seven hours are worked.
        "toCollect": spread(2, [12.25, 23.0, 23.0], [4.25, 7.0, 7.0]),
        // Monday 9:00 to Tuesday 12:00: 8 and 3. Monday 10:00 to Wednesday 10:00: 7, 8 and 1.
        "toReply": spread(2, [37.5, 48.0, 48.0], [13.5, 16.0, 16.0]),
    });
    assert_eq!(police, counts);
    let urgent = figures(POLICE, "urgent");
    assert_eq!(urgent["asked"], 3);
    assert_eq!(urgent["inTimePercent"], 50.0);
    assert_eq!(urgent["toReply"], spread(1, [27.0; 3], [11.0; 3]));
    assert_eq!(figures(POLICE, "routine")["inTimePercent"], 0.0);
    let trust = json!({
        "agency": TRUST, "priority": "(all)", "asked": 4, "answeredInTime": 1, "answeredLate": 0,
        "answeredInPart": 1, "overdue": 0, "dueSoon": 1, "running": 1, "rejected": 1,
        "cancelled": 0, "inTimePercent": 100.0,
        "toDispatch": at_once(4),
        "toCollect": spread(2, [0.75, 1.0, 1.0], [0.75, 1.0, 1.0]),
        "toReply": spread(1, [6.0; 3], [6.0; 3]),
    });
    assert_eq!(figures(TRUST, "(all)"), trust);
    // Pushed: ten minutes; not taken: fifteen, and two hours until it looked into its mailbox.
    let surgery = figures(SURGERY, "(all)");
    assert_eq!(surgery["toDispatch"], spread(2, [0.21, 0.25, 0.25], [0.21, 0.25, 0.25]));
    assert_eq!(surgery["toCollect"], spread(2, [1.08, 2.0, 2.0], [1.08, 2.0, 2.0]));
    assert_eq!(surgery["toReply"], json!({ "count": 0, "hours": null, "workingHours": null }));
    assert_eq!(surgery["overdue"], 2);
    let all = figures("(all)", "(all)");
    assert_eq!((&all["asked"], &all["overdue"]), (&json!(10), &json!(3)));
    // Who did not answer what, in the order in which it was due.
    let overdue: Vec<_> = report["overdue"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| ["agency", "dueAt", "collectedAt"].map(|name| one[name].as_str().unwrap_or("-")))
        .collect();
    let (tenth, twelfth) = ("2027-01-11T09:10:00.000Z", "2027-01-12T11:00:00.000Z");
    assert_eq!(
        overdue,
        [
            [POLICE, "2027-01-18T12:00:00.000Z", "-"],
            [SURGERY, "2027-01-12T17:00:00.000Z", tenth],
            [SURGERY, "2027-01-13T17:00:00.000Z", twelfth],
        ]
    );
    // What was asked on the Sunday counts when the period is longer, and nothing when it is another.
    let longer = gateway.run_at(
        "@2027-01-20 12:00:00",
        &["report", "timeliness", "--from", "2027-01-10", "--json"],
    );
    let longer: Value = serde_json::from_slice(&longer.stdout).unwrap();
    assert_eq!(longer["figures"][0]["asked"], 11);
    let empty = printed_json(&gateway, &["report", "timeliness", "--to", "2027-01-01", "--json"]);
    assert_eq!(empty["figures"], json!([]));
    for wrong in [["--from", "yesterday"], ["--to", "2027-13-01"], ["--from", "2099-01-01"]] {
        let refused = gateway.run(&[&["report", "timeliness"], &wrong[..]].concat());
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}: {}", text(&refused.stderr));
    }

    // The same figures as CSV, read back; and no spreadsheet takes a cell for a formula.
    let csv = timeliness(&gateway, &["--format", "csv"]);
    let rows = cells(&csv);
    let (head, rows) = rows.split_first().unwrap();
    let row = rows.iter().find(|row| row[0] == POLICE && row[1] == "(all)").unwrap();
    let named: BTreeMap<_, _> =
        head.iter().zip(row).map(|(h, c)| (h.as_str(), c.as_str())).collect();
    for (name, value) in [
        ("asked", "4"),
        ("answered_in_time", "1"),
        ("overdue", "1"),
        ("in_time_percent", "33.3"),
        ("to_dispatch_hours_worst", "0.00"),
        ("to_collect_working_hours_median", "4.25"),
        ("to_reply_hours_median", "37.50"),
        ("to_reply_working_hours_p90", "16.00"),
    ] {
        assert_eq!(named[name], value, "{name}");
    }
    assert_eq!(rows.len(), report["figures"].as_array().unwrap().len());

    // The page: a picture and the figures, and nothing from anywhere.
    let html = timeliness(&gateway, &["--format", "html"]);
    stands_by_itself(&html);
    assert!(html.contains("<svg") && html.contains("<td class=\"number\">33.3</td>"), "{html}");
    // In working hours, and by the clock; 4.25 as people round.
    assert!(html.contains("<td class=\"number\">4.3 (12.3)</td>"), "{html}");
    assert!(html.contains("<td class=\"number\">13.5 (37.5)</td>"), "{html}");
    for agency in [POLICE, TRUST, SURGERY, "(all)"] {
        assert!(html.contains(&format!("<th scope=\"row\">{agency}</th>")), "{agency}");
    }
    let reference = report["overdue"][0]["reference"].as_str().unwrap();
    assert!(html.contains(&format!("<td class=\"whole\">{reference}</td>")), "{html}");
    for phrase in PERSONAL {
        assert!(!html.contains(phrase) && !csv.contains(phrase), "{phrase}");
    }
    let shown = timeliness(&gateway, &[]);
    assert!(shown.contains("test-police  asked 4, in time 1 (33.3 % of what was due)"), "{shown}");
}

/// The rows of a CSV file, as RFC 4180 has them; each as wide as the first.
fn cells(csv: &str) -> Vec<Vec<String>> {
    let rows: Vec<Vec<String>> = csv
        .trim_end()
        .split("\r\n")
        .map(|line| {
            // None of ours needs quotes.
            assert!(!line.contains('"'), "{line}");
            line.split(',').map(str::to_owned).collect()
        })
        .collect();
    for row in &rows {
        assert_eq!(row.len(), rows[0].len(), "{row:?}");
        assert!(row.iter().all(|cell| !cell.starts_with(['=', '+', '-', '@', '\t', '\r'])));
    }
    rows
}

/// That a page loads nothing, runs nothing, and has every element closed.
#[track_caller]
fn stands_by_itself(html: &str) {
    assert!(html.starts_with("<!doctype html>"));
    for reference in
        ["http:", "https:", "src=", "href", "<script", "<link", "<iframe", "@import", "javascript"]
    {
        assert!(!html.contains(reference), "{reference}");
    }
    assert_eq!(html.matches("url(").count(), html.matches("url(#").count());
    assert!(html.contains("default-src 'none'"));
    let mut open = Vec::new();
    for piece in html.split('<').skip(2) {
        let tag = piece.split('>').next().unwrap();
        let name = tag.split([' ', '/', '\n']).next().unwrap();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{piece}");
        } else if name != "meta" && !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// A case with an override and a file: police and trust asked, the police have answered.
async fn a_case(gateway: &TestGateway) -> Value {
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let manager = gateway.desk(HUB, Role::TeamManager);
    let mut rfi = case::rfi_without_consent();
    // What somebody types is text, wherever it is shown.
    rfi["override"]["rationale"] =
        json!("Waiting leaves her there another night. <script>alert(\"1\")</script>");
    rfi["override"]["legitimateAims"] = json!(["protection-of-health-or-morals"]);
    rfi["override"]["publicInterest"] = json!([{ "question": 3, "answer": "It is the child's." }]);
    rfi["override"]["viewsConsidered"] =
        json!([{ "of": "information-holder", "view": "They would rather be asked first." }]);
    rfi["override"]["legalAdvice"] = json!("None was needed.");
    let file = upload(&hub, "text/plain", CANARY.as_bytes()).await;
    rfi["attachments"] = json!([file]);
    let decision = manager.post("/v1/overrides", &case::overriding(&rfi)).await.ok(201);
    rfi["override"]["decisionCode"] = decision["decisionCode"].clone();
    let recipients = [POLICE, TRUST].map(|id| json!({ "agency": id, "why": "They may know her." }));
    let body = json!({ "recipients": recipients, "rfi": rfi });
    let dispatched = hub.post("/v1/rfis", &body).await.ok(202);
    let asked = &dispatched["exchanges"][0];
    police.collect_first().await;
    let response = case::response(asked["message"].as_str().unwrap());
    police.post(&case::path(asked, "responses"), &response).await.ok(202);
    hub.collect_first().await;
    dispatched
}

/// HMAC-SHA256, as RFC 2104 has it, by somebody else's SHA-256.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

/// Checks a C2SP proof with nothing of ours: returns what the entry says.
#[track_caller]
fn proved(proof: &str, entry: u64, checkpoint: &str) -> Value {
    let (head, note) = proof.split_once("\n\n").unwrap();
    assert_eq!(note, checkpoint);
    let mut note = note.lines().skip(1);
    let size = note.next().unwrap().parse().unwrap();
    let root = STANDARD.decode(note.next().unwrap()).unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
    let extra = lines.next().unwrap().strip_prefix("extra ").unwrap();
    let extra = STANDARD.decode(extra).unwrap();
    let index: u64 = lines.next().unwrap().strip_prefix("index ").unwrap().parse().unwrap();
    assert_eq!(index, entry);
    let hashes: Vec<_> = lines.map(|line| STANDARD.decode(line).unwrap()).collect();
    let extra: Value = serde_json::from_slice(&extra).unwrap();
    let salt = STANDARD.decode(extra["salt"].as_str().unwrap()).unwrap();
    // Their one spelling: compact, with sorted names.
    let tag = hmac(&salt, extra["fields"].to_string().as_bytes());
    let leaf = Sha256::new().chain_update([0, 1]).chain_update(tag).finalize().to_vec();
    assert_eq!(inclusion_root(&leaf, index, size, &hashes), root, "entry {entry}");
    extra["fields"].clone()
}

#[tokio::test]
async fn a_case_file_says_who_asked_whom_and_anybody_can_check_it() {
    let mut gateway = attachments::gateway(&[]);
    let dispatched = a_case(&gateway).await;
    let reference = dispatched["exchanges"][0]["reference"].as_str().unwrap();
    // Beside the gateway that runs.
    let made = printed_json(&gateway, &["evidence", reference, "--out", "case", "--json"]);
    assert_eq!(made["enquiry"], dispatched["enquiry"]);
    let folder = gateway.folder().join("case");
    let (json, html) = (read(&folder.join("evidence.json")), read(&folder.join("evidence.html")));
    let file: Value = serde_json::from_str(&json).unwrap();
    let note = read(&folder.join("checkpoint.note"));
    assert_eq!(file["checkpoint"], note.as_str());

    // Every event, word for word as the log has it, and proved by a computation of our own.
    let mut found = 0;
    for (case, asked) in file["exchanges"].as_array().unwrap().iter().zip([POLICE, TRUST]) {
        assert_eq!((&case["hub"], &case["agency"]), (&json!(HUB), &json!(asked)));
        assert_eq!(case["recorded"]["categories"], json!(["neglect", "criminal-activity"]));
        let id = case["reference"].as_str().unwrap();
        let shown = printed_json(&gateway, &["log", "show", id, "--json"]);
        let logged = shown["entries"].as_array().unwrap();
        let events = case["events"].as_array().unwrap();
        assert_eq!(events.len(), logged.len());
        for (event, entry) in events.iter().zip(logged) {
            assert_eq!((&event["entry"], &event["fields"]), (&entry["index"], &entry["fields"]));
            let entry = event["entry"].as_u64().unwrap();
            let fields = proved(event["proof"].as_str().unwrap(), entry, &note);
            assert_eq!(fields, event["fields"]);
            found += 1;
        }
    }
    let police = &file["exchanges"][0]["recorded"];
    assert_eq!((&police["standing"], &police["result"]), (&json!("in-time"), &json!("complete")));
    // By the time of day, there is time or there is little.
    let waits = &file["exchanges"][1]["recorded"]["standing"];
    assert!(waits == "running" || waits == "due-soon", "{waits}");
    // And what came before: the file, and the override that it went out by.
    let mut came_before = Vec::new();
    for item in file["before"].as_array().unwrap() {
        let (proof, entry) = (item["proof"].as_str().unwrap(), item["entry"].as_u64().unwrap());
        let fields = proved(proof, entry, &note);
        came_before.push((fields["event"].clone(), fields["desk"].clone()));
    }
    assert_eq!(
        came_before,
        [
            (json!("attachment-uploaded"), json!(null)),
            (json!("override-recorded"), json!("mash-team-manager")),
        ]
    );
    assert_eq!(made["entries"], found + 2);

    // Ours does the same, with the two files alone.
    let alone = tempfile::tempdir().unwrap();
    let key = gateway.home().join("certs/log-key.txt");
    let verify = |name: &str, text: &str| {
        std::fs::write(alone.path().join(name), text).unwrap();
        Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
            .args(["receipt", "verify", name, "--json", "--log-key"])
            .arg(&key)
            .current_dir(alone.path())
            .output()
            .unwrap()
    };
    let verified = verify("evidence.json", &json);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&verified["entries"], &verified["size"]), (&json!(found + 2), &file["logSize"]));
    // The proof of a message is its receipt; the proof of a collection is none.
    let events = file["exchanges"][0]["events"].as_array().unwrap();
    for event in events {
        let is_receipt = event["fields"]["event"] == "accepted";
        let verified = verify("one.receipt", event["proof"].as_str().unwrap());
        assert_eq!(verified.status.code(), Some(if is_receipt { 0 } else { 3 }), "{event}");
    }
    type Change = (&'static str, fn(&mut Value));
    let changes: [Change; 13] = [
        ("who was asked", |file| file["exchanges"][0]["agency"] = json!(TRUST)),
        ("who asked", |file| file["exchanges"][1]["hub"] = json!(POLICE)),
        ("a reference", |file| file["exchanges"][0]["reference"] = json!("RFI-2026-000009-A")),
        ("the enquiry", |file| file["enquiry"] = file["exchanges"][0]["exchange"].clone()),
        ("an exchange", |file| file["exchanges"][0]["exchange"] = file["enquiry"].clone()),
        ("a time", |file| {
            file["exchanges"][0]["events"][1]["fields"]["time"] = json!("2026-01-01T00:00:00.000Z");
        }),
        ("an entry's place", |file| file["exchanges"][0]["events"][1]["entry"] = json!(1)),
        ("an event for another", |file| {
            file["exchanges"][0]["events"][1] = file["exchanges"][0]["events"][2].clone();
        }),
        ("another exchange's event", |file| {
            let other = file["exchanges"][1]["events"][0].clone();
            file["exchanges"][0]["events"].as_array_mut().unwrap().push(other);
        }),
        ("a proof", |file| {
            file["exchanges"][0]["events"][0].as_object_mut().unwrap().remove("proof");
        }),
        ("the opening", |file| {
            file["exchanges"][0]["events"].as_array_mut().unwrap().remove(0);
        }),
        ("the size", |file| file["logSize"] = json!(1)),
        ("the key", |file| file["logKey"] = json!("mash.example.org/log+00000000+AAAA")),
    ];
    for (what, change) in changes {
        let mut other = file.clone();
        change(&mut other);
        let refused = verify("changed.json", &other.to_string());
        assert_eq!(refused.status.code(), Some(3), "{what}: {}", text(&refused.stdout));
    }
    // The page is of this file, and says the same.
    stands_by_itself(&html);
    let sha256: String =
        Sha256::digest(json.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(html.contains(&sha256));
    for said in ["response sent to test-mash", "rfi collected", "override of missing consent"] {
        assert!(html.contains(said), "{said}");
    }
    for phrase in PERSONAL.iter().chain(&OPENED) {
        assert!(!json.contains(phrase) && !html.contains(phrase), "{phrase}");
    }

    // By enquiry and by exchange it is the same case; a folder that is there is left alone.
    let enquiry = dispatched["enquiry"].as_str().unwrap();
    let exchange = dispatched["exchanges"][1]["exchange"].as_str().unwrap();
    printed(&gateway, &["evidence", enquiry]);
    assert!(gateway.folder().join(format!("evidence-{enquiry}/evidence.html")).exists());
    printed(&gateway, &["evidence", exchange, "--out", "other"]);
    let again = gateway.run(&["evidence", reference, "--out", "case", "--open"]);
    assert_eq!(again.status.code(), Some(1));
    for (unknown, code) in [("0e8400e2-9b1d-41d4-a716-446655440000", 4), ("RFI-2026-000001", 2)] {
        let refused = gateway.run(&["evidence", unknown, "--out", "none"]);
        assert_eq!(refused.status.code(), Some(code), "{unknown}");
    }
    assert!(!gateway.folder().join("none").exists());
    gateway.stop();
    printed(&gateway, &["log", "verify", "--since", "case/checkpoint.note"]);
    assert!(gateway.entries().iter().all(|fields| fields["event"] != "opened-for-audit"));
}

#[tokio::test]
async fn what_an_audit_asks_is_opened_with_the_keys_and_that_is_in_the_log() {
    let mut gateway = attachments::gateway(&[]);
    let dispatched = a_case(&gateway).await;
    let enquiry = dispatched["enquiry"].as_str().unwrap();
    printed(&gateway, &["evidence", enquiry, "--out", "case", "--open"]);
    let folder = gateway.folder().join("case");
    let (json, html) = (read(&folder.join("evidence.json")), read(&folder.join("evidence.html")));
    // Basis, consent and decision are there; the family and what was told of it are not.
    for phrase in OPENED {
        assert!(json.contains(phrase) && html.contains(phrase), "{phrase}");
    }
    for phrase in PERSONAL {
        assert!(!json.contains(phrase) && !html.contains(phrase), "{phrase}");
    }
    stands_by_itself(&html);
    assert!(html.contains("&lt;script&gt;alert(&quot;1&quot;)"), "{html}");
    let file: Value = serde_json::from_str(&json).unwrap();
    let opened = &file["exchanges"][0]["opened"];
    assert_eq!((&opened[0]["kind"], &opened[1]["kind"]), (&json!("rfi"), &json!("response")));
    assert_eq!(opened[0]["said"]["override"]["confidenceGateway"], "protect-from-harm");
    let decided = &opened[0]["said"]["override"];
    assert_eq!(decided["decisionCode"], json!(null));
    // The whole of what was weighed (R74, R75, R77).
    assert_eq!(decided["legitimateAims"], json!(["protection-of-health-or-morals"]));
    assert_eq!(decided["publicInterest"][0]["question"], 3);
    assert_eq!(decided["viewsConsidered"][0]["of"], "information-holder");
    assert_eq!(decided["legalAdvice"], "None was needed.");
    assert_eq!(opened[0]["said"]["whyAsked"], "They may know her.");
    assert_eq!(
        opened[1]["said"]["answers"],
        json!([
            { "category": "neglect", "status": "provided" },
            { "category": "criminal-activity", "status": "nothing-known" },
        ])
    );
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(&folder), mode(&folder.join("evidence.html"))), (0o700, 0o600));

    // It is in the file itself, and both agencies can see it.
    let events = |events: &Value| {
        let events = events.as_array().unwrap().iter();
        let name = |event: &Value| event["fields"]["event"].as_str().unwrap_or_default().to_owned();
        events.map(name).filter(|name| name == "opened-for-audit").count()
    };
    assert_eq!(events(&file["exchanges"][0]["events"]), 2);
    assert_eq!(events(&file["exchanges"][1]["events"]), 1);
    for agency in [HUB, POLICE] {
        let path =
            format!("/v1/exchanges/{}", dispatched["exchanges"][0]["exchange"].as_str().unwrap());
        let timeline = gateway.agency(agency).get_json(&path).await["timeline"].clone();
        let seen = timeline.as_array().unwrap().iter();
        assert_eq!(seen.filter(|entry| entry["event"] == "opened-for-audit").count(), 2);
    }
    // Without the at-rest keys nothing is opened.
    let keys = gateway.home().join("keys/at-rest-identity.txt");
    let kept = std::fs::read(&keys).unwrap();
    std::fs::remove_file(&keys).unwrap();
    let size = gateway.entries().len();
    let refused = gateway.run(&["evidence", enquiry, "--out", "locked", "--open"]);
    assert!(!refused.status.success());
    assert!(!gateway.folder().join("locked/evidence.json").exists());
    assert_eq!(gateway.entries().len(), size);
    std::fs::write(&keys, kept).unwrap();
    gateway.stop();
    gateway.verify_log();
    // What was said is in none of the gateway's own files.
    gateway.holds_nowhere(&["another night"]);
}

#[tokio::test]
async fn what_only_an_agency_can_open_stays_closed_and_nothing_says_otherwise() {
    let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let custody = format!(
        "endpoints = [{{ kind = \"mailbox\" }}]\ncustody = \"agency\"\n\
         age_recipients = [\"{recipient}\"]\n"
    );
    let gateway = TestGateway::start_with(&case::partners(&[(POLICE, &custody)]));
    let dispatched = gateway.agency(HUB).dispatch(&[POLICE]).await;
    let enquiry = dispatched["enquiry"].as_str().unwrap();
    printed(&gateway, &["evidence", enquiry, "--out", "case", "--open"]);
    let file: Value =
        serde_json::from_str(&read(&gateway.folder().join("case/evidence.json"))).unwrap();
    let [opened] = &file["exchanges"][0]["opened"].as_array().unwrap()[..] else {
        panic!("{file}")
    };
    assert_eq!(opened["notOpened"], "the payload is sealed to the agency's own key");
    assert_eq!(opened["said"], json!(null));
    assert!(gateway.entries().iter().all(|fields| fields["event"] != "opened-for-audit"));
}

#[tokio::test]
async fn what_was_destroyed_is_said_to_be_and_the_rest_is_proved() {
    let mut gateway = TestGateway::start();
    let dispatched = gateway.agency(HUB).dispatch(&[POLICE]).await;
    gateway.agency(POLICE).collect_first().await;
    gateway.stop();
    // As retention leaves it: the enquiry's key is gone, and the words of an entry.
    let changed = Command::new("sqlite3")
        .arg(gateway.database())
        .arg(
            "UPDATE enquiries SET wrapped_key = NULL;
             UPDATE entries SET fields = NULL, salt = NULL WHERE fields LIKE '%\"collected\"%'",
        )
        .status()
        .unwrap();
    assert!(changed.success());
    let enquiry = dispatched["enquiry"].as_str().unwrap();
    printed(&gateway, &["evidence", enquiry, "--out", "case", "--open"]);
    let file: Value =
        serde_json::from_str(&read(&gateway.folder().join("case/evidence.json"))).unwrap();
    let case = &file["exchanges"][0];
    assert_eq!(case["opened"][0]["notOpened"], "the payload has been purged");
    let [sent, collected] = &case["events"].as_array().unwrap()[..] else { panic!("{case}") };
    assert!(sent["proof"].is_string(), "{sent}");
    assert_eq!(*collected, json!({ "entry": collected["entry"] }));
    let verified = printed_json(&gateway, &["receipt", "verify", "case/evidence.json", "--json"]);
    assert_eq!((&verified["entries"], &verified["destroyed"]), (&json!(1), &json!(1)));
    let html = read(&gateway.folder().join("case/evidence.html"));
    assert!(html.contains("destroyed at the end of its retention"), "{html}");
    assert!(gateway.entries().iter().all(|fields| fields["event"] != "opened-for-audit"));
}

#[tokio::test]
async fn a_sample_is_drawn_again_from_its_seed() {
    let gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    let mut enquiries = Vec::new();
    for _ in 0..6 {
        let dispatched = hub.dispatch(&[POLICE, TRUST]).await;
        enquiries.push(dispatched["enquiry"].as_str().unwrap().to_owned());
    }
    let sample = |count: &str, out: &str, more: &[&str]| {
        let arguments = ["report", "sample", "--count", count, "--out", out, "--json"];
        printed_json(&gateway, &[&arguments[..], more].concat())
    };
    let first = sample("3", "first", &[]);
    assert_eq!(first["of"], 6);
    let seed = first["seed"].as_str().unwrap();
    assert_eq!(seed.len(), 32);
    // As anybody works it out.
    let lot = |id: &String| Sha256::digest(format!("{seed}\n{id}")).to_vec();
    let mut expected = enquiries.clone();
    expected.sort_by_key(lot);
    let drawn = |sample: &Value| -> Vec<String> {
        let drawn = sample["drawn"].as_array().unwrap().iter();
        drawn.map(|one| one["enquiry"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(drawn(&first), expected[..3]);
    // Whatever is asked since, in the same period.
    hub.dispatch(&[POLICE]).await;
    let (from, to) = (first["from"].as_str().unwrap(), first["to"].as_str().unwrap());
    let again = sample("3", "again", &["--seed", seed, "--from", from, "--to", to]);
    assert_eq!(again, first);
    for enquiry in drawn(&first) {
        let path = format!("first/{enquiry}/evidence.json");
        let file: Value = serde_json::from_str(&read(&gateway.folder().join(&path))).unwrap();
        assert_eq!(file["enquiry"], enquiry.as_str());
        printed(&gateway, &["receipt", "verify", &path]);
        stands_by_itself(&read(&gateway.folder().join(format!("first/{enquiry}/evidence.html"))));
    }
    let listed: Value =
        serde_json::from_str(&read(&gateway.folder().join("first/sample.json"))).unwrap();
    assert_eq!(listed, first);
    let all = sample("50", "all", &[]);
    assert_eq!(drawn(&all).len(), 7);
    for wrong in [&["0"][..], &["many"], &["1", "--seed", "two words"], &["1", "--seed", ""]] {
        let arguments = [&["report", "sample", "--out", "wrong", "--count"], wrong].concat();
        assert_eq!(gateway.run(&arguments).status.code(), Some(2), "{wrong:?}");
    }
    let nobody = ["report", "sample", "--count", "1", "--out", "wrong", "--to", "2020-01-01"];
    assert_eq!(gateway.run(&nobody).status.code(), Some(4));
    assert!(!gateway.folder().join("wrong").exists());
}

#[tokio::test]
async fn who_read_what_is_listed_by_role_and_by_certificate() {
    let gateway = TestGateway::start();
    let (hub, officer) = (gateway.agency(HUB), gateway.desk(POLICE, Role::ContactOfficer));
    let dispatched = hub.dispatch(&[POLICE, TRUST]).await;
    let document = officer.collect_first().await;
    let id = document["id"].as_str().unwrap();
    officer
        .request(Method::POST, &format!("/v1/messages/{id}/saved"), &[], Vec::new())
        .await
        .unwrap();
    gateway.agency(TRUST).collect_first().await;
    let enquiry = dispatched["enquiry"].as_str().unwrap();
    printed(&gateway, &["evidence", enquiry, "--out", "case", "--open"]);

    let access =
        |more: &[&str]| printed_json(&gateway, &[&["report", "access", "--json"], more].concat());
    let all = access(&[]);
    let brief = |one: &Value| {
        ["reader", "role", "event"].map(|name| one[name].as_str().unwrap().to_owned()).join(" ")
    };
    let readings: Vec<_> = all["readings"].as_array().unwrap().iter().map(brief).collect();
    assert_eq!(
        readings,
        [
            "test-police contact-officer collected",
            "test-police contact-officer saved",
            "test-trust system collected",
            "(gateway) operator opened-for-audit",
            "(gateway) operator opened-for-audit",
        ]
    );
    // Each is the entry that it says, of the message that it says.
    let entries = gateway.entries();
    for one in all["readings"].as_array().unwrap() {
        let entry = &entries[usize::try_from(one["entry"].as_u64().unwrap()).unwrap()];
        for name in ["time", "event", "message", "reference", "kind"] {
            assert_eq!(one[name], entry[name], "{one}");
        }
    }
    let summary = all["summary"].as_array().unwrap();
    let own = summary.iter().find(|one| one["role"] == "contact-officer").unwrap();
    assert_eq!((&own["count"], &own["certificates"]), (&json!(1), &json!(1)));

    let police = access(&["--agency", POLICE]);
    assert_eq!(police["readings"].as_array().unwrap().len(), 2);
    let serial = police["readings"][0]["certificate"].as_str().unwrap();
    assert_eq!(access(&["--certificate", serial])["readings"], police["readings"]);
    assert_eq!(access(&["--agency", SURGERY])["readings"], json!([]));
    assert_eq!(access(&["--to", "2020-01-01"])["readings"], json!([]));
    let csv = printed(&gateway, &["report", "access", "--format", "csv"]);
    let rows = cells(&csv);
    assert_eq!(rows.len(), 1 + readings.len());
    assert_eq!(rows[1][2..4], [POLICE, "contact-officer"]);
    for phrase in PERSONAL.iter().chain(&["Wilhelmina Tarn"]) {
        assert!(!csv.contains(phrase) && !all.to_string().contains(phrase), "{phrase}");
    }
    let shown = printed(&gateway, &["report", "access", "--agency", TRUST]);
    assert!(shown.contains("test-trust (system)  collected rfi"), "{shown}");
    let unknown = gateway.run(&["report", "access", "--certificate", "00112233445566"]);
    assert_eq!(unknown.status.code(), Some(4));
}

/// An agency's own log, as it asks for it with nothing but its own files.
fn own_log(gateway: &TestGateway, agency: &str) -> Vec<Value> {
    let exported = Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
        .args(["log", "export", "--gateway", &gateway.url, "--log-key", "log-key.txt"])
        .args(["--cert", &format!("{agency}.pem"), "--key", &format!("{agency}.key")])
        .args(["--ca", "ca.pem"])
        .current_dir(gateway.agencies())
        .output()
        .unwrap();
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    text(&exported.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_agency_downloads_its_own_log_and_nobody_elses() {
    let mut gateway = attachments::gateway(&[]);
    // Of several pages.
    gateway.stop();
    gateway.configure("# inbox_page_max = 100", "inbox_page_max = 7");
    gateway.serve();
    a_case(&gateway).await;
    let entries = gateway.entries();
    for agency in [HUB, POLICE, TRUST, SURGERY] {
        let own = own_log(&gateway, agency);
        let is_theirs = |fields: &&Value| {
            ["agency", "recipient", "sender"].iter().any(|name| fields[name] == agency)
        };
        let theirs: Vec<_> = entries.iter().filter(is_theirs).collect();
        let said: Vec<_> = own.iter().map(|line| &line["fields"]).collect();
        assert_eq!(said, theirs, "{agency}");
        for line in &own {
            let salt = STANDARD.decode(line["salt"].as_str().unwrap()).unwrap();
            let tag = hmac(&salt, line["fields"].to_string().as_bytes());
            let leaf = Sha256::new().chain_update([0, 1]).chain_update(tag).finalize();
            assert_eq!(line["leafHash"], STANDARD.encode(leaf));
        }
    }
    // The hub finds its override there too.
    let is_override = |line: &&Value| line["fields"]["event"] == "override-recorded";
    assert_eq!(own_log(&gateway, HUB).iter().filter(is_override).count(), 1);
    gateway.stop();
    let all = printed(&gateway, &["log", "export", "--quiet"]);
    assert_eq!(all.lines().count(), gateway.entries().len());
    // What was changed in the database is noticed.
    let changed = Command::new("sqlite3")
        .arg(gateway.database())
        .arg("UPDATE entries SET fields = replace(fields, 'test-police', 'test-trust')")
        .status()
        .unwrap();
    assert!(changed.success());
    let refused = gateway.run(&["log", "export"]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
}
