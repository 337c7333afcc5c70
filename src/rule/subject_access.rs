//! What a subject-access consultation and the view on it must say beyond their schemas: a time still to
//! come, a decision that was taken, categories that were asked (R97, R98).

use jiff::Timestamp;
use serde_json::Value;

use super::response::not_asked;
use super::{answers, has_happened, is_to_come};
use crate::message::Exchange;
use crate::schema::Violation;

/// What is wrong with either received `now`, whatever the RFI.
pub(crate) fn violations(body: &Value, now: Timestamp) -> Vec<Violation> {
    is_to_come(body, "/replyBy", now)
        .into_iter()
        .chain(has_happened(body, "/receivedAt", now))
        .chain(has_happened(body, "/decidedAt", now))
        .collect()
}

/// What is wrong with either in this exchange.
pub(crate) fn violations_in(body: &Value, exchange: &Exchange) -> Vec<Violation> {
    let mut found: Vec<_> = answers(body, exchange.rfi).into_iter().collect();
    found.extend(not_asked(body, exchange));
    found
}
