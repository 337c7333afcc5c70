//! What an acknowledgement must say beyond its schema: a promise that is still to be kept.

use jiff::Timestamp;
use serde_json::Value;

use super::{answers, is_to_come};
use crate::message::Exchange;
use crate::schema::Violation;

/// What is wrong with an acknowledgement received `now`, whatever the RFI.
pub(crate) fn violations(acknowledgement: &Value, now: Timestamp) -> Vec<Violation> {
    is_to_come(acknowledgement, "/willReplyBy", now).into_iter().collect()
}

/// What is wrong with an acknowledgement in this exchange.
pub(crate) fn violations_in(acknowledgement: &Value, exchange: &Exchange) -> Vec<Violation> {
    answers(acknowledgement, exchange.rfi).into_iter().collect()
}
