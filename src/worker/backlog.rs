//! Looks from time to time at what has not reached whom it is for, and says what an operator should see
//! of it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::exchange::Gateway;
use crate::http::health::Concerns;
use crate::store::{Backlog, StoreError};
use crate::telemetry::Metrics;

/// Whoever looks.
pub struct Watch {
    /// Whose messages.
    pub gateway: Arc<Gateway>,
    /// Where what waits is counted.
    pub metrics: Arc<Metrics>,
    /// Where what was given up is said.
    pub concerns: Arc<Concerns>,
}

impl Watch {
    /// Looks until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.look().await {
                tracing::error!(error = %error, "what waits could not be counted");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let backlog = self.gateway.store().backlog().await?;
        let of = |state: &'static str| backlog.iter().filter(move |one| one.state == state);
        let count = |one: &Backlog| one.count;
        self.metrics.queued(of("queued").map(count).sum());
        let returned: u64 = of("returned").map(count).sum();
        let agencies: Vec<_> = of("returned").map(|one| one.recipient.as_str()).collect();
        let concern = format!(
            "{returned} were returned to their senders and not collected since, to {}: mash-gateway \
             dead-letter list",
            agencies.join(", ")
        );
        self.concerns.set(DEAD_LETTERS, (returned > 0).then_some(concern));
        Ok(())
    }
}

/// What a concern about messages that were given up is filed under.
pub const DEAD_LETTERS: &str = "dead letters";

const EVERY: Duration = Duration::from_secs(10);
