//! An issuing authority whose key is in a token: it issues, signs lists, and its key is nowhere else.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::rotation::{OffLine, done, json, refused};
use crate::support::{DOMAIN, POLICE, SURGERY, TestGateway, case, text};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "628194";

/// A home with a token of its own, set up in `gateway.toml`.
fn with_token() -> TestGateway {
    let gateway = TestGateway::made(&case::partners(&[]));
    let tokens = gateway.folder().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let settings = format!("directories.tokendir = {}\n", tokens.display());
    let softhsm = gateway.folder().join("softhsm2.conf");
    std::fs::write(&softhsm, settings).unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "mash", "--so-pin", "90210742", "--pin", PIN])
        .env("SOFTHSM2_CONF", &softhsm)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    write_pin(&gateway, PIN);
    for line in [
        format!("pkcs11_module = \"{MODULE}\""),
        "pkcs11_token = \"mash\"".to_owned(),
        "pkcs11_pin_file = \"keys/pkcs11-pin.txt\"".to_owned(),
    ] {
        gateway.configure(&format!("#{line}"), &line);
    }
    gateway
}

fn write_pin(gateway: &TestGateway, pin: &str) {
    let path = gateway.home().join("keys/pkcs11-pin.txt");
    std::fs::write(&path, format!("{pin}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn an_authority_in_a_token_follows_one_in_a_file() {
    let mut gateway = with_token();
    let off_line = OffLine::take_from(&gateway);
    let request = off_line.path("request.txt");
    gateway.serve();
    let name = format!("{DOMAIN} agencies 2");
    let ask = ["authority", "request", "agencies", "--pkcs11", "--out", &request, "--json"];
    let asked = json(gateway.run(&ask));
    assert_eq!(json(gateway.run(&ask))["key"], asked["key"], "asked twice, it is the same key");
    let sealed = gateway.age_decrypt("keys/authority-identity.txt", "certs/agency-ca.next.key.age");
    let key_id = asked["key"].as_str().unwrap();
    assert_eq!(text(&sealed.unwrap()).trim(), format!("pkcs11 {key_id}"));
    done(off_line.sign("", &name));
    let answer = off_line.path("answer.pem");
    let installed = json(gateway.run(&["authority", "install", &answer, "--json"]));
    assert_eq!(installed["inUse"], true, "the gateway has its list, which the token signed");
    let before = text(&gateway.run(&["authority", "list", "--json"]).stdout);
    assert!(before.contains(&name), "{before}");

    // It issues, by way of the running issuer; one with a certificate of before is let in too.
    gateway.certify(SURGERY);
    for agency in [SURGERY, POLICE] {
        let whoami = gateway.agency(agency).get_json("/v1/whoami").await;
        assert_eq!(whoami["agency"], agency);
    }
    // As openssl sees what the token signed: the certificate, and the list.
    let home = gateway.home();
    let leaf = gateway.agencies().join(format!("{SURGERY}.pem"));
    let verified = Command::new("openssl")
        .args(["verify", "-x509_strict", "-crl_check_all", "-purpose", "sslclient"])
        .args(["-CAfile", "certs/root.pem", "-untrusted", "certs/agency-ca.pem"])
        .args(["-CRLfile", "certs/root.crl.pem", "-CRLfile", "certs/agency-ca.crl.pem"])
        .arg(&leaf)
        .current_dir(&home)
        .output()
        .unwrap();
    assert!(text(&verified.stdout).contains(": OK"), "{}", text(&verified.stderr));
    let issuer = Command::new("openssl")
        .args(["x509", "-noout", "-issuer", "-in"])
        .arg(&leaf)
        .output()
        .unwrap();
    assert!(text(&issuer.stdout).contains("agencies 2"), "{}", text(&issuer.stdout));

    // The file has the old one's key only, and then none.
    let keys = || {
        let file = "certs/agency-ca.key.age";
        let keys = gateway.age_decrypt("keys/authority-identity.txt", file).unwrap();
        text(&keys).matches("BEGIN PRIVATE KEY").count()
    };
    assert_eq!(keys(), 1);
    let old = format!("{DOMAIN} agencies 1");
    done(gateway.run(&["authority", "retire", &old, "--confirm", &old, "--force"]));
    assert_eq!(keys(), 0);
    gateway.certify(SURGERY);
    done(gateway.run(&["cert", "crl"]));
    done(gateway.run(&["cert", "gateway"]));
    gateway.restart();
    let whoami = gateway.agency(SURGERY).get_json("/v1/whoami").await;
    assert_eq!(whoami["agency"], SURGERY);
    gateway.stop();
    gateway.verify_log();
    the_key_stays_in_the_token(&gateway);

    // Without its PIN, or without its token, nothing is signed, and it is said why.
    let issue = |gateway: &TestGateway| {
        let csr = gateway.agencies().join(format!("{POLICE}.csr"));
        gateway.run(&["cert", "issue", POLICE, "--csr", csr.to_str().unwrap()])
    };
    write_pin(&gateway, "000000");
    refused(&issue(&gateway), 1, "its PIN");
    write_pin(&gateway, PIN);
    gateway.configure("pkcs11_token = \"mash\"", "pkcs11_token = \"mish\"");
    refused(&issue(&gateway), 1, "no token has the label \"mish\"");
    gateway.configure("pkcs11_token = \"mish\"", "pkcs11_token = \"mash\"");
    gateway.configure(MODULE, "/nowhere/module.so");
    refused(&issue(&gateway), 1, "loading the module");
    gateway.configure("/nowhere/module.so", MODULE);
    done(issue(&gateway));
    gateway.configure("pkcs11_token = \"mash\"", "# pkcs11_token = \"mash\"");
    refused(&issue(&gateway), 1, "belong together");
}

// As a tool that knows nothing of us sees it.
fn the_key_stays_in_the_token(gateway: &TestGateway) {
    let shown = Command::new("pkcs11-tool")
        .args(["--module", MODULE, "--token-label", "mash", "--login", "--pin", PIN])
        .args(["--list-objects", "--type", "privkey"])
        .env("SOFTHSM2_CONF", gateway.folder().join("softhsm2.conf"))
        .output()
        .unwrap();
    let said = text(&shown.stdout);
    assert_eq!(said.matches("Private Key Object; EC").count(), 1, "{said}");
    assert!(said.contains("sensitive, always sensitive, never extract"), "{said}");
}
