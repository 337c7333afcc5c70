//! Enrolment over EST, with curl and openssl as the agency's whole equipment.

use std::path::{Path, PathBuf};
use std::process::Command;

use mash_gateway::message::Role;
use serde_json::Value;

use crate::support::{CLOSED, POLICE, SURGERY, SUSPENDED, TRUST, TestGateway, text};

/// An agency's folder: its keys, requests and certificates.
pub(crate) struct Enrolling<'g> {
    gateway: &'g TestGateway,
    folder: PathBuf,
}

/// What curl got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    headers: String,
    pub(crate) body: Vec<u8>,
}

impl<'g> Enrolling<'g> {
    pub(crate) fn new(gateway: &'g TestGateway, name: &str) -> Self {
        let folder = gateway.folder().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(gateway.home().join("certs/root.pem"), folder.join("ca.pem")).unwrap();
        Self { gateway, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes a key and a request for it.
    pub(crate) fn request(&self, name: &str, curve: &str) -> PathBuf {
        let (key, csr) = (self.path(&format!("{name}.key")), self.path(&format!("{name}.csr")));
        let made = Command::new("openssl")
            .args(["req", "-new", "-newkey", "ec", "-nodes", "-sha256", "-subj", "/CN=whoever"])
            .args(["-pkeyopt", &format!("ec_paramgen_curve:{curve}")])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&csr)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        csr
    }

    /// Posts a request to an EST operation.
    fn post(&self, operation: &str, csr: &Path, arguments: &[&str]) -> Got {
        let (headers, body) = (self.path("headers"), self.path("body"));
        let asked = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
            .arg(self.path("ca.pem"))
            .args(["--header", "Content-Type: application/pkcs10", "--data-binary"])
            .arg(format!("@{}", csr.display()))
            .args(arguments)
            .args(["--write-out", "%{http_code}", "--dump-header"])
            .arg(&headers)
            .arg("--output")
            .arg(&body)
            .arg(format!("{}/.well-known/est/{operation}", self.gateway.enrolment))
            .output()
            .unwrap();
        assert!(asked.status.success(), "{}", text(&asked.stderr));
        Got {
            status: text(&asked.stdout).parse().unwrap(),
            headers: std::fs::read_to_string(headers).unwrap().to_lowercase(),
            body: std::fs::read(body).unwrap(),
        }
    }

    /// Enrols with a token.
    pub(crate) fn enrol(&self, agency: &str, token: &str, csr: &Path) -> Got {
        self.post("simpleenroll", csr, &["--user", &format!("{agency}:{token}")])
    }

    /// The one certificate in an answer, written as `name.pem`.
    pub(crate) fn take(&self, got: &Got, name: &str) -> PathBuf {
        assert_eq!(got.status, 200, "{}", text(&got.body));
        assert!(got.headers.contains("application/pkcs7-mime"), "{}", got.headers);
        let (base64, der) = (self.path("answer.b64"), self.path("answer.p7"));
        std::fs::write(&base64, &got.body).unwrap();
        let decoded =
            Command::new("openssl").args(["base64", "-A", "-d", "-in"]).arg(&base64).output();
        std::fs::write(&der, decoded.unwrap().stdout).unwrap();
        let pem = self.path(&format!("{name}.pem"));
        let shown = Command::new("openssl")
            .args(["pkcs7", "-inform", "DER", "-print_certs", "-in"])
            .arg(&der)
            .arg("-out")
            .arg(&pem)
            .output()
            .unwrap();
        assert!(shown.status.success(), "{}", text(&shown.stderr));
        let count = std::fs::read_to_string(&pem).unwrap().matches("BEGIN CERTIFICATE").count();
        assert_eq!(count, 1);
        pem
    }

    /// Whom the partner API takes the bearer of `name.pem` for; none when it refuses.
    fn whoami(&self, name: &str) -> Option<String> {
        let asked = Command::new("curl")
            .args(["--silent", "--max-time", "60", "--cacert"])
            .arg(self.path("ca.pem"))
            .arg("--cert")
            .arg(self.path(&format!("{name}.pem")))
            .arg("--key")
            .arg(self.path(&format!("{name}.key")))
            .arg(format!("{}/v1/whoami", self.gateway.url))
            .output()
            .unwrap();
        let answer: Value = serde_json::from_slice(&asked.stdout).ok()?;
        Some(answer["agency"].as_str()?.to_owned())
    }

    /// Renews what `name` has, for another request.
    pub(crate) fn renew(&self, name: &str, csr: &Path) -> Got {
        let path = |ending: &str| self.path(&format!("{name}.{ending}")).display().to_string();
        self.post("simplereenroll", csr, &["--cert", &path("pem"), "--key", &path("key")])
    }
}

pub(crate) fn token(gateway: &TestGateway, agency: &str, arguments: &[&str]) -> String {
    let made = gateway.run(&[&["cert", "token", agency, "--json"], arguments].concat());
    assert!(made.status.success(), "{}", text(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    made["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_agency_enrols_renews_and_is_told_nothing_it_need_not_know() {
    let mut gateway = TestGateway::start();
    let good = token(&gateway, SURGERY, &[]);
    let agency = Enrolling::new(&gateway, "surgery");
    let csr = agency.request("first", "P-256");

    // Not without the right token, and why is not said.
    let nothing = agency.post("simpleenroll", &csr, &[]);
    assert_eq!(nothing.status, 401);
    assert!(nothing.headers.contains("www-authenticate: basic"), "{}", nothing.headers);
    let wrong = agency.enrol(SURGERY, "wrong", &csr);
    let others = agency.enrol(POLICE, &good, &csr);
    let unknown = agency.enrol("nobody-we-know", &good, &csr);
    for refused in [&wrong, &others, &unknown] {
        assert_eq!((refused.status, &refused.body), (401, &nothing.body));
    }

    // With it, once.
    agency.take(&agency.enrol(SURGERY, &good, &csr), "first");
    assert_eq!(agency.whoami("first").as_deref(), Some(SURGERY), "good as soon as it is given");
    let again = agency.enrol(SURGERY, &good, &csr);
    assert_eq!((again.status, &again.body), (401, &nothing.body));

    // Renewal: over mutual TLS, with a new key, whatever the request's name says.
    assert_eq!(agency.post("simplereenroll", &csr, &[]).status, 403, "no certificate");
    let same_key = agency.renew("first", &csr);
    assert_eq!(same_key.status, 400);
    assert!(text(&same_key.body).contains("new key"), "{}", text(&same_key.body));
    let second = agency.request("second", "P-384");
    agency.take(&agency.renew("first", &second), "second");
    assert_eq!(agency.whoami("second").as_deref(), Some(SURGERY));
    assert_eq!(agency.whoami("first").as_deref(), Some(SURGERY), "good to its end");

    // What is revoked renews nothing.
    let revoked = gateway.run(&[
        "cert",
        "revoke",
        SURGERY,
        "--reason",
        "key-compromise",
        "--confirm",
        SURGERY,
    ]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    let third = agency.request("third", "P-256");
    let refused = Command::new("curl")
        .args(["--silent", "--cacert"])
        .arg(agency.path("ca.pem"))
        .arg("--cert")
        .arg(agency.path("second.pem"))
        .arg("--key")
        .arg(agency.path("second.key"))
        .arg("--data-binary")
        .arg(format!("@{}", third.display()))
        .arg(format!("{}/.well-known/est/simplereenroll", gateway.enrolment))
        .output()
        .unwrap();
    assert!(!text(&refused.stdout).contains("MII"), "{}", text(&refused.stdout));

    drop(agency);
    gateway.stop();
    let entries = gateway.entries();
    let granted = |grant: &str| {
        let is_it = |fields: &&Value| fields["grant"] == grant && fields["agency"] == SURGERY;
        entries.iter().filter(is_it).count()
    };
    assert_eq!((granted("token"), granted("renewal")), (1, 1));
    let refused = |code: &str| entries.iter().any(|fields| fields["problem"] == code);
    for code in ["token-missing", "token-unknown", "token-used", "request-unusable"] {
        assert!(refused(code), "{code} is in the log");
    }
    let log = format!("{entries:?}{}", gateway.log());
    assert!(!log.contains(&good), "the token itself is nowhere");
    gateway.holds_nowhere(&[&good]);
    gateway.verify_log();
}

/// A person's certificate is renewed for the same person in the same role: it never becomes the
/// agency's system's, which may do more.
#[tokio::test]
async fn a_person_stays_that_person() {
    let gateway = TestGateway::start();
    let person = Enrolling::new(&gateway, "person");
    drop(gateway.desk(SURGERY, Role::Deputy));
    for ending in ["pem", "key"] {
        let from = gateway.folder().join(format!("{SURGERY}.deputy.{ending}"));
        std::fs::copy(from, person.path(&format!("first.{ending}"))).unwrap();
    }
    let csr = person.request("second", "P-256");
    person.take(&person.renew("first", &csr), "second");
    let shown = Command::new("openssl")
        .args(["x509", "-noout", "-subject", "-ext", "subjectAltName", "-in"])
        .arg(person.path("second.pem"))
        .output()
        .unwrap();
    let shown = text(&shown.stdout);
    assert!(shown.contains("Wilhelmina Tarn"), "{shown}");
    assert!(shown.ends_with("/agency/test-surgery/desk/deputy\n"), "{shown}");
    // Nor is the same key certified for the system afterwards.
    let as_system = gateway.run(&["cert", "issue", SURGERY, "--csr", csr.to_str().unwrap()]);
    assert_eq!(as_system.status.code(), Some(2), "{}", text(&as_system.stderr));
}

#[tokio::test]
async fn whoever_is_suspended_enrols_and_renews_nothing() {
    let gateway = TestGateway::start();
    // The token was made before.
    let early = token(&gateway, TRUST, &[]);
    let suspended = gateway.run(&["partner", "suspend", TRUST, "--confirm", TRUST]);
    assert!(suspended.status.success(), "{}", text(&suspended.stderr));
    let late = Enrolling::new(&gateway, "late");
    assert_eq!(late.enrol(TRUST, &early, &late.request("late", "P-256")).status, 401);
    let agency = Enrolling::new(&gateway, "suspended");
    let csr = agency.request("new", "P-256");
    for ending in ["pem", "key"] {
        let from = gateway.agencies().join(format!("{SUSPENDED}.{ending}"));
        std::fs::copy(from, agency.path(&format!("old.{ending}"))).unwrap();
    }
    assert_eq!(agency.renew("old", &csr).status, 403);
}

#[tokio::test]
async fn a_key_that_needs_approval_waits_for_an_operator() {
    let gateway = TestGateway::start();
    let good = token(&gateway, TRUST, &["--approval"]);
    let agency = Enrolling::new(&gateway, "trust");
    let csr = agency.request("first", "P-256");
    for _ in 0..2 {
        let waiting = agency.enrol(TRUST, &good, &csr);
        assert_eq!(waiting.status, 202);
        assert!(waiting.headers.contains("retry-after: "), "{}", waiting.headers);
    }
    // Somebody else's key under the same token is not what will be approved.
    let other = agency.request("other", "P-256");
    assert_eq!(agency.enrol(TRUST, &good, &other).status, 401);
    let listed = gateway.run(&["cert", "approve", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let spki = Command::new("sh")
        .args([
            "-c",
            "openssl req -in \"$0\" -pubkey -noout | openssl pkey -pubin -outform DER | \
                      openssl dgst -sha256 -c | sed 's/.*= //'",
        ])
        .arg(&csr)
        .output()
        .unwrap();
    let key = text(&spki.stdout).trim().to_uppercase();
    assert_eq!(listed["waiting"][0]["keySha256"], key);
    let unseen = gateway.run(&["cert", "approve", TRUST]);
    assert_eq!(unseen.status.code(), Some(2), "not without comparing: {}", text(&unseen.stderr));
    let wrong = gateway.run(&["cert", "approve", TRUST, "--key", "0000000000"]);
    assert_eq!(wrong.status.code(), Some(4), "{}", text(&wrong.stderr));
    let approved = gateway.run(&["cert", "approve", TRUST, "--key", &key[..23]]);
    assert!(approved.status.success(), "{}", text(&approved.stderr));
    agency.take(&agency.enrol(TRUST, &good, &csr), "first");
    assert_eq!(agency.whoami("first").as_deref(), Some(TRUST));
    let nothing = gateway.run(&["cert", "approve", TRUST, "--key", &key[..23]]);
    assert_eq!(nothing.status.code(), Some(4));
    gateway.verify_log();
}

#[tokio::test]
async fn what_cannot_be_certified_is_refused_and_uses_no_token_up() {
    let gateway = TestGateway::start();
    let good = token(&gateway, TRUST, &[]);
    let agency = Enrolling::new(&gateway, "trust");
    let write = |name: &str, bytes: &[u8]| {
        let path = agency.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let csr = agency.request("first", "P-256");
    let police = gateway.agencies().join(format!("{POLICE}.csr"));
    let rsa = agency.path("rsa.csr");
    let made = Command::new("openssl")
        .args(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout"])
        .arg(agency.path("rsa.key"))
        .arg("-out")
        .arg(&rsa)
        .output();
    assert!(made.unwrap().status.success());
    for (what, body, status, says) in [
        ("nothing", write("empty", b""), 400, "damaged"),
        ("noise", write("noise", &[0xff; 300]), 400, "damaged"),
        ("half", write("half", &std::fs::read(&csr).unwrap()[..200]), 400, "exactly one"),
        ("a large body", write("large", &[b'A'; 17 * 1024]), 413, "large"),
        ("RSA", rsa, 400, "P-256"),
        ("another agency's key", police, 400, "new one"),
        ("a key", agency.path("first.key"), 400, "private key"),
    ] {
        let got = agency.enrol(TRUST, &good, &body);
        assert_eq!(got.status, status, "{what}: {}", text(&got.body));
        assert!(text(&got.body).contains(says), "{what}: {}", text(&got.body));
    }
    // Without armour, and as DER: what other clients send.
    let der = agency.path("first.der");
    let made = Command::new("openssl")
        .args(["req", "-outform", "DER", "-in"])
        .arg(&csr)
        .arg("-out")
        .arg(&der)
        .output();
    assert!(made.unwrap().status.success());
    agency.take(&agency.enrol(TRUST, &good, &der), "first");
    let second = token(&gateway, TRUST, &[]);
    let bare: String = std::fs::read_to_string(agency.request("second", "P-256"))
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    agency.take(&agency.enrol(TRUST, &second, &write("bare", bare.as_bytes())), "second");
}

#[tokio::test]
async fn tokens_end_and_whoever_tries_too_often_is_told_to_stop() {
    let gateway = TestGateway::start();
    for stopped in [CLOSED, SUSPENDED] {
        let refused = gateway.run(&["cert", "token", stopped]);
        assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stdout));
    }
    let unknown = gateway.run(&["cert", "token", "nobody-we-know"]);
    assert_eq!(unknown.status.code(), Some(4), "{}", text(&unknown.stderr));
    let never = gateway.run(&["cert", "token", TRUST, "--valid-hours", "0"]);
    assert_eq!(never.status.code(), Some(2));
    let good = token(&gateway, TRUST, &[]);
    let ended = token(&gateway, SURGERY, &[]);
    let sql = "UPDATE enrolment_tokens SET expires_ms = made_ms WHERE agency = 'test-surgery'";
    let edited = Command::new("sqlite3").arg(gateway.database()).arg(sql).status().unwrap();
    assert!(edited.success());
    let agency = Enrolling::new(&gateway, "trust");
    let csr = agency.request("first", "P-256");
    assert_eq!(agency.enrol(SURGERY, &ended, &csr).status, 401);
    let statuses: Vec<_> = (0..12).map(|_| agency.enrol(TRUST, "wrong", &csr).status).collect();
    assert_eq!(statuses[0], 401);
    assert_eq!(*statuses.last().unwrap(), 429, "{statuses:?}");
    let stopped = agency.enrol(TRUST, "wrong", &csr);
    assert_eq!(stopped.status, 429);
    assert!(stopped.headers.contains("retry-after: "), "{}", stopped.headers);
    // Whoever has the right one does not suffer for who else is behind the same address.
    agency.take(&agency.enrol(TRUST, &good, &csr), "first");
}

/// Every certificate is kept on the register for good.
#[tokio::test]
async fn an_agency_renews_only_so_often() {
    let gateway = TestGateway::start();
    let renewals = |agency: &str| {
        let enrolling = Enrolling::new(&gateway, agency);
        for ending in ["pem", "key"] {
            let from = gateway.agencies().join(format!("{agency}.{ending}"));
            std::fs::copy(from, enrolling.path(&format!("old.{ending}"))).unwrap();
        }
        move |count: usize| -> Vec<Got> {
            let new = |n| enrolling.renew("old", &enrolling.request(&format!("new{n}"), "P-256"));
            (0..count).map(new).collect()
        }
    };
    let got = renewals(TRUST)(12);
    let (good, beyond) = got.split_at(10);
    assert!(good.iter().all(|got| got.status == 200), "{good:?}");
    // One more may have become due meanwhile.
    let last = &beyond[1];
    assert_eq!(last.status, 429, "{beyond:?}");
    assert!(last.headers.contains("retry-after: 360"), "{}", last.headers);
    assert_eq!(renewals(POLICE)(1)[0].status, 200, "another agency's are its own");
}

#[tokio::test]
async fn anybody_can_have_the_authorities_and_their_lists() {
    let gateway = TestGateway::start();
    let agency = Enrolling::new(&gateway, "anybody");
    let fetch = |path: &str| {
        let asked = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--cacert"])
            .arg(agency.path("ca.pem"))
            .arg(format!("{}{path}", gateway.enrolment))
            .output()
            .unwrap();
        asked.status.success().then_some(asked.stdout)
    };
    let authorities = fetch("/.well-known/est/cacerts").unwrap();
    std::fs::write(agency.path("ca.b64"), authorities).unwrap();
    let names = Command::new("sh")
        .args([
            "-c",
            "openssl base64 -A -d -in \"$0\" | openssl pkcs7 -inform DER -print_certs -noout",
        ])
        .arg(agency.path("ca.b64"))
        .output()
        .unwrap();
    let names = text(&names.stdout);
    for name in ["root", "agencies 1"] {
        assert!(names.contains(&format!("subject=CN = {} {name}\n", crate::support::DOMAIN)));
    }
    let ca = std::fs::read_to_string(gateway.home().join("certs/agency-ca.pem")).unwrap();
    let stem = mash_gateway::pki::ca::authority_certificates(&ca).unwrap()[0].file_stem.clone();
    let list = |what: &str| {
        std::fs::write(agency.path("list.crl"), fetch(&format!("/pki/{stem}.crl")).unwrap())
            .unwrap();
        let shown = Command::new("openssl")
            .args(["crl", "-inform", "DER", "-noout", what, "-in"])
            .arg(agency.path("list.crl"))
            .output()
            .unwrap();
        text(&shown.stdout)
    };
    let before = list("-text");
    assert!(before.contains("No Revoked Certificates"), "{before}");
    let revoked =
        gateway.run(&["cert", "revoke", POLICE, "--reason", "superseded", "--confirm", POLICE]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    let after = list("-text");
    assert!(after.contains("Superseded"), "{after}");
    assert!(fetch(&format!("/pki/{stem}.crt")).is_some());
    // Certificates say where, and it is the enrolment door's usual address.
    let says = Command::new("openssl")
        .args(["x509", "-noout", "-ext", "crlDistributionPoints", "-in"])
        .arg(gateway.agencies().join(format!("{POLICE}.pem")))
        .output()
        .unwrap();
    let address = format!("URI:http://localhost:8445/pki/{stem}.crl");
    assert!(text(&says.stdout).contains(&address), "{}", text(&says.stdout));
    // Without TLS too, as certificates say; but nothing else.
    let plain = |path: &str| {
        let url = format!("{}{path}", gateway.enrolment.replace("https://", "http://"));
        let mut asked = Command::new("curl");
        let asked = asked.args(["--silent", "--fail"]).arg(url).output().unwrap();
        asked.status.success().then_some(asked.stdout)
    };
    assert_eq!(plain(&format!("/pki/{stem}.crl")), fetch(&format!("/pki/{stem}.crl")));
    assert!(plain("/.well-known/est/cacerts").is_none());
    for nothing in ["/pki/../keys/tls-key.pem", "/pki/agencies.crl", "/v1/whoami", "/"] {
        assert!(fetch(nothing).is_none(), "{nothing}");
    }
}

/// Whoever has an agency's key and makes certificates with it as fast as he can is left with none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_is_not_outrun() {
    let gateway = TestGateway::start();
    let good = token(&gateway, POLICE, &[]);
    let agency = Enrolling::new(&gateway, "thief");
    for ending in ["pem", "key"] {
        let from = gateway.agencies().join(format!("{POLICE}.{ending}"));
        std::fs::copy(from, agency.path(&format!("stolen.{ending}"))).unwrap();
    }
    let requests: Vec<_> =
        (0..RENEWALS).map(|i| agency.request(&format!("new{i}"), "P-256")).collect();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        let (agency, gateway, is_over) = (&agency, &gateway, &is_over);
        for half in requests.chunks(RENEWALS / 2) {
            threads.spawn(move || {
                for csr in half {
                    let mut asked = Command::new("curl");
                    let asked = asked
                        .args(["--silent", "--cacert"])
                        .arg(agency.path("ca.pem"))
                        .arg("--cert")
                        .arg(agency.path("stolen.pem"))
                        .arg("--key")
                        .arg(agency.path("stolen.key"))
                        .arg("--data-binary")
                        .arg(format!("@{}", csr.display()))
                        .arg(format!("{}/.well-known/est/simplereenroll", gateway.enrolment));
                    asked.output().unwrap();
                    if is_over.load(std::sync::atomic::Ordering::SeqCst) {
                        break;
                    }
                }
            });
        }
        let revoked = gateway.run(&[
            "cert",
            "revoke",
            POLICE,
            "--reason",
            "key-compromise",
            "--confirm",
            POLICE,
        ]);
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    });
    let listed = gateway.run(&["cert", "list", POLICE, "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let all = listed["certificates"].as_array().unwrap();
    assert!(all.iter().all(|one| one["standing"] == "revoked"), "{all:?}");
    // What the agency may read of it is described.
    gateway.certify(TRUST);
    let again =
        gateway.run(&["cert", "revoke", TRUST, "--reason", "superseded", "--confirm", TRUST]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    let fresh = agency.request("trust", "P-256");
    let csr = fresh.to_str().unwrap();
    let out = gateway.agencies();
    let issued =
        gateway.run(&["cert", "issue", TRUST, "--csr", csr, "--out", out.to_str().unwrap()]);
    assert!(issued.status.success(), "{}", text(&issued.stderr));
    std::fs::copy(agency.path("trust.key"), out.join(format!("{TRUST}.key"))).unwrap();
    let own = gateway.agency(TRUST).get_json("/v1/log/entries").await.to_string();
    assert!(own.contains("enrolment-tokens-voided"), "{own}");
    // Nor does the token help that was on its way to the agency.
    let csr = agency.request("late", "P-256");
    assert_eq!(agency.enrol(POLICE, &good, &csr).status, 401);
    gateway.verify_log();
}

#[tokio::test]
async fn a_certificate_revoked_alone_names_its_successors_and_can_be_made_worse() {
    let gateway = TestGateway::start();
    let agency = Enrolling::new(&gateway, "police");
    for ending in ["pem", "key"] {
        let from = gateway.agencies().join(format!("{POLICE}.{ending}"));
        std::fs::copy(from, agency.path(&format!("first.{ending}"))).unwrap();
    }
    let csr = agency.request("second", "P-256");
    agency.take(&agency.renew("first", &csr), "second");
    let serial = |name: &str| {
        let shown = Command::new("openssl")
            .args(["x509", "-noout", "-serial", "-in"])
            .arg(agency.path(&format!("{name}.pem")))
            .output()
            .unwrap();
        text(&shown.stdout).trim().trim_start_matches("serial=").to_lowercase()
    };
    let (first, second) = (serial("first"), serial("second"));
    let revoke = |serial: &str, reason: &str| {
        let arguments = ["cert", "revoke", "--serial", serial, "--reason", reason];
        let told = gateway.run(&[&arguments[..], &["--confirm", POLICE, "--json"]].concat());
        assert!(told.status.success(), "{}", text(&told.stderr));
        serde_json::from_slice::<Value>(&told.stdout).unwrap()
    };
    // By the beginning of its serial, as people read them.
    let told = revoke(&first[..8], "superseded");
    assert_eq!(told["revoked"], serde_json::json!([first]));
    assert_eq!(told["stillGood"], serde_json::json!([second]));
    assert_eq!(agency.whoami("second").as_deref(), Some(POLICE));
    // It turns out to have been stolen: its key is never certified again.
    let told = revoke(&first, "key-compromise");
    assert_eq!(told["revoked"], serde_json::json!([first]));
    let again = gateway.run(&[
        "cert",
        "issue",
        POLICE,
        "--csr",
        gateway.agencies().join(format!("{POLICE}.csr")).to_str().unwrap(),
    ]);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));
    let told = revoke(&first, "superseded");
    assert_eq!(told["revoked"], serde_json::json!([]), "and never less bad again");
    gateway.verify_log();
}

/// Renewals that a thief tries while he is being revoked.
const RENEWALS: usize = 40;
