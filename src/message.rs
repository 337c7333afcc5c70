//! The words everything else is written in: ids, kinds, the states of an exchange, the envelope.
//!
//! Knows nothing of transport or storage. All times are UTC, rounded once to the millisecond by
//! [`now`], so that what is stored, signed and shown is the same instant.

mod exchange;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

pub use exchange::{
    Before, Decision, Exchange, ExchangeState, Marks, OutcomeCode, Party, ReferrerChannel,
    ResponseResult, Said, Undelivered, Untimely,
};

/// An agency's name in the directory, in its certificate and on every entry: a lower-case slug.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AgencyId(Arc<str>);

impl AgencyId {
    /// Parses a slug: 2 to 64 characters of `a-z`, `0-9` and inner `-`.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let outer = |c: Option<&u8>| c.is_some_and(|c| *c != b'-');
        let bytes = text.as_bytes();
        let good = (2..=64).contains(&bytes.len())
            && bytes.iter().all(|c| inner(*c))
            && outer(bytes.first())
            && outer(bytes.last());
        if good { Ok(Self(text.into())) } else { Err(InvalidId("agency id")) }
    }

    /// The slug itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgencyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AgencyId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::parse(text)
    }
}

impl Serialize for AgencyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AgencyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Text that is not the id it should be. Never repeats the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct InvalidId(&'static str);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, a UUID v7: it sorts by the time given. Not a secret.
            pub fn new(at: Timestamp) -> Self {
                let ms = u64::try_from(at.as_millisecond()).unwrap_or(0);
                let time = uuid::Timestamp::from_unix(
                    uuid::NoContext,
                    ms / 1_000,
                    u32::try_from(ms % 1_000).unwrap_or(0) * 1_000_000,
                );
                Self(Uuid::new_v7(time))
            }

            /// The id held in these 16 bytes, as stored.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes to store.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                // Only the hyphenated lower-case form: one id, one spelling.
                match Uuid::try_parse(text) {
                    Ok(id) if id.hyphenated().to_string() == text => Ok(Self(id)),
                    _ => Err(InvalidId($what)),
                }
            }
        }
    };
}

uuid_id! {
    /// One MASH enquiry: a family, and every exchange about it.
    EnquiryId, "enquiry id"
}
uuid_id! {
    /// One RFI to one agency, and everything said in answer to it.
    ExchangeId, "exchange id"
}
uuid_id! {
    /// One thing said.
    MessageId, "message id"
}

impl MessageId {
    /// When it was made, which for a message is when it was accepted. None when it is no UUID v7, and
    /// so not one of ours.
    pub fn made_at(&self) -> Option<Timestamp> {
        let made = self.0.get_timestamp().filter(|_| self.0.get_version_num() == 7)?;
        let (seconds, nanoseconds) = made.to_unix();
        let ms = i64::try_from(seconds).ok()?.checked_mul(1_000)?;
        Timestamp::from_millisecond(ms.checked_add(i64::from(nanoseconds / 1_000_000))?).ok()
    }
}
uuid_id! {
    /// One file that is sent with a message.
    AttachmentId, "attachment id"
}
uuid_id! {
    /// The sender's own name for one submission, so that sending it again does nothing more.
    IdempotencyKey, "idempotency key"
}

/// An exchange's short name, for the telephone: `RFI-2026-000123-K`, or `TEST-2026-000124-M` for a
/// test, which is about nobody.
///
/// The last character checks the digits, so that a misheard reference is noticed, not misfiled. Both
/// sorts are numbered from one series: a number alone names one exchange.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Reference(String);

impl Reference {
    /// No 0/O, no 1/I/L, no U: nothing that is confused when read aloud.
    const CHECK: &'static [u8; 23] = b"ABCDEFGHJKMNPQRSTVWXYZ2";

    /// The reference for the `number`th exchange of `year`.
    pub fn new(year: i16, number: u64) -> Self {
        Self::of(Self::RFI, year, number)
    }

    /// The same, for an exchange that is a test.
    pub fn test(year: i16, number: u64) -> Self {
        Self::of(Self::TEST, year, number)
    }

    /// Whether the exchange is a test of an agency's connection.
    pub fn is_test(&self) -> bool {
        self.0.split('-').next() == Some(Self::TEST)
    }

    /// Parses a reference and checks its last character.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("reference");
        let (stem, check) = text.rsplit_once('-').ok_or(invalid)?;
        let mut parts = stem.splitn(3, '-');
        let shaped = parts.next().is_some_and(|sort| sort == Self::RFI || sort == Self::TEST)
            && parts.next().is_some_and(|y| y.len() == 4 && y.bytes().all(|c| c.is_ascii_digit()))
            && parts.next().is_some_and(|n| {
                (6..=12).contains(&n.len()) && n.bytes().all(|c| c.is_ascii_digit())
            });
        if shaped && check == Self::check_character(stem).to_string() {
            Ok(Self(text.to_owned()))
        } else {
            Err(invalid)
        }
    }

    /// The reference as printed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    const RFI: &'static str = "RFI";
    const TEST: &'static str = "TEST";

    fn of(sort: &str, year: i16, number: u64) -> Self {
        let stem = format!("{sort}-{year:04}-{number:06}");
        let check = Self::check_character(&stem);
        Self(format!("{stem}-{check}"))
    }

    // Weighted by place over a prime, so one wrong digit or two digits swapped always show.
    fn check_character(stem: &str) -> char {
        let sum = stem
            .bytes()
            .filter(u8::is_ascii_digit)
            .zip(2_u32..)
            .fold(0, |sum, (digit, weight)| (sum + u32::from(digit - b'0') * weight) % 23);
        char::from(Self::CHECK[sum as usize])
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// What kind of thing is said.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The agency has it: it will reply by a time, or it is not theirs to answer.
    Acknowledgement,
    /// The hub needs no answer any more: whoever works on one stops.
    Cancellation,
    /// A question about the RFI or an answer, or what is said to it (R145).
    Clarification,
    /// Somebody has withdrawn their consent: no answer rests on it any more.
    ConsentWithdrawal,
    /// The hub passes an answer on to the social work team that assesses the child (R37, R40).
    Forwarding,
    /// Information that one party had of the other was lost, leaked or nearly so (R91), or what became of
    /// that.
    Incident,
    /// What the family may be told, said again by whose information it is (R41).
    OnwardDisclosure,
    /// What the hub decided, told to each agency that answered (R48, R113).
    Outcome,
    /// An agency's answer.
    Response,
    /// A Request For Information (agreement, Appendix 5).
    Rfi,
    /// The hub tells the Early Help service of the concerns (R117).
    StepDown,
    /// The hub asks whether the agency's part may be released to somebody who asks for what is held
    /// about them (R97).
    SubjectAccessConsultation,
    /// What the agency says to that.
    SubjectAccessView,
    /// New or corrected information after the response (R85).
    Supplement,
    /// The hub spoke with the agency by telephone (R45).
    TelephoneContact,
    /// The hub tries an agency's connection; about nobody. Only the operator's command sends it.
    Test,
    /// The agency's answer to a test: the code word that was in it.
    TestReply,
    /// The answer that an agency gave by telephone, as the hub wrote it down, for the agency to check
    /// (R47).
    Transcription,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::Acknowledgement,
        Self::Cancellation,
        Self::Clarification,
        Self::ConsentWithdrawal,
        Self::Forwarding,
        Self::Incident,
        Self::OnwardDisclosure,
        Self::Outcome,
        Self::Response,
        Self::Rfi,
        Self::StepDown,
        Self::SubjectAccessConsultation,
        Self::SubjectAccessView,
        Self::Supplement,
        Self::TelephoneContact,
        Self::Test,
        Self::TestReply,
        Self::Transcription,
    ];

    /// The name used in entries, tables, labels and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledgement => "acknowledgement",
            Self::Cancellation => "cancellation",
            Self::Clarification => "clarification",
            Self::ConsentWithdrawal => "consent-withdrawal",
            Self::Forwarding => "forwarding",
            Self::Incident => "incident",
            Self::OnwardDisclosure => "onward-disclosure",
            Self::Outcome => "outcome",
            Self::Response => "response",
            Self::Rfi => "rfi",
            Self::StepDown => "step-down",
            Self::SubjectAccessConsultation => "subject-access-consultation",
            Self::SubjectAccessView => "subject-access-view",
            Self::Supplement => "supplement",
            Self::TelephoneContact => "telephone-contact",
            Self::Test => "test",
            Self::TestReply => "test-reply",
            Self::Transcription => "transcription",
        }
    }

    /// The last part of `POST /v1/exchanges/{id}/{kind}`; what opens an exchange has none.
    pub fn path(self) -> Option<&'static str> {
        match self {
            Self::Acknowledgement => Some("acknowledgements"),
            Self::Cancellation => Some("cancellations"),
            Self::Clarification => Some("clarifications"),
            Self::ConsentWithdrawal => Some("consent-withdrawals"),
            Self::Forwarding => Some("forwardings"),
            Self::Incident => Some("incidents"),
            Self::OnwardDisclosure => Some("onward-disclosures"),
            Self::Outcome => Some("outcomes"),
            Self::Response => Some("responses"),
            Self::Rfi | Self::Test => None,
            Self::StepDown => Some("step-downs"),
            Self::SubjectAccessConsultation => Some("subject-access-consultations"),
            Self::SubjectAccessView => Some("subject-access-views"),
            Self::Supplement => Some("supplements"),
            Self::TelephoneContact => Some("telephone-contacts"),
            Self::TestReply => Some("test-replies"),
            Self::Transcription => Some("transcriptions"),
        }
    }

    /// The kind whose path this is.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.path() == Some(path))
    }

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The schema a payload of this kind must satisfy.
    pub fn schema(self) -> String {
        format!("urn:mash:schema:{}:1", self.as_str())
    }

    /// The CloudEvents `type`.
    pub fn event_type(self) -> String {
        format!("org.mash.{}.v1", self.as_str())
    }

    /// Who says it; none when either party may.
    pub fn sender(self) -> Option<Party> {
        match self {
            Self::Cancellation
            | Self::ConsentWithdrawal
            | Self::Forwarding
            | Self::Outcome
            | Self::Rfi
            | Self::StepDown
            | Self::SubjectAccessConsultation
            | Self::TelephoneContact
            | Self::Test
            | Self::Transcription => Some(Party::Hub),
            Self::Acknowledgement
            | Self::OnwardDisclosure
            | Self::Response
            | Self::SubjectAccessView
            | Self::Supplement
            | Self::TestReply => Some(Party::Agency),
            Self::Clarification | Self::Incident => None,
        }
    }

    /// Whether the hub says it to another agency than the one it asked: a disclosure that the one it asked
    /// sees on the exchange's timeline.
    pub fn goes_further(self) -> bool {
        matches!(self, Self::Forwarding | Self::StepDown)
    }

    /// Whether a message of this kind belongs to a test, and so is about nobody: the gateway can then
    /// open it whoever else has the key.
    pub fn is_about_nobody(self) -> bool {
        matches!(self, Self::Test | Self::TestReply)
    }

    /// Whether a message of this kind opens an exchange of its own.
    pub fn opens_exchange(self) -> bool {
        matches!(self, Self::Rfi | Self::Test)
    }
}

/// How urgently an RFI is to be answered (FHIR request priority).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// As soon as possible.
    Asap,
    /// In turn.
    Routine,
    /// At once.
    Stat,
    /// Before other work.
    Urgent,
}

impl Priority {
    /// Every priority.
    pub const ALL: [Self; 4] = [Self::Asap, Self::Routine, Self::Stat, Self::Urgent];

    /// The name used in payloads, envelopes and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asap => "asap",
            Self::Routine => "routine",
            Self::Stat => "stat",
            Self::Urgent => "urgent",
        }
    }

    /// The priority with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == name)
    }
}

/// What a person at a desk is there for (R7): in a desk certificate, and what it may do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Role {
    /// Sees that it was done as agreed; reads no contents.
    #[serde(rename = "auditor")]
    Auditor,
    /// An agency's Partnership Contact Officer (R4).
    #[serde(rename = "contact-officer")]
    ContactOfficer,
    /// Who stands in for the contact officer.
    #[serde(rename = "deputy")]
    Deputy,
    /// Asks on the hub's behalf.
    #[serde(rename = "mash-health-representative")]
    HealthRepresentative,
    /// Answers for the hub's conduct; reads no contents.
    #[serde(rename = "mash-operational-lead")]
    OperationalLead,
    /// Runs the gateway.
    #[serde(rename = "operator")]
    Operator,
    /// Assesses the child.
    #[serde(rename = "social-worker")]
    SocialWorker,
    /// Decides for the hub; the only one who may override a refused consent (R20).
    #[serde(rename = "mash-team-manager")]
    TeamManager,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 8] = [
        Self::Auditor,
        Self::ContactOfficer,
        Self::Deputy,
        Self::HealthRepresentative,
        Self::OperationalLead,
        Self::Operator,
        Self::SocialWorker,
        Self::TeamManager,
    ];

    /// The name used in certificates, entries and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auditor => "auditor",
            Self::ContactOfficer => "contact-officer",
            Self::Deputy => "deputy",
            Self::HealthRepresentative => "mash-health-representative",
            Self::OperationalLead => "mash-operational-lead",
            Self::Operator => "operator",
            Self::SocialWorker => "social-worker",
            Self::TeamManager => "mash-team-manager",
        }
    }

    /// The role with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// As people say it, in a sentence.
    pub fn title(self) -> &'static str {
        match self {
            Self::Auditor => "auditor",
            Self::ContactOfficer => "contact officer",
            Self::Deputy => "deputy",
            Self::HealthRepresentative => "MASH health representative",
            Self::OperationalLead => "MASH Operational Lead",
            Self::Operator => "operator",
            Self::SocialWorker => "social worker",
            Self::TeamManager => "MASH Team Manager",
        }
    }
}

/// What is known of a message without opening it; CloudEvents attributes and our extensions.
///
/// Not encrypted: holds no personal data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Envelope {
    /// The message's id.
    pub id: MessageId,
    /// What it is.
    pub kind: Kind,
    /// The enquiry it belongs to.
    pub enquiry: EnquiryId,
    /// The exchange it belongs to.
    pub exchange: ExchangeId,
    /// That exchange's short name.
    pub reference: Reference,
    /// Who the sender's certificate names.
    pub sender: AgencyId,
    /// The one agency that may read it.
    pub recipient: AgencyId,
    /// When the gateway received it.
    pub time: Timestamp,
    /// How urgent the exchange is.
    pub priority: Priority,
    /// What the family may be told, on messages that say so (R41, R42), and after a space that it holds
    /// criminal-offence data, if it does (R136).
    pub handling: Option<String>,
    /// The only roles that may see it, with a space between; all that work with it may when none (R40).
    pub visible_to: Option<String>,
    /// The message it answers.
    pub in_reply_to: Option<MessageId>,
    /// SHA-256 of the sealed payload, as stored.
    pub digest: [u8; 32],
    /// Length of the payload before sealing, in bytes.
    pub size_bytes: u64,
    /// Whether only the recipient's own key opens the payload (`custody = "agency"`).
    pub is_sealed_to_agency: bool,
    /// The sender's W3C trace context: a hint, kept and passed on.
    pub traceparent: Option<String>,
}

/// What a file that is sent with a message may be.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MediaType {
    /// A photograph.
    Jpeg,
    /// A document.
    Pdf,
    /// A picture.
    Png,
    /// Plain text in UTF-8.
    Text,
}

impl MediaType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::Jpeg, Self::Pdf, Self::Png, Self::Text];

    /// The name used in payloads, tables and `Content-Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Pdf => "application/pdf",
            Self::Png => "image/png",
            Self::Text => "text/plain",
        }
    }

    /// How the names of such files end, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Pdf => "pdf",
            Self::Png => "png",
            Self::Text => "txt",
        }
    }

    /// The type with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|media_type| media_type.as_str() == name)
    }
}

/// A file as the message that it is sent with names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attachment {
    /// The id it was given when it was uploaded.
    pub id: AttachmentId,
    /// What it is.
    pub media_type: MediaType,
    /// Its length, in bytes.
    pub size_bytes: u64,
    /// SHA-256 of it.
    pub digest: [u8; 32],
}

/// Bytes that came from this agency's connection; nothing about them is known yet.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Who the certificate says.
    pub sender: AgencyId,
    /// In which role, when a person sends it and not the agency's system.
    pub desk: Option<Role>,
    /// The sender's name for this submission.
    pub idempotency_key: IdempotencyKey,
    /// What the bytes claim to be, by the route they came on.
    pub target: Target,
    /// The bytes.
    pub body: Vec<u8>,
    /// W3C trace context, when given and well formed.
    pub traceparent: Option<String>,
    /// The serial of the certificate it came with, if it came from outside.
    pub certificate: Option<String>,
}

/// Where a submission is aimed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// A message in an exchange that exists.
    Exchange(ExchangeId, Kind),
    /// A new RFI to one or more agencies.
    Rfis,
    /// A test of this agency's connection. No route leads here: only the operator's command does.
    Test(AgencyId),
}

impl Target {
    /// What is sent.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Exchange(_, kind) => *kind,
            Self::Rfis => Kind::Rfi,
            Self::Test(_) => Kind::Test,
        }
    }
}

/// The time now, rounded to the millisecond. The only place below the edges' callers that reads it.
#[expect(clippy::disallowed_methods, reason = "this is the one reader of the clock")]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// RFC 3339 in UTC, always three decimals: the one spelling of an instant in all we write.
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// From an instant on, until just before another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Period {
    /// The first instant in it.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
}

impl Period {
    /// The period as people write it. Each end is an instant (RFC 3339, with its offset) or a date,
    /// which is the whole day in UTC: the period begins with that day, or ends with it. Without
    /// `from` it has no beginning; without `to` it ends `now`.
    pub fn parse(
        from: Option<&str>,
        to: Option<&str>,
        now: Timestamp,
    ) -> Result<Self, InvalidPeriod> {
        let from = match from {
            None => Timestamp::UNIX_EPOCH,
            Some(text) => instant(text, 0).ok_or(InvalidPeriod::From)?,
        };
        let to = match to {
            None => now,
            Some(text) => instant(text, 1).ok_or(InvalidPeriod::To)?,
        };
        if from < to { Ok(Self { from, to }) } else { Err(InvalidPeriod::Empty) }
    }

    /// Whether an instant is in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// Text that is not the period it should be. Never repeats the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPeriod {
    /// It ends before it begins.
    #[error("the period ends before it begins")]
    Empty,
    /// Its beginning is neither a date nor an instant.
    #[error(
        "from is neither a date (2026-11-01) nor a time with its offset (2026-11-01T09:00:00Z)"
    )]
    From,
    /// Its end is neither a date nor an instant.
    #[error("to is neither a date (2026-11-30) nor a time with its offset (2026-11-30T17:00:00Z)")]
    To,
}

// An instant, or the beginning of the day that is so many days after this date.
fn instant(text: &str, days: i64) -> Option<Timestamp> {
    let at = match text.parse::<Timestamp>() {
        Ok(at) => at,
        // Dates are ten characters; what the library also takes, a time of day without its offset,
        // is no instant.
        Err(_) if text.len() == 10 => {
            let date: jiff::civil::Date = text.parse().ok()?;
            let day = date.checked_add(jiff::Span::new().days(days)).ok()?;
            day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()
        }
        Err(_) => return None,
    };
    Timestamp::from_millisecond(at.as_millisecond()).ok().filter(|at| *at >= Timestamp::UNIX_EPOCH)
}

/// These bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of these bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_told_by_its_reference() {
        let (rfi, test) = (Reference::new(2026, 123), Reference::test(2026, 123));
        assert_eq!((rfi.is_test(), test.is_test()), (false, true));
        assert!(test.as_str().starts_with("TEST-2026-000123-"));
        for reference in [rfi, test] {
            assert_eq!(Reference::parse(reference.as_str()), Ok(reference.clone()));
            let text = reference.as_str();
            for bad in [text.replace("26", "62"), text.to_lowercase(), text.replace("-2026", "")] {
                assert!(Reference::parse(&bad).is_err(), "{bad}");
            }
        }
        assert!(Reference::parse("TESTS-2026-000123-A").is_err());
    }

    #[test]
    fn an_id_says_when_it_was_made() {
        let at = now();
        assert_eq!(MessageId::new(at).made_at(), Some(at));
        let other: MessageId = "0e8400e2-9b1d-41d4-a716-446655440000".parse().unwrap();
        assert_eq!(other.made_at(), None);
    }

    #[test]
    fn a_period_is_said_in_days_or_to_the_instant() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let parse = |from, to| {
            Period::parse(from, to, now).map(|period| (rfc3339(period.from), rfc3339(period.to)))
        };
        let is = |from: &str, to: &str| Ok((from.to_owned(), to.to_owned()));
        let (first, last) = ("2026-11-01T00:00:00.000Z", "2026-12-01T00:00:00.000Z");
        assert_eq!(parse(Some("2026-11-01"), Some("2026-11-30")), is(first, last));
        // The same instants, as clocks elsewhere show them.
        let there = (Some("2026-11-01T05:30:00+05:30"), Some("2026-11-30T19:00:00-05:00"));
        assert_eq!(parse(there.0, there.1), is(first, last));
        assert_eq!(parse(None, None), is("1970-01-01T00:00:00.000Z", "2026-11-25T12:00:00.000Z"));
        for wrong in [
            "",
            "2026-11-31",
            "2026-11-01T09:00:00",
            "yesterday",
            "1700000000",
            "26-11-01",
            "1969-01-01",
        ] {
            assert_eq!(parse(Some(wrong), None), Err(InvalidPeriod::From), "{wrong}");
            assert_eq!(parse(None, Some(wrong)), Err(InvalidPeriod::To), "{wrong}");
        }
        assert_eq!(parse(Some("2026-11-02"), Some("2026-11-01")), Err(InvalidPeriod::Empty));
        let day = Period::parse(Some("2026-11-01"), Some("2026-11-01"), now).unwrap();
        for (at, is_in) in [
            ("2026-10-31T23:59:59.999Z", false),
            ("2026-11-01T00:00:00Z", true),
            ("2026-11-01T23:59:59.999Z", true),
            ("2026-11-02T00:00:00Z", false),
        ] {
            assert_eq!(day.contains(at.parse().unwrap()), is_in, "{at}");
        }
    }

    #[test]
    fn no_route_leads_to_what_opens_an_exchange() {
        for kind in Kind::ALL {
            assert_eq!(kind.path().is_none(), kind.opens_exchange(), "{kind:?}");
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
    }
}
