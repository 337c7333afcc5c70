//! The zoo: certificates that somebody made, stole or kept too long. Each is turned away by the
//! running gateway, and the log says why.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use hyper::Method;
use mash_gateway::http::client::ClientError;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, SanType,
    date_time_ymd,
};

use crate::support::authority::TestAuthority;
use crate::support::{DOMAIN, POLICE, TRUST, TestGateway, case, eventually, text};

/// A certificate and its key that open no door.
struct Rogue {
    what: &'static str,
    chain: String,
    key: String,
    /// Where it is found out, and the reason in the log.
    found: Found,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    /// In the TLS handshake: nothing of HTTP is answered.
    AtHandshake(&'static str),
    /// When it is named: the answer says so, and the connection ends.
    ByName(&'static str),
}

use Found::{AtHandshake, ByName};

fn rogue(what: &'static str, (chain, key): (String, String), found: Found) -> Rogue {
    Rogue { what, chain, key, found }
}

fn police() -> String {
    format!("spiffe://{DOMAIN}/agency/{POLICE}")
}

/// A certificate as it should be, but for this change.
fn with(
    authority: &TestAuthority,
    change: impl FnOnce(&mut CertificateParams),
) -> (String, String) {
    authority.client(&[&police()], change)
}

fn for_purposes(
    authority: &TestAuthority,
    purposes: &[ExtendedKeyUsagePurpose],
) -> (String, String) {
    with(authority, |params| params.extended_key_usages = purposes.to_vec())
}

/// Of an authority with these years.
fn in_years(authority: &TestAuthority, from: i32, to: i32) -> (String, String) {
    with(authority, |params| {
        (params.not_before, params.not_after) =
            (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
    })
}

/// With this one alternative name.
fn named(authority: &TestAuthority, name: SanType) -> (String, String) {
    authority.client(&[], |params| params.subject_alt_names.push(name))
}

/// Those whom TLS itself turns away.
fn strangers(gateway: &TestGateway, stolen: &TestAuthority) -> Vec<Rogue> {
    use ExtendedKeyUsagePurpose::{Any, CodeSigning, EmailProtection, ServerAuth};
    let foreign = TestAuthority::new("Somebody else's authority");
    let same_name = TestAuthority::named_like(stolen);
    let root = gateway.unsealed_authority("keys/recovery-identity.txt", "certs/root");
    let servers = gateway.unsealed_authority("keys/authority-identity.txt", "certs/server-ca");
    let below = stolen.below(|_| {});
    let expired_below = stolen.below(|params| {
        (params.not_before, params.not_after) =
            (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    });
    let read = |name: &str| std::fs::read_to_string(gateway.home().join(name)).unwrap();
    let dns = || SanType::DnsName("police.test.example".try_into().unwrap());
    let also_dns = |params: &mut CertificateParams| params.subject_alt_names.push(dns());
    let unknown = "certificate-unknown-authority";
    let (purpose, invalid) = ("certificate-wrong-purpose", "certificate-invalid");
    let signature = "certificate-bad-signature";
    vec![
        rogue("of a foreign authority", with(&foreign, |_| {}), AtHandshake(unknown)),
        rogue("of an authority named as ours", with(&same_name, |_| {}), AtHandshake(signature)),
        rogue(
            "of the root, not the agencies' authority",
            with(&root, |_| {}),
            AtHandshake(unknown),
        ),
        rogue("of the servers' authority", with(&servers, |_| {}), AtHandshake(purpose)),
        rogue(
            "of an authority below ours",
            with(&below, |_| {}),
            AtHandshake("certificate-status-unknown"),
        ),
        rogue(
            "of an expired one below ours",
            with(&expired_below, |_| {}),
            AtHandshake("certificate-expired"),
        ),
        rogue("self-signed", TestAuthority::self_signed(&police()), AtHandshake(unknown)),
        rogue(
            "the gateway's own, as a server",
            (read("certs/gateway.pem"), read("keys/tls-key.pem")),
            AtHandshake(purpose),
        ),
        rogue("expired", in_years(stolen, 2020, 2021), AtHandshake("certificate-expired")),
        rogue(
            "not yet valid",
            in_years(stolen, 2090, 2091),
            AtHandshake("certificate-not-yet-valid"),
        ),
        rogue("for servers", for_purposes(stolen, &[ServerAuth]), AtHandshake(purpose)),
        rogue("for signing code", for_purposes(stolen, &[CodeSigning]), AtHandshake(purpose)),
        rogue("for e-mail", for_purposes(stolen, &[EmailProtection]), AtHandshake(purpose)),
        rogue("for any purpose", for_purposes(stolen, &[Any]), AtHandshake(purpose)),
        rogue("naming a host", named(stolen, dns()), AtHandshake(invalid)),
        rogue("also naming a host", with(stolen, also_dns), AtHandshake(invalid)),
        rogue(
            "an authority's, used as an agency's",
            with(stolen, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            AtHandshake(invalid),
        ),
        rogue("altered after it was signed", altered(gateway), AtHandshake(signature)),
        rogue(
            "revoked",
            (read_agency(gateway, TRUST, "pem"), read_agency(gateway, TRUST, "key")),
            AtHandshake("certificate-revoked"),
        ),
    ]
}

/// Those whose certificate passes TLS, and names nobody whom the gateway would hear.
fn impostors(gateway: &TestGateway, stolen: &TestAuthority) -> Vec<Rogue> {
    let uri = police();
    let other = format!("spiffe://{DOMAIN}/agency/{TRUST}");
    let nothing = |_: &mut CertificateParams| {};
    let read = |name: &str| std::fs::read_to_string(gateway.home().join(name)).unwrap();
    let mail = SanType::Rfc822Name("police@test.example".try_into().unwrap());
    let also_mail = mail.clone();
    let mut all = vec![
        rogue("for no purpose", for_purposes(stolen, &[]), ByName("certificate-wrong-purpose")),
        rogue(
            "naming two agencies",
            stolen.client(&[&uri, &other], nothing),
            ByName("certificate-two-names"),
        ),
        rogue(
            "naming one twice",
            stolen.client(&[&uri, &uri], nothing),
            ByName("certificate-two-names"),
        ),
        rogue(
            "naming an agency and a mailbox",
            with(stolen, |params| params.subject_alt_names.push(also_mail)),
            ByName("certificate-two-names"),
        ),
        rogue("without a name", stolen.client(&[], nothing), ByName("certificate-no-name")),
        rogue(
            "with its name in the subject only",
            stolen.client(&[], |params| params.distinguished_name.push(DnType::CommonName, POLICE)),
            ByName("certificate-no-name"),
        ),
        rogue("naming a mailbox", named(stolen, mail), ByName("certificate-not-an-agency")),
        rogue(
            "naming an address",
            named(stolen, SanType::IpAddress("192.0.2.1".parse().unwrap())),
            ByName("certificate-not-an-agency"),
        ),
        // The certificate the gateway itself pushes with: of the same authority, but no agency.
        rogue(
            "the gateway's own, as a client",
            (read("certs/push.pem"), read("keys/push-key.pem")),
            ByName("certificate-not-an-agency"),
        ),
        rogue("with a chain too long", too_long(gateway), ByName("chain-too-long")),
        rogue("with a hundred strangers", with_strangers(gateway), ByName("chain-too-long")),
        rogue("with 200 KB", too_large(gateway), AtHandshake("protocol-error")),
        // All is as it should be, but we did not issue them: made with a stolen key.
        rogue(
            "forged with the issuing key",
            stolen.client(&[&uri], nothing),
            ByName("certificate-not-registered"),
        ),
        rogue(
            "a desk forged with the issuing key",
            stolen.client(&[&format!("{uri}/desk/contact-officer")], nothing),
            ByName("certificate-not-registered"),
        ),
    ];
    for (what, name) in [
        ("with a slash after its name", format!("{uri}/")),
        ("with a space after its name", format!("{uri}%20")),
        ("with a query", format!("{uri}?role=hub")),
        ("with a fragment", format!("{uri}#hub")),
        ("with a name in capitals", uri.replace("test-", "Test-")),
        ("of another scheme", uri.replace("spiffe:", "https:")),
        ("with a scheme in capitals", uri.replace("spiffe:", "SPIFFE:")),
        ("of no agency", uri.replace("/agency/", "/hub/")),
        ("of an agency and nothing", format!("spiffe://{DOMAIN}/agency/")),
        ("with a role nobody has", format!("{uri}/desk/chief")),
        ("with a role in capitals", format!("{uri}/desk/Deputy")),
        ("with a desk and no role", format!("{uri}/desk/")),
        ("with a desk alone", format!("{uri}/desk")),
        ("with two roles", format!("{uri}/desk/deputy/auditor")),
        ("with a role and a slash", format!("{uri}/desk/deputy/")),
        ("with something else than a desk", format!("{uri}/system/deputy")),
    ] {
        let made = stolen.client(&[&name], nothing);
        all.push(rogue(what, made, ByName("certificate-not-an-agency")));
    }
    for (what, domain) in [
        ("of another trust domain", "other.example"),
        ("of a domain below ours", "x.mash.test.example"),
        ("of a domain that ends with ours", "xmash.test.example"),
        ("of our domain with a port", "mash.test.example:443"),
        ("of our domain with a user", "hub@mash.test.example"),
    ] {
        let made = stolen.client(&[&uri.replace(DOMAIN, domain)], nothing);
        all.push(rogue(what, made, ByName("certificate-other-domain")));
    }
    all
}

fn read_agency(gateway: &TestGateway, agency: &str, end: &str) -> String {
    std::fs::read_to_string(gateway.agencies().join(format!("{agency}.{end}"))).unwrap()
}

/// The police's certificate, with one bit of its end turned: its signature.
fn altered(gateway: &TestGateway) -> (String, String) {
    let chain = read_agency(gateway, POLICE, "pem");
    let end = chain.find("\n-----END").unwrap();
    // The letter before the padding, so that it is still base64 of the same length.
    let at = chain[..end].trim_end_matches('=').len() - 6;
    let mut altered = chain.into_bytes();
    altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
    (text(&altered), read_agency(gateway, POLICE, "key"))
}

/// A good certificate, under many that nobody asked for.
fn too_long(gateway: &TestGateway) -> (String, String) {
    let chain = read_agency(gateway, POLICE, "pem");
    let issuer = std::fs::read_to_string(gateway.home().join("certs/agency-ca.pem")).unwrap();
    (format!("{chain}{}", issuer.repeat(8)), read_agency(gateway, POLICE, "key"))
}

/// The same, and those many have nothing to do with it.
fn with_strangers(gateway: &TestGateway) -> (String, String) {
    let chain = read_agency(gateway, POLICE, "pem");
    let strangers: String =
        (0..100).map(|_| TestAuthority::new("Stranger").pem().to_owned()).collect();
    (format!("{chain}{strangers}"), read_agency(gateway, POLICE, "key"))
}

/// More than TLS lets anybody show.
fn too_large(gateway: &TestGateway) -> (String, String) {
    let (chain, key) = with_strangers(gateway);
    (chain.repeat(5), key)
}

/// How often the gateway counted each outcome of a handshake.
fn counted(gateway: &TestGateway) -> BTreeMap<String, u64> {
    let metrics = gateway.local("/metrics");
    let lines = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix("mash_gateway_handshakes_total{outcome=\"")?;
        let (outcome, count) = rest.split_once("\"} ")?;
        Some((outcome.to_owned(), count.parse().unwrap()))
    });
    lines.collect()
}

#[tokio::test]
async fn each_is_turned_away_and_the_log_says_why() {
    let mut gateway = TestGateway::start();
    let revoked =
        gateway.run(&["cert", "revoke", TRUST, "--reason", "key-compromise", "--confirm", TRUST]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    let stolen = gateway.stolen_authority();
    let mut zoo = strangers(&gateway, &stolen);
    zoo.extend(impostors(&gateway, &stolen));
    assert!(zoo.len() > 50, "{}", zoo.len());
    for rogue in &zoo {
        let before = counted(&gateway);
        let bearer = gateway.bearer(&rogue.chain, &rogue.key);
        let answer = bearer.request(Method::GET, "/v1/whoami", &[], Vec::new()).await;
        let what = rogue.what;
        match (rogue.found, answer) {
            (AtHandshake(reason), Err(ClientError::Tls(_) | ClientError::Closed)) => {
                let count = |all: &BTreeMap<String, u64>| all.get(reason).copied().unwrap_or(0);
                eventually(what, async || count(&counted(&gateway)) == count(&before) + 1).await;
            }
            (ByName(reason), Ok(answer)) => {
                let problem = answer.problem(403, "certificate-refused");
                let detail = problem["detail"].as_str().unwrap();
                let is_forged = reason == "certificate-not-registered";
                let says = if is_forged { "not on this gateway's register" } else { reason };
                assert!(detail.contains(says), "{what}: {detail}");
                assert_eq!(answer.headers["connection"], "close", "{what}");
            }
            (found, Ok(answer)) => panic!("{what}, {found:?}: {}", answer.text()),
            (found, Err(error)) => {
                panic!("{what}, {found:?}: {error}; {:?}", counted(&gateway))
            }
        }
    }
    gateway.stop();

    // Every one is in the log, for its own reason; and nobody is named who did not prove who it is.
    let mut expected: Vec<_> = zoo
        .iter()
        .map(|rogue| match rogue.found {
            AtHandshake(reason) => ("handshake-refused", reason.to_owned()),
            ByName(reason) => ("refused", reason.to_owned()),
        })
        .collect();
    let entries = gateway.entries();
    let mut logged: Vec<_> = entries
        .iter()
        .filter_map(|fields| match fields["event"].as_str().unwrap() {
            "handshake-refused" => Some(("handshake-refused", fields)),
            "refused" => Some(("refused", fields)),
            _ => None,
        })
        .map(|(event, fields)| {
            assert!(fields.get("agency").is_none(), "{fields}");
            (event, fields["reason"].as_str().unwrap().to_owned())
        })
        .collect();
    expected.sort();
    logged.sort();
    assert_eq!(logged, expected);
    gateway.verify_log();
}

/// Whoever is not let in may do nothing else either.
#[tokio::test]
async fn a_forged_certificate_is_good_for_no_route() {
    let gateway = TestGateway::start();
    let (chain, key) = with(&gateway.stolen_authority(), |_| {});
    let forger = gateway.bearer(&chain, &key);
    let dispatch = case::dispatch(&[POLICE]);
    forger.post("/v1/rfis", &dispatch).await.problem(403, "certificate-refused");
    for path in ["/v1/no-such-path", "/v1/inbox", "/openapi.json"] {
        forger.get(path).await.problem(403, "certificate-refused");
    }
}

/// Certificates and connections that only openssl makes.
#[tokio::test]
async fn what_openssl_makes_is_turned_away_too() {
    let mut gateway = TestGateway::start();
    gateway.stolen_authority().write(gateway.folder(), "stolen");
    let folder = gateway.folder();
    let names = format!("subjectAltName=URI:{}\n", police());
    let client = format!("{names}extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n");
    let critical = format!("{client}1.2.3.4.5=critical,DER:0500\n");
    std::fs::write(folder.join("client.cnf"), client).unwrap();
    std::fs::write(folder.join("critical.cnf"), critical).unwrap();
    let mut expected = BTreeMap::<&str, usize>::new();
    for (what, key, signing, reason) in [
        (
            "RSA of 1,024 bits",
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"][..],
            &["-extfile", "client.cnf"][..],
            "certificate-bad-signature",
        ),
        (
            "signed with SHA-1",
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            &["-extfile", "client.cnf", "-sha1"],
            "certificate-invalid",
        ),
        (
            "with something critical that nobody knows",
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            &["-extfile", "critical.cnf"],
            "certificate-invalid",
        ),
        (
            "of version 1",
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            &[],
            "certificate-invalid",
        ),
    ] {
        openssl(folder, &[&["genpkey", "-out", "rogue.key"], key].concat());
        openssl(
            folder,
            &["req", "-new", "-key", "rogue.key", "-subj", "/CN=x", "-out", "rogue.csr"],
        );
        let sign = [
            "x509",
            "-req",
            "-in",
            "rogue.csr",
            "-CA",
            "stolen.pem",
            "-CAkey",
            "stolen.key",
            "-CAcreateserial",
            "-out",
            "rogue.pem",
        ];
        openssl(folder, &[&sign[..], signing].concat());
        assert_eq!(s_client(&gateway, "rogue"), "", "{what}");
        *expected.entry(reason).or_default() += 1;
    }
    // Nobody, as curl sees it.
    let nobody = Command::new("curl")
        .args(["--silent", "--show-error", "--cacert"])
        .arg(gateway.agencies().join("ca.pem"))
        .arg(format!("{}/v1/whoami", gateway.url))
        .output()
        .unwrap();
    assert!(!nobody.status.success() && nobody.stdout.is_empty());
    *expected.entry("certificate-missing").or_default() += 1;

    gateway.stop();
    let mut logged = BTreeMap::<String, usize>::new();
    for fields in gateway.entries() {
        if fields["event"] == "handshake-refused" {
            *logged.entry(fields["reason"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect();
    assert_eq!(logged, expected);
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let done = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", text(&done.stderr));
}

/// What the gateway answers to openssl with this certificate, which may be as weak as it likes.
fn s_client(gateway: &TestGateway, name: &str) -> String {
    let mut process = Command::new("openssl")
        .args(["s_client", "-quiet", "-cipher", "DEFAULT:@SECLEVEL=0", "-connect"])
        .arg(gateway.url.trim_start_matches("https://"))
        .args(["-CAfile", "agencies/ca.pem", "-cert", &format!("{name}.pem")])
        .args(["-key", &format!("{name}.key"), "-cert_chain", "stolen.pem"])
        .current_dir(gateway.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let request = b"GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let _ = std::io::Write::write_all(&mut stdin, request);
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut process.stdout.take().unwrap(), &mut answer).unwrap();
    drop(stdin);
    process.wait().unwrap();
    text(&answer)
}
