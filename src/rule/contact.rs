//! What a cancellation, a telephone contact, a contact with the referrer or a saved record must say beyond
//! its schema: what has been done, this RFI.

use jiff::Timestamp;
use serde_json::Value;

use super::{answers, has_happened};
use crate::message::Exchange;
use crate::schema::Violation;

/// What is wrong with a telephone contact received `now`, whatever the RFI.
pub(crate) fn violations(contact: &Value, now: Timestamp) -> Vec<Violation> {
    has_happened(contact, "/madeAt", now).into_iter().collect()
}

/// What is wrong with a contact with the referrer that is recorded `now`.
pub(crate) fn referrer_violations(contact: &Value, now: Timestamp) -> Vec<Violation> {
    has_happened(contact, "/toldAt", now).into_iter().collect()
}

/// What is wrong with what a recipient says `now` of where a message is in its own record.
pub(crate) fn saved_violations(record: &Value, now: Timestamp) -> Vec<Violation> {
    has_happened(record, "/savedAt", now).into_iter().collect()
}

/// What is wrong with one in this exchange, or with a cancellation.
pub(crate) fn violations_in(contact: &Value, exchange: &Exchange) -> Vec<Violation> {
    answers(contact, exchange.rfi).into_iter().collect()
}
