//! What an entry records, and what the tree holds of it.
//!
//! The fields are ids, instants, digests and codes from closed lists: never contents, never a name
//! of a person. The tree holds only a commitment to them under a random salt, so that salt and
//! fields can be destroyed at the end of their retention while every proof stays valid.

use std::collections::BTreeMap;

use jiff::Timestamp;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value};

use super::tree::{Hash, leaf_hash};
use crate::message::{
    AgencyId, AttachmentId, EnquiryId, Envelope, Exchange, MediaType, ReferrerChannel, Role, Said,
    hex, rfc3339, sha256,
};
use crate::pki::crl::Reason;

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventName {
    /// A message was accepted: checked, sealed, durable.
    Accepted,
    /// A recipient fetched a file that goes with its message.
    AttachmentCollected,
    /// A file that no message named was destroyed.
    AttachmentSwept,
    /// A file is here, whole and sealed, to be sent with a message.
    AttachmentUploaded,
    /// A push was not taken.
    AttemptFailed,
    /// An issuing authority came into use, or another root's certificate for one.
    AuthorityInstalled,
    /// An issuing authority went out of use.
    AuthorityRetired,
    /// A certificate was issued.
    CertificateIssued,
    /// A certificate was revoked.
    CertificateRevoked,
    /// The recipient fetched the message.
    Collected,
    /// What is stored under an entry was found not to be what was logged.
    DamageFound,
    /// The sender can see that delivery takes longer than it should.
    Delayed,
    /// The recipient's endpoint took the message.
    Delivered,
    /// An operator approved the key that was presented with a one-time token.
    EnrolmentApproved,
    /// A one-time token was made, with which an agency may enrol.
    EnrolmentTokenMade,
    /// An agency's unused tokens ended with its certificates.
    EnrolmentTokensVoided,
    /// An enquiry's key, payloads and files were destroyed (R87).
    EnquiryDestroyed,
    /// A connection was refused before anything was said.
    HandshakeRefused,
    /// An operator put a legal hold on an enquiry.
    LegalHoldPlaced,
    /// An operator ended one.
    LegalHoldReleased,
    /// Its sender read a message again, at the desk.
    OpenedBySender,
    /// A message was opened with the at-rest keys, for the case file of its enquiry (R102).
    OpenedForAudit,
    /// The MASH Team Manager recorded an override of missing consent (R20).
    OverrideRecorded,
    /// Whoever referred the child was told that the threshold is not met (R115).
    ReferrerTold,
    /// A request was refused.
    Refused,
    /// More of the same refusals, counted.
    RefusedRepeatedly,
    /// Delivery was given up: the sender has to reach the recipient another way.
    Returned,
    /// An operator had a returned message delivered again.
    Retried,
    /// A root is no longer what agencies are told to trust.
    RootDistrusted,
    /// A root is what agencies are told to trust, or its revocation list was replaced.
    RootTrusted,
    /// The recipient has the message in its own record (R114).
    Saved,
    /// The gateway started.
    Started,
    /// The gateway stopped in order.
    Stopped,
    /// The database is being copied.
    StoreBackedUp,
    /// What agencies sent in an enquiry may be released to somebody who asks what is held about them (R97).
    SubjectAccessReleased,
    /// An operator looked in which enquiries somebody is named, who asks what is held about them (R97).
    SubjectAccessSearched,
    /// A copy was put in the place of the database.
    StoreRestored,
}

impl EventName {
    /// The name used in entries and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::AttachmentCollected => "attachment-collected",
            Self::AttachmentSwept => "attachment-swept",
            Self::AttachmentUploaded => "attachment-uploaded",
            Self::AttemptFailed => "attempt-failed",
            Self::AuthorityInstalled => "authority-installed",
            Self::AuthorityRetired => "authority-retired",
            Self::CertificateIssued => "certificate-issued",
            Self::CertificateRevoked => "certificate-revoked",
            Self::Collected => "collected",
            Self::DamageFound => "damage-found",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::EnrolmentApproved => "enrolment-approved",
            Self::EnrolmentTokenMade => "enrolment-token-made",
            Self::EnrolmentTokensVoided => "enrolment-tokens-voided",
            Self::EnquiryDestroyed => "enquiry-destroyed",
            Self::HandshakeRefused => "handshake-refused",
            Self::LegalHoldPlaced => "legal-hold-placed",
            Self::LegalHoldReleased => "legal-hold-released",
            Self::OpenedBySender => "opened-by-sender",
            Self::OpenedForAudit => "opened-for-audit",
            Self::OverrideRecorded => "override-recorded",
            Self::ReferrerTold => "referrer-told",
            Self::Refused => "refused",
            Self::RefusedRepeatedly => "refused-repeatedly",
            Self::Returned => "returned",
            Self::Retried => "retried",
            Self::RootDistrusted => "root-distrusted",
            Self::RootTrusted => "root-trusted",
            Self::Saved => "saved",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::StoreBackedUp => "store-backed-up",
            Self::SubjectAccessReleased => "subject-access-released",
            Self::SubjectAccessSearched => "subject-access-searched",
            Self::StoreRestored => "store-restored",
        }
    }
}

/// Why an operator gives up a message before its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GiveUpReason {
    /// Its recipient's endpoint will not come back in time.
    EndpointGone,
    /// What it says reached the recipient another way.
    ReachedOtherwise,
    /// Its sender asked.
    SenderAsked,
    /// It should go to another agency.
    WrongRecipient,
}

impl GiveUpReason {
    /// Every reason.
    pub const ALL: [Self; 4] =
        [Self::EndpointGone, Self::ReachedOtherwise, Self::SenderAsked, Self::WrongRecipient];

    /// The name used in entries and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EndpointGone => "endpoint-gone",
            Self::ReachedOtherwise => "reached-otherwise",
            Self::SenderAsked => "sender-asked",
            Self::WrongRecipient => "wrong-recipient",
        }
    }
}

/// By which rule an enquiry is destroyed (R87).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DestructionRule {
    /// It has been closed for so long.
    Closed,
    /// It was destroyed before, and a backup had brought it back.
    Restored,
    /// All of it has been in its recipients' own records for so long.
    Saved,
}

impl DestructionRule {
    /// The name used in entries and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Restored => "restored",
            Self::Saved => "saved",
        }
    }
}

/// For what an enquiry is kept beyond its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HoldReason {
    /// A complaint about how it was handled.
    Complaint,
    /// A criminal investigation.
    CriminalInvestigation,
    /// An inquiry, or a safeguarding practice review.
    Inquiry,
    /// Proceedings before a court or tribunal.
    LegalProceedings,
    /// Somebody asks for what is held about them.
    SubjectAccess,
}

impl HoldReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Complaint,
        Self::CriminalInvestigation,
        Self::Inquiry,
        Self::LegalProceedings,
        Self::SubjectAccess,
    ];

    /// The name used in entries and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complaint => "complaint",
            Self::CriminalInvestigation => "criminal-investigation",
            Self::Inquiry => "inquiry",
            Self::LegalProceedings => "legal-proceedings",
            Self::SubjectAccess => "subject-access",
        }
    }
}

/// Whose doing a failed attempt was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Ours: the attempt could not even be made.
    Failed,
    /// The endpoint said no, and will say no again.
    Refused,
    /// The endpoint could not be reached, or asked us to come back.
    Unreachable,
}

impl Fault {
    /// The name used in entries, logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Why a certificate was issued.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Grant {
    /// An operator said so.
    Operator,
    /// Its predecessor's bearer asked, over mutual TLS.
    Renewal {
        /// The predecessor's serial.
        serial: String,
    },
    /// The gateway renewed its own.
    Timer,
    /// Somebody had the one-time token with this SHA-256.
    Token([u8; 32]),
}

/// Something to be logged. Only the constructors below make one, so that what can be in the log is
/// all on this page.
#[derive(Clone, Debug)]
pub struct Event {
    name: EventName,
    facts: BTreeMap<&'static str, Value>,
}

impl Event {
    /// A message was accepted. `schema` is the SHA-256 of the schema it satisfied.
    pub fn accepted(envelope: &Envelope, schema: &[u8; 32]) -> Self {
        let event = Self::about(EventName::Accepted, envelope)
            .with("digest", hex(&envelope.digest))
            .with("enquiry", envelope.enquiry.to_string())
            .with("priority", envelope.priority.as_str())
            .with("schema", hex(schema))
            .with("sizeBytes", envelope.size_bytes);
        let event = match &envelope.handling {
            Some(handling) => event.with("handling", handling.as_str()),
            None => event,
        };
        let event = match &envelope.visible_to {
            Some(roles) => event.with("visibleTo", roles.as_str()),
            None => event,
        };
        let event = match envelope.in_reply_to {
            Some(message) => event.with("inReplyTo", message.to_string()),
            None => event,
        };
        if envelope.is_sealed_to_agency { event.with("custody", "agency") } else { event }
    }

    /// The same, with the files it names: by their ids, in order, with a space between.
    pub fn with_files(self, mut files: Vec<AttachmentId>) -> Self {
        files.sort_unstable();
        let ids: Vec<_> = files.iter().map(ToString::to_string).collect();
        if ids.is_empty() { self } else { self.with("attachments", ids.join(" ")) }
    }

    /// The same, of an RFI that goes on without consent, as was decided: by the hash of the decision's code.
    pub fn spending(self, decision: Option<&[u8; 16]>) -> Self {
        match decision {
            Some(code_hash) => self.with("decision", hex(code_hash)),
            None => self,
        }
    }

    /// The MASH Team Manager of the hub recorded an override; known by the hash of its code.
    pub fn override_recorded(hub: &AgencyId, code_hash: &[u8; 16]) -> Self {
        Self::of(EventName::OverrideRecorded).by(Some(hub)).with("decision", hex(code_hash))
    }

    /// An enquiry is destroyed, by this rule.
    pub fn enquiry_destroyed(enquiry: &EnquiryId, rule: DestructionRule) -> Self {
        Self::of(EventName::EnquiryDestroyed)
            .with("enquiry", enquiry.to_string())
            .with("rule", rule.as_str())
    }

    /// An enquiry is kept until further notice, and for what.
    pub fn legal_hold_placed(enquiry: &EnquiryId, reason: HoldReason) -> Self {
        Self::of(EventName::LegalHoldPlaced)
            .with("enquiry", enquiry.to_string())
            .with("reason", reason.as_str())
    }

    /// It need not be kept any more.
    pub fn legal_hold_released(enquiry: &EnquiryId) -> Self {
        Self::of(EventName::LegalHoldReleased).with("enquiry", enquiry.to_string())
    }

    /// The hub told whoever referred the child that the threshold is not met, so and then. Never whom, and
    /// never who did: that is in the child's record.
    pub fn referrer_told(
        hub: &AgencyId,
        enquiry: &EnquiryId,
        channel: ReferrerChannel,
        told_at: Timestamp,
    ) -> Self {
        Self::of(EventName::ReferrerTold)
            .by(Some(hub))
            .with("channel", channel.as_str())
            .with("enquiry", enquiry.to_string())
            .with("toldAt", rfc3339(told_at))
    }

    /// An agency uploaded a file; `digest` is the SHA-256 of what was sealed of it. Never its name.
    pub fn attachment_uploaded(
        agency: &AgencyId,
        id: &AttachmentId,
        media_type: MediaType,
        size_bytes: u64,
        digest: &[u8; 32],
    ) -> Self {
        Self::of(EventName::AttachmentUploaded)
            .by(Some(agency))
            .with("attachment", id.to_string())
            .with("digest", hex(digest))
            .with("mediaType", media_type.as_str())
            .with("sizeBytes", size_bytes)
    }

    /// A file of this agency's that no message named was destroyed.
    pub fn attachment_swept(agency: &AgencyId, id: &AttachmentId) -> Self {
        Self::of(EventName::AttachmentSwept).by(Some(agency)).with("attachment", id.to_string())
    }

    /// The recipient of a message fetched a file that goes with it.
    pub fn attachment_collected(envelope: &Envelope, id: &AttachmentId) -> Self {
        Self::about(EventName::AttachmentCollected, envelope).with("attachment", id.to_string())
    }

    /// The same, of an RFI: with the public half of the key that all of its enquiry is sealed to, and
    /// when the agency was rung about it, if it was.
    pub fn opening(self, exchange: &Exchange) -> Self {
        self.with("sealingRecipient", exchange.sealing_recipient.as_str())
            .with_instant("telephonedAt", exchange.marks.telephoned_at)
    }

    /// The same, of anything said in an exchange: with the instants that something is due by. Which answer
    /// it is, and what was decided, is inside the message.
    pub fn saying(self, said: Said) -> Self {
        match said {
            Said::Acknowledgement { will_reply_by } => {
                self.with_instant("willReplyBy", will_reply_by)
            }
            Said::Incident { assessment_due_by } => {
                self.with_instant("assessmentDueBy", assessment_due_by)
            }
            Said::Outcome { decided_at, .. } => self.with_instant("decidedAt", Some(decided_at)),
            Said::TelephoneContact { made_at } => self.with_instant("telephonedAt", Some(made_at)),
            Said::Cancellation
            | Said::Clarification
            | Said::ConsentWithdrawal
            | Said::Forwarding
            | Said::OnwardDisclosure
            | Said::Response(_)
            | Said::StepDown
            | Said::SubjectAccessConsultation
            | Said::SubjectAccessView
            | Said::Supplement
            | Said::TestReply
            | Said::Transcription(_) => self,
        }
    }

    fn with_instant(self, name: &'static str, at: Option<Timestamp>) -> Self {
        match at {
            Some(at) => self.with(name, rfc3339(at)),
            None => self,
        }
    }

    /// The same, done by a person in this role and not by the agency's system. Never who: that is
    /// in the certificate.
    pub fn at_desk(self, role: Option<Role>) -> Self {
        match role {
            Some(role) => self.with("desk", role.as_str()),
            None => self,
        }
    }

    /// The recipient fetched a message.
    pub fn collected(envelope: &Envelope) -> Self {
        Self::about(EventName::Collected, envelope)
    }

    /// The recipient has a message in its own record.
    pub fn saved(envelope: &Envelope) -> Self {
        Self::about(EventName::Saved, envelope)
    }

    /// What was sent in an enquiry may be released; so many agencies have not said whether theirs may, and why
    /// that is not waited for.
    pub fn subject_access_released(
        enquiry: &EnquiryId,
        missing: u64,
        without_view: Option<&'static str>,
    ) -> Self {
        let event = Self::of(EventName::SubjectAccessReleased)
            .with("enquiry", enquiry.to_string())
            .with("missing", missing);
        match without_view {
            Some(reason) => event.with("withoutView", reason),
            None => event,
        }
    }

    /// So many enquiries are looked through for somebody who asks what is held about them. Never for whom.
    pub fn subject_access_searched(enquiries: u64) -> Self {
        Self::of(EventName::SubjectAccessSearched).with("enquiries", enquiries)
    }

    /// Its sender read a message again.
    pub fn opened_by_sender(envelope: &Envelope) -> Self {
        Self::about(EventName::OpenedBySender, envelope)
    }

    /// Somebody with the at-rest keys opened a message, on the gateway's own machine.
    pub fn opened_for_audit(envelope: &Envelope) -> Self {
        Self::about(EventName::OpenedForAudit, envelope)
    }

    /// The same, with the SHA-256 of what it said of that record, as it was sealed.
    pub fn in_record(self, sealed: Option<&[u8]>) -> Self {
        match sealed {
            Some(sealed) => self.with("record", hex(&sha256(sealed))),
            None => self,
        }
    }

    /// The recipient's endpoint took a message at this attempt, counted from 1.
    pub fn delivered(envelope: &Envelope, endpoint: u16, attempt: u32) -> Self {
        Self::about(EventName::Delivered, envelope)
            .with("attempt", attempt)
            .with("endpoint", endpoint)
    }

    /// A push was not taken: by which endpoint, at which attempt, why, the status it answered with,
    /// and when it is tried next if it is.
    pub fn attempt_failed(
        envelope: &Envelope,
        endpoint: u16,
        attempt: u32,
        (fault, code): (Fault, &'static str),
        status: Option<u16>,
        next: Option<Timestamp>,
    ) -> Self {
        let mut event = Self::about(EventName::AttemptFailed, envelope)
            .with("attempt", attempt)
            .with("code", code)
            .with("endpoint", endpoint)
            .with("fault", fault.as_str());
        if let Some(status) = status {
            event = event.with("status", status);
        }
        if let Some(next) = next {
            event = event.with("next", rfc3339(next));
        }
        event
    }

    /// Delivery was given up after this attempt.
    pub fn returned(
        envelope: &Envelope,
        attempt: u32,
        (fault, code): (Fault, &'static str),
    ) -> Self {
        Self::about(EventName::Returned, envelope)
            .with("attempt", attempt)
            .with("code", code)
            .with("fault", fault.as_str())
    }

    /// An operator gave up delivery, after so many attempts.
    pub fn given_up(envelope: &Envelope, attempts: u32, reason: GiveUpReason) -> Self {
        Self::about(EventName::Returned, envelope)
            .with("attempt", attempts)
            .with("code", reason.as_str())
            .with("fault", OPERATOR)
    }

    /// An operator had a returned message delivered again: pushed, or into the mailbox.
    pub fn retried(envelope: &Envelope, is_pushed: bool) -> Self {
        let to = if is_pushed { "push" } else { "mailbox" };
        Self::about(EventName::Retried, envelope).with("to", to)
    }

    /// Delivery takes longer than it should.
    pub fn delayed(envelope: &Envelope) -> Self {
        Self::about(EventName::Delayed, envelope)
    }

    /// A request was refused. `instance` is on the problem the caller was given.
    pub fn refused(
        agency: Option<&AgencyId>,
        problem: &'static str,
        instance: &str,
        route: &'static str,
    ) -> Self {
        Self::of(EventName::Refused)
            .by(agency)
            .with("instance", instance)
            .with("problem", problem)
            .with("route", route)
    }

    /// More refusals like the last one, since the last entry about them.
    pub fn refused_repeatedly(
        agency: Option<&AgencyId>,
        problem: &'static str,
        count: u64,
    ) -> Self {
        Self::of(EventName::RefusedRepeatedly)
            .by(agency)
            .with("count", count)
            .with("problem", problem)
    }

    /// A connection was refused in its TLS handshake.
    pub fn handshake_refused(reason: &'static str) -> Self {
        Self::of(EventName::HandshakeRefused).with("reason", reason)
    }

    /// The same, with the code of its reason, where the problem has several.
    pub fn because(self, reason: Option<&'static str>) -> Self {
        match reason {
            Some(reason) => self.with("reason", reason),
            None => self,
        }
    }

    /// A certificate was issued to an agency, for this profile, and why.
    pub fn certificate_issued(
        agency: &AgencyId,
        serial: &str,
        sha256: &[u8; 32],
        profile: &'static str,
        grant: &Grant,
    ) -> Self {
        let event = Self::of(EventName::CertificateIssued)
            .by(Some(agency))
            .with("profile", profile)
            .with("serial", serial)
            .with("sha256", hex(sha256));
        match grant {
            Grant::Operator => event.with("grant", "operator"),
            Grant::Renewal { serial } => {
                event.with("grant", "renewal").with("renews", serial.as_str())
            }
            Grant::Timer => event.with("grant", "timer"),
            Grant::Token(hash) => event.with("grant", "token").with("token", token_name(hash)),
        }
    }

    /// A one-time token was made for an agency; good until then.
    pub fn enrolment_token_made(
        agency: &AgencyId,
        hash: &[u8; 32],
        expires_at: Timestamp,
        needs_approval: bool,
    ) -> Self {
        Self::of(EventName::EnrolmentTokenMade)
            .by(Some(agency))
            .with("expires", rfc3339(expires_at))
            .with("needsApproval", needs_approval)
            .with("token", token_name(hash))
    }

    /// All of an agency's certificates are being revoked: its unused tokens end too, and nothing it
    /// has is renewed.
    pub fn enrolment_tokens_voided(agency: &AgencyId) -> Self {
        Self::of(EventName::EnrolmentTokensVoided).by(Some(agency))
    }

    /// An operator approved a key, by the SHA-256 of it, that was presented with a token.
    pub fn enrolment_approved(agency: &AgencyId, hash: &[u8; 32], key: &[u8; 32]) -> Self {
        Self::of(EventName::EnrolmentApproved)
            .by(Some(agency))
            .with("key", hex(key))
            .with("token", token_name(hash))
    }

    /// The same event, with the serial of the certificate whose bearer did it, if anybody's did.
    pub fn done_with(self, certificate: Option<&str>) -> Self {
        match certificate {
            Some(serial) => self.with("certificate", serial),
            None => self,
        }
    }

    /// An agency's certificate was revoked.
    pub fn certificate_revoked(
        agency: &AgencyId,
        serial: &str,
        sha256: &[u8; 32],
        reason: Reason,
    ) -> Self {
        Self::of(EventName::CertificateRevoked)
            .by(Some(agency))
            .with("reason", reason.as_str())
            .with("serial", serial)
            .with("sha256", hex(sha256))
    }

    /// An issuing authority came into use: by its key's and its root's key's identifier.
    pub fn authority_installed(
        purpose: &'static str,
        key_id: &str,
        serial: &str,
        root: &str,
    ) -> Self {
        Self::of(EventName::AuthorityInstalled)
            .with("authority", key_id)
            .with("purpose", purpose)
            .with("root", root)
            .with("serial", serial)
    }

    /// An issuing authority went out of use.
    pub fn authority_retired(purpose: &'static str, key_id: &str, serial: &str) -> Self {
        Self::of(EventName::AuthorityRetired)
            .with("authority", key_id)
            .with("purpose", purpose)
            .with("serial", serial)
    }

    /// A root is what agencies are told to trust, with its latest revocation list.
    pub fn root_trusted(key_id: &str, serial: &str) -> Self {
        Self::of(EventName::RootTrusted).with("root", key_id).with("serial", serial)
    }

    /// A root is that no longer.
    pub fn root_distrusted(key_id: &str, serial: &str) -> Self {
        Self::of(EventName::RootDistrusted).with("root", key_id).with("serial", serial)
    }

    /// The gateway started.
    pub fn started(version: &str) -> Self {
        Self::of(EventName::Started).with("version", version)
    }

    /// The gateway stopped in order. A start without this before it follows a crash.
    pub fn stopped(version: &str) -> Self {
        Self::of(EventName::Stopped).with("version", version)
    }

    /// What is stored under this entry, its own text or hashes or the message it accepted, is not what
    /// was logged.
    pub fn damage_found(entry: u64, message: Option<&str>) -> Self {
        let event = Self::of(EventName::DamageFound).with("entry", entry);
        match message {
            Some(message) => event.with("message", message),
            None => event,
        }
    }

    /// The database is being copied. Said before the copy is made, so that each copy has, as its last
    /// entry, the one that tells of it.
    pub fn store_backed_up() -> Self {
        Self::of(EventName::StoreBackedUp)
    }

    /// A copy of the database that was made then, with so many entries, was put in its place.
    pub fn store_restored(made: Timestamp, entries: u64) -> Self {
        Self::of(EventName::StoreRestored).with("entries", entries).with("made", rfc3339(made))
    }

    /// The canonical fields: compact JSON, keys sorted, as RFC 8785 writes it. Every text in it is
    /// ASCII without control characters, so there is one way to write it.
    pub fn fields(&self, at: Timestamp) -> String {
        let mut fields = self.facts.clone();
        fields.insert("event", self.name.as_str().into());
        fields.insert("time", rfc3339(at).into());
        serde_json::to_string(&fields).expect("texts and numbers always serialize")
    }

    fn of(name: EventName) -> Self {
        Self { name, facts: BTreeMap::new() }
    }

    fn about(name: EventName, envelope: &Envelope) -> Self {
        Self::of(name)
            .with("exchange", envelope.exchange.to_string())
            .with("kind", envelope.kind.as_str())
            .with("message", envelope.id.to_string())
            .with("recipient", envelope.recipient.as_str())
            .with("reference", envelope.reference.as_str())
            .with("sender", envelope.sender.as_str())
    }

    fn by(self, agency: Option<&AgencyId>) -> Self {
        match agency {
            Some(agency) => self.with("agency", agency.as_str()),
            None => self,
        }
    }

    fn with(mut self, name: &'static str, fact: impl Into<Value>) -> Self {
        self.facts.insert(name, fact.into());
        self
    }
}

/// An entry ready to be appended.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// Its canonical fields.
    pub fields: String,
    /// The salt of its commitment.
    pub salt: [u8; 32],
    /// What the tree holds of it.
    pub leaf_hash: Hash,
}

impl NewEntry {
    /// The entry of an event, under a new salt.
    ///
    /// Panics if the system has no random bytes: a guessable salt would let anybody test what a
    /// destroyed entry said.
    pub fn new(event: &Event, at: Timestamp) -> Self {
        let fields = event.fields(at);
        let mut salt = [0; 32];
        SystemRandom::new().fill(&mut salt).expect("the system gives random bytes");
        let leaf_hash = commitment(&salt, &fields);
        Self { fields, salt, leaf_hash }
    }
}

/// What the tree holds of an entry: the hash of a leaf that is a version byte and HMAC-SHA256 over
/// the fields, keyed by the salt.
pub fn commitment(salt: &[u8; 32], fields: &str) -> Hash {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), fields.as_bytes());
    let mut leaf = [LEAF_VERSION; 33];
    leaf[1..].copy_from_slice(tag.as_ref());
    leaf_hash(&leaf)
}

/// The fields of an entry, read back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Parses fields; none when they are not written in the one canonical way.
    pub fn parse(text: &str) -> Option<Self> {
        let Ok(Value::Object(map)) = serde_json::from_str(text) else { return None };
        let fields = Self(map);
        (fields.to_string() == text).then_some(fields)
    }

    /// Fields from JSON already parsed.
    pub fn from_json(map: Map<String, Value>) -> Self {
        Self(map)
    }

    /// The text under this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// The number under this name.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    /// The truth value under this name.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }

    /// The agencies the entry is about, who may read it.
    pub fn parties(&self) -> impl Iterator<Item = &str> {
        ["agency", "recipient", "sender"].into_iter().filter_map(|name| self.get(name))
    }

    /// The fields as a JSON object.
    pub fn to_json(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

impl std::fmt::Display for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // serde_json's map is sorted by key.
        f.write_str(&serde_json::to_string(&self.0).expect("parsed JSON always serializes"))
    }
}

/// Whose doing it is that a message was given up before its time.
const OPERATOR: &str = "operator";

// Enough of a token's hash to tell it from others; not enough to be one.
fn token_name(hash: &[u8; 32]) -> String {
    hex(&hash[..8])
}

/// So that another commitment can follow without the two being confused.
const LEAF_VERSION: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-11-23T09:00:00.5Z".parse().unwrap()
    }

    #[test]
    fn fields_are_sorted_compact_and_read_back() {
        let agency = AgencyId::parse("demo-police").unwrap();
        let event = Event::refused(Some(&agency), "schema", "i-1", "/v1/rfis");
        let fields = event.fields(at());
        assert_eq!(
            fields,
            r#"{"agency":"demo-police","event":"refused","instance":"i-1","problem":"schema","route":"/v1/rfis","time":"2026-11-23T09:00:00.500Z"}"#
        );
        let read = Fields::parse(&fields).unwrap();
        assert_eq!(read.get("problem"), Some("schema"));
        assert_eq!(read.parties().collect::<Vec<_>>(), ["demo-police"]);
        assert_eq!(read.to_string(), fields);
    }

    #[test]
    fn fields_spelled_otherwise_are_not_fields() {
        for text in [
            r#"{"time":"t","event":"e"}"#,
            r#"{"event": "e"}"#,
            r#"{"event":"\u0065"}"#,
            r#"{"event":"e","event":"e"}"#,
            "[]",
            "",
        ] {
            assert_eq!(Fields::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_same_event_commits_differently_each_time_and_verifiably() {
        let event = Event::started("1.0.0");
        let (first, second) = (NewEntry::new(&event, at()), NewEntry::new(&event, at()));
        assert_eq!(first.fields, second.fields);
        assert_ne!(first.leaf_hash, second.leaf_hash);
        assert_eq!(commitment(&first.salt, &first.fields), first.leaf_hash);
        assert_ne!(commitment(&second.salt, &first.fields), first.leaf_hash);
    }
}
