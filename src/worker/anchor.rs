//! The anchor: the log's latest checkpoint, in a file that no copy of the database brings back.
//!
//! It is written after what it covers is durable and never waited for: what it may lack after a crash
//! is the last second. So an anchor that has more than the database proves that an older database was
//! put in its place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::audit::checkpoint::Checkpoint;
use crate::config::{Config, Home, write_synced};
use crate::http::health::Concerns;
use crate::store::{Head, Store};

/// The file.
#[derive(Clone, Debug)]
pub struct Anchor {
    path: PathBuf,
}

impl Anchor {
    /// As the settings have it; none when it is turned off.
    pub fn of(home: &Home, config: &Config) -> Option<Self> {
        Some(Self { path: home.resolve(config.log.anchor.as_ref()?) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The note in it; none before it was first written. A folder that is not there is a disk that is
    /// not mounted.
    pub fn read(&self) -> io::Result<Option<String>> {
        match std::fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.has_folder() => Ok(None),
            read => read.map(Some),
        }
    }

    fn has_folder(&self) -> bool {
        self.path.parent().is_some_and(Path::is_dir)
    }
}

/// Keeps the anchor at the latest checkpoint.
pub struct Keeper {
    anchor: Anchor,
    store: Arc<dyn Store>,
    concerns: Arc<Concerns>,
    /// What the file covers.
    kept: Mutex<Option<Checkpoint>>,
}

impl Keeper {
    /// Keeps this anchor, which covers `kept` so far.
    pub fn new(
        anchor: Anchor,
        kept: Option<Checkpoint>,
        store: Arc<dyn Store>,
        concerns: Arc<Concerns>,
    ) -> Self {
        Self { anchor, store, concerns, kept: Mutex::new(kept) }
    }

    /// Keeps it, each second, until stopped.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => self.keep().await,
            }
        }
    }

    /// Writes the latest checkpoint down, if it is a later one. What is in the way is a concern, and
    /// holds up nothing.
    pub async fn keep(&self) {
        match self.store.head().await {
            // Who cannot read the store says so elsewhere.
            Err(_) | Ok(None) => {}
            Ok(Some(head)) => self.concerns.set(MATTER, self.advance(head).await.err()),
        }
    }

    async fn advance(&self, head: Head) -> Result<(), String> {
        let latest = Checkpoint { size: head.size, root: head.root };
        let kept = *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept {
            Some(kept) if kept == latest => return Ok(()),
            Some(kept) if kept.size >= latest.size => {
                return Err(format!(
                    "the database has {} entries of the log, and {} were signed: an older one was \
                     put in its place; stop the gateway",
                    latest.size, kept.size
                ));
            }
            Some(_) | None => {}
        }
        let path = self.anchor.path.clone();
        let written =
            tokio::task::spawn_blocking(move || write_synced(&path, head.note.as_bytes(), 0o600));
        match written.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => {
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(latest);
                Ok(())
            }
            // Without the size: a sentence that changes each second would be logged each second.
            Err(error) => {
                Err(format!("{} cannot be written to: {error}", self.anchor.path.display()))
            }
        }
    }
}

/// Under what its concerns are listed.
const MATTER: &str = "anchor";

/// How much the anchor may lack.
const PAUSE: Duration = Duration::from_secs(1);
