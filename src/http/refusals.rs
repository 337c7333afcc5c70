//! Thins refusals out before they reach the log, so that no caller can fill it: not an agency, and
//! not somebody without any certificate.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;

use crate::audit::entry::Event;
use crate::exchange::Gateway;
use crate::message::AgencyId;

/// Logs single refusals up to a rate for each agency and reason, then one entry with a count.
pub struct Refusals {
    limiter: DefaultKeyedRateLimiter<Key>,
    skipped: Mutex<HashMap<Key, u64>>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    agency: Option<AgencyId>,
    reason: &'static str,
}

impl Refusals {
    /// At most `per_minute` entries a minute for each agency and reason.
    pub fn new(per_minute: NonZeroU32) -> Self {
        Self {
            limiter: RateLimiter::keyed(Quota::per_minute(per_minute)),
            skipped: Mutex::default(),
        }
    }

    /// Logs this refusal, after the count of those left out before it; or only counts it. Returns
    /// whether it was logged.
    pub fn note(
        &self,
        gateway: &Gateway,
        agency: Option<&AgencyId>,
        reason: &'static str,
        event: &Event,
        at: Timestamp,
    ) -> bool {
        let key = Key { agency: agency.cloned(), reason };
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        if self.limiter.check_key(&key).is_err() {
            *skipped.entry(key).or_insert(0) += 1;
            return false;
        }
        if let Some(count) = skipped.remove(&key) {
            gateway.note(&Event::refused_repeatedly(agency, reason, count), at);
        }
        gateway.note(event, at);
        true
    }
}
