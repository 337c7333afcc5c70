//! Logs and metrics: what an operator sees. Neither ever holds contents or a person's name.
//!
//! A log line's message reads alone, and its fields are there to search by, dotted (`message.id`).
//! Metric labels are closed types, so that no text of a partner's can become a label.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::message::{self, AgencyId, Kind};
use crate::timer::{Grade, Timer};

/// Starts logging to standard error: `info` and above, unless `MASH_GATEWAY_LOG` says otherwise
/// (`debug`, or `mash_gateway::worker=debug,info`). Once per process.
pub fn init_logging(format: LogFormat) -> Result<(), LogError> {
    start_logging(format, io::stderr().is_terminal(), io::stderr)
}

/// Starts logging to a file instead, one JSON object a line. Once per process.
pub fn init_logging_to(file: std::fs::File) -> Result<(), LogError> {
    start_logging(LogFormat::Json, false, std::sync::Mutex::new(file))
}

fn start_logging(
    format: LogFormat,
    is_terminal: bool,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
) -> Result<(), LogError> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var(FILTER_VARIABLE)
        .from_env()
        .map_err(|_| LogError::InvalidFilter)?;
    let subscriber = subscriber(format, filter, is_terminal, writer);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadyStarted)
}

/// Makes a panic say where it happened and nothing else: its message may hold what was being
/// handled.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(report_panic));
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For eyes.
    Human,
    /// One JSON object a line, for collectors.
    Json,
}

impl LogFormat {
    /// For eyes if standard error is a terminal, otherwise for collectors.
    pub fn detect() -> Self {
        if io::stderr().is_terminal() { Self::Human } else { Self::Json }
    }
}

/// Why logging did not start.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LogError {
    /// It had been started.
    #[error("logging has already been started")]
    AlreadyStarted,
    /// The environment's filter does not parse.
    #[error("MASH_GATEWAY_LOG is not a filter; try info, debug or mash_gateway=debug,info")]
    InvalidFilter,
}

/// What is counted and measured, for `/metrics`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    agency_certificate_expiries: Family<AgencyLabels, Gauge>,
    certificate_expiries: Family<CertificateLabels, Gauge>,
    circuits: Family<AgencyLabels, Gauge>,
    connections: Gauge,
    connections_cut: Family<CutLabels, Counter>,
    damaged: Gauge,
    deliveries: Family<DeliveryLabels, Counter>,
    enrolments: Family<EnrolmentLabels, Counter>,
    expiring: Family<ExpiringLabels, Gauge>,
    handshakes: Family<HandshakeLabels, Counter>,
    http2_resets: Family<ResetLabels, Counter>,
    key_exchanges: Family<KeyExchangeLabels, Counter>,
    ledger_batches: Histogram,
    ledger_commits: Histogram,
    limits_reached: Family<LimitLabels, Counter>,
    log_entries: Gauge,
    log_witnessed: Gauge,
    due: Family<DueLabels, Gauge>,
    mailbox_bytes: Family<AgencyLabels, Gauge>,
    mailbox_messages: Family<AgencyLabels, Gauge>,
    malformed: Family<MalformedLabels, Counter>,
    notices: Family<NoticeLabels, Counter>,
    problems: Family<ProblemLabels, Counter>,
    queued: Gauge,
    returned: Family<AgencyLabels, Counter>,
    revocation_lists: Family<AuthorityLabels, Gauge>,
    scrubbed: Counter,
    store_free: Gauge,
    submissions: Family<SubmissionLabels, Counter>,
    unsent_attachments: Family<AgencyLabels, Gauge>,
}

impl Metrics {
    /// The content type of what [`render`](Self::render) returns.
    pub const CONTENT_TYPE: &'static str =
        "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// All at nought.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("mash_gateway"),
            agency_certificate_expiries: Family::default(),
            certificate_expiries: Family::default(),
            circuits: Family::default(),
            connections: Gauge::default(),
            connections_cut: Family::default(),
            damaged: Gauge::default(),
            deliveries: Family::default(),
            enrolments: Family::default(),
            expiring: Family::default(),
            handshakes: Family::default(),
            http2_resets: Family::default(),
            key_exchanges: Family::default(),
            // As many as a batch may hold.
            ledger_batches: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            // A quarter of a millisecond, about one sync of a good disk, to four seconds.
            ledger_commits: Histogram::new(exponential_buckets(0.000_25, 2.0, 15)),
            limits_reached: Family::default(),
            log_entries: Gauge::default(),
            log_witnessed: Gauge::default(),
            due: Family::default(),
            mailbox_bytes: Family::default(),
            mailbox_messages: Family::default(),
            malformed: Family::default(),
            notices: Family::default(),
            problems: Family::default(),
            queued: Gauge::default(),
            returned: Family::default(),
            revocation_lists: Family::default(),
            scrubbed: Counter::default(),
            store_free: Gauge::default(),
            submissions: Family::default(),
            unsent_attachments: Family::default(),
        };
        // What has not happened yet shows as nought, so that its first time is seen as an increase.
        for outcome in DeliveryOutcome::ALL {
            let labels = DeliveryLabels { outcome: outcome.as_str() };
            drop(metrics.deliveries.get_or_create(&labels));
        }
        for reason in CUT_REASONS {
            drop(metrics.connections_cut.get_or_create(&CutLabels { reason }));
        }
        for outcome in HANDSHAKES_LIMITED {
            drop(metrics.handshakes.get_or_create(&HandshakeLabels { outcome }));
        }
        for by in [ResetBy::Gateway, ResetBy::Peer] {
            drop(metrics.http2_resets.get_or_create(&ResetLabels { by: by.as_str() }));
        }
        for limit in Limit::ALL {
            drop(metrics.limits_reached.get_or_create(&LimitLabels { limit: limit.as_str() }));
        }
        for outcome in NoticeOutcome::ALL {
            drop(metrics.notices.get_or_create(&NoticeLabels { outcome: outcome.as_str() }));
        }
        for kind in Kind::ALL {
            for outcome in SubmissionOutcome::ALL {
                let labels = SubmissionLabels::new(kind, outcome);
                drop(metrics.submissions.get_or_create(&labels));
            }
        }
        metrics.register()
    }

    /// All of them as OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to memory cannot fail");
        text
    }

    /// When each active agency's certificate expires, the first of them if it has several kinds.
    /// Whoever is not named has none any more.
    pub fn agency_certificate_expiries<'a>(
        &self,
        expiries: impl Iterator<Item = (&'a AgencyId, Timestamp)>,
    ) {
        let mut first = BTreeMap::new();
        for (agency, at) in expiries {
            let known = first.entry(agency).or_insert(at);
            *known = at.min(*known);
        }
        self.agency_certificate_expiries.clear();
        for (agency, at) in first {
            let labels = AgencyLabels { agency: AgencyLabel(agency.clone()) };
            self.agency_certificate_expiries.get_or_create(&labels).set(at.as_second());
        }
    }

    /// When one of the gateway's own certificates expires.
    pub fn certificate_expiry(&self, certificate: Certificate, at: Timestamp) {
        let labels = CertificateLabels { certificate: certificate.as_str() };
        self.certificate_expiries.get_or_create(&labels).set(at.as_second());
    }

    /// Whether each agency that is pushed to has an endpoint that does not answer.
    pub fn circuits<'a>(&self, agencies: impl Iterator<Item = (&'a AgencyId, bool)>) {
        self.circuits.clear();
        for (agency, is_open) in agencies {
            let labels = AgencyLabels { agency: AgencyLabel(agency.clone()) };
            self.circuits.get_or_create(&labels).set(is_open.into());
        }
    }

    /// Whether this agency has an endpoint that does not answer, as was said last.
    pub fn is_circuit_open(&self, agency: &AgencyId) -> bool {
        let labels = AgencyLabels { agency: AgencyLabel(agency.clone()) };
        self.circuits.get(&labels).is_some_and(|gauge| gauge.get() != 0)
    }

    /// A connection was opened; it counts as open until what is returned is dropped.
    pub fn connection_opened(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// An open connection was cut, for this reason.
    pub fn connection_cut(&self, reason: &'static str) {
        self.connections_cut.get_or_create(&CutLabels { reason }).inc();
    }

    /// A push was tried.
    pub fn delivery(&self, outcome: DeliveryOutcome) {
        self.deliveries.get_or_create(&DeliveryLabels { outcome: outcome.as_str() }).inc();
    }

    /// A request at the enrolment door ended so.
    pub fn enrolment(&self, outcome: &'static str) {
        self.enrolments.get_or_create(&EnrolmentLabels { outcome }).inc();
    }

    /// So many certificates end within so many days, or have ended, and have no successor.
    pub fn expiring_certificates(&self, within_days: u16, count: usize) {
        let labels = ExpiringLabels { within: format!("{within_days}d") };
        set(&self.expiring.get_or_create(&labels), count as u64);
    }

    /// A TLS handshake agreed on its keys in this group, of those `pki/tls.rs` names.
    pub fn key_exchange(&self, group: &'static str) {
        self.key_exchanges.get_or_create(&KeyExchangeLabels { group }).inc();
    }

    /// A TLS handshake ended so.
    pub fn handshake(&self, outcome: &'static str) {
        self.handshakes.get_or_create(&HandshakeLabels { outcome }).inc();
    }

    /// So many requests over HTTP/2 were ended early, by whom.
    pub fn http2_resets(&self, by: ResetBy, count: u32) {
        self.http2_resets.get_or_create(&ResetLabels { by: by.as_str() }).inc_by(count.into());
    }

    /// A request could be understood in two ways.
    pub fn malformed(&self, reason: &'static str) {
        self.malformed.get_or_create(&MalformedLabels { reason }).inc();
    }

    /// A batch of so many changes was committed, and the commit took so long.
    pub fn ledger_batch(&self, changes: usize, commit: Duration) {
        self.ledger_batches.observe(changes as f64);
        self.ledger_commits.observe(commit.as_secs_f64());
    }

    /// Somebody asked for more than this limit allows.
    pub fn limit_reached(&self, limit: Limit) {
        self.limits_reached.get_or_create(&LimitLabels { limit: limit.as_str() }).inc();
    }

    /// How much waits for each agency: messages, and their bytes.
    pub fn mailboxes<'a>(&self, mailboxes: impl Iterator<Item = (&'a AgencyId, u64, u64)>) {
        for (agency, messages, bytes) in mailboxes {
            let labels = AgencyLabels { agency: AgencyLabel(agency.clone()) };
            set(&self.mailbox_messages.get_or_create(&labels), messages);
            set(&self.mailbox_bytes.get_or_create(&labels), bytes);
        }
    }

    /// So much is due now, by timer and how near it is.
    pub fn due(&self, counts: &BTreeMap<(Timer, Grade), u64>) {
        for timer in Timer::ALL {
            for grade in Grade::ALL {
                let labels = DueLabels { timer: timer.as_str(), grade: grade.as_str() };
                let count = counts.get(&(timer, grade)).copied().unwrap_or(0);
                set(&self.due.get_or_create(&labels), count);
            }
        }
    }

    /// The log now has so many entries.
    pub fn log_size(&self, entries: u64) {
        set(&self.log_entries, entries);
    }

    /// Enough witnesses have cosigned so many of its entries.
    pub fn log_witnessed(&self, entries: u64) {
        set(&self.log_witnessed, entries);
    }

    /// A notice was to be sent by e-mail, and this became of it.
    pub fn notice(&self, outcome: NoticeOutcome) {
        self.notices.get_or_create(&NoticeLabels { outcome: outcome.as_str() }).inc();
    }

    /// The problems there are: each shows as nought from now on.
    pub fn problems_known(&self, codes: impl Iterator<Item = &'static str>) {
        for problem in codes {
            drop(self.problems.get_or_create(&ProblemLabels { problem }));
        }
    }

    /// A request was answered with this problem.
    pub fn problem(&self, code: &'static str) {
        self.problems.get_or_create(&ProblemLabels { problem: code }).inc();
    }

    /// So many messages wait to be pushed.
    pub fn queued(&self, messages: u64) {
        set(&self.queued, messages);
    }

    /// A message to this agency was given up and returned to its sender.
    pub fn returned(&self, agency: &AgencyId) {
        let labels = AgencyLabels { agency: AgencyLabel(agency.clone()) };
        self.returned.get_or_create(&labels).inc();
    }

    /// When the next revocation list of each authority must be there, by the name its list is
    /// published under, which we made.
    pub fn revocation_lists<'a>(&self, lists: impl Iterator<Item = (&'a str, Timestamp)>) {
        self.revocation_lists.clear();
        for (authority, next_update) in lists {
            let labels = AuthorityLabels { authority: authority.to_owned() };
            self.revocation_lists.get_or_create(&labels).set(next_update.as_second());
        }
    }

    /// So many entries more were held against what is stored; so many are known to be damaged.
    pub fn scrubbed(&self, entries: u64, damaged: usize) {
        self.scrubbed.inc_by(entries);
        set(&self.damaged, damaged as u64);
    }

    /// How many entries were looked at again since the gateway started, and how many are damaged now.
    pub fn looked_at(&self) -> (u64, u64) {
        (self.scrubbed.get(), u64::try_from(self.damaged.get()).unwrap_or_default())
    }

    /// So much is free on the database's disk.
    pub fn store_free(&self, bytes: u64) {
        set(&self.store_free, bytes);
    }

    /// A submission ended so.
    pub fn submission(&self, kind: Kind, outcome: SubmissionOutcome) {
        self.submissions.get_or_create(&SubmissionLabels::new(kind, outcome)).inc();
    }

    /// So many bytes of files each agency has uploaded that no message names.
    pub fn unsent_attachments<'a>(&self, agencies: impl Iterator<Item = (&'a AgencyId, u64)>) {
        self.unsent_attachments.clear();
        for (agency, bytes) in agencies {
            let labels = AgencyLabels { agency: AgencyLabel(agency.clone()) };
            set(&self.unsent_attachments.get_or_create(&labels), bytes);
        }
    }

    // The registry adds `_total` to a counter's name, and its unit to any other's.
    fn register(mut self) -> Self {
        let unit = |name: &str| Unit::Other(name.to_owned());
        let registry = &mut self.registry;
        registry.register_with_unit(
            "agency_certificate_expiry_timestamp",
            "When active agencies' certificates expire, in Unix time",
            Unit::Seconds,
            self.agency_certificate_expiries.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the gateway's own certificates expire, in Unix time",
            Unit::Seconds,
            self.certificate_expiries.clone(),
        );
        registry.register(
            "circuit_open",
            "Whether an agency's push endpoint has not answered several times in a row",
            self.circuits.clone(),
        );
        registry.register(
            "connections_cut",
            "Open connections cut, by reason",
            self.connections_cut.clone(),
        );
        registry.register_with_unit(
            "damaged",
            "Entries of the log of which what is stored is not what was logged",
            unit("entries"),
            self.damaged.clone(),
        );
        registry.register(
            "deliveries",
            "Attempts to push a message, by outcome",
            self.deliveries.clone(),
        );
        registry.register(
            "enrolments",
            "Requests for a certificate at the enrolment door, by outcome",
            self.enrolments.clone(),
        );
        registry.register_with_unit(
            "expiring",
            "Certificates without a successor that end within a time, or have ended",
            unit("certificates"),
            self.expiring.clone(),
        );
        registry.register("handshakes", "TLS handshakes, by outcome", self.handshakes.clone());
        registry.register(
            "http2_resets",
            "Requests over HTTP/2 ended early, by whom",
            self.http2_resets.clone(),
        );
        registry.register(
            "key_exchanges",
            "TLS handshakes completed, by the group their keys were agreed in",
            self.key_exchanges.clone(),
        );
        registry.register_with_unit(
            "ledger_batch",
            "Changes committed together",
            unit("changes"),
            self.ledger_batches.clone(),
        );
        registry.register_with_unit(
            "ledger_commit",
            "Time to commit a batch durably",
            Unit::Seconds,
            self.ledger_commits.clone(),
        );
        registry.register(
            "limits_reached",
            "Requests refused because somebody asked for more than a limit allows, by limit",
            self.limits_reached.clone(),
        );
        registry.register("due", "What is due in exchanges, by timer and grade", self.due.clone());
        registry.register_with_unit(
            "mailbox",
            "What waits for an agency, as it was sent",
            Unit::Bytes,
            self.mailbox_bytes.clone(),
        );
        registry.register_with_unit(
            "mailbox",
            "Messages that wait for an agency",
            unit("messages"),
            self.mailbox_messages.clone(),
        );
        registry.register_with_unit(
            "log",
            "Entries in the audit log",
            unit("entries"),
            self.log_entries.clone(),
        );
        registry.register_with_unit(
            "log_witnessed",
            "Entries in the audit log that enough witnesses have cosigned",
            unit("entries"),
            self.log_witnessed.clone(),
        );
        registry.register(
            "malformed_requests",
            "Requests that could be understood in two ways, by reason",
            self.malformed.clone(),
        );
        registry.register("notices", "E-mail notices, by outcome", self.notices.clone());
        registry.register_with_unit(
            "open",
            "Connections open now",
            unit("connections"),
            self.connections.clone(),
        );
        registry.register("problems", "Requests refused, by problem", self.problems.clone());
        registry.register_with_unit(
            "queued",
            "Messages waiting to be pushed",
            unit("messages"),
            self.queued.clone(),
        );
        registry.register(
            "returned",
            "Messages given up and returned to their sender, by the agency they did not reach",
            self.returned.clone(),
        );
        registry.register_with_unit(
            "revocation_list_next_update_timestamp",
            "When the next revocation lists must be there, in Unix time",
            Unit::Seconds,
            self.revocation_lists.clone(),
        );
        registry.register_with_unit(
            "scrubbed",
            "Entries of the log that were held again against what is stored",
            unit("entries"),
            self.scrubbed.clone(),
        );
        registry.register_with_unit(
            "store_free",
            "Room on the database's disk",
            Unit::Bytes,
            self.store_free.clone(),
        );
        registry.register(
            "submissions",
            "Submissions, by kind and outcome",
            self.submissions.clone(),
        );
        registry.register_with_unit(
            "unsent_attachments",
            "Files an agency has uploaded that no message names",
            Unit::Bytes,
            self.unsent_attachments.clone(),
        );
        self
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A connection counted as open while this is kept.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Which of the gateway's own certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Certificate {
    /// Shown when pushing.
    Client,
    /// That which signs the agencies' certificates.
    Issuer,
    /// Shown to whoever connects.
    Server,
}

impl Certificate {
    fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Issuer => "issuer",
            Self::Server => "server",
        }
    }
}

/// A limit that requests are held to and that has no count of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// The memory of all bodies that are being read.
    BodiesAtOnce,
    /// Files that one agency, or all together, send and fetch.
    FilesAtOnce,
    /// What may wait for one agency.
    Mailbox,
    /// One agency's requests in hand.
    RequestsAtOnce,
    /// One agency's requests in a minute.
    RequestsPerMinute,
}

impl Limit {
    const ALL: [Self; 5] = [
        Self::BodiesAtOnce,
        Self::FilesAtOnce,
        Self::Mailbox,
        Self::RequestsAtOnce,
        Self::RequestsPerMinute,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::BodiesAtOnce => "bodies-at-once",
            Self::FilesAtOnce => "files-at-once",
            Self::Mailbox => "mailbox",
            Self::RequestsAtOnce => "requests-at-once",
            Self::RequestsPerMinute => "requests-per-minute",
        }
    }
}

/// Who ended a request over HTTP/2 early.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResetBy {
    /// We, because of what the peer did.
    Gateway,
    /// The peer.
    Peer,
}

impl ResetBy {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Peer => "peer",
        }
    }
}

/// How an attempt to push ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeliveryOutcome {
    /// Taken.
    Delivered,
    /// Our fault.
    Failed,
    /// Theirs, and for good.
    Refused,
    /// Theirs or the network's; tried again.
    Unreachable,
}

impl DeliveryOutcome {
    const ALL: [Self; 4] = [Self::Delivered, Self::Failed, Self::Refused, Self::Unreachable];

    fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

/// What became of an e-mail notice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoticeOutcome {
    /// The mail server took it.
    Accepted,
    /// The mail server does not take it for this addressee; tried again.
    Refused,
    /// The mail server does not answer, or is not to be trusted; tried again.
    Unreachable,
}

impl NoticeOutcome {
    const ALL: [Self; 3] = [Self::Accepted, Self::Refused, Self::Unreachable];

    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

/// How a submission ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SubmissionOutcome {
    /// Kept, logged, and to be delivered.
    Accepted,
    /// Our fault.
    Failed,
    /// The sender's to correct.
    Refused,
    /// Accepted before: answered as it was then.
    Replayed,
}

impl SubmissionOutcome {
    const ALL: [Self; 4] = [Self::Accepted, Self::Failed, Self::Refused, Self::Replayed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Replayed => "replayed",
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct AgencyLabels {
    agency: AgencyLabel,
}

// Of the directory or the register: nobody else's text is an id.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct AgencyLabel(AgencyId);

impl EncodeLabelValue for AgencyLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0.as_str(), encoder)
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct AuthorityLabels {
    authority: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CertificateLabels {
    certificate: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct DeliveryLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct NoticeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct DueLabels {
    grade: &'static str,
    timer: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct EnrolmentLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ExpiringLabels {
    within: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct HandshakeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct KeyExchangeLabels {
    group: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ProblemLabels {
    problem: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CutLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct MalformedLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ResetLabels {
    by: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct SubmissionLabels {
    kind: &'static str,
    outcome: &'static str,
}

impl SubmissionLabels {
    fn new(kind: Kind, outcome: SubmissionOutcome) -> Self {
        Self { kind: kind.as_str(), outcome: outcome.as_str() }
    }
}

fn subscriber(
    format: LogFormat,
    filter: EnvFilter,
    is_terminal: bool,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
) -> Box<dyn Subscriber + Send + Sync> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(MillisecondTime)
        // A log that cannot be written must not become a panic about the log.
        .log_internal_errors(false)
        .with_writer(writer);
    match format {
        LogFormat::Human => Box::new(builder.with_target(false).with_ansi(is_terminal).finish()),
        LogFormat::Json => {
            Box::new(builder.json().flatten_event(true).with_span_list(false).finish())
        }
    }
}

/// The one spelling of an instant, in logs too.
struct MillisecondTime;

impl FormatTime for MillisecondTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        writer.write_str(&message::rfc3339(message::now()))
    }
}

fn report_panic(panic: &PanicHookInfo<'_>) {
    let location =
        panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    if tracing::dispatcher::has_been_set() {
        tracing::error!(panic.location = location, "panicked at {location}");
    } else {
        // Before logging starts. Nothing can be done if this fails.
        let _ = writeln!(io::stderr(), "panicked at {location}");
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Why an open connection is cut for what it does.
const CUT_REASONS: [&str; 4] = ["control-frames", "header-too-large", "nothing-read", "stalled"];

/// How a handshake ends that is one too many, takes too long or shows too much.
const HANDSHAKES_LIMITED: [&str; 4] =
    ["chain-too-long", "timeout", "too-many-connections", "too-many-handshakes"];

const FILTER_VARIABLE: &str = "MASH_GATEWAY_LOG";

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    #[test]
    fn metrics_are_named_and_labelled() {
        let metrics = Metrics::new();
        metrics.submission(Kind::Rfi, SubmissionOutcome::Accepted);
        metrics.problem("too-many-requests");
        metrics.problem("too-many-requests");
        metrics.delivery(DeliveryOutcome::Unreachable);
        metrics.handshake("revoked");
        metrics.ledger_batch(3, Duration::from_millis(2));
        metrics.log_size(17);
        metrics.log_witnessed(12);
        metrics.queued(4);
        metrics.store_free(1 << 40);
        metrics.certificate_expiry(Certificate::Server, "2027-01-01T00:00:00Z".parse().unwrap());
        metrics.expiring_certificates(14, 2);
        let agencies = [AgencyId::parse("police").unwrap(), AgencyId::parse("trust").unwrap()];
        let at = |second| Timestamp::from_second(second).unwrap();
        metrics.agency_certificate_expiries([(&agencies[1], at(1))].into_iter());
        let police = [(&agencies[0], at(9)), (&agencies[0], at(7))];
        metrics.agency_certificate_expiries(police.into_iter());
        metrics.revocation_lists([("agencies-00ff", at(3))].into_iter());
        metrics.circuits([(&agencies[0], true)].into_iter());
        metrics.returned(&agencies[0]);
        metrics.notice(NoticeOutcome::Accepted);
        metrics.limit_reached(Limit::RequestsAtOnce);
        metrics.mailboxes([(&agencies[0], 3, 900)].into_iter());
        let open = metrics.connection_opened();
        let text = metrics.render();
        for line in [
            "# UNIT mash_gateway_ledger_commit_seconds seconds",
            "mash_gateway_submissions_total{kind=\"rfi\",outcome=\"accepted\"} 1",
            "mash_gateway_submissions_total{kind=\"outcome\",outcome=\"failed\"} 0",
            "mash_gateway_problems_total{problem=\"too-many-requests\"} 2",
            "mash_gateway_deliveries_total{outcome=\"unreachable\"} 1",
            "mash_gateway_deliveries_total{outcome=\"refused\"} 0",
            "mash_gateway_notices_total{outcome=\"accepted\"} 1",
            "mash_gateway_notices_total{outcome=\"refused\"} 0",
            "mash_gateway_circuit_open{agency=\"police\"} 1",
            "mash_gateway_returned_total{agency=\"police\"} 1",
            "mash_gateway_handshakes_total{outcome=\"revoked\"} 1",
            "mash_gateway_ledger_batch_changes_bucket{le=\"2.0\"} 0",
            "mash_gateway_ledger_batch_changes_bucket{le=\"4.0\"} 1",
            "mash_gateway_ledger_commit_seconds_bucket{le=\"0.001\"} 0",
            "mash_gateway_ledger_commit_seconds_bucket{le=\"0.002\"} 1",
            "mash_gateway_limits_reached_total{limit=\"requests-at-once\"} 1",
            "mash_gateway_limits_reached_total{limit=\"mailbox\"} 0",
            "mash_gateway_mailbox_messages{agency=\"police\"} 3",
            "mash_gateway_mailbox_bytes{agency=\"police\"} 900",
            "mash_gateway_log_entries 17",
            "mash_gateway_log_witnessed_entries 12",
            "mash_gateway_queued_messages 4",
            "mash_gateway_store_free_bytes 1099511627776",
            "mash_gateway_open_connections 1",
            "mash_gateway_certificate_expiry_timestamp_seconds{certificate=\"server\"} 1798761600",
            "mash_gateway_expiring_certificates{within=\"14d\"} 2",
            "mash_gateway_agency_certificate_expiry_timestamp_seconds{agency=\"police\"} 7",
            "mash_gateway_revocation_list_next_update_timestamp_seconds{authority=\"agencies-00ff\"} \
             3",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("trust"), "its certificate is gone, and so is its line");
        assert!(text.ends_with("# EOF\n"));

        drop(open);
        assert!(metrics.render().contains("mash_gateway_open_connections 0\n"));
    }

    #[test]
    fn a_json_line_has_its_fields_beside_its_message() {
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.subscriber(LogFormat::Json), || {
            tracing::info!(message.id = "m1", "a message was accepted");
            tracing::debug!("not by default");
        });
        let text = lines.text();
        let line: Value = serde_json::from_str(&text).expect("exactly one line of JSON");
        assert_eq!(line["message"], "a message was accepted");
        assert_eq!(line["message.id"], "m1");
        assert_eq!(line["level"], "INFO");
        let time = line["timestamp"].as_str().unwrap();
        assert_eq!(message::rfc3339(time.parse().unwrap()), time);
    }

    #[test]
    fn a_human_line_is_one_plain_line() {
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.subscriber(LogFormat::Human), || {
            tracing::warn!(agency.id = "police", "an endpoint does not answer");
        });
        let text = lines.text();
        assert!(
            text.contains(" WARN an endpoint does not answer agency.id=\"police\"\n"),
            "{text}"
        );
        assert!(!text.contains('\x1b'), "{text:?}");
    }

    #[test]
    fn a_panic_says_where_and_not_what() {
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.subscriber(LogFormat::Json), || {
            let before = panic::take_hook();
            install_panic_hook();
            let caught = panic::catch_unwind(|| panic!("a canary {}", 1));
            panic::set_hook(before);
            assert!(caught.is_err());
        });
        let text = lines.text();
        assert!(text.contains("panicked at src/telemetry.rs:"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }

    /// What was logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn subscriber(&self, format: LogFormat) -> Box<dyn Subscriber + Send + Sync> {
            let lines = self.clone();
            subscriber(format, EnvFilter::new("info"), false, move || lines.clone())
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
