//! What an incident must say beyond its schema: when it was found, about whom, and by when it is assessed.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{are_listed, attachments, has_happened, instant, text, violation};
use crate::message::Exchange;
use crate::schema::Violation;

/// From when a breach is known until the Commissioner is told of it (UK GDPR, Article 33(1)), whatever the
/// hours.
const ASSESSED_WITHIN: SignedDuration = SignedDuration::from_hours(72);

/// What is wrong with an incident received `now`.
pub(crate) fn violations(incident: &Value, now: Timestamp) -> Vec<Violation> {
    let mut found = attachments::violations(incident);
    for pointer in ["/happenedAt", "/foundAt", "/assessment/at"] {
        found.extend(has_happened(incident, pointer, now));
    }
    let (happened, known) = (instant(incident, "/happenedAt"), instant(incident, "/foundAt"));
    if happened.zip(known).is_some_and(|(happened, known)| happened > known) {
        found.push(violation(
            "/foundAt",
            "found-before-it-happened",
            "Check these times: it cannot have been found before it happened.",
        ));
    }
    found
}

/// What is wrong with it in this exchange.
pub(crate) fn violations_in(incident: &Value, exchange: &Exchange) -> Vec<Violation> {
    let persons: BTreeSet<&str> = exchange.persons.iter().map(String::as_str).collect();
    are_listed(incident, "/aboutPersonIds", &persons).collect()
}

/// By when whoever had it decides whether the Commissioner and the people it is about are told (R95); none
/// once that is decided, it is closed, or it was a near miss.
pub(crate) fn assessment_due_by(incident: &Value) -> Option<Timestamp> {
    let is_over = text(incident, "/status") == Some("closed")
        || incident.get("assessment").is_some()
        || incident.get("nearMiss") == Some(&Value::Bool(true));
    let found = instant(incident, "/foundAt").filter(|_| !is_over)?;
    found.checked_add(ASSESSED_WITHIN).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{brief, exchange, noon};
    use super::*;

    #[test]
    fn it_happened_and_then_was_found() {
        let found = |happened: &str, known: &str| {
            let found = violations(&json!({ "happenedAt": happened, "foundAt": known }), noon());
            found.iter().map(|each| each.code.clone()).collect::<Vec<_>>()
        };
        assert!(found("2026-11-22T12:00:00Z", "2026-11-23T11:00:00Z").is_empty());
        assert_eq!(found("2026-11-22T12:00:00Z", "2026-11-23T12:06:00Z"), ["in-the-future"]);
        assert_eq!(
            found("2026-11-23T11:00:00Z", "2026-11-22T12:00:00Z"),
            ["found-before-it-happened"]
        );
    }

    #[test]
    fn it_is_about_persons_of_the_rfi() {
        let found = violations_in(&json!({ "aboutPersonIds": ["p1", "p9"] }), &exchange());
        assert_eq!(brief(&found), [("/aboutPersonIds/1", "person-not-in-rfi")]);
    }

    #[test]
    fn it_is_assessed_in_three_days_unless_it_was_a_near_miss_or_is_over() {
        let open =
            json!({ "foundAt": "2026-11-20T16:00:00Z", "nearMiss": false, "status": "open" });
        let due = |change: &dyn Fn(&mut Value)| {
            let mut incident = open.clone();
            change(&mut incident);
            assessment_due_by(&incident).map(|due| due.to_string())
        };
        assert_eq!(due(&|_| {}).as_deref(), Some("2026-11-23T16:00:00Z"));
        assert_eq!(due(&|it| it["nearMiss"] = json!(true)), None);
        assert_eq!(due(&|it| it["status"] = json!("closed")), None);
        assert_eq!(due(&|it| it["assessment"] = json!({})), None);
    }
}
