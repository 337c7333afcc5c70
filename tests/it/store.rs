//! The database as a whole: copied beside a gateway that runs, put back, and checked. What was
//! acknowledged is there afterwards, or the command says how much is not and changes nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{HUB, POLICE, SURGERY, TestGateway, case, text};

const KEY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn backup(gateway: &TestGateway, name: &str) -> PathBuf {
    let folder = gateway.folder().join(name);
    let made = run(gateway, &["backup", folder.to_str().unwrap(), "--json"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    folder
}

fn run(gateway: &TestGateway, arguments: &[&str]) -> Output {
    gateway.run(&[&["store"], arguments].concat())
}

/// `store restore`, holding it against what somebody kept.
fn restore(gateway: &TestGateway, backup: &Path, since: &[&Path]) -> Output {
    let mut arguments = vec!["restore", backup.to_str().unwrap()];
    for file in since {
        arguments.extend(["--since", file.to_str().unwrap()]);
    }
    run(gateway, &arguments)
}

#[track_caller]
fn refused(ran: &Output, code: i32, saying: &str) {
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(code), "{said}");
    assert!(said.contains(saying), "{saying}: {said}");
}

fn sqlite(database: &Path, sql: &str) -> String {
    let ran = Command::new("sqlite3").arg(database).arg(sql).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    text(&ran.stdout).trim().to_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The receipt of one more RFI, in a file.
async fn one_more(gateway: &TestGateway, name: &str) -> PathBuf {
    let dispatched = gateway.agency(HUB).dispatch(&[POLICE]).await;
    let path = gateway.folder().join(name);
    std::fs::write(&path, dispatched.to_string()).unwrap();
    path
}

/// An RFI, sent with [`KEY`]: byte for byte what was answered.
async fn first_answer(gateway: &TestGateway, body: &Value) -> String {
    let hub = gateway.agency(HUB);
    let answer = hub.post_bytes("/v1/rfis", KEY, body.to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.text().to_owned()
}

#[tokio::test]
async fn a_backup_is_made_while_messages_come_in_and_put_back_with_all_that_was_said() {
    let mut gateway = TestGateway::start();
    let body = case::dispatch(&[POLICE, SURGERY]);
    let answered = first_answer(&gateway, &body).await;
    // What comes in meanwhile is in it or not, but never half of it.
    let busy = {
        let hub = gateway.agency(HUB);
        tokio::spawn(async move {
            loop {
                hub.dispatch(&[POLICE, SURGERY]).await;
            }
        })
    };
    for i in 0..3 {
        let (name, folder) = (format!("busy-{i}"), gateway.folder().to_owned());
        let ran = gateway.begin(&["store", "backup", folder.join(&name).to_str().unwrap()]);
        let ran = tokio::task::spawn_blocking(|| ran.wait_with_output().unwrap()).await.unwrap();
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        assert_eq!(names(&folder.join(&name)), ["gateway.db", "manifest.json"]);
    }
    busy.abort();
    let newest = one_more(&gateway, "newest.receipt").await;
    gateway.stop();
    let folder = backup(&gateway, "whole");
    let count = || sqlite(&gateway.database(), "SELECT count(*) FROM entries").parse::<u64>();
    let before = count().unwrap();
    std::fs::remove_file(gateway.database()).unwrap();
    let restored = restore(&gateway, &folder, &[&newest]);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    // That it was copied is in the copy, and that it was put back in what is put back.
    assert_eq!(count().unwrap(), before + 1);
    let logged: Vec<_> = gateway.entries().iter().map(|fields| fields["event"].clone()).collect();
    let tail = &logged[logged.len() - 2..];
    assert_eq!(tail, ["store-backed-up", "store-restored"]);
    assert_eq!(sqlite(&gateway.database(), "PRAGMA journal_mode"), "wal");
    gateway.serve();
    assert_eq!(first_answer(&gateway, &body).await, answered, "the first receipt, to the byte");
    let receipt = gateway.run(&["receipt", "verify", newest.to_str().unwrap()]);
    assert!(receipt.status.success(), "{}", text(&receipt.stderr));
    one_more(&gateway, "after.receipt").await;
    gateway.verify_log();
}

#[tokio::test]
async fn an_older_backup_is_not_put_back_whoever_holds_the_proof() {
    let mut gateway = TestGateway::start();
    one_more(&gateway, "old.receipt").await;
    let folder = backup(&gateway, "old");
    let newest = one_more(&gateway, "newest.receipt").await;
    refused(&restore(&gateway, &folder, &[]), 1, "a gateway answers");
    gateway.stop();

    // The database that is there shows it.
    refused(&restore(&gateway, &folder, &[]), 3, "would be lost");
    // So does one agency's receipt, when there is no database any more.
    std::fs::remove_file(gateway.database()).unwrap();
    refused(&restore(&gateway, &folder, &[&newest]), 3, "would be lost");
    let old = gateway.folder().join("old.receipt");
    refused(&restore(&gateway, &folder, &[&old, &newest]), 3, "newest.receipt proves");
    assert!(!names(&gateway.home().join("data")).contains(&"gateway.db".to_owned()));
    // So does the anchor, which remembers it here.
    refused(&restore(&gateway, &folder, &[&old]), 3, "the anchor proves");
    std::fs::remove_file(gateway.home().join("keys/log-anchor.txt")).unwrap();
    // And without anybody's word it is not done.
    refused(&restore(&gateway, &folder, &[]), 2, "--since FILE");
    let restored = restore(&gateway, &folder, &[&old]);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
}

#[tokio::test]
async fn what_is_replaced_is_kept() {
    let mut gateway = TestGateway::start();
    let newest = one_more(&gateway, "newest.receipt").await;
    gateway.stop();
    let folder = backup(&gateway, "whole");
    for (damage, leftover) in [(false, 1), (true, 2)] {
        if damage {
            std::fs::write(gateway.database(), "no database any more").unwrap();
        }
        let restored = restore(&gateway, &folder, &[&newest]);
        assert!(restored.status.success(), "{}", text(&restored.stderr));
        let kept = names(&gateway.home().join("data"));
        let aside = kept.iter().filter(|name| name.contains(".replaced-"));
        assert_eq!(aside.count(), leftover, "{kept:?}");
        assert!(!kept.iter().any(|name| name.contains("restoring")), "{kept:?}");
    }
    assert!(run(&gateway, &["check"]).status.success());
}

#[tokio::test]
async fn a_backup_that_is_damaged_or_none_is_not_put_back() {
    let mut gateway = TestGateway::start();
    let newest = one_more(&gateway, "newest.receipt").await;
    let folder = backup(&gateway, "whole");
    let again = run(&gateway, &["backup", folder.to_str().unwrap()]);
    refused(&again, 1, "cannot be made");
    gateway.stop();
    let state = || sqlite(&gateway.database(), "SELECT max(size), note FROM checkpoints");
    let before = state();
    refused(&restore(&gateway, &gateway.home(), &[&newest]), 4, "is not a backup");
    let database = folder.join("gateway.db");
    let whole = std::fs::read(&database).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    std::fs::write(&database, flipped).unwrap();
    refused(&restore(&gateway, &folder, &[&newest]), 3, "it is damaged");
    std::fs::write(&database, &whole[..whole.len() / 2]).unwrap();
    refused(&restore(&gateway, &folder, &[&newest]), 3, "it is damaged");
    std::fs::write(&database, whole).unwrap();
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    std::fs::write(folder.join("manifest.json"), "{\"version\":1}").unwrap();
    refused(&restore(&gateway, &folder, &[&newest]), 3, "manifest.json is damaged");
    std::fs::write(
        folder.join("manifest.json"),
        manifest.replace("\"version\": 2", "\"version\": 3"),
    )
    .unwrap();
    refused(&restore(&gateway, &folder, &[&newest]), 1, "newer version");
    assert_eq!(state(), before, "nothing was changed");
}

#[tokio::test]
async fn a_damaged_database_is_not_backed_up_and_the_check_says_where() {
    let mut gateway = TestGateway::start();
    one_more(&gateway, "one.receipt").await;
    let sound = run(&gateway, &["check", "--json"]);
    assert!(sound.status.success(), "{}", text(&sound.stderr));
    let found: Value = serde_json::from_slice(&sound.stdout).unwrap();
    assert_eq!((&found["sound"], &found["messages"]), (&true.into(), &1.into()));
    gateway.stop();
    // One byte of one stored message.
    sqlite(
        &gateway.database(),
        "UPDATE payloads SET ciphertext = CAST(substr(ciphertext, 1, 200) ||
             CASE hex(substr(ciphertext, 201, 1)) WHEN '00' THEN x'01' ELSE x'00' END ||
             substr(ciphertext, 202) AS BLOB)",
    );
    let entry = sqlite(&gateway.database(), "SELECT entry FROM payloads");
    refused(&run(&gateway, &["check"]), 3, &format!("entry {entry}"));
    let folder = gateway.folder().join("damaged");
    refused(&run(&gateway, &["backup", folder.to_str().unwrap()]), 3, "does not verify");
    assert!(!folder.join("manifest.json").exists(), "it is no backup");

    std::fs::write(gateway.database(), "no database any more").unwrap();
    refused(&run(&gateway, &["check"]), 3, "corrupt");
    std::fs::remove_file(gateway.database()).unwrap();
    refused(&run(&gateway, &["check"]), 4, "is not there");
    refused(&run(&gateway, &["migrate"]), 4, "is not there");
    assert!(!gateway.database().exists(), "looking for it makes none");
}
