//! Whether witnesses keep up with the log. Never holds up what is accepted: it is said, and that is all.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::audit::cosignature::WitnessPolicy;
use crate::audit::entry::Fields;
use crate::exchange::Gateway;
use crate::http::health::Concerns;
use crate::message::now;
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;

/// Whoever looks.
pub struct Watch {
    /// Whose log it is.
    pub gateway: Arc<Gateway>,
    /// Where what was witnessed is counted.
    pub metrics: Arc<Metrics>,
    /// Where it is said that it is too little.
    pub concerns: Arc<Concerns>,
}

impl Watch {
    /// Looks each minute, and whenever a witness was heard, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let Self { gateway, metrics, concerns } = self;
        loop {
            match look(&**gateway.store(), gateway.witnesses(), now()).await {
                Ok(Watched { witnessed, concern }) => {
                    metrics.log_witnessed(witnessed);
                    concerns.set(WITNESSES, concern);
                }
                Err(error) => {
                    tracing::error!(error = %error, "what was witnessed could not be looked up");
                }
            }
            concerns.set(LOG, gateway.is_disproved().then(|| DISPROVED.to_owned()));
            tokio::select! {
                () = stop.cancelled() => return,
                () = gateway.cosigned().notified() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }
}

/// How far witnesses have come.
#[derive(Debug)]
pub struct Watched {
    /// How many entries enough of them have cosigned.
    pub witnessed: u64,
    /// What an operator should know of it.
    pub concern: Option<String>,
}

/// How far witnesses had come `at` a time.
pub async fn look(
    store: &dyn Store,
    policy: &WitnessPolicy,
    at: Timestamp,
) -> Result<Watched, StoreError> {
    let last = store.last_cosigned().await?;
    let mut sizes: Vec<(u64, &str)> = policy
        .witnesses
        .iter()
        .map(|witness| {
            let key = witness.to_string();
            let last = last.iter().find(|last| last.witness == key);
            (last.map_or(0, |last| last.size), witness.name())
        })
        .collect();
    sizes.sort_unstable_by(|one, other| other.cmp(one));
    let witnessed = sizes.get(policy.min.max(1) - 1).map_or(0, |(size, _)| *size);
    if policy.min == 0 {
        return Ok(Watched { witnessed, concern: None });
    }
    // The oldest that is not: had it been logged just now, there would have been no time for it.
    let concern = store.entries(witnessed, 1).await?.pop().and_then(|entry| {
        let fields = entry.fields.as_deref().and_then(Fields::parse);
        let logged: Option<Timestamp> = fields.and_then(|fields| fields.get("time")?.parse().ok());
        if logged.is_some_and(|logged| at < logged + GRACE) {
            return None;
        }
        let behind: Vec<_> =
            sizes.iter().filter(|(size, _)| *size <= witnessed).map(|(_, name)| *name).collect();
        Some(format!(
            "entry {witnessed} and what follows it is more than an hour old and cosigned by fewer than \
             {}; behind: {}",
            policy.min,
            behind.join(", ")
        ))
    });
    Ok(Watched { witnessed, concern })
}

/// What a concern about witnesses is filed under.
pub const WITNESSES: &str = "witnesses";

/// What a concern about the log itself is filed under.
const LOG: &str = "the log";

const DISPROVED: &str = "somebody has a checkpoint that its key signed and that it does not have: it was \
                         cut, or another log was signed. Stop, keep everything, compare it with what \
                         agencies hold";

/// How long a witness may take.
const GRACE: SignedDuration = SignedDuration::from_hours(1);

const EVERY: Duration = Duration::from_secs(60);
