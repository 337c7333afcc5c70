//! What an onward-disclosure confirmation must say beyond its schema: each category once, and one that
//! was asked (R41).

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::response::not_asked;
use super::{answers, has_happened, items, text, violation};
use crate::message::Exchange;
use crate::schema::Violation;

/// What is wrong with a confirmation received `now`, whatever the RFI.
pub(crate) fn violations(confirmation: &Value, now: Timestamp) -> Vec<Violation> {
    let mut found: Vec<_> = has_happened(confirmation, "/decidedAt", now).into_iter().collect();
    let mut named = BTreeSet::new();
    for (index, answer) in items(confirmation, "/answers") {
        if text(answer, "/category").is_some_and(|category| !named.insert(category)) {
            found.push(violation(
                format!("/answers/{index}/category"),
                "category-answered-twice",
                "Say once of each category what the family may be told.",
            ));
        }
    }
    found
}

/// What is wrong with a confirmation in this exchange.
pub(crate) fn violations_in(confirmation: &Value, exchange: &Exchange) -> Vec<Violation> {
    let mut found: Vec<_> = answers(confirmation, exchange.rfi).into_iter().collect();
    found.extend(not_asked(confirmation, exchange));
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{RFI, brief, exchange, noon};
    use super::*;

    #[test]
    fn each_category_is_confirmed_once_and_was_asked() {
        let confirmation = json!({
            "inReplyTo": RFI,
            "decidedAt": "2026-11-23T13:00:00Z",
            "answers": [
                {"category": "neglect"}, {"category": "cse-cce"}, {"category": "neglect"},
            ],
        });
        assert_eq!(
            brief(&violations(&confirmation, noon())),
            [("/decidedAt", "in-the-future"), ("/answers/2/category", "category-answered-twice")]
        );
        let found = violations_in(&confirmation, &exchange());
        assert_eq!(brief(&found), [("/answers/1/category", "category-not-asked")]);
    }
}
