//! What is kept, and the one trait through which it is kept.
//!
//! Each method is one transaction. A method that changes a message writes its audit entry, extends
//! the tree and stores the signed checkpoint in that same transaction, so that the log and what it
//! records cannot part. Nothing above this module may know which database it is.

mod attachment;
mod certificate;
mod notice;
mod room;
pub mod sqlite;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::audit::checkpoint::LogKey;
use crate::audit::cosignature::Cosignature;
use crate::audit::entry::NewEntry;
use crate::audit::receipt::Logged;
use crate::audit::tree::Hash;
use crate::message::{
    AgencyId, AttachmentId, EnquiryId, Envelope, Exchange, ExchangeId, ExchangeState, Kind, Marks,
    MessageId, Period, Reference, Said, Untimely,
};

pub use attachment::{
    AttachedKey, AttachmentDigest, NewAttachment, NewUpload, PartAdded, SentAttachment,
    StoredAttachment, Unsent,
};
pub use certificate::{CertificateDoing, CertificateRecord, CertificateUse, EnrolmentToken};
pub use notice::{Notice, NoticeSubject, Uncollected};
pub use room::Room;

/// The gateway's memory.
#[async_trait::async_trait]
pub trait Store: Send + Sync {
    /// Applies each change or refuses it, in order, and logs what was applied: one transaction, one
    /// tree extension, one signed checkpoint. The answers are in the order of the changes.
    ///
    /// On any error nothing was kept, or, when the disk failed so that even this cannot be found out
    /// now, perhaps all of it: the same submission sent again is then known. Called by the ledger
    /// alone, from its own thread: it may block.
    async fn append(&self, changes: Vec<Change>, key: &LogKey) -> Result<Vec<Applied>, StoreError>;

    /// The first answer to a submission, if there was one.
    async fn replay(&self, token: &IdempotencyToken) -> Result<Option<Applied>, StoreError>;

    /// Reserves `count` exchange numbers of `year`, consecutive, and returns the first. Numbers may
    /// be skipped, never given twice. Refused as full while there is no room for what they are for.
    async fn allocate_references(&self, year: i16, count: u64) -> Result<u64, StoreError>;

    /// One exchange.
    async fn exchange(&self, id: &ExchangeId) -> Result<Exchange, StoreError>;

    /// One exchange by its short name.
    async fn exchange_by_reference(&self, name: &Reference) -> Result<Exchange, StoreError>;

    /// Exchanges to which `agency` is a party, newest first; before `before`, at most `limit`.
    async fn exchanges(
        &self,
        agency: &AgencyId,
        before: Option<ExchangeId>,
        limit: usize,
    ) -> Result<Vec<Exchange>, StoreError>;

    /// The exchanges of one enquiry, in the order they were opened.
    async fn enquiry(&self, id: &EnquiryId) -> Result<Vec<Exchange>, StoreError>;

    /// Exchanges in which an answer of `agency` is waited for, the first due first; at most `limit`. Reads no
    /// more than those, however many are answered.
    async fn unanswered(
        &self,
        agency: &AgencyId,
        limit: usize,
    ) -> Result<Vec<Exchange>, StoreError>;

    /// Exchanges of `hub` in which an answer is waited for or an outcome is owed, the first due first; at most
    /// `limit`. Reads no more than those.
    async fn unsettled(&self, hub: &AgencyId, limit: usize) -> Result<Vec<Exchange>, StoreError>;

    /// Exchanges that were opened in this period, in the order of their ids; after `after`, at most
    /// `limit`. Reads every exchange there is: for reports.
    async fn exchanges_opened(
        &self,
        period: Period,
        after: Option<ExchangeId>,
        limit: usize,
    ) -> Result<Vec<Exchange>, StoreError>;

    /// When whoever referred the child of this enquiry was told what came of it.
    async fn referrer_told_at(&self, id: &EnquiryId) -> Result<Option<Timestamp>, StoreError>;

    /// Where a message is in its recipient's own record, sealed, if that said so.
    async fn saved_record(&self, id: &MessageId) -> Result<Option<Vec<u8>>, StoreError>;

    /// What is being written in this exchange, to become a message of this kind.
    async fn draft(
        &self,
        exchange: &ExchangeId,
        kind: Kind,
    ) -> Result<Option<StoredDraft>, StoreError>;

    /// Keeps the next version of it, which follows version `follows`; 0 when it is the first. False when
    /// that is not the latest any more, or the enquiry is destroyed: then nothing is kept.
    async fn keep_draft(
        &self,
        exchange: &ExchangeId,
        kind: Kind,
        follows: u64,
        ciphertext: Vec<u8>,
    ) -> Result<bool, StoreError>;

    /// Lets this version of it go, which was sent: what somebody has kept since stays.
    async fn discard_draft(
        &self,
        exchange: &ExchangeId,
        kind: Kind,
        version: u64,
    ) -> Result<(), StoreError>;

    /// What `hub` is writing to ask, what was kept last first; at most `limit`.
    async fn rfi_drafts(
        &self,
        hub: &AgencyId,
        limit: usize,
    ) -> Result<Vec<KeptRfiDraft>, StoreError>;

    /// One of these, with its key; of this hub alone.
    async fn rfi_draft(
        &self,
        hub: &AgencyId,
        id: &EnquiryId,
    ) -> Result<Option<StoredRfiDraft>, StoreError>;

    /// Keeps the first version of one, at `at`, with its key.
    async fn begin_rfi_draft(
        &self,
        hub: &AgencyId,
        key: NewEnquiry,
        ciphertext: Vec<u8>,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Keeps the next version of one, which follows version `follows`. False when that is not the latest any
    /// more, or there is none: then nothing is kept.
    async fn keep_rfi_draft(
        &self,
        hub: &AgencyId,
        id: &EnquiryId,
        follows: u64,
        ciphertext: Vec<u8>,
        at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Destroys this version of one and its key: what somebody has kept since stays.
    async fn discard_rfi_draft(
        &self,
        hub: &AgencyId,
        id: &EnquiryId,
        version: u64,
    ) -> Result<(), StoreError>;

    /// Destroys those that nobody has kept anything of since `before`.
    async fn discard_rfi_drafts_before(&self, before: Timestamp) -> Result<(), StoreError>;

    /// The latest `limit` entries about an exchange, oldest first.
    async fn timeline(&self, id: &ExchangeId, limit: usize)
    -> Result<Vec<StoredEntry>, StoreError>;

    /// Messages held for `recipient` and not yet saved, oldest first: of the kind `only`, or of every
    /// kind but answers to tests, which wait for a command and for no person; after `after`, at most
    /// `limit`.
    async fn inbox(
        &self,
        recipient: &AgencyId,
        only: Option<Kind>,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError>;

    /// Messages held for `recipient` and not yet saved that are no request and no test, newest first; at most
    /// `limit`.
    async fn inbox_besides_requests(
        &self,
        recipient: &AgencyId,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError>;

    /// Messages that `agency` sent or was sent in this period, by the time they were accepted; after
    /// `after`, at most `limit`. Reads no more than the page, however many there are.
    async fn correspondence(
        &self,
        agency: &AgencyId,
        period: Period,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError>;

    /// How many messages the inbox of `recipient` holds.
    async fn waiting(&self, recipient: &AgencyId, only: Option<Kind>) -> Result<u64, StoreError>;

    /// The latest test that this agency has answered.
    async fn answered_test(&self, agency: &AgencyId) -> Result<Option<Exchange>, StoreError>;

    /// What waits in the mailbox of `recipient` uncollected; of which at most `limit` are named that
    /// `addressee` was not told of.
    async fn uncollected(
        &self,
        recipient: &AgencyId,
        addressee: &str,
        limit: usize,
    ) -> Result<Uncollected, StoreError>;

    /// Those of these notices that `addressee` did not have.
    async fn untold_notices(
        &self,
        addressee: &str,
        notices: Vec<Notice>,
    ) -> Result<Vec<Notice>, StoreError>;

    /// Notes that `addressee` has these notices since `at`; forgets what anybody had long before. If it
    /// is lost they are told again.
    async fn note_told(
        &self,
        addressee: &str,
        notices: Vec<Notice>,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// What is on its way, of each recipient and state: held (and never collected), queued, returned.
    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError>;

    /// How much waits for each agency, of those that anything ever was sent to.
    async fn mailboxes(&self) -> Result<Vec<Mailbox>, StoreError>;

    /// One message's envelope and where its delivery stands.
    async fn message(&self, id: &MessageId) -> Result<StoredMessage, StoreError>;

    /// The sealed payload of a message, and its enquiry's wrapped key.
    async fn sealed_payload(&self, id: &MessageId) -> Result<SealedPayload, StoreError>;

    /// The enquiry opened last whose key is still there, and its wrapped key: what the at-rest
    /// identities must be able to open.
    async fn newest_enquiry_key(&self) -> Result<Option<(EnquiryId, Vec<u8>)>, StoreError>;

    /// Enquiries that were opened before then and not destroyed, in the order of their ids, after this
    /// one.
    async fn kept_enquiries(
        &self,
        opened_before: Timestamp,
        after: Option<EnquiryId>,
        limit: usize,
    ) -> Result<Vec<KeptEnquiry>, StoreError>;

    /// The entry that accepted a message, with its proof and checkpoint: what a receipt is made of.
    async fn acceptance(&self, id: &MessageId) -> Result<Logged, StoreError>;

    /// Notes that a file begins to come in, and holds its agency to `bytes_max` of files uploaded and
    /// not sent, of which this will be `bytes` more. False when it would be too much; then nothing is
    /// noted.
    async fn begin_upload(
        &self,
        upload: NewUpload,
        bytes: u64,
        bytes_max: u64,
    ) -> Result<bool, StoreError>;

    /// Keeps the next part of a file that is coming in, held to `bytes_max` as above.
    async fn add_part(
        &self,
        id: &AttachmentId,
        ciphertext: Vec<u8>,
        bytes_max: u64,
    ) -> Result<PartAdded, StoreError>;

    /// Gives up a file that was coming in, if it still is.
    async fn discard_upload(&self, id: &AttachmentId) -> Result<(), StoreError>;

    /// Gives up every file that began to come in before `before` and still is. Whoever sends it has
    /// gone away.
    async fn discard_uploads_before(&self, before: Timestamp) -> Result<(), StoreError>;

    /// Removes up to `parts` parts of files given up or swept; says whether there are more. A little
    /// at a time, so that nobody waits long for the writer.
    async fn clear_discarded(&self, parts: usize) -> Result<bool, StoreError>;

    /// The file that was uploaded under this key, and the fingerprint of that upload.
    async fn uploaded(
        &self,
        key_hash: &[u8; 16],
    ) -> Result<Option<(AttachmentId, [u8; 32])>, StoreError>;

    /// A file that is all here, whether a message names it or not.
    async fn attachment(&self, id: &AttachmentId) -> Result<StoredAttachment, StoreError>;

    /// A file as the recipient of a message that names it may have it.
    async fn sent_attachment(
        &self,
        id: &AttachmentId,
        recipient: &AgencyId,
    ) -> Result<SentAttachment, StoreError>;

    /// One part of a file, counted from 0.
    async fn attachment_part(&self, id: &AttachmentId, part: u32) -> Result<Vec<u8>, StoreError>;

    /// The files that a message names, in the order of their ids.
    async fn attachments_of(&self, id: &MessageId) -> Result<Vec<AttachmentId>, StoreError>;

    /// What each agency has uploaded and not sent.
    async fn unsent_attachments(&self) -> Result<Vec<Unsent>, StoreError>;

    /// Files uploaded before `before` that no message names, at most `limit`, those first that are
    /// longest here.
    async fn unsent_before(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<StoredAttachment>, StoreError>;

    /// For `log verify`: the file that each entry in `from..to` says was uploaded, with its digest
    /// recomputed from its parts.
    async fn attachment_digests(
        &self,
        from: u64,
        to: u64,
    ) -> Result<Vec<AttachmentDigest>, StoreError>;

    /// Every queue with pushes in it: one for each agency and endpoint. Looks at a few rows of each,
    /// however long it is.
    async fn queues(&self, now: Timestamp) -> Result<Vec<Queue>, StoreError>;

    /// Claims up to `limit` pushes of one queue, those that wait longest first, each until
    /// `now + lease_s`. What somebody else has under way is left to them.
    async fn claim(
        &self,
        now: Timestamp,
        lease_s: u32,
        queue: &Queue,
        wanted: Wanted,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError>;

    /// The clock was set, by so much, to `now`: the times of what is queued are moved along, so that
    /// nothing waits longer for it, and nothing is given up sooner. Nobody may have anything under way.
    async fn move_waits(&self, now: Timestamp, by: SignedDuration) -> Result<(), StoreError>;

    /// Messages of one queue that wait since `before` or longer, of which the sender was not told and
    /// which nobody has under way, at most `limit`.
    async fn untold(
        &self,
        now: Timestamp,
        queue: &Queue,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError>;

    /// Every message that was returned and not collected since, to `recipient` or to anybody, in the
    /// order they were returned.
    async fn dead_letters(
        &self,
        recipient: Option<&AgencyId>,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// The entry that returned a message, with its proof and checkpoint, while it is returned.
    async fn non_delivery(&self, id: &MessageId) -> Result<Logged, StoreError>;

    /// The log's latest signed checkpoint: its size, root and note. None before the first entry.
    async fn head(&self) -> Result<Option<Head>, StoreError>;

    /// Keeps cosignatures of the checkpoint of this size: of each witness the latest.
    async fn keep_cosignatures(
        &self,
        size: u64,
        cosignatures: Vec<Cosignature>,
    ) -> Result<(), StoreError>;

    /// The latest checkpoint that at least so many witnesses cosigned, and their lines; with none
    /// asked for, the head with whatever is under it.
    async fn cosigned(&self, witnesses: usize) -> Result<Option<(Head, Vec<String>)>, StoreError>;

    /// The latest that each witness ever heard of cosigned.
    async fn last_cosigned(&self) -> Result<Vec<LastCosigned>, StoreError>;

    /// Entries from `from`, at most `limit`, in order.
    async fn entries(&self, from: u64, limit: usize) -> Result<Vec<StoredEntry>, StoreError>;

    /// The roots of the complete subtrees named, each as (level, index at that level): level 0 holds
    /// leaf hashes. What inclusion and consistency proofs are made of.
    async fn nodes(&self, wanted: &[(u8, u64)]) -> Result<Vec<Hash>, StoreError>;

    /// Every checkpoint signed, oldest first, from size `from`, at most `limit`.
    async fn checkpoints(&self, from: u64, limit: usize) -> Result<Vec<Head>, StoreError>;

    /// For `log verify`: the message accepted by each entry in `from..to`, with the digest its row
    /// holds and the digest recomputed from the ciphertext (none when purged).
    async fn message_digests(&self, from: u64, to: u64) -> Result<Vec<MessageDigest>, StoreError>;

    /// Every certificate ever issued, newest first.
    async fn certificates(&self) -> Result<Vec<CertificateRecord>, StoreError>;

    /// What the bearer of the certificate with this serial did, by event.
    async fn doings(&self, serial: &str) -> Result<Vec<CertificateDoing>, StoreError>;

    /// Notes when certificates were last used, and from where. Of no consequence if it is lost.
    async fn note_uses(&self, uses: Vec<CertificateUse>) -> Result<(), StoreError>;

    /// The enrolment token with this hash.
    async fn token(&self, hash: &[u8; 32]) -> Result<Option<EnrolmentToken>, StoreError>;

    /// Every enrolment token ever made, newest first.
    async fn tokens(&self) -> Result<Vec<EnrolmentToken>, StoreError>;

    /// Binds a token that needs approval to the key first presented with it. Returns the key it is
    /// bound to, which may be another.
    async fn bind_token(&self, hash: &[u8; 32], key: &[u8; 32]) -> Result<[u8; 32], StoreError>;

    /// Writes a row, syncs it, and reads it back: the real path, for the health check.
    async fn probe(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Database size in bytes and rows by table, for metrics and the doctor.
    async fn size_bytes(&self) -> Result<u64, StoreError>;

    /// How much room there is to grow.
    async fn room(&self) -> Result<Room, StoreError>;
}

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What is stored contradicts itself. Stop: do not sign, do not accept.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// There is no room left.
    #[error("the disk is full")]
    Full {
        /// The database's own error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A later version of the gateway wrote it, and this one would misread it.
    #[error("the store was written by a newer version of the gateway; use that version")]
    Newer,
    /// There is no such thing.
    #[error("not found")]
    NotFound,
    /// The store cannot be used now; trying again later may help.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// What the operator needs to know.
        reason: String,
        /// The database's own error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// One thing to be kept and logged.
#[derive(Debug)]
pub enum Change {
    /// A submission: one message, or an RFI to several agencies; all or nothing.
    Accept(Box<Accept>),
    /// An event, and what it does.
    Record(Box<Record>),
}

/// A submission ready to be kept. Only ciphertext is in it.
#[derive(Debug)]
pub struct Accept {
    /// So that the same submission does nothing twice.
    pub token: IdempotencyToken,
    /// The enquiry's sealing key, when this submission opens an enquiry.
    pub enquiry: Option<NewEnquiry>,
    /// The override it spends, if it needs one. Refused when there is no such, or it was spent.
    pub decision: Option<DecisionToken>,
    /// The messages: one, or one per agency asked.
    pub messages: Vec<NewMessage>,
    /// How much may wait for each agency they are for.
    pub mailbox: MailboxLimits,
}

/// How much may wait for one agency before the hub is told to ring it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MailboxLimits {
    /// Messages.
    pub messages_max: u64,
    /// Their bytes, as they were sent.
    pub bytes_max: u64,
}

/// What waits for one agency: all that was neither delivered nor saved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mailbox {
    /// The agency.
    pub recipient: AgencyId,
    /// How many messages.
    pub messages: u64,
    /// Their bytes, as they were sent.
    pub bytes: u64,
}

impl MailboxLimits {
    /// How full a mailbox is, in hundredths, by whichever limit is nearer.
    pub fn percent(&self, mailbox: &Mailbox) -> u64 {
        let of = |part: u64, whole: u64| {
            u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(u64::MAX)
        };
        of(mailbox.messages, self.messages_max).max(of(mailbox.bytes, self.bytes_max))
    }
}

/// A submission's fingerprint. Neither the key nor anything of the body can be read from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IdempotencyToken {
    /// The first 16 bytes of SHA-256 over the sender and its idempotency key.
    pub key_hash: [u8; 16],
    /// HMAC-SHA256 of route and body, keyed by the idempotency key.
    pub body_mac: [u8; 32],
}

/// An override's fingerprint. Neither its code nor what was decided can be read from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DecisionToken {
    /// The first 16 bytes of SHA-256 of its code.
    pub code_hash: [u8; 16],
    /// HMAC-SHA256 of what was decided, keyed by the code.
    pub mac: [u8; 32],
}

/// An enquiry's sealing key.
#[derive(Clone, Debug)]
pub struct NewEnquiry {
    /// The enquiry.
    pub id: EnquiryId,
    /// The public half: `age1…`.
    pub recipient: String,
    /// The secret half, an age file to the at-rest and recovery recipients.
    pub wrapped_key: Vec<u8>,
}

/// A message ready to be kept.
#[derive(Debug)]
pub struct NewMessage {
    /// What is known of it unopened.
    pub envelope: Envelope,
    /// The payload, an age file.
    pub ciphertext: Vec<u8>,
    /// The files it names.
    pub attachments: Vec<AttachedKey>,
    /// Its audit entry.
    pub entry: NewEntry,
    /// Where delivery starts.
    pub delivery: DeliveryState,
    /// What it does to its exchange.
    pub step: Step,
}

/// What an accepted message does to its exchange.
#[derive(Debug)]
pub enum Step {
    /// An RFI opens it.
    Open(Box<Exchange>),
    /// Anything else is said in it; refused when it is untimely.
    Say(Said),
}

/// An event to log, and what it does.
#[derive(Debug)]
pub struct Record {
    /// Its audit entry.
    pub entry: NewEntry,
    /// The exchange it belongs to, if any.
    pub exchange: Option<ExchangeId>,
    /// What it does besides being logged.
    pub effect: Effect,
}

/// What a logged event does.
#[derive(Debug)]
pub enum Effect {
    /// An operator approved the key a token is bound to. Refused when that is not the key.
    ApproveToken {
        /// SHA-256 of the token.
        token: [u8; 32],
        /// SHA-256 of the key.
        key: [u8; 32],
        /// When.
        at: Timestamp,
    },
    /// A file has come in whole. Refused when it is not coming in any more, or when its key was used.
    Attach(Box<NewAttachment>),
    /// The recipient fetched the message: held becomes collected, a requested exchange received.
    Collect(MessageId),
    /// The recipient of a message fetched a file that goes with it.
    CollectAttachment {
        /// The file.
        attachment: AttachmentId,
        /// The message.
        message: MessageId,
    },
    /// The sender is told that a queued message is late. Refused when it is queued no more, or was
    /// told before.
    Delay(MessageId),
    /// An operator gives up a queued message: it is returned to its sender. Refused when it is not
    /// queued, or when an attempt to push it is under way.
    GiveUp {
        /// The message.
        message: MessageId,
        /// When: a lease that has run out by then is no attempt.
        at: Timestamp,
    },
    /// Nothing an agency has so far can be turned into a new certificate from now on: its unused
    /// tokens end, and certificates issued before are not renewed.
    BarAgency {
        /// The agency.
        agency: AgencyId,
        /// Since when.
        at: Timestamp,
    },
    /// A certificate was issued for a one-time token, which is thereby used up. Refused when it
    /// was used before, or its agency was barred since it was made.
    Enrol {
        /// SHA-256 of the token.
        token: [u8; 32],
        /// What was issued.
        certificate: CertificateRecord,
    },
    /// A certificate was issued.
    IssueCertificate(CertificateRecord),
    /// An enquiry is destroyed: its key, its payloads, its files. Refused when it is held or destroyed
    /// already, when something came since, and while a message of it is on its way.
    DestroyEnquiry {
        /// Which.
        enquiry: EnquiryId,
        /// The latest entry about it when it was found to be due.
        latest: u64,
    },
    /// A legal hold is put on an enquiry. Refused when there is one, and when it is destroyed.
    HoldEnquiry(EnquiryId),
    /// Nothing but the entry.
    Log,
    /// A one-time token was made.
    MakeToken(EnrolmentToken),
    /// The Team Manager recorded an override.
    RecordOverride {
        /// Its fingerprint.
        token: DecisionToken,
        /// When.
        at: Timestamp,
    },
    /// A certificate was issued in the place of another. Refused when that is revoked, or its agency
    /// was barred since it was issued.
    RenewCertificate {
        /// The serial of the one before, lower-case hex.
        predecessor: String,
        /// What was issued.
        certificate: CertificateRecord,
    },
    /// A legal hold ends. Refused when there is none.
    ReleaseEnquiry(EnquiryId),
    /// An operator has a returned message delivered again, from this state on. Refused when it is not
    /// returned.
    Retry {
        /// The message.
        message: MessageId,
        /// Queued at the first endpoint, or held.
        state: DeliveryState,
        /// When: from then on it has all the time again that a new message has.
        at: Timestamp,
    },
    /// A certificate is no longer good. One that was revoked keeps its time; the reason can only be
    /// raised to a compromise of its key.
    RevokeCertificate {
        /// SHA-256 of its DER.
        sha256: [u8; 32],
        /// When.
        at: Timestamp,
        /// Why, as RFC 5280 names it.
        reason: String,
    },
    /// The recipient has the message in its own record: collected or delivered becomes saved. Refused
    /// when it says where, and has said so before.
    Save {
        /// The message.
        message: MessageId,
        /// Where, if it says so: an age file to the enquiry's key.
        record: Option<Vec<u8>>,
    },
    /// A push attempt ended; ends the lease. Refused when the lease is no longer held.
    Settle(Claim, DeliveryState),
    /// A file that no message names is destroyed. Refused when one does.
    SweepAttachment(AttachmentId),
    /// Whoever referred the child was told, then; the first time counts. Refused when there is no such
    /// enquiry.
    TellReferrer {
        /// The enquiry.
        enquiry: EnquiryId,
        /// When they were told.
        at: Timestamp,
    },
}

/// What became of a change.
#[derive(Debug)]
pub enum Applied {
    /// Kept and logged: one `Logged` per message, in order.
    Accepted(Vec<Logged>),
    /// This submission was accepted before: the first answer's parts.
    Replayed(Vec<Logged>),
    /// The event is logged.
    Recorded(Logged),
    /// Not applied, nothing kept: a file it names is not there to be sent: another message names it,
    /// or it was swept.
    AttachmentGone,
    /// Not applied, nothing kept: the same idempotency key came with another body before.
    KeyReused,
    /// Not applied, nothing kept: as much waits for this agency as may.
    MailboxFull(AgencyId),
    /// Not applied, nothing kept: the message has not been collected.
    NotCollected,
    /// Not applied, nothing kept: there is no room for new messages.
    NoRoom,
    /// Not applied, nothing kept: no such message or exchange, or the lease was lost.
    NotFound,
    /// Not applied, nothing kept: the message's delivery stands otherwise than this needs.
    OtherState,
    /// Not applied, nothing kept: there is no such override, or it was spent.
    OverrideNotRecorded,
    /// Not applied, nothing kept: the exchange does not allow it now.
    Untimely(Untimely),
}

/// Where a message's delivery stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DeliveryState {
    /// Fetched from the mailbox.
    Collected,
    /// Taken by the push endpoint.
    Delivered,
    /// Its payload was destroyed before it was in its recipient's own record.
    Destroyed,
    /// In the mailbox.
    Held,
    /// To be pushed.
    Queued {
        /// Which of the agency's ordered endpoints.
        endpoint: u16,
        /// Not before this.
        at: Timestamp,
        /// Attempts made so far.
        attempts: u32,
    },
    /// Given up; the sender is told.
    Returned,
    /// In the recipient's own record.
    Saved,
}

impl DeliveryState {
    /// The name used in tables and answers.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Collected => "collected",
            Self::Delivered => "delivered",
            Self::Destroyed => "destroyed",
            Self::Held => "held",
            Self::Queued { .. } => "queued",
            Self::Returned => "returned",
            Self::Saved => "saved",
        }
    }

    /// Whether a message in the state of this name still takes room in its recipient's mailbox.
    pub fn waits(name: &str) -> bool {
        matches!(name, "collected" | "held" | "queued" | "returned")
    }
}

/// Messages to one agency that have not reached it.
#[derive(Clone, Debug)]
pub struct Backlog {
    /// The agency.
    pub recipient: AgencyId,
    /// Where their delivery stands, as [`DeliveryState::as_str`] names it.
    pub state: String,
    /// How many.
    pub count: u64,
    /// When the oldest of them was accepted.
    pub oldest: Timestamp,
}

/// The messages that wait to be pushed to one endpoint of one agency.
#[derive(Clone, Debug)]
pub struct Queue {
    /// The agency.
    pub recipient: AgencyId,
    /// Which of its ordered endpoints.
    pub endpoint: u16,
    /// When the first of them may be pushed; of those under way, when their lease runs out.
    pub due: Timestamp,
    /// Since when the oldest waits of which its sender has not been told, under way not counted.
    pub untold_since: Option<Timestamp>,
    /// Since when the oldest waits of which its sender has been told, under way not counted.
    pub told_since: Option<Timestamp>,
}

/// Which messages of a queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// Those that are due.
    Due,
    /// Those that wait since then or longer, due or not.
    Waiting {
        /// Only those of which the sender has been told, or only the others.
        is_told: bool,
        /// Since when.
        before: Timestamp,
    },
}

/// A message that was returned, as its sender was told.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Its envelope.
    pub envelope: Envelope,
    /// The fields of the entry that returned it; none once purged.
    pub fields: Option<String>,
}

/// An enquiry that is not destroyed, as far as it matters when it is to be.
#[derive(Clone, Debug)]
pub struct KeptEnquiry {
    /// Which.
    pub id: EnquiryId,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// The latest entry about it.
    pub latest: u64,
    /// When that was.
    pub latest_at: Timestamp,
    /// Whether nothing more is asked in any exchange of it: each agency has its outcome, or was told that
    /// no answer is needed, or was only tested.
    pub is_closed: bool,
    /// Whether every agency has answered or need not, and every message is in its recipient's own record.
    pub is_saved: bool,
    /// Whether a message of it is still to be pushed.
    pub is_on_its_way: bool,
    /// Whether there is a legal hold on it.
    pub is_held: bool,
    /// Whether its key was destroyed since the backup was made that brought the rest of it back.
    pub is_lost: bool,
}

/// A push to be made by whoever holds this, until the lease runs out.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The message to push.
    pub message: MessageId,
    /// Which of the agency's ordered endpoints.
    pub endpoint: u16,
    /// Attempts made before this one.
    pub attempts: u32,
    /// Since when it waits: its acceptance, or an operator's retry.
    pub since: Timestamp,
    /// Proves the lease is ours.
    pub lease: [u8; 16],
}

/// A message as stored.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    /// Its envelope.
    pub envelope: Envelope,
    /// Where its delivery stands.
    pub delivery: DeliveryState,
    /// The index of the entry that accepted it.
    pub entry: u64,
}

/// Something that is being written and was not sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredDraft {
    /// Which version it is, counted from 1.
    pub version: u64,
    /// It, sealed.
    pub ciphertext: Vec<u8>,
}

/// An RFI that is being written, without what stands in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeptRfiDraft {
    /// Under which it is kept: no enquiry's yet.
    pub id: EnquiryId,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// When anybody last kept something of it.
    pub kept_at: Timestamp,
}

/// An RFI that is being written and was not sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredRfiDraft {
    /// Which version it is, counted from 1.
    pub version: u64,
    /// It, sealed.
    pub ciphertext: Vec<u8>,
    /// The public half of its key: `age1…`.
    pub recipient: String,
    /// The secret half, an age file to the at-rest recipients.
    pub wrapped_key: Vec<u8>,
}

/// What is needed to open a message.
#[derive(Clone, Debug)]
pub struct SealedPayload {
    /// The payload, an age file. None once purged.
    pub ciphertext: Option<Vec<u8>>,
    /// The enquiry's secret key, an age file to the at-rest recipients. None once purged.
    pub wrapped_key: Option<Vec<u8>>,
}

/// An entry as stored. Salt and fields are gone once purged; the nodes stay for ever.
#[derive(Clone, Debug)]
pub struct StoredEntry {
    /// Its place in the log, from 0.
    pub index: u64,
    /// The salt of its commitment.
    pub salt: Option<[u8; 32]>,
    /// Its canonical fields.
    pub fields: Option<String>,
    /// The roots of the complete subtrees this entry completes, its own leaf hash first.
    pub nodes: Vec<Hash>,
    /// The entry before it about the same exchange.
    pub previous: Option<u64>,
}

/// A signed checkpoint and what it says.
#[derive(Clone, Debug)]
pub struct Head {
    /// How many entries.
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
    /// The signed note.
    pub note: Arc<str>,
}

/// The latest that one witness cosigned.
#[derive(Clone, Debug)]
pub struct LastCosigned {
    /// The witness's verifier key.
    pub witness: String,
    /// How many entries the log had.
    pub size: u64,
    /// When, by the witness's clock.
    pub at: Timestamp,
}

/// For comparing a message's row with its entry.
#[derive(Clone, Debug)]
pub struct MessageDigest {
    /// The entry that accepted it.
    pub entry: u64,
    /// The message.
    pub id: MessageId,
    /// Its sender, recipient and kind as the row has them: they must be the entry's.
    pub envelope: Envelope,
    /// The files it names, in the order of their ids.
    pub attachments: Vec<AttachmentId>,
    /// SHA-256 of the ciphertext as it is now; none once purged.
    pub ciphertext_sha256: Option<[u8; 32]>,
    /// How the rows that belong to it stand, or what is wrong with them.
    pub rows: Result<MessageRows, RowFault>,
}

/// How the rows that belong to a message stand now.
#[derive(Clone, Debug)]
pub struct MessageRows {
    /// Its delivery's state, as [`DeliveryState::as_str`] names it.
    pub delivery: String,
    /// The entry that told its sender that it is late or returned.
    pub told: Option<u64>,
    /// Whether its exchange asks for attention until the hub has saved it.
    pub needs_attention: bool,
    /// To whom its enquiry says that it is sealed.
    pub enquiry_recipient: String,
    /// The entry that its enquiry says destroyed it.
    pub destroyed: Option<u64>,
    /// The entry that its enquiry says put a legal hold on it.
    pub held: Option<u64>,
    /// SHA-256 of what its recipient said of its own record, as that is stored.
    pub saved_record_sha256: Option<[u8; 32]>,
    /// Its exchange.
    pub exchange: ExchangeRow,
}

/// How an exchange's row stands now.
#[derive(Clone, Debug)]
pub struct ExchangeRow {
    /// The latest entry about it.
    pub last_entry: u64,
    /// Whether there is an answer's result.
    pub has_result: bool,
    /// To whom it says that its messages are sealed.
    pub sealing_recipient: String,
    /// Where it stands.
    pub state: ExchangeState,
    /// What was said in it and when.
    pub marks: Marks,
    /// When whoever referred the child was told, as its enquiry's row has it.
    pub referrer_told_at: Option<Timestamp>,
}

/// What can be wrong with the rows that belong to a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RowFault {
    /// It would be shown as late or returned in another exchange.
    #[error("its delivery is in another exchange")]
    DeliveryExchange,
    /// It is not known how it stands with its delivery.
    #[error("its delivery is missing")]
    DeliveryMissing,
    /// It would be listed for somebody else.
    #[error("its delivery is to another agency")]
    DeliveryRecipient,
    /// Its enquiry, or the key that opens it, is not there.
    #[error("its enquiry, or the enquiry's key, is missing")]
    EnquiryMissing,
    /// It should not be there.
    #[error("its enquiry is destroyed, and something of it is still there")]
    NotDestroyed,
    /// Its exchange is not there.
    #[error("its exchange is missing")]
    ExchangeMissing,
    /// Its exchange is between others.
    #[error("its exchange is between other agencies")]
    ExchangeParties,
    /// It is not there.
    #[error("its sealed payload is missing")]
    PayloadMissing,
}
