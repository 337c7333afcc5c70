//! Witnesses: agencies that watch the log, and find it cut, put back or written twice, whoever did it.

use std::path::PathBuf;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use jiff::Timestamp;
use mash_gateway::audit::checkpoint::LogKey;
use mash_gateway::audit::cosignature::WitnessKey;
use mash_gateway::audit::tree::leaf_hash;
use serde_json::{Value, json};

use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case, eventually, text};

const ORIGIN: &str = "mash.test.example/log/1";

/// An agency's witness, with its files in a folder of its own.
struct Witness {
    agency: &'static str,
    folder: PathBuf,
    public_key: String,
}

impl Witness {
    fn made(gateway: &TestGateway, agency: &'static str) -> Self {
        let folder = gateway.folder().join(format!("witness-{agency}"));
        std::fs::create_dir(&folder).unwrap();
        let name = format!("{agency}.example/witness");
        let made = Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
            .args(["witness", "init", "--json", "--name", &name])
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let public_key = made["publicKey"].as_str().unwrap().to_owned();
        assert!(public_key.starts_with(&format!("{name}+")), "{public_key}");
        Self { agency, folder, public_key }
    }

    /// Looks once, as the agency's cron would have it.
    fn look(&self, gateway: &TestGateway) -> Output {
        self.command(gateway, None).output().unwrap()
    }

    fn command(&self, gateway: &TestGateway, clock: Option<&str>) -> Command {
        let own = |end: &str| gateway.agencies().join(format!("{}.{end}", self.agency));
        let binary = env!("CARGO_BIN_EXE_mash-gateway");
        let mut command = match clock {
            None => Command::new(binary),
            Some(clock) => {
                let mut command = Command::new("faketime");
                command.args(["-f", clock, binary]);
                command
            }
        };
        command
            .args(["witness", "run", "--once", "--json", "--gateway", &gateway.url])
            .arg("--log-key")
            .arg(gateway.agencies().join("log-key.txt"))
            .arg("--cert")
            .arg(own("pem"))
            .arg("--key")
            .arg(own("key"))
            .arg("--ca")
            .arg(gateway.agencies().join("ca.pem"))
            .current_dir(&self.folder);
        command
    }

    /// Looks once, which ends well; what it said.
    #[track_caller]
    fn looks(&self, gateway: &TestGateway) -> Value {
        let looked = self.look(gateway);
        assert!(looked.status.success(), "{}", text(&looked.stderr));
        serde_json::from_slice(&looked.stdout).unwrap()
    }

    fn state(&self) -> String {
        std::fs::read_to_string(self.folder.join("witness.state")).unwrap()
    }

    /// What it kept against the log.
    fn evidence(&self) -> Vec<Value> {
        let files = std::fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.to_str().unwrap().contains("evidence"))
            .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
            .collect()
    }

    /// Looks, finds the log to be another one, and keeps what shows it.
    #[track_caller]
    fn accuses(&self, gateway: &TestGateway, saying: &str) {
        let before = self.state();
        for _ in 0..2 {
            let looked = self.look(gateway);
            let said = text(&looked.stderr);
            assert_eq!(looked.status.code(), Some(3), "{said}");
            assert!(said.contains(saying) && said.contains("contact officer"), "{saying}: {said}");
        }
        assert_eq!(self.state(), before, "it does not forget what it saw");
        let evidence = self.evidence();
        let [one] = evidence.as_slice() else { panic!("not once: {evidence:?}") };
        assert_eq!(one["kept"], before);
        assert!(one["served"].as_str().unwrap().starts_with(ORIGIN), "{one}");
    }
}

/// A gateway that knows the witnesses of these agencies.
fn watched(agencies: &[&'static str], min: usize) -> (TestGateway, Vec<Witness>) {
    let gateway = TestGateway::made(&case::partners(&[]));
    let witnesses: Vec<_> = agencies.iter().map(|agency| Witness::made(&gateway, agency)).collect();
    knows(&gateway, &witnesses, min);
    (gateway, witnesses)
}

fn knows(gateway: &TestGateway, witnesses: &[Witness], min: usize) {
    let keys: Vec<_> = witnesses.iter().map(|witness| &witness.public_key).collect();
    gateway.configure("# witness_keys = []", &format!("witness_keys = {}", json!(keys)));
    gateway.configure("# witnesses_min = 0", &format!("witnesses_min = {min}"));
}

fn size(note: &str) -> u64 {
    note.lines().nth(1).unwrap().parse().unwrap()
}

/// Who signed a note, besides the log.
fn cosigners(note: &str) -> Vec<&str> {
    let lines = note.lines().filter_map(|line| line.strip_prefix("\u{2014} "));
    lines.map(|line| line.split(' ').next().unwrap()).filter(|name| *name != ORIGIN).collect()
}

#[tokio::test]
async fn witnesses_cosign_what_grew_and_everybody_can_check_it() {
    let (mut gateway, witnesses) = watched(&[POLICE, TRUST], 2);
    let [police, trust] = witnesses.as_slice() else { panic!() };
    gateway.serve();
    let hub = gateway.agency(HUB);
    hub.get("/v1/log/checkpoint?witnesses=1").await.problem(404, "not-found");
    let first = police.looks(&gateway);
    assert_eq!((&first["cosigned"], &first["from"]), (&json!(true), &json!(0)));
    // Nothing new: nothing is done, and nothing is signed again.
    let state = police.state();
    assert_eq!(police.looks(&gateway)["cosigned"], false);
    assert_eq!(police.state(), state);
    assert_eq!(hub.get("/v1/log/checkpoint").await.text(), state, "as the witness has it");
    assert_eq!(cosigners(&state), ["test-police.example/witness"]);

    hub.dispatch(&[SURGERY]).await;
    let grown = police.looks(&gateway);
    assert_eq!((&grown["cosigned"], &grown["from"]), (&json!(true), &first["size"]));
    trust.looks(&gateway);
    let both = hub.get("/v1/log/checkpoint?witnesses=2").await.text().to_owned();
    assert_eq!(
        cosigners(&both),
        ["test-police.example/witness", "test-trust.example/witness"],
        "{both}"
    );
    // Once the log has gone on, that is still the latest that both have seen.
    hub.dispatch(&[SURGERY]).await;
    assert!(cosigners(hub.get("/v1/log/checkpoint").await.text()).is_empty());
    assert_eq!(hub.get("/v1/log/checkpoint?witnesses=2").await.text(), both);
    hub.get("/v1/log/checkpoint?witnesses=3").await.problem(404, "not-found");
    hub.get("/v1/log/checkpoint?witnesses=all").await.problem(400, "invalid-parameter");
    let metrics = gateway.local("/metrics");
    let gauge = format!("mash_gateway_log_witnessed_entries {}", size(&both));
    eventually("the gauge", async || gateway.local("/metrics").contains(&gauge)).await;
    assert!(metrics.contains("# TYPE mash_gateway_log_witnessed_entries gauge"));

    // By somebody else's hands: openssl, from the key's and the note's own bytes.
    for witness in &witnesses {
        openssl_verifies(&gateway, &both, witness);
    }
    // By ours, offline: an agency with the witnesses' keys.
    let keys = gateway.folder().join("witness-keys.txt");
    let lines: Vec<_> = witnesses.iter().map(|witness| witness.public_key.clone()).collect();
    std::fs::write(&keys, lines.join("\n")).unwrap();
    let kept = gateway.folder().join("kept.note");
    std::fs::write(&kept, &both).unwrap();
    let (kept, keys) = (kept.to_str().unwrap(), keys.to_str().unwrap());
    for arguments in [&["--witness-keys", keys][..], &[]] {
        let verify = [&["log", "verify", "--since", kept], arguments].concat();
        let verified = gateway.run(&verify);
        let said = text(&verified.stdout);
        assert!(verified.status.success(), "{}", text(&verified.stderr));
        for witness in ["test-police", "test-trust"] {
            let phrase = format!("witnessed by {witness}.example/witness at 20");
            assert!(said.contains(&phrase), "{said}");
        }
    }
    // A receipt under a checkpoint that was cosigned since, as somebody may put it together.
    let receipt = hub.dispatch(&[SURGERY]).await["exchanges"][0]["receipt"].clone();
    police.looks(&gateway);
    let line = police.state().lines().last().unwrap().to_owned();
    let file = gateway.folder().join("witnessed.receipt");
    std::fs::write(&file, format!("{}{line}\n", receipt.as_str().unwrap())).unwrap();
    let verified = gateway.run(&["receipt", "verify", file.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    let said = text(&verified.stdout);
    assert!(said.contains("Witnessed by test-police.example/witness at 20"), "{said}");
    // And one in a known witness's name that it did not make.
    let forged = line.replacen("test-police", "test-trust", 1);
    std::fs::write(&file, format!("{}{forged}\n", receipt.as_str().unwrap())).unwrap();
    assert!(gateway.run(&["receipt", "verify", file.to_str().unwrap()]).status.success());
    let changed = format!("{}{}\n", receipt.as_str().unwrap(), flipped(&line));
    std::fs::write(&file, changed).unwrap();
    let refused = gateway.run(&["receipt", "verify", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));

    // What witnesses said is there after a restart, and the log is none the worse for it.
    gateway.restart();
    let hub = gateway.agency(HUB);
    assert_eq!(hub.get("/v1/log/checkpoint?witnesses=2").await.text(), both);
    gateway.verify_log();
}

/// A signature line with the last bit of its signature changed.
fn flipped(line: &str) -> String {
    let (head, encoded) = line.rsplit_once(' ').unwrap();
    let mut bytes = STANDARD.decode(encoded).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    format!("{head} {}", STANDARD.encode(bytes))
}

/// Written from the specifications (C2SP signed-note and tlog-cosignature) with nothing of ours.
#[track_caller]
fn openssl_verifies(gateway: &TestGateway, note: &str, witness: &Witness) {
    let (name, key) = witness.public_key.split_once('+').unwrap();
    let (key_id, key) = key.split_once('+').unwrap();
    let key = STANDARD.decode(key).unwrap();
    assert_eq!((key[0], key.len()), (4, 33), "timestamped Ed25519");
    let line = note.lines().find(|line| line.starts_with(&format!("\u{2014} {name} "))).unwrap();
    let signature = STANDARD.decode(line.rsplit_once(' ').unwrap().1).unwrap();
    assert_eq!(signature.len(), 4 + 8 + 64);
    let file = |end: &str, bytes: &[u8]| {
        let path = gateway.folder().join(format!("openssl.{end}"));
        std::fs::write(&path, bytes).unwrap();
        path
    };
    // The key's id is the beginning of a hash by sha256sum.
    let hashed = file("hashed", &[name.as_bytes(), b"\n", &key].concat());
    let sum = Command::new("sha256sum").arg(hashed).output().unwrap().stdout;
    assert_eq!(&text(&sum)[..8], key_id);
    assert_eq!(signature[..4].iter().map(|b| format!("{b:02x}")).collect::<String>(), key_id);
    let time = u64::from_be_bytes(signature[4..12].try_into().unwrap());
    let at = Timestamp::from_second(time.try_into().unwrap()).unwrap();
    assert!(mash_gateway::message::now().duration_since(at).as_secs().abs() < 600, "{at}");
    let body = &note[..note.find("\n\n").unwrap() + 1];
    let message = file("message", format!("cosignature/v1\ntime {time}\n{body}").as_bytes());
    let other = file("other", format!("cosignature/v1\ntime {}\n{body}", time + 1).as_bytes());
    // The fixed DER prefix of an Ed25519 SubjectPublicKeyInfo (RFC 8410).
    let der = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let public = file("public.der", &[&der[..], &key[1..]].concat());
    let signature = file("signature", &signature[12..]);
    for (message, is_good) in [(&message, true), (&other, false)] {
        let verified = Command::new("openssl")
            .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey"])
            .arg(&public)
            .arg("-in")
            .arg(message)
            .arg("-sigfile")
            .arg(&signature)
            .output()
            .unwrap();
        assert_eq!(verified.status.success(), is_good, "{}", text(&verified.stderr));
    }
}

/// The database put back as it was, and then used: the log is shorter, and then another one.
#[tokio::test]
async fn a_database_that_was_put_back_is_found_by_every_witness_and_shown() {
    let (mut gateway, witnesses) = watched(&[POLICE, TRUST], 1);
    gateway.serve();
    gateway.agency(HUB).dispatch(&[SURGERY]).await;
    gateway.stop();
    let copy = gateway.folder().join("old.db");
    let backup = format!(".backup {}", copy.display());
    let copied = Command::new("sqlite3").arg(gateway.database()).arg(backup).status().unwrap();
    assert!(copied.success());
    gateway.serve();
    gateway.agency(HUB).dispatch(&[SURGERY]).await;
    gateway.agency(HUB).dispatch(&[SURGERY]).await;
    for witness in &witnesses {
        witness.looks(&gateway);
    }
    let last = witnesses[0].state();
    gateway.kill();
    for file in ["gateway.db-wal", "gateway.db-shm"] {
        let _ = std::fs::remove_file(gateway.database().with_file_name(file));
    }
    std::fs::copy(&copy, gateway.database()).unwrap();
    // Whoever does that can take away what the gateway itself remembers it by, too.
    let _ = std::fs::remove_file(gateway.home().join("keys/log-anchor.txt"));
    gateway.serve();
    witnesses[0].accuses(&gateway, "the log is shorter");
    // The gateway itself sees nothing wrong, until somebody shows it what it signed.
    let hub = gateway.agency(HUB);
    assert!(gateway.local("/readyz").contains("\"status\":\"ready"));
    let shown = cosign(&gateway, POLICE, &last).await;
    shown.problem(422, "cosignature-refused");
    eventually("an operator is told", async || {
        gateway.local("/readyz").contains("somebody has a checkpoint that its key signed")
    })
    .await;
    assert!(gateway.log().contains("this log does not have"));
    // Grown past what the other saw, it is another log.
    while size(hub.get("/v1/log/checkpoint").await.text()) <= size(&last) {
        hub.dispatch(&[SURGERY]).await;
    }
    witnesses[1].accuses(&gateway, "the proof is wrong");
    let proof = &witnesses[1].evidence()[0]["proof"]["hashes"];
    assert!(!proof.as_array().unwrap().is_empty(), "{proof}");
}

async fn cosign(gateway: &TestGateway, agency: &str, note: &str) -> crate::support::Answer {
    let body = json!({ "note": note }).to_string().into_bytes();
    let headers = [("content-type", "application/json")];
    let agency = gateway.agency(agency);
    agency.request(Method::POST, "/v1/log/cosignatures", &headers, body).await.unwrap()
}

/// Whoever has the log's key can sign another root for the same size.
#[tokio::test]
async fn two_roots_for_one_size_are_found() {
    let (mut gateway, witnesses) = watched(&[POLICE], 1);
    gateway.serve();
    witnesses[0].looks(&gateway);
    let state = witnesses[0].state();
    let pem = std::fs::read_to_string(gateway.home().join("keys/log-key.pem")).unwrap();
    let log = LogKey::from_pem(ORIGIN, &pem).unwrap();
    let forged = log.sign(size(&state), &leaf_hash(b"another"));
    // What the witness will have seen, had it been shown the other first.
    let text_of_key = std::fs::read_to_string(witnesses[0].folder.join("witness.key")).unwrap();
    let key = WitnessKey::parse(&text_of_key).unwrap();
    let forged = key.cosign(&forged, ORIGIN, mash_gateway::message::now()).unwrap();
    std::fs::write(witnesses[0].folder.join("witness.state"), &forged).unwrap();
    witnesses[0].accuses(&gateway, "another root for the same size");
    // It does not take it back either, though everybody's signature on it is good.
    cosign(&gateway, POLICE, &forged).await.problem(422, "cosignature-refused");
    std::fs::write(witnesses[0].folder.join("witness.state"), &state).unwrap();
    assert_eq!(witnesses[0].looks(&gateway)["from"], size(&state));
}

/// Killed after it was on the disk and before the gateway had it: the same word is given again.
#[tokio::test]
async fn what_the_gateway_did_not_get_is_brought_again_to_the_byte() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let mut gateway = gateway;
    let witness = Witness::made(&gateway, POLICE);
    gateway.serve();
    // Not known yet: so it is on the disk, and not with the gateway.
    let refused = witness.look(&gateway);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("The cosignature does not count"));
    let state = witness.state();
    assert_eq!(cosigners(&state), ["test-police.example/witness"], "on the disk first");
    gateway.stop();
    let unreachable = witness.look(&gateway);
    assert_eq!(unreachable.status.code(), Some(1));
    assert_eq!(witness.state(), state);
    knows(&gateway, std::slice::from_ref(&witness), 1);
    gateway.serve();
    // The gateway's stop and start are two entries more.
    let grown = witness.looks(&gateway);
    assert_eq!((&grown["cosigned"], &grown["from"]), (&json!(true), &json!(size(&state))));
    // Lost once more, with nothing new to sign.
    let state = witness.state();
    let sql = "DELETE FROM cosignatures";
    let ran = Command::new("sqlite3").arg(gateway.database()).arg(sql).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let hub = gateway.agency(HUB);
    assert!(cosigners(hub.get("/v1/log/checkpoint").await.text()).is_empty());
    assert_eq!(witness.looks(&gateway)["cosigned"], true);
    assert_eq!(witness.state(), state);
    assert_eq!(hub.get("/v1/log/checkpoint").await.text(), state);
}

#[tokio::test]
async fn what_is_no_cosignature_of_a_known_witness_is_refused() {
    let (mut gateway, witnesses) = watched(&[POLICE], 1);
    gateway.serve();
    witnesses[0].looks(&gateway);
    let good = witnesses[0].state();
    let key = std::fs::read_to_string(witnesses[0].folder.join("witness.key")).unwrap();
    let key = WitnessKey::parse(&key).unwrap();
    let stranger = WitnessKey::generate("test-police.example/witness").unwrap();
    let note = good.lines().take(5).flat_map(|line| [line, "\n"]).collect::<String>();
    let at = |seconds: i64| {
        let now = mash_gateway::message::now().as_second();
        Timestamp::from_second(now + seconds).unwrap()
    };
    let other_log = LogKey::generate(ORIGIN).unwrap().sign(3, &leaf_hash(b"x"));
    let (body, last) = (&note, good.lines().last().unwrap());
    for (wrong, detail) in [
        (String::new(), "not a well-formed checkpoint"),
        (key.cosign(&other_log, ORIGIN, at(0)).unwrap(), "not signed by this log's key"),
        (note.clone(), "No witness that this gateway knows"),
        (stranger.cosign(&note, ORIGIN, at(0)).unwrap(), "No witness that this gateway knows"),
        (format!("{body}{}\n", flipped(last)), "does not verify"),
        (key.cosign(&note, ORIGIN, at(600)).unwrap(), "still to come"),
    ] {
        // By whomever it is brought.
        for agency in [POLICE, SURGERY] {
            let problem =
                cosign(&gateway, agency, &wrong).await.problem(422, "cosignature-refused");
            assert!(problem["detail"].as_str().unwrap().contains(detail), "{detail}: {problem}");
        }
    }
    let surgery = gateway.agency(SURGERY);
    let post = |headers: &'static [(&str, &str)], body: Vec<u8>| {
        let surgery = &surgery;
        async move {
            surgery.request(Method::POST, "/v1/log/cosignatures", headers, body).await.unwrap()
        }
    };
    const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
    post(&[], b"{}".to_vec()).await.problem(415, "content-type");
    post(JSON, b"{".to_vec()).await.problem(400, "not-json");
    post(JSON, b"[1]".to_vec()).await.problem(422, "cosignature-refused");
    post(JSON, vec![b' '; 20_000]).await.problem(413, "body-too-large");
    // A later word for the same is taken, an earlier one changes nothing; whoever brings it.
    let later = key.cosign(&note, ORIGIN, at(60)).unwrap();
    let kept = cosign(&gateway, SURGERY, &later).await.ok(200);
    assert_eq!(kept["cosignatures"][0]["witness"], witnesses[0].public_key);
    cosign(&gateway, SURGERY, &good).await.ok(200);
    assert_eq!(surgery.get("/v1/log/checkpoint?witnesses=1").await.text(), later);
    gateway.stop();
    let entries = gateway.entries();
    assert!(entries.iter().any(|fields| {
        fields["problem"] == "cosignature-refused" && fields["reason"] == "unknown-witness"
    }));
    gateway.verify_log();
}

/// It never holds anything up; it is said, and it is over when they are heard.
#[tokio::test]
async fn witnesses_that_are_not_heard_for_an_hour_are_a_concern_and_no_more() {
    let mut gateway = TestGateway::made_long_ago(&case::partners(&[]), "-2h");
    let witnesses = [POLICE, TRUST].map(|agency| Witness::made(&gateway, agency));
    knows(&gateway, &witnesses, 2);
    gateway.serve();
    let concern = "witnesses: entry 0 and what follows it is more than an hour old";
    eventually("it is said", async || gateway.local("/readyz").contains(concern)).await;
    let found = |clock: &str| -> Value {
        let ran = gateway.run_at(clock, &["doctor", "--quick", "--json"]);
        let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().clone();
        let of_witnesses = findings.into_iter().filter(|finding| finding["code"] == "witnesses");
        let found: Vec<_> = of_witnesses.collect();
        let [one] = found.as_slice() else { panic!("{report:#}") };
        one.clone()
    };
    assert_eq!(found("+0s")["verdict"], "act");
    gateway.agency(HUB).dispatch(&[SURGERY]).await;
    // One is not two.
    witnesses[0].looks(&gateway);
    assert!(gateway.local("/readyz").contains(concern));
    let behind = found("+0s")["says"].as_str().unwrap().to_owned();
    assert!(behind.ends_with("behind: test-trust.example/witness"), "{behind}");
    witnesses[1].looks(&gateway);
    eventually("it is over", async || !gateway.local("/readyz").contains("witnesses:")).await;
    assert_eq!(found("+0s")["verdict"], "ok");
    // What comes after is due in an hour, not before; when nothing comes, nothing is due.
    assert_eq!(found("+10h")["verdict"], "ok");
    gateway.agency(HUB).dispatch(&[SURGERY]).await;
    assert_eq!(found("+50m")["verdict"], "ok");
    assert_eq!(found("+65m")["verdict"], "act");
}

/// Without `--once` it goes on by itself, and can be killed at any time.
#[tokio::test]
async fn a_witness_that_runs_on_follows_the_log_and_leaves_nothing_undone() {
    let (mut gateway, witnesses) = watched(&[POLICE], 1);
    gateway.serve();
    let hub = gateway.agency(HUB);
    let once = witnesses[0].command(&gateway, None);
    let mut running = Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
        .args(once.get_args().filter(|argument| *argument != "--once"))
        .args(["--interval", "1"])
        .current_dir(&witnesses[0].folder)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..2 {
        hub.dispatch(&[SURGERY]).await;
        eventually("it follows", async || {
            !cosigners(hub.get("/v1/log/checkpoint").await.text()).is_empty()
        })
        .await;
    }
    assert!(running.try_wait().unwrap().is_none());
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(witnesses[0].looks(&gateway)["cosigned"], false);
}

#[tokio::test]
async fn a_witness_keeps_its_files_and_signs_nothing_without_them() {
    let (mut gateway, witnesses) = watched(&[POLICE], 0);
    let witness = &witnesses[0];
    use std::os::unix::fs::PermissionsExt as _;
    for file in ["witness.key", "witness.state"] {
        let mode = std::fs::metadata(witness.folder.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let init = |name: &str| {
        Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
            .args(["witness", "init", "--name", name])
            .current_dir(&witness.folder)
            .output()
            .unwrap()
    };
    assert_eq!(init("another").status.code(), Some(2), "nothing is overwritten");
    let key = witness.folder.join("witness.key");
    let state = witness.folder.join("witness.state");
    gateway.serve();
    witness.looks(&gateway);
    let seen = witness.state();
    // A clock that was set back.
    let slow = witness.command(&gateway, Some("-2d")).output().unwrap();
    assert_eq!(slow.status.code(), Some(1), "{}", text(&slow.stderr));
    gateway.agency(HUB).dispatch(&[SURGERY]).await;
    let slow = witness.command(&gateway, Some("-2m")).output().unwrap();
    assert_eq!(slow.status.code(), Some(1), "{}", text(&slow.stderr));
    assert!(text(&slow.stderr).contains("clock is behind"), "{}", text(&slow.stderr));
    assert_eq!(witness.state(), seen);
    // A state that is gone, cut short, empty, of another witness or changed.
    let stranger = WitnessKey::generate("stranger").unwrap();
    let of_stranger = stranger.cosign(&seen, ORIGIN, mash_gateway::message::now()).unwrap();
    for (contents, saying) in [
        (None, "it is gone"),
        (Some(String::new()), "not a well-formed checkpoint"),
        (Some(seen[..seen.len() / 2].to_owned()), "not"),
        (Some(of_stranger), "did not cosign"),
        (Some(seen.replacen(&format!("\n{}\n", size(&seen)), "\n1\n", 1)), "does not verify"),
    ] {
        match &contents {
            Some(contents) => std::fs::write(&state, contents).unwrap(),
            None => std::fs::remove_file(&state).unwrap(),
        }
        let looked = witness.look(&gateway);
        let said = text(&looked.stderr);
        assert_eq!(looked.status.code(), Some(3), "{saying}: {said}");
        assert!(said.contains(saying) && said.contains("is a new one"), "{saying}: {said}");
        assert_eq!(std::fs::read_to_string(&state).ok(), contents, "it is left as it is");
    }
    std::fs::write(&state, &seen).unwrap();
    // Two at once.
    let lock = std::fs::File::open(&key).unwrap();
    lock.lock().unwrap();
    let second = witness.look(&gateway);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another witness runs"), "{}", text(&second.stderr));
    drop(lock);
    assert_eq!(witness.looks(&gateway)["cosigned"], true);
    // A key that is none, and one that is not there.
    std::fs::write(&key, "nothing\n").unwrap();
    assert_eq!(witness.look(&gateway).status.code(), Some(1));
    std::fs::remove_file(&key).unwrap();
    assert_eq!(witness.look(&gateway).status.code(), Some(4));
    std::fs::remove_file(&state).unwrap();
    assert_eq!(init("a b").status.code(), Some(2), "a name with a space");
    assert!(!key.exists());
}
