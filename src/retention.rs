//! What is destroyed when (R87): the gateway is not the record, and keeps nothing that its readers have in
//! theirs for longer than it must.
//!
//! An enquiry is destroyed as a whole. The log stays as it is: it holds nothing that anybody wrote, and
//! every receipt still verifies.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::audit::entry::{DestructionRule, Event};
use crate::ledger::{Ledger, LedgerError};
use crate::message::EnquiryId;
use crate::store::{Applied, Effect, KeptEnquiry, Store};

/// How long what is kept.
#[derive(Clone, Copy, Debug)]
pub struct Periods {
    /// After the last word in an enquiry of which every message is in its recipient's own record.
    pub after_saved: SignedDuration,
    /// After the last word in an enquiry that is closed: every agency has its outcome, or was told that
    /// no answer is needed.
    pub after_closed: SignedDuration,
}

/// What one run destroyed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Run {
    /// These, by this rule.
    pub destroyed: Vec<(EnquiryId, DestructionRule)>,
    /// How many are due and under a legal hold.
    pub held: u64,
    /// How many are older than either period and neither saved nor closed: somebody has to close them.
    pub open: u64,
}

impl Periods {
    /// By which rule this enquiry is due at this time, a legal hold aside.
    pub fn due(&self, kept: &KeptEnquiry, at: Timestamp) -> Option<DestructionRule> {
        if kept.is_lost {
            return Some(DestructionRule::Restored);
        }
        if kept.is_on_its_way {
            return None;
        }
        let since = at.duration_since(kept.latest_at);
        if kept.is_saved && since >= self.after_saved {
            Some(DestructionRule::Saved)
        } else if kept.is_closed && since >= self.after_closed {
            Some(DestructionRule::Closed)
        } else {
            None
        }
    }

    fn longest(&self) -> SignedDuration {
        self.after_saved.max(self.after_closed)
    }

    fn shortest(&self) -> SignedDuration {
        self.after_saved.min(self.after_closed)
    }
}

/// Destroys again what was destroyed since the backup was made that is now the database; returns how much.
pub async fn destroy_lost(
    store: &dyn Store,
    ledger: &Ledger,
    at: Timestamp,
) -> Result<u64, LedgerError> {
    let mut count = 0;
    let mut after = None;
    loop {
        let page = store
            .kept_enquiries(Timestamp::MAX, after, AT_ONCE)
            .await
            .map_err(|error| LedgerError::Store(Arc::new(error)))?;
        after = page.last().map(|last| last.id);
        for kept in page.iter().filter(|kept| kept.is_lost) {
            count += u64::from(destroy(ledger, kept, DestructionRule::Restored, at).await?);
        }
        if page.len() < AT_ONCE {
            return Ok(count);
        }
    }
}

/// Whether a run destroys what is due, or only says what would be.
#[derive(Clone, Copy)]
pub enum Extent<'a> {
    /// It destroys, and logs it here.
    Destroy(&'a Ledger),
    /// It only looks.
    Look,
}

/// Goes through everything that is kept. `told` learns of each enquiry that is looked at.
pub async fn run(
    store: &dyn Store,
    extent: Extent<'_>,
    periods: &Periods,
    at: Timestamp,
    mut told: impl FnMut(),
) -> Result<Run, LedgerError> {
    let mut run = Run::default();
    let mut after = None;
    loop {
        let page = store
            .kept_enquiries(at - periods.shortest(), after, AT_ONCE)
            .await
            .map_err(|error| LedgerError::Store(Arc::new(error)))?;
        after = page.last().map(|last| last.id);
        for kept in &page {
            told();
            match periods.due(kept, at) {
                Some(_) if kept.is_held => run.held += 1,
                Some(rule) => {
                    let is_done = match extent {
                        Extent::Destroy(ledger) => destroy(ledger, kept, rule, at).await?,
                        Extent::Look => true,
                    };
                    if is_done {
                        run.destroyed.push((kept.id, rule));
                    }
                }
                None if !(kept.is_saved || kept.is_closed) => {
                    run.open += u64::from(at.duration_since(kept.opened_at) >= periods.longest());
                }
                None => {}
            }
        }
        if page.len() < AT_ONCE {
            return Ok(run);
        }
    }
}

/// Destroys one enquiry, unless something was said in it since it was looked at; whether it did.
pub async fn destroy(
    ledger: &Ledger,
    kept: &KeptEnquiry,
    rule: DestructionRule,
    at: Timestamp,
) -> Result<bool, LedgerError> {
    let event = Event::enquiry_destroyed(&kept.id, rule);
    let effect = Effect::DestroyEnquiry { enquiry: kept.id, latest: kept.latest };
    Ok(matches!(ledger.record(&event, at, None, effect).await?, Applied::Recorded(_)))
}

const AT_ONCE: usize = 200;
