//! Who may speak: whoever is revoked is cut off at once, and nobody else is. Whom the door turns away
//! from the first is in `zoo.rs`.

use std::process::Command;
use std::time::Duration;

use hyper::{HeaderMap, Method};
use mash_gateway::http::client::{ClientError, Connection};
use serde_json::{Value, json};

use crate::support::{Agency, HUB, POLICE, SURGERY, TRUST, TestGateway, case, eventually, text};

/// Turned away in the TLS handshake: nothing of HTTP is answered.
async fn is_turned_away(bearer: &Agency) -> bool {
    match bearer.request(Method::GET, "/v1/whoami", &[], Vec::new()).await {
        Err(ClientError::Tls(_) | ClientError::Closed) => true,
        Err(other) => panic!("{other}"),
        Ok(_) => false,
    }
}

#[tokio::test]
async fn tls_below_1_3_is_refused_unless_the_operator_allows_it() {
    let mut gateway = TestGateway::start();
    let agree = |gateway: &TestGateway, version: &str| {
        let folder = gateway.agencies();
        let asked = Command::new("curl")
            .args(["--silent", "--show-error", "--tls-max", version, "--cacert"])
            .arg(folder.join("ca.pem"))
            .arg("--cert")
            .arg(folder.join(format!("{POLICE}.pem")))
            .arg("--key")
            .arg(folder.join(format!("{POLICE}.key")))
            .arg(format!("{}/v1/whoami", gateway.url))
            .output()
            .unwrap();
        asked.status.success() && text(&asked.stdout).contains(POLICE)
    };
    assert!(agree(&gateway, "1.3"));
    assert!(!agree(&gateway, "1.2"));
    gateway.configure("# min = \"1.3\"", "min = \"1.2\"");
    gateway.restart();
    assert!(agree(&gateway, "1.2"));
    assert!(!agree(&gateway, "1.1"));
}

#[tokio::test]
async fn keys_are_agreed_so_that_no_quantum_computer_undoes_it_where_both_ends_can() {
    let gateway = TestGateway::start();
    let groups = || {
        let metrics = gateway.local("/metrics");
        let found = metrics.lines().filter_map(|line| {
            let rest = line.strip_prefix("mash_gateway_key_exchanges_total{group=\"")?;
            Some(rest.replace("\"}", ""))
        });
        found.collect::<Vec<_>>()
    };
    gateway.agency(POLICE).get("/v1/whoami").await;
    assert_eq!(groups(), ["X25519MLKEM768 1"]);
    // Who knows nothing newer is served as well.
    let folder = gateway.agencies();
    let asked = Command::new("openssl")
        .args(["s_client", "-groups", "P-384", "-connect"])
        .arg(gateway.url.trim_start_matches("https://"))
        .arg("-cert")
        .arg(folder.join(format!("{POLICE}.pem")))
        .arg("-key")
        .arg(folder.join(format!("{POLICE}.key")))
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", text(&asked.stderr));
    eventually("the older group is counted", async || {
        let mut groups = groups();
        groups.sort();
        groups == ["X25519MLKEM768 1", "secp384r1 1"]
    })
    .await;
}

#[tokio::test]
async fn whoever_is_revoked_is_cut_off_at_once() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    hub.dispatch(&[POLICE]).await;
    let mut open = police.connect().await;
    async fn whoami(open: &mut Connection) -> Result<u16, ClientError> {
        let nothing = (HeaderMap::new(), Vec::new().into());
        let answer = open.send(Method::GET, "/v1/whoami", nothing.0, nothing.1).await?;
        Ok(answer.status.as_u16())
    }
    assert_eq!(whoami(&mut open).await.unwrap(), 200);
    let record = |gateway: &TestGateway| {
        let listed = gateway.run(&["cert", "list", "--json"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        let all = listed["certificates"].as_array().unwrap().clone();
        all.into_iter().filter(|one| one["agency"] == POLICE).collect::<Vec<_>>()
    };
    assert_eq!(record(&gateway)[0]["standing"], "active");

    // Slips do nothing.
    let revoke = |gateway: &TestGateway, agency: &str, confirm: &str| {
        gateway.run(&["cert", "revoke", agency, "--reason", "key-compromise", "--confirm", confirm])
    };
    let slip = revoke(&gateway, POLICE, TRUST);
    assert_eq!(slip.status.code(), Some(2), "{}", text(&slip.stderr));
    let unknown = revoke(&gateway, "test-nobody", "test-nobody");
    assert_eq!(unknown.status.code(), Some(4), "{}", text(&unknown.stderr));
    assert_eq!(whoami(&mut open).await.unwrap(), 200);

    let revoked = revoke(&gateway, POLICE, POLICE);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    // When the command returns, it is in force: on the connection that was open, and on new ones.
    assert!(whoami(&mut open).await.is_err(), "the open connection was cut");
    assert!(is_turned_away(&police).await);
    assert_eq!(record(&gateway)[0]["standing"], "revoked");
    assert_eq!(record(&gateway)[0]["reason"], "keyCompromise");
    assert_eq!(gateway.agency(TRUST).get("/v1/whoami").await.status, 200);
    // Once more is a confirmation once more.
    let again = revoke(&gateway, POLICE, POLICE);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert!(text(&again.stdout).contains("revoked before"), "{}", text(&again.stdout));

    // It stays so when the gateway starts anew, and a new certificate opens the door again.
    gateway.restart();
    assert!(is_turned_away(&gateway.agency(POLICE)).await);
    gateway.certify(POLICE);
    let police = gateway.agency(POLICE);
    assert_eq!(police.get_json("/v1/whoami").await["waiting"], 1);
    police.collect_first().await;

    gateway.stop();
    let entries = gateway.entries();
    let is_logged = |event: &str, name: &str, value: Value| {
        entries.iter().any(|fields| fields["event"] == event && fields[name] == value)
    };
    assert!(is_logged("certificate-revoked", "agency", json!(POLICE)));
    assert!(is_logged("handshake-refused", "reason", json!("certificate-revoked")));
    gateway.verify_log();
}

#[tokio::test]
async fn one_certificate_of_an_agency_is_revoked_by_its_serial() {
    let gateway = TestGateway::start();
    let old = gateway.agency(SURGERY);
    gateway.certify(SURGERY);
    let new = gateway.agency(SURGERY);
    let serial = old.get_json("/v1/whoami").await["certificate"]["serial"].clone();
    let serial = serial.as_str().unwrap();
    assert_ne!(new.get_json("/v1/whoami").await["certificate"]["serial"], serial);
    let revoked = gateway.run(&[
        "cert",
        "revoke",
        "--serial",
        serial,
        "--reason",
        "superseded",
        "--confirm",
        SURGERY,
    ]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    assert!(is_turned_away(&old).await);
    assert_eq!(new.get("/v1/whoami").await.status, 200);
}

#[tokio::test]
async fn a_revocation_that_no_gateway_has_heard_of_says_so() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let revoked =
        gateway.run(&["cert", "revoke", POLICE, "--reason", "superseded", "--confirm", POLICE]);
    assert_eq!(revoked.status.code(), Some(1));
    assert!(text(&revoked.stderr).contains("NO RUNNING GATEWAY"), "{}", text(&revoked.stderr));
    // It is recorded all the same.
    let mut gateway = gateway;
    gateway.serve();
    assert!(is_turned_away(&gateway.agency(POLICE)).await);
}

#[tokio::test]
async fn changed_files_are_taken_into_use_whole_or_not_at_all() {
    let gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    let path = gateway.home().join("partners.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let hang_up = || {
        let told = Command::new("kill").args(["-HUP", &gateway.pid().to_string()]).status();
        assert!(told.unwrap().success());
    };
    let concerns = || {
        let ready: Value = serde_json::from_str(&gateway.local("/readyz")).unwrap();
        ready["concerns"].as_array().unwrap().len()
    };
    assert_eq!(concerns(), 0);

    std::fs::write(&path, good.replace("kind = \"police\"", "kind = \"polise\"")).unwrap();
    hang_up();
    eventually("the mistake is a concern", async || concerns() == 1).await;
    hub.dispatch(&[POLICE]).await;

    let suspended = good.replacen(
        &format!(
            "id = \"{POLICE}\"\nname = \"Test {POLICE}\"\nkind = \"police\"\nstatus = \"active\""
        ),
        &format!(
            "id = \"{POLICE}\"\nname = \"Test {POLICE}\"\nkind = \"police\"\nstatus = \"suspended\""
        ),
        1,
    );
    assert_ne!(suspended, good);
    std::fs::write(&path, suspended).unwrap();
    hang_up();
    eventually("the concern is gone", async || concerns() == 0).await;
    let answer = hub.post("/v1/rfis", &case::dispatch(&[POLICE])).await;
    assert_eq!(answer.problem(422, "recipient")["errors"][0]["code"], "recipient-suspended");
}

/// What a revocation changes does not wait for a mistake elsewhere to be mended.
#[tokio::test]
async fn a_mistake_in_the_directory_holds_up_no_revocation() {
    let gateway = TestGateway::start();
    let police = gateway.agency(POLICE);
    std::fs::write(gateway.home().join("partners.toml"), "garbage = =").unwrap();
    let revoked =
        gateway.run(&["cert", "revoke", POLICE, "--reason", "key-compromise", "--confirm", POLICE]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    assert!(is_turned_away(&police).await);
    assert_eq!(gateway.agency(TRUST).get("/v1/whoami").await.status, 200);
}

/// Whoever edits the register cannot take a certificate off the revocation list.
#[tokio::test]
async fn what_was_revoked_stays_revoked() {
    let gateway = TestGateway::start();
    let police = gateway.agency(POLICE);
    let revoked =
        gateway.run(&["cert", "revoke", POLICE, "--reason", "key-compromise", "--confirm", POLICE]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    let sql = "UPDATE certificates SET revoked_ms = NULL, revoked_reason = NULL";
    let edited = Command::new("sqlite3").arg(gateway.database()).arg(sql).status().unwrap();
    assert!(edited.success());
    let signed = gateway.run(&["cert", "crl"]);
    assert!(signed.status.success());
    assert!(text(&signed.stderr).contains("stays revoked"), "{}", text(&signed.stderr));
    assert!(is_turned_away(&police).await);
    assert_eq!(gateway.run(&["log", "verify"]).status.code(), Some(3));
}

#[tokio::test]
async fn nobody_fills_the_log_or_takes_all_the_connections() {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    gateway.configure("# connections_per_agency_max = 128", "connections_per_agency_max = 3");
    gateway.serve();
    let police = gateway.agency(POLICE);
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut connection = police.connect().await;
        let nothing = (HeaderMap::new(), Vec::new().into());
        let answer = connection.send(Method::GET, "/v1/whoami", nothing.0, nothing.1).await;
        assert_eq!(answer.unwrap().status, 200);
        open.push(connection);
    }
    assert!(is_turned_away(&police).await);
    assert_eq!(gateway.agency(HUB).get("/v1/whoami").await.status, 200);
    open.pop().unwrap().close().await;
    eventually("a place is free again", async || !is_turned_away(&police).await).await;

    // Somebody without any certificate, again and again.
    let address = gateway.url.replace("https://localhost", "127.0.0.1");
    for _ in 0..300 {
        let mut tcp = std::net::TcpStream::connect(&address).unwrap();
        std::io::Write::write_all(&mut tcp, b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let _ = std::io::Read::read_to_end(&mut tcp, &mut Vec::new());
    }
    gateway.stop();
    let entries = gateway.entries();
    let refused = entries.iter().filter(|fields| fields["reason"] == "protocol-error").count();
    assert!((1..=70).contains(&refused), "{refused}");
}

#[tokio::test]
async fn an_agency_that_is_not_active_fetches_nothing() {
    let gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.dispatch(&[POLICE]).await;
    let path = gateway.home().join("partners.toml");
    let partners = std::fs::read_to_string(&path).unwrap();
    let (before, after) = partners.split_once(&format!("id = \"{POLICE}\"")).unwrap();
    let after = after.replacen("status = \"active\"", "status = \"suspended\"", 1);
    std::fs::write(&path, format!("{before}id = \"{POLICE}\"{after}")).unwrap();
    let reloaded = Command::new("curl")
        .args(["--silent", "--fail", "-X", "POST"])
        .arg(format!("{}/reload", gateway.local))
        .status();
    assert!(reloaded.unwrap().success());
    let message = dispatched["exchanges"][0]["message"].as_str().unwrap();
    for path in ["/v1/inbox", "/v1/exchanges", &format!("/v1/messages/{message}")] {
        police.get(path).await.problem(403, "agency-inactive");
    }
    assert_eq!(police.get_json("/v1/whoami").await["agency"], POLICE);
}

#[tokio::test]
async fn the_local_door_is_for_this_machines_operator() {
    let gateway = TestGateway::start();
    let status = |arguments: &[&str]| {
        let asked = Command::new("curl")
            .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"])
            .args(arguments)
            .output()
            .unwrap();
        text(&asked.stdout)
    };
    let at = |path: &str| format!("{}{path}", gateway.local);
    assert_eq!(status(&[&at("/metrics")]), "200");
    assert_eq!(status(&["-H", "Host: evil.example", &at("/metrics")]), "400");
    assert_eq!(status(&["-X", "POST", "-H", "Origin: https://e.example", &at("/reload")]), "403");
    assert_eq!(status(&["-X", "POST", &at("/reload")]), "200");
}

#[tokio::test]
async fn certificates_are_issued_beside_a_running_gateway() {
    let mut gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    for _ in 0..3 {
        hub.dispatch(&[POLICE]).await;
        gateway.certify(TRUST);
        police.collect_first().await;
    }
    assert_eq!(gateway.agency(TRUST).get("/v1/whoami").await.status, 200);
    gateway.stop();
    gateway.verify_log();
    let issued = gateway.entries();
    let issued = issued.iter().filter(|fields| fields["event"] == "certificate-issued");
    assert_eq!(issued.count(), 2 + 5 + 3, "the gateway's own two, one for each agency, and three");
}

#[tokio::test]
async fn a_silent_caller_does_not_hold_the_door() {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    gateway.configure("# handshake_timeout_s = 10", "handshake_timeout_s = 1");
    gateway.serve();
    let address = gateway.url.replace("https://localhost", "127.0.0.1");
    let mut silent = std::net::TcpStream::connect(address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(gateway.agency(POLICE).get("/v1/whoami").await.status, 200);
    // It is let go of, rather than we giving up on it.
    let ended = std::io::Read::read(&mut silent, &mut [0; 16]);
    assert!(
        matches!(ended, Ok(0))
            || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
    );
}
