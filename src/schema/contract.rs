//! The schema files as they are built in: compiled once, fetched from nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jiff::Timestamp;
use jsonschema::{PatternOptions, Registry, Validator};
use serde_json::Value;

use crate::message::Kind;

/// Every schema file: its name, and its text.
pub(crate) const SOURCES: &[(&str, &str)] = &[
    (
        "acknowledgement.v1.schema.json",
        include_str!("../../schemas/acknowledgement.v1.schema.json"),
    ),
    ("cancellation.v1.schema.json", include_str!("../../schemas/cancellation.v1.schema.json")),
    ("clarification.v1.schema.json", include_str!("../../schemas/clarification.v1.schema.json")),
    (
        "consent-withdrawal.v1.schema.json",
        include_str!("../../schemas/consent-withdrawal.v1.schema.json"),
    ),
    ("incident.v1.schema.json", include_str!("../../schemas/incident.v1.schema.json")),
    ("common.v1.schema.json", include_str!("../../schemas/common.v1.schema.json")),
    ("dispatch.v1.schema.json", include_str!("../../schemas/dispatch.v1.schema.json")),
    ("envelope.v1.schema.json", include_str!("../../schemas/envelope.v1.schema.json")),
    ("forwarding.v1.schema.json", include_str!("../../schemas/forwarding.v1.schema.json")),
    (
        "onward-disclosure.v1.schema.json",
        include_str!("../../schemas/onward-disclosure.v1.schema.json"),
    ),
    ("outcome.v1.schema.json", include_str!("../../schemas/outcome.v1.schema.json")),
    ("override.v1.schema.json", include_str!("../../schemas/override.v1.schema.json")),
    (
        "referrer-contact.v1.schema.json",
        include_str!("../../schemas/referrer-contact.v1.schema.json"),
    ),
    ("response.v1.schema.json", include_str!("../../schemas/response.v1.schema.json")),
    ("rfi.v1.schema.json", include_str!("../../schemas/rfi.v1.schema.json")),
    ("saved-record.v1.schema.json", include_str!("../../schemas/saved-record.v1.schema.json")),
    ("step-down.v1.schema.json", include_str!("../../schemas/step-down.v1.schema.json")),
    (
        "subject-access-consultation.v1.schema.json",
        include_str!("../../schemas/subject-access-consultation.v1.schema.json"),
    ),
    (
        "subject-access-view.v1.schema.json",
        include_str!("../../schemas/subject-access-view.v1.schema.json"),
    ),
    ("supplement.v1.schema.json", include_str!("../../schemas/supplement.v1.schema.json")),
    (
        "telephone-contact.v1.schema.json",
        include_str!("../../schemas/telephone-contact.v1.schema.json"),
    ),
    ("test-reply.v1.schema.json", include_str!("../../schemas/test-reply.v1.schema.json")),
    ("test.v1.schema.json", include_str!("../../schemas/test.v1.schema.json")),
    ("transcription.v1.schema.json", include_str!("../../schemas/transcription.v1.schema.json")),
];

/// SHA-256 of each kind's schema, in the order of `Kind::ALL`.
pub(crate) static DIGESTS: LazyLock<[[u8; 32]; Kind::ALL.len()]> = LazyLock::new(|| {
    Kind::ALL.map(|kind| {
        let source = source(&format!("{}.v1.schema.json", kind.as_str())).unwrap_or_default();
        let mut digest = [0; 32];
        digest.copy_from_slice(
            ring::digest::digest(&ring::digest::SHA256, source.as_bytes()).as_ref(),
        );
        digest
    })
});

/// The text of a schema file.
pub(crate) fn source(name: &str) -> Option<&'static str> {
    SOURCES.iter().find(|(each, _)| *each == name).map(|(_, source)| *source)
}

/// The schema documents, as JSON.
pub(crate) struct Contract {
    documents: BTreeMap<String, Value>,
    names: BTreeSet<String>,
}

/// One schema a body can be held to.
pub(crate) struct Schema {
    /// Its `$id`.
    pub(crate) id: String,
    pub(crate) validator: Validator,
}

impl Contract {
    /// Reads schema files that are built in.
    pub(crate) fn new(sources: &[(&str, &str)]) -> Self {
        let mut documents = BTreeMap::new();
        let mut names = BTreeSet::new();
        for (_, source) in sources {
            let document: Value =
                serde_json::from_str(source).expect("a built-in schema is JSON: tested");
            collect_names(&document, &mut names);
            documents.insert(document["$id"].as_str().unwrap_or_default().to_owned(), document);
        }
        Self { documents, names }
    }

    /// Compiles one of them.
    pub(crate) fn compile(&self, id: &str) -> Schema {
        let registry = Registry::new()
            .extend(&self.documents)
            .and_then(|builder| builder.prepare())
            .expect("the built-in schemas refer only to each other: tested");
        let validator = jsonschema::options()
            .with_registry(&registry)
            .offline()
            .should_validate_formats(true)
            .should_ignore_unknown_formats(false)
            .with_format("date-time", is_instant)
            .with_format("nhs-number", is_nhs_number)
            // Linear time, whatever a sender writes; no look-around in our patterns.
            .with_pattern_options(PatternOptions::regex())
            .build(&self.documents[id])
            .expect("the built-in schemas compile: tested");
        Schema { id: id.to_owned(), validator }
    }

    /// A schema document.
    pub(crate) fn document(&self, id: &str) -> Option<&Value> {
        self.documents.get(id)
    }

    /// Whether this is a word of ours that may be repeated to a sender.
    pub(crate) fn is_own_name(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

/// The names of properties, and the code values that may be names of properties.
fn collect_names(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            for (keyword, value) in object {
                match (keyword.as_str(), value) {
                    ("properties", Value::Object(properties)) => {
                        names.extend(properties.keys().cloned());
                    }
                    ("enum", Value::Array(values)) => {
                        names.extend(values.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    _ => {}
                }
                collect_names(value, names);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_names(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// RFC 3339, and a time this program can hold: so the rules can read whatever passed.
fn is_instant(text: &str) -> bool {
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let bytes = text.as_bytes();
    let is_shaped = bytes.len() > shape.len()
        && shape.iter().zip(bytes).all(|(wanted, byte)| match wanted {
            b'd' => byte.is_ascii_digit(),
            _ => wanted == byte,
        });
    let Some(rest) = is_shaped.then(|| &text[shape.len()..]) else { return false };
    let zone = rest
        .strip_prefix('.')
        .map_or(rest, |fraction| fraction.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    // `jiff` reads more than RFC 3339 has; what is left for it to judge is the digits.
    let is_zoned = matches!(zone.as_bytes(), b"Z" | [b'+' | b'-', _, _, b':', _, _]);
    is_zoned && text.parse::<Timestamp>().is_ok()
}

/// Ten digits, of which the last checks the others: weights 10 to 2, modulus 11.
fn is_nhs_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || !bytes.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let digit = |byte: u8| u32::from(byte - b'0');
    let sum: u32 = bytes[..9].iter().zip((2..=10).rev()).map(|(b, w)| digit(*b) * w).sum();
    // A remainder of 1 would need the digit 10: no such number is issued.
    (11 - sum % 11) % 11 == digit(bytes[9])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nhs_numbers_check_their_last_digit() {
        for good in ["9990000018", "9434765919", "9999999999", "0000000000"] {
            assert!(is_nhs_number(good), "{good}");
        }
        for bad in ["9990000019", "999000001", "99900000180", "999000001X", "", "٩٩٩٠٠٠٠٠١٨"]
        {
            assert!(!is_nhs_number(bad), "{bad}");
        }
        // Nine digits whose check digit would be 10.
        assert!((0..10).all(|last| !is_nhs_number(&format!("999000031{last}"))));
    }

    #[test]
    fn instants_are_rfc_3339_with_an_offset() {
        for good in [
            "2026-11-23T09:00:00Z",
            "2026-11-23T09:00:00.123Z",
            "2026-11-23T09:00:00+00:00",
            "2026-06-23T09:00:00.000000001-05:30",
        ] {
            assert!(is_instant(good), "{good}");
        }
        for bad in [
            "2026-11-23T09:00:00",
            "2026-11-23",
            "2026-11-23 09:00:00Z",
            "2026-11-23t09:00:00Z",
            "2026-11-23T09:00Z",
            "2026-02-30T09:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T09:00:00.Z",
            "2026-11-23T09:00:00+0000",
            "2026-11-23T09:00:00Z[Europe/London]",
            "2026-11-23T09:00:00+00:00[Europe/London]",
            "9999-12-31T23:59:59-23:59",
            "2026-11-23T09:00:0é",
            "",
        ] {
            assert!(!is_instant(bad), "{bad}");
        }
    }

    #[test]
    fn every_file_compiles() {
        let contract = Contract::new(SOURCES);
        for id in contract.documents.keys() {
            contract.compile(id);
        }
    }

    #[test]
    fn each_file_is_named_for_its_id() {
        for (name, source) in SOURCES {
            let document: Value = serde_json::from_str(source).unwrap();
            let word = name.strip_suffix(".v1.schema.json").unwrap();
            assert_eq!(document["$id"], format!("urn:mash:schema:{word}:1"));
        }
    }
}
