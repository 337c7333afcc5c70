//! Certificates for people: who gets which, PKCS#12 files that other programs read, and fingerprints
//! for the telephone.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use mash_gateway::message::Role;
use mash_gateway::pki::fingerprint::spoken;
use mash_gateway::pki::holder::Holder;
use serde_json::Value;

use crate::support::{HUB, POLICE, SUSPENDED, TestGateway, case, text};

fn openssl(arguments: &[&str], folder: &Path) -> Output {
    Command::new("openssl").args(arguments).current_dir(folder).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// How many certificates were issued to people.
fn desks(gateway: &TestGateway) -> usize {
    let entries = gateway.entries();
    let profiles = entries.iter().filter_map(|fields| fields["profile"].as_str());
    profiles.filter(|profile| Role::parse(profile).is_some()).count()
}

#[test]
fn who_can_be_given_which_role() {
    let gateway = TestGateway::made(&case::partners(&[]));
    gateway.request("desk");
    let issue = |agency: &str, name: &str, role: &str| {
        gateway.run(&[
            "cert", "issue", agency, "--csr", "desk.csr", "--desk", name, "--role", role, "--out",
            "out",
        ])
    };
    for (agency, role, others) in [
        (POLICE, "mash-team-manager", "auditor, contact-officer, deputy"),
        (POLICE, "operator", "auditor, contact-officer, deputy"),
        (HUB, "deputy", "auditor, mash-health-representative, mash-operational-lead, operator"),
    ] {
        let refused = issue(agency, "A. Example", role);
        assert_eq!(refused.status.code(), Some(2), "{agency} {role}");
        assert!(text(&refused.stderr).contains(others), "{}", text(&refused.stderr));
    }
    let unknown = issue(POLICE, "A. Example", "chief");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("mash-team-manager"), "{}", text(&unknown.stderr));
    for (name, why) in [
        ("J.Smith", "\"J. Smith\""),
        ("", "1 to 64 characters"),
        ("two\nlines", "in one line"),
        ("A\u{202e}B", "invisible"),
    ] {
        let refused = issue(POLICE, name, "deputy");
        assert_eq!(refused.status.code(), Some(2), "{name:?}");
        assert!(text(&refused.stderr).contains(why), "{name:?}: {}", text(&refused.stderr));
    }
    // A name without a role, a role without a name, and neither way to a key.
    for half in [["--desk", "A. Example"], ["--role", "deputy"]] {
        let refused =
            gateway.run(&["cert", "issue", POLICE, "--csr", "desk.csr", half[0], half[1]]);
        assert_eq!(refused.status.code(), Some(2), "{half:?}");
    }
    assert_eq!(gateway.run(&["cert", "issue", POLICE]).status.code(), Some(2));
    let both = gateway.run(&["cert", "issue", POLICE, "--csr", "desk.csr", "--p12", "desk.p12"]);
    assert_eq!(both.status.code(), Some(2));
    assert!(!gateway.folder().join("out").exists(), "nothing was issued");
    assert_eq!(desks(&gateway), 0);
}

/// The names that are taken are those that OpenSSL, too, accepts below the authority's constraints.
#[test]
fn certificates_of_people_verify_whatever_their_names() {
    let gateway = TestGateway::start();
    let folder = gateway.folder();
    let verify = |file: &str| {
        openssl(
            &[
                "verify",
                "-x509_strict",
                "-purpose",
                "sslclient",
                "-CAfile",
                "agencies/ca.pem",
                "-untrusted",
                "home/certs/agency-ca.pem",
                file,
            ],
            folder,
        )
    };
    for (at, name) in
        ["J. Smith", "Zoë O'Brien", "Seán O’Néill", "Łucja-Maria Żak", "李小龍", "Dr.Zoë"]
            .into_iter()
            .enumerate()
    {
        let out = format!("named-{at}");
        gateway.request("desk");
        let issued = gateway.run(&[
            "cert",
            "issue",
            POLICE,
            "--csr",
            "desk.csr",
            "--desk",
            name,
            "--role",
            "contact-officer",
            "--out",
            &out,
            "--json",
        ]);
        let serial = json(&issued)["serial"].as_str().unwrap().to_owned();
        let file = format!("{out}/{POLICE}.contact-officer.pem");
        let verified = verify(&file);
        assert!(verified.status.success(), "{name}: {}", text(&verified.stderr));
        let shown = openssl(
            &[
                "x509",
                "-in",
                &file,
                "-noout",
                "-subject",
                "-nameopt",
                "utf8",
                "-ext",
                "subjectAltName",
            ],
            folder,
        );
        let shown = text(&shown.stdout);
        assert!(
            shown.contains(&format!("CN = {name}")) || shown.contains(&format!("CN={name}")),
            "{shown}"
        );
        let uri = "URI:spiffe://mash.test.example/agency/test-police/desk/contact-officer\n";
        assert!(shown.ends_with(uri), "{shown}");
        let shown = json(&gateway.run(&["cert", "show", &serial, "--json"]));
        assert_eq!((&shown["holder"], &shown["role"]), (&name.into(), &"contact-officer".into()));
    }
    // And those that are refused would indeed be.
    let stolen = gateway.stolen_authority();
    for name in ["J.Smith", "a.b.example", "J_K.Smith"] {
        assert!(Holder::parse(name).is_err());
        let (chain, _) = stolen.client(&[&uri()], |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
        });
        std::fs::write(folder.join("refused.pem"), chain).unwrap();
        let verified = verify("refused.pem");
        assert!(text(&verified.stderr).contains("excluded subtree violation"), "{name}");
    }
    // No name is anywhere but in the register.
    gateway.holds_nowhere_but(&["gateway.db"], &["Seán", "Łucja", "J. Smith"]);
}

fn uri() -> String {
    "spiffe://mash.test.example/agency/test-police/desk/deputy".to_owned()
}

fn pack(gateway: &TestGateway, file: &str, more: &[&str]) -> Output {
    let mut arguments = vec![
        "cert",
        "issue",
        POLICE,
        "--p12",
        file,
        "--desk",
        "A. Example",
        "--role",
        "deputy",
        "--out",
        "handed-out",
    ];
    arguments.extend(more);
    gateway.run(&arguments)
}

#[tokio::test]
async fn a_p12_file_holds_all_that_its_holder_needs() {
    let gateway = TestGateway::start();
    let folder = gateway.folder();
    let mode =
        |file: &str| std::fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o777;
    for (format, cipher) in
        [("modern", "PBES2, PBKDF2, AES-256-CBC"), ("legacy-3des", "3-KeyTripleDES")]
    {
        let (file, password) = (format!("{format}.p12"), format!("{format}.txt"));
        let issued =
            pack(&gateway, &file, &["--format", format, "--password-file", &password, "--json"]);
        let told = json(&issued);
        assert_eq!((&told["desk"], &told["p12"]), (&"deputy".into(), &file.as_str().into()));
        assert_eq!(text(&issued.stderr).contains("triple DES is weak"), format == "legacy-3des");
        assert_eq!((mode(&file), mode(&password)), (0o600, 0o600));
        let words = std::fs::read_to_string(folder.join(&password)).unwrap();
        assert!(words.trim().len() >= 20);

        let from = format!("file:{password}");
        let info = openssl(&["pkcs12", "-in", &file, "-info", "-noout", "-passin", &from], folder);
        assert!(info.status.success(), "{}", text(&info.stderr));
        assert!(text(&info.stderr).contains(cipher), "{}", text(&info.stderr));
        let opened = openssl(&["pkcs12", "-in", &file, "-nodes", "-passin", &from], folder);
        let opened = text(&opened.stdout);
        assert_eq!(opened.matches("BEGIN CERTIFICATE").count(), 3, "leaf, issuing authority, root");
        assert_eq!(opened.matches("BEGIN PRIVATE KEY").count(), 1);
        assert!(opened.contains(&format!("friendlyName: {POLICE}.deputy")), "{opened}");
        let (chain, key) = parts(&opened);
        let whoami = gateway.bearer(&chain, &key).get_json("/v1/whoami").await;
        assert_eq!(whoami["desk"], "deputy");
        assert_eq!(whoami["certificate"]["serial"], told["serial"]);
        // The key is in that file and in no other.
        let middle = key.lines().nth(1).unwrap();
        gateway.holds_nowhere(&[middle]);
        let wrong = openssl(&["pkcs12", "-in", &file, "-noout", "-passin", "pass:wrong"], folder);
        assert!(!wrong.status.success());
    }
    // What others need is beside it; the certificate is not lost in a file of its own.
    let mut beside: Vec<_> = std::fs::read_dir(folder.join("handed-out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    beside.sort();
    assert_eq!(beside, ["ca.pem", "log-key.txt"]);
}

/// The certificates and the key of what openssl took out of a PKCS#12 file.
fn parts(opened: &str) -> (String, String) {
    let block = |label: &str| {
        let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----\n"));
        let found = opened
            .split(&begin)
            .skip(1)
            .map(|rest| format!("{begin}{}{end}", rest.split(&end).next().unwrap()));
        found.collect::<Vec<_>>()
    };
    (block("CERTIFICATE")[..2].concat(), block("PRIVATE KEY").concat())
}

#[test]
fn passwords_come_from_a_file_or_a_terminal_and_are_long_enough() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let folder = gateway.folder();
    let file = |name: &str, words: &str| {
        std::fs::write(folder.join(name), words).unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(folder.join(name), private).unwrap();
    };
    file("eleven.txt", "elevenchars\n");
    file("twelve.txt", "twelve chars\r\n");
    file("nineteen.txt", "nineteen characters");
    file("accents.txt", "pässwörter überall\n");
    file("empty.txt", "");
    for (password, format, why) in [
        ("eleven.txt", "modern", "12 characters or more"),
        ("empty.txt", "modern", "12 characters or more"),
        ("nineteen.txt", "legacy-3des", "20 characters or more"),
        ("accents.txt", "modern", "ASCII"),
    ] {
        let more = ["--password-file", password, "--format", format];
        let refused = pack(&gateway, "refused.p12", &more);
        assert_eq!(refused.status.code(), Some(2), "{password}");
        assert!(text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
    }
    // Nobody to ask.
    for more in [&["--no-input"][..], &[]] {
        let refused = pack(&gateway, "refused.p12", more);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains("--password-file"), "{}", text(&refused.stderr));
    }
    let nowhere = pack(&gateway, "no/such/folder.p12", &["--password-file", "twelve.txt"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(!folder.join("refused.p12").exists(), "nothing is left behind");
    assert_eq!(desks(&gateway), 0, "nor issued");

    let good = pack(&gateway, "good.p12", &["--password-file", "twelve.txt"]);
    assert!(good.status.success(), "{}", text(&good.stderr));
    assert_eq!(desks(&gateway), 1);
    assert!(text(&good.stdout).contains("by another way"), "{}", text(&good.stdout));
    let read = ["pkcs12", "-in", "good.p12", "-noout", "-passin", "pass:twelve chars"];
    assert!(openssl(&read, folder).status.success());
    let again = pack(&gateway, "good.p12", &["--password-file", "twelve.txt"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
    assert!(openssl(&read, folder).status.success());

    // Typed at a terminal: unseen, and twice the same.
    for (file, typed, is_good) in [
        ("typed.p12", "a long password\na long password\n", true),
        ("differs.p12", "a long password\na long passwort\n", false),
    ] {
        let shown = type_at_terminal(&gateway, file, typed);
        assert_eq!(folder.join(file).exists(), is_good, "{shown}");
        assert!(shown.contains("Password for the PKCS#12 file"), "{shown}");
        assert!(!shown.contains("a long password"), "{shown}");
        assert_eq!(shown.contains("the two passwords differ"), !is_good, "{shown}");
    }
    let read = ["pkcs12", "-in", "typed.p12", "-noout", "-passin", "pass:a long password"];
    assert!(openssl(&read, folder).status.success());
}

/// What a terminal shows while somebody types the password that is asked for.
fn type_at_terminal(gateway: &TestGateway, file: &str, typed: &str) -> String {
    let command = format!(
        "'{}' cert issue {POLICE} --p12 {file} --desk 'A. Example' --role deputy --home '{}'",
        env!("CARGO_BIN_EXE_mash-gateway"),
        gateway.home().display()
    );
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--echo", "never", "--command", &command, "/dev/null"])
        .current_dir(gateway.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    terminal.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    text(&terminal.wait_with_output().unwrap().stdout)
}

#[test]
fn a_certificate_is_found_by_the_beginning_of_its_serial_and_read_aloud() {
    let gateway = TestGateway::made(&case::partners(&[]));
    gateway.request("desk");
    let issued = gateway.run(&[
        "cert",
        "issue",
        POLICE,
        "--csr",
        "desk.csr",
        "--desk",
        "A. Example",
        "--role",
        "auditor",
    ]);
    assert!(issued.status.success(), "{}", text(&issued.stderr));
    let told = text(&issued.stdout);
    let der = Command::new("openssl")
        .args(["x509", "-in", "test-police.auditor.pem", "-outform", "DER"])
        .current_dir(gateway.folder())
        .output()
        .unwrap();
    let aloud = spoken(&mash_gateway::message::sha256(&der.stdout));
    for line in &aloud {
        assert!(told.contains(line.as_str()), "{told}");
    }
    let serial = told.split_once("serial ").unwrap().1.split_whitespace().next().unwrap();
    let colons: Vec<_> = serial.as_bytes().chunks(2).map(text).collect();
    for name in [serial, &serial[..8], &colons.join(":").to_uppercase(), &colons[..5].join(":")] {
        let shown = gateway.run(&["cert", "show", name]);
        assert!(shown.status.success(), "{name}: {}", text(&shown.stderr));
        let shown = text(&shown.stdout);
        for part in [POLICE, "A. Example, auditor", "active", serial, aloud[3].as_str()] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }
    let short = gateway.run(&["cert", "show", &serial[..7]]);
    assert_eq!(short.status.code(), Some(2));
    assert_eq!(gateway.run(&["cert", "show", "not-hex-at-all"]).status.code(), Some(2));
    let unknown = gateway.run(&["cert", "show", "0000000000"]);
    assert_eq!(unknown.status.code(), Some(4));

    // A second certificate whose serial begins so.
    let sql = format!(
        "UPDATE certificates SET serial = '{}ffffffff' WHERE agency = '{SUSPENDED}'",
        &serial[..32]
    );
    let edited = Command::new("sqlite3").arg(gateway.database()).arg(sql).status().unwrap();
    assert!(edited.success());
    let two = gateway.run(&["cert", "show", &serial[..12]]);
    assert_eq!(two.status.code(), Some(2));
    assert!(text(&two.stderr).contains("2 serials begin so"), "{}", text(&two.stderr));
    let system = json(&gateway.run(&["cert", "show", &format!("{}ffff", &serial[..32]), "--json"]));
    assert_eq!((&system["profile"], system.get("role")), (&"system".into(), None));
}
