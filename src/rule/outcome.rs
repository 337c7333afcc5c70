//! What an outcome must say beyond its schema: a decision that was taken, persons who are known.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{answers, are_listed, attachments, has_begun, has_happened};
use crate::message::Exchange;
use crate::schema::Violation;

/// What is wrong with an outcome received `now`, whatever the RFI.
pub(crate) fn violations(outcome: &Value, now: Timestamp) -> Vec<Violation> {
    let mut found: Vec<_> = has_happened(outcome, "/decidedAt", now).into_iter().collect();
    found.extend(has_begun(outcome, "/letterToFamily/sentOn", now));
    found.extend(attachments::violations(outcome));
    found
}

/// What is wrong with an outcome in this exchange.
pub(crate) fn violations_in(outcome: &Value, exchange: &Exchange) -> Vec<Violation> {
    let persons: BTreeSet<&str> = exchange.persons.iter().map(String::as_str).collect();
    let mut found: Vec<_> = answers(outcome, exchange.rfi).into_iter().collect();
    found.extend(are_listed(outcome, "/doNotInform", &persons));
    found
}
