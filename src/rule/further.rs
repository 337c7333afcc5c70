//! What the hub tells another agency than the one it asked must say beyond its schema: persons listed once, a
//! letter that was sent, and nothing that is the gateway's to write.

use jiff::Timestamp;
use serde_json::Value;

use super::{answers, attachments, has_begun, rfi, violation};
use crate::message::Exchange;
use crate::schema::Violation;

/// What is wrong with a forwarding, whatever the RFI.
pub(crate) fn forwarding_violations(forwarding: &Value) -> Vec<Violation> {
    let mut found = attachments::violations(forwarding);
    for member in ["answer", "confirmation"] {
        if forwarding.get(member).is_some() {
            found.push(violation(
                format!("/{member}"),
                "written-by-gateway",
                "Leave this out: the gateway writes it, word for word as it was sent.",
            ));
        }
    }
    found
}

/// What is wrong with a step-down received `now`, whatever the RFI.
pub(crate) fn step_down_violations(step_down: &Value, now: Timestamp) -> Vec<Violation> {
    let mut found = rfi::persons(step_down, now);
    found.extend(has_begun(step_down, "/letterToFamily/sentOn", now));
    found.extend(attachments::violations(step_down));
    found
}

/// What is wrong with either in this exchange, or with a withdrawal of consent.
pub(crate) fn violations_in(body: &Value, exchange: &Exchange) -> Vec<Violation> {
    answers(body, exchange.rfi).into_iter().collect()
}
