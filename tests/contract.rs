//! The contract holds together: each valid example is taken, each invalid one refused for exactly
//! the reasons in the file beside it, and the API's description holds the same schemas.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mash_gateway::message::Kind;
use mash_gateway::schema::{Refusal, Schemas};
use serde::Deserialize;
use serde_json::Value;

/// When the examples are received: they speak of the days around it.
const RECEIVED: &str = "2026-11-23T12:00:00Z";

/// What the gateway answers to an invalid example.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Expected {
    problem: String,
    /// Whether a validator that knows the schema alone refuses it too.
    schema_only: bool,
    errors: Vec<Place>,
}

#[derive(Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
struct Place {
    pointer: String,
    code: String,
}

#[test]
fn examples_get_the_answer_beside_them() {
    let schemas = Schemas::compiled();
    let now = RECEIVED.parse().expect("a constant");
    let names = names();
    let mut wrong = Vec::new();
    let (mut taken, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for name in &names {
        let stem = name.strip_suffix(".json").unwrap_or(name);
        let parts: Vec<_> = stem.split('.').collect();
        match parts[..] {
            [kind, _, "valid"] => {
                taken.insert(kind);
                if let Err(refusal) = check(&schemas, kind, &read(name), now) {
                    wrong.push(format!("{name}: refused: {refusal:?}"));
                }
            }
            [kind, _, "invalid"] => {
                refused.insert(kind);
                let beside = format!("{stem}.problem.json");
                if !names.contains(&beside) {
                    wrong.push(format!("{name}: {beside} is missing"));
                    continue;
                }
                let expected = serde_json::from_slice(&read(&beside)).expect(&beside);
                let found = check(&schemas, kind, &read(name), now);
                if let Err(difference) = compare(&expected, found) {
                    wrong.push(format!("{name}: {difference}"));
                }
            }
            [_, _, "invalid", "problem"] if names.contains(&stem.replace(".problem", ".json")) => {}
            _ => wrong.push(format!("{name}: this is neither an example nor the answer to one")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let kinds: BTreeSet<_> = Kind::ALL
        .into_iter()
        .map(Kind::as_str)
        .chain([DISPATCH, OVERRIDE, REFERRER_CONTACT, SAVED_RECORD])
        .collect();
    assert_eq!((&taken, &refused), (&kinds, &kinds), "each kind has examples of both sorts");
}

#[test]
fn openapi_holds_the_schemas_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/openapi.json");
    let openapi = std::fs::read(path).expect("the description is in the repository");
    let openapi: Value = serde_json::from_slice(&openapi).expect("the description is JSON");
    for name in Schemas::names() {
        let home = component(name.split('.').next().expect("a name"));
        let source = Schemas::source(name).expect(name);
        let schema = moved(&serde_json::from_str(source).expect(name), &home);
        assert!(
            openapi["components"]["schemas"][&home] == schema,
            "{name}: run tests/contract/check_openapi.py --embed"
        );
    }
    // Whoever reads it sees one whole request, which is one of the examples.
    let shown =
        openapi.pointer("/paths/~1v1~1rfis/post/requestBody/content/application~1json/example");
    let example: Value = serde_json::from_slice(&read("dispatch.one-agency-early-help.valid.json"))
        .expect("an example is JSON");
    assert_eq!(shown, Some(&example));
}

/// A schema as it stands in the description: without an id, referring to its neighbours there.
fn moved(schema: &Value, home: &str) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(|item| moved(item, home)).collect(),
        Value::Object(members) => {
            let own = members.iter().filter(|(name, _)| !matches!(&***name, "$id" | "$schema"));
            let place = |(name, value): (&String, &Value)| match value.as_str() {
                Some(reference) if name == "$ref" => {
                    let (document, place) = reference.split_once('#').unwrap_or((reference, ""));
                    let word =
                        document.split(':').nth(3).map_or_else(|| home.to_owned(), component);
                    (name.clone(), format!("#/components/schemas/{word}{place}").into())
                }
                _ => (name.clone(), moved(value, home)),
            };
            Value::Object(own.map(place).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

fn component(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

fn compare(expected: &Expected, found: Result<(), Refusal>) -> Result<(), String> {
    let (problem, places) = match found {
        Ok(()) => return Err("taken".to_owned()),
        Err(Refusal::NotJson(_)) => ("not-json", Vec::new()),
        Err(Refusal::Violations(violations)) => {
            let place = |violation: mash_gateway::schema::Violation| Place {
                pointer: violation.pointer,
                code: violation.code,
            };
            ("schema", violations.into_iter().map(place).collect())
        }
        Err(refusal @ Refusal::NoExchange) => return Err(refusal.to_string()),
    };
    if problem != expected.problem || places != expected.errors {
        return Err(format!("{problem} {places:?} instead of {expected:?}"));
    }
    if problem == "not-json" && expected.schema_only {
        return Err("what is not JSON is not a schema's to refuse".to_owned());
    }
    Ok(())
}

fn check(schemas: &Schemas, kind: &str, body: &[u8], now: Timestamp) -> Result<(), Refusal> {
    match kind {
        DISPATCH => schemas.validate_dispatch(body, now),
        OVERRIDE => schemas.check_override(body, now).map(drop),
        REFERRER_CONTACT => schemas.check_referrer_contact(body, now).map(drop),
        SAVED_RECORD => schemas.check_saved_record(body, now).map(drop),
        _ => schemas.validate(Kind::parse(kind).expect(kind), body, now),
    }
}

fn names() -> BTreeSet<String> {
    std::fs::read_dir(folder())
        .expect("the examples are in the repository")
        .map(|entry| entry.expect("a readable folder").file_name().to_string_lossy().into_owned())
        .collect()
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).expect(name)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/examples")
}

const DISPATCH: &str = "dispatch";
/// What the Team Manager records.
const OVERRIDE: &str = "override";
/// What the hub records of its contact with whoever referred the child.
const REFERRER_CONTACT: &str = "referrer-contact";
/// What a recipient says of its own record.
const SAVED_RECORD: &str = "saved-record";
