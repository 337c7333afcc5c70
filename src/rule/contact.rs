//! What a cancellation or a telephone contact must say beyond its schema: a call that was made, this RFI.

use jiff::Timestamp;
use serde_json::Value;

use super::{answers, has_happened};
use crate::message::Exchange;
use crate::schema::Violation;

/// What is wrong with a telephone contact received `now`, whatever the RFI.
pub(crate) fn violations(contact: &Value, now: Timestamp) -> Vec<Violation> {
    has_happened(contact, "/madeAt", now).into_iter().collect()
}

/// What is wrong with one in this exchange, or with a cancellation.
pub(crate) fn violations_in(contact: &Value, exchange: &Exchange) -> Vec<Violation> {
    answers(contact, exchange.rfi).into_iter().collect()
}
