//! Counts what is due and overdue, so that an operator sees on a graph what the hub sees on its board.
//!
//! Nothing is remembered between two looks: it is counted from how each exchange stands. A look at very many
//! exchanges takes its time, and the next is the later for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::exchange::Gateway;
use crate::message::{Exchange, Period, now};
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;
use crate::timer::{self, Due, Grade, Timer};

/// Whoever counts.
pub struct Watch {
    /// Whose exchanges, and by what its timers go.
    pub gateway: Arc<Gateway>,
    /// Where it is shown.
    pub metrics: Arc<Metrics>,
}

impl Watch {
    /// Counts until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let begun = Instant::now();
            match count(&**self.gateway.store(), &self.gateway.timers(), now()).await {
                Ok(counts) => self.metrics.due(&counts),
                Err(error) => tracing::error!(%error, "what is due could not be counted"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY.max(SHARE * begun.elapsed())) => {}
            }
        }
    }
}

/// How much is due of each kind, how near.
pub type Counts = BTreeMap<(Timer, Grade), u64>;

/// Counts what is due at this time in every exchange that is kept and at most a year old.
pub async fn count(
    store: &dyn Store,
    timers: &timer::Settings,
    at: Timestamp,
) -> Result<Counts, StoreError> {
    let mut counts = Counts::new();
    each(store, timers, at, |_, due| *counts.entry((due.timer, due.grade)).or_default() += 1)
        .await?;
    Ok(counts)
}

/// Shows what is due at this time, of each such exchange.
pub async fn each(
    store: &dyn Store,
    timers: &timer::Settings,
    at: Timestamp,
    mut show: impl FnMut(&Exchange, Due) + Send,
) -> Result<(), StoreError> {
    let period = Period { from: at - YEAR, to: at };
    let mut after = None;
    loop {
        let page = store.exchanges_opened(period, after, AT_ONCE).await?;
        after = page.last().map(|last| last.id);
        for exchange in page.iter().filter(|exchange| exchange.destroyed_at.is_none()) {
            for due in timers.due(exchange, at) {
                show(exchange, due);
            }
        }
        if page.len() < AT_ONCE {
            return Ok(());
        }
    }
}

const EVERY: Duration = Duration::from_secs(60);

/// No more than a twentieth of the time is spent on it.
const SHARE: u32 = 20;

const YEAR: SignedDuration = SignedDuration::from_hours(24 * 366);

const AT_ONCE: usize = 200;
