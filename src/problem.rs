//! Every way a request can fail, as RFC 9457 problem details.
//!
//! A closed list with stable codes: clients branch on `type`, metrics count by it, the partner guide
//! explains each. No problem ever repeats a value that was refused; it says where, which rule, who
//! can resolve it and what to do next.

use serde::Serialize;

use crate::schema::Violation;

/// A refusal or failure, as the caller is told of it.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Which kind.
    pub kind: ProblemType,
    /// What happened here, without personal values.
    pub detail: String,
    /// Where in the body, and which rule.
    pub errors: Vec<Violation>,
    /// For the log only: what went wrong inside. Never sent.
    pub internal: Option<String>,
    /// Which of the reasons for this kind of problem it was, for the log: a code from a closed list.
    pub reason: Option<&'static str>,
}

impl Problem {
    /// A problem of this kind; `detail` is a sentence that repeats nothing from the request's body.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), internal: None, reason: None }
    }

    /// The same problem, naming the places it concerns.
    pub fn with_errors(self, errors: Vec<Violation>) -> Self {
        Self { errors, ..self }
    }

    /// The same problem, with the code of its reason for the log.
    pub fn with_reason(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// The same problem, with its inner cause for the log.
    pub fn because(self, internal: impl std::fmt::Display) -> Self {
        Self { internal: Some(internal.to_string()), ..self }
    }

    /// The `application/problem+json` body. `instance` is also in the log.
    pub fn document(&self, instance: &str) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            instance: String,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            errors: Vec<Place<'a>>,
            resolver: &'a str,
            remedy: &'a str,
        }
        #[derive(Serialize)]
        struct Place<'a> {
            pointer: &'a str,
            code: &'a str,
            message: &'a str,
        }
        let facts = self.kind.facts();
        let document = Document {
            r#type: self.kind.urn(),
            title: facts.title,
            status: facts.status,
            detail: &self.detail,
            instance: format!("urn:uuid:{instance}"),
            errors: self
                .errors
                .iter()
                .map(|violation| Place {
                    pointer: &violation.pointer,
                    code: &violation.code,
                    message: &violation.message,
                })
                .collect(),
            resolver: facts.resolver,
            remedy: facts.remedy,
        };
        serde_json::to_string(&document).expect("strings and numbers always serialize")
    }
}

/// The closed list of problems.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ProblemType {
    /// The sender's directory entry is not active.
    AgencyInactive,
    /// The exchange has its answer.
    AlreadyAnswered,
    /// The hub needs no answer any more.
    AlreadyCancelled,
    /// The agency is not one that may send files.
    AttachmentsNotAllowed,
    /// The agency has uploaded as much as it may without sending it.
    AttachmentsUnsent,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// The gateway has more work than it takes on.
    Busy,
    /// The certificate does not name exactly one agency of ours, or is not on the register.
    CertificateRefused,
    /// The certificate was revoked.
    CertificateRevoked,
    /// The `Content-Digest` given is not that of the body.
    ContentDigestMismatch,
    /// The body is not declared as JSON.
    ContentType,
    /// What was brought is no cosignature that counts.
    CosignatureRefused,
    /// A page of somebody else's made a browser ask.
    CrossSite,
    /// The payload has been destroyed at the end of its retention.
    Gone,
    /// No usable `Idempotency-Key`.
    IdempotencyKeyMissing,
    /// The `Idempotency-Key` was used with another body.
    IdempotencyKeyReused,
    /// Our fault.
    Internal,
    /// A parameter in the path or query is not what it should be.
    InvalidParameter,
    /// As much waits for a recipient as may.
    MailboxFull,
    /// Where the request ends, or whom it is for, could be understood in two ways.
    MalformedRequest,
    /// The file is of no type that is taken, or not of the type it is said to be.
    MediaType,
    /// The route exists, not for this method.
    MethodNotAllowed,
    /// The message has not been collected yet.
    NotCollected,
    /// There is no such thing, or it is not yours.
    NotFound,
    /// The body is not strict JSON.
    NotJson,
    /// The agency was not asked what may be released, or has said so since.
    NotConsulted,
    /// A supplement needs a response to add to.
    NotYetAnswered,
    /// The outcome has been sent.
    OutcomeAlreadySent,
    /// The hub has not sent the outcome that this goes with.
    OutcomeNotSent,
    /// A recipient cannot be sent to.
    Recipient,
    /// The person's role is not there for this.
    RoleNotPermitted,
    /// The body breaks its schema or its rules.
    Schema,
    /// The disk is full.
    StorageFull,
    /// The body did not arrive in time.
    Timeout,
    /// The agency asks more often than any should have to.
    TooManyRequests,
    /// The store cannot be used now.
    Unavailable,
    /// This party may not say this.
    WrongParty,
}

/// What is always said of one kind of problem.
pub struct Facts {
    /// The last part of its `type`; also the metric label and the log field.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The same for every occurrence.
    pub title: &'static str,
    /// Who can resolve it.
    pub resolver: &'static str,
    /// What to do next.
    pub remedy: &'static str,
    /// Seconds after which the same request may be sent again, where that can help.
    pub retry_after_s: Option<u32>,
}

impl ProblemType {
    /// Every kind.
    pub const ALL: [Self; 37] = [
        Self::AgencyInactive,
        Self::AlreadyAnswered,
        Self::AlreadyCancelled,
        Self::AttachmentsNotAllowed,
        Self::AttachmentsUnsent,
        Self::BodyTooLarge,
        Self::Busy,
        Self::CertificateRefused,
        Self::CertificateRevoked,
        Self::ContentDigestMismatch,
        Self::ContentType,
        Self::CosignatureRefused,
        Self::CrossSite,
        Self::Gone,
        Self::IdempotencyKeyMissing,
        Self::IdempotencyKeyReused,
        Self::Internal,
        Self::InvalidParameter,
        Self::MailboxFull,
        Self::MalformedRequest,
        Self::MediaType,
        Self::MethodNotAllowed,
        Self::NotCollected,
        Self::NotFound,
        Self::NotJson,
        Self::NotConsulted,
        Self::NotYetAnswered,
        Self::OutcomeAlreadySent,
        Self::OutcomeNotSent,
        Self::Recipient,
        Self::RoleNotPermitted,
        Self::Schema,
        Self::StorageFull,
        Self::Timeout,
        Self::TooManyRequests,
        Self::Unavailable,
        Self::WrongParty,
    ];

    /// The problem's `type`.
    pub fn urn(self) -> String {
        format!("urn:mash:problem:{}", self.facts().code)
    }

    /// What is always said of it. One table, so that code, status and remedy cannot drift apart.
    pub fn facts(self) -> Facts {
        const SENDER: &str = "the sender";
        const OPERATOR: &str = "the gateway's operator";
        const OFFICER: &str = "your contact officer and the gateway's operator";
        let fact = |code, status, title, resolver, remedy, retry_after_s| Facts {
            code,
            status,
            title,
            resolver,
            remedy,
            retry_after_s,
        };
        match self {
            Self::AgencyInactive => fact(
                "agency-inactive",
                403,
                "This agency is not active in the directory",
                OPERATOR,
                "Ask the gateway's operator when your agency's entry becomes active again.",
                None,
            ),
            Self::AlreadyAnswered => fact(
                "already-answered",
                409,
                "This exchange already has its response",
                SENDER,
                "To add or correct information, send a supplement.",
                None,
            ),
            Self::AlreadyCancelled => fact(
                "already-cancelled",
                409,
                "The hub needs no answer in this exchange any more",
                SENDER,
                "If your agency knows something, send it as a response all the same.",
                None,
            ),
            Self::AttachmentsNotAllowed => fact(
                "attachments-not-allowed",
                403,
                "This agency does not send files",
                OPERATOR,
                "Ask the gateway's operator to allow it: attachments = true in partners.toml.",
                None,
            ),
            Self::AttachmentsUnsent => fact(
                "attachments-unsent",
                409,
                "Too much is uploaded that no message names",
                SENDER,
                "Send the messages that the files belong to; files that none names are destroyed in time.",
                None,
            ),
            Self::BodyTooLarge => fact(
                "body-too-large",
                413,
                "The body is larger than this gateway accepts",
                SENDER,
                "Send what was asked for only; the limit is in GET /v1/whoami.",
                None,
            ),
            Self::Busy => fact(
                "busy",
                503,
                "The gateway is busy",
                "time",
                "Send the same request again, with the same Idempotency-Key, after Retry-After.",
                Some(1),
            ),
            Self::CertificateRefused => fact(
                "certificate-refused",
                403,
                "This certificate cannot be used here",
                OFFICER,
                "Ask the gateway's operator for a certificate issued to your agency.",
                None,
            ),
            Self::CertificateRevoked => fact(
                "certificate-revoked",
                403,
                "This certificate has been revoked",
                OFFICER,
                "Stop using the key, and ask the gateway's operator for a new certificate.",
                None,
            ),
            Self::ContentDigestMismatch => fact(
                "content-digest-mismatch",
                400,
                "The body is not what its Content-Digest says",
                SENDER,
                "Send the body again; it may have been changed on the way.",
                None,
            ),
            Self::ContentType => fact(
                "content-type",
                415,
                "The body must be declared as JSON",
                SENDER,
                "Send Content-Type: application/json.",
                None,
            ),
            Self::CosignatureRefused => fact(
                "cosignature-refused",
                422,
                "The cosignature does not count",
                SENDER,
                "Cosign the checkpoint that the gateway serves, with a key that is in its settings, on a \
                 machine whose clock is right.",
                None,
            ),
            Self::CrossSite => fact(
                "cross-site",
                403,
                "Another site's page asked this",
                SENDER,
                "Close that page. Programs are not asked by pages; they send no Sec-Fetch-Site.",
                None,
            ),
            Self::Gone => fact(
                "gone",
                410,
                "The payload has been destroyed at the end of its retention",
                "the hub",
                "Ask the hub whether it can be sent again; the log still proves that it was.",
                None,
            ),
            Self::IdempotencyKeyMissing => fact(
                "idempotency-key-missing",
                400,
                "An Idempotency-Key is required",
                SENDER,
                "Send a header Idempotency-Key with a new UUID; keep it to send again safely.",
                None,
            ),
            Self::IdempotencyKeyReused => fact(
                "idempotency-key-reused",
                409,
                "This Idempotency-Key was used with another body",
                SENDER,
                "Use a new key for a new message; send the first body again to see its receipt.",
                None,
            ),
            Self::Internal => fact(
                "internal",
                500,
                "The gateway failed",
                OPERATOR,
                "Send the same request again later; give the operator the instance if it persists.",
                None,
            ),
            Self::InvalidParameter => fact(
                "invalid-parameter",
                400,
                "A parameter is not what it should be",
                SENDER,
                "Compare the request with GET /openapi.json.",
                None,
            ),
            Self::MailboxFull => fact(
                "mailbox-full",
                409,
                "The recipient's mailbox is full",
                "the recipient's contact officer",
                "Ring them: what waits is to be collected and saved. Then send again, with the same key.",
                None,
            ),
            Self::MalformedRequest => fact(
                "malformed-request",
                400,
                "The request could be understood in two ways",
                SENDER,
                "Send one Host, this gateway's, and one Content-Length or Transfer-Encoding.",
                None,
            ),
            Self::MediaType => fact(
                "media-type",
                415,
                "The file is not of a type this gateway takes",
                SENDER,
                "Send a PDF, PNG, JPEG or UTF-8 text file, and its own type as Content-Type.",
                None,
            ),
            Self::MethodNotAllowed => fact(
                "method-not-allowed",
                405,
                "This path does not take this method",
                SENDER,
                "Compare the request with GET /openapi.json.",
                None,
            ),
            Self::NotCollected => fact(
                "not-collected",
                409,
                "The message has not been collected",
                SENDER,
                "Collect the message before saying that it is saved.",
                None,
            ),
            Self::NotFound => fact(
                "not-found",
                404,
                "There is nothing here for you",
                SENDER,
                "Check the id or reference; you see only what is addressed to you or sent by you.",
                None,
            ),
            Self::NotJson => fact(
                "not-json",
                400,
                "The body is not JSON as RFC 8259 and this gateway require",
                SENDER,
                "Correct the body at the place named.",
                None,
            ),
            Self::NotConsulted => fact(
                "not-consulted",
                409,
                "Nobody has asked what may be released, or it was answered",
                SENDER,
                "Wait for the hub's consultation; to change what you said, ask the hub to consult again.",
                None,
            ),
            Self::NotYetAnswered => fact(
                "not-yet-answered",
                409,
                "This exchange has no response that this could be about",
                SENDER,
                "Send a response first.",
                None,
            ),
            Self::OutcomeAlreadySent => fact(
                "outcome-already-sent",
                409,
                "The outcome of this exchange has been sent",
                SENDER,
                "Nothing more is needed; GET the exchange to see when it was sent.",
                None,
            ),
            Self::OutcomeNotSent => fact(
                "outcome-not-sent",
                409,
                "The outcome that this goes with has not been sent",
                SENDER,
                "Send an agency of this enquiry the outcome first: early-help before a step-down, \
                 social-care-assessment before an answer is passed on.",
                None,
            ),
            Self::Recipient => fact(
                "recipient",
                422,
                "A recipient cannot be sent to",
                "the sender, or the gateway's operator for the directory",
                "Correct the recipients named; nothing was sent to any of them.",
                None,
            ),
            Self::RoleNotPermitted => fact(
                "role-not-permitted",
                403,
                "This is not for your role",
                OFFICER,
                "Ask one of the people named; what your certificate may do is in its role.",
                None,
            ),
            Self::Schema => fact(
                "schema",
                422,
                "The body needs attention",
                SENDER,
                "Correct the fields named and send it again.",
                None,
            ),
            Self::StorageFull => fact(
                "storage-full",
                507,
                "The gateway cannot store more",
                OPERATOR,
                "Nothing was accepted. Send the same request again, with the same key, later.",
                Some(60),
            ),
            Self::Timeout => fact(
                "timeout",
                408,
                "The request did not arrive in time",
                SENDER,
                "Send the same request again, with the same Idempotency-Key.",
                Some(1),
            ),
            Self::TooManyRequests => fact(
                "too-many-requests",
                429,
                "Your agency asks more often than this gateway allows",
                SENDER,
                "Wait as long as Retry-After says, then send again, with the same Idempotency-Key.",
                Some(1),
            ),
            Self::Unavailable => fact(
                "unavailable",
                503,
                "The gateway cannot take this now",
                OPERATOR,
                "Without a receipt nothing counts. Send the same request again, with the same key.",
                Some(5),
            ),
            Self::WrongParty => fact(
                "wrong-party",
                403,
                "This is for the other party to say",
                SENDER,
                "RFIs and outcomes come from the hub; everything else from the agency asked.",
                None,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_kebab_case() {
        let mut codes: Vec<_> = ProblemType::ALL.iter().map(|kind| kind.facts().code).collect();
        codes.sort_unstable();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
        assert!(codes.iter().all(|c| c.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }

    #[test]
    fn what_may_help_later_says_when() {
        for kind in ProblemType::ALL {
            let facts = kind.facts();
            let passes = matches!(facts.status, 408 | 429 | 503 | 507);
            assert_eq!(facts.retry_after_s.is_some(), passes, "{}", facts.code);
        }
    }
}
