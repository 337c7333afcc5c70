//! Files that are sent with messages, at rest: what a crash leaves, what is swept, who can open what,
//! and that every changed bit is found. And that no file is ever in memory whole.

use std::io::Write as _;
use std::process::Command;

use hyper::Method;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::attachments::{
    CANARY, curl, dispatch_with, fetch, gateway, id, new_key, pdf, response_with, stream, upload,
    upload_as,
};
use crate::support::{HUB, POLICE, TestGateway, case, eventually, text};

/// What Debian's sqlite3 says to this.
fn sqlite(gateway: &TestGateway, sql: &str) -> String {
    let ran = Command::new("sqlite3").arg(gateway.database()).arg(sql).output().unwrap();
    assert!(ran.status.success(), "{sql}: {}", text(&ran.stderr));
    text(&ran.stdout).trim().to_owned()
}

/// How many rows of each there are: files, and parts.
fn counts(gateway: &TestGateway) -> String {
    let sql = "SELECT (SELECT count(*) FROM attachments) || ' ' || \
               (SELECT count(*) FROM attachment_parts)";
    sqlite(gateway, sql)
}

/// Makes every file look this many hours older. The gateway must be stopped.
fn age(gateway: &TestGateway, hours: u32) {
    let sql = format!("UPDATE attachments SET begun_ms = begun_ms - {hours} * 3600000");
    sqlite(gateway, &sql);
}

#[tokio::test]
async fn what_no_message_names_in_time_is_destroyed_and_what_one_names_is_not() {
    let mut gateway = gateway(&[]);
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let (key, file) = (new_key(), pdf(2_500_000));
    let sent = upload(&hub, "application/pdf", &file).await;
    hub.post("/v1/rfis", &dispatch_with(&[POLICE], &[&sent])).await.ok(202);
    let forgotten = upload_as(&hub, &key, "application/pdf", &file).await.ok(201);
    gateway.stop();
    age(&gateway, 25);
    gateway.serve();
    let (hub, police) = (gateway.moved(hub), gateway.moved(police));
    eventually("it is swept", async || counts(&gateway) == "1 10").await;
    let named = dispatch_with(&[POLICE], &[&forgotten]);
    let problem = hub.post("/v1/rfis", &named).await.problem(422, "schema");
    assert_eq!(problem["errors"][0]["pointer"], "/rfi/attachments/0");
    assert_eq!(problem["errors"][0]["code"], "attachment-unknown");
    assert!(fetch(&police, &sent).await.body == file);
    // The same upload is a new file then, and its key is free.
    let again = upload_as(&hub, &key, "application/pdf", &file).await.ok(201);
    assert_ne!(again["id"], forgotten["id"]);
    gateway.stop();
    let swept: Vec<_> = gateway
        .entries()
        .into_iter()
        .filter(|fields| fields["event"] == "attachment-swept")
        .collect();
    let [swept] = &swept[..] else { panic!("one was swept: {swept:?}") };
    assert_eq!((&swept["agency"], &swept["attachment"]), (&json!(HUB), &forgotten["id"]));
    gateway.verify_log();
}

#[tokio::test]
async fn a_crash_loses_no_file_that_was_acknowledged_and_keeps_no_other() {
    let mut gateway = gateway(&[]);
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let file = pdf(2_500_000);
    let whole = upload(&hub, "application/pdf", &file).await;
    let mut streaming = stream(&gateway, HUB);
    let mut input = streaming.stdin.take().unwrap();
    input.write_all(&pdf(5 << 20)).unwrap();
    input.flush().unwrap();
    let arriving = "SELECT parts FROM attachments WHERE state = 'arriving'";
    eventually("some parts are here", async || {
        sqlite(&gateway, arriving).parse::<u32>().is_ok_and(|parts| parts > 2)
    })
    .await;
    gateway.kill();
    drop(input);
    streaming.wait_with_output().unwrap();
    assert_ne!(sqlite(&gateway, arriving), "", "the crash left something");
    gateway.verify_log();

    // After a restart the one is there to be named; the other goes when nobody can be sending it.
    gateway.serve();
    let (hub, police) = (gateway.moved(hub), gateway.moved(police));
    assert_ne!(sqlite(&gateway, arriving), "", "it is too young to be swept");
    hub.post("/v1/rfis", &dispatch_with(&[POLICE], &[&whole])).await.ok(202);
    assert!(fetch(&police, &whole).await.body == file);
    gateway.kill();
    age(&gateway, 1);
    gateway.serve();
    eventually("the rest is swept", async || counts(&gateway) == "1 10").await;
    gateway.stop();
    // It never was there: nothing is said of it.
    assert!(gateway.entries().iter().all(|fields| fields["event"] != "attachment-swept"));
    gateway.verify_log();
    gateway.holds_nowhere(&[CANARY]);
}

/// A blob from the database, as a file in the home.
fn extract(gateway: &TestGateway, name: &str, sql: &str) {
    let path = gateway.home().join(name);
    sqlite(gateway, &format!("SELECT writefile('{}', ({sql}))", path.display()));
}

/// All parts of a file, as one file in the home.
fn extract_file(gateway: &TestGateway, name: &str, file: &Value) {
    let hex = id(file).replace('-', "");
    let parts = sqlite(
        gateway,
        &format!(
            "SELECT hex(ciphertext) FROM attachment_parts WHERE attachment = x'{hex}' ORDER BY part"
        ),
    );
    let bytes: Vec<u8> = parts
        .lines()
        .flat_map(|line| line.as_bytes().chunks(2))
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    std::fs::write(gateway.home().join(name), bytes).unwrap();
}

#[tokio::test]
async fn stock_age_opens_a_file_with_the_recovery_identity_and_not_without_its_enquiry() {
    let mut gateway = gateway(&[]);
    let hub = gateway.agency(HUB);
    let (unsent, sent) = (pdf(1_100_000), pdf(70_000));
    let unsent_named = upload(&hub, "application/pdf", &unsent).await;
    let sent_named = upload(&hub, "application/pdf", &sent).await;
    hub.post("/v1/rfis", &dispatch_with(&[POLICE], &[&sent_named])).await.ok(202);
    gateway.stop();
    extract_file(&gateway, "unsent.age", &unsent_named);
    extract_file(&gateway, "sent.age", &sent_named);
    extract(
        &gateway,
        "unsent-key.age",
        "SELECT wrapped_key FROM attachments WHERE wrapped_key IS NOT NULL",
    );
    extract(&gateway, "sent-key.age", "SELECT wrapped_key FROM attachment_references");
    extract(&gateway, "enquiry-key.age", "SELECT wrapped_key FROM enquiries");
    let open = |identity: &str, file: &str, into: &str| {
        let opened = gateway.age_decrypt(identity, file)?;
        std::fs::write(gateway.home().join(into), &opened).unwrap();
        Some(opened)
    };
    for recovery in ["keys/recovery-identity.txt", "keys/at-rest-identity.txt"] {
        let label = text(&open(recovery, "unsent-key.age", "unsent-key.txt").unwrap());
        assert!(label.starts_with(&format!("# mash-file/v1 {} ", id(&unsent_named))), "{label}");
        assert!(open("unsent-key.txt", "unsent.age", "out.pdf").unwrap() == unsent);
        open(recovery, "enquiry-key.age", "enquiry-key.txt").unwrap();
    }
    open("enquiry-key.txt", "sent-key.age", "sent-key.txt").unwrap();
    assert!(open("sent-key.txt", "sent.age", "out.pdf").unwrap() == sent);
    // Once it is sent nothing but its enquiry's key leads to it.
    for identity in ["keys/recovery-identity.txt", "keys/at-rest-identity.txt", "unsent-key.txt"] {
        assert!(gateway.age_decrypt(identity, "sent-key.age").is_none(), "{identity}");
        assert!(gateway.age_decrypt(identity, "sent.age").is_none(), "{identity}");
    }
    assert!(gateway.age_decrypt("sent-key.txt", "unsent.age").is_none());
}

#[tokio::test]
async fn whatever_is_changed_of_a_file_is_found_and_no_whole_file_is_handed_over() {
    let mut gateway = gateway(&[]);
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let file = pdf(2_500_000);
    let sent = upload(&hub, "application/pdf", &file).await;
    let unsent = upload(&hub, "application/pdf", &file).await;
    hub.post("/v1/rfis", &dispatch_with(&[POLICE], &[&sent])).await.ok(202);
    gateway.stop();
    gateway.verify_log();
    // The same database is put back again and again, which the anchor would see.
    gateway.configure("# anchor = \"keys/log-anchor.txt\"", "anchor = \"off\"");
    // All of it in one file.
    sqlite(&gateway, "PRAGMA wal_checkpoint(TRUNCATE)");
    let original = std::fs::read(gateway.database()).unwrap();
    let uploaded: Vec<_> = (0_u64..)
        .zip(gateway.entries())
        .filter(|(_, fields)| fields["event"] == "attachment-uploaded")
        .map(|(index, _)| index)
        .collect();
    let accepted = uploaded[1] + 1;
    let of_sent = format!("attachment = x'{}'", id(&sent).replace('-', ""));
    let is_sent = of_sent.replace("attachment", "id");
    let is_unsent = format!("id = x'{}'", id(&unsent).replace('-', ""));
    let flip = |part: u32| {
        format!(
            "UPDATE attachment_parts SET ciphertext = CAST(substr(ciphertext, 1, 70000) || \
             iif(substr(ciphertext, 70001, 1) = x'00', x'01', x'00') || \
             substr(ciphertext, 70002) AS BLOB) WHERE {of_sent} AND part = {part}"
        )
    };
    for (what, sql, entry) in [
        ("a bit of the first part", flip(0), uploaded[0]),
        ("a bit of the last part", flip(9), uploaded[0]),
        (
            "a part that is gone",
            format!("DELETE FROM attachment_parts WHERE {of_sent} AND part = 1"),
            uploaded[0],
        ),
        (
            "the last part gone",
            format!("DELETE FROM attachment_parts WHERE {of_sent} AND part = 9"),
            uploaded[0],
        ),
        (
            "another uploader",
            format!("UPDATE attachments SET uploader = '{POLICE}' WHERE {is_unsent}"),
            uploaded[1],
        ),
        (
            "another type",
            format!("UPDATE attachments SET media_type = 'text/plain' WHERE {is_unsent}"),
            uploaded[1],
        ),
        (
            "another length",
            format!("UPDATE attachments SET size_bytes = 1 WHERE {is_unsent}"),
            uploaded[1],
        ),
        (
            "a file that is gone, and was not swept",
            format!("DELETE FROM attachments WHERE {is_unsent}"),
            uploaded[1],
        ),
        (
            "a file that no message names any more",
            format!("DELETE FROM attachment_references WHERE {of_sent}"),
            accepted,
        ),
        (
            "a file that is to be sent again",
            format!("UPDATE attachments SET state = 'held', wrapped_key = x'00' WHERE {is_sent}"),
            accepted,
        ),
    ] {
        sqlite(&gateway, &sql);
        let verified = gateway.run(&["log", "verify"]);
        let said = text(&verified.stderr);
        assert_eq!(verified.status.code(), Some(3), "{what}: {said}");
        assert!(said.contains(&format!("entry {entry}:")), "{what}: {said}");
        for end in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", gateway.database().display()));
        }
        std::fs::write(gateway.database(), &original).unwrap();
    }
    gateway.verify_log();

    // Whoever fetches such a file gets what is good of it, and a connection that breaks off.
    for (part, sql) in [
        (0, flip(0)),
        (9, flip(9)),
        (9, format!("DELETE FROM attachment_parts WHERE {of_sent} AND part = 9")),
    ] {
        sqlite(&gateway, &sql);
        gateway.serve();
        let url = format!("{}/v1/attachments/{}", gateway.url, id(&sent));
        let out = gateway.folder().join("out.pdf");
        let fetched =
            curl(&gateway, POLICE, &["-o", out.to_str().unwrap(), &url]).output().unwrap();
        assert!(!fetched.status.success(), "curl took it for whole");
        let got = std::fs::read(&out).unwrap_or_default();
        assert!(got.len() < file.len() && file.starts_with(&got), "{}", got.len());
        assert_eq!(got.is_empty(), part == 0);
        assert!(gateway.log().contains("cannot be handed over whole"));
        let _ = std::fs::remove_file(out);
        gateway.stop();
        for end in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", gateway.database().display()));
        }
        std::fs::write(gateway.database(), &original).unwrap();
    }
    gateway.serve();
    let police = gateway.moved(police);
    assert!(fetch(&police, &sent).await.body == file);
}

#[tokio::test]
async fn a_backup_has_the_files() {
    let mut gateway = gateway(&[]);
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let file = pdf(2_500_000);
    let sent = upload(&hub, "application/pdf", &file).await;
    let unsent = upload(&hub, "application/pdf", &file).await;
    let asked = hub.post("/v1/rfis", &dispatch_with(&[POLICE], &[&sent])).await.ok(202);
    let receipt = gateway.folder().join("receipt.json");
    std::fs::write(&receipt, asked.to_string()).unwrap();
    let folder = gateway.folder().join("backup");
    let folder = folder.to_str().unwrap();
    // Stopped first: the anchor knows of the stop, too.
    gateway.stop();
    let made = gateway.run(&["store", "backup", folder]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", gateway.database().display()));
    }
    let since = receipt.to_str().unwrap();
    let restored = gateway.run(&["store", "restore", folder, "--since", since]);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    gateway.serve();
    let (hub, police) = (gateway.moved(hub), gateway.moved(police));
    assert!(fetch(&police, &sent).await.body == file);
    let asked = &asked["exchanges"][0];
    let again = hub.post("/v1/rfis", &dispatch_with(&[POLICE], &[&unsent])).await;
    again.ok(202);
    assert!(fetch(&police, &unsent).await.body == file);
    let of_police = upload(&police, "application/pdf", &file).await;
    let response = response_with(asked, &[&of_police]);
    police.post(&case::path(asked, "responses"), &response).await.ok(202);
    assert!(fetch(&hub, &of_police).await.body == file);
    gateway.stop();
    gateway.verify_log();
}

/// In KiB: what the process has of memory now, and has had at most.
pub(crate) fn memory_kib(gateway: &TestGateway) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let figure = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (figure("VmRSS:"), figure("VmHWM:"))
}

/// A large file comes in and goes out again, and a reader who stops reading holds up nobody.
#[tokio::test]
async fn a_large_file_takes_no_more_memory_than_a_small_one() {
    // MASH_TEST_FILE_MIB=1024 makes it the gibibyte that ARCHITECTURE.md speaks of.
    let mib: u64 = std::env::var("MASH_TEST_FILE_MIB").map_or(128, |mib| mib.parse().unwrap());
    let gateway = gateway(&[
        ("# attachment_bytes_max = 26214400", "attachment_bytes_max = 2147483648"),
        ("# attachments_unsent_bytes_max = 104857600", "attachments_unsent_bytes_max = 9000000000"),
    ]);
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    // Everything that is made once is made.
    let small = upload(&hub, "application/pdf", &pdf(2 << 20)).await;
    hub.post("/v1/rfis", &dispatch_with(&[POLICE], &[&small])).await.ok(202);
    fetch(&police, &small).await;
    let path = gateway.folder().join("large.pdf");
    let mut large = std::fs::File::create(&path).unwrap();
    large.write_all(&pdf(1 << 20)).unwrap();
    large.set_len(mib << 20).unwrap();
    drop(large);

    let (before, _) = memory_kib(&gateway);
    let key = format!("Idempotency-Key: {}", new_key());
    let url = format!("{}/v1/attachments", gateway.url);
    let name = path.to_str().unwrap();
    let arguments =
        ["-X", "POST", "-T", name, "-H", "Content-Type: application/pdf", "-H", &key, &url];
    let uploading = curl(&gateway, HUB, &arguments).spawn().unwrap();
    let uploaded =
        tokio::task::spawn_blocking(|| uploading.wait_with_output().unwrap()).await.unwrap();
    let said = text(&uploaded.stdout);
    assert!(said.ends_with("\n201"), "{said} {}", text(&uploaded.stderr));
    let named: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    hub.post("/v1/rfis", &dispatch_with(&[POLICE], &[&named])).await.ok(202);

    // One who does not read on, while another reads all of it.
    let material = |name: &str| gateway.agencies().join(name).to_str().unwrap().to_owned();
    let mut slow = tokio::process::Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", gateway.url.trim_start_matches("https://")])
        .args(["-CAfile", &material("ca.pem"), "-cert", &material("test-police.pem")])
        .args(["-key", &material("test-police.key")])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let asked = format!("GET /v1/attachments/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", id(&named));
    let mut input = slow.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut input, asked.as_bytes()).await.unwrap();
    let mut first = [0; 15];
    slow.stdout.as_mut().unwrap().read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let out = gateway.folder().join("out.pdf");
    let url = format!("{url}/{}", id(&named));
    let fetching = curl(&gateway, POLICE, &["-o", out.to_str().unwrap(), &url]).spawn().unwrap();
    let fetched =
        tokio::task::spawn_blocking(|| fetching.wait_with_output().unwrap()).await.unwrap();
    assert!(fetched.status.success(), "{}", text(&fetched.stderr));
    let same = Command::new("cmp").arg(&path).arg(&out).status().unwrap();
    assert!(same.success(), "other bytes");
    // And others are served.
    police.request(Method::GET, "/v1/inbox", &[], Vec::new()).await.unwrap().ok(200);
    let (_, most) = memory_kib(&gateway);
    let grown = most.saturating_sub(before) / 1024;
    println!("{mib} MiB in and out: {grown} MiB of memory above {} MiB", before / 1024);
    assert!(grown < 32, "{grown} MiB above {} MiB", before / 1024);
}
