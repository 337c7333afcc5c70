//! `schema diff`: what this version of the contract has otherwise than a file that was kept (R105).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::{Context, Exit, Failure, read_text};
use crate::rule::law::powers;
use crate::schema::Schemas;

#[derive(Args)]
pub(in crate::cli) struct Diff {
    /// A schema as it was, or the list of powers as it was
    file: PathBuf,
}

impl Diff {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        let neither = || {
            Failure::new(Exit::Misused, format!("{} is of no schema", self.file.display()))
                .hint("give what GET /v1/schemas/NAME or schema powers --json had")
        };
        let old: Value = serde_json::from_str(&read_text(&self.file)?).map_err(|_| neither())?;
        let (name, new) = match old["$id"].as_str() {
            Some(id) => {
                // `urn:mash:schema:rfi:1` is in `rfi.v1.schema.json`.
                let file = id.strip_prefix("urn:mash:schema:").and_then(|id| id.split_once(':'));
                let file = file.map(|(name, version)| format!("{name}.v{version}.schema.json"));
                let source = file.as_deref().and_then(Schemas::source).ok_or_else(neither)?;
                (id, serde_json::from_str(source)?)
            }
            None if old["powers"].is_array() => ("powers", json!({ "powers": powers() })),
            None => return Err(neither()),
        };
        let mut changes = Vec::new();
        compare("", Some(&old), Some(&new), &mut changes);
        let mut lines: Vec<_> = changes.iter().map(Change::line).collect();
        if lines.is_empty() {
            lines.push("unchanged".to_owned());
        }
        let list: Vec<_> = changes.iter().map(Change::view).collect();
        context.result(&json!({ "changes": list, "of": name }), lines.join("\n"));
        Ok(())
    }
}

/// One place where they differ.
#[derive(Debug, Eq, PartialEq)]
struct Change {
    place: String,
    old: Option<Value>,
    new: Option<Value>,
}

impl Change {
    fn line(&self) -> String {
        let Self { place, .. } = self;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => format!("changed  {place}: {old} is now {new}"),
            (Some(old), None) => format!("gone     {place}: {old}"),
            (None, Some(new)) => format!("new      {place}: {new}"),
            (None, None) => String::new(),
        }
    }

    fn view(&self) -> Value {
        let mut view = json!({ "place": self.place });
        for (name, value) in [("old", &self.old), ("new", &self.new)] {
            if let Some(value) = value {
                view[name] = value.clone();
            }
        }
        view
    }
}

fn compare(place: &str, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Some(old), Some(new)) if members(old).is_some() && members(new).is_some() => {
            let (old, new) = (members(old).unwrap_or_default(), members(new).unwrap_or_default());
            let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for name in names {
                let place = format!("{place}/{name}");
                compare(&place, old.get(name).copied(), new.get(name).copied(), changes);
            }
        }
        (old, new) => {
            changes.push(Change { place: place.to_owned(), old: old.cloned(), new: new.cloned() });
        }
    }
}

// What is in it by name: members, codes of a list whatever its order, entries by their code, or by place.
fn members(value: &Value) -> Option<BTreeMap<String, &Value>> {
    let by = |(at, item): (usize, &Value)| match item {
        Value::String(text) => text.clone(),
        _ => item["code"].as_str().map_or_else(|| at.to_string(), str::to_owned),
    };
    match value {
        Value::Object(object) => Some(object.iter().map(|(name, v)| (name.clone(), v)).collect()),
        Value::Array(items) => {
            Some(items.iter().enumerate().map(|item| (by(item), item.1)).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_went_and_changed_is_named_by_its_place() {
        let old = json!({
            "enum": ["a", "b"], "maxLength": 5, "required": ["x"], "title": "t",
            "powers": [{ "code": "p", "title": "P" }, { "code": "q" }],
        });
        let new = json!({
            "enum": ["c", "a"], "maxLength": 9, "required": ["x"], "title": "t",
            "powers": [{ "code": "q" }, { "code": "p", "title": "P", "validTo": "2026-01-01" }],
        });
        let mut changes = Vec::new();
        compare("", Some(&old), Some(&new), &mut changes);
        let lines: Vec<_> = changes.iter().map(Change::line).collect();
        assert_eq!(
            lines,
            [
                "gone     /enum/b: \"b\"",
                "new      /enum/c: \"c\"",
                "changed  /maxLength: 5 is now 9",
                "new      /powers/p/validTo: \"2026-01-01\"",
            ]
        );
    }
}
