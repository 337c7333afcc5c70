//! The real store, and a fault at one chosen write: it fails and did nothing, it fails and was taken
//! back, it fails although it is durable, or its answer never comes.
//!
//! Every write has a name, a [`WritePoint`]. A new kind of change does not compile until it has one, and
//! `tests/it/write_points.rs` does not pass until a new name has a case and a new writing method a name.

use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use mash_gateway::audit::checkpoint::LogKey;
use mash_gateway::audit::cosignature::Cosignature;
use mash_gateway::audit::entry::{Event, NewEntry};
use mash_gateway::audit::receipt::{self, Logged};
use mash_gateway::audit::tree::Hash;
use mash_gateway::message::{
    AgencyId, AttachmentId, EnquiryId, Exchange, ExchangeId, Kind, MessageId, Period, Reference,
    Said,
};
use mash_gateway::store::sqlite::Sqlite;
use mash_gateway::store::{
    Applied, AttachmentDigest, Backlog, CertificateDoing, CertificateRecord, CertificateUse,
    Change, Claim, DeadLetter, DeliveryState, Effect, EnrolmentToken, Head, IdempotencyToken,
    KeptEnquiry, KeptRfiDraft, LastCosigned, Mailbox, MessageDigest, NewEnquiry, NewUpload, Notice,
    PartAdded, Queue, Record, Room, SealedPayload, SentAttachment, Step, Store, StoreError,
    StoredAttachment, StoredDraft, StoredEntry, StoredMessage, StoredRfiDraft, Uncollected, Unsent,
    Wanted,
};
use tokio::sync::Notify;

macro_rules! write_points {
    ($($name:ident),+ $(,)?) => {
        /// Each thing that is written in a transaction of its own, or as a change in a batch.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub(crate) enum WritePoint { $($name),+ }

        impl WritePoint {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

write_points! {
    AcceptAcknowledgement, AcceptCancellation, AcceptClarification, AcceptConsentWithdrawal,
    AcceptForwarding, AcceptIncident, AcceptOnwardDisclosure, AcceptOutcome, AcceptResponse, AcceptRfi,
    AcceptStepDown, AcceptSubjectAccessConsultation, AcceptSubjectAccessView, AcceptSupplement,
    AcceptTelephoneContact, AcceptTest, AcceptTestReply, AcceptTranscription, AddPart,
    AllocateReferences, ApproveToken, Attach, BarAgency, BeginRfiDraft, BeginUpload, BindToken, Claim, ClearDiscarded,
    Collect, CollectAttachment, Delay, DestroyEnquiry, DiscardDraft, DiscardRfiDraft,
    DiscardRfiDraftsBefore, DiscardUpload, DiscardUploadsBefore, Enrol, GiveUp, HoldEnquiry, IssueCertificate, KeepCosignatures, KeepDraft, KeepRfiDraft, Log,
    MakeToken, MoveWaits, NoteTold, NoteUses, Probe,
    RecordOverride, ReleaseEnquiry, RenewCertificate, Retry, RevokeCertificate, Save, Settle,
    SweepAttachment, TellReferrer,
}

impl WritePoint {
    /// The method of [`Store`] that it is written by.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::AddPart => "add_part",
            Self::AllocateReferences => "allocate_references",
            Self::BeginRfiDraft => "begin_rfi_draft",
            Self::BeginUpload => "begin_upload",
            Self::BindToken => "bind_token",
            Self::Claim => "claim",
            Self::ClearDiscarded => "clear_discarded",
            Self::DiscardDraft => "discard_draft",
            Self::DiscardRfiDraft => "discard_rfi_draft",
            Self::DiscardRfiDraftsBefore => "discard_rfi_drafts_before",
            Self::DiscardUpload => "discard_upload",
            Self::DiscardUploadsBefore => "discard_uploads_before",
            Self::MoveWaits => "move_waits",
            Self::KeepCosignatures => "keep_cosignatures",
            Self::KeepDraft => "keep_draft",
            Self::KeepRfiDraft => "keep_rfi_draft",
            Self::NoteTold => "note_told",
            Self::NoteUses => "note_uses",
            Self::Probe => "probe",
            _ => "append",
        }
    }

    fn of(change: &Change) -> Self {
        match change {
            Change::Accept(accept) => match &accept.messages.first().unwrap().step {
                Step::Open(exchange) if exchange.reference.is_test() => Self::AcceptTest,
                Step::Open(_) => Self::AcceptRfi,
                Step::Say(Said::Acknowledgement { .. }) => Self::AcceptAcknowledgement,
                Step::Say(Said::Cancellation) => Self::AcceptCancellation,
                Step::Say(Said::Clarification) => Self::AcceptClarification,
                Step::Say(Said::ConsentWithdrawal) => Self::AcceptConsentWithdrawal,
                Step::Say(Said::Forwarding) => Self::AcceptForwarding,
                Step::Say(Said::Incident { .. }) => Self::AcceptIncident,
                Step::Say(Said::OnwardDisclosure) => Self::AcceptOnwardDisclosure,
                Step::Say(Said::Outcome { .. }) => Self::AcceptOutcome,
                Step::Say(Said::Response(_)) => Self::AcceptResponse,
                Step::Say(Said::StepDown) => Self::AcceptStepDown,
                Step::Say(Said::SubjectAccessConsultation) => Self::AcceptSubjectAccessConsultation,
                Step::Say(Said::SubjectAccessView) => Self::AcceptSubjectAccessView,
                Step::Say(Said::Supplement) => Self::AcceptSupplement,
                Step::Say(Said::TelephoneContact { .. }) => Self::AcceptTelephoneContact,
                Step::Say(Said::TestReply) => Self::AcceptTestReply,
                Step::Say(Said::Transcription(_)) => Self::AcceptTranscription,
            },
            Change::Record(record) => match &record.effect {
                Effect::ApproveToken { .. } => Self::ApproveToken,
                Effect::Attach(_) => Self::Attach,
                Effect::BarAgency { .. } => Self::BarAgency,
                Effect::Collect(_) => Self::Collect,
                Effect::CollectAttachment { .. } => Self::CollectAttachment,
                Effect::Delay(_) => Self::Delay,
                Effect::DestroyEnquiry { .. } => Self::DestroyEnquiry,
                Effect::Enrol { .. } => Self::Enrol,
                Effect::GiveUp { .. } => Self::GiveUp,
                Effect::HoldEnquiry(_) => Self::HoldEnquiry,
                Effect::IssueCertificate(_) => Self::IssueCertificate,
                Effect::Log => Self::Log,
                Effect::MakeToken(_) => Self::MakeToken,
                Effect::RecordOverride { .. } => Self::RecordOverride,
                Effect::ReleaseEnquiry(_) => Self::ReleaseEnquiry,
                Effect::RenewCertificate { .. } => Self::RenewCertificate,
                Effect::Retry { .. } => Self::Retry,
                Effect::RevokeCertificate { .. } => Self::RevokeCertificate,
                Effect::Save { .. } => Self::Save,
                Effect::Settle(..) => Self::Settle,
                Effect::SweepAttachment(_) => Self::SweepAttachment,
                Effect::TellReferrer { .. } => Self::TellReferrer,
            },
        }
    }
}

/// How a write goes wrong.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Fault {
    /// It fails, and nothing was begun.
    NotBegun,
    /// It fails after all was done, and the transaction takes it back.
    RolledBack,
    /// It fails although it is durable, and the store that failed does not know that it is.
    Persisted,
    /// It is durable, and the answer never comes.
    Unanswered,
}

impl Fault {
    pub(crate) const ALL: [Self; 4] =
        [Self::NotBegun, Self::RolledBack, Self::Persisted, Self::Unanswered];

    pub(crate) fn is_durable(self) -> bool {
        matches!(self, Self::Persisted | Self::Unanswered)
    }

    /// Whether this can happen at a write: only a batch can be made to fail at its end.
    pub(crate) fn strikes(self, point: WritePoint) -> bool {
        self != Self::RolledBack || point.method() == "append"
    }
}

/// What a store may do wrong that no store of ours does: so that tests are seen to find it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Defect {
    /// It answers before what it answers is durable, and then it never is.
    AnswersTooEarly,
    /// It takes what an endpoint did not take for delivered.
    BelievesFailures,
    /// What it accepted is on no list and in no queue.
    DropsDeliveries,
    /// It does not remember under which key it accepted what.
    ForgetsKeys,
    /// It lists to everybody what is in one agency's mailbox.
    ListsOthers,
    /// It puts what is for one agency into another's mailbox.
    MixesUpRecipients,
}

impl Defect {
    pub(crate) const ALL: [Self; 6] = [
        Self::AnswersTooEarly,
        Self::BelievesFailures,
        Self::DropsDeliveries,
        Self::ForgetsKeys,
        Self::ListsOthers,
        Self::MixesUpRecipients,
    ];
}

/// The fault that is to come, and what became of it.
#[derive(Default)]
pub(crate) struct Plan {
    armed: Mutex<Option<(Option<WritePoint>, Fault)>>,
    fired: Mutex<Option<Fault>>,
    kept: Mutex<Option<String>>,
    /// Of the fault that was armed last.
    signals: Mutex<Arc<Signals>>,
}

#[derive(Default)]
struct Signals {
    struck: Notify,
    forsaken: Notify,
}

impl Plan {
    /// The next write at this point goes wrong so.
    pub(crate) fn arm(&self, point: WritePoint, fault: Fault) {
        *self.signals.lock().unwrap() = Arc::default();
        *self.armed.lock().unwrap() = Some((Some(point), fault));
    }

    /// The next write at any point where it can goes wrong so.
    pub(crate) fn arm_next(&self, fault: Fault) {
        *self.signals.lock().unwrap() = Arc::default();
        *self.armed.lock().unwrap() = Some((None, fault));
    }

    /// The fault that happened since this was last asked. One that did not is not to come any more.
    pub(crate) fn fired(&self) -> Option<Fault> {
        *self.armed.lock().unwrap() = None;
        self.fired.lock().unwrap().take()
    }

    /// What the sender of a submission that is durable would have been answered.
    pub(crate) fn kept(&self) -> Option<String> {
        self.kept.lock().unwrap().clone()
    }

    /// Waits until an answer does not come; whoever waits for it gives up then.
    pub(crate) async fn unanswered(&self) {
        self.signals().struck.notified().await;
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn forsake(&self) {
        self.signals().forsaken.notify_one();
    }

    fn signals(&self) -> Arc<Signals> {
        Arc::clone(&self.signals.lock().unwrap())
    }

    fn strikes(&self, points: &[WritePoint]) -> Option<Fault> {
        self.armed
            .lock()
            .unwrap()
            .take_if(|(armed, fault)| match armed {
                Some(armed) => points.contains(armed),
                None => points.iter().all(|point| fault.strikes(*point)),
            })
            .map(|(_, fault)| fault)
    }

    async fn fail(&self, fault: Fault) -> StoreError {
        *self.fired.lock().unwrap() = Some(fault);
        if fault == Fault::Unanswered {
            let signals = self.signals();
            signals.struck.notify_one();
            signals.forsaken.notified().await;
        }
        StoreError::Unavailable { reason: format!("{fault:?}, as the test wished"), source: None }
    }
}

/// The real store with a fault to come, or a defect, or neither.
pub(crate) struct FaultyStore {
    inner: Sqlite,
    /// The same file. What is written here, `inner` does not know.
    beside: Sqlite,
    /// What an answer that is given too early was made from.
    scratch: tempfile::TempDir,
    defect: Option<Defect>,
    plan: Arc<Plan>,
}

impl FaultyStore {
    pub(crate) fn open(database: &Path, plan: &Arc<Plan>, defect: Option<Defect>) -> Self {
        Self {
            inner: Sqlite::open(database).unwrap(),
            beside: Sqlite::open(database).unwrap(),
            scratch: tempfile::TempDir::new().unwrap(),
            defect,
            plan: Arc::clone(plan),
        }
    }

    /// Where a write that fails so is made all the same.
    fn durable(&self, fault: Fault) -> Option<&Sqlite> {
        match fault {
            Fault::NotBegun | Fault::RolledBack => None,
            Fault::Persisted => Some(&self.beside),
            Fault::Unanswered => Some(&self.inner),
        }
    }

    // Does wrong, if that is what it is for.
    fn spoil(&self, changes: &mut [Change]) {
        for change in changes {
            match (self.defect, change) {
                (Some(Defect::DropsDeliveries), Change::Accept(accept)) => {
                    for message in &mut accept.messages {
                        message.delivery = DeliveryState::Saved;
                    }
                }
                (Some(Defect::ForgetsKeys), Change::Accept(accept)) => {
                    accept.token.key_hash = *uuid::Uuid::new_v4().as_bytes();
                }
                (Some(Defect::MixesUpRecipients), Change::Accept(accept)) => {
                    for message in &mut accept.messages {
                        let other = if message.envelope.recipient.as_str() == super::TRUST {
                            super::SURGERY
                        } else {
                            super::TRUST
                        };
                        message.envelope.recipient = other.parse().unwrap();
                    }
                }
                (Some(Defect::BelievesFailures), Change::Record(record)) => {
                    if let Effect::Settle(_, state @ DeliveryState::Queued { .. }) =
                        &mut record.effect
                    {
                        *state = DeliveryState::Delivered;
                    }
                }
                _ => {}
            }
        }
    }

    // An answer made from a copy that is thrown away.
    async fn answer_too_early(
        &self,
        changes: Vec<Change>,
        key: &LogKey,
    ) -> Result<Vec<Applied>, StoreError> {
        let copy = self.scratch.path().join(uuid::Uuid::new_v4().to_string());
        self.inner.copy_to(&copy, |_, _| {})?;
        Sqlite::open(&copy)?.append(changes, key).await
    }
}

/// Changes that no store applies: one certificate entered twice.
fn impossible() -> [Change; 2] {
    let at = Timestamp::UNIX_EPOCH;
    [(), ()].map(|()| {
        let effect = Effect::IssueCertificate(CertificateRecord {
            sha256: [7; 32],
            serial: "07".to_owned(),
            agency: super::TRUST.parse().unwrap(),
            issued_at: at,
            not_before: at,
            not_after: at,
            revoked: None,
            pem: String::new(),
            profile: "agency".to_owned(),
            last_use: None,
        });
        let entry = NewEntry::new(&Event::started("impossible"), at);
        Change::Record(Box::new(Record { entry, exchange: None, effect }))
    })
}

#[async_trait::async_trait]
impl Store for FaultyStore {
    async fn append(
        &self,
        mut changes: Vec<Change>,
        key: &LogKey,
    ) -> Result<Vec<Applied>, StoreError> {
        self.spoil(&mut changes);
        let points: Vec<_> = changes.iter().map(WritePoint::of).collect();
        let is_acceptance = changes.iter().any(|change| matches!(change, Change::Accept(_)));
        if self.defect == Some(Defect::AnswersTooEarly) && is_acceptance {
            return self.answer_too_early(changes, key).await;
        }
        let Some(fault) = self.plan.strikes(&points) else {
            return self.inner.append(changes, key).await;
        };
        if fault == Fault::RolledBack {
            changes.extend(impossible());
            let failed = self.inner.append(changes, key).await;
            if failed.is_err() {
                self.plan.fail(fault).await;
            }
            return failed;
        } else if let Some(store) = self.durable(fault) {
            let applied = store.append(changes, key).await?;
            *self.plan.kept.lock().unwrap() = applied.iter().find_map(|applied| match applied {
                Applied::Accepted(logged) => Some(receipt::answer(logged, None)),
                _ => None,
            });
        }
        Err(self.plan.fail(fault).await)
    }

    async fn replay(&self, token: &IdempotencyToken) -> Result<Option<Applied>, StoreError> {
        self.inner.replay(token).await
    }

    async fn allocate_references(&self, year: i16, count: u64) -> Result<u64, StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::AllocateReferences]) else {
            return self.inner.allocate_references(year, count).await;
        };
        if let Some(store) = self.durable(fault) {
            store.allocate_references(year, count).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn begin_upload(
        &self,
        upload: NewUpload,
        bytes: u64,
        bytes_max: u64,
    ) -> Result<bool, StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::BeginUpload]) else {
            return self.inner.begin_upload(upload, bytes, bytes_max).await;
        };
        if let Some(store) = self.durable(fault) {
            store.begin_upload(upload, bytes, bytes_max).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn add_part(
        &self,
        id: &AttachmentId,
        ciphertext: Vec<u8>,
        bytes_max: u64,
    ) -> Result<PartAdded, StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::AddPart]) else {
            return self.inner.add_part(id, ciphertext, bytes_max).await;
        };
        if let Some(store) = self.durable(fault) {
            store.add_part(id, ciphertext, bytes_max).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn discard_upload(&self, id: &AttachmentId) -> Result<(), StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::DiscardUpload]) else {
            return self.inner.discard_upload(id).await;
        };
        if let Some(store) = self.durable(fault) {
            store.discard_upload(id).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn discard_uploads_before(&self, before: Timestamp) -> Result<(), StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::DiscardUploadsBefore]) else {
            return self.inner.discard_uploads_before(before).await;
        };
        if let Some(store) = self.durable(fault) {
            store.discard_uploads_before(before).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn clear_discarded(&self, parts: usize) -> Result<bool, StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::ClearDiscarded]) else {
            return self.inner.clear_discarded(parts).await;
        };
        if let Some(store) = self.durable(fault) {
            store.clear_discarded(parts).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn claim(
        &self,
        now: Timestamp,
        lease_s: u32,
        queue: &Queue,
        wanted: Wanted,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::Claim]) else {
            return self.inner.claim(now, lease_s, queue, wanted, limit).await;
        };
        if let Some(store) = self.durable(fault) {
            store.claim(now, lease_s, queue, wanted, limit).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn move_waits(&self, now: Timestamp, by: SignedDuration) -> Result<(), StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::MoveWaits]) else {
            return self.inner.move_waits(now, by).await;
        };
        if let Some(store) = self.durable(fault) {
            store.move_waits(now, by).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn keep_cosignatures(
        &self,
        size: u64,
        cosignatures: Vec<Cosignature>,
    ) -> Result<(), StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::KeepCosignatures]) else {
            return self.inner.keep_cosignatures(size, cosignatures).await;
        };
        if let Some(store) = self.durable(fault) {
            store.keep_cosignatures(size, cosignatures).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn keep_draft(
        &self,
        exchange: &ExchangeId,
        kind: Kind,
        follows: u64,
        ciphertext: Vec<u8>,
    ) -> Result<bool, StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::KeepDraft]) else {
            return self.inner.keep_draft(exchange, kind, follows, ciphertext).await;
        };
        if let Some(store) = self.durable(fault) {
            store.keep_draft(exchange, kind, follows, ciphertext).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn discard_draft(
        &self,
        exchange: &ExchangeId,
        kind: Kind,
        version: u64,
    ) -> Result<(), StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::DiscardDraft]) else {
            return self.inner.discard_draft(exchange, kind, version).await;
        };
        if let Some(store) = self.durable(fault) {
            store.discard_draft(exchange, kind, version).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn begin_rfi_draft(
        &self,
        hub: &AgencyId,
        key: NewEnquiry,
        ciphertext: Vec<u8>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::BeginRfiDraft]) else {
            return self.inner.begin_rfi_draft(hub, key, ciphertext, at).await;
        };
        if let Some(store) = self.durable(fault) {
            store.begin_rfi_draft(hub, key, ciphertext, at).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn keep_rfi_draft(
        &self,
        hub: &AgencyId,
        id: &EnquiryId,
        follows: u64,
        ciphertext: Vec<u8>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::KeepRfiDraft]) else {
            return self.inner.keep_rfi_draft(hub, id, follows, ciphertext, at).await;
        };
        if let Some(store) = self.durable(fault) {
            store.keep_rfi_draft(hub, id, follows, ciphertext, at).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn discard_rfi_draft(
        &self,
        hub: &AgencyId,
        id: &EnquiryId,
        version: u64,
    ) -> Result<(), StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::DiscardRfiDraft]) else {
            return self.inner.discard_rfi_draft(hub, id, version).await;
        };
        if let Some(store) = self.durable(fault) {
            store.discard_rfi_draft(hub, id, version).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn discard_rfi_drafts_before(&self, before: Timestamp) -> Result<(), StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::DiscardRfiDraftsBefore]) else {
            return self.inner.discard_rfi_drafts_before(before).await;
        };
        if let Some(store) = self.durable(fault) {
            store.discard_rfi_drafts_before(before).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn note_told(
        &self,
        addressee: &str,
        notices: Vec<Notice>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::NoteTold]) else {
            return self.inner.note_told(addressee, notices, at).await;
        };
        if let Some(store) = self.durable(fault) {
            store.note_told(addressee, notices, at).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn note_uses(&self, uses: Vec<CertificateUse>) -> Result<(), StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::NoteUses]) else {
            return self.inner.note_uses(uses).await;
        };
        if let Some(store) = self.durable(fault) {
            store.note_uses(uses).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn bind_token(&self, hash: &[u8; 32], key: &[u8; 32]) -> Result<[u8; 32], StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::BindToken]) else {
            return self.inner.bind_token(hash, key).await;
        };
        if let Some(store) = self.durable(fault) {
            store.bind_token(hash, key).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    async fn probe(&self, now: Timestamp) -> Result<(), StoreError> {
        let Some(fault) = self.plan.strikes(&[WritePoint::Probe]) else {
            return self.inner.probe(now).await;
        };
        if let Some(store) = self.durable(fault) {
            store.probe(now).await?;
        }
        Err(self.plan.fail(fault).await)
    }

    // Reads, as they are.

    async fn exchange(&self, id: &ExchangeId) -> Result<Exchange, StoreError> {
        self.inner.exchange(id).await
    }

    async fn exchange_by_reference(&self, name: &Reference) -> Result<Exchange, StoreError> {
        self.inner.exchange_by_reference(name).await
    }

    async fn exchanges(
        &self,
        agency: &AgencyId,
        before: Option<ExchangeId>,
        limit: usize,
    ) -> Result<Vec<Exchange>, StoreError> {
        self.inner.exchanges(agency, before, limit).await
    }

    async fn exchanges_opened(
        &self,
        period: Period,
        after: Option<ExchangeId>,
        limit: usize,
    ) -> Result<Vec<Exchange>, StoreError> {
        self.inner.exchanges_opened(period, after, limit).await
    }

    async fn enquiry(&self, id: &EnquiryId) -> Result<Vec<Exchange>, StoreError> {
        self.inner.enquiry(id).await
    }

    async fn referrer_told_at(&self, id: &EnquiryId) -> Result<Option<Timestamp>, StoreError> {
        self.inner.referrer_told_at(id).await
    }

    async fn unanswered(
        &self,
        agency: &AgencyId,
        limit: usize,
    ) -> Result<Vec<Exchange>, StoreError> {
        self.inner.unanswered(agency, limit).await
    }

    async fn unsettled(&self, hub: &AgencyId, limit: usize) -> Result<Vec<Exchange>, StoreError> {
        self.inner.unsettled(hub, limit).await
    }

    async fn inbox_besides_requests(
        &self,
        recipient: &AgencyId,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.inner.inbox_besides_requests(recipient, limit).await
    }

    async fn draft(
        &self,
        exchange: &ExchangeId,
        kind: Kind,
    ) -> Result<Option<StoredDraft>, StoreError> {
        self.inner.draft(exchange, kind).await
    }

    async fn rfi_drafts(
        &self,
        hub: &AgencyId,
        limit: usize,
    ) -> Result<Vec<KeptRfiDraft>, StoreError> {
        self.inner.rfi_drafts(hub, limit).await
    }

    async fn rfi_draft(
        &self,
        hub: &AgencyId,
        id: &EnquiryId,
    ) -> Result<Option<StoredRfiDraft>, StoreError> {
        self.inner.rfi_draft(hub, id).await
    }

    async fn saved_record(&self, id: &MessageId) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.saved_record(id).await
    }

    async fn timeline(
        &self,
        id: &ExchangeId,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        self.inner.timeline(id, limit).await
    }

    async fn inbox(
        &self,
        recipient: &AgencyId,
        only: Option<Kind>,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        if self.defect == Some(Defect::ListsOthers) {
            let other = super::TRUST.parse().unwrap();
            return self.inner.inbox(&other, only, after, limit).await;
        }
        self.inner.inbox(recipient, only, after, limit).await
    }

    async fn correspondence(
        &self,
        agency: &AgencyId,
        period: Period,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.inner.correspondence(agency, period, after, limit).await
    }

    async fn cosigned(&self, witnesses: usize) -> Result<Option<(Head, Vec<String>)>, StoreError> {
        self.inner.cosigned(witnesses).await
    }

    async fn last_cosigned(&self) -> Result<Vec<LastCosigned>, StoreError> {
        self.inner.last_cosigned().await
    }

    async fn waiting(&self, recipient: &AgencyId, only: Option<Kind>) -> Result<u64, StoreError> {
        self.inner.waiting(recipient, only).await
    }

    async fn answered_test(&self, agency: &AgencyId) -> Result<Option<Exchange>, StoreError> {
        self.inner.answered_test(agency).await
    }

    async fn uncollected(
        &self,
        recipient: &AgencyId,
        addressee: &str,
        limit: usize,
    ) -> Result<Uncollected, StoreError> {
        self.inner.uncollected(recipient, addressee, limit).await
    }

    async fn untold_notices(
        &self,
        addressee: &str,
        notices: Vec<Notice>,
    ) -> Result<Vec<Notice>, StoreError> {
        self.inner.untold_notices(addressee, notices).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        self.inner.backlog().await
    }

    async fn mailboxes(&self) -> Result<Vec<Mailbox>, StoreError> {
        self.inner.mailboxes().await
    }

    async fn message(&self, id: &MessageId) -> Result<StoredMessage, StoreError> {
        self.inner.message(id).await
    }

    async fn sealed_payload(&self, id: &MessageId) -> Result<SealedPayload, StoreError> {
        self.inner.sealed_payload(id).await
    }

    async fn newest_enquiry_key(&self) -> Result<Option<(EnquiryId, Vec<u8>)>, StoreError> {
        self.inner.newest_enquiry_key().await
    }

    async fn kept_enquiries(
        &self,
        opened_before: Timestamp,
        after: Option<EnquiryId>,
        limit: usize,
    ) -> Result<Vec<KeptEnquiry>, StoreError> {
        self.inner.kept_enquiries(opened_before, after, limit).await
    }

    async fn acceptance(&self, id: &MessageId) -> Result<Logged, StoreError> {
        self.inner.acceptance(id).await
    }

    async fn queues(&self, now: Timestamp) -> Result<Vec<Queue>, StoreError> {
        self.inner.queues(now).await
    }

    async fn untold(
        &self,
        now: Timestamp,
        queue: &Queue,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.inner.untold(now, queue, before, limit).await
    }

    async fn dead_letters(
        &self,
        recipient: Option<&AgencyId>,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.inner.dead_letters(recipient).await
    }

    async fn non_delivery(&self, id: &MessageId) -> Result<Logged, StoreError> {
        self.inner.non_delivery(id).await
    }

    async fn uploaded(
        &self,
        key_hash: &[u8; 16],
    ) -> Result<Option<(AttachmentId, [u8; 32])>, StoreError> {
        self.inner.uploaded(key_hash).await
    }

    async fn attachment(&self, id: &AttachmentId) -> Result<StoredAttachment, StoreError> {
        self.inner.attachment(id).await
    }

    async fn sent_attachment(
        &self,
        id: &AttachmentId,
        recipient: &AgencyId,
    ) -> Result<SentAttachment, StoreError> {
        self.inner.sent_attachment(id, recipient).await
    }

    async fn attachment_part(&self, id: &AttachmentId, part: u32) -> Result<Vec<u8>, StoreError> {
        self.inner.attachment_part(id, part).await
    }

    async fn attachments_of(&self, id: &MessageId) -> Result<Vec<AttachmentId>, StoreError> {
        self.inner.attachments_of(id).await
    }

    async fn unsent_attachments(&self) -> Result<Vec<Unsent>, StoreError> {
        self.inner.unsent_attachments().await
    }

    async fn unsent_before(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<StoredAttachment>, StoreError> {
        self.inner.unsent_before(before, limit).await
    }

    async fn attachment_digests(
        &self,
        from: u64,
        to: u64,
    ) -> Result<Vec<AttachmentDigest>, StoreError> {
        self.inner.attachment_digests(from, to).await
    }

    async fn head(&self) -> Result<Option<Head>, StoreError> {
        self.inner.head().await
    }

    async fn entries(&self, from: u64, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        self.inner.entries(from, limit).await
    }

    async fn nodes(&self, wanted: &[(u8, u64)]) -> Result<Vec<Hash>, StoreError> {
        self.inner.nodes(wanted).await
    }

    async fn checkpoints(&self, from: u64, limit: usize) -> Result<Vec<Head>, StoreError> {
        self.inner.checkpoints(from, limit).await
    }

    async fn message_digests(&self, from: u64, to: u64) -> Result<Vec<MessageDigest>, StoreError> {
        self.inner.message_digests(from, to).await
    }

    async fn certificates(&self) -> Result<Vec<CertificateRecord>, StoreError> {
        self.inner.certificates().await
    }

    async fn doings(&self, serial: &str) -> Result<Vec<CertificateDoing>, StoreError> {
        self.inner.doings(serial).await
    }

    async fn token(&self, hash: &[u8; 32]) -> Result<Option<EnrolmentToken>, StoreError> {
        self.inner.token(hash).await
    }

    async fn tokens(&self) -> Result<Vec<EnrolmentToken>, StoreError> {
        self.inner.tokens().await
    }

    async fn size_bytes(&self) -> Result<u64, StoreError> {
        self.inner.size_bytes().await
    }

    async fn room(&self) -> Result<Room, StoreError> {
        self.inner.room().await
    }
}
