//! What a supplement must say beyond its schema: it adds to an answer to this RFI.

use jiff::Timestamp;
use serde_json::Value;

use super::response::{last_seen, not_asked, not_listed};
use super::{answers, attachments, consent, has_begun, law};
use crate::message::Exchange;
use crate::schema::Violation;

/// What is wrong with a supplement received `now`, whatever the RFI.
pub(crate) fn violations(supplement: &Value, now: Timestamp) -> Vec<Violation> {
    let mut found: Vec<_> = has_begun(supplement, "/asOf", now).into_iter().collect();
    found.extend(last_seen(supplement, "/answers", now));
    found.extend(attachments::violations(supplement));
    found.extend(law::violations(supplement, now));
    found
}

/// What is wrong with a supplement in this exchange.
pub(crate) fn violations_in(supplement: &Value, exchange: &Exchange) -> Vec<Violation> {
    let mut found: Vec<_> = answers(supplement, exchange.rfi).into_iter().collect();
    found.extend(not_asked(supplement, exchange));
    found.extend(not_listed(supplement, "/answers", exchange));
    found.extend(consent::relied_on(supplement, exchange));
    found
}
