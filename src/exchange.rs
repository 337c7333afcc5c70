//! **Start here.** What the gateway does: take a submission, hand a message over, note that it is
//! saved, say how an exchange stands.
//!
//! The only place where an inner failure becomes what the outside learns of it: every
//! `From<…> for Problem` is below.

pub mod attachments;
pub mod draft;
mod further;
pub mod overrides;
pub mod referrer;
pub mod saved;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use zeroize::Zeroizing;

use crate::audit::checkpoint::LogVerifier;
use crate::audit::cosignature::{Cosignature, WitnessPolicy};
use crate::audit::entry::Event;
use crate::audit::receipt::{self, Logged};
use crate::audit::tree::{Hash, Plan};
use crate::directory::permission::{self, Action};
use crate::directory::route::{RecipientProblem, RouteError, reference_year, references_wanted};
use crate::directory::{AgencyKind, Directory};
use crate::event::{self, Payload};
use crate::ledger::{self, Ledger, LedgerError};
use crate::message::{
    AgencyId, AttachmentId, EnquiryId, Envelope, Exchange, ExchangeId, Kind, MessageId, Period,
    Reference, Role, Submission, Target, Untimely,
};
use crate::problem::{Problem, ProblemType};
use crate::rule::{self, ages};
use crate::schema::{Refusal, Schemas, Valid, Violation};
use crate::seal::{self, OpenError, SealError, Sealed, Sealer};
use crate::store::{
    Applied, DeliveryState, Effect, Head, IdempotencyToken, MailboxLimits, Store, StoreError,
    StoredEntry, StoredMessage,
};
use crate::timer;

/// The gateway, without its doors.
pub struct Gateway {
    domain: String,
    schemas: Schemas,
    directory: watch::Sender<Arc<Directory>>,
    sealer: Sealer,
    ledger: Ledger,
    store: Arc<dyn Store>,
    log: LogVerifier,
    mailbox: MailboxLimits,
    witnesses: WitnessPolicy,
    timers: watch::Sender<Arc<timer::Settings>>,
    push_queued: Notify,
    cosigned: Notify,
    /// Whether somebody showed a checkpoint that our key signed and this log does not have.
    is_disproved: AtomicBool,
    collections: DefaultKeyedRateLimiter<MessageId>,
    files: attachments::Limits,
    file_collections: DefaultKeyedRateLimiter<(AttachmentId, MessageId)>,
}

/// What a [`Gateway`] is made of.
pub struct Parts {
    /// The SPIFFE trust domain, the authority of every `source`.
    pub domain: String,
    /// The contract.
    pub schemas: Schemas,
    /// The directory as of now.
    pub directory: Directory,
    /// The at-rest keys.
    pub sealer: Sealer,
    /// The way in to the log.
    pub ledger: Ledger,
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// The log's public key.
    pub log: LogVerifier,
    /// What files agencies may upload.
    pub files: attachments::Limits,
    /// How much may wait for each agency.
    pub mailbox: MailboxLimits,
    /// Whose cosignatures are taken.
    pub witnesses: WitnessPolicy,
    /// By what timers go.
    pub timers: timer::Settings,
}

/// What a sender is told whose submission was accepted.
pub struct Answer {
    /// The receipts, as JSON: the same to the byte each time.
    pub body: String,
    /// Whether it was accepted before.
    pub is_replay: bool,
}

impl Gateway {
    /// The gateway made of these parts.
    pub fn new(parts: Parts) -> Self {
        Self {
            domain: parts.domain,
            schemas: parts.schemas,
            directory: watch::Sender::new(Arc::new(parts.directory)),
            sealer: parts.sealer,
            ledger: parts.ledger,
            store: parts.store,
            log: parts.log,
            mailbox: parts.mailbox,
            witnesses: parts.witnesses,
            timers: watch::Sender::new(Arc::new(parts.timers)),
            push_queued: Notify::new(),
            cosigned: Notify::new(),
            is_disproved: AtomicBool::new(false),
            collections: RateLimiter::keyed(Quota::per_minute(NonZeroU32::MIN)),
            files: parts.files,
            file_collections: RateLimiter::keyed(Quota::per_minute(NonZeroU32::MIN)),
        }
    }

    /// Takes a submission: checked, routed, sealed, and accepted durably under a signed checkpoint.
    /// The answer holds the receipts; a submission sent again gets the first answer, byte for byte,
    /// however much later: even when a deadline has passed or a recipient has closed.
    pub async fn submit(&self, new: Submission, now: Timestamp) -> Result<Answer, Problem> {
        let token = seal::idempotency_token(&new);
        let (desk, certificate) = (new.desk, new.certificate.clone());
        let warnings = match new.target {
            Target::Rfis => ages::warnings(&new.body),
            Target::Exchange(..) | Target::Test(_) => Vec::new(),
        };
        match self.prepare(new, desk, token, now).await {
            Ok(sealed) => {
                let is_pushed = sealed.is_pushed();
                // Finds a repeat too: what was accepted before is not accepted again.
                let (mailbox, certificate) = (self.mailbox, certificate.as_deref());
                let accepted = self.ledger.accept(sealed, mailbox, desk, certificate, now);
                let applied = accepted.await?;
                if is_pushed {
                    self.push_queued.notify_one();
                }
                answer(applied, &warnings)
            }
            // Only what was never accepted is refused.
            Err(problem) => match self.store.replay(&token).await? {
                Some(first) => answer(first, &warnings),
                None => Err(problem),
            },
        }
    }

    async fn prepare(
        &self,
        new: Submission,
        desk: Option<Role>,
        token: IdempotencyToken,
        now: Timestamp,
    ) -> Result<Sealed, Problem> {
        let exchange = match new.target {
            Target::Exchange(id, _) => Some(self.exchange(&new.sender, &id).await?),
            Target::Rfis | Target::Test(_) => None,
        };
        let is_hub = self.is_hub(&new.sender);
        let mut valid = self.schemas.check(new, exchange, now)?;
        self.hold_to_its_test(&valid).await?;
        self.hold_to_its_exchange(&valid).await?;
        let basis = self.hold_to_its_basis(&valid);
        let decision = self.decision(&valid, desk);
        let told_further = self.told_further(&mut valid, desk).await;
        let references = match references_wanted(&valid) {
            0 => 0,
            // Nobody else's come to be sent.
            _ if !is_hub => 0,
            count => self.store.allocate_references(reference_year(now), count).await?,
        };
        let (pointer, named) = valid.attachments();
        let (sender, named) = (valid.sender.clone(), named.to_vec());
        let routed = self.directory().route(valid, references, now)?;
        // Not before: who may not send it at all learns that, and nothing of what it would need.
        basis?;
        let decision = decision?;
        told_further?;
        let files = self.held_files(&sender, &named, pointer).await?;
        Ok(self.sealer.seal(routed, token, decision, &files)?)
    }

    // An answer to a test that was not opened proves nothing, so it is none.
    async fn hold_to_its_test(&self, valid: &Valid) -> Result<(), Problem> {
        let Some(exchange) = valid.answers_test() else { return Ok(()) };
        let test = self.test(&exchange.rfi).await?;
        if code_word(&test) == code_word(&valid.body) {
            return Ok(());
        }
        let violation = Violation {
            pointer: "/codeWord".to_owned(),
            code: "not-this-code-word".to_owned(),
            message: "Give the codeWord that stands in the test, in its data.".to_owned(),
        };
        Err(Refusal::Violations(vec![violation]).into())
    }

    // What depends on who relies on a lawful basis: a public authority has tasks and not interests (R66), and
    // what needs an appropriate policy document needs one that is on record (R72).
    fn hold_to_its_basis(&self, valid: &Valid) -> Result<(), Problem> {
        let Some(basis) = &valid.basis else { return Ok(()) };
        let directory = self.directory();
        let Some(sender) = directory.get(&valid.sender) else { return Ok(()) };
        let mut violations = Vec::new();
        let mut found = |member: &str, code: &str, message: &str| {
            let pointer = format!("{}/{member}", basis.pointer);
            violations.push(Violation {
                pointer,
                code: code.to_owned(),
                message: message.to_owned(),
            });
        };
        if basis.is_legitimate_interests && sender.is_public_authority {
            found(
                "article6",
                "public-authority-legitimate-interests",
                "Choose another basis: a public authority cannot rely on legitimate interests for its \
                 tasks. Public task is (e).",
            );
        }
        if basis.needs_policy_document && sender.policy_document.is_none() {
            found(
                "appropriatePolicyDocument",
                "policy-document-not-recorded",
                "Have the gateway's operator put your agency's appropriate policy document on record \
                 (mash-gateway apd add), or choose a condition that needs none.",
            );
        }
        if violations.is_empty() { Ok(()) } else { Err(Refusal::Violations(violations).into()) }
    }

    // What a question is about, or an answer to one, is a message of the same exchange.
    async fn hold_to_its_exchange(&self, valid: &Valid) -> Result<(), Problem> {
        let Some((exchange, about)) = valid.is_about() else { return Ok(()) };
        match self.store.message(&about).await {
            Ok(stored) if stored.envelope.exchange == *exchange => Ok(()),
            Ok(_) | Err(StoreError::NotFound) => {
                let violation = Violation {
                    pointer: "/inReplyTo".to_owned(),
                    code: "not-in-this-exchange".to_owned(),
                    message:
                        "Give the id of a message of this exchange: of the RFI, of an answer, or \
                              of the question that you answer."
                            .to_owned(),
                };
                Err(Refusal::Violations(vec![violation]).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    // The body of a test or of its answer, which the gateway can always open.
    async fn test(&self, id: &MessageId) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let stored = self.store.message(id).await?;
        let sealed = self.store.sealed_payload(id).await?;
        Ok(self.sealer.open(&stored.envelope, &sealed)?)
    }

    /// Whether the answer in this exchange repeats the test's code word, as the payloads are now.
    pub async fn is_answered_right(
        &self,
        exchange: &Exchange,
        reply: &MessageId,
    ) -> Result<bool, Problem> {
        let (test, reply) = (self.test(&exchange.rfi).await?, self.test(reply).await?);
        Ok(code_word(&test).is_some() && code_word(&test) == code_word(&reply))
    }

    /// A message for its recipient, as the document it is delivered in. That it was collected is
    /// durable and in the log before a byte of it is handed over. `certificate` is the serial of the
    /// reader's, if it came from outside, and `desk` the role of the person, if it was one.
    pub async fn collect(
        &self,
        reader: &AgencyId,
        certificate: Option<&str>,
        desk: Option<Role>,
        id: &MessageId,
        now: Timestamp,
    ) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let stored = self.received(reader, id).await?;
        hold_to_roles(&stored.envelope, desk)?;
        let document = self.event(&stored).await?;
        // Once more within the minute is a retry; a program in a loop must not fill the log.
        let is_again = matches!(
            stored.delivery,
            DeliveryState::Collected | DeliveryState::Delivered | DeliveryState::Saved
        );
        if !is_again || self.collections.check_key(id).is_ok() {
            if self.collections.len() > COLLECTIONS_MAX {
                self.collections.retain_recent();
            }
            let event = Event::collected(&stored.envelope).at_desk(desk).done_with(certificate);
            self.record(&event, now, &stored, Effect::Collect(*id)).await?;
        }
        Ok(document)
    }

    /// The payload of a message, for its sender, who reads again what was sent. That it was is durable and in
    /// the log before; nothing of the message changes.
    pub async fn reopen(
        &self,
        sender: &AgencyId,
        certificate: Option<&str>,
        desk: Option<Role>,
        id: &MessageId,
        now: Timestamp,
    ) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let stored = self.sent(sender, id).await?;
        let sealed = self.store.sealed_payload(id).await?;
        let body = self.sealer.open(&stored.envelope, &sealed)?;
        self.note_reopened(&stored, certificate, desk, now).await?;
        Ok(body)
    }

    async fn note_reopened(
        &self,
        stored: &StoredMessage,
        certificate: Option<&str>,
        desk: Option<Role>,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let event = Event::opened_by_sender(&stored.envelope).at_desk(desk).done_with(certificate);
        self.record(&event, now, stored, Effect::Log).await.map(drop)
    }

    /// A message's envelope and where its delivery stands, for its recipient.
    pub async fn received(
        &self,
        reader: &AgencyId,
        id: &MessageId,
    ) -> Result<StoredMessage, Problem> {
        let stored = self.store.message(id).await?;
        if stored.envelope.recipient == *reader { Ok(stored) } else { Err(not_found()) }
    }

    /// The same, for its sender.
    pub async fn sent(&self, sender: &AgencyId, id: &MessageId) -> Result<StoredMessage, Problem> {
        let stored = self.store.message(id).await?;
        if stored.envelope.sender == *sender { Ok(stored) } else { Err(not_found()) }
    }

    /// That a message was returned, and why, for its sender: the entry that says so, as a receipt is.
    pub async fn non_delivery(&self, reader: &AgencyId, id: &MessageId) -> Result<String, Problem> {
        self.sent(reader, id).await?;
        Ok(self.store.non_delivery(id).await?.receipt())
    }

    /// The receipt of a message, for its sender or its recipient.
    pub async fn receipt(&self, reader: &AgencyId, id: &MessageId) -> Result<String, Problem> {
        let stored = self.store.message(id).await?;
        if stored.envelope.recipient != *reader && stored.envelope.sender != *reader {
            return Err(not_found());
        }
        Ok(self.store.acceptance(id).await?.receipt())
    }

    /// Messages waiting for `recipient`, oldest first: of the kind `only`, or all.
    pub async fn inbox(
        &self,
        recipient: &AgencyId,
        only: Option<Kind>,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, Problem> {
        Ok(self.store.inbox(recipient, only, after, limit).await?)
    }

    /// What waits for `recipient` and is no request, newest first.
    pub async fn inbox_besides_requests(
        &self,
        recipient: &AgencyId,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, Problem> {
        Ok(self.store.inbox_besides_requests(recipient, limit).await?)
    }

    /// The messages that the reader sent and was sent in this period, by the time of acceptance.
    pub async fn messages(
        &self,
        reader: &AgencyId,
        period: Period,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, Problem> {
        Ok(self.store.correspondence(reader, period, after, limit).await?)
    }

    /// How many messages wait for `recipient`: of the kind `only`, or all.
    pub async fn waiting(&self, recipient: &AgencyId, only: Option<Kind>) -> Result<u64, Problem> {
        Ok(self.store.waiting(recipient, only).await?)
    }

    /// The exchange of a message, for its sender or its recipient.
    pub async fn exchange_of(
        &self,
        reader: &AgencyId,
        message: &MessageId,
    ) -> Result<Exchange, Problem> {
        let stored = self.store.message(message).await?;
        self.exchange(reader, &stored.envelope.exchange).await
    }

    /// One exchange, for a party to it; to anybody else it does not exist.
    pub async fn exchange(&self, reader: &AgencyId, id: &ExchangeId) -> Result<Exchange, Problem> {
        let exchange = self.store.exchange(id).await?;
        exchange.party(reader).map(|_| exchange.clone()).ok_or_else(not_found)
    }

    /// One exchange by its short name, for a party to it.
    pub async fn exchange_by_reference(
        &self,
        reader: &AgencyId,
        name: &Reference,
    ) -> Result<Exchange, Problem> {
        let exchange = self.store.exchange_by_reference(name).await?;
        exchange.party(reader).map(|_| exchange.clone()).ok_or_else(not_found)
    }

    /// Who at the hub asked, by name and job title: whose it is to feed the outcome back (R113). For those
    /// who may read what is said; nobody's, where the agency alone has the key of what it was asked.
    pub async fn representative(
        &self,
        reader: &AgencyId,
        desk: Option<Role>,
        exchange: &Exchange,
    ) -> Result<Option<(String, String)>, Problem> {
        let rfi = self.own_rfi(reader, desk, exchange).await?.unwrap_or_default();
        let text = |pointer| rule::text(&rfi, pointer).map(str::to_owned);
        Ok(text("/requester/name").zip(text("/requester/jobTitle")))
    }

    /// The people whom the hub's request is about, as it named them: so that whoever at the hub tells of them
    /// need not write them anew. For those who may read what is said; nobody, where the agency alone has the
    /// key of what it was asked. That they were read is in the log before.
    pub async fn persons_asked(
        &self,
        reader: &AgencyId,
        certificate: Option<&str>,
        desk: Option<Role>,
        exchange: &Exchange,
        now: Timestamp,
    ) -> Result<Vec<Value>, Problem> {
        let rfi = self.own_rfi(reader, desk, exchange).await?.unwrap_or_default();
        let Some(persons) = rfi.get("persons").and_then(Value::as_array) else {
            return Ok(Vec::new());
        };
        let stored = self.sent(reader, &exchange.rfi).await?;
        self.note_reopened(&stored, certificate, desk, now).await?;
        Ok(persons.clone())
    }

    // What the hub itself asked, for those at the hub who may read what is said.
    async fn own_rfi(
        &self,
        reader: &AgencyId,
        desk: Option<Role>,
        exchange: &Exchange,
    ) -> Result<Option<Value>, Problem> {
        let may_read = desk.is_none_or(|role| permission::may(role, Action::Collect));
        if exchange.hub != *reader || exchange.is_test() || !may_read {
            return Ok(None);
        }
        let stored = self.store.message(&exchange.rfi).await?;
        let sealed = self.store.sealed_payload(&exchange.rfi).await?;
        let opened = match self.sealer.open(&stored.envelope, &sealed) {
            Err(OpenError::Purged | OpenError::SealedToAgency) => return Ok(None),
            opened => opened?,
        };
        Ok(Schemas::parse(&opened).ok())
    }

    /// The reader's exchanges, newest first.
    pub async fn exchanges(
        &self,
        reader: &AgencyId,
        before: Option<ExchangeId>,
        limit: usize,
    ) -> Result<Vec<Exchange>, Problem> {
        Ok(self.store.exchanges(reader, before, limit).await?)
    }

    /// The exchanges in which an answer of the reader's is waited for, the first due first.
    pub async fn unanswered(
        &self,
        reader: &AgencyId,
        limit: usize,
    ) -> Result<Vec<Exchange>, Problem> {
        Ok(self.store.unanswered(reader, limit).await?)
    }

    /// The reader's exchanges, as the hub, in which an answer is waited for or an outcome is owed, the first due
    /// first.
    pub async fn unsettled(
        &self,
        reader: &AgencyId,
        limit: usize,
    ) -> Result<Vec<Exchange>, Problem> {
        Ok(self.store.unsettled(reader, limit).await?)
    }

    /// The latest that was logged about an exchange, for a party to it.
    pub async fn timeline(
        &self,
        reader: &AgencyId,
        id: &ExchangeId,
    ) -> Result<Vec<StoredEntry>, Problem> {
        self.exchange(reader, id).await?;
        Ok(self.store.timeline(id, TIMELINE_MAX).await?)
    }

    /// An enquiry's exchanges, for the hub that opened it.
    pub async fn enquiry(
        &self,
        reader: &AgencyId,
        id: &EnquiryId,
    ) -> Result<Vec<Exchange>, Problem> {
        let exchanges = self.store.enquiry(id).await?;
        if exchanges.is_empty() || exchanges.iter().any(|exchange| exchange.hub != *reader) {
            return Err(not_found());
        }
        Ok(exchanges)
    }

    /// Whether `agency` is the hub.
    pub fn is_hub(&self, agency: &AgencyId) -> bool {
        self.directory().hub().id == *agency
    }

    /// Whether `agency`'s system, or the person there in this role, may do this; a refusal names the
    /// roles that may. That the role is one the agency can have is asked again here: the directory
    /// may have changed since the certificate was issued, and who one is may always be asked.
    pub fn permit(
        &self,
        agency: &AgencyId,
        desk: Option<Role>,
        action: Action,
    ) -> Result<(), Problem> {
        let refused = |detail: String| Err(Problem::new(ProblemType::RoleNotPermitted, detail));
        let named = || permission::named(&permission::who_may(action));
        let Some(role) = desk else {
            return match permission::may_system(action) {
                true => Ok(()),
                false => refused(format!("This is for {}, in person.", named())),
            };
        };
        let kind = self.directory().get(agency).map(|partner| partner.kind);
        let is_of_agency = kind.is_some_and(|kind| permission::exists_at(role, kind));
        if !is_of_agency && action != Action::WhoAmI {
            let roles = kind.map(permission::roles_at).unwrap_or_default();
            return refused(format!(
                "This agency has no {}. At its desks are {}.",
                role.title(),
                permission::named(&roles)
            ));
        }
        let is_here = kind == Some(AgencyKind::Hub) || !permission::is_hubs(action);
        match (permission::may(role, action), is_here) {
            (true, true) => Ok(()),
            (_, true) => refused(format!("This is for {}.", named())),
            (_, false) => refused(format!("This is for {} of the hub.", named())),
        }
    }

    /// The log's latest checkpoint.
    pub async fn head(&self) -> Result<Head, Problem> {
        self.store.head().await?.ok_or_else(not_found)
    }

    /// The latest checkpoint that at least so many witnesses cosigned, with their signatures.
    pub async fn checkpoint(&self, witnesses: usize) -> Result<String, Problem> {
        let (head, lines) = self.store.cosigned(witnesses).await?.ok_or_else(not_found)?;
        let lines: String = lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect();
        Ok(format!("{}{lines}", head.note))
    }

    /// Takes what witnesses say of a checkpoint of this log. Whoever brings it does not matter: it
    /// proves itself. Returns the checkpoint's size, and which cosignatures on it were good.
    pub async fn cosign(
        &self,
        note: &str,
        now: Timestamp,
    ) -> Result<(u64, Vec<Cosignature>), Problem> {
        let checkpoint = self.log.open(note).map_err(|error| {
            cosignature_refused("not-a-checkpoint", format!("The note is refused: {error}."))
        })?;
        let ours = self.store.checkpoints(checkpoint.size, 1).await?;
        let is_ours = ours
            .first()
            .is_some_and(|ours| (ours.size, ours.root) == (checkpoint.size, checkpoint.root));
        if !is_ours {
            // Nobody else can sign it: this database is older than what was signed, or the key was
            // used elsewhere.
            tracing::error!(
                size = checkpoint.size,
                "somebody has a checkpoint that this log's key signed and this log does not have"
            );
            self.is_disproved.store(true, Ordering::Relaxed);
            self.cosigned.notify_one();
            return Err(cosignature_refused(
                "unknown-checkpoint",
                "This log does not have that checkpoint, although its key signed it: keep it, it is \
                 evidence."
                    .to_owned(),
            ));
        }
        let cosignatures = self.witnesses.cosignatures(note).map_err(|error| {
            cosignature_refused("wrong-signature", format!("The note is refused: {error}."))
        })?;
        if cosignatures.is_empty() {
            let detail = "No witness that this gateway knows has cosigned the note.".to_owned();
            return Err(cosignature_refused("unknown-witness", detail));
        }
        if cosignatures.iter().any(|cosignature| cosignature.at > now + AHEAD_MAX) {
            let detail = "A cosignature on it is of a time that is still to come.".to_owned();
            return Err(cosignature_refused("clock", detail));
        }
        self.store.keep_cosignatures(checkpoint.size, cosignatures.clone()).await?;
        self.cosigned.notify_one();
        Ok((checkpoint.size, cosignatures))
    }

    /// Whose cosignatures are taken.
    pub fn witnesses(&self) -> &WitnessPolicy {
        &self.witnesses
    }

    /// Told whenever a witness was heard.
    pub fn cosigned(&self) -> &Notify {
        &self.cosigned
    }

    /// Whether, since the gateway started, somebody showed a checkpoint that the log's key signed and
    /// this log does not have: another log was signed with it, or this one was cut.
    pub fn is_disproved(&self) -> bool {
        self.is_disproved.load(Ordering::Relaxed)
    }

    /// The log's public key.
    pub fn log(&self) -> &LogVerifier {
        &self.log
    }

    /// Log entries from `from`. Who reads them is decided entry by entry, by the caller's page.
    pub async fn entries(&self, from: u64, limit: usize) -> Result<Vec<StoredEntry>, Problem> {
        Ok(self.store.entries(from, limit).await?)
    }

    /// The proof that entry `index` is in the log of `size` entries.
    pub async fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, Problem> {
        if index >= size || size > self.head().await?.size {
            return Err(out_of_range());
        }
        self.proof(&Plan::inclusion(index, size)).await
    }

    /// The proof that the log of `to` entries begins with the log of `from` entries.
    pub async fn consistency(&self, from: u64, to: u64) -> Result<Vec<Hash>, Problem> {
        if from == 0 || from > to || to > self.head().await?.size {
            return Err(out_of_range());
        }
        self.proof(&Plan::consistency(from, to)).await
    }

    /// Logs a refusal. The refused caller does not wait for it.
    pub fn note(&self, event: &Event, now: Timestamp) -> bool {
        self.ledger.note(event, now)
    }

    /// A message as the document it is delivered in. Callers log what becomes of it.
    pub async fn event(&self, stored: &StoredMessage) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let sealed = self.store.sealed_payload(&stored.envelope.id).await?;
        let payload = if stored.envelope.is_sealed_to_agency {
            Payload::Sealed(seal::intact_ciphertext(&stored.envelope, &sealed)?.to_vec())
        } else {
            Payload::Opened(self.sealer.open(&stored.envelope, &sealed)?)
        };
        let files = self.store.attachments_of(&stored.envelope.id).await?;
        Ok(event::document(&stored.envelope, &files, &self.domain, &payload))
    }

    /// The directory as of now.
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.borrow())
    }

    /// Takes a new directory into use at once. It has been parsed, so it can be routed by.
    pub fn replace_directory(&self, directory: Directory) {
        self.directory.send_replace(Arc::new(directory));
    }

    /// By what timers go now.
    pub fn timers(&self) -> Arc<timer::Settings> {
        Arc::clone(&self.timers.borrow())
    }

    /// Goes by other bank holidays from now on.
    pub fn replace_timers(&self, settings: timer::Settings) {
        self.timers.send_replace(Arc::new(settings));
    }

    /// What is kept.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The way in to the log.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The contract.
    pub fn schemas(&self) -> &Schemas {
        &self.schemas
    }

    /// Told whenever something is queued to be pushed.
    pub fn push_queued(&self) -> &Notify {
        &self.push_queued
    }

    /// What there is to say of the clock: that it is behind what is in the log.
    pub fn clock_concern(&self, now: Timestamp) -> Option<String> {
        ledger::behind(self.ledger.latest()?, now)
    }

    /// Goes the real path once: writes, syncs and reads back; seals and opens; checks that the log
    /// still signs what its public key verifies.
    pub async fn check(&self, now: Timestamp) -> Result<(), Problem> {
        if self.ledger.is_halted() {
            return Err(LedgerError::Halted.into());
        }
        let room = self.store.room().await?;
        if room.is_used_up() {
            // And nothing is written only to see whether it can be.
            return Err(Problem::new(ProblemType::StorageFull, format!("{room}.")));
        }
        self.store.probe(now).await?;
        self.sealer.self_test()?;
        if let Some(head) = self.store.head().await? {
            self.log.open(&head.note).map_err(|error| {
                Problem::new(ProblemType::Internal, "The latest checkpoint does not verify.")
                    .because(error)
            })?;
        }
        Ok(())
    }

    async fn record(
        &self,
        event: &Event,
        now: Timestamp,
        stored: &StoredMessage,
        effect: Effect,
    ) -> Result<Logged, Problem> {
        let exchange = Some(stored.envelope.exchange);
        match self.ledger.record(event, now, exchange, effect).await? {
            Applied::Recorded(logged) => Ok(logged),
            Applied::NotCollected => Err(Problem::new(
                ProblemType::NotCollected,
                "The message has not been collected, so it cannot have been saved.",
            )),
            Applied::Accepted(_)
            | Applied::AttachmentGone
            | Applied::KeyReused
            | Applied::MailboxFull(_)
            | Applied::NoRoom
            | Applied::NotFound
            | Applied::OtherState
            | Applied::OverrideNotRecorded
            | Applied::Replayed(_)
            | Applied::Untimely(_) => Err(not_found()),
        }
    }

    async fn proof(&self, plan: &Plan) -> Result<Vec<Hash>, Problem> {
        Ok(plan.proof(&self.store.nodes(plan.wanted()).await?))
    }
}

// The answer is rendered from the entries, and from what the very same body warns of, the first time and
// every time after.
fn answer(applied: Applied, warnings: &[ages::Warning]) -> Result<Answer, Problem> {
    let is_replay = matches!(applied, Applied::Replayed(_));
    let warnings = (!warnings.is_empty()).then(|| json!(warnings));
    match applied {
        Applied::Accepted(logged) | Applied::Replayed(logged) => {
            Ok(Answer { body: receipt::answer(&logged, warnings), is_replay })
        }
        Applied::KeyReused => Err(Problem::new(
            ProblemType::IdempotencyKeyReused,
            "A submission with this key and another body, or to another path, was accepted before.",
        )),
        Applied::MailboxFull(recipient) => Err(Problem::new(
            ProblemType::MailboxFull,
            format!("As much waits for {recipient} as may. Nothing was sent to anybody."),
        )),
        Applied::NoRoom => Err(no_room()),
        Applied::OverrideNotRecorded => Err(overrides::not_recorded()),
        Applied::Untimely(untimely) => Err(untimely.into()),
        // Another message came first, since this one was looked at.
        Applied::AttachmentGone => Err(attachments::no_longer_held()),
        Applied::NotCollected | Applied::NotFound | Applied::OtherState | Applied::Recorded(_) => {
            Err(not_found())
        }
    }
}

// A person sees what is for certain roles only in one of them (R40). A system shows what it collects to
// people itself: the label goes with the message.
fn hold_to_roles(envelope: &Envelope, desk: Option<Role>) -> Result<(), Problem> {
    let (Some(role), Some(roles)) = (desk, &envelope.visible_to) else { return Ok(()) };
    if roles.split(' ').any(|each| each == role.as_str()) {
        return Ok(());
    }
    let those: Vec<_> = roles.split(' ').filter_map(Role::parse).collect();
    let detail = format!("Its sender shows this to {} only.", permission::named(&those));
    Err(Problem::new(ProblemType::RoleNotPermitted, detail))
}

fn code_word(body: &[u8]) -> Option<String> {
    Some(Schemas::parse(body).ok()?.get("codeWord")?.as_str()?.to_owned())
}

fn not_found() -> Problem {
    Problem::new(ProblemType::NotFound, "There is no such thing, or it is not yours to see.")
}

fn cosignature_refused(reason: &'static str, detail: String) -> Problem {
    Problem::new(ProblemType::CosignatureRefused, detail).with_reason(reason)
}

fn no_room() -> Problem {
    Problem::new(ProblemType::StorageFull, "There is no room to store this safely.")
}

fn out_of_range() -> Problem {
    Problem::new(ProblemType::InvalidParameter, "The log has no such range.")
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoExchange => not_found(),
            Refusal::NotJson(fault) => Self::new(ProblemType::NotJson, fault.to_string()),
            Refusal::Violations(errors) => {
                let detail = match errors.len() {
                    1 => "1 field needs attention.".to_owned(),
                    count => format!("{count} fields need attention."),
                };
                Self::new(ProblemType::Schema, detail).with_errors(errors)
            }
        }
    }
}

impl From<RouteError> for Problem {
    fn from(error: RouteError) -> Self {
        let detail = error.to_string();
        match error {
            RouteError::NotYours => not_found(),
            RouteError::OnlyHub | RouteError::WrongParty { .. } => {
                Self::new(ProblemType::WrongParty, detail)
            }
            RouteError::OtherPartyUnknown => Self::new(ProblemType::Recipient, detail),
            RouteError::Recipients(problems) => {
                let violation = |problem: RecipientProblem| Violation {
                    code: problem.fault.code().to_owned(),
                    message: problem.fault.to_string(),
                    pointer: problem.pointer,
                };
                Self::new(ProblemType::Recipient, detail)
                    .with_errors(problems.into_iter().map(violation).collect())
            }
            RouteError::SenderInactive(_) | RouteError::SenderUnknown => {
                Self::new(ProblemType::AgencyInactive, detail)
            }
        }
    }
}

impl From<SealError> for Problem {
    fn from(error: SealError) -> Self {
        Self::new(ProblemType::Internal, "The message could not be sealed.").because(error)
    }
}

impl From<OpenError> for Problem {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Purged => {
                Self::new(ProblemType::Gone, "This message's payload has been destroyed.")
            }
            _ => {
                Self::new(ProblemType::Internal, "The message could not be opened.").because(error)
            }
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match &error {
            LedgerError::Full => {
                Self::new(ProblemType::Busy, "More is waiting to be written than we take on.")
            }
            LedgerError::Halted => {
                Self::new(ProblemType::Unavailable, "The log needs a person; nothing is accepted.")
            }
            LedgerError::Store(inner) => match &**inner {
                StoreError::Corrupt(_) | StoreError::NotFound => {
                    Self::new(ProblemType::Unavailable, "The log could not be written.")
                }
                StoreError::Full { .. } => no_room(),
                StoreError::Newer | StoreError::Unavailable { .. } => {
                    Self::new(ProblemType::Unavailable, "The store cannot be written now.")
                }
            },
        }
        .because(error)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound => not_found(),
            StoreError::Corrupt(_) => {
                Self::new(ProblemType::Internal, "What is stored contradicts itself.")
                    .because(error)
            }
            StoreError::Full { .. } => no_room().because(error),
            StoreError::Newer | StoreError::Unavailable { .. } => {
                Self::new(ProblemType::Unavailable, "The store cannot be read now.").because(error)
            }
        }
    }
}

impl From<Untimely> for Problem {
    fn from(untimely: Untimely) -> Self {
        match untimely {
            Untimely::AlreadyAnswered => Self::new(
                ProblemType::AlreadyAnswered,
                "A full response has been accepted in this exchange.",
            ),
            Untimely::AlreadyCancelled => Self::new(
                ProblemType::AlreadyCancelled,
                "A cancellation has been accepted in this exchange.",
            ),
            Untimely::Destroyed => Self::new(
                ProblemType::Gone,
                "What was said in this exchange has been destroyed, and nothing can be added to it.",
            ),
            Untimely::NotConsulted => Self::new(
                ProblemType::NotConsulted,
                "No consultation waits for a view in this exchange.",
            ),
            Untimely::NotYetAnswered => Self::new(
                ProblemType::NotYetAnswered,
                "No response has been accepted in this exchange.",
            ),
            Untimely::OutcomeAlreadySent => Self::new(
                ProblemType::OutcomeAlreadySent,
                "An outcome has been accepted in this exchange.",
            ),
        }
    }
}

/// How far a witness's clock may be ahead of ours.
const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(5);

/// Messages collected again whose last time is remembered, before the older ones are forgotten.
const COLLECTIONS_MAX: usize = 10_000;

/// The most of a timeline that is shown: more than any exchange between people comes to.
pub const TIMELINE_MAX: usize = 1_000;
