//! Destroys what nobody sent in time: files that were uploaded and that no message names, what is left of
//! uploads that broke off, RFIs that were begun and left lying.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::audit::entry::Event;
use crate::config::Config;
use crate::exchange::Gateway;
use crate::message::now;
use crate::problem::Problem;
use crate::store::Effect;

/// The sweeping worker.
pub struct Sweep {
    gateway: Arc<Gateway>,
    /// How long a file may wait for its message.
    unsent: SignedDuration,
    /// How long a file may take to come in, and as long again.
    arriving: SignedDuration,
    /// How long an RFI may lie unsent after somebody last kept something of it.
    rfi_drafts: SignedDuration,
}

impl Sweep {
    /// By these settings.
    pub fn new(gateway: Arc<Gateway>, config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            gateway,
            unsent: SignedDuration::from_hours(limits.attachment_unsent_hours.into()),
            arriving: SignedDuration::from_secs(2 * i64::from(limits.attachment_timeout_s)),
            rfi_drafts: config.retention.rfi_drafts(),
        }
    }

    /// Sweeps now and then until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut is_failing = false;
        loop {
            let swept = self.round(now()).await;
            if let Err(problem) = &swept
                && !is_failing
            {
                tracing::warn!(
                    problem.code = problem.kind.facts().code,
                    problem.internal = problem.internal.as_deref(),
                    "what nobody sent could not be swept; it will be"
                );
            }
            is_failing = swept.is_err();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Does all that is due at this time.
    pub async fn round(&self, at: Timestamp) -> Result<(), Problem> {
        let store = self.gateway.store();
        store.discard_uploads_before(at - self.arriving).await?;
        store.discard_rfi_drafts_before(at - self.rfi_drafts).await?;
        loop {
            let due = store.unsent_before(at - self.unsent, FILES_AT_ONCE).await?;
            for file in &due {
                let event = Event::attachment_swept(&file.uploader, &file.id);
                let effect = Effect::SweepAttachment(file.id);
                // One that a message names by now is left alone, whatever comes of it here.
                self.gateway.ledger().record(&event, at, None, effect).await?;
            }
            if due.len() < FILES_AT_ONCE {
                break;
            }
        }
        while store.clear_discarded(PARTS_AT_ONCE).await? {}
        Ok(())
    }
}

const EVERY: Duration = Duration::from_secs(60);
const FILES_AT_ONCE: usize = 100;

/// 4 MiB: overwritten before anybody else would notice that they wait.
const PARTS_AT_ONCE: usize = 16;
