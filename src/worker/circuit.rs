//! How each push endpoint behaves: how much may go to it at once, and when it is asked again.
//!
//! An endpoint that does not answer is asked by one message at a time, and all such endpoints
//! together by half of what runs at once, so that no number of them delays one that answers. What is
//! here is only remembered behaviour: after a restart it is learned again, and no message is lost
//! with it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};

use crate::audit::entry::Fault;
use crate::directory::Endpoint;
use crate::message::AgencyId;

/// How much runs at once, and how long is waited.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Attempts under way, of all endpoints together.
    pub concurrency_max: usize,
    /// Attempts under way at one endpoint.
    pub per_endpoint_max: usize,
    /// The first wait's ceiling, in seconds; it doubles with each failure.
    pub retry_base_s: u32,
    /// The longest wait's ceiling, in seconds.
    pub retry_cap_s: u32,
}

/// What is remembered of all endpoints.
#[derive(Debug)]
pub struct Circuits {
    bounds: Bounds,
    all: Mutex<HashMap<Endpoint, Circuit>>,
}

/// An attempt that counts as under way until this is dropped.
#[derive(Debug)]
pub struct UnderWay {
    circuits: Arc<Circuits>,
    endpoint: Endpoint,
}

/// When an endpoint asked to be asked again (RFC 9110, 10.2.3), and until when that may put a message
/// off.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What the endpoint asked for.
    pub again_at: Timestamp,
    /// When the message is given up.
    pub give_up_at: Timestamp,
}

#[derive(Debug, Default)]
struct Circuit {
    agencies: BTreeSet<AgencyId>,
    under_way: usize,
    /// How often in a row it did not answer.
    failures: u32,
    /// While it does not answer: when it may be asked again.
    not_before: Option<Timestamp>,
    last: Option<(Fault, &'static str)>,
}

impl Circuits {
    /// Nothing known yet.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, all: Mutex::default() }
    }

    /// How many more attempts may begin at this endpoint now.
    pub fn room(&self, endpoint: &Endpoint, at: Timestamp) -> usize {
        let all = self.lock();
        let Bounds { concurrency_max, per_endpoint_max, .. } = self.bounds;
        let under_way = |circuit: &Circuit| circuit.under_way;
        let free = concurrency_max.saturating_sub(all.values().map(under_way).sum());
        let Some(circuit) = all.get(endpoint) else { return free.min(per_endpoint_max) };
        if circuit.failures == 0 {
            return free.min(per_endpoint_max.saturating_sub(circuit.under_way));
        }
        let is_too_early = circuit.not_before.is_some_and(|not_before| not_before > at);
        let asking: usize = all.values().filter(|one| one.failures > 0).map(under_way).sum();
        let is_asked = circuit.under_way > 0 || asking >= (concurrency_max / 2).max(1);
        if is_too_early || is_asked { 0 } else { free.min(1) }
    }

    /// When an endpoint that does not answer may be asked again.
    pub fn not_before(&self, endpoint: &Endpoint) -> Option<Timestamp> {
        self.lock().get(endpoint)?.not_before
    }

    /// The clock was set, by so much: nobody waits longer or shorter for it.
    pub fn move_waits(&self, by: SignedDuration) {
        for circuit in self.lock().values_mut() {
            circuit.not_before = circuit.not_before.and_then(|at| at.checked_add(by).ok());
        }
    }

    /// How the last attempt at this endpoint failed, if nothing has succeeded since.
    pub fn failing(&self, endpoint: &Endpoint) -> Option<(Fault, &'static str)> {
        self.lock().get(endpoint).filter(|circuit| circuit.failures > 0)?.last
    }

    /// An attempt begins.
    pub fn begin(self: &Arc<Self>, endpoint: &Endpoint, agency: &AgencyId) -> UnderWay {
        let mut all = self.lock();
        let circuit = all.entry(endpoint.clone()).or_default();
        circuit.under_way += 1;
        circuit.agencies.insert(agency.clone());
        UnderWay { circuits: Arc::clone(self), endpoint: endpoint.clone() }
    }

    /// The endpoint answered, if only to refuse: everything goes to it again.
    pub fn answered(&self, endpoint: &Endpoint) {
        if let Some(circuit) = self.lock().get_mut(endpoint) {
            (circuit.failures, circuit.not_before, circuit.last) = (0, None, None);
        }
    }

    /// The endpoint did not answer, or asked to wait, and this was seen at `at`. Returns when the
    /// message that found it so, after `attempts` before this one, is tried next.
    pub fn failed(
        &self,
        endpoint: &Endpoint,
        at: Timestamp,
        attempts: u32,
        cause: (Fault, &'static str),
        asked: Option<Asked>,
    ) -> Timestamp {
        let mut all = self.lock();
        let circuit = all.entry(endpoint.clone()).or_default();
        circuit.failures = circuit.failures.saturating_add(1);
        circuit.last = Some(cause);
        // One draw for both: a message alone in its queue waits by its own full jitter and no other.
        let random = draw();
        let probe_s = self.ceiling_s(circuit.failures - 1).min(PROBE_CAP_S);
        let probe = at + share(random, probe_s);
        let own = at + share(random, self.ceiling_s(attempts));
        let asked = asked.map_or(at, |asked| {
            let latest = asked.give_up_at.min(at + ASKED_MAX).max(at);
            asked.again_at.clamp(at, latest)
        });
        circuit.not_before = circuit.not_before.max(Some(probe.max(asked)));
        own.max(probe).max(asked)
    }

    /// When to try again what could not even be attempted, after `attempts` before this one.
    pub fn wait(&self, attempts: u32) -> SignedDuration {
        share(draw(), self.ceiling_s(attempts))
    }

    /// The agencies whose endpoint has not answered several times in a row.
    pub fn open(&self) -> BTreeSet<AgencyId> {
        let all = self.lock();
        let open = all.values().filter(|circuit| circuit.failures >= OPEN_AFTER);
        open.flat_map(|circuit| &circuit.agencies).cloned().collect()
    }

    /// Forgets endpoints that the directory no longer has.
    pub fn keep(&self, endpoints: &HashSet<&Endpoint>) {
        self.lock().retain(|endpoint, circuit| {
            circuit.under_way > 0 || (endpoints.contains(endpoint) && circuit.failures > 0)
        });
    }

    // The wait's ceiling after so many failures before this one.
    fn ceiling_s(&self, failures: u32) -> u32 {
        let doubled = self.bounds.retry_base_s.saturating_mul(1 << failures.min(20));
        doubled.min(self.bounds.retry_cap_s)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Endpoint, Circuit>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(circuit) = self.circuits.lock().get_mut(&self.endpoint) {
            circuit.under_way = circuit.under_way.saturating_sub(1);
        }
    }
}

/// `Retry-After` as an instant: seconds from `at`, or a date (RFC 9110, 10.2.3). None when it is
/// neither; it is bounded where it is used.
pub fn retry_after(value: &[u8], at: Timestamp) -> Option<Timestamp> {
    let text = str::from_utf8(value).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()) {
        // More than fits is for ever.
        let seconds = text.parse().unwrap_or(i64::MAX);
        let after = at.checked_add(SignedDuration::from_secs(seconds));
        return Some(after.unwrap_or(Timestamp::MAX));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    // No date before 1970 is read: what does not fit is too far away.
    Some(Timestamp::try_from(date).unwrap_or(Timestamp::MAX))
}

// Full jitter: a random wait under a ceiling, so that a partner who comes back is not met by
// everything at once.
fn share(random: u64, ceiling_s: u32) -> SignedDuration {
    let ceiling_ms = u128::from(ceiling_s) * 1_000;
    let ms = (u128::from(random) * ceiling_ms) >> 64;
    SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

fn draw() -> u64 {
    let mut random = [0; 8];
    // Without random bytes the longest wait.
    SystemRandom::new().fill(&mut random).map_or(u64::MAX, |()| u64::from_le_bytes(random))
}

/// How often in a row an endpoint must not have answered to be told of: one lost connection is none
/// of an operator's business.
const OPEN_AFTER: u32 = 3;

/// The longest that an endpoint is not asked while messages wait for it that have not just failed:
/// one that comes back is found within this, in seconds.
const PROBE_CAP_S: u32 = 60;

/// The longest that an endpoint is believed when it asks to wait: a wrong clock there must not cost
/// days here.
const ASKED_MAX: SignedDuration = SignedDuration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { concurrency_max: 8, per_endpoint_max: 4, retry_base_s: 5, retry_cap_s: 3_600 };

    fn endpoint(name: &str) -> Endpoint {
        Endpoint::Push { url: format!("https://{name}.example/"), ca: String::new() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_an_endpoint_asks_is_read_and_bounded() {
        let now = at("2026-11-23T09:00:00Z");
        let after = |hours: i64| now + SignedDuration::from_hours(hours);
        let give_up_at = after(12);
        for (text, read, waits_until) in [
            ("0", Some(now), now),
            ("7200", Some(after(2)), after(2)),
            (" 7200 ", Some(after(2)), after(2)),
            ("Mon, 23 Nov 2026 11:00:00 GMT", Some(after(2)), after(2)),
            ("Monday, 23-Nov-26 11:00:00 GMT", Some(after(2)), after(2)),
            ("Mon Nov 23 11:00:00 2026", Some(after(2)), after(2)),
            // In the past, or never again.
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(at("1994-11-06T08:49:37Z")), now),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(Timestamp::MAX), give_up_at),
            ("Tue, 01 Jan 1901 00:00:00 GMT", None, now),
            ("999999999999", Some(Timestamp::MAX), give_up_at),
            ("99999999999999999999999999", Some(Timestamp::MAX), give_up_at),
            // Neither a number nor a date.
            ("-1", None, now),
            ("+7200", None, now),
            ("7200.5", None, now),
            ("1e9", None, now),
            ("", None, now),
            ("soon", None, now),
            ("Mon, 32 Nov 2026 11:00:00 GMT", None, now),
        ] {
            assert_eq!(retry_after(text.as_bytes(), now), read, "{text}");
            let circuits = Circuits::new(BOUNDS);
            let asked = read.map(|again_at| Asked { again_at, give_up_at });
            let cause = (Fault::Unreachable, "asked-to-wait");
            let next = circuits.failed(&endpoint("a"), now, 0, cause, asked);
            let ceiling = SignedDuration::from_secs(5);
            assert!(
                next >= waits_until && next <= waits_until.max(now + ceiling),
                "{text}: {next}"
            );
            assert!(circuits.not_before(&endpoint("a")) >= Some(waits_until), "{text}");
        }
        assert_eq!(retry_after(&[0xff, 0xfe], now), None);
        // Given up far away, it is still believed for a day only.
        let circuits = Circuits::new(BOUNDS);
        let asked = Asked { again_at: Timestamp::MAX, give_up_at: after(120) };
        let cause = (Fault::Unreachable, "asked-to-wait");
        assert_eq!(circuits.failed(&endpoint("a"), now, 0, cause, Some(asked)), after(24));
    }

    #[test]
    fn what_does_not_answer_is_asked_by_one_at_a_time_and_never_by_all() {
        let now = at("2026-11-23T09:00:00Z");
        let later = now + SignedDuration::from_hours(1);
        let circuits = Arc::new(Circuits::new(BOUNDS));
        let police = AgencyId::parse("test-police").unwrap();
        let (good, cause) = (endpoint("good"), (Fault::Unreachable, "cannot-connect"));
        assert_eq!(circuits.room(&good, now), 4);
        let dead: Vec<_> = (0..6).map(|i| endpoint(&format!("dead-{i}"))).collect();
        for endpoint in &dead {
            for attempts in 0..3 {
                let next = circuits.failed(endpoint, now, attempts, cause, None);
                assert!(next <= now + SignedDuration::from_secs(5 << attempts));
            }
            assert_eq!(circuits.room(endpoint, later), 1);
        }
        let mut under_way = Vec::new();
        for endpoint in &dead[..4] {
            under_way.push(circuits.begin(endpoint, &police));
            assert_eq!(circuits.room(endpoint, later), 0, "one at a time");
        }
        assert_eq!(circuits.room(&dead[4], later), 0, "half for all that do not answer");
        assert_eq!(circuits.room(&good, now), 4, "and the other half is not theirs");
        assert_eq!(circuits.open(), BTreeSet::from([police]));
        drop(under_way.pop());
        assert_eq!(circuits.room(&dead[4], later), 1);
        circuits.answered(&dead[3]);
        assert_eq!(circuits.room(&dead[3], now), 4, "it flows again at once");
        assert_eq!(circuits.failing(&dead[3]), None);
        assert_eq!(circuits.failing(&dead[4]), Some(cause));
    }
}
