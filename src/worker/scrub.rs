//! What is stored is looked at again, a little at a time, so that what rots on the disk is found while
//! there are backups without it: each stored payload's and file's digest, each entry's text and hashes,
//! each checkpoint's signature.
//!
//! A whole round takes as long as the settings say. Where a round begins goes by the time of day, so
//! that a gateway that is restarted often still comes to every part. It reads, and never holds up
//! whoever writes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::audit::entry::{Event, Fields};
use crate::audit::scrub::{Scrubber, Stored};
use crate::audit::tree::Tree;
use crate::audit::verify::Fault;
use crate::exchange::Gateway;
use crate::http::health::Concerns;
use crate::message::now;
use crate::store::{AttachmentDigest, Effect, Head, MessageDigest, StoreError, StoredEntry};
use crate::telemetry::Metrics;

/// Looks at what is stored, again and again.
pub struct Scrub {
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
    concerns: Arc<Concerns>,
    /// How long a round takes.
    cycle: SignedDuration,
    /// Until when it has looked; none before the first step.
    looked: Option<Timestamp>,
    /// The next entry, and what is known of those before it.
    next: u64,
    scrubber: Scrubber,
    /// What was found wrong at which entry, and not found right since.
    faults: BTreeMap<u64, String>,
}

impl Scrub {
    /// Looks at everything once in `cycle`.
    pub fn new(
        gateway: Arc<Gateway>,
        metrics: Arc<Metrics>,
        concerns: Arc<Concerns>,
        cycle: SignedDuration,
    ) -> Self {
        let scrubber = Scrubber::new(gateway.log().clone());
        let faults = BTreeMap::new();
        Self { gateway, metrics, concerns, cycle, looked: None, next: 0, scrubber, faults }
    }

    /// Looks, each second, until stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            // What is under way when the gateway stops is left: nothing depends on it.
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.step(now()) => {}
            }
        }
    }

    /// Looks at as much as is due by now.
    pub async fn step(&mut self, at: Timestamp) {
        let size = match self.gateway.store().head().await {
            Ok(Some(head)) => head.size,
            // Who cannot read the store says so elsewhere.
            Ok(None) | Err(_) => return,
        };
        let Some(looked) = self.looked else {
            let now = at.duration_since(Timestamp::UNIX_EPOCH);
            self.next = share(size, now, self.cycle) % size.max(1);
            self.looked = Some(at);
            return;
        };
        let waited = at.duration_since(looked);
        let due = share(size, waited, self.cycle).min(size);
        self.looked = Some(match due {
            // The clock was put back, or everything is due: there is nothing to make good.
            _ if waited.is_negative() || due == size => at,
            // What is not a whole entry yet stays due.
            0 => looked,
            due => looked + span(due, size, self.cycle),
        });
        let mut left = due;
        while left > 0 {
            if self.next >= size {
                self.next = 0;
            }
            let to = size.min(self.next + left.min(PAGE));
            left -= to - self.next;
            self.page(self.next, to).await;
            self.next = to;
        }
        if due > 0 {
            self.metrics.scrubbed(due, self.faults.len());
            self.concerns.set(MATTER, self.concern());
        }
    }

    // The entries of one page, and what belongs to them.
    async fn page(&mut self, from: u64, to: u64) {
        if from == 0 {
            self.scrubber.begin();
        }
        match self.read(from, to).await {
            Ok(page) => {
                for index in from..to {
                    let stored = page.stored(index);
                    let looked = self.scrubber.next(stored);
                    self.settle(index, looked.map_err(|fault| Damage::of(&stored, fault))).await;
                    if let Some(head) = stored.checkpoint
                        && !self.scrubber.has_tree()
                        && let Some(tree) = self.tree(head.size).await
                    {
                        self.scrubber.take_up(tree, head);
                    }
                }
            }
            // Where a page of the file cannot be read, each entry is asked for by itself.
            Err(_) if to - from > 1 => {
                for index in from..to {
                    Box::pin(self.page(index, index + 1)).await;
                }
            }
            Err(StoreError::Corrupt(_)) => {
                self.scrubber = Scrubber::new(self.gateway.log().clone());
                let says = "the database's file is damaged where it is".to_owned();
                self.settle(from, Err(Damage { message: None, says })).await;
            }
            // A disk that does not answer now says nothing of what is on it.
            Err(_) => self.scrubber = Scrubber::new(self.gateway.log().clone()),
        }
    }

    // The tree of the first `size` entries, if the hashes it is made of are there.
    async fn tree(&self, size: u64) -> Option<Tree> {
        let peaks = self.gateway.store().nodes(&Tree::peaks_wanted(size)).await.ok()?;
        Tree::from_peaks(size, peaks)
    }

    async fn read(&self, from: u64, to: u64) -> Result<Page, StoreError> {
        let (store, rows) = (self.gateway.store(), to - from);
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        Ok(Page {
            entries: store.entries(from, rows).await?,
            messages: store.message_digests(from, to).await?,
            files: store.attachment_digests(from, to).await?,
            checkpoints: store.checkpoints(from + 1, rows).await?,
        })
    }

    // What was found is remembered until it is found right. It is logged once: the log then says when
    // it was noticed, whatever becomes of the database.
    async fn settle(&mut self, index: u64, looked: Result<(), Damage>) {
        let damage = match looked {
            Ok(()) => return drop(self.faults.remove(&index)),
            Err(damage) => damage,
        };
        if self.faults.contains_key(&index) || self.faults.len() >= FAULTS_MAX {
            return;
        }
        let event = Event::damage_found(index, damage.message.as_deref());
        let says = damage.to_string();
        tracing::error!(log.entry = index, says, "what is stored is not what was logged");
        self.faults.insert(index, says);
        let logged = self.gateway.ledger().record(&event, now(), None, Effect::Log).await;
        if let Err(error) = logged {
            tracing::error!(error = %error, "the damage could not be logged");
        }
    }

    fn concern(&self) -> Option<String> {
        let (index, says) = self.faults.first_key_value()?;
        Some(match self.faults.len() {
            1 => format!("entry {index}: {says}"),
            many => format!("{many} entries are damaged, the first is entry {index}: {says}"),
        })
    }
}

/// Some entries and what belongs to them, in their order.
struct Page {
    entries: Vec<StoredEntry>,
    messages: Vec<MessageDigest>,
    files: Vec<AttachmentDigest>,
    checkpoints: Vec<Head>,
}

impl Page {
    fn stored(&self, index: u64) -> Stored<'_> {
        Stored {
            entry: self.entries.iter().find(|entry| entry.index == index),
            message: self.messages.iter().find(|message| message.entry == index),
            file: self.files.iter().find(|file| file.entry == index),
            checkpoint: self.checkpoints.iter().find(|head| head.size == index + 1),
        }
    }
}

/// What is wrong, and with which message if it is with one.
struct Damage {
    message: Option<String>,
    says: String,
}

impl Damage {
    fn of(stored: &Stored<'_>, fault: Fault) -> Self {
        let row = stored.message.map(|message| message.id.to_string());
        let accepted = || {
            let fields = Fields::parse(stored.entry?.fields.as_deref()?)?;
            Some(fields.get("message")?.to_owned())
        };
        Self { message: row.or_else(accepted), says: fault.to_string() }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => write!(f, "message {message}: {}", self.says),
            None => f.write_str(&self.says),
        }
    }
}

// How many of `size` entries are looked at in `time`, when all of them take a cycle.
fn share(size: u64, time: SignedDuration, cycle: SignedDuration) -> u64 {
    let share = u128::from(size) * millis(time) / millis(cycle).max(1);
    u64::try_from(share).unwrap_or(u64::MAX)
}

// How long so many of `size` entries take.
fn span(entries: u64, size: u64, cycle: SignedDuration) -> SignedDuration {
    let span = u128::from(entries) * millis(cycle) / u128::from(size.max(1));
    SignedDuration::from_millis(i64::try_from(span).unwrap_or(i64::MAX))
}

fn millis(duration: SignedDuration) -> u128 {
    u128::try_from(duration.as_millis()).unwrap_or(0)
}

/// Under what its concerns are listed.
const MATTER: &str = "scrub";

const PAUSE: Duration = Duration::from_secs(1);

/// How many entries are read at once.
const PAGE: u64 = 64;

/// More than this is one matter: the disk.
const FAULTS_MAX: usize = 1_000;
