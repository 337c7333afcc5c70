//! `Valid` → [`Routed`], or why it may not go.
//!
//! Nothing is allowed unless it is written here (R89): the hub asks and tells outcomes, an agency
//! answers what it was asked, and only agencies that are active in the directory are asked.

use std::collections::HashMap;
use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use super::narrow::Form;
use super::{
    Admission, AgencyKind, Directory, Endpoint, Partner, Routed, RoutedMessage, RoutedStep, Status,
};
use crate::message::{
    AgencyId, EnquiryId, ExchangeId, Kind, MessageId, Party, Priority, Reference,
};
use crate::schema::{
    Address, Content, Recipient, ReplyContent, RfiContent, Schemas, TestContent, Valid,
};

/// Why a valid submission may not be sent. Holds ids and names of agencies, nothing of the body.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RouteError {
    /// The sender is no party to the exchange. To be answered as if there were no such exchange.
    #[error("the sender is no party to this exchange")]
    NotYours,
    /// Only the hub may send RFIs.
    #[error("only the hub may send an RFI; ask the hub to send it")]
    OnlyHub,
    /// The other party to the exchange is not in the directory any more.
    #[error("the other party to this exchange is not in the directory; telephone the hub")]
    OtherPartyUnknown,
    /// Some agencies cannot be asked: every one of them, in the order of the submission.
    #[error("{} of the recipients cannot be asked; nothing was sent", .0.len())]
    Recipients(Vec<RecipientProblem>),
    /// The sender is in the directory, but not active.
    #[error("the sender is {} in the directory; the hub's operator can say why", .0.as_str())]
    SenderInactive(Status),
    /// The sender is not in the directory.
    #[error("the sender is not in the directory; the hub's operator can add it")]
    SenderUnknown,
    /// The sender is a party to the exchange, but this is for the other party to say.
    #[error("this is for the other party to say: {}", .kind.as_str())]
    WrongParty {
        /// What was to be said.
        kind: Kind,
        /// Who may say it.
        says: Party,
    },
}

/// One agency that cannot be asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecipientProblem {
    /// Which: a JSON pointer into the submission, `/recipients/0`.
    pub pointer: String,
    /// Why not.
    pub fault: RecipientFault,
}

impl fmt::Display for RecipientProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pointer, self.fault)
    }
}

/// Why an agency cannot be asked, and what to do instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecipientFault {
    /// A class of agencies, not an agency.
    #[error("this stands for many surgeries; name the one surgery by its ODS code")]
    Class,
    /// The agency has closed.
    #[error("this agency has closed; {}", match .successor {
        Some((id, name)) => format!("ask its successor, {name} (\"{id}\")"),
        None => "no successor is recorded: ask the operator who took over its work".to_owned(),
    })]
    Closed {
        /// Who took over its work, by id and name.
        successor: Option<(AgencyId, String)>,
    },
    /// The submission already names this agency.
    #[error("this is the same agency as {first}; name each agency once")]
    Duplicate {
        /// Where it is named first.
        first: String,
    },
    /// What is told on goes to agencies of one kind only.
    #[error("this is not for that agency; it is for {} alone", .wanted.as_str())]
    OtherKind {
        /// Which.
        wanted: AgencyKind,
    },
    /// The hub cannot ask itself.
    #[error("this is the hub itself; look in the hub's own records instead")]
    Hub,
    /// The directory holds no endpoint for the agency.
    #[error("this agency has no endpoint; telephone its contact officer, and ask the operator")]
    NoEndpoint,
    /// The agency has not joined yet.
    #[error("this agency has not joined yet; telephone it, or ask the operator to activate it")]
    Pending,
    /// An operator stopped the agency for now.
    #[error("this agency is suspended; telephone it, and ask the operator why")]
    Suspended,
    /// The directory holds no such agency.
    #[error("no such agency in the directory; {}", match .nearest {
        Some(id) => format!("did you mean \"{id}\"?"),
        None => "ask the operator to add it".to_owned(),
    })]
    Unknown {
        /// The id it resembles, if any.
        nearest: Option<AgencyId>,
    },
}

impl RecipientFault {
    /// The stable code of this fault.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Class => "recipient-is-a-class",
            Self::Closed { .. } => "recipient-closed",
            Self::Duplicate { .. } => "recipient-named-twice",
            Self::Hub => "recipient-is-the-hub",
            Self::NoEndpoint => "recipient-has-no-endpoint",
            Self::OtherKind { .. } => "recipient-of-another-kind",
            Self::Pending => "recipient-pending",
            Self::Suspended => "recipient-suspended",
            Self::Unknown { .. } => "unknown-recipient",
        }
    }
}

/// Who at the hub sees what the police say, when the police do not say who: names of roles (R40).
const POLICE_ROLES: &str = "mash-team-manager social-worker";

/// The year whose numbers references given at `now` are taken from (UTC).
pub fn reference_year(now: Timestamp) -> i16 {
    TimeZone::UTC.to_datetime(now).year()
}

/// How many exchange numbers routing this submission takes: one for each exchange it opens.
pub fn references_wanted(valid: &Valid) -> u64 {
    match &valid.content {
        Content::Rfi(rfi) => rfi.recipients.len() as u64,
        Content::Reply(_) => 0,
        Content::Test(_) => 1,
    }
}

impl Directory {
    /// Addresses a submission, or says why it may not go: all of it or nothing.
    ///
    /// `first_reference` is the first of [`references_wanted`] numbers of [`reference_year`] that
    /// no other exchange has; it is not looked at for a reply.
    pub fn route(
        &self,
        valid: Valid,
        first_reference: u64,
        now: Timestamp,
    ) -> Result<Routed, RouteError> {
        let sender =
            self.get(&valid.sender).filter(|sender| sender.kind != AgencyKind::GpSurgeryClass);
        let sender = sender.ok_or(RouteError::SenderUnknown)?;
        let is_test_reply =
            matches!(&valid.content, Content::Reply(reply) if reply.kind == Kind::TestReply);
        // Before it takes part, an agency can say one thing: that a test has reached it.
        match sender.admission(now) {
            Admission::Everything => {}
            Admission::TestsOnly if is_test_reply => {}
            Admission::Nothing | Admission::TestsOnly => {
                return Err(RouteError::SenderInactive(sender.status_at(now)));
            }
        }
        let Valid { sender, received_at, traceparent, body, content, .. } = valid;
        let common = Common { sender: &sender, time: received_at, traceparent, now };
        let (opens, messages) = match content {
            Content::Rfi(rfi) => {
                let enquiry = EnquiryId::new(now);
                let size = body.len();
                (Some(enquiry), self.route_rfi(&common, rfi, enquiry, first_reference, size)?)
            }
            Content::Reply(reply) => (None, vec![self.route_reply(&common, *reply, body)?]),
            Content::Test(test) => {
                let enquiry = EnquiryId::new(now);
                (
                    Some(enquiry),
                    vec![self.route_test(&common, test, body, enquiry, first_reference)?],
                )
            }
        };
        Ok(Routed { opens, messages })
    }

    fn route_rfi(
        &self,
        common: &Common<'_>,
        content: RfiContent,
        enquiry: EnquiryId,
        first_reference: u64,
        size_bytes: usize,
    ) -> Result<Vec<RoutedMessage>, RouteError> {
        let RfiContent {
            rfi,
            recipients,
            persons,
            priority,
            response_required_by,
            telephoned_at,
            ..
        } = content;
        // Before anything is refused: dropping it is what wipes the RFI.
        let mut form = Form::new(rfi, size_bytes);
        if *common.sender != self.hub {
            return Err(RouteError::OnlyHub);
        }
        let partners = self.askable(&recipients, common.now)?;
        let year = reference_year(common.now);
        let mut messages = Vec::with_capacity(recipients.len());
        for ((recipient, partner), number) in
            recipients.into_iter().zip(partners).zip(first_reference..)
        {
            let Recipient { why, categories, .. } = recipient;
            let plaintext = form.narrowed(why, &categories);
            messages.push(RoutedMessage {
                id: MessageId::new(common.now),
                kind: Kind::Rfi,
                enquiry,
                exchange: ExchangeId::new(common.now),
                reference: Reference::new(year, number),
                sender: common.sender.clone(),
                recipient: partner.id.clone(),
                time: common.time,
                priority,
                handling: None,
                visible_to: None,
                in_reply_to: None,
                traceparent: common.traceparent.clone(),
                schema_digest: Schemas::digest(Kind::Rfi),
                plaintext,
                custody: partner.custody,
                age_recipients: partner.age_recipients.clone(),
                is_pushed: is_pushed(partner, Kind::Rfi, common.now),
                step: RoutedStep::Open {
                    categories,
                    persons: persons.clone(),
                    response_required_by,
                    telephoned_at,
                },
            });
        }
        Ok(messages)
    }

    fn route_reply(
        &self,
        common: &Common<'_>,
        reply: ReplyContent,
        plaintext: Zeroizing<Vec<u8>>,
    ) -> Result<RoutedMessage, RouteError> {
        let ReplyContent { exchange, kind, said, handling, visible_to, in_reply_to, to, .. } =
            reply;
        let party = exchange.party(common.sender).ok_or(RouteError::NotYours)?;
        if let Some(says) = kind.sender().filter(|says| *says != party) {
            return Err(RouteError::WrongParty { kind, says });
        }
        let partner = match (party, to) {
            (Party::Hub, Some(to)) => self.told_further(kind, to, common.now)?,
            (Party::Agency, _) => self.get(&exchange.hub).ok_or(RouteError::OtherPartyUnknown)?,
            (Party::Hub, None) => {
                self.get(&exchange.agency).ok_or(RouteError::OtherPartyUnknown)?
            }
        };
        // Police information is for those who assess and decide, unless the police say otherwise (R40).
        let is_police = self.get(common.sender).is_some_and(|own| own.kind == AgencyKind::Police);
        let visible_to = visible_to
            .or_else(|| (is_police && handling.is_some()).then(|| POLICE_ROLES.to_owned()));
        Ok(RoutedMessage {
            id: MessageId::new(common.now),
            kind,
            enquiry: exchange.enquiry,
            exchange: exchange.id,
            reference: exchange.reference.clone(),
            sender: common.sender.clone(),
            recipient: partner.id.clone(),
            time: common.time,
            priority: exchange.priority,
            handling,
            visible_to,
            in_reply_to: Some(in_reply_to),
            traceparent: common.traceparent.clone(),
            schema_digest: Schemas::digest(kind),
            plaintext,
            custody: partner.custody,
            age_recipients: partner.age_recipients.clone(),
            is_pushed: is_pushed(partner, kind, common.now),
            step: RoutedStep::Say { said, exchange: Box::new(exchange) },
        })
    }

    // Those who go on with the family: an answer goes to whoever assesses the child (R37, R40), the concerns
    // to whoever helps (R117), and neither to anybody else.
    fn told_further(
        &self,
        kind: Kind,
        to: AgencyId,
        now: Timestamp,
    ) -> Result<&Partner, RouteError> {
        let wanted = match kind {
            Kind::StepDown => AgencyKind::EarlyHelp,
            _ => AgencyKind::ChildrensSocialCare,
        };
        let found = self.askable_one(&Address::Agency(to), now);
        let found = found.and_then(|partner| match partner.kind == wanted {
            true => Ok(partner),
            false => Err(RecipientFault::OtherKind { wanted }),
        });
        found.map_err(|fault| {
            RouteError::Recipients(vec![RecipientProblem { pointer: "/to".to_owned(), fault }])
        })
    }

    fn route_test(
        &self,
        common: &Common<'_>,
        test: TestContent,
        plaintext: Zeroizing<Vec<u8>>,
        enquiry: EnquiryId,
        reference: u64,
    ) -> Result<RoutedMessage, RouteError> {
        let TestContent { agency, reply_by } = test;
        if *common.sender != self.hub {
            return Err(RouteError::OnlyHub);
        }
        let partner = self.testable(agency, common.now).map_err(|fault| {
            // There is one agency, and no list of them in the body that a pointer could lead into.
            RouteError::Recipients(vec![RecipientProblem { pointer: String::new(), fault }])
        })?;
        Ok(RoutedMessage {
            id: MessageId::new(common.now),
            kind: Kind::Test,
            enquiry,
            exchange: ExchangeId::new(common.now),
            reference: Reference::test(reference_year(common.now), reference),
            sender: common.sender.clone(),
            recipient: partner.id.clone(),
            time: common.time,
            priority: Priority::Routine,
            handling: None,
            visible_to: None,
            in_reply_to: None,
            traceparent: common.traceparent.clone(),
            schema_digest: Schemas::digest(Kind::Test),
            plaintext,
            custody: partner.custody,
            age_recipients: partner.age_recipients.clone(),
            is_pushed: is_pushed(partner, Kind::Test, common.now),
            step: RoutedStep::Open {
                categories: Vec::new(),
                persons: Vec::new(),
                response_required_by: reply_by,
                telephoned_at: None,
            },
        })
    }

    // As for an RFI, but an agency that is still to join is whom tests are for.
    fn testable(&self, agency: AgencyId, now: Timestamp) -> Result<&Partner, RecipientFault> {
        match (self.askable_one(&Address::Agency(agency.clone()), now), self.get(&agency)) {
            (Err(RecipientFault::Pending), Some(partner)) if partner.endpoints.is_empty() => {
                Err(RecipientFault::NoEndpoint)
            }
            (Err(RecipientFault::Pending), Some(partner)) => Ok(partner),
            (found, _) => found,
        }
    }

    // The agencies named, or every reason why not.
    fn askable(
        &self,
        recipients: &[Recipient],
        now: Timestamp,
    ) -> Result<Vec<&Partner>, RouteError> {
        let mut partners = Vec::with_capacity(recipients.len());
        let mut problems = Vec::new();
        let mut named: HashMap<&AgencyId, String> = HashMap::new();
        for (i, recipient) in recipients.iter().enumerate() {
            let pointer = format!("/recipients/{i}");
            let found = self.askable_one(&recipient.address, now).and_then(|partner| {
                // A surgery may be named by its id and again by its ODS code.
                match named.get(&partner.id) {
                    Some(first) => Err(RecipientFault::Duplicate { first: first.clone() }),
                    None => Ok(partner),
                }
            });
            match found {
                Ok(partner) => {
                    named.insert(&partner.id, pointer);
                    partners.push(partner);
                }
                Err(fault) => problems.push(RecipientProblem { pointer, fault }),
            }
        }
        if problems.is_empty() { Ok(partners) } else { Err(RouteError::Recipients(problems)) }
    }

    fn askable_one(&self, address: &Address, now: Timestamp) -> Result<&Partner, RecipientFault> {
        let partner = match address {
            Address::Agency(id) => self
                .get(id)
                .ok_or_else(|| RecipientFault::Unknown { nearest: self.nearest(id).cloned() })?,
            // Codes are too alike for a guess to be safe.
            Address::OdsCode(code) => {
                self.by_ods(code).ok_or(RecipientFault::Unknown { nearest: None })?
            }
        };
        match (partner.kind, partner.status_at(now)) {
            (AgencyKind::GpSurgeryClass, _) => Err(RecipientFault::Class),
            (_, Status::Closed) => {
                Err(RecipientFault::Closed { successor: self.living_successor(partner, now) })
            }
            (AgencyKind::Hub, _) => Err(RecipientFault::Hub),
            (_, Status::Pending) => Err(RecipientFault::Pending),
            (_, Status::Suspended) => Err(RecipientFault::Suspended),
            (_, Status::Active) if partner.endpoints.is_empty() => Err(RecipientFault::NoEndpoint),
            (_, Status::Active) => Ok(partner),
        }
    }

    // Successors close too: the one to ask is the last in the line.
    fn living_successor(&self, partner: &Partner, now: Timestamp) -> Option<(AgencyId, String)> {
        let mut last = self.get(partner.successor.as_ref()?)?;
        for _ in 0..self.partners.len() {
            let next = last.successor.as_ref().and_then(|id| self.get(id));
            match next.filter(|_| last.status_at(now) == Status::Closed) {
                Some(next) => last = next,
                None => break,
            }
        }
        Some((last.id.clone(), last.name.clone()))
    }
}

// What every message of a submission shares.
struct Common<'a> {
    sender: &'a AgencyId,
    time: Timestamp,
    traceparent: Option<String>,
    now: Timestamp,
}

// Replies go to whoever the exchange says, but what is owed to an agency that is suspended or
// closed waits in its mailbox: its endpoint may not be its own any more. The answer to a test is for
// the operator's command, which looks for it where it is held.
fn is_pushed(partner: &Partner, kind: Kind, now: Timestamp) -> bool {
    kind != Kind::TestReply
        && partner.takes(kind, now)
        && matches!(partner.endpoints.first(), Some(Endpoint::Push { .. }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::parse::ParseOptions;
    use super::*;
    use crate::message::{Exchange, ExchangeState, Marks, ResponseResult, Said};

    const PARTNERS: &str = r#"
agency = [
    { id = "hub", name = "Hub", kind = "hub",
      status = "active", statutory_basis = "x", endpoints = [{ kind = "mailbox" }] },
    { id = "old-hub", name = "Old Hub", kind = "hub", status = "suspended", statutory_basis = "x" },
    { id = "surgeries", name = "Surgeries", kind = "gp-surgery-class",
      status = "active", statutory_basis = "x" },
    { id = "police", name = "Police", kind = "police", status = "pending", statutory_basis = "x" },
    { id = "waiting", name = "Waiting", kind = "other", status = "pending", statutory_basis = "x" },
    { id = "stopped", name = "Stopped", kind = "other",
      status = "suspended", statutory_basis = "x",
      endpoints = [{ kind = "push", url = "https://push.stopped.example/", ca = "a.pem" }] },
    { id = "gone", name = "Gone", kind = "other",
      status = "closed", statutory_basis = "x", valid_to = 2020-01-01, successor = "gone-too" },
    { id = "gone-too", name = "Gone Too", kind = "other",
      status = "closed", statutory_basis = "x", valid_to = 2021-01-01, successor = "police" },
    { id = "vanished", name = "Vanished", kind = "other",
      status = "closed", statutory_basis = "x", valid_to = 2020-01-01 },
]
"#;

    fn directory() -> Directory {
        let mut directory = Directory::parse(PARTNERS, ParseOptions::default(), now()).unwrap();
        for (name, ods_code, endpoint) in [
            ("police", None, Some(Endpoint::Push { url: String::new(), ca: String::new() })),
            ("surgery", Some("X99999"), Some(Endpoint::Mailbox)),
            ("deaf", None, None),
        ] {
            let mut partner = directory.hub().clone();
            partner.id = id(name);
            partner.name = name.to_uppercase();
            partner.kind = AgencyKind::Other;
            partner.ods_code = ods_code.map(str::to_owned);
            partner.endpoints = endpoint.into_iter().collect();
            directory.by_ods.extend(ods_code.map(|code| (code.to_owned(), id(name))));
            directory.partners.insert(id(name), partner);
        }
        directory
    }

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn id(text: &str) -> AgencyId {
        AgencyId::parse(text).unwrap()
    }

    // "ods:X99999" addresses by ODS code.
    fn recipient(address: &str, categories: &[&str]) -> Recipient {
        Recipient {
            address: match address.strip_prefix("ods:") {
                Some(code) => Address::OdsCode(code.to_owned()),
                None => Address::Agency(id(address)),
            },
            why: format!("because of {address}"),
            categories: categories.iter().map(|&category| category.to_owned()).collect(),
        }
    }

    fn valid(sender: &str, content: Content) -> Valid {
        Valid {
            sender: id(sender),
            received_at: now(),
            traceparent: Some("trace".to_owned()),
            body: Zeroizing::new(b"{ \"as\": \"received\" }\n".to_vec()),
            basis: None,
            content,
        }
    }

    fn rfi(sender: &str, recipients: Vec<Recipient>) -> Valid {
        let content = RfiContent {
            attachments: Vec::new(),
            rfi: json!({
                "enquiry": "synthetic",
                "informationRequired": {
                    "categories": ["neglect", "domestic-abuse", "last-seen-at-gp"],
                    "why": { "neglect": "N", "last-seen-at-gp": "L" },
                },
            }),
            recipients,
            persons: vec!["p1".to_owned(), "p2".to_owned()],
            priority: Priority::Urgent,
            response_required_by: now(),
            telephoned_at: None,
        };
        valid(sender, Content::Rfi(content))
    }

    fn exchange() -> Exchange {
        Exchange {
            id: ExchangeId::new(now()),
            enquiry: EnquiryId::new(now()),
            reference: Reference::new(2025, 7),
            hub: id("hub"),
            agency: id("police"),
            rfi: MessageId::new(now()),
            categories: vec!["neglect".to_owned()],
            persons: vec!["p1".to_owned()],
            priority: Priority::Stat,
            response_required_by: now(),
            opened_at: now(),
            state: ExchangeState::Received,
            result: None,
            marks: Marks::default(),
            decision: None,
            destroyed_at: None,
            needs_attention: false,
            undelivered: None,
            sealing_recipient: "age1".to_owned(),
        }
    }

    fn reply(sender: &str, kind: Kind, exchange: Exchange) -> Valid {
        let said = match kind {
            Kind::TestReply => Said::TestReply,
            _ => Said::Response(ResponseResult::Complete),
        };
        let in_reply_to = exchange.rfi;
        let handling = Some("family-may-be-told".to_owned());
        let attachments = Vec::new();
        let content = ReplyContent {
            exchange,
            kind,
            said,
            attachments,
            handling,
            visible_to: None,
            in_reply_to,
            to: None,
        };
        valid(sender, Content::Reply(Box::new(content)))
    }

    fn refused(valid: Valid) -> RouteError {
        directory().route(valid, 1, now()).err().expect("it is refused")
    }

    #[test]
    fn each_agency_sees_only_what_it_is_asked() {
        let recipients = vec![
            recipient("police", &["neglect", "domestic-abuse"]),
            recipient("ods:X99999", &["domestic-abuse"]),
        ];
        let submission = rfi("hub", recipients);
        assert_eq!(references_wanted(&submission), 2);
        let routed = directory().route(submission, 41, now()).unwrap();
        let [police, surgery] = routed.messages.as_slice() else { panic!("two messages") };

        let payload = |message: &RoutedMessage| -> Value {
            serde_json::from_slice(&message.plaintext).unwrap()
        };
        let wanted = json!({
            "enquiry": "synthetic",
            "informationRequired": {
                "categories": ["neglect", "domestic-abuse"],
                "why": { "neglect": "N" },
            },
            "whyAsked": "because of police",
        });
        assert_eq!(payload(police), wanted);
        let wanted = json!({
            "enquiry": "synthetic",
            "informationRequired": { "categories": ["domestic-abuse"] },
            "whyAsked": "because of ods:X99999",
        });
        assert_eq!(payload(surgery), wanted);

        assert_eq!((&police.recipient, &surgery.recipient), (&id("police"), &id("surgery")));
        assert_eq!((police.is_pushed, surgery.is_pushed), (true, false));
        assert_eq!(police.reference, Reference::new(2026, 41));
        assert_eq!(surgery.reference, Reference::new(2026, 42));
        assert_eq!(routed.opens, Some(police.enquiry));
        assert_eq!(police.enquiry, surgery.enquiry);
        assert_ne!(police.exchange, surgery.exchange);
        assert_ne!(police.id, surgery.id);
        assert_eq!(police.sender, id("hub"));
        let RoutedStep::Open { categories, persons, .. } = &surgery.step else {
            panic!("an RFI opens its exchange")
        };
        assert_eq!((categories.len(), persons.len()), (1, 2));
    }

    #[test]
    fn who_may_be_asked() {
        let unknown = |nearest: Option<&str>| RecipientFault::Unknown { nearest: nearest.map(id) };
        let police = Some((id("police"), "POLICE".to_owned()));
        let table = [
            ("nobody-at-all", unknown(None), "unknown-recipient"),
            ("polcie", unknown(Some("police")), "unknown-recipient"),
            ("ods:X99998", unknown(None), "unknown-recipient"),
            ("waiting", RecipientFault::Pending, "recipient-pending"),
            ("stopped", RecipientFault::Suspended, "recipient-suspended"),
            ("gone", RecipientFault::Closed { successor: police }, "recipient-closed"),
            ("vanished", RecipientFault::Closed { successor: None }, "recipient-closed"),
            ("surgeries", RecipientFault::Class, "recipient-is-a-class"),
            ("hub", RecipientFault::Hub, "recipient-is-the-hub"),
            ("old-hub", RecipientFault::Hub, "recipient-is-the-hub"),
            ("deaf", RecipientFault::NoEndpoint, "recipient-has-no-endpoint"),
        ];
        for (address, fault, code) in &table {
            assert_eq!(fault.code(), *code);
            let recipients =
                vec![recipient("police", &["neglect"]), recipient(address, &["neglect"])];
            let problem =
                RecipientProblem { pointer: "/recipients/1".to_owned(), fault: fault.clone() };
            let wanted = RouteError::Recipients(vec![problem]);
            assert_eq!(refused(rfi("hub", recipients)), wanted, "{address}");
        }
        // All of them together: every problem is told.
        let all = table.iter().map(|(address, ..)| recipient(address, &["neglect"])).collect();
        let RouteError::Recipients(problems) = refused(rfi("hub", all)) else {
            panic!("refused for its recipients")
        };
        let faults: Vec<_> = problems.into_iter().map(|problem| problem.fault).collect();
        assert_eq!(faults, table.map(|(_, fault, _)| fault));
    }

    #[test]
    fn an_agency_is_asked_once_however_it_is_named() {
        let recipients =
            vec![recipient("surgery", &["neglect"]), recipient("ods:X99999", &["neglect"])];
        let fault = RecipientFault::Duplicate { first: "/recipients/0".to_owned() };
        let problem = RecipientProblem { pointer: "/recipients/1".to_owned(), fault };
        assert_eq!(refused(rfi("hub", recipients)), RouteError::Recipients(vec![problem]));
    }

    #[test]
    fn who_may_ask() {
        let ask = |sender| refused(rfi(sender, vec![recipient("surgery", &["neglect"])]));
        assert_eq!(ask("police"), RouteError::OnlyHub);
        assert_eq!(ask("old-hub"), RouteError::SenderInactive(Status::Suspended));
        assert_eq!(ask("stopped"), RouteError::SenderInactive(Status::Suspended));
        assert_eq!(ask("waiting"), RouteError::SenderInactive(Status::Pending));
        assert_eq!(ask("gone"), RouteError::SenderInactive(Status::Closed));
        assert_eq!(ask("surgeries"), RouteError::SenderUnknown);
        assert_eq!(ask("nobody"), RouteError::SenderUnknown);
    }

    #[test]
    fn who_may_say_what_in_an_exchange() {
        for kind in Kind::ALL {
            for (party, speaker, other) in
                [(Party::Agency, "police", "hub"), (Party::Hub, "hub", "police")]
            {
                let reply = reply(speaker, kind, exchange());
                match kind.sender() {
                    Some(says) if says != party => {
                        assert_eq!(refused(reply), RouteError::WrongParty { kind, says });
                    }
                    Some(_) | None => {
                        let routed = directory().route(reply, 0, now()).unwrap();
                        assert_eq!(routed.messages[0].recipient, id(other), "{kind:?}");
                    }
                }
            }
            assert_eq!(refused(reply("surgery", kind, exchange())), RouteError::NotYours);
            let stopped = RouteError::SenderInactive(Status::Suspended);
            assert_eq!(refused(reply("stopped", kind, exchange())), stopped);
        }
    }

    fn test(sender: &str, agency: &str) -> Valid {
        valid(sender, Content::Test(TestContent { agency: id(agency), reply_by: now() }))
    }

    #[test]
    fn a_test_goes_to_whoever_may_yet_join() {
        let mut directory = directory();
        directory.partners.get_mut(&id("police")).unwrap().status = Status::Pending;
        let submission = test("hub", "police");
        assert_eq!(references_wanted(&submission), 1);
        let routed = directory.route(submission, 9, now()).unwrap();
        let message = &routed.messages[0];
        assert_eq!(
            (message.kind, message.reference.clone()),
            (Kind::Test, Reference::test(2026, 9))
        );
        assert_eq!((&message.recipient, message.is_pushed), (&id("police"), true));
        assert_eq!(routed.opens, Some(message.enquiry));
        let RoutedStep::Open { categories, persons, .. } = &message.step else {
            panic!("a test opens an exchange")
        };
        assert!(categories.is_empty() && persons.is_empty());
        // And to whoever takes part.
        assert!(directory.route(test("hub", "surgery"), 1, now()).is_ok());

        let fault = |agency| match directory.route(test("hub", agency), 1, now()).err() {
            Some(RouteError::Recipients(problems)) => problems[0].fault.clone(),
            other => panic!("{agency}: {other:?}"),
        };
        assert_eq!(fault("waiting"), RecipientFault::NoEndpoint);
        assert_eq!(fault("stopped"), RecipientFault::Suspended);
        assert!(matches!(fault("gone"), RecipientFault::Closed { .. }));
        assert_eq!(fault("hub"), RecipientFault::Hub);
        assert_eq!(fault("surgeries"), RecipientFault::Class);
        assert!(matches!(fault("nobody"), RecipientFault::Unknown { .. }));
        assert_eq!(refused(test("surgery", "police")), RouteError::OnlyHub);
    }

    #[test]
    fn before_it_joins_an_agency_can_answer_a_test_and_no_more() {
        let exchange = Exchange { agency: id("waiting"), ..exchange() };
        for kind in Kind::ALL.into_iter().filter(|kind| kind.sender() != Some(Party::Hub)) {
            let routed = directory().route(reply("waiting", kind, exchange.clone()), 0, now());
            if kind == Kind::TestReply {
                assert!(!routed.unwrap().messages[0].is_pushed);
            } else {
                let inactive = RouteError::SenderInactive(Status::Pending);
                assert_eq!(routed.err(), Some(inactive), "{kind:?}");
            }
        }
    }

    #[test]
    fn a_reply_goes_as_it_was_received() {
        let exchange = exchange();
        let submission = reply("police", Kind::Response, exchange.clone());
        assert_eq!(references_wanted(&submission), 0);
        let routed = directory().route(submission, 9, now()).unwrap();
        assert_eq!(routed.opens, None);
        let message = &routed.messages[0];
        assert_eq!(*message.plaintext, b"{ \"as\": \"received\" }\n");
        assert_eq!(message.reference, exchange.reference);
        assert_eq!((message.enquiry, message.exchange), (exchange.enquiry, exchange.id));
        assert_eq!(message.priority, Priority::Stat);
        assert_eq!(message.in_reply_to, Some(exchange.rfi));
        assert_eq!(message.handling.as_deref(), Some("family-may-be-told"));
        assert!(!message.is_pushed);
    }

    #[test]
    fn what_is_owed_to_a_suspended_agency_waits_in_its_mailbox() {
        let exchange = Exchange { agency: id("stopped"), ..exchange() };
        let routed = directory().route(reply("hub", Kind::Outcome, exchange), 0, now()).unwrap();
        assert!(!routed.messages[0].is_pushed);
        let exchange = Exchange { agency: id("nobody"), ..self::exchange() };
        assert_eq!(refused(reply("hub", Kind::Outcome, exchange)), RouteError::OtherPartyUnknown);
    }

    #[test]
    fn refusals_name_the_way_on_and_nothing_of_the_body() {
        let recipients =
            vec![recipient("gone", &["neglect"]), recipient("surgeries", &["neglect"])];
        let error = refused(rfi("hub", recipients));
        let RouteError::Recipients(problems) = &error else { panic!("{error}") };
        let text = format!("{error} {} {}", problems[0], problems[1]);
        assert!(text.contains("ask its successor, POLICE (\"police\")"), "{text}");
        assert!(text.contains("ODS code"), "{text}");
        assert!(!text.contains("because") && !text.contains("synthetic"), "{text}");
    }
}
