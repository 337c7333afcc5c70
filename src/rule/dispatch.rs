//! What a dispatch must say beyond its schema: each recipient once, asked only what the RFI asks.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{items, rfi, text, texts, violation};
use crate::schema::Violation;

/// What is wrong with a dispatch received `now`, its RFI included.
pub(crate) fn violations(dispatch: &Value, now: Timestamp) -> Vec<Violation> {
    let mut found = recipients(dispatch);
    if let Some(rfi) = dispatch.get("rfi") {
        found.extend(rfi::violations(rfi, now).into_iter().map(|violation| Violation {
            pointer: format!("/rfi{}", violation.pointer),
            ..violation
        }));
    }
    found
}

fn recipients(dispatch: &Value) -> Vec<Violation> {
    let asked: BTreeSet<&str> =
        texts(dispatch, "/rfi/informationRequired/categories").map(|(_, it)| it).collect();
    let mut found = Vec::new();
    let mut named = BTreeSet::new();
    for (index, recipient) in items(dispatch, "/recipients") {
        let place = format!("/recipients/{index}");
        if !named.insert((text(recipient, "/agency"), text(recipient, "/odsCode"))) {
            found.push(violation(
                &place,
                "recipient-twice",
                "Name each recipient once, with everything it is asked.",
            ));
        }
        for (at, category) in texts(recipient, "/categories") {
            if !asked.contains(category) {
                found.push(violation(
                    format!("{place}/categories/{at}"),
                    "category-not-asked",
                    "Ask this recipient only for categories the RFI asks, or add this one to \
                     the RFI.",
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{brief, noon};
    use super::*;

    #[test]
    fn recipients_are_named_once_and_asked_what_the_rfi_asks() {
        let dispatch = json!({
            "recipients": [
                {"agency": "alder-hey", "categories": ["neglect"]},
                {"odsCode": "N84001"},
                {"agency": "alder-hey", "categories": ["neglect", "cse-cce"]},
                {"odsCode": "N84002"},
            ],
            "rfi": {
                "informationRequired": {"categories": ["neglect"]},
                "persons": [{"birthDate": "2027"}],
            },
        });
        assert_eq!(
            brief(&violations(&dispatch, noon())),
            [
                ("/recipients/2", "recipient-twice"),
                ("/recipients/2/categories/1", "category-not-asked"),
                ("/rfi/persons/0/birthDate", "in-the-future"),
            ]
        );
    }
}
