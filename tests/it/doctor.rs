//! `doctor`: each thing that can be wrong is made wrong, and found, with what to do about it; a
//! gateway that is well is called well.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::endpoint::Endpoint;
use crate::support::{
    CLOSED, HUB, POLICE, SURGERY, SUSPENDED, TRUST, TestGateway, case, eventually, text,
};

/// What a doctor found: code, verdict, agency.
#[derive(Debug)]
struct Found {
    exit: i32,
    findings: Vec<Value>,
}

impl Found {
    #[track_caller]
    fn read(output: &Output) -> Self {
        let said = text(&output.stderr);
        let document: Value = serde_json::from_slice(&output.stdout).expect(&said);
        let findings = document["findings"].as_array().unwrap().clone();
        let exit = output.status.code().unwrap();
        assert_eq!(document["healthy"], exit == 0);
        Self { exit, findings }
    }

    // The codes under this verdict; policy documents and contacts for incidents, which no test agency has,
    // and what is overdue have their own tests, and how much room the disk of whoever runs this has is not
    // for it to say.
    fn of(&self, verdict: &str) -> Vec<&str> {
        let apart = ["agreement", "disk", "overdue", "policy-document", "security-contact"];
        let is_noted = |code: &Value| !apart.contains(&code.as_str().unwrap());
        let of = |one: &&Value| {
            one["verdict"] == verdict && (verdict != "note" || is_noted(&one["code"]))
        };
        self.findings.iter().filter(of).map(|one| one["code"].as_str().unwrap()).collect()
    }

    /// The only finding that needs a person, which it must be, under this code.
    #[track_caller]
    fn only(&self, code: &str) -> &Value {
        assert_eq!((self.of("act"), self.exit), (vec![code], 5), "{:#?}", self.findings);
        let found = self.findings.iter().find(|one| one["verdict"] == "act").unwrap();
        assert!(found["next"].is_string(), "it says what to do: {found}");
        found
    }

    #[track_caller]
    fn is_well(&self) {
        assert_eq!((self.of("act"), self.exit), (vec![], 0), "{:#?}", self.findings);
    }
}

#[track_caller]
fn doctor(gateway: &TestGateway) -> Found {
    Found::read(&gateway.run(&["doctor", "--json"]))
}

#[track_caller]
fn doctor_at(gateway: &TestGateway, clock: &str) -> Found {
    Found::read(&gateway.run_at(clock, &["doctor", "--json", "--quick"]))
}

/// Takes away what is to be taken away.
fn settle(gateway: &TestGateway) {
    for name in ["keys/recovery-identity.txt", "keys/root-identity.txt", "certs/root.key.age"] {
        std::fs::remove_file(gateway.home().join(name)).unwrap();
    }
}

fn well() -> TestGateway {
    let gateway = TestGateway::start();
    settle(&gateway);
    gateway
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn change(path: &Path, from: &str, to: &str) {
    let before = std::fs::read_to_string(path).unwrap();
    assert!(before.contains(from), "{} has no {from}", path.display());
    std::fs::write(path, before.replacen(from, to, 1)).unwrap();
}

fn reload(gateway: &TestGateway) {
    let url = format!("{}/reload", gateway.local);
    let told = Command::new("curl").args(["--silent", "-X", "POST", &url]).output().unwrap();
    assert!(told.status.success());
}

fn sqlite(gateway: &TestGateway, sql: &str) -> String {
    let ran = Command::new("sqlite3").arg(gateway.database()).arg(sql).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    text(&ran.stdout).trim().to_owned()
}

#[tokio::test]
async fn a_new_home_needs_what_a_new_home_needs_and_then_is_well() {
    let gateway = TestGateway::start();
    let found = doctor(&gateway);
    assert_eq!(
        (found.of("act"), found.exit),
        (vec!["recovery-identity", "root-identity", "root-key"], 5)
    );
    let notes = ["push-loopback", "anchor", "certificate-of-inactive-agency", "witnesses"];
    assert_eq!(found.of("note"), notes);
    settle(&gateway);
    let found = doctor(&gateway);
    found.is_well();
    let suspended = found.findings.iter().find(|one| one["agency"] == SUSPENDED).unwrap();
    assert_eq!(suspended["verdict"], "note");

    // For eyes: a line for each, the verdict first, and nobody's name.
    let shown = gateway.run(&["doctor"]);
    let shown = text(&shown.stdout);
    assert_eq!(shown.lines().count(), found.findings.len());
    for line in shown.lines() {
        assert!(["ok    ", "note  "].iter().any(|verdict| line.starts_with(verdict)), "{line}");
    }
    let entries = gateway.entries().len();
    assert!(shown.contains(&format!("log verified to entry {}", entries - 1)), "{shown}");
    for name in ["Officer", "Deputy", "01632"] {
        assert!(!shown.contains(name), "{shown}");
    }
    // Looking changed nothing.
    assert_eq!(gateway.entries().len(), entries);
}

#[tokio::test]
async fn where_there_is_nothing_to_look_at_it_says_so() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let nowhere = Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
        .args(["doctor", "--home"])
        .arg(gateway.folder())
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(4), "{}", text(&nowhere.stderr));
    change(&gateway.home().join("gateway.toml"), "domain =", "domian =");
    let broken = gateway.run(&["doctor", "--json"]);
    assert_eq!(broken.status.code(), Some(1), "{}", text(&broken.stderr));
    assert!(broken.stdout.is_empty());
}

#[tokio::test]
async fn a_gateway_that_does_not_run_or_is_not_ours() {
    let mut gateway = well();
    gateway.stop();
    let found = doctor(&gateway);
    found.only("gateway");
    assert!(found.of("note").contains(&"issuer"), "it starts with the gateway");

    // Another home's gateway listens where ours should.
    let other = TestGateway::start();
    let ours = gateway.local.trim_start_matches("http://");
    let theirs = other.local.trim_start_matches("http://");
    change(&gateway.home().join("gateway.toml"), ours, theirs);
    let says = doctor(&gateway).only("gateway")["says"].clone();
    assert!(says.as_str().unwrap().contains("somebody else"), "{says}");
}

#[tokio::test]
async fn what_the_gateway_itself_is_concerned_about_or_cannot_do() {
    let mut gateway = well();
    let partners = gateway.home().join("partners.toml");
    let good = std::fs::read_to_string(&partners).unwrap();
    change(&partners, "kind = \"police\"", "kind = \"polise\"");
    reload(&gateway);
    std::fs::write(&partners, good).unwrap();
    doctor(&gateway).only("gateway-concern");
    reload(&gateway);
    doctor(&gateway).is_well();

    // A log that contradicts itself: it takes no work until a person has looked.
    let hub = gateway.agency(HUB);
    sqlite(&gateway, "DELETE FROM checkpoints WHERE size = (SELECT max(size) FROM checkpoints)");
    let refused = hub.post("/v1/rfis", &case::dispatch(&[POLICE])).await;
    assert!(refused.status >= 500, "{}", refused.text());
    let found = doctor(&gateway);
    // The anchor may have covered what is gone, which the gateway is concerned about too.
    let acts: Vec<_> =
        found.of("act").into_iter().filter(|code| *code != "gateway-concern").collect();
    assert_eq!((acts, found.exit), (vec!["gateway", "self-check", "log"], 5));
    gateway.kill();
}

#[tokio::test]
async fn an_issuer_that_does_not_answer() {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    settle(&gateway);
    gateway.configure("# start = true", "start = false");
    gateway.serve();
    // Said once, also when the gateway has noticed too.
    let noticed = async || gateway.local("/readyz").contains("the issuer: ");
    eventually("the gateway notices", noticed).await;
    doctor(&gateway).only("issuer");
    let mut issuer = Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
        .args(["issuer", "--home"])
        .arg(gateway.home())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the issuer answers", async || doctor(&gateway).exit == 0).await;
    issuer.kill().unwrap();
    issuer.wait().unwrap();
    doctor(&gateway).only("issuer");
}

#[tokio::test]
async fn keys_that_others_can_read() {
    let gateway = well();
    let keys = gateway.home().join("keys");
    set_mode(&keys.join("tls-key.pem"), 0o640);
    let says = doctor(&gateway).only("key-modes")["says"].clone();
    assert!(says.as_str().unwrap().contains("tls-key.pem"), "{says}");
    set_mode(&keys.join("tls-key.pem"), 0o600);
    set_mode(&keys, 0o755);
    doctor(&gateway).only("key-modes");
    set_mode(&keys, 0o700);
    // One that nobody knows of is a key all the same.
    std::fs::write(keys.join("old.pem"), "").unwrap();
    set_mode(&keys.join("old.pem"), 0o604);
    doctor(&gateway).only("key-modes");
    std::fs::remove_file(keys.join("old.pem")).unwrap();
    std::fs::rename(keys.join("log-key.pem"), gateway.folder().join("log-key.pem")).unwrap();
    let found = doctor(&gateway);
    assert_eq!((found.of("act"), found.exit), (vec!["key-modes", "self-check"], 5));
}

#[tokio::test]
async fn what_is_still_on_the_machine_that_should_not_be() {
    let gateway = well();
    for (name, code) in [
        ("keys/recovery-identity.txt", "recovery-identity"),
        ("keys/root-identity.txt", "root-identity"),
        ("certs/root.key.age", "root-key"),
    ] {
        let path = gateway.home().join(name);
        std::fs::write(&path, "").unwrap();
        set_mode(&path, 0o600);
        let next = doctor(&gateway).only(code)["next"].clone();
        assert!(next.as_str().unwrap().contains(name), "{next}");
        std::fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn settings_that_are_not_what_they_should_be() {
    let gateway = well();
    let path = gateway.home().join("gateway.toml");
    gateway.configure("# min = \"1.3\"", "min = \"1.2\"");
    gateway.configure("\npublished_url", "\n#published_url");
    gateway.configure("allow_loopback = true", "allow_loopback = false");
    let found = doctor(&gateway);
    found.is_well();
    let notes =
        ["published-url", "tls-1.2", "anchor", "certificate-of-inactive-agency", "witnesses"];
    assert_eq!(found.of("note"), notes);
    gateway.configure("# anchor = \"keys/log-anchor.txt\"", "anchor = \"off\"");
    assert_eq!(doctor(&gateway).of("note"), notes);
    gateway.configure("anchor = \"off\"", "anchor = \"/dev/shm/no-such-folder/anchor.txt\"");
    doctor(&gateway).only("self-check");
    gateway.configure("/dev/shm/no-such-folder/anchor.txt", "keys/log-anchor.txt");
    change(&path, "\nrecovery_recipients", "\n# recovery_recipients");
    doctor(&gateway).only("recovery-recipients");
}

#[tokio::test]
async fn a_clock_that_went_back() {
    let gateway = well();
    doctor_at(&gateway, "-30s").is_well();
    doctor_at(&gateway, "-2h").only("clock");
}

#[tokio::test]
async fn a_directory_with_mistakes() {
    let gateway = well();
    let path = gateway.home().join("partners.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let officer = "contact_officer = { name = \"A. Officer\", telephone = \"01632 960101\" }";
    for (from, to) in [
        // An officer nobody can telephone, and one nobody can write to any more.
        (officer, "contact_officer = { name = \"A. Officer\" }"),
        (
            officer,
            "contact_officer = { name = \"A. Officer\", telephone = \"01632 960101\", \
             email = \"a@example.pnn.police.uk\" }",
        ),
        ("telephone = \"01632 960100\"\n", ""),
        ("kind = \"police\"", "kind = \"polise\""),
    ] {
        change(&path, from, to);
        let output = gateway.run(&["doctor", "--json"]);
        Found::read(&output).only("directory");
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!said.contains("Officer") && !said.contains("01632"), "{said}");
        std::fs::write(&path, &good).unwrap();
    }
    doctor(&gateway).is_well();
}

#[tokio::test]
async fn certificates_and_directory_that_do_not_fit() {
    let gateway = well();
    let path = gateway.home().join("partners.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    // Closed, with a certificate.
    let lines = |id: &str, kind: &str, status: &str| {
        format!("id = \"{id}\"\nname = \"Test {id}\"\nkind = \"{kind}\"\nstatus = \"{status}\"")
    };
    let closed = format!("{}\nvalid_to = 2026-01-31", lines(TRUST, "nhs-trust", "closed"));
    change(&path, &lines(TRUST, "nhs-trust", "active"), &closed);
    let found = doctor(&gateway);
    let found = found.only("certificate-of-inactive-agency");
    assert_eq!(found["agency"], TRUST);
    assert!(found["next"].as_str().unwrap().contains("cert revoke"), "{found}");
    // Gone altogether.
    let from = good.find(&format!("[[agency]]\nid = \"{TRUST}\"")).unwrap();
    let to = from + 1 + good[from + 1..].find("[[agency]]").unwrap();
    std::fs::write(&path, format!("{}{}", &good[..from], &good[to..])).unwrap();
    assert_eq!(doctor(&gateway).only("certificate-of-inactive-agency")["agency"], TRUST);
    // Active, with none.
    std::fs::write(&path, &good).unwrap();
    let closed = format!(
        "{}\nstatutory_basis = \"invented\"\nvalid_to = 2020-01-31\nsuccessor = \"test-police\"",
        lines(CLOSED, "other", "closed")
    );
    let open = format!("{}\nstatutory_basis = \"invented\"", lines(CLOSED, "other", "active"));
    change(&path, &closed, &open);
    assert_eq!(doctor(&gateway).only("agency-without-certificate")["agency"], CLOSED);
    gateway.certify(CLOSED);
    doctor(&gateway).is_well();
    let revoked = ["cert", "revoke", CLOSED, "--reason", "superseded", "--confirm", CLOSED];
    assert!(gateway.run(&revoked).status.success());
    assert_eq!(doctor(&gateway).only("agency-without-certificate")["agency"], CLOSED);
}

#[tokio::test]
async fn policy_documents_that_are_to_be_reviewed() {
    let gateway = well();
    let policies = |clock: &str| {
        let found = doctor_at(&gateway, clock).findings;
        let of = |one: &Value| one["code"] == "policy-document" && one["agency"] == POLICE;
        found.into_iter().find(of).map(|one| one["verdict"].as_str().unwrap().to_owned())
    };
    assert_eq!(policies("+0d").as_deref(), Some("note"), "none is on record");
    let document = gateway.folder().join("policy.txt");
    std::fs::write(&document, "An invented policy.").unwrap();
    let review = mash_gateway::message::now() + jiff::SignedDuration::from_hours(24 * 32);
    let review = review.to_string();
    let (document, review) = (document.to_str().unwrap(), &review[..10]);
    let added = gateway.run(&["apd", "add", POLICE, "--file", document, "--review", review]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    assert_eq!(policies("+0d"), None);
    doctor(&gateway).is_well();
    assert_eq!(doctor_at(&gateway, "+3d").only("policy-document")["agency"], POLICE);
}

#[tokio::test]
async fn a_privacy_notice_and_training_that_were_long_ago_seen_to() {
    let gateway = well();
    let today = &mash_gateway::message::now().to_string()[..10];
    let show = || -> Value {
        let shown = gateway.run(&["partner", "show", POLICE, "--json"]);
        serde_json::from_slice(&shown.stdout).unwrap()
    };
    let directory = || std::fs::read_to_string(gateway.home().join("partners.toml")).unwrap();
    let done = |step: &str| json!({ "done": true, "step": step });
    for step in show()["checklist"]["advised"].as_array().unwrap() {
        assert_eq!(step["done"], false);
        assert!(step["next"].as_str().unwrap().contains("partner set"), "{step}");
    }
    let notes = |clock: &str| {
        let found = doctor_at(&gateway, clock).findings;
        let of = |one: &&Value| one["code"] == "attestation" && one["agency"] == POLICE;
        found.iter().filter(of).map(|one| one["says"].to_string()).collect::<Vec<_>>()
    };
    for flag in ["--privacy-notice-seen", "--training-attested"] {
        let set = gateway.run(&["partner", "set", POLICE, flag, today]);
        assert!(set.status.success(), "{}", text(&set.stderr));
        let before = directory();
        for (wrong, saying) in [
            ("2999-01-01", "still to come"),
            ("2026-02-30", "a day such as"),
            ("soon", "a day such as"),
        ] {
            let refused = gateway.run(&["partner", "set", POLICE, flag, wrong]);
            let said = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(2), "{said}");
            assert!(said.contains(saying), "{said}");
            assert_eq!(directory(), before);
        }
    }
    let shown = show();
    assert_eq!(
        (&shown["privacyNoticeSeen"], &shown["trainingAttested"]),
        (&json!(today), &json!(today))
    );
    assert_eq!(shown["checklist"]["advised"], json!([done("privacy notice"), done("training")]));
    assert!(notes("+0d").is_empty() && notes("+360d").is_empty());
    // A clock that was set back stops nothing: it is told, and the directory is as good as it was.
    let early = notes("-2d");
    assert!(early.len() == 2 && early[0].contains("still to come"), "{early:?}");
    let late = notes("+370d");
    assert_eq!(late.len(), 2, "{late:?}");
    assert!(late[0].contains("privacy notice") && late[1].contains("training"), "{late:?}");
}

#[tokio::test]
async fn messages_that_wait_too_long() {
    let gateway = well();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    hub.dispatch(&[POLICE, TRUST]).await;
    police.collect_first().await;
    doctor_at(&gateway, "+23h").is_well();
    // What was collected is in somebody's hands.
    assert_eq!(doctor_at(&gateway, "+25h").only("mailbox")["agency"], TRUST);
    gateway.agency(TRUST).collect_first().await;
    doctor_at(&gateway, "+25h").is_well();
}

#[tokio::test]
async fn pushes_that_are_late_or_came_back() {
    // Nobody listens any more where the police's is.
    let (dead, mut refusing) = (Endpoint::reserve().lines(false), Endpoint::reserve());
    let partners = case::partners(&[(POLICE, &dead), (SURGERY, &refusing.lines(false))]);
    let mut gateway = TestGateway::made(&partners);
    gateway.configure("# retry_base_s = 5", "retry_base_s = 1");
    settle(&gateway);
    refusing.introduce(&gateway.home());
    refusing.answer_with(&[422]);
    refusing.start(&gateway.home());
    gateway.serve();
    let hub = gateway.agency(HUB);
    hub.dispatch(&[POLICE, SURGERY]).await;
    let returned = || {
        let found = doctor_at(&gateway, "+10m");
        found.is_well();
        found.findings.into_iter().find(|one| one["code"] == "push-returned")
    };
    eventually("it came back", async || returned().is_some()).await;
    assert_eq!(returned().unwrap()["agency"], SURGERY);
    // The gateway says both itself; neither is what a person is called for at night.
    let says = |what: &str| gateway.local("/readyz").contains(what);
    let endpoint = format!("push endpoints: no answer from the endpoint of {POLICE}");
    eventually("no answer", async || says(&endpoint)).await;
    let given_up = format!(
        "dead letters: 1 were returned to their senders and not collected since, to {SURGERY}"
    );
    eventually("a dead letter", async || says(&given_up)).await;
    assert!(says("\"ready-with-concerns\""));
    assert!(gateway.local("/metrics").contains("\nmash_gateway_queued_messages 1\n"));
    let found = doctor_at(&gateway, "+10m");
    found.is_well();
    let noted = found.of("note");
    assert!(noted.contains(&"gateway-concern") && noted.contains(&"push-returned"), "{found:?}");
    gateway.agency(SURGERY).collect_first().await;
    eventually("it was collected after all", async || !says("dead letters")).await;
    assert_eq!(doctor_at(&gateway, "+16m").only("push-delayed")["agency"], POLICE);
}

#[tokio::test]
async fn a_log_that_somebody_changed() {
    let mut gateway = well();
    gateway.agency(HUB).dispatch(&[POLICE]).await;
    gateway.stop();
    let changed = sqlite(
        &gateway,
        "UPDATE entries SET fields = replace(fields, 'test-police', 'test-surgery')
         WHERE fields LIKE '%\"accepted\"%' RETURNING idx",
    );
    gateway.serve();
    let says = doctor(&gateway).only("log")["says"].clone();
    assert!(says.as_str().unwrap().contains(&format!("entry {changed}:")), "{says}");
    let quick = Found::read(&gateway.run(&["doctor", "--json", "--quick"]));
    quick.is_well();
    assert!(quick.of("note").contains(&"log"));
}

#[tokio::test]
async fn a_database_that_is_not_there_or_is_none() {
    let mut gateway = well();
    gateway.stop();
    let is_told = |gateway: &TestGateway| {
        let found = doctor(gateway);
        assert_eq!((found.of("act"), found.exit), (vec!["gateway", "database"], 5));
    };
    std::fs::remove_dir_all(gateway.home().join("data")).unwrap();
    let found = doctor(&gateway);
    assert_eq!((found.of("act"), found.exit), (vec!["gateway", "disk", "database"], 5));
    std::fs::create_dir(gateway.home().join("data")).unwrap();
    is_told(&gateway);
    assert!(!gateway.database().exists(), "looking makes none");
    std::fs::write(gateway.database(), "a letter, and no database at all").unwrap();
    is_told(&gateway);
}

/// While messages come and go, what is read first and what is read last must fit all the same.
/// When the agreement is to be reviewed.
#[test]
fn an_agreement_that_is_to_be_reviewed() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let day = |days: i64| {
        let at = mash_gateway::message::now() + jiff::SignedDuration::from_hours(24 * days);
        at.to_string()[..10].to_owned()
    };
    let set = |lines: String| {
        let path = gateway.home().join("gateway.toml");
        let settings = std::fs::read_to_string(&path).unwrap();
        let (before, after) = settings.split_once("[agreement]\n").unwrap();
        let (_, after) = after.split_once("[retention]").unwrap();
        let settings = format!("{before}[agreement]\n{lines}\n[retention]{after}");
        std::fs::write(path, settings).unwrap();
        let looked = gateway.run(&["doctor", "--json", "--quick"]);
        let findings = Found::read(&looked).findings;
        let of = findings.into_iter().find(|one| one["code"] == "agreement").unwrap();
        (of["verdict"].as_str().unwrap().to_owned(), of["says"].as_str().unwrap().to_owned())
    };
    assert_eq!(set(String::new()).0, "note");
    assert_eq!(set(format!("signed_on = \"{}\"", day(-30))).0, "ok");
    let (verdict, says) =
        set(format!("holder = \"Service Manager\"\nsigned_on = \"{}\"", day(-400)));
    assert!(
        verdict == "act" && says.contains("overdue") && says.contains("Service Manager"),
        "{says}"
    );
    let reviewed = format!("signed_on = \"{}\"\nreviewed_on = \"{}\"", day(-700), day(-350));
    let (verdict, says) = set(reviewed);
    assert!(verdict == "note" && says.contains("to be reviewed in 1"), "{verdict}: {says}");
}

/// By what timers go, and what they say; as the metrics have it, too.
#[tokio::test]
async fn what_is_overdue_and_a_calendar_that_ends() {
    let mut gateway = well();
    let hub = gateway.agency(HUB);
    hub.dispatch(&[POLICE]).await;
    gateway.restart();
    // Urgent: it was to be rung about at once.
    let due = |timer: &str, grade: &str| {
        gateway.metric(&format!("mash_gateway_due{{grade=\"{grade}\",timer=\"{timer}\"}}"))
    };
    eventually("it is counted", async || due("telephone", "overdue") == 1).await;
    assert_eq!(
        (due("reply", "running") + due("reply", "due-soon"), due("reply", "overdue")),
        (1, 0)
    );
    let looked = doctor(&gateway);
    looked.is_well();
    let overdue: Vec<_> = looked
        .findings
        .iter()
        .filter(|one| one["code"] == "overdue")
        .map(|one| &one["says"])
        .collect();
    assert_eq!(overdue, ["1 are overdue: telephone"]);

    gateway.stop();
    gateway.configure("#bank_holidays = \"bank-holidays.json\"", "bank_holidays = \"days.json\"");
    let file = gateway.home().join("days.json");
    let year = &mash_gateway::message::now().to_string()[..4];
    let ends = |last: &str| {
        let event = json!({ "title": "invented", "date": last, "notes": "" });
        let days = json!({ "england-and-wales": { "events": [event] } });
        std::fs::write(&file, days.to_string()).unwrap();
        let looked = gateway.run(&["doctor", "--json", "--quick"]);
        let found = Found::read(&looked);
        let of = found.findings.into_iter().find(|one| one["code"] == "bank-holidays").unwrap();
        (of["verdict"].as_str().unwrap().to_owned(), of["says"].as_str().unwrap().to_owned())
    };
    let (verdict, says) = ends("2020-12-28");
    assert!(verdict == "act" && says.contains("none for today"), "{verdict}: {says}");
    let next: i32 = year.parse().unwrap();
    assert_eq!(ends(&format!("{}-01-01", next + 1)).0, "ok");
    std::fs::write(&file, "{}").unwrap();
    let looked = gateway.run(&["doctor", "--json", "--quick"]);
    assert!(text(&looked.stdout).contains("days.json cannot be used"), "{}", text(&looked.stdout));
}

#[tokio::test]
async fn a_busy_gateway_is_well() {
    let gateway = well();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let work = async || {
        hub.dispatch(&[POLICE, TRUST]).await;
        let message = police.collect_first().await;
        let saved = format!("/v1/messages/{}/saved", message["id"].as_str().unwrap());
        police.post(&saved, &json!({})).await.ok(200);
    };
    // So that recomputing takes a while.
    for _ in 0..100 {
        work().await;
    }
    let busy = async {
        loop {
            work().await;
        }
    };
    let looked = async {
        for _ in 0..20 {
            let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mash-gateway"));
            command.args(["doctor", "--json", "--home"]).arg(gateway.home());
            Found::read(&command.output().await.unwrap()).is_well();
            let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mash-gateway"));
            command.args(["log", "verify", "--home"]).arg(gateway.home());
            let verified = command.output().await.unwrap();
            assert!(verified.status.success(), "{}", text(&verified.stderr));
        }
    };
    tokio::select! {
        () = busy => unreachable!("it goes on and on"),
        () = looked => {}
    }
}
