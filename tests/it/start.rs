//! What a gateway looks at before it signs anything: each state that does not fit is refused with one
//! sentence and what to do next, nothing is accepted, and nothing is changed. And what the log is
//! remembered by outside the database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{HUB, POLICE, TestGateway, case, eventually, text};

const ANCHOR: &str = "keys/log-anchor.txt";
const ANCHOR_SETTING: &str = "# anchor = \"keys/log-anchor.txt\"";

/// A stopped gateway to which something was said.
async fn stopped() -> TestGateway {
    let mut gateway = TestGateway::start();
    gateway.agency(HUB).dispatch(&[POLICE]).await;
    stop(&mut gateway);
    gateway
}

/// Stops it, and leaves the whole database in one file.
fn stop(gateway: &mut TestGateway) {
    gateway.stop();
    sqlite(&gateway.database(), "PRAGMA wal_checkpoint(TRUNCATE)");
    let database = gateway.database().into_os_string();
    for ending in ["-wal", "-shm"] {
        let mut beside = database.clone();
        beside.push(ending);
        assert!(!Path::new(&beside).exists(), "{}", beside.display());
    }
}

fn sqlite(database: &Path, sql: &str) -> String {
    let ran = Command::new("sqlite3").arg(database).arg(sql).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    text(&ran.stdout).trim().to_owned()
}

fn entries(gateway: &TestGateway) -> u64 {
    sqlite(&gateway.database(), "SELECT count(*) FROM entries").parse().unwrap()
}

/// Every file of the home, but what SQLite leaves beside the database without anything in it.
fn contents(gateway: &TestGateway) -> BTreeMap<PathBuf, Vec<u8>> {
    let own = |path: &PathBuf| {
        let is_index = path.extension().is_some_and(|extension| extension == "db-shm");
        path.starts_with(gateway.home()) && !is_index
    };
    let all = gateway.files().into_iter().filter(own);
    let all = all.map(|path| (path.clone(), std::fs::read(path).unwrap()));
    all.filter(|(path, bytes)| !(path.ends_with("gateway.db-wal") && bytes.is_empty())).collect()
}

/// That the gateway does not start, nor is anything issued, because of this; and that nothing was
/// changed. Returns what it said.
#[track_caller]
fn refused(gateway: &TestGateway, code: i32, saying: &str) -> String {
    let before = contents(gateway);
    let served = gateway.run(&["serve"]);
    let said = text(&served.stderr);
    assert_eq!(served.status.code(), Some(code), "{saying}: {said}");
    assert!(said.contains(saying), "{saying}: {said}");
    assert!(code != 3 || said.contains("hint: "), "{said}");
    assert_eq!(text(&served.stdout), "", "it never listened");
    let after = contents(gateway);
    for path in before.keys().chain(after.keys()) {
        assert!(before.get(path) == after.get(path), "{saying}: {} was changed", path.display());
    }
    said
}

/// The same, of what else would write to the log.
#[track_caller]
fn nothing_is_signed(gateway: &TestGateway, saying: &str) {
    let before = contents(gateway);
    let voided = gateway.run(&["cert", "token", POLICE]);
    assert_eq!(voided.status.code(), Some(3), "{}", text(&voided.stderr));
    assert!(text(&voided.stderr).contains(saying), "{}", text(&voided.stderr));
    assert_eq!(contents(gateway).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    let database = gateway.database();
    assert_eq!(std::fs::read(&database).ok().as_ref(), before.get(&database), "{saying}");
}

#[tokio::test]
async fn a_database_that_is_no_longer_there_or_no_longer_one_is_not_made_anew() {
    let mut gateway = stopped().await;
    let database = gateway.database();
    let whole = std::fs::read(&database).unwrap();

    std::fs::remove_file(&database).unwrap();
    let said = refused(&gateway, 3, "is not there, and this home has had one");
    assert!(said.contains("store restore"), "{said}");
    nothing_is_signed(&gateway, "is not there");
    // A folder that is empty because its disk is not mounted looks the same.
    assert!(!database.exists());

    for (contents, saying) in [
        (Vec::new(), "no tables: it is no store any more"),
        (b"Dear all, this is not a database, however long it is.".repeat(40), "not a database"),
        (whole[..whole.len() / 3].to_vec(), ""),
    ] {
        std::fs::write(&database, &contents).unwrap();
        refused(&gateway, 3, saying);
        nothing_is_signed(&gateway, saying);
        assert_eq!(std::fs::read(&database).unwrap(), contents);
    }

    std::fs::write(&database, &whole).unwrap();
    sqlite(&database, "PRAGMA user_version = 99");
    refused(&gateway, 3, "written by a newer version");
    nothing_is_signed(&gateway, "written by a newer version");
    sqlite(&database, "PRAGMA user_version = 1; PRAGMA application_id = 7");
    refused(&gateway, 3, "another program's database");

    std::fs::write(&database, whole).unwrap();
    gateway.serve();
    gateway.agency(HUB).dispatch(&[POLICE]).await;
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn keys_and_names_that_are_not_those_of_the_log_are_refused() {
    let mut gateway = stopped().await;
    let other = TestGateway::made(&case::partners(&[]));
    let swapped = |name: &str| {
        let path = gateway.home().join(name);
        let own = std::fs::read(&path).unwrap();
        std::fs::copy(other.home().join(name), &path).unwrap();
        move || std::fs::write(&path, &own).unwrap()
    };
    let put_back = swapped("keys/log-key.pem");
    refused(&gateway, 3, "was not signed by keys/log-key.pem");
    nothing_is_signed(&gateway, "was not signed by");
    put_back();
    let put_back = swapped("keys/at-rest-identity.txt");
    refused(&gateway, 3, "does not open the key of the newest enquiry");
    put_back();
    let anchor = std::fs::read_to_string(gateway.home().join(ANCHOR)).unwrap();
    for (changed, saying) in [
        (anchor.replace("/log/1", "/log/3"), "log-anchor.txt is refused: it is of another log"),
        (anchor.replacen('\n', "\n1", 1), "log-anchor.txt is refused: its signature"),
        (String::new(), "log-anchor.txt is refused"),
    ] {
        std::fs::write(gateway.home().join(ANCHOR), changed).unwrap();
        refused(&gateway, 3, saying);
    }
    std::fs::write(gateway.home().join(ANCHOR), anchor).unwrap();
    let default = format!("# origin = \"{}/log/1\"", "mash.test.example");
    gateway.configure(&default, "origin = \"mash.test.example/log/9\"");
    refused(&gateway, 3, "is mash.test.example/log/9 by gateway.toml, and mash.test.example/log/1");
    gateway.configure("origin = \"mash.test.example/log/9\"", &default);
    gateway.serve();
    gateway.agency(POLICE).collect_first().await;
}

#[tokio::test]
async fn a_log_that_does_not_agree_with_itself_is_refused() {
    let gateway = stopped().await;
    let database = gateway.database();
    let whole = std::fs::read(&database).unwrap();
    let size = entries(&gateway);
    let last = size - 1;
    let newest = format!("size = {size}");
    for (damage, saying) in [
        (
            format!("UPDATE checkpoints SET note = replace(note, '\n{size}\n', '\n1\n')"),
            "its signature does not verify",
        ),
        (format!("UPDATE checkpoints SET root = zeroblob(32) WHERE {newest}"), "signed note says"),
        (format!("UPDATE entries SET nodes = zeroblob(640) WHERE idx = {last}"), "stored hashes"),
        (format!("DELETE FROM entries WHERE idx = {last}"), "stored hashes"),
        (format!("DELETE FROM checkpoints WHERE {newest}"), "covered by no signed checkpoint"),
        ("DELETE FROM checkpoints".to_owned(), "entry 0 of the log is covered by no"),
    ] {
        sqlite(&database, &damage);
        refused(&gateway, 3, saying);
        nothing_is_signed(&gateway, saying);
        let checked = gateway.run(&["store", "check"]);
        assert_eq!(checked.status.code(), Some(3), "{}", text(&checked.stderr));
        assert!(text(&checked.stderr).contains(saying), "{}", text(&checked.stderr));
        std::fs::write(&database, &whole).unwrap();
    }
    assert!(gateway.run(&["store", "check"]).status.success());
}

#[tokio::test]
async fn an_older_database_that_is_put_back_is_told_from_the_newest() {
    let mut gateway = stopped().await;
    let database = gateway.database();
    let (older, had) = (std::fs::read(&database).unwrap(), entries(&gateway));
    gateway.serve();
    gateway.agency(HUB).dispatch(&[POLICE]).await;
    stop(&mut gateway);
    let (newest, has) = (std::fs::read(&database).unwrap(), entries(&gateway));

    std::fs::write(&database, &older).unwrap();
    // By itself it is whole.
    gateway.verify_log();
    let saying = format!(
        "an older database was put back: it has {had} entries of the log, and {has} were signed; {} \
         are missing",
        has - had
    );
    refused(&gateway, 3, &saying);
    nothing_is_signed(&gateway, &saying);
    let checked = gateway.run(&["store", "check"]);
    assert!(text(&checked.stderr).contains(&saying), "{}", text(&checked.stderr));
    let findings = gateway.run(&["doctor", "--json"]);
    let findings: Value = serde_json::from_slice(&findings.stdout).unwrap();
    let findings = findings["findings"].as_array().unwrap();
    let found = findings.iter().find(|one| one["code"] == "self-check").unwrap();
    assert_eq!(found["verdict"], "act");
    assert!(found["says"].as_str().unwrap().contains(&saying), "{found}");

    // Nothing else would have shown it; and once more was signed in its place, the two logs differ.
    gateway.configure(ANCHOR_SETTING, "anchor = \"off\"");
    gateway.serve();
    for _ in had..has {
        gateway.agency(HUB).dispatch(&[POLICE]).await;
    }
    stop(&mut gateway);
    gateway.verify_log();
    gateway.configure("anchor = \"off\"", ANCHOR_SETTING);
    refused(&gateway, 3, "another log than was signed");

    std::fs::write(&database, &newest).unwrap();
    gateway.serve();
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn a_backup_that_lacks_what_the_anchor_covers_is_not_put_back() {
    let mut gateway = stopped().await;
    let folder = gateway.folder().join("backup");
    let folder = folder.to_str().unwrap();
    assert!(gateway.run(&["store", "backup", folder]).status.success());
    gateway.serve();
    gateway.agency(HUB).dispatch(&[POLICE]).await;
    gateway.stop();
    std::fs::remove_file(gateway.database()).unwrap();
    let restored = gateway.run(&["store", "restore", folder]);
    assert_eq!(restored.status.code(), Some(3), "{}", text(&restored.stderr));
    let said = text(&restored.stderr);
    assert!(said.contains("the anchor proves") && said.contains("would be lost"), "{said}");
    assert!(!gateway.database().exists());
}

/// What it lacks after a kill is at most the last second; after an orderly stop, nothing.
#[tokio::test]
async fn the_anchor_follows_the_log_and_never_holds_it_up() {
    let mut gateway = TestGateway::start();
    let path = gateway.home().join(ANCHOR);
    let anchor = || std::fs::read_to_string(&path).unwrap_or_default();
    let size = |note: &str| note.lines().nth(1).and_then(|size| size.parse::<u64>().ok());
    assert_ne!(anchor(), "", "written at start");
    gateway.agency(HUB).dispatch(&[POLICE]).await;
    let reached = entries(&gateway);
    eventually("the anchor follows", || async { size(&anchor()) >= Some(reached) }).await;
    gateway.kill();
    gateway.serve();

    // Where it cannot be written to, that is a concern, and nothing else.
    let in_the_way = path.with_added_extension("partial");
    std::fs::create_dir(&in_the_way).unwrap();
    let before = anchor();
    gateway.agency(HUB).dispatch(&[POLICE]).await;
    let concerns = || gateway.local("/readyz");
    let is_told = || async { concerns().contains("anchor: ") };
    eventually("an anchor that cannot be written to is a concern", is_told).await;
    assert!(concerns().contains("\"status\":\"ready-with-concerns\""), "{}", concerns());
    assert_eq!(anchor(), before);
    std::fs::remove_dir(&in_the_way).unwrap();
    let is_over = || async { !concerns().contains("anchor: ") };
    eventually("the concern ends", is_over).await;

    gateway.agency(HUB).dispatch(&[POLICE]).await;
    gateway.stop();
    let latest = gateway.run(&["log", "checkpoint"]);
    assert_eq!(anchor(), text(&latest.stdout));
    let kept = gateway.run(&["log", "verify", "--since", path.to_str().unwrap()]);
    assert!(kept.status.success(), "{}", text(&kept.stderr));
}

#[tokio::test]
async fn an_anchor_on_a_disk_that_is_not_mounted_is_noticed() {
    let mut gateway = stopped().await;
    let elsewhere = gateway.folder().join("elsewhere");
    let setting = format!("anchor = \"{}\"", elsewhere.join("mash/anchor.txt").display());
    gateway.configure(ANCHOR_SETTING, &setting);
    refused(&gateway, 1, "is its disk mounted?");
    std::fs::create_dir_all(elsewhere.join("mash")).unwrap();
    gateway.serve();
    gateway.stop();
    assert!(elsewhere.join("mash/anchor.txt").exists());
    std::fs::rename(&elsewhere, elsewhere.with_extension("gone")).unwrap();
    refused(&gateway, 1, "is its disk mounted?");
}
