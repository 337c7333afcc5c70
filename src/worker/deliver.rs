//! Pushes messages to contact officers' endpoints: claim what is due, push it over mutual TLS,
//! record the attempt.
//!
//! Accepted once, delivered at least once, each attempt logged. A push whose answer is lost is made
//! again under the same message id when its lease runs out; the partner removes duplicates by id.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};
use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::audit::entry::{Event, EventName, Fault, Fields};
use crate::directory::Endpoint;
use crate::event;
use crate::exchange::{Gateway, TIMELINE_MAX};
use crate::http::client::{AddressPolicy, Client, ClientError, Limits};
use crate::message::{now, sha256};
use crate::pki::tls;
use crate::problem::Problem;
use crate::store::{Applied, Claim, DeliveryState, Effect, StoredMessage};
use crate::telemetry::{DeliveryOutcome, Metrics};

/// How pushes are made and how often they are tried.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where relative paths of endpoint authorities start.
    pub home: PathBuf,
    /// The file with the certificate chain the gateway shows, PEM.
    pub certificate: PathBuf,
    /// The file with its key, PEM.
    pub key: PathBuf,
    /// The oldest TLS spoken.
    pub min_tls: tls::MinTls,
    /// Whether endpoints on this machine may be pushed to.
    pub allow_loopback: bool,
    /// How long a claim lasts.
    pub lease_s: u32,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// The first wait's ceiling; it doubles with each attempt.
    pub retry_base_s: u32,
    /// The longest wait's ceiling.
    pub retry_cap_s: u32,
    /// After this with no success, the next endpoint is tried, or else the message is returned.
    pub give_up_after_s: u32,
    /// After this the sender is told of the delay, and a fallback endpoint takes over if there is
    /// one: an officer's mailbox now is better than a push that may come back in days.
    pub delayed_after_s: u32,
    /// Pushes under way at once.
    pub concurrency_max: usize,
}

/// The delivery worker.
pub struct Deliver {
    gateway: Arc<Gateway>,
    settings: Settings,
    metrics: Arc<Metrics>,
    clients: Mutex<HashMap<PathBuf, (Instant, Arc<Client>)>>,
}

impl Deliver {
    /// A worker for this gateway.
    pub fn new(gateway: Arc<Gateway>, settings: Settings, metrics: Arc<Metrics>) -> Self {
        Self { gateway, settings, metrics, clients: Mutex::new(HashMap::new()) }
    }

    /// Runs until `stop`: claims what is due while there is room, and waits for nobody's endpoint
    /// before it claims more. What is under way when it stops is finished.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut attempts = JoinSet::new();
        while !stop.is_cancelled() {
            let room = self.settings.concurrency_max.saturating_sub(attempts.len());
            if room > 0 && self.claim(room, &mut attempts).await == room {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                Some(ended) = attempts.join_next() => settled(ended),
                () = self.gateway.push_queued().notified(), if room > 0 => {}
                () = tokio::time::sleep(self.wait().await), if room > 0 => {}
            }
        }
        while let Some(ended) = attempts.join_next().await {
            settled(ended);
        }
    }

    /// Begins to push what is due, at most `room` of it; returns how many.
    async fn claim(
        self: &Arc<Self>,
        room: usize,
        attempts: &mut JoinSet<Result<(), Problem>>,
    ) -> usize {
        let at = now();
        let claims = match self.gateway.store().claim_due(at, self.settings.lease_s, room).await {
            Ok(claims) => claims,
            Err(error) => {
                tracing::error!(error = %error, "due pushes could not be claimed");
                return 0;
            }
        };
        let begun = claims.len();
        for claim in claims {
            let worker = Arc::clone(self);
            attempts.spawn(async move { worker.attempt(claim, at).await });
        }
        begun
    }

    async fn wait(&self) -> Duration {
        let next = self.gateway.store().next_due().await.ok().flatten();
        let until = next.map_or(IDLE, |due| {
            Duration::try_from(due.duration_since(now())).unwrap_or(Duration::ZERO)
        });
        until.clamp(Duration::from_millis(50), IDLE)
    }

    async fn attempt(&self, claim: Claim, at: Timestamp) -> Result<(), Problem> {
        let stored = self.gateway.store().message(&claim.message).await?;
        let directory = self.gateway.directory();
        let recipient = &stored.envelope.recipient;
        if !directory.takes(recipient, stored.envelope.kind, at) {
            // Suspended or closed since: its endpoint may not be its own any more.
            return self.hold(&stored, claim, "recipient-not-active", at).await;
        }
        let endpoints = directory.endpoints(recipient);
        let outcome = match endpoints.get(usize::from(claim.endpoint)) {
            Some(Endpoint::Push { url, ca }) => self.push(&stored, &claim, url, ca).await,
            // The directory changed since: the mailbox is where the officer collects now.
            Some(Endpoint::Mailbox) | None => {
                return self.hold(&stored, claim, "endpoint-is-mailbox", at).await;
            }
        };
        let (event, state) = match outcome {
            Ok(()) => {
                self.metrics.delivery(DeliveryOutcome::Delivered);
                let event = Event::delivered(&stored.envelope, claim.endpoint, claim.attempts + 1);
                (event, DeliveryState::Delivered)
            }
            Err(failure) => {
                self.metrics.delivery(match failure.fault {
                    Fault::Failed => DeliveryOutcome::Failed,
                    Fault::Refused => DeliveryOutcome::Refused,
                    Fault::Unreachable => DeliveryOutcome::Unreachable,
                });
                self.after(&failure, &stored, &claim, endpoints, at).await?
            }
        };
        self.settle(&stored, claim, event, state, at).await
    }

    async fn push(
        &self,
        stored: &StoredMessage,
        claim: &Claim,
        url: &str,
        ca: &str,
    ) -> Result<(), Failure> {
        let ours = |code| Failure { fault: Fault::Failed, code, status: None };
        let document =
            self.gateway.event(stored).await.map_err(|problem| ours(problem.kind.facts().code))?;
        let client = self.client(Path::new(ca)).map_err(ours)?;
        let uri: Uri = url.parse().map_err(|_| ours("endpoint-url"))?;
        let text = |value: String| HeaderValue::from_str(&value).map_err(|_| ours("header"));
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static(event::MEDIA_TYPE)),
            (
                HeaderName::from_static("content-digest"),
                text(event::content_digest(&sha256(&document)))?,
            ),
            (HeaderName::from_static("mash-attempt"), HeaderValue::from(claim.attempts + 1)),
            (HeaderName::from_static("mash-message-id"), text(stored.envelope.id.to_string())?),
        ]);
        let pushed = client.send(Method::POST, &uri, headers, document);
        // The client's own limits are for each part; this is for the whole, shorter than the lease.
        match tokio::time::timeout(self.settings.attempt_timeout, pushed).await {
            Ok(Ok(response)) => Failure::from_status(response.status.as_u16()),
            Ok(Err(error)) => Err(Failure::from(&error)),
            Err(_) => Err(Failure::from(&ClientError::AnswerTimeout)),
        }
    }

    async fn after(
        &self,
        failure: &Failure,
        stored: &StoredMessage,
        claim: &Claim,
        endpoints: &[Endpoint],
        at: Timestamp,
    ) -> Result<(Event, DeliveryState), Problem> {
        let envelope = &stored.envelope;
        let attempt = claim.attempts + 1;
        let age_s = at.duration_since(envelope.time).as_secs();
        let is_delayed = age_s >= i64::from(self.settings.delayed_after_s);
        let is_given_up =
            age_s >= i64::from(self.settings.give_up_after_s) || failure.fault == Fault::Refused;
        let next_endpoint = endpoints.get(usize::from(claim.endpoint) + 1);
        tracing::warn!(
            message.id = %envelope.id,
            agency.id = %envelope.recipient,
            fault = failure.fault.as_str(),
            code = failure.code,
            attempt,
            "a push was not taken"
        );
        let failed = |next| {
            Event::attempt_failed(
                envelope,
                claim.endpoint,
                attempt,
                (failure.fault, failure.code),
                failure.status,
                next,
            )
        };
        match next_endpoint {
            Some(Endpoint::Mailbox) if is_delayed || is_given_up => {
                Ok((failed(None), DeliveryState::Held))
            }
            Some(Endpoint::Push { .. }) if is_delayed || is_given_up => {
                let state = DeliveryState::Queued { endpoint: claim.endpoint + 1, at, attempts: 0 };
                Ok((failed(Some(at)), state))
            }
            _ if is_given_up => {
                let event = Event::returned(envelope, attempt, (failure.fault, failure.code));
                Ok((event, DeliveryState::Returned))
            }
            _ => {
                if is_delayed {
                    self.note_delay(stored, at).await?;
                }
                let next = at + self.backoff(claim.attempts);
                let state =
                    DeliveryState::Queued { endpoint: claim.endpoint, at: next, attempts: attempt };
                Ok((failed(Some(next)), state))
            }
        }
    }

    // Once per message: the timeline already says so after that.
    async fn note_delay(&self, stored: &StoredMessage, at: Timestamp) -> Result<(), Problem> {
        let message = stored.envelope.id.to_string();
        let timeline =
            self.gateway.store().timeline(&stored.envelope.exchange, TIMELINE_MAX).await?;
        let is_said = timeline
            .iter()
            .filter_map(|entry| Fields::parse(entry.fields.as_deref()?))
            .filter(|fields| fields.get("event") == Some(EventName::Delayed.as_str()))
            .any(|fields| fields.get("message") == Some(&message));
        let event = Event::delayed(&stored.envelope);
        if !is_said {
            let exchange = Some(stored.envelope.exchange);
            self.gateway.ledger().record(&event, at, exchange, Effect::Log).await?;
        }
        Ok(())
    }

    async fn hold(
        &self,
        stored: &StoredMessage,
        claim: Claim,
        code: &'static str,
        at: Timestamp,
    ) -> Result<(), Problem> {
        let event = Event::attempt_failed(
            &stored.envelope,
            claim.endpoint,
            claim.attempts + 1,
            (Fault::Failed, code),
            None,
            None,
        );
        self.settle(stored, claim, event, DeliveryState::Held, at).await
    }

    async fn settle(
        &self,
        stored: &StoredMessage,
        claim: Claim,
        event: Event,
        state: DeliveryState,
        at: Timestamp,
    ) -> Result<(), Problem> {
        let message = claim.message;
        let exchange = Some(stored.envelope.exchange);
        let effect = Effect::Settle(claim, state);
        match self.gateway.ledger().record(&event, at, exchange, effect).await? {
            Applied::Recorded(_) => Ok(()),
            _ => {
                // Somebody else holds it now, or it was collected meanwhile: their word stands.
                tracing::warn!(message.id = %message, "a lease was lost before it was settled");
                Ok(())
            }
        }
    }

    fn client(&self, ca: &Path) -> Result<Arc<Client>, &'static str> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, client)) = clients.get(ca)
            && made.elapsed() < CLIENT_GOOD_FOR
        {
            return Ok(Arc::clone(client));
        }
        let roots = std::fs::read_to_string(self.settings.home.join(ca))
            .map_err(|_| "endpoint-authority-unreadable")?;
        let ours = |path| std::fs::read_to_string(path).map_err(|_| "push-certificate-unreadable");
        let key = Zeroizing::new(ours(&self.settings.key)?);
        let material = tls::ClientMaterial {
            chain: &ours(&self.settings.certificate)?,
            key: &key,
            roots: &roots,
        };
        let config = tls::client_config(material, self.settings.min_tls)
            .map_err(|_| "endpoint-authority-unusable")?;
        let addresses = if self.settings.allow_loopback {
            AddressPolicy::AllowAny
        } else {
            AddressPolicy::RefuseLocal
        };
        let limits = Limits {
            connect_timeout: self.settings.attempt_timeout,
            answer_timeout: self.settings.attempt_timeout,
            response_bytes_max: 64 * 1024,
        };
        let client = Arc::new(Client::new(config, addresses, limits));
        clients.insert(ca.to_owned(), (Instant::now(), Arc::clone(&client)));
        Ok(client)
    }

    // Full jitter: a random wait under a ceiling that doubles, so that a partner who comes back is
    // not met by everything at once.
    fn backoff(&self, attempts: u32) -> SignedDuration {
        let doubled = self.settings.retry_base_s.saturating_mul(1 << attempts.min(20));
        let ceiling_ms = u64::from(doubled.min(self.settings.retry_cap_s)) * 1_000;
        let mut random = [0; 8];
        let drawn = SystemRandom::new().fill(&mut random).is_ok();
        let share = if drawn { u64::from_le_bytes(random) % ceiling_ms.max(1) } else { ceiling_ms };
        SignedDuration::from_millis(i64::try_from(share).unwrap_or(i64::MAX))
    }
}

fn settled(ended: Result<Result<(), Problem>, JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(problem)) => tracing::error!(
            problem.code = problem.kind.facts().code,
            problem.internal = problem.internal.as_deref(),
            "an attempt could not be settled; its lease will run out"
        ),
        Err(error) => tracing::error!(error = %error, "an attempt panicked"),
    }
}

/// A certificate, key or authority that was replaced is in use within this.
const CLIENT_GOOD_FOR: Duration = Duration::from_secs(60);

/// Why an attempt failed, and whose fault it was.
struct Failure {
    fault: Fault,
    code: &'static str,
    status: Option<u16>,
}

impl Failure {
    fn from_status(status: u16) -> Result<(), Self> {
        let failure = |fault, code| Err(Self { fault, code, status: Some(status) });
        match status {
            200..=299 => Ok(()),
            408 | 425 | 429 => failure(Fault::Unreachable, "asked-to-wait"),
            400..=499 => failure(Fault::Refused, "refused"),
            300..=399 => failure(Fault::Unreachable, "redirected"),
            _ => failure(Fault::Unreachable, "endpoint-failed"),
        }
    }
}

impl From<&ClientError> for Failure {
    fn from(error: &ClientError) -> Self {
        Self { fault: Fault::Unreachable, code: error.code(), status: None }
    }
}

/// With nothing queued there is nothing to wait for but a change made by another process.
const IDLE: Duration = Duration::from_secs(30);
