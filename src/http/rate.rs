//! How often an agency may ask: a bucket of a minute's requests, which fills again as time goes by.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::message::AgencyId;

/// The buckets of all agencies. Only the directory's agencies have one.
pub struct Rate {
    limiter: RateLimiter<
        AgencyId,
        DefaultKeyedStateStore<AgencyId>,
        DefaultClock,
        StateInformationMiddleware,
    >,
    clock: DefaultClock,
    per_minute: NonZeroU32,
}

impl Rate {
    /// So many requests a minute for each agency.
    pub fn new(per_minute: NonZeroU32) -> Self {
        let limiter = RateLimiter::keyed(Quota::per_minute(per_minute))
            .with_middleware::<StateInformationMiddleware>();
        Self { limiter, clock: DefaultClock::default(), per_minute }
    }

    /// Takes one request from this agency's bucket. Returns how many are left, or after how many
    /// seconds there is one again.
    pub(crate) fn take(&self, agency: &AgencyId) -> Result<u32, u32> {
        match self.limiter.check_key(agency) {
            Ok(state) => Ok(state.remaining_burst_capacity()),
            Err(until) => {
                let wait = until.wait_time_from(self.clock.now());
                Err(seconds(wait))
            }
        }
    }

    /// Says so in the headers of an answer (draft-ietf-httpapi-ratelimit-headers-11).
    pub(crate) fn say(&self, taken: Result<u32, u32>, headers: &mut HeaderMap) {
        let policy = format!("\"agency\";q={};w=60", self.per_minute);
        let state = match taken {
            Ok(left) => format!("\"agency\";r={left}"),
            Err(wait_s) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(wait_s));
                format!("\"agency\";r=0;t={wait_s}")
            }
        };
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", state)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

// Rounded up: whoever comes back then is not too early.
fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
}
