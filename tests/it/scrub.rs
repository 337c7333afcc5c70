//! What rots on the disk is found while the gateway runs, and named; what is sound is not.

use std::process::Command;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use mash_gateway::http::health::Concerns;
use mash_gateway::telemetry::Metrics;
use mash_gateway::worker::scrub::Scrub;
use serde_json::Value;

use crate::attachments::{MAY_ATTACH, dispatch_with, pdf, upload};
use crate::support::told::Told;
use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case, eventually, text};

/// What Debian's sqlite3 says to this, beside whoever has the database open.
fn sqlite(gateway: &TestGateway, sql: &str) -> String {
    let ran = Command::new("sqlite3")
        .args(["-cmd", ".timeout 10000"])
        .arg(gateway.database())
        .arg(sql)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{sql}: {}", text(&ran.stderr));
    text(&ran.stdout).trim().to_owned()
}

/// Turns one bit of a stored payload over; and back, the second time.
fn flip_a_bit(gateway: &TestGateway, entry: &str) {
    let stored =
        sqlite(gateway, &format!("SELECT hex(ciphertext) FROM payloads WHERE entry = {entry}"));
    let (before, after) = stored.split_at(400);
    let (digit, after) = after.split_at(1);
    let flipped = u8::from_str_radix(digit, 16).unwrap() ^ 1;
    let sql = format!(
        "UPDATE payloads SET ciphertext = x'{before}{flipped:x}{after}' WHERE entry = {entry}"
    );
    sqlite(gateway, &sql);
}

fn number(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}: {metrics}")).parse().unwrap()
}

fn looked(metrics: &str) -> u64 {
    number(metrics, "mash_gateway_scrubbed_entries_total")
}

fn damaged(metrics: &str) -> u64 {
    number(metrics, "mash_gateway_damaged_entries")
}

/// The second message's entry and id.
fn second(gateway: &TestGateway) -> (String, String) {
    let row =
        sqlite(gateway, "SELECT entry, lower(hex(id)) FROM messages ORDER BY entry LIMIT 1, 1");
    let (entry, id) = row.split_once('|').unwrap();
    (entry.to_owned(), uuid::Uuid::parse_str(id).unwrap().to_string())
}

#[tokio::test]
async fn a_flipped_bit_is_found_by_the_gateway_that_runs_and_named_once() {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    gateway.configure("# scrub_cycle_s = 86400", "scrub_cycle_s = 1");
    gateway.serve();
    let hub = gateway.agency(HUB);
    hub.dispatch(&[POLICE, SURGERY, TRUST]).await;
    let (entry, message) = second(&gateway);
    let metrics = || gateway.local("/metrics");
    // Two rounds of everything from now on.
    let rounds = || {
        let size: u64 = sqlite(&gateway, "SELECT count(*) FROM entries").parse().unwrap();
        let before = looked(&metrics());
        let metrics = &metrics;
        eventually("two rounds", move || async move { looked(&metrics()) > before + 2 * size })
    };
    let found = || {
        let entries = gateway.entries();
        let found = entries.iter().filter(|fields| fields["event"] == "damage-found");
        found
            .map(|fields| (fields["entry"].to_string(), fields["message"].clone()))
            .collect::<Vec<_>>()
    };
    rounds().await;
    assert_eq!(damaged(&metrics()), 0);
    assert!(!gateway.local("/readyz").contains("scrub"), "{}", gateway.local("/readyz"));
    assert_eq!(found(), []);

    flip_a_bit(&gateway, &entry);
    let says =
        format!("scrub: entry {entry}: message {message}: the stored message's sealed payload");
    let is_told = || async { gateway.local("/readyz").contains(&says) };
    eventually("the flipped bit is found", is_told).await;
    rounds().await;
    assert_eq!(damaged(&metrics()), 1);
    assert_eq!(found(), [(entry.clone(), Value::from(message))]);
    let doctor = gateway.run(&["doctor", "--json"]);
    assert!(text(&doctor.stdout).contains(&says), "{}", text(&doctor.stdout));
    // Everybody else is served meanwhile.
    hub.dispatch(&[POLICE]).await;

    flip_a_bit(&gateway, &entry);
    let is_over = || async { !gateway.local("/readyz").contains("scrub: ") };
    eventually("what is right again is no concern", is_over).await;
    gateway.stop();
    gateway.verify_log();
}

#[tokio::test]
async fn a_flipped_bit_of_a_file_is_found_too() {
    let mut gateway = TestGateway::made(&case::partners(&[(HUB, MAY_ATTACH)]));
    gateway.configure("# scrub_cycle_s = 86400", "scrub_cycle_s = 1");
    gateway.serve();
    let hub = gateway.agency(HUB);
    let sent = upload(&hub, "application/pdf", &pdf(700_000)).await;
    hub.post("/v1/rfis", &dispatch_with(&[POLICE], &[&sent])).await.ok(202);
    let entry = sqlite(&gateway, "SELECT entry FROM attachments");
    let size: u64 = sqlite(&gateway, "SELECT count(*) FROM entries").parse().unwrap();
    let metrics = || gateway.local("/metrics");
    eventually("a round of everything", async || looked(&metrics()) > 2 * size).await;
    assert_eq!(damaged(&metrics()), 0);
    let flip = "UPDATE attachment_parts SET ciphertext = CAST(substr(ciphertext, 1, 70000) ||
        iif(substr(ciphertext, 70001, 1) = x'00', x'01', x'00') || substr(ciphertext, 70002) AS BLOB)
        WHERE part = 1";
    sqlite(&gateway, flip);
    let says = format!("scrub: entry {entry}: the sealed file it is about is not what was logged");
    let is_told = || async { gateway.local("/readyz").contains(&says) };
    eventually("the file is found damaged", is_told).await;
    assert_eq!(damaged(&metrics()), 1);
}

#[tokio::test]
async fn everything_stored_is_looked_at_within_a_day_a_little_at_a_time() {
    let mut home = TestGateway::start();
    for _ in 0..5 {
        home.agency(HUB).dispatch(&[POLICE, SURGERY, TRUST]).await;
    }
    home.stop();
    let size: u64 = sqlite(&home, "SELECT count(*) FROM entries").parse().unwrap();
    let (entry, message) = second(&home);
    let damages = [
        (format!("UPDATE entries SET salt = zeroblob(32) WHERE idx = {entry}"), "its text"),
        (format!("UPDATE entries SET nodes = zeroblob(640) WHERE idx = {entry}"), "its text"),
        (format!("DELETE FROM entries WHERE idx = {entry}"), "it is missing"),
        (format!("DELETE FROM payloads WHERE entry = {entry}"), "its sealed payload is missing"),
        (format!("DELETE FROM deliveries WHERE entry = {entry}"), "its delivery is missing"),
        (format!("UPDATE messages SET recipient = 'test-mash' WHERE entry = {entry}"), "recipient"),
        ("UPDATE checkpoints SET root = zeroblob(32) WHERE size = 3".to_owned(), "entry 2: "),
    ];
    sqlite(&home, &format!("VACUUM INTO '{}'", home.folder().join("whole.db").display()));
    for (damage, saying) in std::iter::once(&(String::new(), "")).chain(&damages) {
        if !damage.is_empty() {
            sqlite(&home, &format!("PRAGMA foreign_keys = OFF; {damage}"));
        }
        let told = Told::of(&home.home());
        let (metrics, concerns) = (Arc::new(Metrics::new()), Arc::new(Concerns::default()));
        let cycle = SignedDuration::from_hours(24);
        let gateway = Arc::clone(&told.gateway);
        let mut scrub = Scrub::new(gateway, Arc::clone(&metrics), Arc::clone(&concerns), cycle);
        let begun: Timestamp = "2026-11-25T15:00:00Z".parse().unwrap();
        scrub.step(begun).await;
        let mut before = 0;
        for quarters in 1..=24 * 4 {
            scrub.step(begun + SignedDuration::from_mins(15 * quarters)).await;
            let now = looked(&metrics.render());
            assert!(now <= before + 1, "{} at once", now - before);
            before = now;
        }
        // One was logged meanwhile.
        assert!((size..=size + 1).contains(&before), "{before} of {size} in a day");
        match (damage.as_str(), concerns.all().as_slice()) {
            ("", []) => assert_eq!(damaged(&metrics.render()), 0),
            ("", found) => panic!("{found:?}"),
            (damage, [found]) => {
                assert!(found.contains(saying), "{damage}: {found}");
                let is_named = found.contains(&message)
                    || damage.contains("entries")
                    || damage.contains("checkpoints");
                assert!(is_named, "{damage}: {found}");
            }
            (damage, found) => panic!("{damage}: {found:?}"),
        }
        // A clock that is put back has nothing looked at, a long sleep everything, once.
        let reached = looked(&metrics.render());
        scrub.step(begun).await;
        assert_eq!(looked(&metrics.render()), reached);
        scrub.step(begun + SignedDuration::from_hours(24 * 40)).await;
        let all = looked(&metrics.render()) - reached;
        assert!((size..=size + 1).contains(&all), "{all} of {size}");
        drop(scrub);
        told.end().await;
        for ending in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(home.home().join(format!("data/gateway.db{ending}")));
        }
        std::fs::copy(home.folder().join("whole.db"), home.database()).unwrap();
    }
}
