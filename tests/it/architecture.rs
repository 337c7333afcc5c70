//! ARCHITECTURE.md's map is true: who may name whom, which library is where, and that each file says
//! what it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const DOCUMENT: &str = include_str!("../../ARCHITECTURE.md");

/// A file that no longer reads in one sitting asks for a better division.
const LINES_MAX: usize = 1_100;

/// The rows of the table with this heading: the first column's word, and the second's words.
fn table(heading: &str) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let (_, after) = DOCUMENT.split_once(heading).unwrap();
    let words = |column: &'static str| column.split('`').skip(1).step_by(2);
    after
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut columns = line.trim_matches('|').split('|');
            let name = words(columns.next().unwrap()).next().unwrap();
            (name, words(columns.next().unwrap()).collect())
        })
        .collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every file of the program: its path from the root, and its text without its tests.
fn program() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for path in sources(&root.join("src")) {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if name.ends_with("/tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
        all.push((name, production));
    }
    assert!(all.len() > 40);
    all
}

/// The names that follow `prefix` in `text`.
fn named<'t>(text: &'t str, prefix: &str) -> BTreeSet<&'t str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(prefix)
        .filter(|(at, _)| !text[..*at].ends_with(is_word))
        .map(|(at, _)| {
            let rest = &text[at + prefix.len()..];
            &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())]
        })
        .collect()
}

#[test]
fn modules_name_only_what_the_map_allows() {
    let allowed = table("| Module | May name |");
    let mut seen = BTreeMap::<&str, BTreeSet<&str>>::new();
    let program = program();
    for (name, text) in &program {
        let module = name.trim_start_matches("src/").split(['/', '.']).next().unwrap();
        if matches!(module, "lib" | "main") {
            continue;
        }
        let row = allowed.get(module).unwrap_or_else(|| panic!("{module} is not on the map"));
        for other in named(text, "crate::") {
            if other != module {
                assert!(row.contains(other), "{name} names {other}: not on the map");
                seen.entry(module).or_default().insert(other);
            }
        }
    }
    // Nor does it allow what nobody needs any more.
    for (module, row) in allowed {
        let used = seen.remove(module).unwrap_or_default();
        assert_eq!(row, used, "the row of {module}");
    }
}

#[test]
fn libraries_are_where_the_map_says() {
    for (library, places) in table("| Library | Only in |") {
        let users: Vec<_> = program()
            .into_iter()
            .filter(|(_, text)| {
                let name = format!("{library}::");
                text.lines().any(|line| {
                    let line = line.trim_start();
                    !line.starts_with("//") && !named_as(line, &name).is_empty()
                })
            })
            .map(|(name, _)| name)
            .collect();
        for user in &users {
            let is_allowed = places.iter().any(|place| user.starts_with(place));
            assert!(is_allowed, "{user} names {library}");
        }
        for place in places {
            assert!(users.iter().any(|user| user.starts_with(place)), "{place}: no {library}");
        }
    }
}

/// Where `name` stands for a crate and not for a part of another path.
fn named_as<'t>(line: &'t str, name: &str) -> Vec<&'t str> {
    line.match_indices(name)
        .filter(|(at, _)| {
            let before = &line[..*at];
            !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        })
        .map(|(_, found)| found)
        .collect()
}

#[test]
fn every_file_says_what_it_is_for_and_can_be_read_in_one_sitting() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "tests", "benches"] {
        for path in sources(&root.join(folder)) {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("//! "), "{}", path.display());
            assert!(text.lines().count() <= LINES_MAX, "{}", path.display());
        }
    }
}
