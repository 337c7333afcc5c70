//! The one way in: a batch of changes, applied or refused in order, in one transaction with its
//! entries, its tree and its signed checkpoint.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::dedupe::{self, Place};
use super::row::{self, integer};
use super::{Open, Shared, attachments, is_io_error, lock, overrides, read, retention};
use crate::audit::checkpoint::LogKey;
use crate::audit::entry::NewEntry;
use crate::audit::receipt::Logged;
use crate::audit::tree::{Hash, Tree};
use crate::message::{
    AgencyId, Before, Exchange, ExchangeId, ExchangeState, Kind, Marks, MessageId, Said, Untimely,
};
use crate::store::{
    Accept, Applied, AttachedKey, CertificateRecord, Change, DeliveryState, Effect, EnrolmentToken,
    MailboxLimits, NewEnquiry, NewMessage, Record, Step, StoreError,
};

impl Shared {
    pub(super) fn append(
        &self,
        changes: Vec<Change>,
        key: &LogKey,
    ) -> Result<Vec<Applied>, StoreError> {
        let mut writer = lock(&self.writer);
        let (open, tree) = self.opened(&mut writer)?;
        let written = match self.transact(&mut open.connection, tree.clone(), changes, key) {
            Ok(written) => written,
            Err(Failure { error, written: Some(written) }) if is_io_error(&error) => {
                // It may have been kept all the same: that is as the file has it, opened anew.
                writer.close(&error);
                let (_, found) = self.opened(&mut writer)?;
                let is_kept = found.as_ref().is_some_and(|found| {
                    (found.size(), found.root()) == (written.after.size(), written.after.root())
                });
                if !is_kept {
                    return Err(error);
                }
                written
            }
            Err(Failure { error, .. }) => return writer.after(Err(error)),
        };
        let Written { verdicts, logged, after, moved, accepted } = *written;
        let (Open { connection, checkpointer, .. }, tree) = self.opened(&mut writer)?;
        if !logged.is_empty() {
            let accepted = accepted.into_iter().map(|(key_hash, (place, _))| (key_hash, place));
            self.keys(connection, |keys| {
                keys.committed(moved, accepted, after.size());
                Ok(())
            })?;
            checkpointer.written(connection);
        }
        *tree = Some(after);
        Ok(verdicts.into_iter().map(|verdict| verdict.applied(&logged)).collect())
    }

    fn transact(
        &self,
        connection: &mut Connection,
        remembered: Option<Tree>,
        changes: Vec<Change>,
        key: &LogKey,
    ) -> Result<Box<Written>, Failure> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = current(&transaction, remembered)?;
        self.keys(&transaction, |keys| keys.catch_up(&transaction, before.size()))?;

        let mut batch = Batch {
            shared: self,
            connection: &transaction,
            before: before.size(),
            entries: Vec::with_capacity(changes.len()),
            keys: HashMap::new(),
        };
        let verdicts =
            changes.into_iter().map(|change| batch.apply(change)).collect::<Result<Vec<_>, _>>()?;
        let Batch { entries, keys: accepted, .. } = batch;
        if entries.is_empty() {
            // Nothing was applied: the transaction ends here, having changed nothing.
            let logged = Vec::new();
            return Ok(Box::new(Written { verdicts, logged, after: before, moved: 0, accepted }));
        }

        let leaves: Vec<_> = entries.iter().map(|entry| entry.new.leaf_hash).collect();
        let extension = before.extend(&leaves);
        let after = extension.tree();
        let note: Arc<str> = key.sign(after.size(), &after.root()).into();
        insert_entries(&transaction, before.size(), &entries, |i| extension.nodes(i))?;
        transaction
            .prepare_cached(
                "/* append */ INSERT INTO checkpoints (size, root, note) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![integer(after.size()), after.root(), &*note])?;
        let moved = self.keys(&transaction, |keys| keys.settle(&transaction, entries.len()))?;
        let logged = entries
            .into_iter()
            .enumerate()
            .map(|(i, entry)| Logged {
                index: before.size() + i as u64,
                fields: entry.new.fields,
                salt: entry.new.salt,
                proof: extension.inclusion_proof(i),
                checkpoint: Arc::clone(&note),
            })
            .collect();
        let after = after.clone();
        let written = Box::new(Written { verdicts, logged, after, moved, accepted });
        match transaction.commit() {
            Ok(()) => Ok(written),
            Err(error) => Err(Failure { error: error.into(), written: Some(written) }),
        }
    }
}

/// A batch as it is when it is kept.
struct Written {
    verdicts: Vec<Verdict>,
    logged: Vec<Logged>,
    /// The log with it.
    after: Tree,
    /// How many keys were moved into the index with it.
    moved: usize,
    accepted: Accepted,
}

/// Why a batch was not kept; with the batch, if the disk was told to keep it.
struct Failure {
    error: StoreError,
    written: Option<Box<Written>>,
}

impl<E: Into<StoreError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), written: None }
    }
}

/// The submissions accepted in a batch, and their bodies' fingerprints.
type Accepted = HashMap<[u8; 16], (Place, [u8; 32])>;

/// The tree as stored; `remembered` if nobody else has appended since.
pub(super) fn current(
    connection: &Connection,
    remembered: Option<Tree>,
) -> Result<Tree, StoreError> {
    let head = connection
        .prepare_cached(
            "/* append */ SELECT size, root FROM checkpoints ORDER BY size DESC LIMIT 1",
        )?
        .query_row([], |row| Ok((row::unsigned(row, 0)?, row.get::<_, Hash>(1)?)))
        .optional()?;
    let Some((size, root)) = head else {
        let is_empty = remembered.is_none_or(|tree| tree.size() == 0);
        return if is_empty {
            Ok(Tree::empty())
        } else {
            Err(corrupt("the log has lost its entries"))
        };
    };
    match remembered {
        Some(tree) if tree.size() == size && tree.root() == root => return Ok(tree),
        Some(tree) if tree.size() >= size => {
            return Err(corrupt("the log is not the one that was written"));
        }
        Some(_) | None => {}
    }
    let peaks = read::nodes(connection, &Tree::peaks_wanted(size))
        .map_err(|_| corrupt("the log has lost entries"))?;
    Tree::from_peaks(size, peaks)
        .filter(|tree| tree.root() == root)
        .ok_or_else(|| corrupt("the log's hashes are not those of its checkpoint"))
}

fn insert_entries<'n>(
    connection: &Connection,
    before: u64,
    entries: &[Entry],
    nodes: impl Fn(usize) -> &'n [Hash],
) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(
        "/* append */ INSERT INTO entries (idx, previous, salt, fields, nodes)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let mut bytes = Vec::with_capacity(64 * 32);
    for (i, entry) in entries.iter().enumerate() {
        bytes.clear();
        for node in nodes(i) {
            bytes.extend_from_slice(node.as_bytes());
        }
        insert.execute(params![
            integer(before + i as u64),
            entry.previous.map(integer),
            entry.new.salt,
            entry.new.fields,
            bytes
        ])?;
    }
    Ok(())
}

/// A batch in its transaction.
struct Batch<'a> {
    shared: &'a Shared,
    connection: &'a Connection,
    /// The size of the log before it.
    before: u64,
    entries: Vec<Entry>,
    keys: Accepted,
}

/// An entry to be written when the batch is complete.
struct Entry {
    new: NewEntry,
    /// The entry before it about the same exchange.
    previous: Option<u64>,
}

/// What became of a change; its entries get their proofs when the batch is complete.
enum Verdict {
    Accepted(Range<usize>),
    Recorded(usize),
    /// Sent twice within one batch.
    Repeated(Range<usize>),
    /// Decided without an entry.
    Known(Applied),
}

impl Verdict {
    fn applied(self, logged: &[Logged]) -> Applied {
        match self {
            Self::Accepted(entries) => Applied::Accepted(logged[entries].to_vec()),
            Self::Known(applied) => applied,
            Self::Recorded(entry) => Applied::Recorded(logged[entry].clone()),
            Self::Repeated(entries) => Applied::Replayed(logged[entries].to_vec()),
        }
    }
}

impl Batch<'_> {
    fn apply(&mut self, change: Change) -> Result<Verdict, StoreError> {
        match change {
            Change::Accept(accept) => self.accept(*accept),
            Change::Record(record) => self.record(*record),
        }
    }

    fn accept(&mut self, accept: Accept) -> Result<Verdict, StoreError> {
        let Accept { token, enquiry, decision, messages, mailbox } = accept;
        if let Some((place, body_mac)) = self.keys.get(&token.key_hash) {
            return Ok(if *body_mac == token.body_mac {
                Verdict::Repeated(self.positions(*place))
            } else {
                Verdict::Known(Applied::KeyReused)
            });
        }
        let (place, from) =
            self.shared.keys(self.connection, |keys| Ok(keys.find(&token.key_hash)))?;
        let place = match place {
            Some(place) => Some(place),
            None => dedupe::find_stored(self.connection, &token.key_hash, from)?,
        };
        if let Some(place) = place {
            return Ok(Verdict::Known(read::replayed(self.connection, &token, place)?));
        }
        match self.shared.need_room() {
            Err(StoreError::Full { .. }) => return Ok(Verdict::Known(Applied::NoRoom)),
            known => known?,
        }

        // Decided before anything is written: a refused change leaves nothing behind.
        let first = self.next();
        let count = messages.len() as u64;
        let mut places = Vec::with_capacity(messages.len());
        for message in &messages {
            let sender = &message.envelope.sender;
            for AttachedKey { attachment, .. } in &message.attachments {
                if !attachments::is_held(self.connection, attachment, sender)? {
                    return Ok(Verdict::Known(Applied::AttachmentGone));
                }
            }
            match &message.step {
                Step::Open(_) => places.push(None),
                Step::Say(said) => match self.say(&message.envelope.exchange, *said)? {
                    Ok(standing) => places.push(Some(standing)),
                    Err(refused) => return Ok(Verdict::Known(refused)),
                },
            }
        }
        if let Some(decision) = &decision
            && !overrides::is_there(self.connection, decision)?
        {
            return Ok(Verdict::Known(Applied::OverrideNotRecorded));
        }
        if let Some(full) = self.full_mailbox(&messages, &places, mailbox)? {
            return Ok(Verdict::Known(Applied::MailboxFull(full)));
        }
        if let Some(decision) = &decision {
            overrides::spend(self.connection, decision, first)?;
        }
        if let Some(enquiry) = &enquiry {
            self.insert_enquiry(enquiry, &messages)?;
        }
        for (message, standing) in messages.into_iter().zip(places) {
            let is_first = self.next() == first;
            let submission = is_first.then_some((&token.key_hash, &token.body_mac, count));
            let previous = match (&message.step, &standing) {
                (Step::Say(said), Some(standing)) => {
                    self.step_exchange(&message, *said, standing)?;
                    Some(standing.last_entry)
                }
                (Step::Open(exchange), _) => {
                    self.insert_exchange(exchange)?;
                    None
                }
                (Step::Say(_), None) => return Err(corrupt("what is said has no exchange")),
            };
            self.insert_message(&message, submission, standing.as_ref())?;
            attachments::bind(self.connection, self.next(), &message.attachments)?;
            self.entries.push(Entry { new: message.entry, previous });
        }
        let place = Place { entry: first, count };
        self.keys.insert(token.key_hash, (place, token.body_mac));
        Ok(Verdict::Accepted(self.positions(place)))
    }

    fn record(&mut self, record: Record) -> Result<Verdict, StoreError> {
        let Record { entry, exchange, effect } = record;
        let reached = match effect {
            Effect::ApproveToken { token, key, at } => {
                let approved = self
                    .connection
                    .prepare_cached(
                        "/* approve */ UPDATE enrolment_tokens SET approved_ms = ?3
                         WHERE hash = ?1 AND key_sha256 = ?2 AND used_ms IS NULL",
                    )?
                    .execute(params![token, key, at.as_millisecond()])?;
                if approved == 0 {
                    return Ok(Verdict::Known(Applied::NotFound));
                }
                false
            }
            Effect::Attach(attachment) => {
                if let Some(refused) =
                    attachments::attach(self.connection, &attachment, self.next())?
                {
                    return Ok(Verdict::Known(refused));
                }
                false
            }
            Effect::BarAgency { agency, at } => {
                let at_ms = at.as_millisecond();
                self.connection
                    .prepare_cached(
                        "/* bar */ INSERT INTO enrolment_bars (agency, since_ms) VALUES (?1, ?2)
                         ON CONFLICT (agency) DO UPDATE SET since_ms = max(since_ms, ?2)",
                    )?
                    .execute(params![agency, at_ms])?;
                self.connection
                    .prepare_cached(
                        "/* bar */ UPDATE enrolment_tokens SET expires_ms = ?2
                         WHERE agency = ?1 AND used_ms IS NULL AND expires_ms > ?2",
                    )?
                    .execute(params![agency, at_ms])?;
                false
            }
            Effect::Collect(message) => match self.collect(&message)? {
                Ok(reached) => reached,
                Err(refused) => return Ok(Verdict::Known(refused)),
            },
            Effect::CollectAttachment { attachment, message } => {
                if !attachments::collect(self.connection, &attachment, &message, self.next())? {
                    return Ok(Verdict::Known(Applied::NotFound));
                }
                false
            }
            Effect::Delay(message) => {
                let told = self
                    .connection
                    .prepare_cached(
                        "/* delay */ UPDATE deliveries SET told = ?2
                         WHERE entry = (SELECT entry FROM messages WHERE id = ?1)
                         AND state = 'queued' AND told IS NULL",
                    )?
                    .execute(params![message, integer(self.next())])?;
                if told == 0 {
                    return Ok(Verdict::Known(Applied::OtherState));
                }
                false
            }
            Effect::GiveUp { message, at } => {
                if let Err(refused) = self.give_up(&message, at)? {
                    return Ok(Verdict::Known(refused));
                }
                false
            }
            Effect::IssueCertificate(certificate) => {
                self.insert_certificate(&certificate)?;
                false
            }
            Effect::Enrol { token, certificate } => {
                // A token is used up with what was issued for it, and only once; what is no longer
                // good by now grants nothing.
                let used = self
                    .connection
                    .prepare_cached(
                        "/* enrol */ UPDATE enrolment_tokens AS t SET used_ms = ?2
                         WHERE hash = ?1 AND used_ms IS NULL AND expires_ms > ?2
                         AND (approved_ms IS NOT NULL OR NOT needs_approval)
                         AND made_ms > coalesce(
                             (SELECT since_ms FROM enrolment_bars AS b WHERE b.agency = t.agency),
                             -1)",
                    )?
                    .execute(params![token, certificate.issued_at.as_millisecond()])?;
                if used == 0 {
                    return Ok(Verdict::Known(Applied::NotFound));
                }
                self.insert_certificate(&certificate)?;
                false
            }
            Effect::DestroyEnquiry { enquiry, latest } => {
                if !retention::destroy(self.connection, &enquiry, latest, self.next())? {
                    return Ok(Verdict::Known(Applied::OtherState));
                }
                false
            }
            Effect::HoldEnquiry(enquiry) => {
                if !retention::hold(self.connection, &enquiry, self.next())? {
                    return Ok(Verdict::Known(Applied::OtherState));
                }
                false
            }
            Effect::ReleaseEnquiry(enquiry) => {
                if !retention::release(self.connection, &enquiry)? {
                    return Ok(Verdict::Known(Applied::OtherState));
                }
                false
            }
            Effect::Log => false,
            Effect::MakeToken(token) => {
                self.insert_token(&token)?;
                false
            }
            Effect::RecordOverride { token, at } => {
                overrides::record(self.connection, &token, at)?;
                false
            }
            Effect::RenewCertificate { predecessor, certificate } => {
                let may_be_renewed: bool = self
                    .connection
                    .prepare_cached(
                        "/* renew */ SELECT EXISTS (SELECT 1 FROM certificates AS c
                         WHERE serial = ?1 AND agency = ?2 AND revoked_ms IS NULL
                         AND issued_ms > coalesce(
                             (SELECT since_ms FROM enrolment_bars AS b WHERE b.agency = c.agency),
                             -1))",
                    )?
                    .query_row(params![predecessor, certificate.agency], |row| row.get(0))?;
                if !may_be_renewed {
                    return Ok(Verdict::Known(Applied::NotFound));
                }
                self.insert_certificate(&certificate)?;
                false
            }
            Effect::RevokeCertificate { sha256, at, reason } => {
                self.connection
                    .prepare_cached(
                        "/* revoke */ UPDATE certificates
                         SET revoked_ms = coalesce(revoked_ms, ?2), revoked_reason = ?3
                         WHERE sha256 = ?1 AND (revoked_ms IS NULL OR ?3 = 'keyCompromise')",
                    )?
                    .execute(params![sha256, at.as_millisecond(), reason])?;
                false
            }
            Effect::Retry { message, state, at } => {
                if let Err(refused) = self.retry(&message, &state, at)? {
                    return Ok(Verdict::Known(refused));
                }
                false
            }
            Effect::Save { message, record } => match self.save(&message, record.as_deref())? {
                Ok(()) => false,
                Err(refused) => return Ok(Verdict::Known(refused)),
            },
            Effect::Settle(claim, state) => {
                match self.settle(&claim.message, &claim.lease, &state)? {
                    Ok(reached) => reached,
                    Err(refused) => return Ok(Verdict::Known(refused)),
                }
            }
            Effect::SweepAttachment(attachment) => {
                if !attachments::sweep(self.connection, &attachment)? {
                    return Ok(Verdict::Known(Applied::OtherState));
                }
                false
            }
            Effect::TellReferrer { enquiry, at } => {
                let told = self
                    .connection
                    .prepare_cached(
                        "/* referrer */ UPDATE enquiries
                         SET referrer_told_ms = min(coalesce(referrer_told_ms, ?2), ?2)
                         WHERE id = ?1",
                    )?
                    .execute(params![enquiry, at.as_millisecond()])?;
                if told == 0 {
                    return Ok(Verdict::Known(Applied::NotFound));
                }
                false
            }
        };
        let previous = match exchange {
            None => None,
            Some(id) => match self.touch_exchange(&id, reached)? {
                Some(last) => Some(last),
                None => return Ok(Verdict::Known(Applied::NotFound)),
            },
        };
        self.entries.push(Entry { new: entry, previous });
        Ok(Verdict::Recorded(self.entries.len() - 1))
    }

    /// The index of the next entry.
    fn next(&self) -> u64 {
        self.before + self.entries.len() as u64
    }

    fn positions(&self, place: Place) -> Range<usize> {
        let first = usize::try_from(place.entry - self.before).expect("a batch fits in memory");
        let count = usize::try_from(place.count).expect("a batch fits in memory");
        first..first + count
    }

    /// The first agency whose mailbox has no room for what the hub sends it. What is said to the hub is
    /// always taken: nobody's answer is refused because the hub has not emptied its mailbox.
    fn full_mailbox(
        &self,
        messages: &[NewMessage],
        places: &[Option<Standing>],
        limits: MailboxLimits,
    ) -> Result<Option<AgencyId>, StoreError> {
        let mut waiting: HashMap<&AgencyId, (u64, u64)> = HashMap::new();
        for (NewMessage { envelope, .. }, _) in
            messages.iter().zip(places).filter(|(message, place)| {
                // Only the hub opens exchanges.
                place.as_ref().is_none_or(|standing| standing.hub == message.envelope.sender)
            })
        {
            let recipient = &envelope.recipient;
            let (count, bytes) = match waiting.get(recipient) {
                Some(known) => *known,
                None => self.mailbox(recipient)?,
            };
            let after = (count + 1, bytes + envelope.size_bytes);
            if after.0 > limits.messages_max || after.1 > limits.bytes_max {
                return Ok(Some(recipient.clone()));
            }
            waiting.insert(recipient, after);
        }
        Ok(None)
    }

    /// How many messages wait for an agency, and how many bytes they have.
    fn mailbox(&self, recipient: &AgencyId) -> Result<(u64, u64), StoreError> {
        let waiting = self
            .connection
            .prepare_cached(
                "/* accept */ SELECT messages, bytes FROM mailboxes WHERE recipient = ?1",
            )?
            .query_row([recipient], |row| Ok((row::unsigned(row, 0)?, row::unsigned(row, 1)?)))
            .optional()?;
        Ok(waiting.unwrap_or_default())
    }

    /// How an exchange stands once this is said in it, or why it cannot be said.
    fn say(
        &self,
        exchange: &ExchangeId,
        said: Said,
    ) -> Result<Result<Standing, Applied>, StoreError> {
        let stored = self
            .connection
            .prepare_cached(
                "/* say */ SELECT state, answered_ms IS NOT NULL, result IS NOT NULL,
                 outcome_ms IS NOT NULL, cancelled_ms IS NOT NULL,
                 consulted_ms > coalesce(viewed_ms, 0), hub, last_entry,
                 EXISTS (SELECT 1 FROM enquiries AS e
                     WHERE e.id = exchanges.enquiry AND e.destroyed IS NOT NULL)
                 FROM exchanges WHERE id = ?1",
            )?
            .query_row([exchange], |row| {
                let before = Before {
                    state: row.get(0)?,
                    is_answered: row.get(1)?,
                    has_result: row.get(2)?,
                    has_outcome: row.get(3)?,
                    is_cancelled: row.get(4)?,
                    is_consulted: row.get::<_, Option<bool>>(5)?.unwrap_or_default(),
                };
                Ok((before, row.get(6)?, row::unsigned(row, 7)?, row.get(8)?))
            })
            .optional()?;
        let Some((before, hub, last_entry, is_destroyed)) = stored else {
            return Ok(Err(Applied::NotFound));
        };
        if is_destroyed {
            return Ok(Err(Applied::Untimely(Untimely::Destroyed)));
        }
        let standing = |state| Standing { before, state, hub, last_entry };
        Ok(before.after(said).map(standing).map_err(Applied::Untimely))
    }

    fn step_exchange(
        &self,
        message: &NewMessage,
        said: Said,
        standing: &Standing,
    ) -> Result<(), StoreError> {
        let at = Some(message.envelope.time);
        let mut marks = Marks::default();
        let mut result = None;
        let is_incident = matches!(said, Said::Incident { .. });
        match said {
            Said::Acknowledgement { will_reply_by } => marks.will_reply_by = will_reply_by,
            Said::Cancellation => marks.cancelled_at = at,
            Said::Incident { assessment_due_by } => marks.assessment_due_by = assessment_due_by,
            Said::Outcome { outcome, decided_at } => {
                (marks.outcome, marks.decided_at) = (Some(outcome), Some(decided_at));
                marks.outcome_at = at;
            }
            Said::Response(said) => {
                result = Some(said);
                marks.answered_at = at.filter(|_| !standing.before.is_answered);
            }
            Said::SubjectAccessConsultation => marks.consulted_at = at,
            Said::SubjectAccessView => marks.viewed_at = at,
            Said::TelephoneContact { made_at } => marks.telephoned_at = Some(made_at),
            Said::Transcription(said) => (result, marks.transcribed_at) = (Some(said), at),
            Said::ConsentWithdrawal => marks.consent_withdrawn_at = at,
            Said::Clarification
            | Said::Forwarding
            | Said::OnwardDisclosure
            | Said::StepDown
            | Said::Supplement
            | Said::TestReply => {}
        }
        self.connection
            .prepare_cached(
                "/* say */ UPDATE exchanges SET state = ?2, result = coalesce(?3, result),
                 last_entry = ?4, answered_ms = coalesce(?5, answered_ms),
                 will_reply_by_ms = coalesce(?6, will_reply_by_ms),
                 transcribed_ms = coalesce(?7, transcribed_ms),
                 telephoned_ms = coalesce(?8, telephoned_ms), outcome = coalesce(?9, outcome),
                 decided_ms = coalesce(?10, decided_ms), outcome_ms = coalesce(?11, outcome_ms),
                 cancelled_ms = coalesce(?12, cancelled_ms),
                 consulted_ms = coalesce(?13, consulted_ms), viewed_ms = coalesce(?14, viewed_ms),
                 assessment_due_ms = iif(?15, ?16, assessment_due_ms),
                 consent_withdrawn_ms = coalesce(consent_withdrawn_ms, ?17)
                 WHERE id = ?1",
            )?
            .execute(params![
                message.envelope.exchange,
                standing.state,
                result,
                integer(self.next()),
                row::ms(marks.answered_at),
                row::ms(marks.will_reply_by),
                row::ms(marks.transcribed_at),
                row::ms(marks.telephoned_at),
                marks.outcome,
                row::ms(marks.decided_at),
                row::ms(marks.outcome_at),
                row::ms(marks.cancelled_at),
                row::ms(marks.consulted_at),
                row::ms(marks.viewed_at),
                is_incident,
                row::ms(marks.assessment_due_by),
                row::ms(marks.consent_withdrawn_at),
            ])?;
        Ok(())
    }

    /// Makes the next entry the exchange's latest; returns which was. `is_reached`: what opened it
    /// has now reached the agency.
    fn touch_exchange(&self, id: &ExchangeId, is_reached: bool) -> Result<Option<u64>, StoreError> {
        let last = self
            .connection
            .prepare_cached("/* touch */ SELECT last_entry FROM exchanges WHERE id = ?1")?
            .query_row([id], |row| row::unsigned(row, 0))
            .optional()?;
        self.connection
            .prepare_cached(
                "/* touch */ UPDATE exchanges SET last_entry = ?2,
                 state = CASE WHEN ?3 AND state = 'requested' THEN 'received' ELSE state END
                 WHERE id = ?1",
            )?
            .execute(params![id, integer(self.next()), is_reached])?;
        Ok(last)
    }

    /// Whether what opened its exchange thereby reached the agency.
    fn collect(&self, message: &MessageId) -> Result<Result<bool, Applied>, StoreError> {
        let Some(stored) = self.delivery(message)? else { return Ok(Err(Applied::NotFound)) };
        // Whoever collects what was to be pushed has it: the push is off.
        if matches!(stored.state.as_str(), "held" | "queued" | "returned") {
            self.set_delivery(&stored, &DeliveryState::Collected)?;
        }
        Ok(Ok(stored.kind.opens_exchange()))
    }

    fn save(
        &self,
        message: &MessageId,
        record: Option<&[u8]>,
    ) -> Result<Result<(), Applied>, StoreError> {
        let Some(stored) = self.delivery(message)? else { return Ok(Err(Applied::NotFound)) };
        if !matches!(stored.state.as_str(), "collected" | "delivered" | "saved") {
            return Ok(Err(Applied::NotCollected));
        }
        if let Some(ciphertext) = record {
            let kept = self
                .connection
                .prepare_cached(
                    "/* saved */ INSERT INTO saved_records (entry, ciphertext) VALUES (?1, ?2)
                     ON CONFLICT (entry) DO NOTHING",
                )?
                .execute(params![integer(stored.entry), ciphertext])?;
            if kept == 0 {
                return Ok(Err(Applied::OtherState));
            }
        }
        if stored.state != "saved" {
            self.set_delivery(&stored, &DeliveryState::Saved)?;
        }
        Ok(Ok(()))
    }

    /// Whether an RFI thereby reached its agency.
    fn settle(
        &self,
        message: &MessageId,
        lease: &[u8; 16],
        state: &DeliveryState,
    ) -> Result<Result<bool, Applied>, StoreError> {
        let stored = self.delivery(message)?.filter(|stored| stored.lease == Some(*lease));
        let Some(stored) = stored else { return Ok(Err(Applied::NotFound)) };
        self.set_delivery(&stored, state)?;
        Ok(Ok(stored.kind.opens_exchange() && *state == DeliveryState::Delivered))
    }

    fn give_up(
        &self,
        message: &MessageId,
        at: Timestamp,
    ) -> Result<Result<(), Applied>, StoreError> {
        let Some(stored) = self.delivery(message)? else { return Ok(Err(Applied::NotFound)) };
        // Whoever pushes it now may yet be told that it was taken.
        let is_under_way = stored.lease.is_some() && stored.due_ms > Some(at.as_millisecond());
        if stored.state != "queued" || is_under_way {
            return Ok(Err(Applied::OtherState));
        }
        self.set_delivery(&stored, &DeliveryState::Returned)?;
        Ok(Ok(()))
    }

    fn retry(
        &self,
        message: &MessageId,
        state: &DeliveryState,
        at: Timestamp,
    ) -> Result<Result<(), Applied>, StoreError> {
        let Some(stored) = self.delivery(message)? else { return Ok(Err(Applied::NotFound)) };
        if stored.state != "returned" {
            return Ok(Err(Applied::OtherState));
        }
        self.set_delivery(&stored, state)?;
        self.connection
            .prepare_cached(
                "/* retry */ UPDATE deliveries SET told = NULL,
                 since_ms = iif(state = 'queued', ?2, NULL) WHERE entry = ?1",
            )?
            .execute(params![integer(stored.entry), at.as_millisecond()])?;
        Ok(Ok(()))
    }

    fn delivery(&self, message: &MessageId) -> Result<Option<Delivery>, StoreError> {
        let delivery = self
            .connection
            .prepare_cached(
                "/* delivery */ SELECT m.entry, m.kind, d.state, d.lease, d.due_ms, m.recipient,
                 m.size_bytes FROM messages AS m
                 JOIN deliveries AS d ON d.entry = m.entry WHERE m.id = ?1",
            )?
            .query_row([message], |row| {
                Ok(Delivery {
                    entry: row::unsigned(row, 0)?,
                    kind: row.get(1)?,
                    state: row.get(2)?,
                    lease: row.get(3)?,
                    due_ms: row.get(4)?,
                    recipient: row.get(5)?,
                    size_bytes: row.get(6)?,
                })
            })
            .optional()?;
        Ok(delivery)
    }

    /// Ends the lease. What a queued message waits since, and what its sender was told of it, stays
    /// while it is queued; that it is returned is told by the next entry.
    fn set_delivery(&self, stored: &Delivery, delivery: &DeliveryState) -> Result<(), StoreError> {
        // Nothing comes back to a mailbox that has left it.
        if DeliveryState::waits(&stored.state) && !DeliveryState::waits(delivery.as_str()) {
            self.connection
                .prepare_cached(
                    "/* delivery */ UPDATE mailboxes SET messages = messages - 1, bytes = bytes - ?2
                     WHERE recipient = ?1",
                )?
                .execute(params![stored.recipient, stored.size_bytes])?;
        }
        let (state, endpoint, due_ms, attempts) = row::delivery_columns(delivery);
        self.connection
            .prepare_cached(
                "/* delivery */ UPDATE deliveries SET state = ?2, endpoint = ?3, due_ms = ?4,
                 attempts = ?5, lease = NULL,
                 since_ms = iif(?2 = 'queued', since_ms, NULL),
                 told = CASE ?2 WHEN 'queued' THEN told WHEN 'returned' THEN ?6 END
                 WHERE entry = ?1",
            )?
            .execute(params![
                integer(stored.entry),
                state,
                endpoint,
                due_ms,
                attempts,
                integer(self.next())
            ])?;
        Ok(())
    }

    fn insert_enquiry(
        &self,
        enquiry: &NewEnquiry,
        messages: &[NewMessage],
    ) -> Result<(), StoreError> {
        let opened_ms = messages.first().map(|message| message.envelope.time.as_millisecond());
        self.connection
            .prepare_cached(
                "/* accept */ INSERT INTO enquiries (id, recipient, wrapped_key, opened_ms)
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![enquiry.id, enquiry.recipient, enquiry.wrapped_key, opened_ms])?;
        Ok(())
    }

    fn insert_exchange(&self, exchange: &Exchange) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "/* accept */ INSERT INTO exchanges (id, enquiry, reference, hub, agency, rfi,
                 categories, persons, priority, response_required_by_ms, opened_ms, state, result,
                 telephoned_ms, sealing_recipient, entry, last_entry)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?16)",
            )?
            .execute(params![
                exchange.id,
                exchange.enquiry,
                exchange.reference,
                exchange.hub,
                exchange.agency,
                exchange.rfi,
                row::list(&exchange.categories),
                row::list(&exchange.persons),
                exchange.priority,
                exchange.response_required_by.as_millisecond(),
                exchange.opened_at.as_millisecond(),
                exchange.state,
                exchange.result,
                row::ms(exchange.marks.telephoned_at),
                exchange.sealing_recipient,
                integer(self.next())
            ])?;
        Ok(())
    }

    fn insert_message(
        &self,
        message: &NewMessage,
        submission: Option<(&[u8; 16], &[u8; 32], u64)>,
        standing: Option<&Standing>,
    ) -> Result<(), StoreError> {
        let entry = integer(self.next());
        let envelope = &message.envelope;
        self.connection
            .prepare_cached(
                "/* accept */ INSERT INTO messages (entry, id, kind, enquiry, exchange, reference,
                 sender, recipient, time_ms, priority, handling, in_reply_to, digest, size_bytes,
                 is_sealed_to_agency, traceparent, visible_to, key_hash, body_mac, submission_count)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                 ?17, ?18, ?19, ?20)",
            )?
            .execute(params![
                entry,
                envelope.id,
                envelope.kind,
                envelope.enquiry,
                envelope.exchange,
                envelope.reference,
                envelope.sender,
                envelope.recipient,
                envelope.time.as_millisecond(),
                envelope.priority,
                envelope.handling,
                envelope.in_reply_to,
                envelope.digest,
                integer(envelope.size_bytes),
                envelope.is_sealed_to_agency,
                envelope.traceparent,
                envelope.visible_to,
                submission.map(|(key_hash, _, _)| key_hash),
                submission.map(|(_, body_mac, _)| body_mac),
                submission.map(|(_, _, count)| integer(count))
            ])?;
        self.connection
            .prepare_cached(
                "/* accept */ INSERT INTO payloads (entry, ciphertext) VALUES (?1, ?2)",
            )?
            .execute(params![entry, message.ciphertext])?;
        let (state, endpoint, due_ms, attempts) = row::delivery_columns(&message.delivery);
        self.connection
            .prepare_cached(
                "/* accept */ INSERT INTO deliveries (entry, recipient, state, endpoint, due_ms,
                 attempts, since_ms, exchange, needs_attention)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, iif(?3 = 'queued', ?7, NULL), ?8, ?9)",
            )?
            .execute(params![
                entry,
                envelope.recipient,
                state,
                endpoint,
                due_ms,
                attempts,
                envelope.time.as_millisecond(),
                envelope.exchange,
                standing.is_some_and(|standing| {
                    standing.before.needs_attention(envelope.kind)
                        && standing.hub == envelope.recipient
                })
            ])?;
        self.connection
            .prepare_cached(
                "/* accept */ INSERT INTO mailboxes (recipient, messages, bytes) VALUES (?1, 1, ?2)
                 ON CONFLICT (recipient) DO UPDATE SET messages = messages + 1, bytes = bytes + ?2",
            )?
            .execute(params![envelope.recipient, integer(envelope.size_bytes)])?;
        Ok(())
    }

    fn insert_token(&self, token: &EnrolmentToken) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "/* token */ INSERT INTO enrolment_tokens (hash, agency, made_ms, expires_ms,
                 needs_approval) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                token.hash,
                token.agency,
                token.made_at.as_millisecond(),
                token.expires_at.as_millisecond(),
                token.needs_approval
            ])?;
        Ok(())
    }

    fn insert_certificate(&self, certificate: &CertificateRecord) -> Result<(), StoreError> {
        let (revoked_ms, reason) = match &certificate.revoked {
            Some((at, reason)) => (Some(at.as_millisecond()), Some(reason)),
            None => (None, None),
        };
        self.connection
            .prepare_cached(
                "/* issue */ INSERT INTO certificates (sha256, serial, agency, issued_ms,
                 not_before_ms, not_after_ms, revoked_ms, revoked_reason, pem, profile)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                certificate.sha256,
                certificate.serial,
                certificate.agency,
                certificate.issued_at.as_millisecond(),
                certificate.not_before.as_millisecond(),
                certificate.not_after.as_millisecond(),
                revoked_ms,
                reason,
                certificate.pem,
                certificate.profile
            ])?;
        Ok(())
    }
}

/// How an exchange stands after something is said in it.
struct Standing {
    before: Before,
    state: ExchangeState,
    hub: AgencyId,
    /// The latest entry about it before.
    last_entry: u64,
}

struct Delivery {
    entry: u64,
    kind: Kind,
    state: String,
    lease: Option<[u8; 16]>,
    due_ms: Option<i64>,
    recipient: AgencyId,
    size_bytes: i64,
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}
