//! The command line as people use it: help that helps, exit codes that scripts can rely on, nothing
//! overwritten, and the whole job done with commands alone.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case, text};

fn binary(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mash-gateway"));
    command.args(arguments).current_dir(folder).env_remove("MASH_GATEWAY_HOME").output().unwrap()
}

#[test]
fn help_helps() {
    let folder = TempDir::new().unwrap();
    let top = text(&binary(&["--help"], folder.path()).stdout);
    assert!(top.contains("Examples:") && top.contains("Exit codes"), "{top}");
    let nothing = binary(&[], folder.path());
    assert_eq!(nothing.status.code(), Some(2));
    // Every command named there has help of its own.
    let commands = top.split_once("Commands:").unwrap().1.split_once("Options:").unwrap().0;
    let names: Vec<_> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() >= 14, "{names:?}");
    // Whoever is about to share is asked the three questions first (R51).
    for command in [&["rfi", "send", "--help"][..], &["respond", "--help"]] {
        let help = text(&binary(command, folder.path()).stdout);
        for question in ["lawfulBasis", "proportionality", "confidenceGateway"] {
            assert!(help.contains(question), "{question}: {help}");
        }
    }
    for name in names {
        let help = binary(&[name, "--help"], folder.path());
        assert!(help.status.success() && text(&help.stdout).contains("Usage:"), "{name}");
        let help = text(&help.stdout);
        let Some((_, below)) = help.split_once("Commands:") else {
            assert!(help.contains("Example"), "{name}");
            continue;
        };
        let below = below.split_once("Options:").unwrap().0;
        let leaves =
            below.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        for leaf in leaves.filter_map(|line| line.split_whitespace().next()) {
            if leaf != "help" {
                let help = text(&binary(&[name, leaf, "--help"], folder.path()).stdout);
                assert!(help.contains("Example"), "{name} {leaf}: {help}");
            }
        }
    }
    let typo = binary(&["serv"], folder.path());
    assert_eq!(typo.status.code(), Some(2));
    assert!(text(&typo.stderr).contains("'serve'"), "{}", text(&typo.stderr));
    // A reader who has seen enough is no failure.
    let piped = Command::new("bash")
        .args(["-c", "set -o pipefail; \"$0\" openapi | head -2"])
        .arg(env!("CARGO_BIN_EXE_mash-gateway"))
        .output()
        .unwrap();
    assert!(piped.status.success() && piped.stderr.is_empty(), "{}", text(&piped.stderr));
    let full = Command::new("bash")
        .args(["-c", "\"$0\" openapi > /dev/full"])
        .arg(env!("CARGO_BIN_EXE_mash-gateway"))
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1), "a result that was lost is a failure");
    let version = text(&binary(&["--version"], folder.path()).stdout);
    assert_eq!(version.trim(), concat!("mash-gateway ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_home_is_made_once_and_its_keys_are_nobody_elses_to_read() {
    let folder = TempDir::new().unwrap();
    let init = ["init", "--home", "home", "--gateway-host", "localhost", "--json"];
    let made = binary(&init, folder.path());
    assert!(made.status.success(), "{}", text(&made.stderr));
    serde_json::from_slice::<Value>(&made.stdout).unwrap();
    let home = folder.path().join("home");
    let root = std::fs::read(home.join("certs/root.pem")).unwrap();
    let again = binary(&init, folder.path());
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));
    assert_eq!(std::fs::read(home.join("certs/root.pem")).unwrap(), root);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home.join("keys")), 0o700);
    for key in std::fs::read_dir(home.join("keys")).unwrap() {
        assert_eq!(mode(&key.unwrap().path()), 0o600);
    }
    // Nor are keys replaced because the settings are gone.
    let settings = home.join("gateway.toml");
    std::fs::rename(&settings, folder.path().join("kept.toml")).unwrap();
    let keys = std::fs::read(home.join("keys/at-rest-identity.txt")).unwrap();
    assert_eq!(binary(&init, folder.path()).status.code(), Some(2));
    assert_eq!(std::fs::read(home.join("keys/at-rest-identity.txt")).unwrap(), keys);
    std::fs::rename(folder.path().join("kept.toml"), settings).unwrap();
    // What it made is good as it is.
    let checked = binary(&["partner", "check", "--home", "home"], folder.path());
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    for command in [&["serve"][..], &["log", "show"], &["partner", "list"], &["cert", "list"]] {
        let nowhere = binary(&[command, &["--home", "nowhere"]].concat(), folder.path());
        assert_eq!(nowhere.status.code(), Some(4), "{}", text(&nowhere.stderr));
        assert!(text(&nowhere.stderr).contains("mash-gateway init"), "{command:?}");
    }
}

#[test]
fn keys_that_others_can_read_are_complained_of() {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    gateway.serve();
    gateway.stop();
    let log = gateway.log();
    for complaint in ["recovery identity", "root identity", "the root's key is needed off line"] {
        assert!(log.contains(complaint), "{complaint}: {log}");
    }
    assert!(!log.contains("chmod"), "{log}");
    let home = gateway.home();
    for taken_away in ["keys/recovery-identity.txt", "keys/root-identity.txt", "certs/root.key.age"]
    {
        std::fs::remove_file(home.join(taken_away)).unwrap();
    }
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(home.join("keys/log-key.pem"), open).unwrap();
    gateway.serve();
    gateway.stop();
    let log = gateway.log().split_off(log.len());
    assert!(!log.contains("off line") && !log.contains("off this machine"), "{log}");
    assert!(!log.contains("elsewhere") && log.contains("chmod 600"), "{log}");
}

/// The certificates as somebody else's tools see them.
#[test]
fn openssl_finds_the_certificates_as_they_should_be() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let home = gateway.home();
    let openssl = |arguments: &[&str]| {
        let ran = Command::new("openssl").args(arguments).current_dir(&home).output().unwrap();
        format!("{}{}", text(&ran.stdout), text(&ran.stderr))
    };
    let leaf = gateway.agencies().join(format!("{POLICE}.pem"));
    let leaf = leaf.to_str().unwrap();
    let chain = ["verify", "-x509_strict", "-CAfile", "certs/root.pem", "-untrusted"];
    let agency = [&chain[..], &["certs/agency-ca.pem", "-purpose", "sslclient", leaf]].concat();
    assert!(openssl(&agency).contains(": OK"), "{}", openssl(&agency));
    let own = ["certs/server-ca.pem", "-purpose", "sslserver", "-verify_hostname", "localhost"];
    let own = [&chain[..], &own, &["certs/gateway.pem"]].concat();
    assert!(openssl(&own).contains(": OK"), "{}", openssl(&own));
    // An agency's certificate is none for a server, and the other way round.
    let wrong = [&chain[..], &["certs/agency-ca.pem", "-purpose", "sslserver", leaf]].concat();
    assert!(openssl(&wrong).contains("unsuitable"), "{}", openssl(&wrong));
    let shown = openssl(&["x509", "-noout", "-text", "-in", leaf]);
    for expected in [
        "ecdsa-with-SHA384",
        "prime256v1",
        "URI:spiffe://mash.test.example/agency/test-police",
        "TLS Web Client Authentication",
        "CA:FALSE",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let crl = openssl(&[
        "crl",
        "-noout",
        "-text",
        "-in",
        "certs/agency-ca.crl.pem",
        "-CAfile",
        "certs/agency-ca.pem",
    ]);
    assert!(crl.contains("verify OK") && crl.contains("CRL Number"), "{crl}");
}

#[test]
fn only_the_key_is_taken_from_a_request() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let folder = gateway.folder().to_owned();
    let request = |name: &str, new: &[&str]| {
        let made = Command::new("openssl")
            .args(["req", "-new", "-nodes", "-keyout", "x.key", "-out", name])
            .args(["-subj", "/O=Somebody Else/CN=test-mash", "-addext"])
            .args(["subjectAltName=URI:spiffe://mash.test.example/agency/test-mash"])
            .args(["-addext", "basicConstraints=critical,CA:TRUE"])
            .args(new)
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
    };
    let issue = |agency: &str, csr: &str| {
        gateway.run(&["cert", "issue", agency, "--csr", csr, "--out", "out"])
    };
    request("greedy.csr", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let issued = issue(POLICE, "greedy.csr");
    assert!(issued.status.success(), "{}", text(&issued.stderr));
    let shown = Command::new("openssl")
        .args(["x509", "-noout", "-text", "-in", "out/test-police.pem"])
        .current_dir(&folder)
        .output()
        .unwrap();
    let shown = text(&shown.stdout);
    assert!(shown.contains("agency/test-police") && shown.contains("CA:FALSE"), "{shown}");
    assert!(!shown.contains("test-mash,") && !shown.contains("Somebody Else"), "{shown}");
    assert!(!shown.contains("agency/test-mash"), "{shown}");

    // One agency's key is not another's, whichever file was named by mistake.
    let slip = issue(TRUST, "greedy.csr");
    assert_eq!(slip.status.code(), Some(2), "{}", text(&slip.stderr));
    assert!(text(&slip.stderr).contains("already test-police's"), "{}", text(&slip.stderr));
    // It may be certified again for its own agency; not after it was compromised.
    assert!(issue(POLICE, "greedy.csr").status.success());
    let revoke = ["cert", "revoke", POLICE, "--reason", "key-compromise", "--confirm", POLICE];
    assert_eq!(gateway.run(&revoke).status.code(), Some(1), "no gateway runs here");
    assert_eq!(issue(POLICE, "greedy.csr").status.code(), Some(2));

    request("rsa.csr", &["-newkey", "rsa:2048"]);
    let refused = issue(POLICE, "rsa.csr");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("P-256"), "{}", text(&refused.stderr));
    // Without proof of possession: one byte of the signature changed.
    let pem = std::fs::read_to_string(folder.join("greedy.csr")).unwrap();
    let mut lines: Vec<String> = pem.lines().map(str::to_owned).collect();
    let last = lines.len() - 2;
    let swapped = if lines[last].starts_with('A') { "B" } else { "A" };
    lines[last].replace_range(..1, swapped);
    std::fs::write(folder.join("forged.csr"), lines.join("\n") + "\n").unwrap();
    for (agency, csr, code) in [
        (POLICE, "forged.csr", 1),
        (POLICE, "x.key", 1),
        (POLICE, "no-such-file", 4),
        ("test-nobody", "greedy.csr", 4),
    ] {
        let refused = issue(agency, csr);
        assert_eq!(refused.status.code(), Some(code), "{csr}: {}", text(&refused.stderr));
    }
}

#[test]
fn every_mistake_in_the_directory_is_named_with_its_line() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let path = gateway.home().join("partners.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let bad = good
        .replace("kind = \"police\"", "kind = \"polise\"")
        .replace("ods_code = \"Z99999\"", "ods_code = \"not one\"")
        .replace("successor = \"test-police\"", "successor = \"test-nobody\"")
        + "\n[[agency]]\nid = \"test-trust\"\nname = \"Again\"\ncolour = \"red\"\n";
    std::fs::write(&path, &bad).unwrap();
    let checked = gateway.run(&["partner", "check"]);
    assert!(!checked.status.success());
    let said = text(&checked.stderr);
    for (fault, remedy) in [
        ("kind = \"polise\"", "police"),
        ("ods_code = \"not one\"", "ods_code"),
        ("successor = \"test-nobody\"", "successor"),
        ("colour = \"red\"", "colour"),
    ] {
        let line = bad.lines().position(|line| line.contains(fault)).unwrap() + 1;
        assert!(said.contains(&format!("partners.toml:{line}:")), "line {line}, {fault}: {said}");
        assert!(said.contains(remedy), "{remedy}: {said}");
    }
    std::fs::write(&path, &good).unwrap();
    let shown = gateway.run(&["partner", "show", POLICE, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["id"], &shown["status"]), (&json!(POLICE), &json!("active")));
    let listed = gateway.run(&["partner", "list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["agencies"].as_array().unwrap().len(), 7);
    // Who takes part, and under which law (R1).
    assert_eq!(listed["agencies"][0]["statutoryBasis"], "invented");
    assert!(text(&gateway.run(&["partner", "list"]).stdout).contains("(invented)"));
    assert_eq!(gateway.run(&["partner", "show", "test-nobody"]).status.code(), Some(4));
}

#[test]
fn the_directory_that_init_makes_has_the_agreements_thirteen_parties() {
    let folder = TempDir::new().unwrap();
    let made = binary(&["init", "--home", "home", "--gateway-host", "localhost"], folder.path());
    assert!(made.status.success(), "{}", text(&made.stderr));
    let listed = binary(&["partner", "list", "--home", "home", "--json"], folder.path());
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let status = |id: &str| {
        let mut agencies = listed["agencies"].as_array().unwrap().iter();
        agencies.find(|agency| agency["id"] == id).map(|agency| agency["status"].clone())
    };
    // R2's thirteen; those that have closed since are there, with who came after them.
    for (party, expected) in [
        ("merseyside-police", "pending"),
        ("sefton-childrens-social-care", "pending"),
        ("sefton-adult-social-care", "pending"),
        ("sefton-gp-surgeries", "pending"),
        ("sefton-early-help", "pending"),
        ("national-probation-service", "closed"),
        ("community-rehabilitation", "closed"),
        ("alder-hey", "pending"),
        ("southport-ormskirk", "closed"),
        ("liverpool-womens", "pending"),
        ("liverpool-university-hospitals", "pending"),
        ("sefton-mash", "active"),
        ("north-west-boroughs", "closed"),
    ] {
        assert_eq!(status(party), Some(json!(expected)), "{party}");
        let shown = binary(&["partner", "show", party, "--home", "home", "--json"], folder.path());
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        if let Some(successor) = shown["successor"].as_str() {
            assert_eq!(expected, "closed");
            assert_eq!(status(successor), Some(json!("pending")), "{successor}");
        } else {
            assert_ne!(expected, "closed", "{party}");
        }
    }
}

#[test]
fn a_payload_can_be_checked_before_it_is_sent() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, body: &Value| {
        std::fs::write(folder.path().join(name), body.to_string()).unwrap();
    };
    let rfi = "01890a5d-ac96-774b-bcce-b302099a8057";
    write("good.json", &case::response(rfi));
    let mut bad = case::response(rfi);
    bad["proportionate"] = json!(false);
    write("bad.json", &bad);
    let check = |kind: &str, file: &str| {
        binary(&["schema", "validate", kind, file, "--json"], folder.path())
    };
    let good = check("response", "good.json");
    assert!(good.status.success(), "{}", text(&good.stderr));
    let refused = check("response", "bad.json");
    assert_eq!(refused.status.code(), Some(3));
    let refused: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(
        (&refused["valid"], &refused["errors"][0]["pointer"]),
        (&json!(false), &json!("/proportionate"))
    );
    assert_eq!(check("outcome", "good.json").status.code(), Some(3));
    assert_eq!(check("rumour", "good.json").status.code(), Some(2));
    assert_eq!(check("response", "none.json").status.code(), Some(4));
    let printed = binary(&["openapi"], folder.path());
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let described: Value =
        serde_json::from_str(include_str!("../../schemas/openapi.json")).unwrap();
    assert_eq!(printed, described);
}

/// An agency's commands: with its own certificate and in its own folder.
struct Desk<'a> {
    gateway: &'a TestGateway,
    agency: &'a str,
}

impl Desk<'_> {
    fn run(&self, arguments: &[&str]) -> Output {
        let at = |name: String| self.gateway.agencies().join(name);
        Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
            .args(arguments)
            .env("MASH_GATEWAY_URL", &self.gateway.url)
            .env("MASH_GATEWAY_CERT", at(format!("{}.pem", self.agency)))
            .env("MASH_GATEWAY_KEY", at(format!("{}.key", self.agency)))
            .env("MASH_GATEWAY_CA", at("ca.pem".to_owned()))
            .current_dir(self.gateway.folder())
            .output()
            .unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat());
        assert!(ran.status.success(), "{arguments:?}: {}", text(&ran.stderr));
        serde_json::from_slice(&ran.stdout).unwrap()
    }
}

#[test]
fn the_whole_job_by_commands_alone() {
    let mut gateway = TestGateway::start();
    let write = |name: &str, body: &Value| {
        std::fs::write(gateway.folder().join(name), body.to_string()).unwrap();
    };
    // Replies as people write them: without the id of what they answer.
    let unaddressed = |mut reply: Value| {
        reply.as_object_mut().unwrap().remove("inReplyTo");
        reply
    };
    write("rfi.json", &case::dispatch(&[SURGERY, TRUST]));
    write("response.json", &unaddressed(case::response("")));
    write("supplement.json", &unaddressed(case::supplement("")));
    write("outcome.json", &case::outcome());
    let mut bad = unaddressed(case::response(""));
    bad["proportionate"] = json!(false);
    write("bad.json", &bad);
    let hub = Desk { gateway: &gateway, agency: HUB };
    let surgery = Desk { gateway: &gateway, agency: SURGERY };

    let sent = hub.json(&["rfi", "send", "rfi.json", "--receipts", "hub"]);
    let asked = &sent["exchanges"][0];
    let reference = asked["reference"].as_str().unwrap();
    let silent = text(&hub.run(&["rfi", "status"]).stdout);
    assert!(silent.contains(reference) && silent.contains("not yet collected"), "{silent}");

    let inbox = surgery.json(&["inbox", "list"]);
    let message = inbox["messages"][0]["id"].as_str().unwrap();
    assert_eq!(inbox["messages"][0]["reference"], reference);
    let collected = surgery.run(&["inbox", "collect", message, "--output", "asked.json"]);
    assert!(collected.status.success(), "{}", text(&collected.stderr));
    let asked_path = gateway.folder().join("asked.json");
    let mode = std::fs::metadata(&asked_path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "what was collected is personal data");
    let document: Value = serde_json::from_slice(&std::fs::read(asked_path).unwrap()).unwrap();
    assert_eq!(document["id"], message);
    surgery.json(&["inbox", "acknowledge", message]);
    assert_eq!(surgery.json(&["inbox", "list"])["messages"], json!([]));

    let refused = surgery.run(&["respond", reference, "bad.json"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("/proportionate") && said.contains("hint:"), "{said}");
    let refused = surgery.run(&["respond", reference, "bad.json", "--json"]);
    let problem: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(problem["errors"][0]["pointer"], "/proportionate");
    let first = surgery.json(&["respond", reference, "response.json", "--receipts", "kept"]);
    let again = surgery.json(&["respond", reference, "response.json", "--receipts", "kept"]);
    assert_eq!(first, again, "sent once, however often the command is run");
    surgery.json(&["supplement", reference, "supplement.json", "--receipts", "kept"]);
    hub.json(&["outcome", "send", reference, "outcome.json", "--receipts", "hub"]);
    let stands = text(&hub.run(&["rfi", "status", reference]).stdout);
    assert!(stands.contains("completed (complete)"), "{stands}");
    assert!(stands.contains("collected rfi by test-surgery"), "{stands}");
    assert!(stands.contains("response from test-surgery to test-mash"), "{stands}");
    assert_eq!(surgery.run(&["rfi", "status", "RFI-2026-000002-9"]).status.code(), Some(4));
    // Somebody else's exchange is like one that is not there.
    let others = sent["exchanges"][1]["reference"].as_str().unwrap();
    assert_eq!(surgery.run(&["rfi", "status", others]).status.code(), Some(4));

    gateway.stop();
    let mut count = 0;
    for folder in ["hub", "kept"] {
        for file in std::fs::read_dir(gateway.folder().join(folder)).unwrap() {
            let path = file.unwrap().path();
            let verified = gateway.run(&["receipt", "verify", path.to_str().unwrap()]);
            assert!(verified.status.success(), "{}", text(&verified.stderr));
            count += 1;
        }
    }
    assert_eq!(count, 2 + 2 + 1);
    let unreachable = Desk { gateway: &gateway, agency: HUB }.run(&["rfi", "status"]);
    assert_eq!(unreachable.status.code(), Some(1));
    assert!(text(&unreachable.stderr).contains("could not"), "{}", text(&unreachable.stderr));
}

#[test]
fn the_demonstration_holds_and_can_be_run_again() {
    let folder = TempDir::new().unwrap();
    for _ in 0..2 {
        let told = binary(&["demo"], folder.path());
        let story = text(&told.stdout);
        assert!(told.status.success(), "{story}{}", text(&told.stderr));
        assert!(story.contains("none found") && story.contains("All of it held."), "{story}");
    }
    let told = binary(&["demo", "--json"], folder.path());
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["held"], true);
    assert_eq!(told["steps"].as_array().unwrap().len(), 12);
    let home = told["home"].as_str().unwrap();
    let verified = binary(&["log", "verify", "--home", home], folder.path());
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    // A folder that is somebody's is left as it is.
    std::fs::create_dir(folder.path().join("mine")).unwrap();
    std::fs::write(folder.path().join("mine/letter.txt"), "dear").unwrap();
    let refused = binary(&["demo", "--dir", "mine"], folder.path());
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(std::fs::read(folder.path().join("mine/letter.txt")).unwrap(), b"dear");
}

#[test]
fn a_demonstration_that_stays_is_looked_at_in_a_browser() {
    let folder = TempDir::new().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
        .args(["demo", "--serve", "--json"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let told: Value = loop {
        said.push_str(&lines.next().expect("it says where it is").unwrap());
        if let Ok(told) = serde_json::from_str(&said) {
            break told;
        }
    };
    let (desk, agencies) = (told["desk"].as_str().unwrap(), told["agencies"].as_str().unwrap());
    for (name, page, shown) in [
        ("surgery-contact-officer", "requests", "Not opened"),
        ("hub-health-representative", "enquiries", "Not opened"),
    ] {
        let file = |end: &str| format!("{agencies}/{name}.{end}");
        let opened = Command::new("openssl")
            .args(["pkcs12", "-nodes", "-in", &file("p12"), "-out", &file("both")])
            .args(["-passin", &format!("file:{}", file("password"))])
            .output()
            .unwrap();
        assert!(opened.status.success(), "{}", text(&opened.stderr));
        let asked = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--cacert", &format!("{agencies}/ca.pem")])
            .args(["--cert", &file("both"), "--key", &file("both"), &format!("{desk}/{page}")])
            .output()
            .unwrap();
        assert!(
            text(&asked.stdout).contains(shown),
            "{}{}",
            text(&asked.stdout),
            text(&asked.stderr)
        );
    }
    assert!(Command::new("kill").arg(demo.id().to_string()).status().unwrap().success());
    assert!(demo.wait().unwrap().success());
}

#[test]
fn a_demonstration_that_was_killed_does_not_stop_the_next() {
    let folder = TempDir::new().unwrap();
    // At the moments when it has told so many lines of its story, and once before the first.
    for lines in [0, 1, 3, 5, 9, 12, 16, 21, 26, 30] {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
            .arg("demo")
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let told = BufReader::new(demo.stdout.take().unwrap()).lines().take(lines).count();
        assert_eq!(told, lines);
        demo.kill().unwrap();
        demo.wait().unwrap();
    }
    let told = binary(&["demo"], folder.path());
    assert!(told.status.success(), "{}{}", text(&told.stdout), text(&told.stderr));
}

#[test]
fn what_changed_in_the_contract_is_named() {
    let folder = TempDir::new().unwrap();
    let keep = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let diff = |name: &str| binary(&["schema", "diff", name], folder.path());
    let schema = include_str!("../../schemas/rfi.v1.schema.json");
    keep("same.json", schema);
    assert_eq!(text(&diff("same.json").stdout), "unchanged\n");
    // As an earlier version might have had it.
    keep("older.json", &schema.replace("\"national-security\", ", "").replace("2000", "1000"));
    let said = text(&diff("older.json").stdout);
    let aims = "/properties/override/properties/legitimateAims/items/enum/national-security";
    assert!(said.contains(&format!("new      {aims}: \"national-security\"")), "{said}");
    assert!(said.contains("1000 is now 2000"), "{said}");
    // A power that has ended since.
    let powers = binary(&["schema", "powers", "--json"], folder.path());
    let mut powers: Value = serde_json::from_slice(&powers.stdout).unwrap();
    for power in powers["powers"].as_array_mut().unwrap() {
        power.as_object_mut().unwrap().remove("validTo");
    }
    keep("powers.json", &powers.to_string());
    let said = text(&diff("powers.json").stdout);
    let ended = "new      /powers/working-together-2018/validTo: \"2023-12-14\"";
    assert!(said.contains(ended), "{said}");
    keep("other.json", "{}");
    assert_eq!(diff("other.json").status.code(), Some(2));
    assert_eq!(diff("nothing.json").status.code(), Some(4));
}
