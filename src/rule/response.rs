//! What a response must say beyond its schema: it answers this RFI, and what was asked in it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    answers, are_listed, attachments, consent, has_begun, has_happened, is_to_come, items, law,
    person_not_in_rfi, text, violation,
};
use crate::message::Exchange;
use crate::schema::Violation;

/// What is wrong with a response received `now`, whatever the RFI.
pub(crate) fn violations(response: &Value, now: Timestamp) -> Vec<Violation> {
    let mut found = twice(response);
    found.extend(has_happened(response, "/transcription/takenAt", now));
    found.extend(is_to_come(response, "/moreToFollowBy", now));
    found.extend(has_begun(response, "/asOf", now));
    found.extend(last_seen(response, "/answers", now));
    found.extend(attachments::violations(response));
    found.extend(law::violations(response, now));
    found.extend(consent::refused_and_relied_on(response));
    found
}

/// What is wrong with a response in this exchange.
pub(crate) fn violations_in(response: &Value, exchange: &Exchange) -> Vec<Violation> {
    let mut found = Vec::new();
    found.extend(answers(response, exchange.rfi));
    found.extend(not_asked(response, exchange));
    found.extend(not_answered(response, exchange));
    found.extend(not_listed(response, "/answers", exchange));
    found.extend(consent::relied_on(response, exchange));
    found
}

/// Answers to what was not asked (R46).
pub(super) fn not_asked(body: &Value, exchange: &Exchange) -> Vec<Violation> {
    items(body, "/answers")
        .filter_map(|(index, answer)| Some((index, text(answer, "/category")?)))
        .filter(|(_, category)| !exchange.categories.iter().any(|asked| asked == category))
        .map(|(index, _)| {
            violation(
                format!("/answers/{index}/category"),
                "category-not-asked",
                "Remove this answer: the RFI did not ask for its category.",
            )
        })
        .collect()
}

/// Persons in the answers at `pointer` whom the RFI does not list.
pub(super) fn not_listed(body: &Value, pointer: &str, exchange: &Exchange) -> Vec<Violation> {
    let persons: BTreeSet<&str> = exchange.persons.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    for (index, answer) in items(body, pointer) {
        let place = format!("{pointer}/{index}");
        found.extend(are_listed(body, &format!("{place}/aboutPersonIds"), &persons));
        for (at, seen) in items(answer, "/lastSeen") {
            if text(seen, "/personId").is_some_and(|person| !persons.contains(person)) {
                found.push(person_not_in_rfi(format!("{place}/lastSeen/{at}/personId")));
            }
        }
    }
    found
}

/// Dates of the last appointment that do not exist or have not come.
pub(super) fn last_seen(body: &Value, pointer: &str, now: Timestamp) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, answer) in items(body, pointer) {
        for (at, _) in items(answer, "/lastSeen") {
            let place = format!("{pointer}/{index}/lastSeen/{at}/date");
            found.extend(has_begun(body, &place, now));
        }
    }
    found
}

fn twice(response: &Value) -> Vec<Violation> {
    let mut answered = BTreeSet::new();
    items(response, "/answers")
        .filter_map(|(index, answer)| Some((index, text(answer, "/category")?)))
        .filter(|(_, category)| !answered.insert(*category))
        .map(|(index, _)| {
            violation(
                format!("/answers/{index}/category"),
                "category-answered-twice",
                "Answer each category once: put everything about it in one answer.",
            )
        })
        .collect()
}

/// Whether it says something of known criminal activity.
pub(crate) fn is_about_crime(body: &Value) -> bool {
    items(body, "/answers").any(|(_, answer)| {
        text(answer, "/category") == Some("criminal-activity")
            && text(answer, "/status") == Some("provided")
    })
}

/// A complete response leaves nothing that was asked unanswered.
fn not_answered(response: &Value, exchange: &Exchange) -> Option<Violation> {
    let answered: BTreeSet<&str> =
        items(response, "/answers").filter_map(|(_, answer)| text(answer, "/category")).collect();
    let is_complete = text(response, "/result") == Some("complete");
    let is_answered = exchange.categories.iter().all(|asked| answered.contains(asked.as_str()));
    (is_complete && !is_answered).then(|| {
        violation(
            "/answers",
            "category-not-answered",
            "Answer every category the RFI asked, if only that nothing is known; or send this \
             as partial and say when more will follow.",
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{RFI, brief, exchange, noon};
    use super::*;

    #[test]
    fn a_complete_response_answers_what_was_asked_and_nothing_else() {
        let found = |result: &str, categories: &[&str]| {
            let answers: Vec<_> =
                categories.iter().map(|category| json!({"category": category})).collect();
            let response = json!({"inReplyTo": RFI, "result": result, "answers": answers});
            let mut found = violations(&response, noon());
            found.extend(violations_in(&response, &exchange()));
            brief(&found).iter().map(|(p, c)| format!("{p} {c}")).collect::<Vec<_>>()
        };
        assert!(found("complete", &["domestic-abuse", "neglect"]).is_empty());
        assert!(found("partial", &["neglect"]).is_empty());
        assert!(found("nothing-known", &[]).is_empty());
        assert_eq!(found("complete", &["neglect"]), ["/answers category-not-answered"]);
        assert_eq!(
            found("partial", &["neglect", "cse-cce", "neglect"]),
            [
                "/answers/2/category category-answered-twice",
                "/answers/1/category category-not-asked"
            ]
        );
    }

    #[test]
    fn a_response_names_this_rfi_its_persons_and_times_that_can_be() {
        let response = json!({
            "inReplyTo": "019ab3c2-6f00-7000-8000-000000000002",
            "result": "partial",
            "answers": [{
                "category": "neglect",
                "aboutPersonIds": ["p1", "p3"],
                "lastSeen": [
                    {"personId": "p2", "date": "2026-11-24"}, {"personId": "p9", "date": "2025"},
                ],
            }],
            "asOf": "2026-12",
            "moreToFollowBy": "2026-11-23T11:00:00Z",
            "transcription": {"takenAt": "2026-11-23T13:00:00Z"},
        });
        assert_eq!(
            brief(&violations(&response, noon())),
            [
                ("/transcription/takenAt", "in-the-future"),
                ("/moreToFollowBy", "in-the-past"),
                ("/asOf", "in-the-future"),
                ("/answers/0/lastSeen/0/date", "in-the-future"),
            ]
        );
        assert_eq!(
            brief(&violations_in(&response, &exchange())),
            [
                ("/inReplyTo", "not-this-rfi"),
                ("/answers/0/aboutPersonIds/1", "person-not-in-rfi"),
                ("/answers/0/lastSeen/1/personId", "person-not-in-rfi"),
            ]
        );
    }
}
