//! What a test and its answer must say beyond their schemas: a time still to come, the right test.
//! That the code word is the one in the test is for whoever can open the test to say.

use jiff::Timestamp;
use serde_json::Value;

use super::{answers, is_to_come};
use crate::message::Exchange;
use crate::schema::Violation;

/// What is wrong with a test sent `now`.
pub(crate) fn violations(test: &Value, now: Timestamp) -> Vec<Violation> {
    is_to_come(test, "/replyBy", now).into_iter().collect()
}

/// What is wrong with a test's answer in this exchange.
pub(crate) fn violations_in(reply: &Value, exchange: &Exchange) -> Vec<Violation> {
    answers(reply, exchange.rfi).into_iter().collect()
}
