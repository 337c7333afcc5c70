//! The directory of agencies: who may send what to whom, and where it goes.
//!
//! `parse` makes a [`Directory`] of `partners.toml`, or tells every mistake in it; `route` makes a
//! `Valid` submission `Routed`. Nothing is ever sent to an address a person typed into a message:
//! only what stands here can be reached (R44, R89).

mod check;
pub mod document;
pub mod edit;
mod narrow;
pub mod parse;
pub mod permission;
pub mod route;
pub(crate) mod shape;

use std::collections::{BTreeMap, HashMap};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use zeroize::Zeroizing;

use self::document::nearest;
use crate::message::{
    AgencyId, EnquiryId, Exchange, ExchangeId, Kind, MessageId, Priority, Reference, Said,
};

/// Every agency the gateway knows, complete and checked: one active hub, no loose ends.
#[derive(Clone, Debug)]
pub struct Directory {
    partners: BTreeMap<AgencyId, Partner>,
    by_ods: HashMap<String, AgencyId>,
    hub: AgencyId,
}

impl Directory {
    /// The agency with this id.
    pub fn get(&self, id: &AgencyId) -> Option<&Partner> {
        self.partners.get(id)
    }

    /// The agency with this ODS code.
    pub fn by_ods(&self, code: &str) -> Option<&Partner> {
        self.get(self.by_ods.get(code)?)
    }

    /// The hub.
    pub fn hub(&self) -> &Partner {
        self.get(&self.hub).expect("a directory is only made with its hub in it")
    }

    /// The agency whose id this one most resembles, if any does.
    pub fn nearest(&self, id: &AgencyId) -> Option<&AgencyId> {
        let nearest = nearest(id.as_str(), self.partners.keys().map(AgencyId::as_str))?;
        self.partners.keys().find(|id| id.as_str() == nearest)
    }

    /// Every agency, by id.
    pub fn all(&self) -> impl Iterator<Item = &Partner> {
        self.partners.values()
    }

    /// An agency's name.
    pub fn name(&self, id: &AgencyId) -> Option<&str> {
        self.get(id).map(|partner| partner.name.as_str())
    }

    /// Where the agency takes delivery, in the order its endpoints are tried; nowhere if unknown.
    pub fn endpoints(&self, id: &AgencyId) -> &[Endpoint] {
        self.get(id).map_or(&[], |partner| &partner.endpoints)
    }

    /// The text of the `partners.toml` that `init` writes: the agreement's agencies.
    pub fn template() -> &'static str {
        include_str!("../../partners.toml")
    }

    /// Whether the agency may send and be sent to at `now`. An unknown agency is not active.
    pub fn is_active(&self, id: &AgencyId, now: Timestamp) -> bool {
        self.get(id).is_some_and(|partner| partner.is_active(now))
    }

    /// What the agency may do at `now`; an unknown one, nothing.
    pub fn admission(&self, id: &AgencyId, now: Timestamp) -> Admission {
        self.get(id).map_or(Admission::Nothing, |partner| partner.admission(now))
    }

    /// Whether a message of this kind may be handed to the agency at `now`.
    pub fn takes(&self, id: &AgencyId, kind: Kind, now: Timestamp) -> bool {
        self.get(id).is_some_and(|partner| partner.takes(kind, now))
    }
}

/// An agency as the directory records it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Partner {
    /// Its id: also the name in its certificate.
    pub id: AgencyId,
    /// Its name, as people know it.
    pub name: String,
    /// What kind of agency it is.
    pub kind: AgencyKind,
    /// Where it stands, as written; [`Partner::status_at`] adds what its dates say.
    pub status: Status,
    /// The law under which it takes part (R1).
    pub statutory_basis: String,
    /// Whether it is a public authority, on which some lawful bases depend.
    pub is_public_authority: bool,
    /// Its code in the NHS Organisation Data Service.
    pub ods_code: Option<String>,
    /// For a surgery, the class it belongs to.
    pub class: Option<AgencyId>,
    /// Its Partnership Contact Officer (R4).
    pub contact_officer: Option<Officer>,
    /// Who stands in.
    pub deputy: Option<Officer>,
    /// Who is responsible for security or data protection there, and hears of incidents (R92); at the hub,
    /// its Operational Lead (R94).
    pub security_contact: Option<Officer>,
    /// Its telephone: urgent RFIs are also spoken about.
    pub telephone: Option<String>,
    /// Where its contact officer sits (R110).
    pub location: Option<String>,
    /// When it can be telephoned.
    pub hours: Option<String>,
    /// Its first day.
    pub valid_from: Option<Date>,
    /// Its last day.
    pub valid_to: Option<Date>,
    /// Who took over its work (R3).
    pub successor: Option<AgencyId>,
    /// Its own age recipients. Only their shape is checked here.
    pub age_recipients: Vec<String>,
    /// Who can open what is sealed for it.
    pub custody: Custody,
    /// Whether it may send files with its messages.
    pub may_attach: bool,
    /// Where its contact officer takes delivery, in the order they are tried.
    pub endpoints: Vec<Endpoint>,
    /// Its appropriate policy document, as the operator recorded it (R72).
    pub policy_document: Option<PolicyDocument>,
    /// The day on which somebody last saw that its privacy notice tells people of this sharing (R63).
    pub privacy_notice_seen: Option<Date>,
    /// The day on which its contact officer last attested that its staff are trained (R112).
    pub training_attested: Option<Date>,
}

impl Partner {
    /// What is to be seen to again at `now` (UTC): it was more than a year ago, or its day is still to come
    /// and so cannot be right. What it is, in words with the day (R63, R112). No mistake of the directory's:
    /// a clock that was set back must not stop a gateway.
    pub fn to_see_again(&self, now: Timestamp) -> impl Iterator<Item = String> {
        let today = TimeZone::UTC.to_datetime(now).date();
        let seen = [
            ("its privacy notice was last seen", self.privacy_notice_seen),
            ("training of its staff was last attested", self.training_attested),
        ];
        seen.into_iter().filter_map(|(what, day)| Some((what, day?))).filter_map(
            move |(what, day)| match day {
                _ if day > today => Some(format!("{what} on {day}, which is still to come")),
                _ if day.saturating_add(1.year()) < today => {
                    Some(format!("{what} on {day}, more than a year ago"))
                }
                _ => None,
            },
        )
    }

    /// Where the agency stands at `now`, its first and last days (UTC) considered: a closing date
    /// takes effect without anybody editing the file that day.
    pub fn status_at(&self, now: Timestamp) -> Status {
        let today = TimeZone::UTC.to_datetime(now).date();
        if self.valid_to.is_some_and(|last| last < today) {
            return Status::Closed;
        }
        let is_yet_to_begin = self.valid_from.is_some_and(|first| first > today);
        if self.status == Status::Active && is_yet_to_begin { Status::Pending } else { self.status }
    }

    /// Whether it may send and be sent to at `now`. A class of agencies never may.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.admission(now) == Admission::Everything
    }

    /// What it may do at `now`. A class of agencies may do nothing.
    pub fn admission(&self, now: Timestamp) -> Admission {
        match (self.kind, self.status_at(now)) {
            (AgencyKind::GpSurgeryClass, _) | (_, Status::Closed | Status::Suspended) => {
                Admission::Nothing
            }
            (_, Status::Active) => Admission::Everything,
            (_, Status::Pending) => Admission::TestsOnly,
        }
    }

    /// Whether a message of this kind may be handed to it at `now`.
    pub fn takes(&self, kind: Kind, now: Timestamp) -> bool {
        match self.admission(now) {
            Admission::Everything => true,
            Admission::Nothing => false,
            Admission::TestsOnly => kind == Kind::Test,
        }
    }
}

/// What an agency may do, by where it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// Whatever the exchanges it is a party to allow.
    Everything,
    /// Nothing.
    Nothing,
    /// Take tests of its connection and answer them: it has yet to join.
    TestsOnly,
}

/// The document in which an agency says how it processes special categories of data (R72). The file
/// itself stays with the operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyDocument {
    /// SHA-256 of the file, in lower-case hex.
    pub sha256: String,
    /// The day by which it is to be reviewed.
    pub review: Date,
}

impl PolicyDocument {
    /// Days from `now` (UTC) until the review; negative when it is overdue.
    pub fn days_to_review(&self, now: Timestamp) -> i32 {
        let today = TimeZone::UTC.to_datetime(now).date();
        self.review.duration_since(today).as_hours().div_euclid(24).try_into().unwrap_or(i32::MAX)
    }

    /// Whether its review is overdue, or due within the 30 days' notice (R72).
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.days_to_review(now) <= 30
    }
}

/// A person who answers for an agency.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Officer {
    /// Who.
    pub name: String,
    /// Their telephone.
    pub telephone: String,
    /// Where to write that something waits, never what.
    pub email: Option<String>,
}

/// Where a contact officer takes delivery.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Endpoint {
    /// The agency collects.
    Mailbox,
    /// The gateway posts.
    Push {
        /// The endpoint: always https, never with credentials or a query.
        url: String,
        /// The PEM of the authority its certificate must come from, relative to the home folder.
        ca: String,
    },
}

/// What kind of agency a partner is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AgencyKind {
    /// Adult social care.
    AdultSocialCare,
    /// Children's social care.
    ChildrensSocialCare,
    /// A community rehabilitation company.
    CommunityRehabilitation,
    /// Early help.
    EarlyHelp,
    /// One GP surgery.
    GpSurgery,
    /// GP surgeries as the agreement names them, all at once: has members, cannot be addressed.
    GpSurgeryClass,
    /// The MASH itself.
    Hub,
    /// A mental health trust.
    MentalHealthTrust,
    /// Any other NHS trust.
    NhsTrust,
    /// Anything else.
    Other,
    /// A police force.
    Police,
    /// Probation.
    Probation,
}

impl AgencyKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::AdultSocialCare,
        Self::ChildrensSocialCare,
        Self::CommunityRehabilitation,
        Self::EarlyHelp,
        Self::GpSurgery,
        Self::GpSurgeryClass,
        Self::Hub,
        Self::MentalHealthTrust,
        Self::NhsTrust,
        Self::Other,
        Self::Police,
        Self::Probation,
    ];

    /// The name used in `partners.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AdultSocialCare => "adult-social-care",
            Self::ChildrensSocialCare => "childrens-social-care",
            Self::CommunityRehabilitation => "community-rehabilitation",
            Self::EarlyHelp => "early-help",
            Self::GpSurgery => "gp-surgery",
            Self::GpSurgeryClass => "gp-surgery-class",
            Self::Hub => "hub",
            Self::MentalHealthTrust => "mental-health-trust",
            Self::NhsTrust => "nhs-trust",
            Self::Other => "other",
            Self::Police => "police",
            Self::Probation => "probation",
        }
    }
}

/// Where an agency stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Status {
    /// Sends and is sent to.
    Active,
    /// No longer exists, or no longer takes part; its successor may be recorded.
    Closed,
    /// Not yet: something is still to be arranged.
    Pending,
    /// Stopped for now by an operator.
    Suspended,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Active, Self::Closed, Self::Pending, Self::Suspended];

    /// The name used in `partners.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Closed => "closed",
            Self::Pending => "pending",
            Self::Suspended => "suspended",
        }
    }
}

/// A valid submission whose sender may send it and whose recipients can be reached.
pub struct Routed {
    /// The enquiry that is opened, for an RFI.
    pub(crate) opens: Option<EnquiryId>,
    pub(crate) messages: Vec<RoutedMessage>,
}

/// One message to one agency.
pub(crate) struct RoutedMessage {
    pub(crate) id: MessageId,
    pub(crate) kind: Kind,
    pub(crate) enquiry: EnquiryId,
    pub(crate) exchange: ExchangeId,
    pub(crate) reference: Reference,
    pub(crate) sender: AgencyId,
    pub(crate) recipient: AgencyId,
    pub(crate) time: Timestamp,
    pub(crate) priority: Priority,
    pub(crate) handling: Option<String>,
    pub(crate) visible_to: Option<String>,
    pub(crate) in_reply_to: Option<MessageId>,
    pub(crate) traceparent: Option<String>,
    /// SHA-256 of the schema the payload satisfies.
    pub(crate) schema_digest: [u8; 32],
    /// What is to be sealed.
    pub(crate) plaintext: Zeroizing<Vec<u8>>,
    /// To whom it is sealed besides the enquiry's key.
    pub(crate) custody: Custody,
    /// Age recipients the agency registered.
    pub(crate) age_recipients: Vec<String>,
    /// Whether the recipient's first endpoint is a push.
    pub(crate) is_pushed: bool,
    pub(crate) step: RoutedStep,
}

/// What a routed message does to its exchange.
pub(crate) enum RoutedStep {
    /// Opens it; the sealing recipient is still to be made.
    Open {
        categories: Vec<String>,
        persons: Vec<String>,
        response_required_by: Timestamp,
        /// When the agency was rung about it, if it was rung before it was sent.
        telephoned_at: Option<Timestamp>,
    },
    /// Is said in it.
    Say { said: Said, exchange: Box<Exchange> },
}

/// Who can open what is sealed for an agency.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Custody {
    /// Only the agency's own age recipients.
    Agency,
    /// The gateway, and the agency's recipients if it registered any.
    Gateway,
}
