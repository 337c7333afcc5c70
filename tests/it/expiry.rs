//! What ends is told in time or replaced in time, and what is newer never gives way to what is older.

use std::cell::RefCell;
use std::process::{Command, Stdio};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case, eventually, text};

fn concerns(gateway: &TestGateway) -> Vec<String> {
    let ready: Value = serde_json::from_str(&gateway.local("/readyz")).unwrap();
    let all = ready["concerns"].as_array().unwrap().iter();
    all.map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// What a doctor says needs a person, besides what every new home needs.
fn acts(gateway: &TestGateway, clock: &str) -> Vec<Value> {
    let looked = gateway.run_at(clock, &["doctor", "--json", "--quick"]);
    assert_eq!(looked.status.code(), Some(5), "a new home is never well");
    let found: Value = serde_json::from_slice(&looked.stdout).unwrap();
    let findings = found["findings"].as_array().unwrap().iter();
    let is_meant = |one: &&Value| {
        let is_new_homes = ["recovery-identity", "root-identity", "root-key"]
            .iter()
            .any(|code| one["code"] == *code);
        one["verdict"] == "act" && !is_new_homes
    };
    findings.filter(is_meant).cloned().collect()
}

fn list(gateway: &TestGateway, arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["cert", "list", "--json"];
    all.extend(arguments);
    let listed = gateway.run(&all);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    listed["certificates"].as_array().unwrap().clone()
}

fn metric(gateway: &TestGateway, name: &str) -> Option<i64> {
    let metrics = gateway.local("/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// The lines the gateway logged about what ends: each with its fields.
fn warnings(gateway: &TestGateway) -> Vec<Value> {
    let log = gateway.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"].as_str().unwrap().starts_with("ends soon")).collect()
}

fn revoke(gateway: &TestGateway, agency: &str) -> bool {
    let arguments = ["cert", "revoke", agency, "--reason", "superseded", "--confirm", agency];
    gateway.run(&arguments).status.success()
}

fn openssl(arguments: &[&str]) -> String {
    let ran = Command::new("openssl").args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    text(&ran.stdout)
}

/// What a list file says of itself, as openssl reads it.
fn list_says(gateway: &TestGateway, name: &str, what: &str) -> String {
    let path = gateway.home().join(name);
    openssl(&["crl", "-noout", what, "-in", path.to_str().unwrap()])
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_told_everywhere_until_it_has_a_successor() {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    gateway.configure("# certificate_days = 90", "certificate_days = 13");
    assert!(!revoke(&gateway, POLICE), "nobody was told: the gateway does not run");
    gateway.certify(POLICE);
    gateway.serve();
    eventually("the log says so", async || !warnings(&gateway).is_empty()).await;
    let ending = list(&gateway, &["--expiring", "14"]);
    let [ending] = &ending[..] else { panic!("{ending:?}") };
    assert_eq!((&ending["agency"], &ending["renewed"]), (&json!(POLICE), &json!(false)));
    let serial = ending["serial"].as_str().unwrap().to_owned();
    assert!(list(&gateway, &["--expiring", "12"]).is_empty());

    let line = &warnings(&gateway)[0];
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["agency.id"], POLICE);
    assert_eq!(line["certificate.serial"], serial);
    assert_eq!(line["days_left"], 12);
    let end: Timestamp = ending["notAfter"].as_str().unwrap().parse().unwrap();
    let agency =
        format!("mash_gateway_agency_certificate_expiry_timestamp_seconds{{agency=\"{POLICE}\"}}");
    assert_eq!(metric(&gateway, &agency), Some(end.as_second()));
    let expiring = |gateway: &TestGateway| {
        ["30d", "14d", "7d", "1d"].map(|within| {
            let name = format!("mash_gateway_expiring_certificates{{within=\"{within}\"}}");
            metric(gateway, &name).unwrap()
        })
    };
    assert_eq!(expiring(&gateway), [1, 1, 0, 0]);
    let found = acts(&gateway, "+0d");
    let [found] = &found[..] else { panic!("{found:?}") };
    assert_eq!(found["code"], "certificate-expiry");
    assert_eq!((&found["agency"], &found["serial"]), (&json!(POLICE), &json!(serial)));

    // Its successor ends soon as well, but no longer it; the old one is marked.
    gateway.certify(POLICE);
    let ending = list(&gateway, &["--expiring", "14"]);
    let renewed: Vec<_> = ending.iter().map(|one| one["renewed"].as_bool().unwrap()).collect();
    assert_eq!(renewed, [false, true]);
    assert_eq!(ending[1]["serial"], serial);
    let found = acts(&gateway, "+0d");
    assert_eq!((found.len(), &found[0]["serial"]), (1, &ending[0]["serial"]));
    // As a person reads it.
    let shown = gateway.run(&["cert", "list", POLICE]);
    let shown = text(&shown.stdout);
    let of = |word: &str| shown.lines().filter(|line| line.contains(word)).count();
    assert_eq!((of("  active "), of("  renewed "), of("  revoked ")), (1, 1, 1), "{shown}");

    // Said once for each, however often it looks.
    gateway.run(&["cert", "crl"]);
    eventually("the new one is told", async || warnings(&gateway).len() == 2).await;
    gateway.run(&["cert", "crl"]);
    assert!(revoke(&gateway, POLICE));
    eventually("nothing ends soon", async || expiring(&gateway) == [0; 4]).await;
    assert_eq!(warnings(&gateway).len(), 2);
    assert_eq!(metric(&gateway, &agency), None, "it has none any more");
    let found = acts(&gateway, "+0d");
    assert_eq!(found[0]["code"], "agency-without-certificate");
}

#[tokio::test]
async fn everything_ends_one_day() {
    let gateway = TestGateway::start();
    let codes = |clock: &str| {
        let found = acts(&gateway, clock);
        found.iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(codes("+1m").is_empty());
    assert!(codes("+3d").is_empty(), "lists are good for a week");
    let lists = "revocation-list".to_owned();
    assert_eq!(codes("+4d"), [lists.as_str(); 2], "those of the two issuing authorities");
    // Four agencies that are active, and two of the gateway's own.
    let ending: Vec<_> = acts(&gateway, "+61d");
    let certificates: Vec<_> =
        ending.iter().filter(|one| one["code"] == "certificate-expiry").collect();
    assert_eq!(certificates.len(), 4 + 2, "{certificates:#?}");
    for one in &certificates {
        assert!(one["says"].as_str().unwrap().contains("in 28 days"), "{one}");
    }
    let agencies: Vec<_> = certificates.iter().filter_map(|one| one["agency"].as_str()).collect();
    for agency in [HUB, POLICE, TRUST, SURGERY] {
        assert!(agencies.contains(&agency), "{agencies:?}");
    }
    let ended = acts(&gateway, "+91d");
    let has_ended = |one: &&Value| one["says"].as_str().unwrap().contains("has ended");
    let ended = ended.iter().filter(|one| one["code"] == "certificate-expiry").filter(has_ended);
    assert_eq!(ended.count(), 6);
    // The root's list; and in three years less ninety days the authorities can no longer issue.
    assert!(!codes("+89d").iter().any(|code| code == "authority-expiry"));
    assert_eq!(codes("+91d").iter().filter(|code| **code == lists).count(), 3);
    assert_eq!(codes("+974d").iter().filter(|code| *code == "authority-expiry").count(), 0);
    assert_eq!(codes("+976d").iter().filter(|code| *code == "authority-expiry").count(), 2);
}

#[tokio::test]
async fn a_list_that_nobody_signs_anew_is_no_secret() {
    let mut gateway = TestGateway::made_long_ago(&case::partners(&[]), "-10d");
    gateway.configure("# start = true", "start = false");
    let signed = gateway.run_at("-4d", &["cert", "crl"]);
    assert!(signed.status.success(), "{}", text(&signed.stderr));
    gateway.serve();
    let has = |what: &str| concerns(&gateway).iter().any(|concern| concern.contains(what));
    eventually("a concern", async || has("past half its time")).await;
    assert!(has("the issuer does not answer"));
    let found = acts(&gateway, "+0d");
    let codes: Vec<_> = found.iter().map(|one| one["code"].as_str().unwrap()).collect();
    let expected = ["gateway-concern", "issuer", "revocation-list", "revocation-list"];
    assert_eq!(codes, expected, "{found:#?}");
    // Everybody is still let in, and the figures say until when.
    assert_eq!(gateway.agency(POLICE).get("/v1/whoami").await.status, 200);
    let next: Vec<_> = gateway
        .local("/metrics")
        .lines()
        .filter_map(|line| {
            let name = "mash_gateway_revocation_list_next_update_timestamp_seconds{authority=\"";
            let (stem, value) = line.strip_prefix(name)?.split_once("\"} ")?;
            Some((stem.split_once('-')?.0.to_owned(), value.parse::<i64>().unwrap()))
        })
        .collect();
    let left = |kind: &str| {
        let (_, next) = next.iter().find(|(stem, _)| stem == kind).unwrap();
        (next - mash_gateway::message::now().as_second()) / 3_600
    };
    assert_eq!((next.len(), left("agencies"), left("gateway")), (3, 71, 71), "{next:?}");
    assert!(left("root") > 160 * 24);

    // Somebody who may read the keys signs: all is well again.
    let signed = gateway.run(&["cert", "crl"]);
    assert!(signed.status.success(), "{}", text(&signed.stderr));
    eventually("no concern about lists", async || !has("past half its time")).await;
    let found = acts(&gateway, "+0d");
    let codes: Vec<_> = found.iter().map(|one| one["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["issuer"], "{found:#?}");
}

#[tokio::test]
async fn lists_are_signed_anew_when_the_gateway_starts() {
    let mut gateway = TestGateway::made_long_ago(&case::partners(&[]), "-10d");
    let names = ["certs/agency-ca.crl.pem", "certs/server-ca.crl.pem"];
    let read = |gateway: &TestGateway| {
        names.map(|name| {
            let made = list_says(gateway, name, "-lastupdate");
            (made, list_says(gateway, name, "-crlnumber"))
        })
    };
    // By now they have lapsed altogether; then nobody is let in until there are new ones.
    let before = read(&gateway);
    gateway.serve();
    let police = gateway.agency(POLICE);
    eventually("they are new", async || {
        let now = read(&gateway);
        now[0] != before[0] && now[1] != before[1]
    })
    .await;
    eventually("the police are let in", async || {
        police.request(hyper::Method::GET, "/v1/whoami", &[], Vec::new()).await.is_ok()
    })
    .await;
    let number = |said: &str| {
        let hex = said.trim().trim_start_matches("crlNumber=").trim_start_matches("0x");
        u64::from_str_radix(hex, 16).unwrap()
    };
    for (before, now) in before.iter().zip(read(&gateway)) {
        assert!(number(&now.1) > number(&before.1), "{now:?} after {before:?}");
    }
    // Lists of today are left as they are.
    let signed = read(&gateway);
    gateway.restart();
    eventually("it has looked", async || {
        metric(&gateway, "mash_gateway_expiring_certificates{within=\"1d\"}").is_some()
    })
    .await;
    assert_eq!(read(&gateway), signed);
    assert!(concerns(&gateway).is_empty());
}

#[tokio::test]
async fn an_older_list_does_not_take_the_place_of_a_newer_one() {
    let gateway = TestGateway::start();
    let path = gateway.home().join("certs/agency-ca.crl.pem");
    let older = std::fs::read_to_string(&path).unwrap();
    let police = gateway.agency(POLICE);
    assert_eq!(police.get("/v1/whoami").await.status, 200);
    assert!(revoke(&gateway, POLICE));
    let newer = std::fs::read_to_string(&path).unwrap();
    let is_out =
        async || police.request(hyper::Method::GET, "/v1/whoami", &[], Vec::new()).await.is_err();
    assert!(is_out().await);

    std::fs::write(&path, &older).unwrap();
    let reloaded = Command::new("curl")
        .args(["--silent", "--write-out", "%{http_code}", "-X", "POST"])
        .arg(format!("{}/reload", gateway.local))
        .output()
        .unwrap();
    let answer = text(&reloaded.stdout);
    assert!(answer.ends_with("500") && answer.contains("older than the one in use"), "{answer}");
    let is_shown = |gateway: &TestGateway| {
        concerns(gateway).iter().any(|one| one.contains("older than the one in use"))
    };
    assert!(is_shown(&gateway));
    assert!(is_out().await);
    assert_eq!(gateway.agency(TRUST).get("/v1/whoami").await.status, 200);
    // What it publishes is still the newer.
    let stem = acts(&gateway, "+4d")
        .iter()
        .find_map(|one| {
            let says = one["says"].as_str().unwrap();
            says.starts_with("agencies-").then(|| says.split(':').next().unwrap().to_owned())
        })
        .unwrap();
    let served = gateway.folder().join("served.crl");
    let fetched = Command::new("curl")
        .args(["--silent", "--fail", "--cacert"])
        .arg(gateway.agencies().join("ca.pem"))
        .arg("--output")
        .arg(&served)
        .arg(format!("{}/pki/{stem}.crl", gateway.enrolment))
        .status();
    assert!(fetched.unwrap().success());
    let served = served.to_str().unwrap();
    let number = openssl(&["crl", "-inform", "DER", "-noout", "-crlnumber", "-in", served]);
    assert_ne!(number, list_says(&gateway, "certs/agency-ca.crl.pem", "-crlnumber"));

    // Put back, by whatever way it came, and nothing is the matter any more.
    std::fs::write(&path, &newer).unwrap();
    assert_eq!(number, list_says(&gateway, "certs/agency-ca.crl.pem", "-crlnumber"));
    let reloaded = gateway.run(&["cert", "crl"]);
    assert!(reloaded.status.success(), "{}", text(&reloaded.stderr));
    eventually("no concern is left", async || concerns(&gateway).is_empty()).await;
    assert!(is_out().await);
}

/// Nobody has to tell the gateway that the files are good again.
#[tokio::test]
async fn an_older_list_that_is_gone_again_is_no_concern() {
    let gateway = TestGateway::start();
    let path = gateway.home().join("certs/agency-ca.crl.pem");
    let older = std::fs::read_to_string(&path).unwrap();
    assert!(gateway.run(&["cert", "crl"]).status.success());
    let newer = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &older).unwrap();
    eventually("it is noticed", async || !concerns(&gateway).is_empty()).await;
    std::fs::write(&path, &newer).unwrap();
    eventually("it is noticed again", async || concerns(&gateway).is_empty()).await;
}

#[tokio::test]
async fn the_gateways_own_certificates_are_renewed_and_served_without_a_restart() {
    let mut gateway = TestGateway::made_long_ago(&case::partners(&[]), "-62d");
    let own = ["certs/gateway.pem", "certs/push.pem"];
    let serials = |gateway: &TestGateway| {
        own.map(|name| {
            let path = gateway.home().join(name);
            openssl(&["x509", "-noout", "-serial", "-in", path.to_str().unwrap()])
        })
    };
    let served = |gateway: &TestGateway| {
        let address = gateway.url.trim_start_matches("https://").to_owned();
        let ca = gateway.agencies().join("ca.pem");
        let shown = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-servername", "localhost"])
            .args(["-verify_return_error", "-verify_hostname", "localhost", "-CAfile"])
            .arg(ca)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let path = gateway.folder().join("served.pem");
        std::fs::write(&path, &shown.stdout).unwrap();
        let path = path.to_str().unwrap();
        openssl(&["x509", "-noout", "-serial", "-in", path])
    };
    let before = serials(&gateway);
    gateway.serve();
    let pid = gateway.pid();
    eventually("both are new", async || {
        let now = serials(&gateway);
        now[0] != before[0] && now[1] != before[1]
    })
    .await;
    eventually("the new one is served", async || served(&gateway).contains(&serials(&gateway)[0]))
        .await;
    let served = gateway.folder().join("served.pem");
    // It has more than sixty days left.
    openssl(&["x509", "-noout", "-checkend", "5184000", "-in", served.to_str().unwrap()]);
    assert_eq!(gateway.pid(), pid);
    assert_eq!(gateway.agency(POLICE).get("/v1/whoami").await.status, 200);
    assert!(concerns(&gateway).is_empty());
    // On the register, and by nobody's hand; agencies' own certificates are theirs to renew.
    let mut found = acts(&gateway, "+0d");
    found.retain(|one| one["agency"].is_null());
    assert_eq!(found, [] as [Value; 0]);
    gateway.stop();
    let entries = gateway.entries();
    let by_timer = entries
        .iter()
        .filter(|one| one["event"] == "certificate-issued" && one.to_string().contains("timer"));
    assert_eq!(by_timer.count(), 2);
    gateway.verify_log();
}

#[tokio::test]
async fn a_list_that_is_gone_is_signed_anew() {
    let gateway = TestGateway::start();
    let list = gateway.home().join("certs/agency-ca.crl.pem");
    std::fs::remove_file(&list).unwrap();
    eventually("a concern", async || !concerns(&gateway).is_empty() || list.exists()).await;
    // Not to wait for the next minute.
    let url = format!("{}/reload", gateway.local);
    Command::new("curl").args(["--silent", "-X", "POST", &url]).output().unwrap();
    eventually("a new list", async || list.exists()).await;
    eventually("no concern", async || concerns(&gateway).is_empty()).await;
    assert_eq!(gateway.agency(POLICE).get("/v1/whoami").await.status, 200);
}

#[tokio::test]
async fn a_second_issuer_takes_nothing_from_the_first() {
    let gateway = TestGateway::start();
    let second = gateway.run(&["issuer"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another issuer answers"), "{}", text(&second.stderr));
    // A gateway's child ends as well, though its parent lives: only then is it started again.
    let mut child = Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
        .args(["issuer", "--child", "--home"])
        .arg(gateway.home())
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let parent = child.stdin.take();
    let child = RefCell::new(child);
    let ended = async || child.borrow_mut().try_wait().unwrap().is_some();
    eventually("the second child ends", ended).await;
    assert_eq!(child.borrow_mut().wait().unwrap().code(), Some(1));
    drop(parent);
    gateway.certify(POLICE);
    assert!(concerns(&gateway).is_empty(), "{:?}", concerns(&gateway));
}
