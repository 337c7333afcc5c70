//! An agency joins: from `partner add` to its first RFI, with openssl and curl as its only tools and
//! its CONNECT.txt as its only guide; and everything that can go wrong on the way.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use mash_gateway::message::now;
use serde_json::{Value, json};

use crate::support::endpoint::Endpoint;
use crate::support::{
    Agency, CLOSED, HUB, POLICE, SURGERY, SUSPENDED, TRUST, TestGateway, case, eventually, text,
};

const NEW: &str = "demo-surgery";

/// `partner add`, as an operator would type it.
const ADD: [&str; 16] = [
    "partner",
    "add",
    NEW,
    "--name",
    "Demo Surgery",
    "--kind",
    "gp",
    "--ods",
    "X99999",
    "--basis",
    "children-act-2004-s11",
    "--pco",
    "Dr A Example",
    "--pco-tel",
    "01632 960001",
    "--deputy=B Example",
];

impl TestGateway {
    /// The JSON that a command of this home answers with, when it succeeds.
    #[track_caller]
    fn done(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat());
        assert!(ran.status.success(), "{arguments:?}: {}", text(&ran.stderr));
        serde_json::from_slice(&ran.stdout).unwrap()
    }

    /// That a command fails so; what it said.
    #[track_caller]
    fn fails(&self, arguments: &[&str], code: i32) -> String {
        let ran = self.run(arguments);
        let said = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {said}");
        said
    }

    fn partners(&self) -> String {
        std::fs::read_to_string(self.home().join("partners.toml")).unwrap()
    }

    /// Changes the directory by hand, and has it taken into use.
    fn edit(&self, change: impl FnOnce(String) -> String) {
        std::fs::write(self.home().join("partners.toml"), change(self.partners())).unwrap();
        let reload = format!("{}/reload", self.local);
        let reloaded = Command::new("curl").args(["-sSf", "-X", "POST", &reload]).output().unwrap();
        assert!(reloaded.status.success(), "{}", text(&reloaded.stderr));
    }

    /// Makes an active agency a pending one.
    fn make_pending(&self, agency: &str) {
        self.edit(|text| {
            let (before, entry) = text.split_once(&format!("id = \"{agency}\"")).unwrap();
            let entry = entry.replacen("status = \"active\"", "status = \"pending\"", 1);
            format!("{before}id = \"{agency}\"{entry}")
        });
    }

    /// Where agencies reach it, as the settings say it too.
    fn settle_its_port(&self) {
        let port = self.url.rsplit(':').next().unwrap();
        let settled = format!("partner_api = \"127.0.0.1:{port}\"");
        self.configure("partner_api = \"127.0.0.1:0\"", &settled);
    }

    /// Sends a test that nobody waits for.
    #[track_caller]
    fn leave_test(&self, agency: &str) {
        let said = self.fails(&["partner", "test", agency, "--wait", "1ms"], 1);
        assert!(said.contains("it has not answered"), "{said}");
    }
}

/// What the checklist of an answer says is undone.
fn undone(answer: &Value) -> Vec<&str> {
    let steps = answer["checklist"]["steps"].as_array().unwrap().iter();
    steps.filter(|step| step["done"] == false).map(|step| step["step"].as_str().unwrap()).collect()
}

/// The directory as it is before anybody put a policy document on record.
fn without_policy_documents() -> String {
    let partners = case::partners(&[]);
    partners
        .lines()
        .filter(|line| !line.starts_with("policy_document"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The commands under one number of a CONNECT.txt.
fn commands(guide: &str, number: u8) -> String {
    let (_, section) = guide.split_once(&format!("\n{number}. ")).unwrap();
    let end = section.find(&format!("\n{}. ", number + 1)).unwrap_or(section.len());
    let lines = section[..end].lines().filter_map(|line| line.strip_prefix("    "));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Runs commands as the agency would, in its own folder.
fn sh(folder: &Path, script: &str) -> Output {
    Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(folder)
        .output()
        .unwrap()
}

#[track_caller]
fn sh_done(folder: &Path, script: &str) -> String {
    let ran = sh(folder, script);
    assert!(ran.status.success(), "{script}\n{}", text(&ran.stderr));
    text(&ran.stdout)
}

/// The first test that waits for the agency, opened.
async fn open_test(agency: &Agency) -> Value {
    let inbox = agency.get_json("/v1/inbox").await;
    let waiting = inbox["messages"].as_array().unwrap();
    let test = waiting.iter().find(|message| message["kind"] == "test").expect("a test waits");
    agency.get_json(&format!("/v1/messages/{}", test["id"].as_str().unwrap())).await
}

fn reply(test: &Value) -> Value {
    json!({ "inReplyTo": test["id"], "codeWord": test["data"]["codeWord"] })
}

#[tokio::test]
async fn a_surgery_joins_by_its_guide_alone() {
    let begun = Instant::now();
    let gateway = TestGateway::start();
    gateway.settle_its_port();
    let folder = gateway.folder().join(NEW);

    // The hub's operator adds it.
    let added = gateway.run(&ADD);
    assert!(added.status.success(), "{}", text(&added.stderr));
    let said = text(&added.stdout);
    for expected in [
        "Added demo-surgery (pending). 3 of 7 onboarding steps done.",
        "[x] statutory basis   [x] PCO and deputy   [x] telephone",
        "[ ] certificate       mash-gateway cert issue demo-surgery --csr demo-surgery.csr",
        "[ ] test exchange     mash-gateway partner test demo-surgery --wait 10m",
        "In use: the running gateway has confirmed.",
        "Next: mash-gateway cert issue demo-surgery",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let shown = gateway.done(&["partner", "show", NEW]);
    assert_eq!(shown["statutoryBasis"], "Children Act 2004, section 11");
    assert_eq!(undone(&shown), ["certificate", "endpoint", "policy document", "test exchange"]);

    // The surgery makes its key, as its guide says; only the request leaves it.
    let guide = std::fs::read_to_string(folder.join("CONNECT.txt")).unwrap();
    sh_done(&folder, &commands(&guide, 1));
    let csr = folder.join("demo-surgery.csr");
    let out = folder.to_str().unwrap();
    gateway.done(&["cert", "issue", NEW, "--csr", csr.to_str().unwrap(), "--out", out]);
    let root = gateway.home().join("certs/root.pem");
    let checked = sh_done(&folder, &commands(&guide, 2));
    let fingerprint = sh_done(
        &folder,
        &format!("openssl x509 -in {} -noout -fingerprint -sha256", root.display()),
    );
    assert!(checked.contains(fingerprint.trim()), "{checked}");
    assert!(checked.contains("demo-surgery.pem: OK"), "{checked}");
    assert!(checked.contains("/agency/demo-surgery"), "{checked}");
    let who: Value = serde_json::from_str(&sh_done(&folder, &commands(&guide, 4))).unwrap();
    assert_eq!((&who["agency"], &who["waiting"]), (&json!(NEW), &json!(0)));

    // The rest of the list, each step seen at once.
    let endpoint = gateway.done(&["partner", "endpoint", NEW, "--mailbox"]);
    assert_eq!(undone(&endpoint), ["policy document", "test exchange"]);
    let policy = folder.join("policy.pdf");
    std::fs::write(&policy, "How we look after what we are told.").unwrap();
    let policy = policy.to_str().unwrap();
    let recorded = gateway.done(&["apd", "add", NEW, "--file", policy, "--review", "2999-11-01"]);
    let sha256 = sh_done(&folder, "sha256sum policy.pdf | cut -d' ' -f1");
    assert_eq!(recorded["sha256"], sha256.trim());
    assert_eq!(undone(&recorded), ["test exchange"]);
    let early = gateway.fails(&["partner", "activate", NEW], 1);
    assert!(early.contains("still to be done: test exchange"), "{early}");

    // The round trip: one side waits, the other follows its guide.
    let test = gateway.begin(&["partner", "test", NEW, "--wait", "60s", "--json"]);
    let collect = commands(&guide, 5);
    let (list, fetch) = collect.trim().split_once('\n').unwrap();
    let mut inbox = Value::Null;
    eventually("the test waits", || {
        inbox = serde_json::from_str(&sh_done(&folder, list)).unwrap();
        let has_it = inbox["messages"][0]["kind"] == "test";
        async move { has_it }
    })
    .await;
    let message = inbox["messages"][0]["id"].as_str().unwrap();
    sh_done(&folder, &fetch.replace("MESSAGE-ID", message));
    let document = std::fs::read(folder.join("test.json")).unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    let code_word = document["data"]["codeWord"].as_str().unwrap();
    let answer = commands(&guide, 6)
        .replace("MESSAGE-ID", message)
        .replace("EXCHANGE-ID", document["subject"].as_str().unwrap())
        .replace("CODE-WORD", code_word);
    let accepted = sh_done(&folder, &answer);
    assert!(accepted.contains("acceptedAt") && accepted.contains("savedAt"), "{accepted}");
    let tested = test.wait_with_output().unwrap();
    assert!(tested.status.success(), "{}", text(&tested.stderr));
    let tested_said = text(&tested.stderr);
    assert!(tested_said.contains(&format!("/v1/messages/{message}")), "{tested_said}");
    assert!(!tested_said.contains(code_word), "the code word is read from the test alone");
    let tested: Value = serde_json::from_slice(&tested.stdout).unwrap();
    for fact in ["identity", "replyValid", "schemaVersions", "tlsHandshake"] {
        assert_eq!(tested[fact], true, "{fact}: {tested:#}");
    }
    assert!(tested["collectedAfterSeconds"].as_f64().is_some_and(|s| (0.0..60.0).contains(&s)));
    assert!(tested["reference"].as_str().unwrap().starts_with("TEST-"), "{tested:#}");
    assert!(undone(&tested).is_empty());

    // It takes part.
    assert_eq!(gateway.done(&["partner", "activate", NEW])["activated"], true);
    assert_eq!(gateway.done(&["partner", "show", NEW])["status"], "active");
    let hub = gateway.agency(HUB);
    hub.dispatch(&[NEW]).await;
    let asked: Value = serde_json::from_str(&sh_done(&folder, list)).unwrap();
    assert_eq!(asked["messages"][0]["kind"], "rfi", "{asked:#}");
    sh_done(&folder, &commands(&guide, 7).lines().next().unwrap().replace("MESSAGE-ID", message));
    let receipt = folder.join(format!("{message}.receipt"));
    let receipt = receipt.to_str().unwrap();
    let key = folder.join("log-key.txt");
    let verified = gateway.run(&["receipt", "verify", receipt, "--log-key", key.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());

    // The hub's people see nothing of a test: no message, no enquiry, no silence.
    assert_eq!(hub.get_json("/v1/inbox").await["messages"], json!([]));
    assert_eq!(hub.get_json("/v1/whoami").await["waiting"], 0);
    let exchanges = hub.get_json("/v1/exchanges").await;
    assert_eq!(exchanges["exchanges"].as_array().unwrap().len(), 1, "{exchanges:#}");
    let board = hub.get_json("/v1/enquiries").await;
    assert_eq!(board["enquiries"].as_array().unwrap().len(), 1, "{board:#}");
    let reference = board["enquiries"][0]["exchanges"][0]["reference"].as_str().unwrap();
    assert!(reference.starts_with("RFI-"), "{reference}");
    gateway.verify_log();
    gateway.holds_nowhere(&[code_word]);
    assert!(!gateway.log().contains("Example"), "nobody's name is in the log");
    assert!(!guide.contains("Example") && !guide.contains("PRIVATE"), "nor in the guide");
}

#[tokio::test]
async fn until_it_joins_an_agency_can_answer_its_test_and_nothing_else() {
    let gateway = TestGateway::start();
    let (hub, trust) = (gateway.agency(HUB), gateway.agency(TRUST));
    let asked = hub.dispatch(&[TRUST]).await["exchanges"][0].clone();
    let rfi = asked["message"].as_str().unwrap();
    gateway.make_pending(TRUST);
    gateway.leave_test(TRUST);

    // Only the test is there for it; what it may not have yet is neither listed nor counted.
    let who = trust.get_json("/v1/whoami").await;
    assert_eq!(who["waiting"], 1);
    let inbox = trust.get_json("/v1/inbox").await;
    assert_eq!(inbox["messages"].as_array().unwrap().len(), 1, "{inbox:#}");
    let test = open_test(&trust).await;
    for path in [
        format!("/v1/messages/{rfi}"),
        format!("/v1/messages/{rfi}/receipt"),
        format!("/v1/exchanges/{}", asked["exchange"].as_str().unwrap()),
        format!("/v1/exchanges/{}", asked["reference"].as_str().unwrap()),
        "/v1/exchanges".to_owned(),
        "/v1/enquiries".to_owned(),
        "/v1/log/checkpoint".to_owned(),
        "/v1/log/entries".to_owned(),
        "/v1/log/key".to_owned(),
        "/v1/schemas".to_owned(),
        "/openapi.json".to_owned(),
    ] {
        trust.get(&path).await.problem(403, "agency-inactive");
    }
    let inactive = [
        (format!("/v1/messages/{rfi}/saved"), json!({})),
        (case::path(&asked, "responses"), case::response(rfi)),
        (case::path(&asked, "acknowledgements"), case::acknowledgement(rfi)),
        (case::path(&asked, "test-replies"), reply(&test)),
        (case::path(&test, "responses"), case::response(rfi)),
        ("/v1/rfis".to_owned(), case::dispatch(&[POLICE])),
    ];
    for (path, body) in &inactive {
        trust.post(path, body).await.problem(403, "agency-inactive");
    }
    let nowhere = format!("/v1/messages/{}", uuid::Uuid::now_v7());
    trust.get(&nowhere).await.problem(404, "not-found");
    hub.post("/v1/rfis", &case::dispatch(&[TRUST])).await.problem(422, "recipient");

    // It is nobody else's: not another agency's, and not the hub's to answer.
    let police = gateway.agency(POLICE);
    let (answer, message) = (case::path(&test, "test-replies"), test["id"].as_str().unwrap());
    police.post(&answer, &reply(&test)).await.problem(404, "not-found");
    police.get(&format!("/v1/messages/{message}")).await.problem(404, "not-found");
    hub.post(&answer, &reply(&test)).await.problem(403, "wrong-party");
    hub.post(&case::path(&test, "outcomes"), &case::outcome()).await.problem(404, "not-found");
    let dispatch = "/v1/exchanges/0/tests";
    hub.post(dispatch, &test["data"]).await.problem(404, "not-found");

    // Its answer is held to the test, as often as it tries.
    let wrong = |change: fn(&mut Value)| {
        let mut body = reply(&test);
        change(&mut body);
        body
    };
    for (body, code) in [
        (wrong(|body| body["codeWord"] = json!("kestrel-maple-0000")), "not-this-code-word"),
        (wrong(|body| body["codeWord"] = json!("none")), "code-word-form"),
        (wrong(|body| body["inReplyTo"] = json!(uuid::Uuid::now_v7())), "not-this-rfi"),
        (wrong(|body| body["remarks"] = json!("hello")), "unknown-field"),
    ] {
        let problem = trust.post(&answer, &body).await.problem(422, "schema");
        assert_eq!(problem["errors"][0]["code"], code);
    }
    let still = gateway.done(&["partner", "show", TRUST]);
    assert!(undone(&still).contains(&"test exchange"), "{still:#}");
    let key = uuid::Uuid::new_v4().to_string();
    let accepted = trust.post_bytes(&answer, &key, reply(&test).to_string()).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let again = trust.post_bytes(&answer, &key, reply(&test).to_string()).await;
    assert_eq!(again.body, accepted.body, "sent again, it is the same answer");
    trust.post(&answer, &reply(&test)).await.problem(409, "already-answered");
    let receipt = accepted.json()["message"].as_str().unwrap().to_owned();
    assert_eq!(trust.get(&format!("/v1/messages/{receipt}/receipt")).await.status, 200);
    assert_eq!(trust.get(&format!("/v1/messages/{message}/receipt")).await.status, 200);
    let saved = trust.post(&format!("/v1/messages/{message}/saved"), &json!({})).await.ok(200);
    assert_eq!(saved["message"], message);
    let exchange = format!("/v1/exchanges/{}", test["subject"].as_str().unwrap());
    assert_eq!(trust.get_json(&exchange).await["state"], "completed");

    // The answer came too late for the command that sent the test; it counts all the same, and
    // waits for nobody.
    let late = gateway.done(&["partner", "show", TRUST]);
    assert!(!undone(&late).contains(&"test exchange"), "{late:#}");
    assert_eq!(hub.get_json("/v1/inbox").await["messages"], json!([]));
    // What it is owed is there when it joins.
    gateway.edit(|text| text.replace("status = \"pending\"", "status = \"active\""));
    assert_eq!(trust.collect_first().await["id"], rfi);
    gateway.verify_log();
}

#[tokio::test]
async fn what_is_suspended_or_closed_is_tested_by_nobody() {
    let gateway = TestGateway::start();
    gateway.make_pending(TRUST);
    gateway.leave_test(TRUST);
    let trust = gateway.agency(TRUST);
    let test = open_test(&trust).await;
    // Suspended with its test in hand: locked out of that too.
    let suspended = gateway.done(&["partner", "suspend", TRUST, "--confirm", TRUST]);
    assert_eq!(suspended["inUse"], true);
    for path in ["/v1/inbox", &format!("/v1/messages/{}", test["id"].as_str().unwrap())] {
        trust.get(path).await.problem(403, "agency-inactive");
    }
    let answer = case::path(&test, "test-replies");
    trust.post(&answer, &reply(&test)).await.problem(403, "agency-inactive");
    trust.get_json("/v1/whoami").await;

    let log = gateway.entries().len();
    for (agency, why) in [
        (TRUST, "suspended"),
        (SUSPENDED, "suspended"),
        (CLOSED, "closed"),
        (HUB, "the hub itself"),
        ("test-surgeries", "many surgeries"),
    ] {
        let said = gateway.fails(&["partner", "test", agency, "--wait", "1s"], 1);
        assert!(said.contains("the test was not made") && said.contains(why), "{agency}: {said}");
    }
    assert_eq!(gateway.entries().len(), log, "nothing was sent");
    // An agency that takes part can be tested like one that does not yet.
    gateway.leave_test(POLICE);
    let police = gateway.agency(POLICE);
    let test = open_test(&police).await;
    police.post(&case::path(&test, "test-replies"), &reply(&test)).await.ok(202);
    gateway.verify_log();
}

#[tokio::test]
async fn a_push_endpoint_is_tested_where_it_takes_delivery() {
    let mut endpoint = Endpoint::reserve();
    let gateway = TestGateway::start();
    endpoint.introduce(&gateway.home());
    // Where nobody listens, to begin with.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dead = format!("https://localhost:{}/in", nobody.port());
    let url = format!("https://localhost:{}/in", endpoint.port);
    let ca = gateway.home().join("certs/endpoint.pem");
    let added = gateway.done(&[
        "partner",
        "add",
        "demo-police",
        "--name",
        "Demo Police",
        "--kind",
        "police",
        "--basis",
        "Children Act 2004, section 11 (chief officer of police)",
        "--pco",
        "C Example",
        "--pco-tel",
        "01632 960002",
        "--deputy",
        "D Example",
        "--push",
        &dead,
        "--push-ca",
        ca.to_str().unwrap(),
    ]);
    assert_eq!(undone(&added), ["certificate", "policy document", "test exchange"]);
    gateway.certify("demo-police");
    let police = gateway.agency("demo-police");

    // Without a certificate it could not answer.
    let bare = ["partner", "add", "demo-bare", "--name", "Bare", "--kind", "other", "--basis", "x"];
    gateway.done(&[&bare[..], &["--mailbox"]].concat());
    let said = gateway.fails(&["partner", "test", "demo-bare", "--wait", "1s"], 1);
    assert!(said.contains("no certificate in force") && said.contains("cert issue"), "{said}");

    // The operator is told what the log says of it.
    let unreached = gateway.fails(&["partner", "test", "demo-police", "--wait", "1s"], 1);
    assert!(
        unreached.contains("its endpoint has not taken the test (cannot-connect)"),
        "{unreached}"
    );
    let ca = ca.to_str().unwrap();
    gateway.done(&["partner", "endpoint", "demo-police", "--push", &url, "--ca", ca]);
    endpoint.start(&gateway.home());
    let at = now();
    let test = gateway.begin(&["partner", "test", "demo-police", "--wait", "60s", "--json"]);
    // The earlier one may be pushed again meanwhile; the later one is the one waited for.
    let newest = || {
        endpoint
            .pushed()
            .into_iter()
            .map(|pushed| pushed.document)
            .max_by_key(|d| d["id"].as_str().unwrap().to_owned())
    };
    eventually("the test is pushed", || {
        let time = newest().and_then(|d| d["time"].as_str()?.parse::<jiff::Timestamp>().ok());
        let is_new = time.is_some_and(|time| time >= at);
        async move { is_new }
    })
    .await;
    let document = newest().unwrap();
    assert_eq!(document["type"], "org.mash.test.v1");
    police.post(&case::path(&document, "test-replies"), &reply(&document)).await.ok(202);
    let tested = test.wait_with_output().unwrap();
    assert!(tested.status.success(), "{}", text(&tested.stderr));
    let tested: Value = serde_json::from_slice(&tested.stdout).unwrap();
    assert!(tested["deliveredAfterSeconds"].as_f64().is_some(), "{tested:#}");
    assert_eq!(tested["collectedAfterSeconds"], Value::Null);
    assert_eq!(undone(&tested), ["policy document"]);
    let both = gateway.done(&[
        "partner",
        "endpoint",
        "demo-police",
        "--push",
        &url,
        "--ca",
        ca,
        "--fallback-mailbox",
    ]);
    assert_eq!(both["endpoints"], json!([format!("push {url}"), "mailbox"]));
    gateway.verify_log();
}

#[tokio::test]
async fn an_agency_that_keeps_its_own_key_has_to_use_it() {
    let identity = tempfile::NamedTempFile::new().unwrap();
    let keys = Command::new("age-keygen").output().unwrap();
    std::fs::write(identity.path(), &keys.stdout).unwrap();
    let keys = text(&keys.stdout);
    let recipient = keys.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    let lines = format!(
        "endpoints = [{{ kind = \"mailbox\" }}]\ncustody = \"agency\"\n\
         age_recipients = [\"{recipient}\"]\n"
    );
    // Both sides do: the operator's command has to know all the same whether the answer is right.
    let gateway = TestGateway::start_with(&case::partners(&[(TRUST, &lines), (HUB, &lines)]));
    gateway.make_pending(TRUST);
    let waits = gateway.begin(&["partner", "test", TRUST, "--wait", "60s", "--json"]);
    let trust = gateway.agency(TRUST);
    eventually("the test waits", || async {
        trust.get_json("/v1/inbox").await["messages"] != json!([])
    })
    .await;
    let mut test = open_test(&trust).await;
    assert!(test.get("data").is_none(), "{test:#}");
    std::fs::write(gateway.folder().join("test.json"), test.to_string()).unwrap();
    // As its guide says.
    let guide = gateway.folder().join("guide");
    let csr = gateway.agencies().join(format!("{TRUST}.csr"));
    let issue = ["cert", "issue", TRUST, "--csr", csr.to_str().unwrap(), "--out"];
    gateway.done(&[&issue[..], &[guide.to_str().unwrap()]].concat());
    let guide = std::fs::read_to_string(guide.join("CONNECT.txt")).unwrap();
    let open = commands(&guide, 5);
    let open = open.lines().skip(2).collect::<Vec<_>>().join("\n");
    let open = open.replace("your-age-key.txt", identity.path().to_str().unwrap());
    let opened = sh_done(gateway.folder(), &open);
    let (label, body) = opened.split_once('\n').unwrap();
    assert!(label.starts_with("mash-seal/v1 "), "{label}");
    test["data"] = serde_json::from_str(body).unwrap();
    let answer = case::path(&test, "test-replies");
    let mut wrong = reply(&test);
    wrong["codeWord"] = json!("kestrel-maple-0000");
    trust.post(&answer, &wrong).await.problem(422, "schema");
    trust.post(&answer, &reply(&test)).await.ok(202);
    let tested = waits.wait_with_output().unwrap();
    assert!(tested.status.success(), "{}", text(&tested.stderr));
    gateway.verify_log();
}

#[test]
fn a_test_that_nobody_answers_says_what_is_missing() {
    let mut gateway = TestGateway::start();
    gateway.make_pending(TRUST);
    let ran = gateway.run(&["partner", "test", TRUST, "--wait", "1s", "--json", "--quiet"]);
    assert_eq!(ran.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let missing = json!(["it has not collected the test", "it has not answered"]);
    assert_eq!(told["missing"], missing, "{told:#}");
    assert_eq!((&told["identity"], &told["tlsHandshake"]), (&json!(false), &json!(false)));
    let said = text(&ran.stderr);
    assert!(said.starts_with("error: the test TEST-") && !said.contains("curl"), "{said}");
    // A test without the gateway that runs proves nothing.
    gateway.stop();
    let log = gateway.entries().len();
    let said = gateway.fails(&["partner", "test", TRUST, "--wait", "1s"], 1);
    assert!(said.contains("local door") && said.contains("mash-gateway serve"), "{said}");
    assert_eq!(gateway.entries().len(), log);
}

#[tokio::test]
async fn a_refusal_meanwhile_is_told_to_the_operator() {
    let gateway = TestGateway::start();
    gateway.make_pending(TRUST);
    let test = gateway.begin(&["partner", "test", TRUST, "--wait", "3s"]);
    let trust = gateway.agency(TRUST);
    eventually("the test waits", || async {
        trust.get_json("/v1/inbox").await["messages"] != json!([])
    })
    .await;
    let opened = open_test(&trust).await;
    let mut wrong = reply(&opened);
    wrong["codeWord"] = json!("kestrel-maple-0000");
    trust.post(&case::path(&opened, "test-replies"), &wrong).await.problem(422, "schema");
    let ended = test.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = text(&ended.stderr);
    assert!(said.contains("it has not answered") && !said.contains("not collected"), "{said}");
    assert!(said.contains("refused meanwhile") && said.contains("test-replies schema"), "{said}");
}

#[test]
fn wrong_input_changes_nothing_and_says_what_to_do() {
    let gateway = TestGateway::start();
    let folder = gateway.folder();
    std::fs::write(folder.join("empty.pdf"), "").unwrap();
    std::fs::write(folder.join("apd.pdf"), "policy").unwrap();
    let before = gateway.partners();
    let add = |change: &[(&'static str, &'static str)]| {
        let mut words = ADD.to_vec();
        for (from, to) in change {
            let at = words.iter().position(|word| word == from).unwrap();
            words[at] = to;
        }
        words
    };
    for (change, said) in [
        (&[(NEW, POLICE)][..], "is also the id of the agency"),
        (&[("X99999", "Z99999")], "is also the ODS code of agency \"test-surgery\""),
        (&[("X99999", "x 1")], "is not an ODS code"),
        (&[("01632 960001", "ring us")], "is not a telephone number"),
        (&[("gp", "polise")], "police"),
        (&[("gp", "police"), ("--ods", "--class")], "class"),
        (&[("Demo Surgery", " ")], "is empty"),
        (&[("Demo Surgery", "Demo\nstatus = \"active\"")], "line break"),
        (&[("children-act-2004-s11", "")], "is empty"),
        (&[(NEW, "Demo Surgery")], "agency id"),
        (&[("--ods", "--location")], "surgeries are addressed by it"),
        (&[("--deputy=B Example", "--push=https://a.example/in")], "--push-ca"),
        (&[("--pco", "--hours")], "--pco is missing"),
    ] {
        let words = add(change);
        let refused = gateway.fails(&words, 2);
        assert!(refused.contains(said), "{said}: {refused}");
        assert!(!refused.contains("ring us"), "no value is repeated: {refused}");
    }
    let known = gateway.fails(&add(&[(NEW, POLICE), ("X99999", "X99998")]), 2);
    assert!(known.contains("partner set test-police"), "{known}");

    let url = "https://push.surgery.example/in";
    for (words, code, said) in [
        (&["partner", "show", "test-polise"][..], 4, "did you mean test-police?"),
        (&["partner", "set", "nobody", "--telephone", "01632 960000"], 4, "no such agency"),
        (&["partner", "endpoint", "nobody", "--mailbox"], 4, "no such agency"),
        (&["partner", "test", "nobody"], 4, "no such agency"),
        (&["partner", "activate", "nobody"], 4, "no such agency"),
        (&["partner", "suspend", "nobody", "--confirm", "nobody"], 4, "no such agency"),
        (&["apd", "add", "nobody", "--file", "apd.pdf", "--review", "2999-01-01"], 4, "no such"),
        (&["partner", "set", POLICE], 2, "nothing to set"),
        (&["partner", "set", POLICE, "--telephone", "x"], 2, "is not a telephone number"),
        (&["partner", "set", POLICE, "--pco", "New Name"], 2, "--pco-tel is missing"),
        (&["partner", "set", POLICE, "--ods", "Z99999"], 2, "is also the ODS code"),
        (&["partner", "set", POLICE, "--pco-email", "a@x.pnn.police.uk"], 2, "retired"),
        (&["partner", "endpoint", POLICE], 2, "--mailbox"),
        (&["partner", "endpoint", POLICE, "--push", url], 2, "--ca"),
        (&["partner", "endpoint", POLICE, "--push", url, "--ca", "apd.pdf"], 2, "apd.pdf"),
        (&["partner", "endpoint", POLICE, "--push", url, "--ca", "none.pem"], 4, "none.pem"),
        (&["partner", "endpoint", POLICE, "--mailbox", "--push", url], 2, "cannot be used with"),
        (&["partner", "endpoint", "test-surgeries", "--mailbox"], 2, "not to the class"),
        (&["partner", "test", POLICE, "--wait", "0s"], 2, "such as 90s"),
        (&["partner", "test", POLICE, "--wait", "soon"], 2, "such as 90s"),
        (&["partner", "test", POLICE, "--wait", "25h"], 2, "such as 90s"),
        (&["partner", "activate", CLOSED], 1, "has closed"),
        (&["partner", "activate", SUSPENDED], 1, "still to be done"),
        (&["partner", "suspend", POLICE], 2, "--confirm"),
        (&["partner", "suspend", POLICE, "--confirm", TRUST], 2, "does not name test-police"),
        (&["partner", "suspend", CLOSED, "--confirm", CLOSED], 1, "has closed"),
        (&["partner", "suspend", HUB, "--confirm", HUB], 2, "the gateway does nothing"),
        (&["apd", "add", POLICE, "--file", "none.pdf", "--review", "2999-01-01"], 4, "none.pdf"),
        (&["apd", "add", POLICE, "--file", "empty.pdf", "--review", "2999-01-01"], 2, "is empty"),
        (&["apd", "add", POLICE, "--file", "apd.pdf", "--review", "2020-01-01"], 2, "has passed"),
        (&["apd", "add", POLICE, "--file", "apd.pdf", "--review", "2999-02-30"], 2, "a day such"),
        (&["apd", "add", POLICE, "--file", "apd.pdf", "--review", "2999-01-01T10:00"], 2, "a day"),
    ] {
        let refused = gateway.fails(words, code);
        assert!(refused.contains(said), "{words:?}: {refused}");
    }
    let url = ["--push", "http://push.surgery.example/in", "--ca"];
    let ca = gateway.home().join("certs/root.pem");
    let plain = [&["partner", "endpoint", POLICE][..], &url, &[ca.to_str().unwrap()]].concat();
    assert!(gateway.fails(&plain, 2).contains("https://"));
    assert_eq!(gateway.partners(), before);
    assert!(!gateway.home().join("certs/push-test-police.pem").exists());

    // Nor does looking first.
    let dry = gateway.done(&[&ADD[..], &["--dry-run"]].concat());
    assert_eq!(dry["lines"][1], "id = \"demo-surgery\"");
    let dry = gateway.done(&["partner", "set", POLICE, "--hours", "always", "--dry-run"]);
    assert_eq!(dry["lines"], json!(["hours = \"always\""]));
    gateway.done(&["partner", "endpoint", POLICE, "--mailbox", "--dry-run"]);
    assert_eq!(gateway.partners(), before);
    assert!(!folder.join(NEW).exists());

    // A directory that has mistakes already is not added to.
    let broken = format!("{before}colour = \"red\"\n");
    std::fs::write(gateway.home().join("partners.toml"), &broken).unwrap();
    for words in [&ADD[..], &["partner", "set", POLICE, "--hours", "always"]] {
        let refused = gateway.fails(words, 1);
        assert!(refused.contains("colour"), "{refused}");
    }
    assert_eq!(gateway.partners(), broken);
}

#[test]
fn comments_and_order_stay_and_two_at_once_lose_nothing() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let path = gateway.home().join("partners.toml");
    let text_before = format!("# Ours.\n{}# The end: 3 o'clock.\n", gateway.partners())
        .replace("status = \"suspended\"\n", "status = \"suspended\"   # until March\n");
    std::fs::write(&path, &text_before).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();

    let names: Vec<_> = (0..8).map(|i| format!("demo-agency-{i}")).collect();
    let adding: Vec<_> = names
        .iter()
        .map(|name| {
            gateway.begin(&[
                "partner",
                "add",
                name,
                "--name",
                "Demo",
                "--kind",
                "other",
                "--basis",
                "invented",
                "--mailbox",
            ])
        })
        .collect();
    for adds in adding {
        let added = adds.wait_with_output().unwrap();
        assert!(added.status.success(), "{}", text(&added.stderr));
        let said = text(&added.stdout);
        assert!(said.contains("No gateway is running"), "{said}");
    }
    let after = gateway.partners();
    let added = after.strip_prefix(text_before.as_str()).expect("all before stays byte for byte");
    for name in &names {
        assert_eq!(added.matches(&format!("id = \"{name}\"\n")).count(), 1, "{added}");
        assert!(gateway.folder().join(name).join("CONNECT.txt").exists());
    }
    assert_eq!(gateway.done(&["partner", "check"])["agencies"], 7 + 8);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o640, "who may read it stays too");

    // A change in the middle is that line and no other.
    gateway.done(&["partner", "set", SUSPENDED, "--telephone", "01632 960555"]);
    let set = gateway.partners();
    let different: Vec<_> =
        after.lines().zip(set.lines()).filter(|(before, after)| before != after).collect();
    assert_eq!(different, [("telephone = \"01632 960100\"", "telephone = \"01632 960555\"")]);
    assert_eq!(after.lines().count(), set.lines().count());
    // Nobody can be told that it is in force where no gateway runs.
    let said = gateway.fails(&["partner", "suspend", POLICE, "--confirm", POLICE], 1);
    assert!(said.contains("NO RUNNING GATEWAY"), "{said}");
    let shown = gateway.done(&["partner", "show", POLICE]);
    assert_eq!(shown["status"], "suspended", "but it is written");
}

#[test]
fn policy_documents_are_listed_with_what_is_due() {
    let gateway = TestGateway::made(&without_policy_documents());
    std::fs::write(gateway.folder().join("apd.pdf"), "policy").unwrap();
    let day = |days: i64| {
        let at = now() + jiff::SignedDuration::from_hours(24 * days);
        at.to_string()[..10].to_owned()
    };
    for (agency, days) in [(POLICE, 400), (TRUST, 30)] {
        let review = day(days);
        gateway.done(&["apd", "add", agency, "--file", "apd.pdf", "--review", &review]);
    }
    let overdue = format!(
        "ods_code = \"Z99999\"\npolicy_document = {{ sha256 = \"{}\", review = {} }}\n",
        "0".repeat(64),
        day(-3)
    );
    let partners = gateway.partners().replace("ods_code = \"Z99999\"\n", &overdue);
    std::fs::write(gateway.home().join("partners.toml"), partners).unwrap();
    let listed = gateway.done(&["apd", "list"]);
    let standing = |agency: &str| {
        let list = listed["policyDocuments"].as_array().unwrap();
        let row = list.iter().find(|row| row["agency"] == agency).unwrap();
        (row["standing"].as_str().unwrap().to_owned(), row["daysToReview"].as_i64())
    };
    assert_eq!(standing(POLICE), ("in-force".to_owned(), Some(400)));
    assert_eq!(standing(TRUST), ("review-due".to_owned(), Some(30)));
    assert_eq!(standing(SURGERY), ("review-overdue".to_owned(), Some(-3)));
    assert_eq!(standing(HUB), ("none".to_owned(), None));
    let said = text(&gateway.run(&["apd", "list"]).stdout);
    assert!(said.contains("REVIEW OVERDUE by 3 days"), "{said}");
    assert!(!said.contains(CLOSED) && !said.contains("test-surgeries"), "{said}");

    // A review that was held is recorded in the place of the one that was missed.
    let review = ["apd", "add", SURGERY, "--file", "apd.pdf", "--review"];
    let recorded = gateway.run(&[&review[..], &[&day(12)]].concat());
    assert!(recorded.status.success());
    assert_eq!(gateway.partners().matches("policy_document").count(), 3, "replaced, not added");
    let listed = text(&gateway.run(&["apd", "list"]).stdout);
    assert!(listed.contains("review due in 12 days") && !listed.contains("OVERDUE"), "{listed}");

    // Of an agency that has closed it is kept for six months.
    let partners = gateway.partners();
    let last = now().to_string()[..10].to_owned();
    for (valid_to, standing, in_words) in [
        ("2020-01-31", "no-longer-needed", "need not be kept any more"),
        (last.as_str(), "in-force", "in force"),
        (&day(-1), "kept", "keep it until"),
    ] {
        let left = format!(
            "valid_to = {valid_to}\npolicy_document = {{ sha256 = \"{}\", review = 2099-01-01 }}\n",
            "1".repeat(64)
        );
        let status = if standing == "in-force" { "suspended" } else { "closed" };
        let text_of = partners
            .replace("status = \"closed\"", &format!("status = \"{status}\""))
            .replace("valid_to = 2020-01-31\n", &left);
        std::fs::write(gateway.home().join("partners.toml"), text_of).unwrap();
        let listed = gateway.done(&["apd", "list"]);
        let list = listed["policyDocuments"].as_array().unwrap();
        let row = list.iter().find(|row| row["agency"] == CLOSED).unwrap();
        assert_eq!(row["standing"], standing, "{row}");
        assert_eq!(row["keepUntil"].is_string(), status == "closed", "{row}");
        assert!(text(&gateway.run(&["apd", "list"]).stdout).contains(in_words));
        if valid_to == "2020-01-31" {
            assert_eq!(row["keepUntil"], "2020-07-31");
        }
    }
    std::fs::write(gateway.home().join("partners.toml"), &partners).unwrap();
    // And all of it can be handed over as a table.
    let table = text(&gateway.run(&["apd", "export"]).stdout);
    let rows: Vec<_> = table.lines().collect();
    assert_eq!(rows[0], "agency,statutory basis,SHA-256,review,standing,keep until");
    assert_eq!(rows.len(), 1 + 5, "{table}");
    assert!(rows.iter().any(|row| row.starts_with("\"test-police\",\"invented\",")), "{table}");

    // What stands in the file is held to its form.
    let bad =
        gateway.partners().replace("sha256 = \"", "sha256 = \"x").replace("review = ", "revue = ");
    std::fs::write(gateway.home().join("partners.toml"), bad).unwrap();
    let said = gateway.fails(&["partner", "check"], 1);
    for expected in
        ["is not a SHA-256", "policy_document.review: is missing", "Did you mean `review`?"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

/// What its guide says of curl's exit codes is what curl does.
#[test]
fn refusals_look_as_the_guide_says() {
    let gateway = TestGateway::start();
    gateway.settle_its_port();
    let (guide, folder) = (gateway.folder().join("guide"), gateway.agencies());
    let csr = folder.join(format!("{POLICE}.csr"));
    let issue = ["cert", "issue", POLICE, "--csr", csr.to_str().unwrap(), "--out"];
    gateway.done(&[&issue[..], &[guide.to_str().unwrap()]].concat());
    let guide = std::fs::read_to_string(guide.join("CONNECT.txt")).unwrap();
    let (_, table) = guide.split_once("\n9. ").unwrap();
    let said = |code: i32| {
        let lines = table.lines().filter_map(|line| line.strip_prefix("    "));
        let row = lines.skip_while(|line| {
            let codes = line.split("  ").next().unwrap_or_default();
            codes.split(", ").all(|listed| listed.trim().parse() != Ok(code))
        });
        row.take(2).collect::<Vec<_>>().join(" ")
    };
    let whoami = commands(&guide, 4);
    let whoami = whoami.lines().next().unwrap();
    sh_done(&folder, whoami);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let own = gateway.url.trim_start_matches("https://localhost");
    sh_done(
        &folder,
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout x.key -out x.pem -subj /CN=x 2>&1",
    );
    for (from, to, codes, words) in [
        (
            format!("--cert {POLICE}.pem --key {POLICE}.key"),
            String::new(),
            &[55, 56][..],
            "refused",
        ),
        (
            format!("{POLICE}.pem --key {POLICE}.key"),
            "x.pem --key x.key".to_owned(),
            &[55, 56],
            "refused",
        ),
        (format!("--key {POLICE}.key"), format!("--key {TRUST}.key"), &[58], "do not belong"),
        (format!("--cert {POLICE}.pem"), "--cert none.pem".to_owned(), &[58], "cannot be read"),
        (
            "--cacert ca.pem".to_owned(),
            "--cacert x.pem".to_owned(),
            &[60],
            "does not lead to ca.pem",
        ),
        ("--cacert ca.pem".to_owned(), "--cacert none.pem".to_owned(), &[77], "ca.pem cannot"),
        ("https://localhost".to_owned(), "https://127.0.0.1".to_owned(), &[60], "another name"),
        (own.to_owned(), format!(":{}", nobody.port()), &[7], "nothing answers there"),
        ("https://localhost".to_owned(), "https://no.invalid".to_owned(), &[6], "not known"),
    ] {
        assert!(whoami.contains(&from), "{from}");
        let ran = sh(&folder, &whoami.replace(&from, &to));
        let code = ran.status.code().unwrap();
        assert!(codes.contains(&code), "{from} -> {to}: {code}: {}", text(&ran.stderr));
        assert!(said(code).contains(words), "{code}: {}", said(code));
    }
    gateway.run(&["cert", "revoke", POLICE, "--reason", "superseded", "--confirm", POLICE]);
    let revoked = sh(&folder, whoami).status.code().unwrap();
    assert!(matches!(revoked, 55 | 56), "{revoked}");
    assert!(said(revoked).contains("revoked"), "{}", said(revoked));
}

#[test]
fn the_hub_has_no_officers_to_name() {
    let gateway = TestGateway::made(&without_policy_documents());
    let shown = gateway.done(&["partner", "show", HUB]);
    assert_eq!(undone(&shown), ["policy document"]);
    assert_eq!(shown["checklist"]["of"], 4);
}
