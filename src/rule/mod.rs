//! What a schema cannot say: times compared, persons and categories that must be the RFI's.
//!
//! One file per message, each with pure functions over a body that already satisfies its schema;
//! so a field that is absent, or not of its type, is passed over here. Each violation says what to
//! do, and none repeats what was written.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::message::MessageId;
use crate::schema::Violation;

pub(crate) mod acknowledgement;
pub mod ages;
pub(crate) mod attachments;
pub(crate) mod clarification;
pub(crate) mod consent;
pub(crate) mod contact;
pub(crate) mod dispatch;
pub(crate) mod further;
pub(crate) mod incident;
pub mod law;
pub(crate) mod onward_disclosure;
pub(crate) mod outcome;
pub mod person;
pub(crate) mod response;
pub(crate) mod rfi;
pub(crate) mod subject_access;
pub(crate) mod supplement;
pub(crate) mod test;

/// How far a sender's clock may be ahead of ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A violation in our own words.
pub(crate) fn violation(pointer: impl Into<String>, code: &str, message: &str) -> Violation {
    Violation { pointer: pointer.into(), code: code.to_owned(), message: message.to_owned() }
}

/// The string at `pointer`.
pub(crate) fn text<'b>(body: &'b Value, pointer: &str) -> Option<&'b str> {
    body.pointer(pointer)?.as_str()
}

/// The strings of the array at `pointer`, each with its place in it.
pub(crate) fn texts<'b>(
    body: &'b Value,
    pointer: &str,
) -> impl Iterator<Item = (usize, &'b str)> + use<'b> {
    items(body, pointer).filter_map(|(index, item)| Some((index, item.as_str()?)))
}

/// The items of the array at `pointer`, each with its place in it.
pub(crate) fn items<'b>(
    body: &'b Value,
    pointer: &str,
) -> impl Iterator<Item = (usize, &'b Value)> + use<'b> {
    body.pointer(pointer).and_then(Value::as_array).into_iter().flatten().enumerate()
}

/// The time at `pointer`, to the millisecond.
pub(crate) fn instant(body: &Value, pointer: &str) -> Option<Timestamp> {
    let at: Timestamp = text(body, pointer)?.parse().ok()?;
    Timestamp::from_millisecond(at.as_millisecond()).ok()
}

/// What has happened is not in the future, but for a clock that is a little ahead.
fn has_happened(body: &Value, pointer: &str, now: Timestamp) -> Option<Violation> {
    let at = instant(body, pointer)?;
    (at.duration_since(now) > CLOCK_SKEW).then(|| {
        violation(
            pointer,
            "in-the-future",
            "Check this time: it has not come yet. Give the time at which it happened.",
        )
    })
}

/// What is promised is still to come.
fn is_to_come(body: &Value, pointer: &str, now: Timestamp) -> Option<Violation> {
    let at = instant(body, pointer)?;
    (at <= now).then(|| {
        violation(pointer, "in-the-past", "Check this time: it has passed. Give one still to come.")
    })
}

/// A year, a month or a day that exists and has begun.
fn has_begun(body: &Value, pointer: &str, now: Timestamp) -> Option<Violation> {
    let date = text(body, pointer)?;
    if date.len() == "2030-01-31".len() && date.parse::<Date>().is_err() {
        return Some(violation(
            pointer,
            "no-such-date",
            "Check this date: its month has no such day. Give the month or the year if the day \
             is not known.",
        ));
    }
    // The United Kingdom is never more than an hour ahead of UTC.
    let today = now.saturating_add(SignedDuration::from_hours(1)).ok()?;
    let today = today.to_zoned(TimeZone::UTC).date().to_string();
    (date > today.get(..date.len())?)
        .then(|| violation(pointer, "in-the-future", "Check this date: it has not come yet."))
}

/// Each person named in the array at `pointer` is one of `persons`.
fn are_listed(
    body: &Value,
    pointer: &str,
    persons: &BTreeSet<&str>,
) -> impl Iterator<Item = Violation> {
    texts(body, pointer)
        .filter(|(_, person)| !persons.contains(person))
        .map(move |(index, _)| person_not_in_rfi(format!("{pointer}/{index}")))
}

fn person_not_in_rfi(pointer: impl Into<String>) -> Violation {
    violation(
        pointer,
        "person-not-in-rfi",
        "Name only persons listed in the RFI, by the personId they have there.",
    )
}

/// The body answers the RFI of the exchange it is sent in.
fn answers(body: &Value, rfi: MessageId) -> Option<Violation> {
    let said = text(body, "/inReplyTo")?;
    (said.parse() != Ok(rfi)).then(|| {
        violation(
            "/inReplyTo",
            "not-this-rfi",
            "Give the id of the RFI message that opened this exchange, or send this in the \
             exchange it belongs to.",
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::message::{
        AgencyId, EnquiryId, Exchange, ExchangeId, ExchangeState, Marks, Priority, Reference,
    };

    /// Pointers and codes, in the order found.
    pub(crate) fn brief(found: &[Violation]) -> Vec<(&str, &str)> {
        found.iter().map(|it| (it.pointer.as_str(), it.code.as_str())).collect()
    }

    pub(crate) fn noon() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    /// An exchange that asked two categories about `p1` and `p2`.
    pub(crate) fn exchange() -> Exchange {
        Exchange {
            id: ExchangeId::new(noon()),
            enquiry: EnquiryId::new(noon()),
            reference: Reference::new(2026, 1),
            hub: AgencyId::parse("mash").unwrap(),
            agency: AgencyId::parse("alder-hey").unwrap(),
            rfi: RFI.parse().unwrap(),
            categories: vec!["neglect".to_owned(), "domestic-abuse".to_owned()],
            persons: vec!["p1".to_owned(), "p2".to_owned()],
            priority: Priority::Urgent,
            response_required_by: noon(),
            opened_at: noon(),
            state: ExchangeState::Requested,
            result: None,
            marks: Marks::default(),
            decision: None,
            destroyed_at: None,
            needs_attention: false,
            undelivered: None,
            sealing_recipient: String::new(),
        }
    }

    pub(crate) const RFI: &str = "019ab3c2-6f00-7000-8000-000000000001";

    #[test]
    fn times_are_compared_with_now() {
        let at = |time: &str| json!({ "at": time });
        let happened = |time| has_happened(&at(time), "/at", noon()).is_none();
        assert!(happened("2026-11-23T12:00:00Z"));
        assert!(happened("2026-11-23T12:05:00Z"));
        assert!(!happened("2026-11-23T12:05:00.001Z"));
        assert!(happened("2026-11-23T13:05:00+01:00"));
        let to_come = |time| is_to_come(&at(time), "/at", noon()).is_none();
        assert!(to_come("2026-11-23T12:00:00.001Z"));
        assert!(!to_come("2026-11-23T12:00:00Z"));
        assert!(!to_come("2026-11-23T12:30:00+01:00"));
    }

    #[test]
    fn part_of_a_date_is_enough_but_it_has_begun() {
        let late: Timestamp = "2026-06-30T23:30:00Z".parse().unwrap();
        let code = |date: &str, now| {
            has_begun(&json!({ "date": date }), "/date", now).map(|violation| violation.code)
        };
        for good in ["1994", "2026", "2026-11", "2026-11-23", "2024-02-29"] {
            assert_eq!(code(good, noon()), None, "{good}");
        }
        for future in ["2027", "2026-12", "2026-11-24"] {
            assert_eq!(code(future, noon()).as_deref(), Some("in-the-future"), "{future}");
        }
        assert_eq!(code("2026-02-29", noon()).as_deref(), Some("no-such-date"));
        // Past midnight here, though not in UTC.
        assert_eq!(code("2026-07-01", late), None);
        assert_eq!(has_begun(&json!({}), "/date", noon()), None);
    }
}
