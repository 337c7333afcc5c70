//! Looks from time to time at what has not reached whom it is for, and says what an operator should see
//! of it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::exchange::Gateway;
use crate::http::health::Concerns;
use crate::store::{Backlog, MailboxLimits, StoreError};
use crate::telemetry::Metrics;

/// Whoever looks.
pub struct Watch {
    /// Whose messages.
    pub gateway: Arc<Gateway>,
    /// Where what waits is counted.
    pub metrics: Arc<Metrics>,
    /// Where it is said what was given up, and whose mailbox is nearly full.
    pub concerns: Arc<Concerns>,
    /// How much may wait for each agency.
    pub room: MailboxLimits,
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
        let mailboxes = self.gateway.store().mailboxes().await?;
        let figures = mailboxes.iter().map(|one| (&one.recipient, one.messages, one.bytes));
        self.metrics.mailboxes(figures);
        let nearly_full: Vec<_> = mailboxes
            .iter()
            .map(|mailbox| (&mailbox.recipient, self.room.percent(mailbox)))
            .filter(|(_, percent)| *percent >= NEARLY_FULL_PERCENT)
            .map(|(agency, percent)| format!("{agency} {percent} %"))
            .collect();
        let concern = format!("nearly full or full, to be collected: {}", nearly_full.join(", "));
        self.concerns.set(MAILBOXES, (!nearly_full.is_empty()).then_some(concern));
        Ok(())
    }
}

/// What a concern about messages that were given up is filed under.
pub const DEAD_LETTERS: &str = "dead letters";

/// What a concern about mailboxes that are filling up is filed under.
pub const MAILBOXES: &str = "mailboxes";

/// From here on somebody should ring whose mailbox it is.
pub const NEARLY_FULL_PERCENT: u64 = 80;

const EVERY: Duration = Duration::from_secs(10);
