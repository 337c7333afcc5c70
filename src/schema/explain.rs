//! Why a body does not satisfy its schema, in words for the person who sent it.
//!
//! A violation says where and which rule. It never repeats what was found: not a value, and not a
//! property's name unless it is the schema's own, since a name that was typed may be a person's.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use super::Violation;
use super::contract::{Contract, Schema};

/// More than this in one answer helps nobody.
const LISTED_MAX: usize = 50;

/// In a larger body only the first fault is sought: to list all could take a gigabyte.
const VALUES_EXPLAINED_MAX: usize = 5_000;

/// What is wrong with `body`, which holds `values` values; nothing, when it is valid.
pub(crate) fn violations(
    contract: &Contract,
    schema: &Schema,
    body: &Value,
    values: usize,
) -> Vec<Violation> {
    if schema.validator.is_valid(body) {
        return Vec::new();
    }
    let explain = |error: &ValidationError<'_>| explain(contract, schema, body, error);
    listed(if values > VALUES_EXPLAINED_MAX {
        schema.validator.validate(body).err().iter().map(explain).collect()
    } else {
        schema.validator.iter_errors(body).map(|error| explain(&error)).collect()
    })
}

/// In order, each said once, and no more than anyone reads.
pub(crate) fn listed(mut violations: Vec<Violation>) -> Vec<Violation> {
    violations.sort_by(|a, b| (&a.pointer, &a.code).cmp(&(&b.pointer, &b.code)));
    violations.dedup_by(|a, b| (&a.pointer, &a.code) == (&b.pointer, &b.code));
    violations.truncate(LISTED_MAX);
    violations
}

fn explain(
    contract: &Contract,
    schema: &Schema,
    body: &Value,
    error: &ValidationError<'_>,
) -> Violation {
    let (mut pointer, is_whole) = own_pointer(contract, body, error.instance_path().as_str());
    let missing = match error.kind() {
        ValidationErrorKind::Required { property } => property.as_str(),
        _ => None,
    };
    if let Some(missing) = missing.filter(|_| is_whole) {
        pointer.push('/');
        pointer.push_str(&escaped(missing));
    }
    let (code, message) = default_words(error.kind());
    let words = annotation(contract, schema, error, missing);
    Violation {
        pointer,
        code: words.code.unwrap_or(code).to_owned(),
        message: words.message.map_or(message, str::to_owned),
    }
}

/// The pointer, cut before the first name that is not ours, and whether it is all there.
fn own_pointer(contract: &Contract, body: &Value, pointer: &str) -> (String, bool) {
    let mut own = String::new();
    let mut place = Some(body);
    for segment in segments(pointer) {
        let (next, is_own) = match place {
            Some(Value::Array(items)) => {
                (segment.parse().ok().and_then(|i: usize| items.get(i)), true)
            }
            Some(Value::Object(members)) => (members.get(&segment), contract.is_own_name(&segment)),
            _ => (None, false),
        };
        if !is_own {
            return (own, false);
        }
        own.push('/');
        own.push_str(&escaped(&segment));
        place = next;
    }
    (own, true)
}

/// What the schema's author says of a failure: `x-code` and `x-message`.
#[derive(Clone, Copy, Default)]
struct Words<'c> {
    code: Option<&'c str>,
    message: Option<&'c str>,
}

/// How one schema was reached from the one around it.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Way {
    /// Through a condition or a list of alternatives: what it says, it says of all inside it.
    Branch,
    /// Through the name of a member or the items of an array: it speaks of that place alone.
    Place,
    /// Through a `$ref`, or as the root.
    Reference,
}

/// The nearest annotation that speaks of this failure.
fn annotation<'c>(
    contract: &'c Contract,
    schema: &Schema,
    error: &ValidationError<'_>,
    missing: Option<&str>,
) -> Words<'c> {
    let path = match error.kind() {
        // The failure of the name itself, which knows the schema that refused it.
        ValidationErrorKind::PropertyNames { error } => error.evaluation_path(),
        _ => error.evaluation_path(),
    };
    let mut path: Vec<String> = segments(path.as_str()).collect();
    // A `false` schema fails without a keyword.
    let keyword = match error.kind() {
        ValidationErrorKind::FalseSchema => None,
        _ => path.pop(),
    };
    let trail = trail(contract, schema, &path);
    let Some((innermost, _)) = trail.last() else { return Words::default() };

    if let Some(words) = missing
        .and_then(|missing| innermost.get("properties")?.get(missing))
        .or_else(|| keyword.and_then(|keyword| innermost.get(&keyword)))
        .and_then(words)
    {
        return words;
    }
    // What is missing or unknown has a place of its own, inside the one that refuses it.
    let mut is_elsewhere = matches!(
        error.kind(),
        ValidationErrorKind::AdditionalProperties { .. }
            | ValidationErrorKind::Required { .. }
            | ValidationErrorKind::UnevaluatedProperties { .. }
    );
    for (node, way) in trail.iter().rev() {
        if let Some(words) = words(node).filter(|_| !is_elsewhere || *way == Way::Branch) {
            return words;
        }
        is_elsewhere |= *way == Way::Place;
    }
    Words::default()
}

fn words(schema: &Value) -> Option<Words<'_>> {
    let text = |name: &str| schema.get(name).and_then(Value::as_str);
    let words = Words { code: text("x-code"), message: text("x-message") };
    (words.code.is_some() || words.message.is_some()).then_some(words)
}

/// Every schema on the way to a failure, outermost first.
fn trail<'c>(contract: &'c Contract, schema: &Schema, path: &[String]) -> Vec<(&'c Value, Way)> {
    let mut trail = Vec::new();
    let mut id = schema.id.clone();
    let Some(mut node) = contract.document(&id) else { return trail };
    trail.push((node, Way::Reference));
    let mut path = path.iter();
    while let Some(keyword) = path.next() {
        let Some(value) = node.get(keyword) else { return trail };
        let (next, way) = match keyword.as_str() {
            "$ref" => {
                let (document, fragment) = value
                    .as_str()
                    .and_then(|reference| reference.split_once('#').or(Some((reference, ""))))
                    .unwrap_or_default();
                if !document.is_empty() {
                    document.clone_into(&mut id);
                }
                (contract.document(&id).and_then(|it| it.pointer(fragment)), Way::Reference)
            }
            "allOf" | "anyOf" | "oneOf" => {
                (path.next().and_then(|index| value.get(index.parse::<usize>().ok()?)), Way::Branch)
            }
            "dependentSchemas" => (path.next().and_then(|name| value.get(name)), Way::Branch),
            "else" | "if" | "not" | "then" => (Some(value), Way::Branch),
            "prefixItems" => {
                (path.next().and_then(|index| value.get(index.parse::<usize>().ok()?)), Way::Place)
            }
            "patternProperties" | "properties" => {
                (path.next().and_then(|name| value.get(name)), Way::Place)
            }
            _ => (Some(value), Way::Place),
        };
        let Some(next) = next else { return trail };
        trail.push((next, way));
        node = next;
    }
    trail
}

/// What we say of a failure when its schema says nothing.
fn default_words(kind: &ValidationErrorKind) -> (&'static str, String) {
    use ValidationErrorKind as Kind;

    let (code, message) = match kind {
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => (
            "unknown-field",
            "Remove the field that is not part of the form. Check the spelling of each name here.",
        ),
        Kind::AdditionalItems { .. } | Kind::UnevaluatedItems { .. } => {
            ("unknown-item", "Remove the items that are not part of the form.")
        }
        Kind::AnyOf { .. } => ("any-of", "Give at least one of the alternatives the form allows."),
        Kind::Constant { .. } => ("const", "Give the one value the form allows here."),
        Kind::Contains => ("contains", "Add the entry that the form requires in this list."),
        Kind::Enum { .. } => ("enum", "Use one of the codes the form lists for this field."),
        Kind::FalseSchema => {
            ("not-allowed-here", "Remove this field: it does not go with another answer given.")
        }
        Kind::Format { format } => match format.as_str() {
            "date" => ("format", "Write a date that exists as YYYY-MM-DD."),
            "date-time" => (
                "format",
                "Write the time with its offset, as 2030-01-31T09:30:00Z or \
                 2030-07-31T10:30:00+01:00.",
            ),
            "email" => ("format", "Write one e-mail address, as name@example.org."),
            "nhs-number" => (
                "nhs-number-check-digit",
                "Check the NHS number: its last digit does not match the others.",
            ),
            "uuid" => ("format", "Write a UUID in its hyphenated form."),
            _ => ("format", "Write this in the form its schema describes."),
        },
        Kind::MaxItems { limit } => {
            return ("max-items", format!("List at most {limit} here."));
        }
        Kind::MaxLength { limit } => {
            return ("max-length", format!("Write at most {limit} characters."));
        }
        Kind::MinItems { limit: 1 } => ("min-items", "List at least one here."),
        Kind::MinItems { limit } => {
            return ("min-items", format!("List at least {limit} here."));
        }
        Kind::MinLength { limit: 1 } => ("min-length", "Write something: this is empty."),
        Kind::MinLength { limit } => {
            return ("min-length", format!("Write at least {limit} characters."));
        }
        Kind::Not { .. } => ("not", "Change this: it does not go with another answer given."),
        Kind::OneOfMultipleValid { .. } | Kind::OneOfNotValid { .. } => {
            ("one-of", "Give exactly one of the alternatives the form allows.")
        }
        Kind::Pattern { .. } => ("pattern", "Write this in the form its schema describes."),
        Kind::PropertyNames { .. } => {
            ("field-name", "Use only the names the form lists for the fields in here.")
        }
        Kind::Required { .. } => ("required", "Give this: the form requires it."),
        Kind::Type { .. } => ("type", "Give the kind of value the form describes for this field."),
        Kind::UniqueItems => ("unique-items", "List each entry once."),
        Kind::ExclusiveMaximum { .. }
        | Kind::ExclusiveMinimum { .. }
        | Kind::Maximum { .. }
        | Kind::Minimum { .. }
        | Kind::MultipleOf { .. } => ("range", "Give a number in the range the form allows."),
        _ => ("invalid", "Change this: the form does not allow it."),
    };
    (code, message.to_owned())
}

fn segments(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~"))
}

fn escaped(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FORM: &str = r##"{
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:mash:schema:form:1",
        "type": "object",
        "additionalProperties": false,
        "required": ["answer"],
        "properties": {
            "answer": {"enum": ["yes", "no"]},
            "explanation": {"$ref": "#/$defs/text"},
            "guarded": {
                "type": "object", "x-code": "guarded-shape", "x-message": "Describe the guard.",
                "required": ["by"], "additionalProperties": false,
                "properties": {"by": {"const": "us"}}
            },
            "number": {"$ref": "urn:mash:schema:words:1#/$defs/number", "x-code": "the-number"},
            "why": {
                "propertyNames": {"$ref": "urn:mash:schema:words:1#/$defs/word"},
                "additionalProperties": {"$ref": "#/$defs/text"}
            },
            "list": {"type": "array", "contains": {"const": 1, "x-code": "one-in-list"}},
            "either": {"anyOf": [{"type": "string"}, {"type": "number"}]}
        },
        "allOf": [{
            "if": {"properties": {"answer": {"const": "no"}}, "required": ["answer"]},
            "then": {
                "required": ["explanation", "guarded"], "x-code": "required-when-no",
                "properties": {
                    "explanation": {"x-code": "explain", "x-message": "Explain the no."},
                    "guarded": {"properties": {"by": {"type": "string"}}},
                    "list": false
                }
            }
        }],
        "$defs": {"text": {"type": "string", "minLength": 2}}
    }"##;
    const WORDS: &str = r##"{
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:mash:schema:words:1",
        "$defs": {
            "number": {"type": "string", "format": "nhs-number", "maxLength": 10},
            "word": {"enum": ["neglect", "medication"]}
        }
    }"##;

    fn found(body: Value) -> Vec<(String, String)> {
        let contract = Contract::new(&[("form", FORM), ("words", WORDS)]);
        let schema = contract.compile("urn:mash:schema:form:1");
        violations(&contract, &schema, &body, 1)
            .into_iter()
            .map(|violation| (violation.pointer, violation.code))
            .collect()
    }

    #[test]
    fn a_violation_is_named_by_the_nearest_annotation_that_speaks_of_it() {
        let cases = [
            (json!({"answer": "yes"}), vec![]),
            (json!({}), vec![("/answer", "required")]),
            (json!({"answer": "maybe"}), vec![("/answer", "enum")]),
            (json!({"answer": "yes", "number": "9990000019"}), vec![("/number", "the-number")]),
            (json!({"answer": "yes", "explanation": ""}), vec![("/explanation", "min-length")]),
            (json!({"answer": "yes", "list": [2]}), vec![("/list", "one-in-list")]),
            (json!({"answer": "yes", "either": true}), vec![("/either", "any-of")]),
            // The missing property's own words first, then those of the branch that asks for it.
            (
                json!({"answer": "no"}),
                vec![("/explanation", "explain"), ("/guarded", "required-when-no")],
            ),
            // A branch speaks of all inside it; a place only of itself.
            (
                json!({"answer": "no", "explanation": "so", "guarded": {"by": 1}, "list": [1]}),
                vec![
                    ("/guarded/by", "const"),
                    ("/guarded/by", "required-when-no"),
                    ("/list", "required-when-no"),
                ],
            ),
            (json!({"answer": "yes", "guarded": 1}), vec![("/guarded", "guarded-shape")]),
            (json!({"answer": "yes", "guarded": {}}), vec![("/guarded/by", "required")]),
        ];
        for (body, wanted) in cases {
            let wanted: Vec<_> =
                wanted.into_iter().map(|(p, c)| (p.to_owned(), c.to_owned())).collect();
            assert_eq!(found(body.clone()), wanted, "{body}");
        }
    }

    #[test]
    fn a_name_that_is_not_ours_is_not_repeated() {
        let wanted = |pointer: &str, code: &str| (pointer.to_owned(), code.to_owned());
        assert_eq!(
            found(json!({"answer": "yes", "Robin Test": 1, "9990000018": 2})),
            [wanted("", "unknown-field")]
        );
        assert_eq!(
            found(json!({"answer": "yes", "why": {"Robin Test": "xx"}})),
            [wanted("/why", "field-name")]
        );
        assert_eq!(
            found(json!({"answer": "yes", "why": {"neglect": "", "9990000018": ""}})),
            [
                wanted("/why", "field-name"),
                wanted("/why", "min-length"),
                wanted("/why/neglect", "min-length"),
            ]
        );
    }

    #[test]
    fn no_violation_repeats_a_value() {
        let contract = Contract::new(&[("form", FORM), ("words", WORDS)]);
        let schema = contract.compile("urn:mash:schema:form:1");
        let canary = "Robin-9990000019";
        let body = json!({
            "answer": canary, "explanation": {canary: canary}, "guarded": {"by": canary},
            "number": canary, "why": {canary: canary}, "list": [canary], canary: canary,
        });
        for violation in violations(&contract, &schema, &body, 1) {
            assert!(!format!("{violation:?}").contains("999"), "{violation:?}");
        }
    }

    #[test]
    fn the_list_has_an_end() {
        let why: serde_json::Map<_, _> = (0..9_000).map(|i| (i.to_string(), json!(""))).collect();
        let body = json!({"answer": 1, "why": why});
        let contract = Contract::new(&[("form", FORM), ("words", WORDS)]);
        let schema = contract.compile("urn:mash:schema:form:1");
        assert_eq!(violations(&contract, &schema, &body, VALUES_EXPLAINED_MAX + 1).len(), 1);

        let many = (0..200).map(|i| Violation {
            pointer: format!("/{i}"),
            code: String::new(),
            message: String::new(),
        });
        assert_eq!(listed(many.collect()).len(), LISTED_MAX);
    }
}
