//! The store in one SQLite file.
//!
//! One connection writes and several read beside it (write-ahead log). Whatever is remembered
//! between transactions is checked against the file before it is relied on, so that the command
//! line may write to the file of a running gateway.

mod append;
mod attachments;
pub mod copy;
mod dedupe;
mod drafts;
mod notices;
mod open;
mod overrides;
mod read;
mod recover;
mod retention;
mod rfi_drafts;
mod room;
mod row;
#[cfg(test)]
mod tests;
mod wal;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{Connection, ErrorCode, Row, TransactionBehavior, params};
use rustix::io::Errno;

use super::{
    Applied, AttachmentDigest, Backlog, CertificateDoing, CertificateRecord, CertificateUse,
    Change, Claim, DeadLetter, EnrolmentToken, Head, IdempotencyToken, KeptEnquiry, KeptRfiDraft,
    LastCosigned, Mailbox, MessageDigest, NewEnquiry, NewUpload, Notice, PartAdded, Queue, Room,
    SealedPayload, SentAttachment, Store, StoreError, StoredAttachment, StoredDraft, StoredEntry,
    StoredMessage, StoredRfiDraft, Uncollected, Unsent, Wanted,
};
use crate::audit::checkpoint::LogKey;
use crate::audit::cosignature::Cosignature;
use crate::audit::receipt::Logged;
use crate::audit::tree::{Hash, Tree};
use crate::message::{
    AgencyId, AttachmentId, EnquiryId, Exchange, ExchangeId, Kind, MessageId, Period, Reference,
};
use dedupe::Keys;
use recover::Open;
pub use room::room;
use row::{integer, limit};

/// A store in one file.
pub struct Sqlite {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    /// Closed before the writer, who alone can bring what is beside the file into it: the last to close does.
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Writer>,
    /// Apart from the writer, who may be waiting for the disk. None until first needed.
    keys: Mutex<Option<Keys>>,
    generation: usize,
    free_bytes_min: u64,
    /// The writer's.
    is_in_doubt: Arc<AtomicBool>,
    /// Shared by whoever reads; alone is who closes everything and opens it anew.
    gate: RwLock<()>,
}

struct Writer {
    /// None after an I/O error, until the file could be opened anew.
    open: Option<Open>,
    /// The log as of the last batch. None until the first.
    tree: Option<Tree>,
    /// Whether the file may show what was never synced: nobody reads until it is opened anew.
    is_in_doubt: Arc<AtomicBool>,
}

impl Sqlite {
    /// Makes a new store, with no log yet, at `path`, where nothing may be.
    pub fn create(path: &Path) -> Result<(), StoreError> {
        open::create(path)
    }

    /// Opens the store at `path`, bringing it up to date first if need be.
    ///
    /// Looks at none of its contents: a damaged log can be opened, to be verified.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, dedupe::GENERATION, 0)
    }

    /// The same, for whoever accepts messages: none is taken while less than `free_bytes_min` is free
    /// on the disk.
    pub fn open_keeping(path: &Path, free_bytes_min: u64) -> Result<Self, StoreError> {
        let store = Self::open_with(path, dedupe::GENERATION, free_bytes_min)?;
        {
            // A process before us may have left in the log what it could not sync.
            let mut writer = lock(&store.shared.writer);
            let (open, _) = store.shared.opened(&mut writer)?;
            match wal::copy(&open.connection).map_err(StoreError::from) {
                Err(StoreError::Full { .. }) => tracing::error!("the database's disk is full"),
                copied => copied?,
            }
        }
        Ok(store)
    }

    fn open_with(path: &Path, generation: usize, free_bytes_min: u64) -> Result<Self, StoreError> {
        open::prepare(path)?;
        let is_in_doubt = Arc::new(AtomicBool::new(false));
        let open = Some(Open::new(path)?);
        let writer = Writer { open, tree: None, is_in_doubt: Arc::clone(&is_in_doubt) };
        room::reserve(path, free_bytes_min);
        let shared = Shared {
            path: path.to_owned(),
            writer: Mutex::new(writer),
            keys: Mutex::new(None),
            generation,
            free_bytes_min,
            readers: Mutex::default(),
            is_in_doubt,
            gate: RwLock::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// From now on, whoever reads one thing after the other reads all of it as it is at this instant,
    /// whatever a gateway beside us writes: for looking at everything, and then closing.
    pub fn hold_still(&self) -> Result<(), StoreError> {
        let connection = open::reader(&self.shared.path)?;
        // What is read first fixes the instant.
        connection.execute_batch("/* still */ BEGIN; SELECT count(*) FROM sqlite_schema;")?;
        *lock(&self.shared.readers) = vec![connection];
        Ok(())
    }

    /// Reads on a thread where waiting for the disk holds up nobody.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.on_thread(move |shared| shared.read(query)).await
    }

    /// Writes outside the log, on such a thread.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.on_thread(move |shared| {
            let mut writer = lock(&shared.writer);
            let done = shared.opened(&mut writer).and_then(|(open, _)| {
                let Open { connection, checkpointer, .. } = open;
                let transaction =
                    connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let done = change(&transaction)?;
                transaction.commit()?;
                checkpointer.written(connection);
                Ok(done)
            });
            writer.after(done)
        })
        .await
    }

    /// Writes or removes parts of files, the same way.
    async fn write_blobs<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.on_thread(move |shared| {
            let mut writer = lock(&shared.writer);
            let done = shared.opened(&mut writer).and_then(|(open, _)| {
                let transaction =
                    open.blobs.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let done = change(&transaction)?;
                transaction.commit()?;
                open.checkpointer.written(&open.connection);
                Ok(done)
            });
            writer.after(done)
        })
        .await
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || work(&shared)).await.map_err(|error| {
            StoreError::Unavailable {
                reason: "a query did not come to its end".to_owned(),
                source: Some(error.into()),
            }
        })?
    }
}

impl Shared {
    fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // A receipt for what a power cut could still take away would be a promise not kept.
        if self.is_in_doubt.load(Ordering::Acquire) {
            self.opened(&mut lock(&self.writer))?;
        }
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let idle = lock(&self.readers).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open::reader(&self.path)?,
        };
        let done = query(&connection);
        let is_good = done.as_ref().err().is_none_or(|error| !is_io_error(error));
        let mut readers = lock(&self.readers);
        if is_good && readers.len() < READERS_MAX {
            readers.push(connection);
        }
        done
    }

    /// Refuses new work when there is no room for it.
    fn need_room(&self) -> Result<(), StoreError> {
        // Nothing is kept: it is not even looked at.
        if self.free_bytes_min > 0 && room(&self.path, self.free_bytes_min)?.is_used_up() {
            return Err(StoreError::Full { source: None });
        }
        Ok(())
    }

    /// What is remembered of the keys, read from the file the first time.
    fn keys<T>(
        &self,
        connection: &Connection,
        with: impl FnOnce(&mut Keys) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut keys = lock(&self.keys);
        match &mut *keys {
            Some(keys) => with(keys),
            none => with(none.insert(Keys::load(connection, self.generation)?)),
        }
    }
}

#[async_trait::async_trait]
impl Store for Sqlite {
    async fn append(&self, changes: Vec<Change>, key: &LogKey) -> Result<Vec<Applied>, StoreError> {
        self.shared.append(changes, key)
    }

    async fn replay(&self, token: &IdempotencyToken) -> Result<Option<Applied>, StoreError> {
        // A point read, as below.
        let shared = &self.shared;
        shared.read(|connection| {
            let (place, from) = shared.keys(connection, |keys| Ok(keys.find(&token.key_hash)))?;
            let place = match place {
                Some(place) => Some(place),
                None => dedupe::find_stored(connection, &token.key_hash, from)?,
            };
            place.map(|place| read::replayed(connection, token, place)).transpose()
        })
    }

    async fn allocate_references(&self, year: i16, count: u64) -> Result<u64, StoreError> {
        self.shared.need_room()?;
        self.write(move |connection| {
            let next = connection
                .prepare_cached(
                    "/* allocate */ INSERT INTO reference_numbers (year, next) VALUES (?1, 1 + ?2)
                     ON CONFLICT (year) DO UPDATE SET next = next + ?2 RETURNING next",
                )?
                .query_row(params![year, integer(count)], |row| row::unsigned(row, 0))?;
            Ok(next - count)
        })
        .await
    }

    async fn exchange(&self, id: &ExchangeId) -> Result<Exchange, StoreError> {
        // A few pages, nearly always in memory: handing this to another thread, as longer reads
        // are, takes several times as long as the read.
        self.shared.read(|connection| read::exchange(connection, id))
    }

    async fn exchange_by_reference(&self, name: &Reference) -> Result<Exchange, StoreError> {
        self.shared.read(|connection| read::exchange_by_reference(connection, name))
    }

    async fn exchanges(
        &self,
        agency: &AgencyId,
        before: Option<ExchangeId>,
        limit: usize,
    ) -> Result<Vec<Exchange>, StoreError> {
        let agency = agency.clone();
        self.read(move |connection| read::exchanges(connection, &agency, before, limit)).await
    }

    async fn enquiry(&self, id: &EnquiryId) -> Result<Vec<Exchange>, StoreError> {
        let id = *id;
        self.read(move |connection| read::enquiry(connection, &id)).await
    }

    async fn unanswered(
        &self,
        agency: &AgencyId,
        limit: usize,
    ) -> Result<Vec<Exchange>, StoreError> {
        let agency = agency.clone();
        self.read(move |connection| read::unanswered(connection, &agency, limit)).await
    }

    async fn unsettled(&self, hub: &AgencyId, limit: usize) -> Result<Vec<Exchange>, StoreError> {
        let hub = hub.clone();
        self.read(move |connection| read::unsettled(connection, &hub, limit)).await
    }

    async fn exchanges_opened(
        &self,
        period: Period,
        after: Option<ExchangeId>,
        limit: usize,
    ) -> Result<Vec<Exchange>, StoreError> {
        self.read(move |connection| read::exchanges_opened(connection, period, after, limit)).await
    }

    async fn referrer_told_at(&self, id: &EnquiryId) -> Result<Option<Timestamp>, StoreError> {
        let id = *id;
        self.read(move |connection| read::referrer_told_at(connection, &id)).await
    }

    async fn saved_record(&self, id: &MessageId) -> Result<Option<Vec<u8>>, StoreError> {
        let id = *id;
        self.read(move |connection| read::saved_record(connection, &id)).await
    }

    async fn draft(
        &self,
        exchange: &ExchangeId,
        kind: Kind,
    ) -> Result<Option<StoredDraft>, StoreError> {
        let exchange = *exchange;
        self.read(move |connection| drafts::find(connection, &exchange, kind)).await
    }

    async fn keep_draft(
        &self,
        exchange: &ExchangeId,
        kind: Kind,
        follows: u64,
        ciphertext: Vec<u8>,
    ) -> Result<bool, StoreError> {
        let exchange = *exchange;
        self.on_thread(|shared| shared.need_room()).await?;
        self.write(move |connection| {
            drafts::keep(connection, &exchange, kind, follows, &ciphertext)
        })
        .await
    }

    async fn discard_draft(
        &self,
        exchange: &ExchangeId,
        kind: Kind,
        version: u64,
    ) -> Result<(), StoreError> {
        let exchange = *exchange;
        self.write(move |connection| drafts::discard(connection, &exchange, kind, version)).await
    }

    async fn rfi_drafts(
        &self,
        hub: &AgencyId,
        limit: usize,
    ) -> Result<Vec<KeptRfiDraft>, StoreError> {
        let hub = hub.clone();
        self.read(move |connection| rfi_drafts::kept(connection, &hub, limit)).await
    }

    async fn rfi_draft(
        &self,
        hub: &AgencyId,
        id: &EnquiryId,
    ) -> Result<Option<StoredRfiDraft>, StoreError> {
        let (hub, id) = (hub.clone(), *id);
        self.read(move |connection| rfi_drafts::find(connection, &hub, &id)).await
    }

    async fn begin_rfi_draft(
        &self,
        hub: &AgencyId,
        key: NewEnquiry,
        ciphertext: Vec<u8>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let hub = hub.clone();
        self.on_thread(|shared| shared.need_room()).await?;
        self.write(move |connection| rfi_drafts::begin(connection, &hub, &key, &ciphertext, at))
            .await
    }

    async fn keep_rfi_draft(
        &self,
        hub: &AgencyId,
        id: &EnquiryId,
        follows: u64,
        ciphertext: Vec<u8>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let (hub, id) = (hub.clone(), *id);
        self.on_thread(|shared| shared.need_room()).await?;
        self.write(move |connection| {
            rfi_drafts::keep(connection, &hub, &id, follows, &ciphertext, at)
        })
        .await
    }

    async fn discard_rfi_draft(
        &self,
        hub: &AgencyId,
        id: &EnquiryId,
        version: u64,
    ) -> Result<(), StoreError> {
        let (hub, id) = (hub.clone(), *id);
        self.write(move |connection| rfi_drafts::discard(connection, &hub, &id, version)).await
    }

    async fn discard_rfi_drafts_before(&self, before: Timestamp) -> Result<(), StoreError> {
        self.write(move |connection| rfi_drafts::discard_before(connection, before)).await
    }

    async fn timeline(
        &self,
        id: &ExchangeId,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        let id = *id;
        self.read(move |connection| read::timeline(connection, &id, limit)).await
    }

    async fn inbox(
        &self,
        recipient: &AgencyId,
        only: Option<Kind>,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let recipient = recipient.clone();
        self.read(move |connection| read::inbox(connection, &recipient, only, after, limit)).await
    }

    async fn inbox_besides_requests(
        &self,
        recipient: &AgencyId,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let recipient = recipient.clone();
        self.read(move |connection| read::inbox_besides_requests(connection, &recipient, limit))
            .await
    }

    async fn correspondence(
        &self,
        agency: &AgencyId,
        period: Period,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let agency = agency.clone();
        self.read(move |connection| read::correspondence(connection, &agency, period, after, limit))
            .await
    }

    async fn waiting(&self, recipient: &AgencyId, only: Option<Kind>) -> Result<u64, StoreError> {
        let recipient = recipient.clone();
        self.read(move |connection| read::waiting(connection, &recipient, only)).await
    }

    async fn answered_test(&self, agency: &AgencyId) -> Result<Option<Exchange>, StoreError> {
        let agency = agency.clone();
        self.read(move |connection| read::answered_test(connection, &agency)).await
    }

    async fn uncollected(
        &self,
        recipient: &AgencyId,
        addressee: &str,
        limit: usize,
    ) -> Result<Uncollected, StoreError> {
        let (recipient, addressee) = (recipient.clone(), addressee.to_owned());
        self.read(move |connection| notices::uncollected(connection, &recipient, &addressee, limit))
            .await
    }

    async fn untold_notices(
        &self,
        addressee: &str,
        notices: Vec<Notice>,
    ) -> Result<Vec<Notice>, StoreError> {
        let addressee = addressee.to_owned();
        self.read(move |connection| notices::untold(connection, &addressee, notices)).await
    }

    async fn note_told(
        &self,
        addressee: &str,
        notices: Vec<Notice>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let addressee = addressee.to_owned();
        self.write(move |connection| notices::note(connection, &addressee, &notices, at)).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        self.read(read::backlog).await
    }

    async fn mailboxes(&self) -> Result<Vec<Mailbox>, StoreError> {
        self.read(read::mailboxes).await
    }

    async fn message(&self, id: &MessageId) -> Result<StoredMessage, StoreError> {
        let id = *id;
        self.read(move |connection| read::message(connection, &id)).await
    }

    async fn sealed_payload(&self, id: &MessageId) -> Result<SealedPayload, StoreError> {
        let id = *id;
        self.read(move |connection| read::sealed_payload(connection, &id)).await
    }

    async fn newest_enquiry_key(&self) -> Result<Option<(EnquiryId, Vec<u8>)>, StoreError> {
        self.read(read::newest_enquiry_key).await
    }

    async fn kept_enquiries(
        &self,
        opened_before: Timestamp,
        after: Option<EnquiryId>,
        limit: usize,
    ) -> Result<Vec<KeptEnquiry>, StoreError> {
        self.read(move |connection| retention::kept(connection, opened_before, after, limit)).await
    }

    async fn acceptance(&self, id: &MessageId) -> Result<Logged, StoreError> {
        let id = *id;
        self.read(move |connection| {
            let entry = read::message(connection, &id)?.entry;
            read::logged(connection, entry)
        })
        .await
    }

    async fn begin_upload(
        &self,
        upload: NewUpload,
        bytes: u64,
        bytes_max: u64,
    ) -> Result<bool, StoreError> {
        self.shared.need_room()?;
        self.write(move |connection| attachments::begin(connection, &upload, bytes, bytes_max))
            .await
    }

    async fn add_part(
        &self,
        id: &AttachmentId,
        ciphertext: Vec<u8>,
        bytes_max: u64,
    ) -> Result<PartAdded, StoreError> {
        self.shared.need_room()?;
        let id = *id;
        self.write_blobs(move |connection| {
            attachments::add_part(connection, &id, &ciphertext, bytes_max)
        })
        .await
    }

    async fn discard_upload(&self, id: &AttachmentId) -> Result<(), StoreError> {
        let id = *id;
        self.write(move |connection| attachments::discard(connection, &id)).await
    }

    async fn discard_uploads_before(&self, before: Timestamp) -> Result<(), StoreError> {
        self.write(move |connection| attachments::discard_before(connection, before)).await
    }

    async fn clear_discarded(&self, parts: usize) -> Result<bool, StoreError> {
        self.write_blobs(move |connection| attachments::clear(connection, parts)).await
    }

    async fn uploaded(
        &self,
        key_hash: &[u8; 16],
    ) -> Result<Option<(AttachmentId, [u8; 32])>, StoreError> {
        self.shared.read(|connection| attachments::uploaded(connection, key_hash))
    }

    async fn attachment(&self, id: &AttachmentId) -> Result<StoredAttachment, StoreError> {
        self.shared.read(|connection| attachments::attachment(connection, id))
    }

    async fn sent_attachment(
        &self,
        id: &AttachmentId,
        recipient: &AgencyId,
    ) -> Result<SentAttachment, StoreError> {
        self.shared.read(|connection| attachments::sent(connection, id, recipient))
    }

    async fn attachment_part(&self, id: &AttachmentId, part: u32) -> Result<Vec<u8>, StoreError> {
        let id = *id;
        self.read(move |connection| attachments::part(connection, &id, part)).await
    }

    async fn attachments_of(&self, id: &MessageId) -> Result<Vec<AttachmentId>, StoreError> {
        self.shared.read(|connection| attachments::of_message(connection, id))
    }

    async fn unsent_attachments(&self) -> Result<Vec<Unsent>, StoreError> {
        self.read(attachments::unsent).await
    }

    async fn unsent_before(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<StoredAttachment>, StoreError> {
        self.read(move |connection| attachments::unsent_before(connection, before, limit)).await
    }

    async fn attachment_digests(
        &self,
        from: u64,
        to: u64,
    ) -> Result<Vec<AttachmentDigest>, StoreError> {
        self.read(move |connection| attachments::digests(connection, from, to)).await
    }

    async fn queues(&self, now: Timestamp) -> Result<Vec<Queue>, StoreError> {
        self.read(move |connection| read::queues(connection, now)).await
    }

    async fn claim(
        &self,
        now: Timestamp,
        lease_s: u32,
        queue: &Queue,
        wanted: Wanted,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        let queue = queue.clone();
        self.write(move |connection| claim(connection, now, lease_s, &queue, wanted, limit)).await
    }

    async fn move_waits(&self, now: Timestamp, by: SignedDuration) -> Result<(), StoreError> {
        // Set back, what is due later than now was written before. Set forward, what waits since before
        // the middle was: what was accepted since is of about now; and to be early does no harm.
        let moved = if by.is_negative() {
            "/* clock */ UPDATE deliveries SET due_ms = due_ms + ?2, since_ms = since_ms + ?2
             WHERE state = 'queued' AND due_ms > ?1"
        } else {
            "/* clock */ UPDATE deliveries SET since_ms = since_ms + ?2
             WHERE state = 'queued' AND since_ms < ?1 - ?2 / 2"
        };
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let now_ms = now.as_millisecond();
        self.write(move |connection| {
            connection.prepare_cached(moved)?.execute(params![now_ms, by_ms])?;
            Ok(())
        })
        .await
    }

    async fn untold(
        &self,
        now: Timestamp,
        queue: &Queue,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let queue = queue.clone();
        self.read(move |connection| read::untold(connection, now, &queue, before, limit)).await
    }

    async fn dead_letters(
        &self,
        recipient: Option<&AgencyId>,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let recipient = recipient.cloned();
        self.read(move |connection| read::dead_letters(connection, recipient.as_ref())).await
    }

    async fn non_delivery(&self, id: &MessageId) -> Result<Logged, StoreError> {
        let id = *id;
        self.read(move |connection| read::non_delivery(connection, &id)).await
    }

    async fn head(&self) -> Result<Option<Head>, StoreError> {
        self.read(read::head).await
    }

    async fn keep_cosignatures(
        &self,
        size: u64,
        cosignatures: Vec<Cosignature>,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            let mut upsert = connection.prepare_cached(
                "/* cosign */ INSERT INTO cosignatures (size, witness, time_s, line)
                 VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (size, witness) DO UPDATE SET time_s = ?3, line = ?4
                 WHERE time_s < ?3",
            )?;
            for Cosignature { witness, at, line } in cosignatures {
                upsert.execute(params![integer(size), witness, at.as_second(), line])?;
            }
            Ok(())
        })
        .await
    }

    async fn cosigned(&self, witnesses: usize) -> Result<Option<(Head, Vec<String>)>, StoreError> {
        self.read(move |connection| read::cosigned(connection, witnesses)).await
    }

    async fn last_cosigned(&self) -> Result<Vec<LastCosigned>, StoreError> {
        self.read(read::last_cosigned).await
    }

    async fn entries(&self, from: u64, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        self.read(move |connection| read::entries(connection, from, limit)).await
    }

    async fn nodes(&self, wanted: &[(u8, u64)]) -> Result<Vec<Hash>, StoreError> {
        let wanted = wanted.to_vec();
        self.read(move |connection| read::nodes(connection, &wanted)).await
    }

    async fn checkpoints(&self, from: u64, limit: usize) -> Result<Vec<Head>, StoreError> {
        self.read(move |connection| read::checkpoints(connection, from, limit)).await
    }

    async fn message_digests(&self, from: u64, to: u64) -> Result<Vec<MessageDigest>, StoreError> {
        self.read(move |connection| read::message_digests(connection, from, to)).await
    }

    async fn certificates(&self) -> Result<Vec<CertificateRecord>, StoreError> {
        self.read(read::certificates).await
    }

    async fn doings(&self, serial: &str) -> Result<Vec<CertificateDoing>, StoreError> {
        let serial = serial.to_owned();
        self.read(move |connection| read::doings(connection, &serial)).await
    }

    async fn note_uses(&self, uses: Vec<CertificateUse>) -> Result<(), StoreError> {
        self.write(move |connection| {
            let mut upsert = connection.prepare_cached(
                "/* use */ INSERT INTO certificate_uses (sha256, last_ms, address)
                 VALUES (?1, ?2, ?3)
                 ON CONFLICT (sha256) DO UPDATE SET last_ms = ?2, address = ?3",
            )?;
            for used in uses {
                upsert.execute(params![used.sha256, used.at.as_millisecond(), used.address])?;
            }
            Ok(())
        })
        .await
    }

    async fn token(&self, hash: &[u8; 32]) -> Result<Option<EnrolmentToken>, StoreError> {
        let hash = *hash;
        self.read(move |connection| read::token(connection, &hash)).await
    }

    async fn tokens(&self) -> Result<Vec<EnrolmentToken>, StoreError> {
        self.read(read::tokens).await
    }

    async fn bind_token(&self, hash: &[u8; 32], key: &[u8; 32]) -> Result<[u8; 32], StoreError> {
        let (hash, key) = (*hash, *key);
        self.write(move |connection| {
            Ok(connection
                .prepare_cached(
                    "/* bind */ UPDATE enrolment_tokens
                     SET key_sha256 = coalesce(key_sha256, ?2) WHERE hash = ?1
                     RETURNING key_sha256",
                )?
                .query_row(params![hash, key], |row| row.get(0))?)
        })
        .await
    }

    async fn probe(&self, now: Timestamp) -> Result<(), StoreError> {
        let at_ms = now.as_millisecond();
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "/* probe */ INSERT INTO probe (id, at_ms) VALUES (1, ?1)
                     ON CONFLICT (id) DO UPDATE SET at_ms = ?1",
                )?
                .execute([at_ms])?;
            Ok(())
        })
        .await?;
        // Another health check may have written since, with a later time.
        let read_back = self.read(read::probe).await?;
        if read_back >= at_ms {
            Ok(())
        } else {
            Err(StoreError::Corrupt("what was written is not what is read back".to_owned()))
        }
    }

    async fn size_bytes(&self) -> Result<u64, StoreError> {
        self.read(read::size_bytes).await
    }

    async fn room(&self) -> Result<Room, StoreError> {
        room(&self.shared.path, self.shared.free_bytes_min)
    }
}

fn claim(
    connection: &Connection,
    now: Timestamp,
    lease_s: u32,
    queue: &Queue,
    wanted: Wanted,
    rows: usize,
) -> Result<Vec<Claim>, StoreError> {
    let claim = |row: &Row<'_>| {
        let claim = Claim {
            message: row.get(1)?,
            endpoint: row.get(2)?,
            attempts: row.get(3)?,
            since: row::time(row, 4)?,
            lease: [0; 16],
        };
        Ok((row::unsigned(row, 0)?, claim))
    };
    let (recipient, endpoint) = (&queue.recipient, queue.endpoint);
    let (now_ms, rows) = (now.as_millisecond(), limit(rows));
    let wanted = match wanted {
        Wanted::Due => connection
            .prepare_cached(
                "/* claim */ SELECT d.entry, m.id, d.endpoint, d.attempts, d.since_ms
                 FROM deliveries AS d JOIN messages AS m ON m.entry = d.entry
                 WHERE d.state = 'queued' AND d.recipient = ?1 AND d.endpoint = ?2
                 AND d.due_ms <= ?3 ORDER BY (d.told IS NULL), d.since_ms LIMIT ?4",
            )?
            .query_map(params![recipient, endpoint, now_ms, rows], claim)?
            .collect::<rusqlite::Result<Vec<_>>>()?,
        Wanted::Waiting { is_told, before } => connection
            .prepare_cached(
                "/* claim */ SELECT d.entry, m.id, d.endpoint, d.attempts, d.since_ms
                 FROM deliveries AS d JOIN messages AS m ON m.entry = d.entry
                 WHERE d.state = 'queued' AND d.recipient = ?1 AND d.endpoint = ?2
                 AND (d.told IS NULL) = ?5 AND d.since_ms <= ?6
                 AND (d.lease IS NULL OR d.due_ms <= ?3) ORDER BY d.since_ms LIMIT ?4",
            )?
            .query_map(
                params![recipient, endpoint, now_ms, rows, !is_told, before.as_millisecond()],
                claim,
            )?
            .collect::<rusqlite::Result<Vec<_>>>()?,
    };
    let mut update = connection.prepare_cached(
        "/* claim */ UPDATE deliveries SET lease = ?2, due_ms = ?3 WHERE entry = ?1",
    )?;
    let until_ms = now_ms + i64::from(lease_s) * 1_000;
    wanted
        .into_iter()
        .map(|(entry, mut claim)| {
            SystemRandom::new().fill(&mut claim.lease).map_err(|_| StoreError::Unavailable {
                reason: "the system gives no random bytes".to_owned(),
                source: None,
            })?;
            update.execute(params![integer(entry), claim.lease, until_ms])?;
            Ok(claim)
        })
        .collect()
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        match &error {
            E::QueryReturnedNoRows => Self::NotFound,
            // Nothing but this program writes the file: what does not read back was damaged.
            E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::InvalidColumnType(..)
            | E::Utf8Error(..) => Self::Corrupt(error.to_string()),
            E::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DatabaseCorrupt if is_read_error() => unavailable(error),
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                    Self::Corrupt(error.to_string())
                }
                ErrorCode::DiskFull => Self::Full { source: Some(error.into()) },
                _ if is_disk_full() => Self::Full { source: Some(error.into()) },
                _ => unavailable(error),
            },
            _ => unavailable(error),
        }
    }
}

// SQLite reports some full disks as a general I/O error; the system's own reason is still there.
fn is_disk_full() -> bool {
    io::Error::last_os_error().kind() == io::ErrorKind::StorageFull
}

// SQLite calls a page that the disk did not give a damaged one. The system's reason stands until
// something else fails: that is seen to, so that it is not believed of real damage later.
fn is_read_error() -> bool {
    let is_read_error = io::Error::last_os_error().raw_os_error() == Some(Errno::IO.raw_os_error());
    if is_read_error {
        let _ = std::fs::metadata("");
    }
    is_read_error
}

fn unavailable(error: rusqlite::Error) -> StoreError {
    StoreError::Unavailable {
        reason: "the database did not do what it was asked".to_owned(),
        source: Some(error.into()),
    }
}

/// Whether the disk failed, so that nothing is believed of what this process has of the file. A full
/// disk is no such failure, but for one that shows only when it is synced.
fn is_io_error(error: &StoreError) -> bool {
    let source = std::error::Error::source(error);
    source.and_then(|source| source.downcast_ref()).is_some_and(is_io)
}

fn is_io(error: &rusqlite::Error) -> bool {
    // What was opened while the disk could only be read stays so; damage may be a page not read.
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::CannotOpen
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure
        )
    )
}

fn exclusive<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

// A panic elsewhere cannot leave these half changed: what matters is in the transaction.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections kept open for reading.
const READERS_MAX: usize = 8;
