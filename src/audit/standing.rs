//! How things must stand by what was logged: folded as the log is read, and held against the rows
//! when it has been read to its end.
//!
//! The rows are working state and could be written by anyone with the database in their hands. What
//! they say to people (collected, answered, revoked) has to be what the entries say.

use std::collections::HashMap;

use jiff::Timestamp;

use super::credentials::Credentials;
use super::entry::{EventName, Fields};
use super::files::Files;
use super::verify::{Fault, LogFault};
use crate::message::{
    AgencyId, Before, EnquiryId, ExchangeId, ExchangeState, Kind, Marks, MessageId, hex,
};
use crate::store::{
    CertificateRecord, DeliveryState, EnrolmentToken, ExchangeRow, Mailbox, MessageDigest,
    StoredEntry,
};

/// Everything that entries so far have said of messages and exchanges, and of who may speak.
#[derive(Debug, Default)]
pub(super) struct Standing {
    messages: HashMap<MessageId, Delivery>,
    exchanges: HashMap<ExchangeId, Exchange>,
    credentials: Credentials,
    /// Overrides on record by the hash of their codes, and the enquiry that each was spent on.
    decisions: HashMap<String, Option<String>>,
    /// The entries that destroyed enquiries, and those that hold them now.
    destroyed: HashMap<EnquiryId, u64>,
    held: HashMap<EnquiryId, u64>,
    /// When whoever referred the child was first told, by the enquiry.
    referrers_told: HashMap<String, Timestamp>,
    pub(super) files: Files,
}

#[derive(Debug)]
struct Delivery {
    entry: u64,
    reached: Reached,
    /// The entry that last told its sender that it is late or returned, while that is so.
    told: Option<u64>,
    /// The digest of what its recipient said of its own record.
    record: Option<String>,
    row: String,
    row_told: Option<u64>,
    row_record: Option<String>,
    recipient: AgencyId,
    size_bytes: u64,
    enquiry: EnquiryId,
    row_destroyed: Option<u64>,
    row_held: Option<u64>,
}

/// How far a message came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reached {
    Collected,
    Delivered,
    /// Held, or still to be pushed.
    Nothing,
    Returned,
    Saved,
}

#[derive(Debug)]
struct Exchange {
    entry: u64,
    last_entry: u64,
    is_acknowledged: bool,
    is_test_answered: bool,
    has_reached: bool,
    /// All but which outcome it was: that is not in the log.
    marks: Marks,
    /// Whether the message that was accepted last asks for attention.
    needs_attention: bool,
    enquiry: String,
    hub: String,
    sealing_recipient: String,
    row: Option<ExchangeRow>,
}

impl Standing {
    /// Takes in the next entry.
    pub(super) fn entry(&mut self, entry: &StoredEntry, fields: &Fields) -> Result<(), Fault> {
        let text = |name| fields.get(name).unwrap_or_default();
        let event = text("event");
        self.credentials.entry(entry.index, fields)?;
        self.files.entry(entry.index, fields)?;
        self.decided(fields)?;
        self.kept(entry.index, fields)?;
        self.referrer_told(fields);
        let Ok(id) = text("exchange").parse::<ExchangeId>() else {
            return if entry.previous.is_none() { Ok(()) } else { Err(Fault::Chain) };
        };
        let is_accepted = event == EventName::Accepted.as_str();
        let kind = Kind::parse(text("kind"));
        let is_opening = kind.is_some_and(Kind::opens_exchange);
        let exchange = match self.exchanges.get_mut(&id) {
            Some(exchange) if entry.previous == Some(exchange.last_entry) => exchange,
            None if is_accepted && is_opening && entry.previous.is_none() => {
                self.exchanges.entry(id).or_insert_with(|| Exchange {
                    entry: entry.index,
                    last_entry: entry.index,
                    is_acknowledged: false,
                    is_test_answered: false,
                    has_reached: false,
                    marks: Marks::default(),
                    needs_attention: false,
                    enquiry: text("enquiry").to_owned(),
                    hub: text("sender").to_owned(),
                    sealing_recipient: text("sealingRecipient").to_owned(),
                    row: None,
                })
            }
            Some(_) | None => return Err(Fault::Chain),
        };
        exchange.last_entry = entry.index;
        if let Some(kind) = kind.filter(|_| is_accepted) {
            exchange.said(kind, fields);
            return Ok(());
        }
        let delivery = text("message").parse().ok().and_then(|id| self.messages.get_mut(&id));
        if let Some(delivery) = delivery {
            let is_pushed_on = fields.get("next").is_some();
            delivery.told = told_after(delivery, event, is_pushed_on, entry.index);
            delivery.reached = after(delivery.reached, event);
            if let Some(record) = fields.get("record") {
                delivery.record.get_or_insert_with(|| record.to_owned());
            }
            let has_reached = matches!(
                delivery.reached,
                Reached::Collected | Reached::Delivered | Reached::Saved
            );
            exchange.has_reached |= is_opening && has_reached;
        }
        Ok(())
    }

    // An override is recorded before it is spent, and spent on one enquiry.
    fn decided(&mut self, fields: &Fields) -> Result<(), Fault> {
        let Some(decision) = fields.get("decision") else { return Ok(()) };
        if fields.get("event") == Some(EventName::OverrideRecorded.as_str()) {
            self.decisions.insert(decision.to_owned(), None);
            return Ok(());
        }
        let spent = self.decisions.get_mut(decision).ok_or(Fault::Decision)?;
        let enquiry = fields.get("enquiry").unwrap_or_default();
        if spent.get_or_insert_with(|| enquiry.to_owned()) == enquiry {
            Ok(())
        } else {
            Err(Fault::Decision)
        }
    }

    // An enquiry is destroyed once, and not while it is held; it is held once at a time.
    fn kept(&mut self, index: u64, fields: &Fields) -> Result<(), Fault> {
        let event = fields.get("event").unwrap_or_default();
        let is = |name: EventName| event == name.as_str();
        let enquiry = || {
            let id = fields.get("enquiry").and_then(|id| id.parse::<EnquiryId>().ok());
            id.ok_or(Fault::Destruction)
        };
        let is_orderly = if is(EventName::EnquiryDestroyed) {
            let id = enquiry()?;
            !self.held.contains_key(&id) && self.destroyed.insert(id, index).is_none()
        } else if is(EventName::LegalHoldPlaced) {
            let id = enquiry()?;
            !self.destroyed.contains_key(&id) && self.held.insert(id, index).is_none()
        } else if is(EventName::LegalHoldReleased) {
            self.held.remove(&enquiry()?).is_some()
        } else {
            true
        };
        if is_orderly { Ok(()) } else { Err(Fault::Destruction) }
    }

    // The first time counts, by what the hub says and not by when it says so.
    fn referrer_told(&mut self, fields: &Fields) {
        if fields.get("event") != Some(EventName::ReferrerTold.as_str()) {
            return;
        }
        let told = fields.get("enquiry").zip(fields.get("toldAt").and_then(|at| at.parse().ok()));
        if let Some((enquiry, at)) = told {
            let first = self.referrers_told.entry(enquiry.to_owned()).or_insert(at);
            *first = at.min(*first);
        }
    }

    /// Takes in the rows of the message that the latest entry accepted.
    pub(super) fn message(&mut self, message: &MessageDigest) -> Result<(), Fault> {
        let rows = message.rows.as_ref().map_err(|fault| Fault::Row(*fault))?;
        let delivery = Delivery {
            entry: message.entry,
            reached: Reached::Nothing,
            told: None,
            record: None,
            row: rows.delivery.clone(),
            row_told: rows.told,
            row_record: rows.saved_record_sha256.map(|digest| hex(&digest)),
            recipient: message.envelope.recipient.clone(),
            size_bytes: message.envelope.size_bytes,
            enquiry: message.envelope.enquiry,
            row_destroyed: rows.destroyed,
            row_held: rows.held,
        };
        self.messages.insert(message.id, delivery);
        if let Some(exchange) = self.exchanges.get_mut(&message.envelope.exchange) {
            if rows.enquiry_recipient != exchange.sealing_recipient {
                return Err(Fault::SealingRecipient);
            }
            exchange.row = Some(rows.exchange.clone());
            if rows.needs_attention != exchange.needs_attention {
                return Err(Fault::Exchange);
            }
        }
        Ok(())
    }

    /// Holds what all entries said against how the rows stand; names the first entry that differs.
    /// `size` is the number of entries, `certificates` and `tokens` the whole register, `mailboxes` what
    /// is said to wait for each agency.
    pub(super) fn finish(
        &self,
        size: u64,
        certificates: &[CertificateRecord],
        tokens: &[EnrolmentToken],
        mailboxes: &[Mailbox],
    ) -> Result<(), LogFault> {
        let mut faults = Vec::new();
        for delivery in self.messages.values() {
            let destroyed = self.destroyed.get(&delivery.enquiry).copied();
            let held = self.held.get(&delivery.enquiry).copied();
            if (delivery.row_destroyed, delivery.row_held) != (destroyed, held) {
                faults.push(LogFault { entry: delivery.entry, fault: Fault::Destruction });
            }
            if !delivery.is_as_logged(destroyed.is_some()) {
                faults.push(LogFault { entry: delivery.entry, fault: Fault::Delivery });
            }
        }
        for exchange in self.exchanges.values() {
            let referrer_told_at = self.referrers_told.get(&exchange.enquiry).copied();
            if let Err(fault) = exchange.compare(referrer_told_at) {
                faults.push(LogFault { entry: exchange.entry, fault });
            }
        }
        faults.extend(self.credentials.compare(size, certificates, tokens));
        faults.extend(self.miscounted(size, mailboxes));
        faults.extend(self.files.compare());
        match faults.into_iter().min_by_key(|fault| fault.entry) {
            Some(first) => Err(first),
            None => Ok(()),
        }
    }
}

impl Standing {
    // Mailboxes that do not have what the deliveries to their agency add up to: a fault at the last entry
    // that accepted a message for it.
    fn miscounted(&self, size: u64, mailboxes: &[Mailbox]) -> Vec<LogFault> {
        // Of each agency: its messages that wait, their bytes, and its last entry.
        let mut waiting: HashMap<&AgencyId, (u64, u64, u64)> = HashMap::new();
        for delivery in self.messages.values() {
            let (messages, bytes, last) = waiting.entry(&delivery.recipient).or_default();
            if DeliveryState::waits(&delivery.row) {
                *messages += 1;
                *bytes += delivery.size_bytes;
            }
            *last = delivery.entry.max(*last);
        }
        let mut faults = Vec::new();
        for mailbox in mailboxes {
            let (messages, bytes, last) = waiting
                .remove(&mailbox.recipient)
                .unwrap_or_else(|| (0, 0, size.saturating_sub(1)));
            if (messages, bytes) != (mailbox.messages, mailbox.bytes) {
                faults.push(LogFault { entry: last, fault: Fault::Mailbox });
            }
        }
        for (messages, _, entry) in waiting.into_values() {
            if messages > 0 {
                faults.push(LogFault { entry, fault: Fault::Mailbox });
            }
        }
        faults
    }
}

fn after(reached: Reached, event: &str) -> Reached {
    let is = |name: EventName| event == name.as_str();
    match reached {
        _ if is(EventName::Saved) => Reached::Saved,
        Reached::Nothing | Reached::Returned if is(EventName::Collected) => Reached::Collected,
        Reached::Nothing if is(EventName::Delivered) => Reached::Delivered,
        Reached::Nothing if is(EventName::Returned) => Reached::Returned,
        Reached::Returned if is(EventName::Retried) => Reached::Nothing,
        unchanged => unchanged,
    }
}

// What a sender was told stands until the message goes elsewhere than on its way.
fn told_after(delivery: &Delivery, event: &str, is_pushed_on: bool, index: u64) -> Option<u64> {
    let is = |name: EventName| event == name.as_str();
    let was = delivery.reached;
    if was == Reached::Nothing && (is(EventName::Delayed) || is(EventName::Returned)) {
        Some(index)
    } else if was == Reached::Nothing && is(EventName::AttemptFailed) && is_pushed_on {
        delivery.told
    } else if is(EventName::AttemptFailed)
        || is(EventName::Collected)
        || is(EventName::Delivered)
        || is(EventName::Retried)
        || is(EventName::Saved)
    {
        None
    } else {
        delivery.told
    }
}

impl Delivery {
    fn is_as_logged(&self, is_destroyed: bool) -> bool {
        let states: &[_] = match self.reached {
            Reached::Collected | Reached::Nothing | Reached::Returned if is_destroyed => {
                return self.row == "destroyed" && self.row_told.is_none();
            }
            Reached::Collected => &["collected"],
            Reached::Delivered => &["delivered"],
            Reached::Nothing => &["held", "queued"],
            Reached::Returned => &["returned"],
            Reached::Saved => &["saved"],
        };
        states.contains(&self.row.as_str())
            && self.row_told == self.told
            && self.row_record.as_ref() == self.record.as_ref().filter(|_| !is_destroyed)
    }
}

impl Exchange {
    // What a message of this kind, accepted with these fields, does to the exchange.
    fn said(&mut self, kind: Kind, fields: &Fields) {
        let instant = |name| fields.get(name).and_then(|at| at.parse().ok());
        let at: Option<Timestamp> = instant("time");
        let before = Before {
            state: ExchangeState::Requested,
            is_answered: self.marks.answered_at.is_some(),
            has_result: self.has_result(),
            has_outcome: self.marks.outcome_at.is_some(),
            is_cancelled: self.marks.cancelled_at.is_some(),
            is_consulted: self.marks.is_consulted(),
        };
        self.needs_attention =
            before.needs_attention(kind) && fields.get("recipient") == Some(&*self.hub);
        let marks = &mut self.marks;
        match kind {
            Kind::Acknowledgement => {
                self.is_acknowledged = true;
                marks.will_reply_by = instant("willReplyBy").or(marks.will_reply_by);
            }
            Kind::Cancellation => marks.cancelled_at = at,
            Kind::Incident => marks.assessment_due_by = instant("assessmentDueBy"),
            Kind::Outcome => (marks.outcome_at, marks.decided_at) = (at, instant("decidedAt")),
            Kind::Response => marks.answered_at = marks.answered_at.or(at),
            Kind::Rfi | Kind::TelephoneContact => {
                marks.telephoned_at = instant("telephonedAt").or(marks.telephoned_at);
            }
            Kind::SubjectAccessConsultation => marks.consulted_at = at,
            Kind::SubjectAccessView => marks.viewed_at = at,
            Kind::TestReply => self.is_test_answered = true,
            Kind::Transcription => marks.transcribed_at = at,
            Kind::ConsentWithdrawal => {
                marks.consent_withdrawn_at = marks.consent_withdrawn_at.or(at);
            }
            Kind::Clarification
            | Kind::Forwarding
            | Kind::OnwardDisclosure
            | Kind::StepDown
            | Kind::Supplement
            | Kind::Test => {}
        }
    }

    fn has_result(&self) -> bool {
        self.marks.answered_at.is_some() || self.marks.transcribed_at.is_some()
    }

    fn compare(&self, referrer_told_at: Option<Timestamp>) -> Result<(), Fault> {
        let Some(row) = &self.row else { return Ok(()) };
        if row.last_entry != self.last_entry {
            return Err(Fault::Chain);
        }
        if row.sealing_recipient != self.sealing_recipient {
            return Err(Fault::SealingRecipient);
        }
        // Which answer it was is not in the log; that there was one is.
        let is_answered = self.has_result() || self.is_test_answered;
        let is_cancelled = self.marks.cancelled_at.is_some();
        let is_open = !is_answered && !is_cancelled;
        let is_as_logged = match row.state {
            ExchangeState::Cancelled => is_cancelled,
            ExchangeState::Completed => is_answered,
            ExchangeState::InProgress => self.has_result() && !is_cancelled,
            ExchangeState::Accepted | ExchangeState::Rejected => self.is_acknowledged && is_open,
            ExchangeState::Received => self.has_reached && !self.is_acknowledged && is_open,
            ExchangeState::Requested => !self.has_reached && !self.is_acknowledged && is_open,
        };
        let marks = Marks { outcome: None, ..row.marks };
        let is_as_logged = is_as_logged
            && row.has_result == self.has_result()
            && row.referrer_told_at == referrer_told_at
            && marks == self.marks;
        if is_as_logged { Ok(()) } else { Err(Fault::Exchange) }
    }
}
