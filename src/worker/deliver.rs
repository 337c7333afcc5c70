//! Pushes messages to contact officers' endpoints: claim what is due, push it over mutual TLS,
//! record the attempt.
//!
//! Accepted once, delivered at least once, each attempt logged. A push whose answer is lost is made
//! again under the same message id when its lease runs out; the partner removes duplicates by id.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};
use jiff::{SignedDuration, Timestamp};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::audit::entry::{Event, Fault};
use crate::config::{Config, Home};
use crate::directory::{Directory, Endpoint};
use crate::event;
use crate::exchange::Gateway;
use crate::http::client::{AddressPolicy, Client, ClientError, Limits, Response};
use crate::http::health::Concerns;
use crate::message::{AgencyId, now, sha256};
use crate::pki::tls;
use crate::problem::Problem;
use crate::store::{Applied, Claim, DeliveryState, Effect, Queue, StoredMessage, Wanted};
use crate::telemetry::{DeliveryOutcome, Metrics};
use crate::worker::circuit::{self, Asked, Bounds, Circuits};

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
    /// After this with no success, the next endpoint is tried, or else the message is returned.
    pub give_up_after_s: u32,
    /// After this the sender is told of the delay, and a fallback endpoint takes over if there is
    /// one: an officer's mailbox now is better than a push that may come back in days.
    pub delayed_after_s: u32,
    /// How much runs at once, and how long is waited.
    pub bounds: Bounds,
}

impl Settings {
    /// As a home has them.
    pub fn of(home: &Home, config: &Config) -> Self {
        let push = &config.push;
        Self {
            home: home.folder().to_owned(),
            certificate: home.resolve(&config.paths.push_certificate),
            key: home.resolve(&config.paths.push_key),
            min_tls: config.tls.min,
            allow_loopback: push.allow_loopback,
            lease_s: push.lease_s,
            attempt_timeout: Duration::from_secs(push.attempt_timeout_s.into()),
            give_up_after_s: push.give_up_after_s,
            delayed_after_s: push.delayed_after_s,
            bounds: Bounds {
                concurrency_max: push.concurrency_max as usize,
                per_endpoint_max: push.concurrency_per_endpoint_max as usize,
                retry_base_s: push.retry_base_s,
                retry_cap_s: push.retry_cap_s,
            },
        }
    }
}

/// The delivery worker.
pub struct Deliver {
    gateway: Arc<Gateway>,
    settings: Settings,
    metrics: Arc<Metrics>,
    concerns: Arc<Concerns>,
    circuits: Arc<Circuits>,
    clients: Mutex<HashMap<PathBuf, (Instant, Arc<Client>)>>,
}

/// What is under way.
type Attempts = JoinSet<Result<(), Problem>>;

impl Deliver {
    /// A worker for this gateway.
    pub fn new(
        gateway: Arc<Gateway>,
        settings: Settings,
        metrics: Arc<Metrics>,
        concerns: Arc<Concerns>,
    ) -> Self {
        let circuits = Arc::new(Circuits::new(settings.bounds));
        Self { gateway, settings, metrics, concerns, circuits, clients: Mutex::default() }
    }

    /// Runs until `stop`, and alone reads the clock: begins what is due while there is room, and
    /// waits for nobody's endpoint before it begins more. What is under way when it stops is
    /// finished.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut attempts = JoinSet::new();
        // What was logged last was before now, unless the clock was set back while nothing ran.
        let latest = self.gateway.ledger().latest().map_or_else(now, |latest| latest.max(now()));
        let mut clock = Clock::new(latest);
        while !stop.is_cancelled() {
            if let Err(problem) = self.follow(&mut clock, &mut attempts).await {
                report(&problem, "what waits could not be moved to the clock as it was set");
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(AFTER_ERROR) => {}
                }
                continue;
            }
            let at = now();
            let idle = clock.until_stray(Instant::now()).map_or(IDLE, |wait| wait.min(IDLE));
            let pause = match self.begin(at, &mut attempts).await {
                Ok(next) => next.map_or(idle, |next| {
                    Duration::try_from(next.duration_since(at)).unwrap_or(Duration::ZERO).min(idle)
                }),
                Err(problem) => {
                    report(&problem, "due pushes could not be claimed");
                    AFTER_ERROR
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                Some(ended) = attempts.join_next() => settled(ended),
                () = self.gateway.push_queued().notified() => {}
                () = tokio::time::sleep(pause.max(SHORTEST)) => {}
            }
        }
        while let Some(ended) = attempts.join_next().await {
            settled(ended);
        }
    }

    // When the clock was set, whoever waits goes on waiting as long as before: what was to be tried
    // again in a minute is, and nothing is given up that has not had its days.
    async fn follow(&self, clock: &mut Clock, attempts: &mut Attempts) -> Result<(), Problem> {
        if clock.step(now()).is_none() {
            if let Some(by) = clock.stray(Instant::now()) {
                // Only what no clock of now would have written.
                self.gateway.store().move_waits(now() - by / 2, by).await?;
            }
            return Ok(());
        }
        // What is under way is settled by the clock it began with.
        while let Some(ended) = attempts.join_next().await {
            settled(ended);
        }
        let at = now();
        if let Some(by) = clock.step(at) {
            self.gateway.store().move_waits(at, by).await?;
            clock.expect_strays(by, Instant::now());
            self.circuits.move_waits(by);
            tracing::warn!(
                seconds = by.as_secs(),
                "the clock was set; what waits was moved with it"
            );
        }
        clock.follow(at);
        Ok(())
    }

    /// Does all that is due at `at`, to its end: pushes, tells senders of delays, gives up. Returns
    /// when something is due next, if anything is queued: whoever calls this with one time after
    /// another sees days pass.
    pub async fn round(self: &Arc<Self>, at: Timestamp) -> Result<Option<Timestamp>, Problem> {
        let mut attempts = JoinSet::new();
        loop {
            let next = self.begin(at, &mut attempts).await?;
            if attempts.is_empty() && next.is_none_or(|next| next > at) {
                return Ok(next);
            }
            while let Some(ended) = attempts.join_next().await {
                settled(ended);
            }
        }
    }

    // Begins what is due, as far as there is room; returns when there is more to do though nothing
    // that is under way ends.
    async fn begin(
        self: &Arc<Self>,
        at: Timestamp,
        attempts: &mut Attempts,
    ) -> Result<Option<Timestamp>, Problem> {
        let directory = self.gateway.directory();
        self.tell_circuits(&directory);
        let mut queues = self.gateway.store().queues(at).await?;
        // Who waits longest comes first to what room there is.
        queues.sort_by_key(|queue| queue.due);
        let mut next: Option<Timestamp> = None;
        let mut soonest = |time: Timestamp| next = Some(next.map_or(time, |next| next.min(time)));
        for queue in &queues {
            let endpoints = directory.endpoints(&queue.recipient);
            let Some(endpoint @ Endpoint::Push { .. }) = endpoints.get(usize::from(queue.endpoint))
            else {
                // The directory changed since: the mailbox is where the officer collects now.
                if self.move_waiting(queue, at, None, at, attempts).await? == PAGE {
                    soonest(at);
                }
                continue;
            };
            let has_next = endpoints.len() > usize::from(queue.endpoint) + 1;
            if self.look_after_late(queue, endpoint, has_next, at, attempts).await? {
                soonest(at);
            }
            let [delayed_at, give_up_at] = self.deadlines(queue, has_next);
            for deadline in [delayed_at, give_up_at].into_iter().flatten() {
                if deadline > at {
                    soonest(deadline);
                }
            }
            let room = self.circuits.room(endpoint, at);
            if queue.due <= at && room > 0 {
                self.attempt_some(queue, endpoint, Wanted::Due, room, at, attempts).await?;
            } else {
                let may_begin = self.circuits.not_before(endpoint).unwrap_or(queue.due);
                let then = may_begin.max(queue.due);
                if then > at {
                    soonest(then);
                }
            }
        }
        Ok(next)
    }

    // When a sender of this queue is to be told next that a message is late, and when the next is
    // given up; with another endpoint to go to, it goes there when it is late.
    fn deadlines(&self, queue: &Queue, has_next: bool) -> [Option<Timestamp>; 2] {
        let seconds = |seconds: u32| SignedDuration::from_secs(seconds.into());
        let delayed = seconds(self.settings.delayed_after_s);
        let end = if has_next { delayed } else { seconds(self.settings.give_up_after_s) };
        [queue.untold_since.map(|since| since + delayed), queue.told_since.map(|since| since + end)]
    }

    // What is late is told, moved on or given up, whether its endpoint may be asked now or not.
    // Returns whether there is more of it.
    async fn look_after_late(
        self: &Arc<Self>,
        queue: &Queue,
        endpoint: &Endpoint,
        has_next: bool,
        at: Timestamp,
        attempts: &mut Attempts,
    ) -> Result<bool, Problem> {
        let before = |seconds: u32| at - SignedDuration::from_secs(seconds.into());
        let delayed = before(self.settings.delayed_after_s);
        let mut is_more = false;
        if !has_next && queue.untold_since.is_some_and(|since| since <= delayed) {
            let untold = self.gateway.store().untold(at, queue, delayed, PAGE).await?;
            is_more = untold.len() == PAGE;
            for stored in untold {
                let event = Event::delayed(&stored.envelope);
                let (exchange, id) = (Some(stored.envelope.exchange), stored.envelope.id);
                // Collected meanwhile, or told by another worker: there is nothing to tell.
                self.gateway.ledger().record(&event, at, exchange, Effect::Delay(id)).await?;
            }
        }
        let end = if has_next { delayed } else { before(self.settings.give_up_after_s) };
        let oldest = queue.untold_since.into_iter().chain(queue.told_since).min();
        if oldest.is_none_or(|since| since > end) {
            return Ok(is_more);
        }
        if let Some(cause) = self.circuits.failing(endpoint) {
            let moved = self.move_waiting(queue, end, Some(cause), at, attempts).await?;
            return Ok(is_more || moved == PAGE);
        }
        // Nothing is known against this endpoint, as after a long stop: it gets its chance first.
        for is_told in [true, false] {
            let room = self.circuits.room(endpoint, at);
            if room > 0 {
                let wanted = Wanted::Waiting { is_told, before: end };
                self.attempt_some(queue, endpoint, wanted, room, at, attempts).await?;
            }
        }
        Ok(is_more)
    }

    async fn attempt_some(
        self: &Arc<Self>,
        queue: &Queue,
        endpoint: &Endpoint,
        wanted: Wanted,
        room: usize,
        at: Timestamp,
        attempts: &mut Attempts,
    ) -> Result<(), Problem> {
        let store = self.gateway.store();
        let claims = store.claim(at, self.settings.lease_s, queue, wanted, room).await?;
        for claim in claims {
            let (worker, endpoint) = (Arc::clone(self), endpoint.clone());
            let under_way = self.circuits.begin(&endpoint, &queue.recipient);
            attempts.spawn(async move {
                let ended = worker.attempt(claim, &endpoint, at).await;
                drop(under_way);
                ended
            });
        }
        Ok(())
    }

    // Takes what waits since `before` off a queue without another attempt at its endpoint; returns
    // how many at most are moved.
    async fn move_waiting(
        self: &Arc<Self>,
        queue: &Queue,
        before: Timestamp,
        cause: Option<(Fault, &'static str)>,
        at: Timestamp,
        attempts: &mut Attempts,
    ) -> Result<usize, Problem> {
        let mut count = 0;
        for is_told in [true, false] {
            let wanted = Wanted::Waiting { is_told, before };
            let store = self.gateway.store();
            let claims =
                store.claim(at, self.settings.lease_s, queue, wanted, PAGE - count).await?;
            count += claims.len();
            for claim in claims {
                let worker = Arc::clone(self);
                attempts.spawn(async move { worker.move_on(claim, cause, at).await });
            }
        }
        Ok(count)
    }

    // To the next endpoint, or back to the sender, for what made the attempts so far fail.
    async fn move_on(
        &self,
        claim: Claim,
        cause: Option<(Fault, &'static str)>,
        at: Timestamp,
    ) -> Result<(), Problem> {
        let stored = self.gateway.store().message(&claim.message).await?;
        let (envelope, directory) = (&stored.envelope, self.gateway.directory());
        let endpoints = directory.endpoints(&envelope.recipient);
        if !directory.takes(&envelope.recipient, envelope.kind, at) {
            return self.hold(&stored, claim, "recipient-not-active", at).await;
        }
        let Some(cause) = cause else {
            return self.hold(&stored, claim, "endpoint-is-mailbox", at).await;
        };
        let failed = |next| {
            let (endpoint, attempts) = (claim.endpoint, claim.attempts);
            Event::attempt_failed(envelope, endpoint, attempts, (cause.0, LATE), None, next)
        };
        let (event, state) = match endpoints.get(usize::from(claim.endpoint) + 1) {
            Some(Endpoint::Mailbox) => (failed(None), DeliveryState::Held),
            Some(Endpoint::Push { .. }) => {
                let endpoint = claim.endpoint + 1;
                (failed(Some(at)), DeliveryState::Queued { endpoint, at, attempts: 0 })
            }
            None => (Event::returned(envelope, claim.attempts, cause), DeliveryState::Returned),
        };
        self.settle(&stored, claim, event, state, at).await
    }

    fn tell_circuits(&self, directory: &Directory) {
        let is_push = |endpoint: &&Endpoint| matches!(endpoint, Endpoint::Push { .. });
        let pushed: Vec<_> =
            directory.all().filter(|agency| agency.endpoints.iter().any(|e| is_push(&e))).collect();
        let endpoints = pushed.iter().flat_map(|agency| &agency.endpoints).filter(is_push);
        self.circuits.keep(&endpoints.collect());
        let open = self.circuits.open();
        self.metrics.circuits(pushed.iter().map(|agency| (&agency.id, open.contains(&agency.id))));
        let names: Vec<_> = open.iter().map(AgencyId::as_str).collect();
        let concern = format!("no answer from the endpoint of {}", names.join(", "));
        self.concerns.set(ENDPOINTS, (!names.is_empty()).then_some(concern));
    }

    async fn attempt(
        &self,
        claim: Claim,
        endpoint: &Endpoint,
        at: Timestamp,
    ) -> Result<(), Problem> {
        let begun = Instant::now();
        let stored = self.gateway.store().message(&claim.message).await?;
        let directory = self.gateway.directory();
        let recipient = &stored.envelope.recipient;
        if !directory.takes(recipient, stored.envelope.kind, at) {
            // Suspended or closed since: its endpoint may not be its own any more.
            return self.hold(&stored, claim, "recipient-not-active", at).await;
        }
        let endpoints = directory.endpoints(recipient);
        let Endpoint::Push { url, ca } = endpoint else {
            return self.hold(&stored, claim, "endpoint-is-mailbox", at).await;
        };
        let outcome = self.push(&stored, &claim, url, ca, at).await;
        let (event, state) = match outcome {
            Ok(()) => {
                self.circuits.answered(endpoint);
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
                // An attempt that took long leaves no less to wait.
                let took = SignedDuration::try_from(begun.elapsed()).unwrap_or_default();
                let ended = at + SignedDuration::from_millis(took.as_millis() as i64);
                let next = self.next(&failure, &claim, endpoint, ended);
                self.after(&failure, &stored, &claim, endpoints, next, at)
            }
        };
        self.settle(&stored, claim, event, state, at).await
    }

    // What a failure says of its endpoint, and when the message is tried again if it is.
    fn next(
        &self,
        failure: &Failure,
        claim: &Claim,
        endpoint: &Endpoint,
        ended: Timestamp,
    ) -> Timestamp {
        if failure.fault == Fault::Refused {
            self.circuits.answered(endpoint);
        }
        if !failure.is_endpoints || failure.fault == Fault::Refused {
            return ended + self.circuits.wait(claim.attempts);
        }
        let give_up = SignedDuration::from_secs(self.settings.give_up_after_s.into());
        let give_up_at = claim.since + give_up;
        let asked = failure.again_at.map(|again_at| Asked { again_at, give_up_at });
        let cause = (failure.fault, failure.code);
        self.circuits.failed(endpoint, ended, claim.attempts, cause, asked)
    }

    async fn push(
        &self,
        stored: &StoredMessage,
        claim: &Claim,
        url: &str,
        ca: &str,
        at: Timestamp,
    ) -> Result<(), Failure> {
        let ours = |code| Failure { fault: Fault::Failed, code, ..Failure::default() };
        let document = self.gateway.event(stored).await.map_err(|problem| Failure {
            is_endpoints: false,
            ..ours(problem.kind.facts().code)
        })?;
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
            Ok(Ok(response)) => Failure::from_response(&response, at),
            Ok(Err(error)) => Err(Failure::from(&error)),
            Err(_) => Err(Failure::from(&ClientError::AnswerTimeout)),
        }
    }

    fn after(
        &self,
        failure: &Failure,
        stored: &StoredMessage,
        claim: &Claim,
        endpoints: &[Endpoint],
        next: Timestamp,
        at: Timestamp,
    ) -> (Event, DeliveryState) {
        let envelope = &stored.envelope;
        let attempt = claim.attempts + 1;
        let age_s = at.duration_since(claim.since).as_secs();
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
                (failed(None), DeliveryState::Held)
            }
            Some(Endpoint::Push { .. }) if is_delayed || is_given_up => {
                let endpoint = claim.endpoint + 1;
                (failed(Some(at)), DeliveryState::Queued { endpoint, at, attempts: 0 })
            }
            _ if is_given_up => {
                let event = Event::returned(envelope, attempt, (failure.fault, failure.code));
                (event, DeliveryState::Returned)
            }
            _ => {
                let endpoint = claim.endpoint;
                let state = DeliveryState::Queued { endpoint, at: next, attempts: attempt };
                (failed(Some(next)), state)
            }
        }
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
        let is_returned = state == DeliveryState::Returned;
        let effect = Effect::Settle(claim, state);
        match self.gateway.ledger().record(&event, at, exchange, effect).await? {
            Applied::Recorded(_) if is_returned => {
                self.metrics.returned(&stored.envelope.recipient);
                tracing::error!(
                    message.id = %message,
                    agency.id = %stored.envelope.recipient,
                    "a message was given up and returned to its sender"
                );
                Ok(())
            }
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
}

/// The wall clock beside one that nobody sets.
struct Clock {
    wall: Timestamp,
    steady: Instant,
    /// When to look for what was accepted by the clock as it was before, and by how much that was set back.
    strays: VecDeque<(Instant, SignedDuration)>,
}

impl Clock {
    fn new(wall: Timestamp) -> Self {
        Self { wall, steady: Instant::now(), strays: VecDeque::new() }
    }

    /// A request that came in just before the clock was set back is accepted after what waits was moved: with
    /// a time that is still to come. Such are looked for until none can be under way any more.
    fn expect_strays(&mut self, by: SignedDuration, now: Instant) {
        if by.is_negative() {
            self.strays.extend(STRAYS_AFTER.map(|wait| (now + wait, by)));
        }
    }

    /// By how much the clock was set back, when it is time to look for such.
    fn stray(&mut self, now: Instant) -> Option<SignedDuration> {
        let (at, by) = *self.strays.front()?;
        if at > now {
            return None;
        }
        self.strays.pop_front();
        Some(by)
    }

    fn until_stray(&self, now: Instant) -> Option<Duration> {
        self.strays.front().map(|(at, _)| at.saturating_duration_since(now))
    }

    /// By how much the wall clock was set since, if it was; what it is corrected by is no setting.
    fn step(&mut self, wall: Timestamp) -> Option<SignedDuration> {
        let steady = SignedDuration::try_from(self.steady.elapsed()).unwrap_or_default();
        let by = wall.duration_since(self.wall) - steady;
        if by.abs() < STEP_MIN {
            self.follow(wall);
            return None;
        }
        Some(by)
    }

    fn follow(&mut self, wall: Timestamp) {
        (self.wall, self.steady) = (wall, Instant::now());
    }
}

fn report(problem: &Problem, what: &'static str) {
    tracing::error!(
        problem.code = problem.kind.facts().code,
        problem.internal = problem.internal.as_deref(),
        "{what}"
    );
}

fn settled(ended: Result<Result<(), Problem>, JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(problem)) => {
            report(&problem, "an attempt could not be settled; its lease will run out");
        }
        Err(error) => tracing::error!(error = %error, "an attempt panicked"),
    }
}

/// The last is longer than any request may take.
const STRAYS_AFTER: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(90),
];

/// A certificate, key or authority that was replaced is in use within this.
const CLIENT_GOOD_FOR: Duration = Duration::from_secs(60);

/// Why an attempt failed, and whose fault it was.
struct Failure {
    fault: Fault,
    code: &'static str,
    status: Option<u16>,
    /// When the endpoint asked to be asked again.
    again_at: Option<Timestamp>,
    /// Whether another message would have failed the same.
    is_endpoints: bool,
}

impl Default for Failure {
    fn default() -> Self {
        Self {
            fault: Fault::Unreachable,
            code: "endpoint-failed",
            status: None,
            again_at: None,
            is_endpoints: true,
        }
    }
}

impl Failure {
    fn from_response(response: &Response, at: Timestamp) -> Result<(), Self> {
        let status = response.status.as_u16();
        let (fault, code) = match status {
            200..=299 => return Ok(()),
            408 | 425 | 429 => (Fault::Unreachable, "asked-to-wait"),
            400..=499 => (Fault::Refused, "refused"),
            300..=399 => (Fault::Unreachable, "redirected"),
            _ => (Fault::Unreachable, "endpoint-failed"),
        };
        let asked = response.headers.get(header::RETRY_AFTER);
        let again_at = match status {
            408 | 425 | 429 | 503 => {
                asked.and_then(|asked| circuit::retry_after(asked.as_bytes(), at))
            }
            _ => None,
        };
        Err(Self { fault, code, status: Some(status), again_at, ..Self::default() })
    }
}

impl From<&ClientError> for Failure {
    fn from(error: &ClientError) -> Self {
        Self { code: error.code(), ..Self::default() }
    }
}

/// What a concern about push endpoints is filed under.
pub const ENDPOINTS: &str = "push endpoints";

/// A message that is moved on without another attempt, because it is late and its endpoint silent.
const LATE: &str = "late";

/// As many messages are moved or told at once.
const PAGE: usize = 100;

/// The least that is waited, whatever is due: what could not be done just now is not asked for in a
/// loop.
const SHORTEST: Duration = Duration::from_millis(10);

const AFTER_ERROR: Duration = Duration::from_secs(1);

/// The least that the clock is set by: more than it is ever corrected by between two rounds.
const STEP_MIN: SignedDuration = SignedDuration::from_secs(10);

/// With nothing queued there is nothing to wait for but a change made by another process.
const IDLE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_by_the_clock_before_is_looked_for_after_it_was_set_back() {
        let (day, begun) = (SignedDuration::from_hours(24), Instant::now());
        let mut clock = Clock::new(Timestamp::UNIX_EPOCH + day);
        clock.expect_strays(day, begun);
        assert_eq!((clock.stray(begun), clock.until_stray(begun)), (None, None), "not set back");
        clock.expect_strays(-day, begun);
        assert_eq!((clock.stray(begun), clock.until_stray(begun)), (None, Some(STRAYS_AFTER[0])));
        for wait in STRAYS_AFTER {
            assert_eq!(clock.until_stray(begun), Some(wait));
            assert_eq!(clock.stray(begun + wait), Some(-day));
        }
        assert_eq!(clock.until_stray(begun), None);
    }
}
