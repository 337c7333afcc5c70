//! `docs/limits.md` says what is so: every setting, default, metric and test in its table is there.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{HUB, POLICE, TestGateway, eventually};

/// One row.
struct Limit<'a> {
    what: &'a str,
    setting: &'a str,
    default: &'a str,
    beyond: &'a str,
    metric: &'a str,
    test: &'a str,
}

fn rows(text: &str) -> Vec<Limit<'_>> {
    text.lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
            let [what, setting, default, beyond, metric, test] = cells[..] else {
                panic!("a row of six cells: {line}")
            };
            let is_head = what == "Limit" || what == "---";
            (!is_head).then_some(Limit { what, setting, default, beyond, metric, test })
        })
        .collect()
}

/// The text between backquotes at the start of a cell, and the rest.
fn quoted(cell: &str) -> (&str, &str) {
    let inner = cell.strip_prefix('`').and_then(|rest| rest.split_once('`'));
    inner.unwrap_or_else(|| panic!("`name` expected: {cell}"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The settings of these sections, at their defaults, which another test holds to the program's.
fn settings(sections: &[&str]) -> BTreeMap<String, String> {
    let shipped = read("gateway.toml");
    let mut section = "";
    let mut found = BTreeMap::new();
    for line in shipped.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if sections.contains(&section)
            && let Some((name, value)) = line.trim_start_matches("# ").split_once(" = ")
            && !name.contains(' ')
        {
            found.insert(name.to_owned(), value.to_owned());
        }
    }
    found
}

/// What is wrong with the table.
fn faults(table: &str, served: &str) -> Vec<String> {
    let (ours, all) = (settings(&["limits"]), settings(&["limits", "push"]));
    let rows = rows(table);
    let mut faults = Vec::new();
    for name in ours.keys() {
        if !rows.iter().any(|row| row.setting == format!("`{name}`")) {
            faults.push(format!("{name} is not in the table"));
        }
    }
    for row in &rows {
        let mut wrong = |fault: String| faults.push(format!("{}: {fault}", row.what));
        match quoted(row.setting) {
            (name, "") => match all.get(name) {
                Some(default) if default == row.default => {}
                Some(default) => wrong(format!("the default is {default}, not {}", row.default)),
                None => wrong(format!("there is no setting {name}")),
            },
            (name, place) => {
                let file = quoted(place.trim_start_matches(" in ")).0;
                let source = read(&format!("src/{file}")).replace('_', "");
                let constant = format!("const {}: ", name.replace('_', ""));
                let line = source.lines().find(|line| line.contains(&constant));
                let value = line.and_then(|line| line.split_once(" = ")).map(|(_, value)| value);
                if value != Some(&format!("{};", row.default)) {
                    wrong(format!("{file} has no {name} of {}: {line:?}", row.default));
                }
            }
        }
        if row.beyond.is_empty() {
            wrong("it does not say what happens".to_owned());
        }
        if !row.metric.starts_with("none: ") {
            let metric = quoted(row.metric).0;
            // With its labels, or any; what has not happened yet is served as nought.
            let is_it = |line: &str| {
                line.strip_prefix(metric).is_some_and(|rest| rest.starts_with([' ', '{']))
            };
            if !served.lines().any(is_it) {
                wrong(format!("no metric {metric} is served"));
            }
        }
        let (module, test) = quoted(row.test).0.split_once("::").unwrap();
        if !read(&format!("tests/it/{module}.rs")).contains(&format!("fn {test}(")) {
            wrong(format!("there is no test {module}::{test}"));
        }
    }
    faults
}

#[tokio::test]
async fn the_table_of_limits_says_what_is_so() {
    let gateway = TestGateway::start();
    gateway.agency(HUB).dispatch(&[POLICE]).await;
    let is_counted = async || gateway.local("/metrics").contains("mash_gateway_mailbox_bytes");
    eventually("what waits is counted", is_counted).await;
    let (table, served) = (read("docs/limits.md"), gateway.local("/metrics"));
    let found = faults(&table, &served);
    assert!(found.is_empty(), "{found:#?}");
    assert!(rows(&table).len() > 25, "it was read");

    // And it would be noticed if it did not.
    for (right, wrong, fault) in [
        ("`guest_timeout_s`", "`guest_timeout_m`", "guest_timeout_s is not in the table"),
        ("`guest_timeout_s`", "`guest_timeout_m`", "there is no setting guest_timeout_m"),
        ("| 32768 |", "| 32769 |", "the default is 32768, not 32769"),
        (
            "`DEPTH_MAX` in `schema/json.rs` | 64",
            "`DEPTH_MAX` in `schema/json.rs` | 65",
            "no DEPTH_MAX of 65",
        ),
        (
            "mash_gateway_mailbox_bytes",
            "mash_gateway_mailbox_pages",
            "no metric mash_gateway_mailbox_pages",
        ),
        (
            "reason=\"stalled\"",
            "reason=\"installed\"",
            "no metric mash_gateway_connections_cut_total{reason=\"installed\"} is served",
        ),
        ("`shares::a_header_has_so_many_bytes`", "`shares::a_header`", "no test shares::a_header"),
    ] {
        assert!(table.contains(right), "{right}");
        let found = faults(&table.replace(right, wrong), &served);
        assert!(found.iter().any(|found| found.contains(fault)), "{fault}: {found:?}");
    }
}
