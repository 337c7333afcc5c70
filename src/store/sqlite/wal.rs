//! Keeps the write-ahead log short without making a commit wait for it.
//!
//! A thread of its own copies committed pages into the database file several times a second,
//! passively: it waits for no one and no one waits for it. Under steady load it never finds
//! everything copied, so SQLite never starts the log over; the writer then helps between batches,
//! once so little is left to copy that its senders hardly notice.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::recover::leave_log;
use super::{is_io, open};
use crate::store::StoreError;

const EVERY: Duration = Duration::from_millis(200);

/// From here the thread checkpoints without pause, and the writer starts the log over as soon as
/// little is left to copy and nobody would have to wait: 32 MiB.
pub(super) const BYTES_SOFT: u64 = 32 * 1024 * 1024;
const FRAMES_SOFT: i64 = BYTES_SOFT as i64 / open::PAGE_BYTES;

/// From here the writer waits for the other checkpoint to end, and a little for readers: 128 MiB.
const FRAMES_HARD: i64 = 128 * 1024 * 1024 / open::PAGE_BYTES;

/// What the writer copies itself without its senders noticing: 2 MiB.
const FRAMES_FEW: i64 = 2 * 1024 * 1024 / open::PAGE_BYTES;

/// How long the writer then waits for a reader who still needs the old pages.
const PATIENCE_MS: u64 = 100;

/// The thread that checkpoints.
#[derive(Debug)]
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    has_written: AtomicBool,
    /// Nothing more may be copied over the descriptors that are open.
    has_failed: AtomicBool,
    /// Held by whoever checkpoints: SQLite refuses the second at once instead of letting it wait.
    turn: Mutex<()>,
    is_stopping: Mutex<bool>,
    /// To stop, or because the log has grown long.
    wake: Condvar,
}

impl Checkpointer {
    /// Starts the thread for the store at `path`.
    pub(super) fn start(path: &Path) -> Result<Self, StoreError> {
        let connection = open::writer(path)?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || run(&connection, &theirs))
            .map_err(|error| StoreError::Unavailable {
                reason: "the checkpoint thread cannot be started".to_owned(),
                source: Some(error.into()),
            })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Says that `writer` has committed, and starts the log over when it has become too long.
    ///
    /// What goes wrong here costs disk space, never a message: it is not the writer's failure.
    pub(super) fn written(&self, writer: &Connection) {
        self.shared.has_written.store(true, Ordering::Relaxed);
        if self.has_failed() {
            return;
        }
        let (frames, copied) = checkpoint(writer, "NOOP").unwrap_or((0, 0));
        if frames < FRAMES_SOFT {
            return;
        }
        let is_over = frames >= FRAMES_HARD;
        if !is_over && frames - copied > FRAMES_FEW {
            self.shared.wake.notify_all();
            return;
        }
        let _turn = match self.shared.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if is_over => lock(&self.shared.turn),
            Err(TryLockError::WouldBlock) => return,
        };
        let patience_ms = if is_over { PATIENCE_MS } else { 0 };
        let restarted = writer
            .busy_timeout(Duration::from_millis(patience_ms))
            .and_then(|()| checkpoint(writer, "RESTART").map(|_| ()));
        let restored = writer.busy_timeout(open::BUSY_TIMEOUT);
        if let Err(error) = restarted.and(restored) {
            tracing::warn!(%error, "the store's write-ahead log cannot be started over");
            self.shared.failed(&error);
        }
    }

    /// Whether copying met an I/O error: the database has to be opened anew.
    pub(super) fn has_failed(&self) -> bool {
        self.shared.has_failed.load(Ordering::Acquire)
    }

    /// The same for an error met elsewhere.
    pub(super) fn give_up(&self) {
        self.shared.has_failed.store(true, Ordering::Release);
    }
}

impl Shared {
    fn failed(&self, error: &rusqlite::Error) {
        if is_io(error) {
            self.has_failed.store(true, Ordering::Release);
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        *lock(&self.shared.is_stopping) = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, shared: &Shared) {
    let mut is_failing = false;
    let mut is_stopping = lock(&shared.is_stopping);
    while !*is_stopping {
        (is_stopping, _) =
            shared.wake.wait_timeout(is_stopping, EVERY).unwrap_or_else(PoisonError::into_inner);
        let has_failed = shared.has_failed.load(Ordering::Acquire);
        if *is_stopping || has_failed || !shared.has_written.swap(false, Ordering::Relaxed) {
            continue;
        }
        drop(is_stopping);
        let done = {
            let _turn = lock(&shared.turn);
            checkpoint(connection, "PASSIVE")
        };
        if let Err(error) = &done {
            if !is_failing {
                tracing::warn!(%error, "the store's write-ahead log cannot be checkpointed");
            }
            shared.failed(error);
        }
        is_failing = done.is_err();
        shared.has_written.fetch_or(is_failing, Ordering::Relaxed);
        is_stopping = lock(&shared.is_stopping);
    }
    if shared.has_failed.load(Ordering::Acquire) {
        let _ = leave_log(connection, true);
    }
}

/// Copies all that the log holds into the database file and syncs it.
///
/// Another process that reads may hold some of it up. Then it was there before us, and what SQLite
/// shares with it knows which batches were synced: there is nothing else in the log.
pub(super) fn copy(connection: &Connection) -> rusqlite::Result<()> {
    checkpoint(connection, "PASSIVE").map(|_| ())
}

/// Checkpoints and returns how many frames the log has, and how many of them are copied.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    connection
        .prepare_cached(&format!("/* checkpoint */ PRAGMA wal_checkpoint({mode})"))?
        .query_row([], |row| Ok((row.get(1)?, row.get(2)?)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
