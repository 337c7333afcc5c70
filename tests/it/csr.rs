//! Requests for certificates, by openssl and by people who mean ill: only a good key comes in, and
//! whoever is refused is told what to do.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{POLICE, TRUST, TestGateway, case, text};

/// Where requests are made, and the home they are brought to.
struct Desk {
    gateway: TestGateway,
}

impl Desk {
    fn new() -> Self {
        Self { gateway: TestGateway::made(&case::partners(&[])) }
    }

    fn folder(&self) -> &Path {
        self.gateway.folder()
    }

    /// What openssl does here; fails unless it succeeds.
    #[track_caller]
    fn openssl(&self, arguments: &[&str]) -> Output {
        let done =
            Command::new("openssl").args(arguments).current_dir(self.folder()).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", text(&done.stderr));
        done
    }

    /// A key of this kind, and a request for it with these further arguments.
    fn request(&self, key: &[&str], more: &[&str]) {
        self.openssl(&[&["genpkey", "-out", "a.key"], key].concat());
        self.openssl(
            &[&["req", "-new", "-key", "a.key", "-out", "a.csr", "-subj", "/CN=a"], more].concat(),
        );
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder().join(name)).unwrap()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.folder().join(name), bytes).unwrap();
    }

    fn issue(&self, agency: &str, file: &str) -> Output {
        self.gateway.run(&["cert", "issue", agency, "--csr", file, "--out", "out"])
    }

    /// That this request gets a certificate; its text as openssl shows it.
    #[track_caller]
    fn accepted(&self, file: &str) -> String {
        let issued = self.issue(POLICE, file);
        assert!(issued.status.success(), "{file}: {}", text(&issued.stderr));
        let name = format!("out/{POLICE}.pem");
        self.openssl(&[
            "verify",
            "-x509_strict",
            "-purpose",
            "sslclient",
            "-CAfile",
            "out/ca.pem",
            "-untrusted",
            "home/certs/agency-ca.pem",
            &name,
        ]);
        // The certificate is for the key that was asked for.
        let of = |arguments: &[&str]| self.openssl(arguments).stdout;
        assert_eq!(
            of(&["x509", "-in", &name, "-noout", "-pubkey"]),
            of(&["pkey", "-in", "a.key", "-pubout"]),
            "{file}"
        );
        text(&self.openssl(&["x509", "-in", &name, "-noout", "-text"]).stdout)
    }

    /// That this request is refused, with words that say why and what to do.
    #[track_caller]
    fn refused(&self, what: &str, file: &str, words: &[&str]) {
        let before = self.gateway.run(&["cert", "list"]).stdout;
        let refused = self.issue(POLICE, file);
        assert!(matches!(refused.status.code(), Some(1 | 2)), "{what}: {}", text(&refused.stdout));
        for word in words {
            assert!(text(&refused.stderr).contains(word), "{what}: {}", text(&refused.stderr));
        }
        assert_eq!(self.gateway.run(&["cert", "list"]).stdout, before, "{what}");
    }
}

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];

#[test]
fn keys_that_every_client_reads_are_certified_and_others_are_not() {
    let desk = Desk::new();
    // The second and third are what makes careless issuers write a certificate nothing can load.
    for (what, key, more) in [
        ("P-256", P256, &[][..]),
        ("P-384 signed with SHA-256, openssl's default", P384, &["-sha256"]),
        ("P-256 signed with SHA-384", P256, &["-sha384"]),
        ("P-384 signed with SHA-384", P384, &["-sha384"]),
        ("Ed25519", &["-algorithm", "ed25519"], &[]),
    ] {
        desk.request(key, more);
        let shown = desk.accepted("a.csr");
        assert!(shown.contains("TLS Web Client Authentication"), "{what}");
    }
    let pss: &[&str] = &["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"];
    for (what, key) in [
        ("RSA", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..]),
        ("RSA-PSS", pss),
        ("P-521", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]),
        ("secp256k1", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"]),
        ("Ed448", &["-algorithm", "ed448"]),
        (
            "P-256 with its parameters written out",
            &[P256, &["-pkeyopt", "ec_param_enc:explicit"]].concat(),
        ),
    ] {
        desk.request(key, &[]);
        desk.refused(what, "a.csr", &["P-256, P-384 or Ed25519", "openssl req -new -newkey ec"]);
    }
    // The right key, proven with a hash that can be forged.
    desk.request(P256, &["-sha1"]);
    desk.refused("SHA-1", "a.csr", &["SHA-256 or SHA-384", "openssl req -new -sha256"]);
}

#[test]
fn of_a_request_only_the_key_is_used() {
    let desk = Desk::new();
    desk.write(
        "evil.cnf",
        "[req]\ndistinguished_name = name\nreq_extensions = wishes\nprompt = no\n\
         [name]\nCN = test-trust\nO = Somebody Else\n\
         [wishes]\n\
         basicConstraints = critical, CA:TRUE, pathlen:9\n\
         keyUsage = critical, keyCertSign, cRLSign, keyEncipherment\n\
         extendedKeyUsage = serverAuth, codeSigning, anyExtendedKeyUsage\n\
         subjectAltName = URI:spiffe://mash.test.example/agency/test-trust, \
         DNS:gateway.test.example, email:police@test.example, IP:127.0.0.1\n\
         1.3.6.1.4.1.311.20.2 = ASN1:BMPSTRING:Machine\n\
         1.3.6.1.4.1.311.21.7 = DER:30:06:06:04:2a:03:04:05\n\
         1.2.3.4.5.6 = critical, ASN1:UTF8String:nobody knows this\n",
    );
    desk.request(P256, &["-config", "evil.cnf"]);
    let asked = text(&desk.openssl(&["req", "-in", "a.csr", "-noout", "-text"]).stdout);
    assert!(asked.contains("CA:TRUE") && asked.contains("agency/test-trust"), "{asked}");
    let shown = desk.accepted("a.csr");
    for wish in [
        "CA:TRUE",
        "pathlen",
        "Certificate Sign",
        "CRL Sign",
        "Key Encipherment",
        "Server",
        "Code",
        "Any Extended",
        "test-trust",
        "Somebody",
        "DNS:",
        "email:",
        "IP Address",
        "1.3.6.1.4.1.311",
        "1.2.3.4.5.6",
        "nobody knows",
    ] {
        // The name of the issuing authority has some of these words, the rest of it has not.
        let below = shown.split_once("Subject:").unwrap().1;
        assert!(!below.contains(wish), "{wish}: {below}");
    }
    for fact in [
        "Subject: CN = test-police\n",
        "CA:FALSE",
        "TLS Web Client Authentication\n",
        "Digital Signature\n",
        "URI:spiffe://mash.test.example/agency/test-police\n",
    ] {
        assert!(shown.contains(fact), "{fact}: {shown}");
    }
}

#[test]
fn what_is_not_one_whole_request_is_refused_with_what_to_do() {
    let desk = Desk::new();
    desk.request(P256, &[]);
    let pem = text(&desk.read("a.csr"));
    desk.openssl(&["req", "-in", "a.csr", "-outform", "DER", "-out", "a.der"]);
    let der = desk.read("a.der");
    let key = text(&desk.read("a.key"));
    let armoured = |der: &[u8], label: &str| {
        desk.write("edited.der", der);
        let base64 = desk.openssl(&["base64", "-in", "edited.der"]).stdout;
        format!("-----BEGIN {label}-----\n{}-----END {label}-----\n", text(&base64))
    };
    let flipped = |at: usize| {
        let mut der = der.clone();
        der[at] ^= 1;
        der
    };
    let longer = [&der[..], &[0, 0]].concat();
    let send = "send the file openssl req wrote";
    for (what, bytes, words) in [
        ("an empty file", Vec::new(), &["damaged", "make it again"][..]),
        ("words", b"Dear gateway, please certify us.".to_vec(), &[send]),
        ("two requests", format!("{pem}{pem}").into_bytes(), &["not exactly one", send]),
        ("a label of its own", armoured(&der, "CERT REQUEST").into_bytes(), &[send]),
        (
            "a certificate",
            desk.read("agencies/test-police.pem"),
            &["BEGIN CERTIFICATE REQUEST", send],
        ),
        ("a private key", key.clone().into_bytes(), &["must never be sent", "make a new key"]),
        (
            "a private key after the request",
            format!("{pem}{key}").into_bytes(),
            &["must never be sent", "make a new key"],
        ),
        ("bytes after it", armoured(&longer, "CERTIFICATE REQUEST").into_bytes(), &["damaged"]),
        ("bytes after it, in DER", longer.clone(), &["damaged"]),
        ("its last byte lost", der[..der.len() - 1].to_vec(), &["damaged"]),
        (
            "a bit of its signature turned",
            armoured(&flipped(der.len() - 1), "CERTIFICATE REQUEST").into_bytes(),
            &["does not verify", "make it again"],
        ),
        (
            "a bit of its name turned",
            // The name "a" is the one UTF8String of one character in it.
            flipped(der.windows(3).position(|w| w == [0x0c, 1, b'a']).unwrap() + 2),
            &["does not verify", "make it again"],
        ),
        ("a megabyte", vec![b'A'; 1 << 20], &["larger than 16 KiB", "openssl req"]),
        ("a megabyte of DER", vec![0x84; 1 << 20], &["larger than 16 KiB", "openssl req"]),
        (
            "another request's beginning",
            armoured(&der[..40], "CERTIFICATE REQUEST").into_bytes(),
            &["damaged"],
        ),
    ] {
        desk.write("bad.csr", bytes);
        desk.refused(what, "bad.csr", words);
    }
    assert_eq!(desk.issue(POLICE, "no-such.csr").status.code(), Some(4));
    assert_eq!(desk.issue("test-nobody", "a.csr").status.code(), Some(4));

    // What differs in its wrapping only is taken.
    let crlf = pem.replace('\n', "\r\n");
    let marked = format!("\u{feff}{pem}");
    let told = text(&desk.openssl(&["req", "-in", "a.csr", "-text"]).stdout);
    for (what, bytes) in [
        ("DER", der.clone()),
        ("as older Windows labels it", armoured(&der, "NEW CERTIFICATE REQUEST").into_bytes()),
        ("with Windows's line ends", crlf.into_bytes()),
        ("with a byte order mark", marked.into_bytes()),
        ("with openssl's text before it", told.into_bytes()),
    ] {
        desk.write("good.csr", bytes);
        let shown = desk.accepted("good.csr");
        assert!(shown.contains("agency/test-police"), "{what}");
    }
}

#[test]
fn a_key_is_one_agencys_and_is_not_certified_again_once_compromised() {
    let desk = Desk::new();
    desk.request(P256, &[]);
    desk.accepted("a.csr");
    desk.accepted("a.csr");
    let other = desk.issue(TRUST, "a.csr");
    assert_eq!(other.status.code(), Some(2));
    let told = text(&other.stderr);
    assert!(told.contains("already test-police's") && told.contains("a key of its own"), "{told}");
    // Nor is it also a person's there.
    let person = desk.gateway.run(&[
        "cert",
        "issue",
        POLICE,
        "--csr",
        "a.csr",
        "--desk",
        "A. Example",
        "--role",
        "deputy",
    ]);
    assert_eq!(person.status.code(), Some(2));
    assert!(text(&person.stderr).contains("of another kind"), "{}", text(&person.stderr));
    // Nor by asking for the same key in another request.
    desk.openssl(&["req", "-new", "-key", "a.key", "-out", "b.csr", "-subj", "/CN=b", "-sha384"]);
    assert_eq!(desk.issue(TRUST, "b.csr").status.code(), Some(2));

    let revoke = |reason: &str| {
        desk.gateway.run(&["cert", "revoke", POLICE, "--reason", reason, "--confirm", POLICE])
    };
    // No gateway runs to be told, so that the command fails having done it.
    assert_eq!(revoke("superseded").status.code(), Some(1));
    desk.accepted("a.csr");
    assert_eq!(revoke("key-compromise").status.code(), Some(1));
    let again = desk.issue(POLICE, "b.csr");
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("revoked as compromised"), "{}", text(&again.stderr));
    assert!(text(&again.stderr).contains("a new one after a compromise"));
}
