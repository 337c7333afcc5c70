//! `docs/requirements.md` is true of itself: every row of the agreement is there once, what is said to be met
//! names what would notice if it stopped, that is there, and the sums are right.

use std::collections::BTreeMap;
use std::path::Path;

const DOCUMENT: &str = include_str!("../../docs/requirements.md");
const KINDS: [&str; 3] = ["core", "extension", "fact"];
const STANDS: [&str; 3] = ["met", "in part", "not yet"];

/// A row of the document, by its columns.
struct Row {
    name: &'static str,
    kind: &'static str,
    stands: &'static str,
    /// What stands between backticks in the last column.
    checks: Vec<&'static str>,
}

fn columns(line: &'static str) -> Vec<&'static str> {
    line.trim().trim_matches('|').split(" | ").map(str::trim).collect()
}

fn rows() -> Vec<Row> {
    let rows =
        DOCUMENT.lines().filter(|line| line.starts_with("| R") && !line.starts_with("| Row"));
    rows.map(|line| {
        let columns = columns(line);
        let [name, kind, _, stands, _, checks] = columns[..] else { panic!("{line}") };
        Row { name, kind, stands, checks: checks.split('`').skip(1).step_by(2).collect() }
    })
    .collect()
}

#[test]
fn every_row_of_the_agreement_is_there_once_and_in_order() {
    let rows = rows();
    let names: Vec<_> = rows.iter().map(|row| row.name.to_owned()).collect();
    let all: Vec<_> = (1..=145).map(|number| format!("R{number}")).collect();
    assert_eq!(names, all);
    for row in &rows {
        assert!(KINDS.contains(&row.kind), "{}: {}", row.name, row.kind);
        assert!(STANDS.contains(&row.stands), "{}: {}", row.name, row.stands);
    }
}

#[test]
fn the_sums_are_right() {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for row in rows() {
        *counts.entry((row.kind, row.stands)).or_default() += 1;
    }
    for kind in KINDS {
        let heading = format!("| {}{} |", kind[..1].to_uppercase(), &kind[1..]);
        let line = DOCUMENT.lines().find(|line| line.starts_with(&heading)).unwrap();
        let said: Vec<usize> = columns(line)[1..].iter().map(|sum| sum.parse().unwrap()).collect();
        let count = |stands| counts.get(&(kind, stands)).copied().unwrap_or(0);
        let each = STANDS.map(count);
        assert_eq!(said[..3], each, "{kind}");
        assert_eq!(said[3], each.iter().sum::<usize>(), "{kind}");
    }
}

/// A file has a test in it, a folder has files, and a test that is named by its function is there.
#[test]
fn what_checks_a_row_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for row in rows() {
        // What is only to be respected in wording may have nothing that checks it.
        let is_claimed = row.stands != "not yet" && row.kind != "fact";
        assert!(!is_claimed || !row.checks.is_empty(), "{}: nothing checks it", row.name);
        for check in row.checks {
            let (file, function) = match check.split_once("::") {
                Some((module, function)) => (format!("tests/it/{module}.rs"), Some(function)),
                None => (check.to_owned(), None),
            };
            let path = root.join(&file);
            if path.is_dir() {
                assert!(path.read_dir().unwrap().next().is_some(), "{}: {check}", row.name);
                continue;
            }
            let text = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {file}: {error}", row.name));
            if path.extension().is_some_and(|extension| extension == "rs") {
                let has_tests = text.contains("#[test]") || text.contains("#[tokio::test");
                assert!(has_tests, "{}: {file} has no test", row.name);
            }
            if let Some(function) = function {
                let declared = text.contains(&format!("fn {function}("));
                assert!(declared, "{}: no {function} in {file}", row.name);
            }
        }
    }
}
