//! What a withdrawal of consent must say beyond its schema, and what it ends: no answer rests on consent any
//! more. One on another basis is taken, for whoever knows something about a child is heard; and one that crosses
//! the withdrawal on its way was given while the consent stood.

use jiff::Timestamp;
use serde_json::Value;

use super::{contact, has_happened, text, violation};
use crate::message::Exchange;
use crate::schema::Violation;

/// What is wrong with a withdrawal received `now`, whatever the RFI.
pub(crate) fn violations(withdrawal: &Value, now: Timestamp) -> Vec<Violation> {
    has_happened(withdrawal, "/withdrawnAt", now).into_iter().collect()
}

/// What is wrong with a cancellation in this exchange: whoever is told to stop because consent was withdrawn
/// was told first that it was.
pub(crate) fn cancellation_in(cancellation: &Value, exchange: &Exchange) -> Vec<Violation> {
    let mut found = contact::violations_in(cancellation, exchange);
    let is_for_it = text(cancellation, "/reason") == Some("consent-withdrawn");
    if is_for_it && exchange.marks.consent_withdrawn_at.is_none() {
        found.push(violation(
            "/reason",
            "withdrawal-not-recorded",
            "Send the withdrawal of consent first (consent-withdrawals): it is what keeps answers from \
             resting on that consent.",
        ));
    }
    found
}

/// Who cannot share because consent was refused does not rest on consent (R82).
pub(crate) fn refused_and_relied_on(response: &Value) -> Option<Violation> {
    let is_refused =
        text(response, "/cannotShare/reason") == Some("consent-refused-no-other-power");
    (is_refused && text(response, "/lawfulBasis/article6") == Some("a")).then(|| {
        violation(
            "/lawfulBasis/article6",
            "consent-not-lawful-basis",
            "Choose another Article 6 basis: consent was refused.",
        )
    })
}

/// Where an answer in this exchange rests on consent though that was withdrawn.
pub(crate) fn relied_on(answer: &Value, exchange: &Exchange) -> Vec<Violation> {
    if exchange.marks.consent_withdrawn_at.is_none() {
        return Vec::new();
    }
    [("/lawfulBasis/article6", "a"), ("/lawfulBasis/article9", "a"), ("/confidenceGateway", "consent")]
        .into_iter()
        .filter(|(pointer, consent)| text(answer, pointer) == Some(consent))
        .map(|(pointer, _)| {
            violation(
                pointer,
                "consent-withdrawn",
                "Choose another basis, or answer that it cannot be shared: the consent was withdrawn. The \
                 MASH Team Manager can say whether the hub goes on without it.",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{RFI, brief, exchange, noon};
    use super::*;

    #[test]
    fn what_rests_on_consent_is_refused_once_it_was_withdrawn_and_the_rest_is_not() {
        let resting = json!({
            "lawfulBasis": { "article6": "a", "article9": "a" }, "confidenceGateway": "consent",
        });
        let other = json!({
            "lawfulBasis": { "article6": "e", "article9": "h" },
            "confidenceGateway": "protect-from-harm",
        });
        let mut exchange = exchange();
        assert_eq!(relied_on(&resting, &exchange), []);
        exchange.marks.consent_withdrawn_at = Some(noon());
        assert_eq!(
            brief(&relied_on(&resting, &exchange)),
            [
                ("/lawfulBasis/article6", "consent-withdrawn"),
                ("/lawfulBasis/article9", "consent-withdrawn"),
                ("/confidenceGateway", "consent-withdrawn"),
            ]
        );
        assert_eq!(relied_on(&other, &exchange), []);
    }

    #[test]
    fn a_cancellation_for_it_comes_after_it() {
        let cancellation = json!({ "inReplyTo": RFI, "reason": "consent-withdrawn" });
        let mut exchange = exchange();
        let found = cancellation_in(&cancellation, &exchange);
        assert_eq!(brief(&found), [("/reason", "withdrawal-not-recorded")]);
        exchange.marks.consent_withdrawn_at = Some(noon());
        assert_eq!(cancellation_in(&cancellation, &exchange), []);
    }
}
