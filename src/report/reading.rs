//! What reports are made of, read from the store a page at a time: for the command line, and for the desk.

use jiff::Timestamp;

use crate::message::{Exchange, Period};
use crate::report::timeliness::{Asked, Timeliness};
use crate::store::{Store, StoreError};
use crate::timer::Settings;

/// Every exchange that was opened in the period, but tests, which are about nobody.
pub async fn opened(store: &dyn Store, period: Period) -> Result<Vec<Exchange>, StoreError> {
    let mut all: Vec<Exchange> = Vec::new();
    loop {
        let after = all.last().map(|exchange| exchange.id);
        let page = store.exchanges_opened(period, after, PAGE).await?;
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            all.retain(|exchange| !exchange.is_test());
            return Ok(all);
        }
    }
}

/// The figures of what was asked in this period, as of `now`.
pub async fn timeliness(
    store: &dyn Store,
    timers: &Settings,
    period: Period,
    now: Timestamp,
) -> Result<Timeliness, StoreError> {
    let mut asked = Vec::new();
    for exchange in opened(store, period).await? {
        let timeline = store.timeline(&exchange.id, usize::MAX).await?;
        let delivery = store.message(&exchange.rfi).await?.delivery;
        asked.push(Asked::of(&exchange, &timeline, &delivery, timers, now));
        // Beside a gateway's work, which goes first.
        tokio::task::yield_now().await;
    }
    Ok(Timeliness::of(&asked, period, &timers.working_time, now))
}

const PAGE: usize = 2_000;
