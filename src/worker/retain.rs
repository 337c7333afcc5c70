//! Destroys what is due to be, hour by hour.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::exchange::Gateway;
use crate::ledger::LedgerError;
use crate::message::now;
use crate::retention::{self, Extent, Periods, Run};

/// The retaining worker.
pub struct Retain {
    gateway: Arc<Gateway>,
    periods: Periods,
}

impl Retain {
    /// By these periods.
    pub fn new(gateway: Arc<Gateway>, periods: Periods) -> Self {
        Self { gateway, periods }
    }

    /// Destroys what is due, now and then, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            match self.round(now()).await {
                Ok(run) if !run.destroyed.is_empty() => {
                    tracing::info!(
                        enquiries = run.destroyed.len(),
                        held = run.held,
                        "destroyed what was due to be"
                    );
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "what is due cannot be destroyed; it will be");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Does all that is due at this time.
    pub async fn round(&self, at: Timestamp) -> Result<Run, LedgerError> {
        let (store, ledger) = (self.gateway.store(), self.gateway.ledger());
        retention::run(&**store, Extent::Destroy(ledger), &self.periods, at, || {}).await
    }
}

const EVERY: Duration = Duration::from_secs(3_600);
