//! What an RFI must say beyond its schema: times in order, persons and categories that exist.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    are_listed, attachments, has_begun, has_happened, instant, is_to_come, items, law,
    person_not_in_rfi, text, texts, violation,
};
use crate::schema::Violation;

/// What is wrong with an RFI received `now`.
pub(crate) fn violations(rfi: &Value, now: Timestamp) -> Vec<Violation> {
    let mut found = Vec::new();
    found.extend(due(rfi, now));
    for pointer in [
        "/dateOfRequest",
        "/enquiryAuthorisation/at",
        "/override/decidedAt",
        "/telephoneContact/madeAt",
    ] {
        found.extend(has_happened(rfi, pointer, now));
    }
    found.extend(persons(rfi, now));
    found.extend(categories(rfi));
    found.extend(attachments::violations(rfi));
    found.extend(attachments::copies(rfi));
    found.extend(law::violations(rfi, now));
    found.extend(family_not_informed(rfi));
    for whose in ["child", "otherFamilyContacts", "parentOrGuardian"] {
        found.extend(has_begun(rfi, &format!("/consent/{whose}/givenOn"), now));
    }
    for (index, _) in items(rfi, "/reason/previousMashEnquiries") {
        found.extend(has_begun(rfi, &format!("/reason/previousMashEnquiries/{index}/date"), now));
    }
    found
}

/// What is wrong with an override recorded `now`, beyond its schema: as in the RFI it is about.
pub(crate) fn override_violations(decided: &Value, now: Timestamp) -> Vec<Violation> {
    let mut found: Vec<_> = has_happened(decided, "/override/decidedAt", now).into_iter().collect();
    found.extend(persons(decided, now));
    found
}

/// The ids of the persons it lists.
pub(crate) fn person_ids(rfi: &Value) -> impl Iterator<Item = &str> {
    items(rfi, "/persons").filter_map(|(_, person)| person.get("personId")?.as_str())
}

// Openness is the rule, and every exception has its reason (R22).
fn family_not_informed(rfi: &Value) -> Option<Violation> {
    let answer = text(rfi, "/familyInformed/answer")?;
    (answer != "yes" && text(rfi, "/familyInformed/reason").is_none()).then(|| {
        violation(
            "/familyInformed/reason",
            "family-not-informed-why",
            "Say why the family has not been told: openness is the rule.",
        )
    })
}

fn due(rfi: &Value, now: Timestamp) -> Option<Violation> {
    const DUE: &str = "/responseRequiredBy";
    if instant(rfi, DUE)? <= instant(rfi, "/dateOfRequest")? {
        return Some(violation(
            DUE,
            "due-before-request",
            "Give a time after the date of the request by which the response is required.",
        ));
    }
    is_to_come(rfi, DUE, now)
}

/// What is wrong with the persons a body lists.
pub(super) fn persons(rfi: &Value, now: Timestamp) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    for (index, person) in items(rfi, "/persons") {
        let place = format!("/persons/{index}");
        if let Some(id) = text(person, "/personId")
            && !known.insert(id)
        {
            found.push(violation(
                format!("{place}/personId"),
                "person-id-twice",
                "Give each person a personId of their own: p1, p2 and so on.",
            ));
        }
        found.extend(has_begun(rfi, &format!("{place}/birthDate"), now));
    }
    // Twins have one mother, who is listed as a person (R5).
    for (index, person) in items(rfi, "/persons") {
        let mother = text(person, "/motherPersonId");
        if mother.is_some_and(|id| !known.contains(id) || text(person, "/personId") == Some(id)) {
            found.push(person_not_in_rfi(format!("/persons/{index}/motherPersonId")));
        }
    }
    found.extend(are_listed(rfi, "/doNotInform", &known));
    for (index, _) in items(rfi, "/persons") {
        found.extend(are_listed(rfi, &format!("/persons/{index}/doNotDiscloseAddressTo"), &known));
    }
    found
}

/// Each "why" explains a category that is asked.
fn categories(rfi: &Value) -> Vec<Violation> {
    let asked: BTreeSet<&str> =
        texts(rfi, "/informationRequired/categories").map(|(_, category)| category).collect();
    let why = rfi.pointer("/informationRequired/why").and_then(Value::as_object);
    why.into_iter()
        .flat_map(|why| why.keys())
        .filter(|category| !asked.contains(category.as_str()))
        .map(|category| {
            // The schema allows no name here but a category's.
            violation(
                format!("/informationRequired/why/{category}"),
                "category-not-asked",
                "Remove this reason, or ask for its category as well.",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{brief, noon};
    use super::*;

    #[test]
    fn the_answer_is_due_after_the_request_and_after_now() {
        let found = |request: &str, due: &str| {
            violations(&json!({"dateOfRequest": request, "responseRequiredBy": due}), noon())
                .first()
                .map(|violation| violation.code.clone())
        };
        let code = |code: &str| Some(code.to_owned());
        assert_eq!(found("2026-11-23T11:00:00Z", "2026-11-24T11:00:00Z"), None);
        assert_eq!(found("2026-11-23T12:05:00Z", "2026-11-24T11:00:00Z"), None);
        assert_eq!(
            found("2026-11-23T11:00:00Z", "2026-11-23T11:00:00Z"),
            code("due-before-request")
        );
        // Later by the clock on the wall, earlier in fact.
        assert_eq!(
            found("2026-11-23T11:00:00Z", "2026-11-23T12:30:00+02:00"),
            code("due-before-request")
        );
        assert_eq!(found("2026-11-22T11:00:00Z", "2026-11-23T11:00:00Z"), code("in-the-past"));
        assert_eq!(found("2026-11-23T12:06:00Z", "2026-11-24T11:00:00Z"), code("in-the-future"));
    }

    #[test]
    fn persons_and_categories_named_are_those_listed() {
        let rfi = json!({
            "persons": [
                {"personId": "p1", "birthDate": "2027"},
                {"personId": "p1", "doNotDiscloseAddressTo": ["p2", "p1"]},
            ],
            "doNotInform": ["p1", "p3"],
            "informationRequired": {
                "categories": ["neglect"], "why": {"neglect": "…", "domestic-abuse": "…"},
            },
            "override": {"decidedAt": "2026-11-24T12:00:00Z"},
            "enquiryAuthorisation": {"at": "2026-11-24T12:00:00Z"},
        });
        assert_eq!(
            brief(&violations(&rfi, noon())),
            [
                ("/enquiryAuthorisation/at", "in-the-future"),
                ("/override/decidedAt", "in-the-future"),
                ("/persons/0/birthDate", "in-the-future"),
                ("/persons/1/personId", "person-id-twice"),
                ("/doNotInform/1", "person-not-in-rfi"),
                ("/persons/1/doNotDiscloseAddressTo/0", "person-not-in-rfi"),
                ("/informationRequired/why/domestic-abuse", "category-not-asked"),
            ]
        );
    }
}
