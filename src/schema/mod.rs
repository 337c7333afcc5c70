//! The compiled contract: a body becomes `Valid` here or nowhere.
//!
//! Three steps, each refusing what the next could misread: the strict reader (`json`), the schema
//! (`contract`, and `explain` for what it refuses), and the rules a schema cannot say
//! ([`crate::rule`]). A refusal says where and which rule, never what was found.

use jiff::Timestamp;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::message::{
    AgencyId, Attachment, Exchange, ExchangeId, Kind, MessageId, OutcomeCode, Priority,
    ResponseResult, Said, Submission, Target,
};
use crate::rule;

mod contract;
mod explain;
pub mod json;

use contract::{Contract, Schema};
use json::JsonFault;

/// A submission whose body satisfies its schema and its rules.
pub struct Valid {
    pub(crate) sender: AgencyId,
    pub(crate) received_at: Timestamp,
    pub(crate) traceparent: Option<String>,
    /// The body as received, byte for byte.
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// What of its lawful basis depends on who sends it.
    pub(crate) basis: Option<Basis>,
    pub(crate) content: Content,
}

/// What of a lawful basis depends on who relies on it.
pub(crate) struct Basis {
    /// Where it stands in the body.
    pub(crate) pointer: &'static str,
    /// Whether it is legitimate interests: Article 6(1)(f).
    pub(crate) is_legitimate_interests: bool,
    /// Whether the law wants an appropriate policy document for it (R72).
    pub(crate) needs_policy_document: bool,
}

impl Valid {
    /// The files it names, and where in the body.
    pub(crate) fn attachments(&self) -> (&'static str, &[Attachment]) {
        match &self.content {
            Content::Reply(reply) => ("/attachments", &reply.attachments),
            Content::Rfi(rfi) => ("/rfi/attachments", &rfi.attachments),
            Content::Test(_) => ("/attachments", &[]),
        }
    }

    /// Its exchange and the message it says it is about, when that is not known to be of the exchange.
    pub(crate) fn is_about(&self) -> Option<(&ExchangeId, MessageId)> {
        match &self.content {
            Content::Reply(reply) if reply.in_reply_to != reply.exchange.rfi => {
                Some((&reply.exchange.id, reply.in_reply_to))
            }
            Content::Reply(_) | Content::Rfi(_) | Content::Test(_) => None,
        }
    }

    /// What of an exchange this passes on to another agency, if it does.
    pub(crate) fn goes_further(&mut self) -> Option<&mut ReplyContent> {
        match &mut self.content {
            Content::Reply(reply) if reply.kind.goes_further() => Some(reply),
            Content::Reply(_) | Content::Rfi(_) | Content::Test(_) => None,
        }
    }

    /// The RFI, if it is one.
    pub(crate) fn rfi(&self) -> Option<&Value> {
        match &self.content {
            Content::Rfi(content) => Some(&content.rfi),
            Content::Reply(_) | Content::Test(_) => None,
        }
    }

    /// The exchange, when its own agency answers the test that it is.
    pub(crate) fn answers_test(&self) -> Option<&Exchange> {
        match &self.content {
            Content::Reply(reply) if reply.kind == Kind::TestReply => {
                Some(&reply.exchange).filter(|exchange| exchange.agency == self.sender)
            }
            Content::Reply(_) | Content::Rfi(_) | Content::Test(_) => None,
        }
    }
}

/// What a valid body says, as far as routing needs it.
pub(crate) enum Content {
    /// An RFI for one or more agencies.
    Rfi(RfiContent),
    /// Anything said in an exchange that exists.
    Reply(Box<ReplyContent>),
    /// A test of one agency's connection.
    Test(TestContent),
}

/// A test's parts.
pub(crate) struct TestContent {
    /// Whose connection.
    pub(crate) agency: AgencyId,
    pub(crate) reply_by: Timestamp,
}

/// An RFI's parts.
pub(crate) struct RfiContent {
    /// The RFI, to be narrowed to each recipient's categories.
    pub(crate) rfi: Value,
    /// The files it names, which go to everybody who is asked.
    pub(crate) attachments: Vec<Attachment>,
    /// Who is asked, why, and for what, in the order they were named: the first is `/recipients/0`.
    pub(crate) recipients: Vec<Recipient>,
    /// Its `personId`s.
    pub(crate) persons: Vec<String>,
    pub(crate) priority: Priority,
    pub(crate) response_required_by: Timestamp,
    /// When the agencies were rung about it, if they were before it is sent (R45).
    pub(crate) telephoned_at: Option<Timestamp>,
}

/// One agency to be asked, as the hub named it.
pub struct Recipient {
    /// By id or, for a surgery, by ODS code.
    pub address: Address,
    /// Why this agency is asked (R109).
    pub why: String,
    /// What it is asked for: some or all of the RFI's categories.
    pub categories: Vec<String>,
}

/// How an RFI names its recipient.
pub enum Address {
    /// By its id in the directory.
    Agency(AgencyId),
    /// By its ODS code.
    OdsCode(String),
}

/// A message in an exchange.
pub(crate) struct ReplyContent {
    pub(crate) exchange: Exchange,
    pub(crate) kind: Kind,
    pub(crate) said: Said,
    /// The files it names.
    pub(crate) attachments: Vec<Attachment>,
    /// Its labels: what the family may be told, when the message says so, and that it is about crime.
    pub(crate) handling: Option<String>,
    /// The only roles that may see it, with a space between, when the message says so.
    pub(crate) visible_to: Option<String>,
    pub(crate) in_reply_to: MessageId,
    /// The agency it goes to, when that is not the exchange's other party.
    pub(crate) to: Option<AgencyId>,
}

/// Why a body was not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The submission is aimed at no exchange that exists, or says what no exchange carries.
    #[error("there is no such exchange")]
    NoExchange,
    /// It is not JSON we read.
    #[error("the body is not JSON this gateway reads")]
    NotJson(#[source] JsonFault),
    /// It breaks its schema or the rules: never empty, at most 50, by pointer.
    #[error("the body does not follow the contract")]
    Violations(Vec<Violation>),
}

/// One thing wrong with a body: where, which rule, and what to do. Never what was found there.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Violation {
    /// Where, as a JSON Pointer; cut short before a name that is not the contract's own.
    pub pointer: String,
    /// Which rule: stable, in kebab-case.
    pub code: String,
    /// A sentence for the person who can put it right.
    pub message: String,
}

/// The contract, ready to check with.
pub struct Schemas {
    contract: Contract,
    dispatch: Schema,
    overriding: Schema,
    referrer_contact: Schema,
    saved_record: Schema,
    /// By kind, in the order of `Kind::ALL`, which is that of its variants.
    kinds: [Schema; Kind::ALL.len()],
}

impl Schemas {
    /// A body as strict JSON, not yet held against anything.
    pub fn parse(body: &[u8]) -> Result<Value, JsonFault> {
        json::read(body).map(|read| read.value)
    }

    /// Compiles the built-in schemas: some milliseconds, so once.
    pub fn compiled() -> Self {
        let contract = Contract::new(contract::SOURCES);
        let dispatch = contract.compile("urn:mash:schema:dispatch:1");
        let overriding = contract.compile("urn:mash:schema:override:1");
        let referrer_contact = contract.compile("urn:mash:schema:referrer-contact:1");
        let saved_record = contract.compile("urn:mash:schema:saved-record:1");
        let kinds = Kind::ALL.map(|kind| contract.compile(&kind.schema()));
        Self { contract, dispatch, overriding, referrer_contact, saved_record, kinds }
    }

    /// Checks a submission; `exchange` is the one it is aimed at, if there is one.
    pub fn check(
        &self,
        new: Submission,
        exchange: Option<Exchange>,
        now: Timestamp,
    ) -> Result<Valid, Refusal> {
        let body = Zeroizing::new(new.body);
        let mut basis = None;
        let content = match (new.target, exchange) {
            (Target::Rfis, _) => {
                let content = self.rfi(&body, now)?;
                basis = basis_of(&content.rfi, "/rfi/lawfulBasis");
                Content::Rfi(content)
            }
            (Target::Exchange(id, kind), Some(exchange)) if exchange.id == id => {
                let (read, reply) = self.reply(kind, &body, exchange, now)?;
                basis = basis_of(&read, "/lawfulBasis");
                Content::Reply(Box::new(reply))
            }
            (Target::Exchange(..), _) => return Err(Refusal::NoExchange),
            (Target::Test(agency), _) => Content::Test(self.test(&body, agency, now)?),
        };
        Ok(Valid {
            sender: new.sender,
            received_at: now,
            traceparent: new.traceparent,
            body,
            basis,
            content,
        })
    }

    /// Checks a body of this kind as far as that is possible without its exchange.
    ///
    /// An RFI stands here alone, without the recipients it is dispatched with.
    pub fn validate(&self, kind: Kind, body: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let body = self.read(&self.kinds[kind as usize], body)?;
        refuse(violations(kind, &body, now))
    }

    /// Checks what the hub posts: recipients and an RFI.
    pub fn validate_dispatch(&self, body: &[u8], now: Timestamp) -> Result<(), Refusal> {
        self.rfi(body, now).map(drop)
    }

    /// Checks an override that the Team Manager records (R20): the parts of an RFI that it is about.
    pub fn check_override(&self, body: &[u8], now: Timestamp) -> Result<Value, Refusal> {
        let body = self.read(&self.overriding, body)?;
        refuse(rule::rfi::override_violations(&body, now))?;
        Ok(body)
    }

    /// Checks what the hub records of its contact with whoever referred the child (R115).
    pub fn check_referrer_contact(&self, body: &[u8], now: Timestamp) -> Result<Value, Refusal> {
        let body = self.read(&self.referrer_contact, body)?;
        refuse(rule::contact::referrer_violations(&body, now))?;
        Ok(body)
    }

    /// Checks what a recipient says of where a message is in its own record (R114); says whether it says
    /// anything of that.
    pub fn check_saved_record(&self, body: &[u8], now: Timestamp) -> Result<bool, Refusal> {
        let body = self.read(&self.saved_record, body)?;
        refuse(rule::contact::saved_violations(&body, now))?;
        Ok(body.as_object().is_some_and(|said| !said.is_empty()))
    }

    /// The text of a schema file, by its name: `rfi.v1.schema.json`.
    pub fn source(name: &str) -> Option<&'static str> {
        contract::source(name)
    }

    /// The names of the schema files.
    pub fn names() -> impl Iterator<Item = &'static str> {
        contract::SOURCES.iter().map(|(name, _)| *name)
    }

    /// SHA-256 of the text of a kind's schema file.
    pub fn digest(kind: Kind) -> [u8; 32] {
        contract::DIGESTS[kind as usize]
    }

    /// Reads a body and holds it to its schema.
    fn read(&self, schema: &Schema, body: &[u8]) -> Result<Value, Refusal> {
        let read = json::read(body).map_err(Refusal::NotJson)?;
        refuse(explain::violations(&self.contract, schema, &read.value, read.values))?;
        Ok(read.value)
    }

    fn rfi(&self, body: &[u8], now: Timestamp) -> Result<RfiContent, Refusal> {
        let mut dispatch = self.read(&self.dispatch, body)?;
        refuse(rule::dispatch::violations(&dispatch, now))?;
        rfi_content(&mut dispatch).ok_or_else(unreadable)
    }

    fn test(&self, body: &[u8], agency: AgencyId, now: Timestamp) -> Result<TestContent, Refusal> {
        let body = self.read(&self.kinds[Kind::Test as usize], body)?;
        refuse(violations(Kind::Test, &body, now))?;
        let reply_by = rule::instant(&body, "/replyBy").ok_or_else(unreadable)?;
        Ok(TestContent { agency, reply_by })
    }

    fn reply(
        &self,
        kind: Kind,
        body: &[u8],
        exchange: Exchange,
        now: Timestamp,
    ) -> Result<(Value, ReplyContent), Refusal> {
        // A test is answered as one, and nothing else is.
        if exchange.is_test() != (kind == Kind::TestReply) {
            return Err(Refusal::NoExchange);
        }
        let body = self.read(&self.kinds[kind as usize], body)?;
        let mut found = violations(kind, &body, now);
        found.extend(match kind {
            Kind::Acknowledgement => rule::acknowledgement::violations_in(&body, &exchange),
            Kind::Cancellation => rule::consent::cancellation_in(&body, &exchange),
            Kind::TelephoneContact => rule::contact::violations_in(&body, &exchange),
            Kind::Clarification => rule::clarification::violations_in(&body, &exchange),
            Kind::ConsentWithdrawal | Kind::Forwarding | Kind::StepDown => {
                rule::further::violations_in(&body, &exchange)
            }
            Kind::Incident => rule::incident::violations_in(&body, &exchange),
            Kind::OnwardDisclosure => rule::onward_disclosure::violations_in(&body, &exchange),
            Kind::Outcome => rule::outcome::violations_in(&body, &exchange),
            Kind::Response | Kind::Transcription => rule::response::violations_in(&body, &exchange),
            // These open an exchange; they are not said in one.
            Kind::Rfi | Kind::Test => return Err(Refusal::NoExchange),
            Kind::SubjectAccessConsultation | Kind::SubjectAccessView => {
                rule::subject_access::violations_in(&body, &exchange)
            }
            Kind::Supplement => rule::supplement::violations_in(&body, &exchange),
            Kind::TestReply => rule::test::violations_in(&body, &exchange),
        });
        refuse(found)?;
        let said = said(kind, &body).ok_or_else(unreadable)?;
        let handling = match kind {
            Kind::OnwardDisclosure | Kind::Response | Kind::Supplement | Kind::Transcription => {
                rule::text(&body, "/onwardDisclosure").map(|label| labels(label, &body))
            }
            Kind::Acknowledgement
            | Kind::Cancellation
            | Kind::Clarification
            | Kind::ConsentWithdrawal
            // Those of what is passed on, which is still to be opened.
            | Kind::Forwarding
            | Kind::Incident
            | Kind::Outcome
            | Kind::Rfi
            | Kind::StepDown
            | Kind::SubjectAccessConsultation
            | Kind::SubjectAccessView
            | Kind::TelephoneContact
            | Kind::Test
            | Kind::TestReply => None,
        };
        let attachments = rule::attachments::named(&body).ok_or_else(unreadable)?;
        // Of a question or an answer to one, that; of anything else, the RFI.
        let in_reply_to =
            rule::text(&body, "/inReplyTo").and_then(|id| id.parse().ok()).unwrap_or(exchange.rfi);
        let mut roles: Vec<_> = rule::texts(&body, "/visibleTo").map(|(_, role)| role).collect();
        roles.sort_unstable();
        let visible_to = Some(roles.join(" ")).filter(|roles| !roles.is_empty());
        let to = rule::text(&body, "/to").and_then(|to| AgencyId::parse(to).ok());
        let reply = ReplyContent {
            kind,
            said,
            attachments,
            handling,
            visible_to,
            in_reply_to,
            to: to.filter(|_| kind.goes_further()),
            exchange,
        };
        Ok((body, reply))
    }
}

/// The rules that need no exchange.
fn violations(kind: Kind, body: &Value, now: Timestamp) -> Vec<Violation> {
    match kind {
        Kind::Acknowledgement => rule::acknowledgement::violations(body, now),
        Kind::Cancellation | Kind::Clarification => rule::attachments::violations(body),
        Kind::ConsentWithdrawal => rule::consent::violations(body, now),
        Kind::Forwarding => rule::further::forwarding_violations(body),
        Kind::Incident => rule::incident::violations(body, now),
        Kind::OnwardDisclosure => rule::onward_disclosure::violations(body, now),
        Kind::Outcome => rule::outcome::violations(body, now),
        Kind::Response | Kind::Transcription => rule::response::violations(body, now),
        Kind::Rfi => rule::rfi::violations(body, now),
        Kind::StepDown => rule::further::step_down_violations(body, now),
        Kind::SubjectAccessConsultation | Kind::SubjectAccessView => {
            rule::subject_access::violations(body, now)
        }
        Kind::Supplement => rule::supplement::violations(body, now),
        Kind::TelephoneContact => rule::contact::violations(body, now),
        Kind::Test => rule::test::violations(body, now),
        // All that can be wrong with one is wrong in its exchange.
        Kind::TestReply => Vec::new(),
    }
}

fn refuse(violations: Vec<Violation>) -> Result<(), Refusal> {
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Violations(explain::listed(violations)))
    }
}

fn basis_of(body: &Value, pointer: &'static str) -> Option<Basis> {
    let basis = body.get("lawfulBasis")?;
    let is = |name: &str, value: &str| basis.get(name).is_some_and(|found| found == value);
    Some(Basis {
        pointer,
        is_legitimate_interests: is("article6", "f"),
        needs_policy_document: is("article9", "g") || is("dpaSchedule1", "pt2-para18"),
    })
}

/// The schema let through what we cannot read. Fail closed: the contract's tests should have seen it.
fn unreadable() -> Refusal {
    Refusal::Violations(vec![rule::violation(
        "",
        "unreadable",
        "This gateway cannot read the form. Report this to the people who run it.",
    )])
}

fn rfi_content(dispatch: &mut Value) -> Option<RfiContent> {
    let rfi = dispatch.get_mut("rfi").map(Value::take)?;
    let strings = |value: &Value, pointer| {
        rule::texts(value, pointer).map(|(_, text)| text.to_owned()).collect::<Vec<_>>()
    };
    let recipient = |recipient: &Value| {
        let address = match rule::text(recipient, "/agency") {
            Some(agency) => Address::Agency(AgencyId::parse(agency).ok()?),
            None => Address::OdsCode(rule::text(recipient, "/odsCode")?.to_owned()),
        };
        // Not said: everything the RFI asks.
        let categories = match recipient.get("categories") {
            Some(_) => strings(recipient, "/categories"),
            None => strings(&rfi, "/informationRequired/categories"),
        };
        Some(Recipient { address, why: rule::text(recipient, "/why")?.to_owned(), categories })
    };
    let recipients = rule::items(dispatch, "/recipients")
        .map(|(_, each)| recipient(each))
        .collect::<Option<Vec<_>>>()?;
    Some(RfiContent {
        attachments: rule::attachments::named(&rfi)?,
        recipients,
        persons: rule::rfi::person_ids(&rfi).map(str::to_owned).collect(),
        priority: Priority::parse(rule::text(&rfi, "/priority")?)?,
        response_required_by: rule::instant(&rfi, "/responseRequiredBy")?,
        telephoned_at: rule::instant(&rfi, "/telephoneContact/madeAt"),
        rfi,
    })
}

/// The labels that go with a message outside its payload: what the family may be told, and that it holds what
/// Article 10 of the UK GDPR is about (R136).
fn labels(onward_disclosure: &str, body: &Value) -> String {
    match rule::response::is_about_crime(body) {
        true => format!("{onward_disclosure} {CRIMINAL_OFFENCE_DATA}"),
        false => onward_disclosure.to_owned(),
    }
}

const CRIMINAL_OFFENCE_DATA: &str = "criminal-offence-data";

fn said(kind: Kind, body: &Value) -> Option<Said> {
    Some(match kind {
        Kind::Acknowledgement => {
            Said::Acknowledgement { will_reply_by: rule::instant(body, "/willReplyBy") }
        }
        Kind::Cancellation => Said::Cancellation,
        Kind::Clarification => Said::Clarification,
        Kind::ConsentWithdrawal => Said::ConsentWithdrawal,
        Kind::Forwarding => Said::Forwarding,
        Kind::Incident => {
            Said::Incident { assessment_due_by: rule::incident::assessment_due_by(body) }
        }
        Kind::OnwardDisclosure => Said::OnwardDisclosure,
        Kind::Outcome => Said::Outcome {
            outcome: OutcomeCode::parse(rule::text(body, "/outcome")?)?,
            decided_at: rule::instant(body, "/decidedAt")?,
        },
        Kind::Response => Said::Response(result(body)?),
        Kind::Rfi | Kind::Test => return None,
        Kind::StepDown => Said::StepDown,
        Kind::SubjectAccessConsultation => Said::SubjectAccessConsultation,
        Kind::SubjectAccessView => Said::SubjectAccessView,
        Kind::Supplement => Said::Supplement,
        Kind::TelephoneContact => {
            Said::TelephoneContact { made_at: rule::instant(body, "/madeAt")? }
        }
        Kind::TestReply => Said::TestReply,
        Kind::Transcription => Said::Transcription(result(body)?),
    })
}

fn result(body: &Value) -> Option<ResponseResult> {
    ResponseResult::parse(rule::text(body, "/result")?)
}
