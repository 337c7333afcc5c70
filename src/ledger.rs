//! Gathers what is to be written and writes it as one batch: messages, entries, tree, one signed
//! checkpoint.
//!
//! There is no timer: a batch is whatever arrived while the last one was being written, so a lone
//! message waits for one sync and a crowd shares one. If the log cannot be written, nothing is
//! accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::audit::checkpoint::LogKey;
use crate::audit::entry::{Event, Fields, NewEntry};
use crate::message::{ExchangeId, Role, rfc3339};
use crate::seal::Sealed;
use crate::store::{
    Accept, Applied, Change, Effect, MailboxLimits, NewMessage, Record, Step, Store, StoreError,
};
use crate::telemetry::Metrics;

/// The one way in to the log. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    queue: mpsc::Sender<Pending>,
    halted: Arc<AtomicBool>,
    latest_ms: Arc<AtomicI64>,
}

/// Why a change was not logged. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// More is waiting than the ledger takes on.
    #[error("the ledger's queue is full")]
    Full,
    /// The store contradicts itself; nothing is signed or accepted until a person has looked.
    #[error("the ledger has stopped: the store contradicts itself")]
    Halted,
    /// The batch it was in could not be written.
    #[error("the batch could not be written: {0}")]
    Store(Arc<StoreError>),
}

impl Ledger {
    /// Starts the ledger's thread. It ends, having written what is queued, when the last `Ledger`
    /// is dropped; join the handle to wait for that.
    pub fn start(
        store: Arc<dyn Store>,
        key: LogKey,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let halted = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let writer = Writer { store, key, metrics, halted: Arc::clone(&halted) };
        // A thread of its own: the store may block in `append`, and nothing else may wait for it.
        let handle = thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || runtime.block_on(writer.run(waiting)))?;
        Ok((Self { queue, halted, latest_ms: Arc::new(AtomicI64::new(i64::MIN)) }, handle))
    }

    /// Learns the latest time that is in the log, of its last entries.
    pub async fn learn_latest(&self, store: &dyn Store) -> Result<(), StoreError> {
        if let Some(latest) = latest(store).await? {
            self.latest_ms.fetch_max(latest.as_millisecond(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// The latest time of all that was logged: what comes now is later, if the clock is right.
    pub fn latest(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.latest_ms.load(Ordering::Relaxed)).ok()
    }

    /// Accepts a sealed submission durably. `desk` is the role of the person who sent it, if one did;
    /// `certificate` is the serial it came with; `mailbox` is how much may wait for each recipient.
    pub async fn accept(
        &self,
        sealed: Sealed,
        mailbox: MailboxLimits,
        desk: Option<Role>,
        certificate: Option<&str>,
        at: Timestamp,
    ) -> Result<Applied, LedgerError> {
        let decision = sealed.decision;
        let messages = sealed
            .messages
            .into_iter()
            .map(|message| {
                let event =
                    Event::accepted(&message.envelope, &message.schema_digest).at_desk(desk);
                let event = match &message.step {
                    Step::Open(exchange) => event.opening(exchange),
                    Step::Say(said) => event.saying(*said),
                };
                let files = message.attachments.iter().map(|file| file.attachment);
                let event = event
                    .with_files(files.collect())
                    .spending(decision.as_ref().map(|decision| &decision.code_hash))
                    .done_with(certificate);
                NewMessage {
                    entry: self.entry(&event, at),
                    envelope: message.envelope,
                    ciphertext: message.ciphertext,
                    attachments: message.attachments,
                    delivery: message.delivery,
                    step: message.step,
                }
            })
            .collect();
        let accept =
            Accept { token: sealed.token, enquiry: sealed.enquiry, decision, messages, mailbox };
        self.write(Change::Accept(Box::new(accept))).await
    }

    /// Logs an event and applies its effect.
    pub async fn record(
        &self,
        event: &Event,
        at: Timestamp,
        exchange: Option<ExchangeId>,
        effect: Effect,
    ) -> Result<Applied, LedgerError> {
        let entry = self.entry(event, at);
        self.write(Change::Record(Box::new(Record { entry, exchange, effect }))).await
    }

    /// Logs an event without waiting for it: for refusals, whose caller must not be slowed. Gives way
    /// to what is accepted when the queue is half full. Returns whether it was queued.
    pub fn note(&self, event: &Event, at: Timestamp) -> bool {
        if self.queue.capacity() < QUEUE_MAX / 2 {
            return false;
        }
        let entry = self.entry(event, at);
        let record = Record { entry, exchange: None, effect: Effect::Log };
        let pending = Pending { change: Change::Record(Box::new(record)), reply: None };
        self.queue.try_send(pending).is_ok()
    }

    /// Whether nothing more is accepted: the store contradicted itself, or the thread has ended.
    pub fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire) || self.queue.is_closed()
    }

    fn entry(&self, event: &Event, at: Timestamp) -> NewEntry {
        self.latest_ms.fetch_max(at.as_millisecond(), Ordering::Relaxed);
        NewEntry::new(event, at)
    }

    async fn write(&self, change: Change) -> Result<Applied, LedgerError> {
        if self.is_halted() {
            return Err(LedgerError::Halted);
        }
        let (reply, answer) = oneshot::channel();
        self.queue
            .try_send(Pending { change, reply: Some(reply) })
            .map_err(|_| LedgerError::Full)?;
        answer.await.unwrap_or(Err(LedgerError::Halted))
    }
}

/// The latest time in the log, of its last entries.
pub async fn latest(store: &dyn Store) -> Result<Option<Timestamp>, StoreError> {
    let Some(head) = store.head().await? else { return Ok(None) };
    let entries = store.entries(head.size.saturating_sub(LATEST_OF), LATEST_OF as usize).await?;
    let fields = entries.iter().filter_map(|entry| Fields::parse(entry.fields.as_deref()?));
    Ok(fields.filter_map(|fields| fields.get("time")?.parse::<Timestamp>().ok()).max())
}

/// What there is to say of a clock that is behind what is in the log: somebody set it.
pub fn behind(latest: Timestamp, now: Timestamp) -> Option<String> {
    let is_behind = now + CLOCK_TOLERANCE < latest;
    is_behind.then(|| format!("it is {} here, and {} in the log", rfc3339(now), rfc3339(latest)))
}

struct Pending {
    change: Change,
    reply: Option<oneshot::Sender<Result<Applied, LedgerError>>>,
}

impl Pending {
    fn size_bytes(&self) -> usize {
        match &self.change {
            Change::Accept(accept) => accept.messages.iter().map(|m| m.ciphertext.len()).sum(),
            Change::Record(_) => 0,
        }
    }
}

struct Writer {
    store: Arc<dyn Store>,
    key: LogKey,
    metrics: Arc<Metrics>,
    halted: Arc<AtomicBool>,
}

impl Writer {
    async fn run(self, mut waiting: mpsc::Receiver<Pending>) {
        while let Some(first) = waiting.recv().await {
            let mut size_bytes = first.size_bytes();
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX && size_bytes < BATCH_BYTES_MAX {
                let Ok(next) = waiting.try_recv() else { break };
                size_bytes += next.size_bytes();
                batch.push(next);
            }
            self.write(batch).await;
        }
    }

    async fn write(&self, batch: Vec<Pending>) {
        let (changes, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|pending| (pending.change, pending.reply)).unzip();
        let started = tokio::time::Instant::now();
        let written = if self.halted.load(Ordering::Acquire) {
            Err(LedgerError::Halted)
        } else {
            self.store.append(changes, &self.key).await.map_err(|error| {
                if matches!(error, StoreError::Corrupt(_)) {
                    self.halted.store(true, Ordering::Release);
                }
                tracing::error!(error = %error, "the batch was not written; nothing in it is kept");
                LedgerError::Store(Arc::new(error))
            })
        };
        self.metrics.ledger_batch(replies.len(), started.elapsed());
        match written {
            Ok(applied) => {
                for (reply, applied) in replies.into_iter().zip(applied) {
                    // A caller that has gone away still has its message kept: it will ask again.
                    let _ = reply.map(|reply| reply.send(Ok(applied)));
                }
            }
            Err(error) => {
                for reply in replies.into_iter().flatten() {
                    let _ = reply.send(Err(error.again()));
                }
            }
        }
    }
}

impl LedgerError {
    fn again(&self) -> Self {
        match self {
            Self::Full => Self::Full,
            Self::Halted => Self::Halted,
            Self::Store(error) => Self::Store(Arc::clone(error)),
        }
    }
}

/// Entries carry the time at which what they tell of began: a little back and forth is no fault.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(1);

/// Entries that are looked at for the latest time: neighbours' times may cross.
const LATEST_OF: u64 = 256;

/// Enough for every connection to have one in flight; beyond it callers are told to come back.
const QUEUE_MAX: usize = 4_096;

/// Bigger batches than this bring no more speed and only lengthen the wait.
const BATCH_MAX: usize = 128;

/// So that a few large messages do not make everybody wait for one long write.
const BATCH_BYTES_MAX: usize = 1 << 20;
