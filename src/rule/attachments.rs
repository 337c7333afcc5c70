//! Files that a message names: each once, and a copy of consent among them (R142).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{items, text, violation};
use crate::message::{Attachment, MediaType};
use crate::schema::Violation;

/// What is wrong with the files that a message of any kind names.
pub(crate) fn violations(body: &Value) -> Vec<Violation> {
    let mut named = BTreeSet::new();
    items(body, "/attachments")
        .filter(|(_, file)| text(file, "/id").is_some_and(|id| !named.insert(id)))
        .map(|(index, _)| {
            violation(
                format!("/attachments/{index}/id"),
                "attachment-twice",
                "Name each file once.",
            )
        })
        .collect()
}

/// Each copy of consent is one of the RFI's files.
pub(super) fn copies(rfi: &Value) -> Vec<Violation> {
    let named: BTreeSet<&str> =
        items(rfi, "/attachments").filter_map(|(_, file)| text(file, "/id")).collect();
    ["child", "otherFamilyContacts", "parentOrGuardian"]
        .into_iter()
        .map(|whose| format!("/consent/{whose}/attachmentId"))
        .filter(|pointer| text(rfi, pointer).is_some_and(|id| !named.contains(id)))
        .map(|pointer| {
            violation(
                pointer,
                "copy-not-among-attachments",
                "Upload the copy of the consent, and name it under attachments as well.",
            )
        })
        .collect()
}

/// The files that a body names; none if the schema let through what cannot be read.
pub(crate) fn named(body: &Value) -> Option<Vec<Attachment>> {
    items(body, "/attachments")
        .map(|(_, file)| {
            let digest = text(file, "/digest")?.strip_prefix("sha-256=:")?.strip_suffix(':')?;
            Some(Attachment {
                id: text(file, "/id")?.parse().ok()?,
                media_type: MediaType::parse(text(file, "/mediaType")?)?,
                size_bytes: file.get("size")?.as_u64()?,
                digest: STANDARD.decode(digest).ok()?.try_into().ok()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::brief;
    use super::*;

    const FIRST: &str = "019ab3c2-6f00-7000-8000-0000000000a1";
    const OTHER: &str = "019ab3c2-6f00-7000-8000-0000000000a2";

    #[test]
    fn each_file_is_named_once_and_each_copy_is_one_of_them() {
        let rfi = json!({
            "attachments": [{"id": FIRST}, {"id": OTHER}, {"id": FIRST}],
            "consent": {
                "child": {"attachmentId": OTHER},
                "parentOrGuardian": {"attachmentId": "019ab3c2-6f00-7000-8000-0000000000a3"},
                "otherFamilyContacts": {"answer": "no-such-person"},
            },
        });
        assert_eq!(brief(&violations(&rfi)), [("/attachments/2/id", "attachment-twice")]);
        let missing = ("/consent/parentOrGuardian/attachmentId", "copy-not-among-attachments");
        assert_eq!(brief(&copies(&rfi)), [missing]);
        assert_eq!((violations(&json!({})), copies(&json!({}))), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_is_named_is_read_whole_or_not_at_all() {
        let file = json!({
            "digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
            "id": FIRST, "mediaType": "image/png", "size": 7,
        });
        let read = named(&json!({"attachments": [file]})).unwrap();
        let [read] = &read[..] else { panic!("one file") };
        assert_eq!((read.media_type, read.size_bytes), (MediaType::Png, 7));
        assert_eq!(read.digest, crate::message::sha256(b""));
        for (member, wrong) in [
            ("digest", json!("sha-256=:AAAA:")),
            ("id", json!("p1")),
            ("mediaType", json!("text/html")),
            ("size", json!(-1)),
        ] {
            let mut other = file.clone();
            other[member] = wrong;
            assert_eq!(named(&json!({"attachments": [file, other]})), None, "{member}");
        }
        assert_eq!(named(&json!({})), Some(Vec::new()));
    }
}
