//! `gateway.toml` → [`Config`], complete and checked, and the [`Home`] folder it is about.
//!
//! Every setting has a default that is safe, but one: the domain. What each setting is for is
//! explained to its reader in the shipped `gateway.toml`; the tests hold that file to the defaults.

pub mod agreement;
pub mod notices;
pub mod retention;
pub mod timers;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::audit::cosignature::{WitnessPolicy, WitnessVerifier};
use crate::directory::document::{Document, Mistakes, Section};
use crate::directory::parse::age_recipients;
use crate::directory::shape::is_host_name;
use crate::pki::ca::Published;
use crate::pki::tls::MinTls;
use crate::pki::token;
use agreement::AgreementSettings;
use notices::NoticeSettings;
use retention::RetentionSettings;
use timers::TimerSettings;

/// Every setting of a gateway.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The SPIFFE trust domain: what comes between `spiffe://` and `/agency/` in certificates.
    pub domain: String,
    /// Age recipients that can open everything if the gateway's own keys are lost.
    pub recovery_recipients: Vec<String>,
    /// How long a certificate is issued for.
    pub certificate_days: u16,
    /// Where certificates say that revocation lists are to be had; when none, they do not say.
    pub published_url: Option<Published>,
    /// The issuer's process.
    pub issuer: IssuerSettings,
    /// Where to listen.
    pub listen: Listen,
    /// What every size, count and wait is bounded by.
    pub limits: Limits,
    /// The audit log.
    pub log: LogSettings,
    /// Where keys and certificates are, relative to the home folder.
    pub paths: Paths,
    /// Delivery to push endpoints.
    pub push: PushSettings,
    /// The agreement that the gateway carries.
    pub agreement: AgreementSettings,
    /// What is told by e-mail, and how.
    pub notices: NoticeSettings,
    /// How long what is kept.
    pub retention: RetentionSettings,
    /// The database.
    pub store: StoreSettings,
    /// When people work, and how long things may take.
    pub timers: TimerSettings,
    /// TLS.
    pub tls: TlsSettings,
}

/// Where the gateway listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listen {
    /// The partner API, over mutual TLS.
    pub partner_api: SocketAddr,
    /// The pages, over TLS.
    pub desk: SocketAddr,
    /// Enrolment and revocation lists, over TLS.
    pub enrolment: SocketAddr,
    /// Health and metrics, in plain HTTP: always a loopback address.
    pub local: SocketAddr,
    /// Names the doors answer to besides those in the gateway's certificate.
    pub other_names: Vec<String>,
}

/// The process that holds the issuing authorities' keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IssuerSettings {
    /// Whether `serve` starts it.
    pub start: bool,
    /// Where it listens, relative to the home folder.
    pub socket: PathBuf,
    /// The age identity that opens the authorities' keys, relative to the home folder.
    pub identity: PathBuf,
    /// The token that authorities' keys may be in.
    pub token: Option<TokenSettings>,
}

/// A PKCS#11 token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenSettings {
    /// The module that speaks to it, relative to the home folder.
    pub module: PathBuf,
    /// Its label.
    pub label: String,
    /// The file with its PIN, relative to the home folder.
    pub pin: PathBuf,
}

/// TLS, in both directions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsSettings {
    /// The oldest version spoken.
    pub min: MinTls,
}

/// Where keys and certificates are, relative to the home folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Paths {
    /// The age identities that open what is sealed at rest; the first one is also sealed to.
    pub at_rest_identities: Vec<PathBuf>,
    /// The key that signs the audit log's checkpoints.
    pub log_key: PathBuf,
    /// The key of the partner API's TLS certificate.
    pub tls_key: PathBuf,
    /// The partner API's TLS certificate and its chain.
    pub tls_certificate: PathBuf,
    /// The key the gateway shows to push endpoints.
    pub push_key: PathBuf,
    /// The certificate the gateway shows to push endpoints.
    pub push_certificate: PathBuf,
    /// The authority whose certificates agencies must present.
    pub agency_ca: PathBuf,
    /// That authority's revocation list.
    pub agency_crl: PathBuf,
    /// The root above the authorities.
    pub root: PathBuf,
}

/// What every size, count and wait is bounded by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The largest file taken.
    pub attachment_bytes_max: u64,
    /// How long a file may take to come in, or to be fetched.
    pub attachment_timeout_s: u32,
    /// After how long a file that no message names is destroyed.
    pub attachment_unsent_hours: u32,
    /// Of one agency, all files together that no message names.
    pub attachments_unsent_bytes_max: u64,
    /// The largest body taken.
    pub body_bytes_max: u64,
    /// All bodies that are being read at one time.
    pub bodies_bytes_max: u64,
    /// How many connections are open at once at the partner API's door.
    pub connections_max: u32,
    /// Connections open at once from one address, of those that no agency is known to be behind.
    pub connections_per_address_max: u32,
    /// Connections open at once for one agency.
    pub connections_per_agency_max: u32,
    /// How many connections are open at once at the local door.
    pub local_connections_max: u32,
    /// Handshakes one address may begin in a second.
    pub handshakes_per_address_per_second: NonZeroU32,
    /// Requests one agency may make in a minute.
    pub requests_per_agency_per_minute: NonZeroU32,
    /// Requests of one agency in hand at once.
    pub requests_at_once_per_agency_max: u32,
    /// Refusals of one kind logged singly in a minute, for each agency.
    pub refusals_logged_per_minute: NonZeroU32,
    /// The largest header.
    pub header_bytes_max: u32,
    /// Requests at once on one connection over HTTP/2.
    pub http2_streams_max: u32,
    /// Frames a second over HTTP/2 that carry nothing.
    pub http2_control_frames_per_second: u32,
    /// How long no request may end on a connection, or one may not move.
    pub stall_timeout_s: u32,
    /// How many connections are open at once at the desk.
    pub desk_connections_max: u32,
    /// How many connections are open at once at the enrolment door.
    pub enrolment_connections_max: u32,
    /// How long a connection without a good certificate may stay.
    pub guest_timeout_s: u32,
    /// How long a TLS handshake may take.
    pub handshake_timeout_s: u32,
    /// How long a request's headers may take to arrive.
    pub header_timeout_s: u32,
    /// How many messages one page of an inbox lists.
    pub inbox_page_max: u32,
    /// How many messages may wait for one agency.
    pub mailbox_messages_max: u64,
    /// How many bytes of them.
    pub mailbox_bytes_max: u64,
    /// How long a whole request may take.
    pub request_timeout_s: u32,
    /// Files that one agency sends and fetches at once.
    pub transfers_per_agency_max: u32,
}

/// Delivery to push endpoints.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PushSettings {
    /// Whether endpoints may be on this machine: for the demonstration and trials.
    pub allow_loopback: bool,
    /// How long one attempt may take.
    pub attempt_timeout_s: u32,
    /// How many attempts run at once.
    pub concurrency_max: u32,
    /// How many of them at one endpoint.
    pub concurrency_per_endpoint_max: u32,
    /// After how long the sender is told that a delivery is delayed.
    pub delayed_after_s: u32,
    /// After how long a delivery is given up and returned to its sender.
    pub give_up_after_s: u32,
    /// For how long a worker holds what it is delivering; always longer than an attempt.
    pub lease_s: u32,
    /// The first wait between attempts; it doubles from there.
    pub retry_base_s: u32,
    /// The longest wait between attempts.
    pub retry_cap_s: u32,
}

/// The database.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreSettings {
    /// In how long everything stored is looked at again.
    pub scrub_cycle_s: u32,
    /// The SQLite file, relative to the home folder.
    pub sqlite: PathBuf,
    /// While less than this is free on its disk, nothing new is accepted.
    pub free_bytes_min: u64,
}

/// The audit log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogSettings {
    /// Where the latest checkpoint is kept outside the database, relative to the home folder; none
    /// when it is not.
    pub anchor: Option<PathBuf>,
    /// The name the log signs its checkpoints with. Never to be changed once it has signed one.
    pub origin: String,
    /// Whose cosignatures of its checkpoints are taken, and how many there should be.
    pub witnesses: WitnessPolicy,
}

impl Config {
    /// The text of the `gateway.toml` that `init` writes.
    pub fn template() -> &'static str {
        include_str!("../gateway.toml")
    }

    /// Reads the settings, or tells everything that is wrong with them.
    pub fn parse(text: &str) -> Result<Self, Mistakes> {
        let (document, table) = Document::parse("gateway.toml", text)?;
        let mut root = document.root(&table);
        let domain = domain(&mut root);
        let config = Self {
            recovery_recipients: age_recipients(&mut root, "recovery_recipients"),
            certificate_days: number(&mut root, "certificate_days", 1..=398, 90),
            published_url: published_url(&mut root),
            issuer: issuer(root.section("issuer")),
            listen: listen(root.section("listen")),
            limits: limits(root.section("limits")),
            log: log(root.section("log"), &domain),
            paths: paths(root.section("paths")),
            push: push(root.section("push")),
            agreement: agreement::agreement(root.section("agreement")),
            notices: notices::notices(root.section("notices")),
            retention: retention::retention(root.section("retention")),
            store: store(root.section("store")),
            timers: timers::timers(root.section("timers")),
            tls: tls(root.section("tls")),
            domain,
        };
        root.finish();
        document.finish()?;
        Ok(config)
    }
}

/// The domain in the shipped settings, to be replaced by the gateway's own.
pub const TEMPLATE_DOMAIN: &str = "mash.example.org";

/// The folder a gateway lives in: its settings, directory, keys, certificates and data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Home {
    folder: PathBuf,
}

impl Home {
    /// The home at `folder`, which need not exist yet. Made absolute once, so that it stays the
    /// same folder whatever the process does later.
    pub fn new(folder: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self { folder: std::path::absolute(folder)? })
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The settings: `gateway.toml`.
    pub fn config(&self) -> PathBuf {
        self.folder.join("gateway.toml")
    }

    /// The directory of agencies: `partners.toml`.
    pub fn partners(&self) -> PathBuf {
        self.folder.join("partners.toml")
    }

    /// Certificates and revocation lists, and the authority's sealed keys.
    pub fn certs(&self) -> PathBuf {
        self.folder.join("certs")
    }

    /// The log's public key, to be given to everyone who is to check receipts.
    pub fn log_key_public(&self) -> PathBuf {
        self.folder.join("certs/log-key.txt")
    }

    /// The gateway servers' authorities.
    pub fn server_ca(&self) -> PathBuf {
        self.folder.join("certs/server-ca.pem")
    }

    /// Their revocation lists.
    pub fn server_crl(&self) -> PathBuf {
        self.folder.join("certs/server-ca.crl.pem")
    }

    /// Their keys, sealed.
    pub fn server_ca_keys(&self) -> PathBuf {
        self.folder.join("certs/server-ca.key.age")
    }

    /// The agencies' authorities' keys, sealed.
    pub fn agency_ca_keys(&self) -> PathBuf {
        self.folder.join("certs/agency-ca.key.age")
    }

    /// The roots' revocation lists.
    pub fn root_crl(&self) -> PathBuf {
        self.folder.join("certs/root.crl.pem")
    }

    /// The key of the gateway servers' next authority, sealed, while it waits for its certificate.
    pub fn server_ca_next_keys(&self) -> PathBuf {
        self.folder.join("certs/server-ca.next.key.age")
    }

    /// The key of the agencies' next authority, the same.
    pub fn agency_ca_next_keys(&self) -> PathBuf {
        self.folder.join("certs/agency-ca.next.key.age")
    }

    /// The certificates by which roots vouch for their successors.
    pub fn root_vouchers(&self) -> PathBuf {
        self.folder.join("certs/root.voucher.pem")
    }

    /// The gateway's own keys; to be readable by its user only.
    pub fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// The database.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where a path from the settings or the directory leads. An absolute path leads where it says,
    /// so that a key can be kept on other media.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }
}

/// Replaces a file as a whole: readers see the old one or the new one, also after a power cut.
pub fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let partial = path.with_added_extension("partial");
    // A new file, whatever an earlier one was: its permissions are what this one is to have.
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn published_url(root: &mut Section<'_>) -> Option<Published> {
    let text = root.text("published_url")?;
    let published = Published::parse(text);
    if published.is_err() {
        root.wrong(
            "published_url",
            "is not a plain http:// address without a query",
            "Write where revocation lists can be fetched without TLS, such as \
             \"http://mash.example.org/pki\"; each list is signed",
        );
    }
    published.ok()
}

fn issuer(mut section: Section<'_>) -> IssuerSettings {
    let path = |text: Option<&str>, default: &str| PathBuf::from(text.unwrap_or(default));
    let settings = IssuerSettings {
        start: section.boolean("start").unwrap_or(true),
        socket: path(section.text("socket"), "data/issuer.sock"),
        identity: path(section.text("identity"), "keys/authority-identity.txt"),
        token: issuer_token(&mut section),
    };
    section.finish();
    settings
}

fn issuer_token(section: &mut Section<'_>) -> Option<TokenSettings> {
    let module = section.text("pkcs11_module").map(PathBuf::from);
    let label = section.text("pkcs11_token").map(str::to_owned);
    let pin = section.text("pkcs11_pin_file").map(PathBuf::from);
    let keys = ["pkcs11_module", "pkcs11_token", "pkcs11_pin_file"];
    let is_said = [module.is_some(), label.is_some(), pin.is_some()];
    let first = keys.into_iter().zip(is_said).find(|(_, is_said)| *is_said)?.0;
    if !token::IS_BUILT {
        section.wrong(
            first,
            "needs a build that can use tokens, and this one cannot",
            "Build with cargo build --features pkcs11, or remove the pkcs11 settings",
        );
        return None;
    }
    match (module, label, pin) {
        (Some(module), Some(label), Some(pin)) => Some(TokenSettings { module, label, pin }),
        (_, _, _) => {
            section.wrong(
                first,
                "is one of three settings that belong together",
                "Write pkcs11_module, pkcs11_token and pkcs11_pin_file",
            );
            None
        }
    }
}

fn domain(root: &mut Section<'_>) -> String {
    let domain = root.required_text(
        "domain",
        "Write the name every certificate will carry, such as domain = \"mash.example.org\"",
    );
    let domain = domain.unwrap_or_default();
    // SPIFFE trust domains have no capitals.
    let is_plain = is_host_name(domain) && !domain.contains(|c: char| c.is_ascii_uppercase());
    if !domain.is_empty() && !is_plain {
        root.wrong(
            "domain",
            "is not a domain name",
            "Write small letters, digits, hyphens and dots only, such as \"mash.example.org\"",
        );
    }
    domain.to_owned()
}

fn listen(mut section: Section<'_>) -> Listen {
    let partner_api = address(&mut section, "partner_api", ([0, 0, 0, 0], 8443));
    let desk = address(&mut section, "desk", ([0, 0, 0, 0], 8444));
    let enrolment = address(&mut section, "enrolment", ([0, 0, 0, 0], 8445));
    let local = address(&mut section, "local", ([127, 0, 0, 1], 8446));
    if !local.ip().is_loopback() {
        section.wrong(
            "local",
            "is not a loopback address: anybody could read it, in plain HTTP",
            "Write \"127.0.0.1:8446\" or \"[::1]:8446\"; let a collector on this machine pass \
             metrics on",
        );
    }
    let is_shared = |one: SocketAddr, other: SocketAddr| {
        let is_any = one.ip().is_unspecified() || other.ip().is_unspecified();
        one.port() == other.port() && one.port() != 0 && (one.ip() == other.ip() || is_any)
    };
    for (key, own, problem, other) in [
        ("local", local, "is the port of partner_api too", partner_api),
        ("local", local, "is the port of enrolment too", enrolment),
        ("local", local, "is the port of desk too", desk),
        ("enrolment", enrolment, "is the port of partner_api too", partner_api),
        ("enrolment", enrolment, "is the port of desk too", desk),
        ("desk", desk, "is the port of partner_api too", partner_api),
    ] {
        if is_shared(own, other) {
            section.wrong(key, problem, "Give each its own port");
        }
    }
    let other_names: Vec<_> = section.texts("other_names");
    for (at, name) in &other_names {
        if !is_host_name(name) && name.parse::<std::net::IpAddr>().is_err() {
            section.wrong(
                &format!("other_names[{at}]"),
                "is neither a host name nor an IP address",
                "Write names alone, without a port, such as \"mash.example.org\"",
            );
        }
    }
    let other_names = other_names.into_iter().map(|(_, name)| name.to_owned()).collect();
    section.finish();
    Listen { partner_api, desk, enrolment, local, other_names }
}

fn tls(mut section: Section<'_>) -> TlsSettings {
    let versions = [("1.2", MinTls::Tls12), ("1.3", MinTls::Tls13)];
    let min = section.choice("min", &versions).unwrap_or(MinTls::Tls13);
    section.finish();
    TlsSettings { min }
}

fn paths(mut section: Section<'_>) -> Paths {
    let identities = section.texts("at_rest_identities");
    let at_rest_identities = if section.has("at_rest_identities") {
        identities.into_iter().map(|(_, path)| PathBuf::from(path)).collect()
    } else {
        vec![PathBuf::from("keys/at-rest-identity.txt")]
    };
    if section.is_empty_list("at_rest_identities") {
        section.wrong(
            "at_rest_identities",
            "is empty: nothing could be opened for delivery",
            "Name the file that holds the gateway's age identity, or remove the key",
        );
    }
    let mut path = |key, default: &str| PathBuf::from(section.text(key).unwrap_or(default));
    let paths = Paths {
        at_rest_identities,
        log_key: path("log_key", "keys/log-key.pem"),
        tls_key: path("tls_key", "keys/tls-key.pem"),
        tls_certificate: path("tls_certificate", "certs/gateway.pem"),
        push_key: path("push_key", "keys/push-key.pem"),
        push_certificate: path("push_certificate", "certs/push.pem"),
        agency_ca: path("agency_ca", "certs/agency-ca.pem"),
        agency_crl: path("agency_crl", "certs/agency-ca.crl.pem"),
        root: path("root", "certs/root.pem"),
    };
    section.finish();
    paths
}

fn limits(mut section: Section<'_>) -> Limits {
    let limits = Limits {
        attachment_bytes_max: number(
            &mut section,
            "attachment_bytes_max",
            1_024..=17_179_869_184,
            26_214_400,
        ),
        attachment_timeout_s: number(&mut section, "attachment_timeout_s", 1..=86_400, 600),
        attachment_unsent_hours: number(&mut section, "attachment_unsent_hours", 1..=8_760, 24),
        attachments_unsent_bytes_max: number(
            &mut section,
            "attachments_unsent_bytes_max",
            2_048..=1_099_511_627_776,
            104_857_600,
        ),
        body_bytes_max: number(&mut section, "body_bytes_max", 16_384..=104_857_600, 1_048_576),
        bodies_bytes_max: number(
            &mut section,
            "bodies_bytes_max",
            1_048_576..=68_719_476_736,
            268_435_456,
        ),
        connections_max: number(&mut section, "connections_max", 1..=65_536, 1_024),
        connections_per_address_max: number(
            &mut section,
            "connections_per_address_max",
            1..=65_536,
            32,
        ),
        connections_per_agency_max: number(
            &mut section,
            "connections_per_agency_max",
            1..=65_536,
            128,
        ),
        desk_connections_max: number(&mut section, "desk_connections_max", 1..=65_536, 512),
        enrolment_connections_max: number(
            &mut section,
            "enrolment_connections_max",
            1..=65_536,
            256,
        ),
        guest_timeout_s: number(&mut section, "guest_timeout_s", 1..=3_600, 60),
        handshake_timeout_s: number(&mut section, "handshake_timeout_s", 1..=120, 10),
        header_timeout_s: number(&mut section, "header_timeout_s", 1..=120, 10),
        inbox_page_max: number(&mut section, "inbox_page_max", 1..=1_000, 100),
        request_timeout_s: number(&mut section, "request_timeout_s", 1..=600, 30),
        local_connections_max: number(&mut section, "local_connections_max", 2..=1_024, 64),
        handshakes_per_address_per_second: rate(
            &mut section,
            "handshakes_per_address_per_second",
            1..=100_000,
            HANDSHAKES_PER_SECOND,
        ),
        requests_per_agency_per_minute: rate(
            &mut section,
            "requests_per_agency_per_minute",
            1..=100_000_000,
            REQUESTS_PER_MINUTE,
        ),
        requests_at_once_per_agency_max: number(
            &mut section,
            "requests_at_once_per_agency_max",
            1..=65_536,
            256,
        ),
        mailbox_messages_max: number(
            &mut section,
            "mailbox_messages_max",
            1..=1_000_000_000,
            100_000,
        ),
        mailbox_bytes_max: number(
            &mut section,
            "mailbox_bytes_max",
            16_384..=1_099_511_627_776,
            1_073_741_824,
        ),
        refusals_logged_per_minute: rate(
            &mut section,
            "refusals_logged_per_minute",
            1..=60_000,
            REFUSALS_PER_MINUTE,
        ),
        header_bytes_max: number(&mut section, "header_bytes_max", 8_192..=1_048_576, 32_768),
        http2_streams_max: number(&mut section, "http2_streams_max", 1..=1_024, 32),
        http2_control_frames_per_second: number(
            &mut section,
            "http2_control_frames_per_second",
            1..=100_000,
            100,
        ),
        stall_timeout_s: number(&mut section, "stall_timeout_s", 1..=86_400, 120),
        transfers_per_agency_max: number(&mut section, "transfers_per_agency_max", 1..=64, 8),
    };
    if limits.attachments_unsent_bytes_max / 2 < limits.attachment_bytes_max {
        section.wrong(
            "attachments_unsent_bytes_max",
            "is not twice attachment_bytes_max: one file would leave no room for the next",
            "Make it several times as large",
        );
    }
    if limits.stall_timeout_s <= limits.request_timeout_s {
        section.wrong(
            "stall_timeout_s",
            "is not longer than request_timeout_s: requests in hand would be cut off unanswered",
            "Make it at least twice as long",
        );
    }
    if limits.bodies_bytes_max < limits.body_bytes_max {
        section.wrong(
            "bodies_bytes_max",
            "is less than body_bytes_max: no such body could ever be read",
            "Make it many times as much",
        );
    }
    if limits.header_timeout_s > limits.request_timeout_s {
        section.wrong(
            "header_timeout_s",
            "is longer than request_timeout_s, and so would never be reached",
            "Make it the shorter of the two",
        );
    }
    section.finish();
    limits
}

fn push(mut section: Section<'_>) -> PushSettings {
    const DAY_S: u64 = 86_400;
    let push = PushSettings {
        allow_loopback: section.boolean("allow_loopback").unwrap_or(false),
        attempt_timeout_s: number(&mut section, "attempt_timeout_s", 1..=600, 30),
        concurrency_max: number(&mut section, "concurrency_max", 2..=256, 32),
        concurrency_per_endpoint_max: number(
            &mut section,
            "concurrency_per_endpoint_max",
            1..=256,
            8,
        ),
        delayed_after_s: number(&mut section, "delayed_after_s", 1..=DAY_S, 900),
        give_up_after_s: number(&mut section, "give_up_after_s", 60..=30 * DAY_S, 432_000),
        lease_s: number(&mut section, "lease_s", 2..=3_600, 60),
        retry_base_s: number(&mut section, "retry_base_s", 1..=3_600, 5),
        retry_cap_s: number(&mut section, "retry_cap_s", 1..=DAY_S, 3_600),
    };
    // Each would be found out only on a bad day: a message pushed twice, a wait that never ends.
    if push.lease_s <= push.attempt_timeout_s {
        section.wrong(
            "lease_s",
            "is not longer than attempt_timeout_s: two workers would push the same message",
            "Make it at least twice as long",
        );
    }
    if push.concurrency_per_endpoint_max >= push.concurrency_max {
        section.wrong(
            "concurrency_per_endpoint_max",
            "is not below concurrency_max: one endpoint that hangs would hold up all others",
            "Make it a quarter of concurrency_max",
        );
    }
    if push.retry_base_s > push.retry_cap_s {
        section.wrong(
            "retry_base_s",
            "is longer than retry_cap_s",
            "Make the first wait the shorter of the two",
        );
    }
    if push.retry_cap_s > push.give_up_after_s {
        section.wrong(
            "retry_cap_s",
            "is longer than give_up_after_s",
            "Make the longest wait shorter than the whole time a delivery is tried",
        );
    }
    if push.delayed_after_s >= push.give_up_after_s {
        section.wrong(
            "delayed_after_s",
            "is not before give_up_after_s: a delay would never be told",
            "Tell the sender of a delay well before giving up",
        );
    }
    section.finish();
    push
}

fn store(mut section: Section<'_>) -> StoreSettings {
    let sqlite = PathBuf::from(section.text("sqlite").unwrap_or("data/gateway.db"));
    let free_bytes_min = number(&mut section, "free_bytes_min", 0..=1 << 50, 1 << 30);
    let scrub_cycle_s = number(&mut section, "scrub_cycle_s", 1..=86_400, 86_400);
    section.finish();
    StoreSettings { scrub_cycle_s, sqlite, free_bytes_min }
}

fn log(mut section: Section<'_>, domain: &str) -> LogSettings {
    let origin = match section.text("origin") {
        Some(origin) => origin.to_owned(),
        None => format!("{domain}/log/1"),
    };
    // Signed notes put the origin in a line and a key's name: neither survives these characters.
    if origin.contains(|c: char| c.is_whitespace() || c == '+') {
        section.wrong(
            "origin",
            "holds a space or a plus sign",
            "Write a name like a URL without its scheme, such as \"mash.example.org/log/1\"",
        );
    }
    let anchor = match section.text("anchor") {
        Some("off") => None,
        path => Some(PathBuf::from(path.unwrap_or("keys/log-anchor.txt"))),
    };
    let mut witnesses: Vec<WitnessVerifier> = Vec::new();
    for (at, text) in section.texts("witness_keys") {
        let problem = match WitnessVerifier::parse(text) {
            None => "is not a witness's public key",
            Some(witness) if witnesses.iter().any(|other| other.name() == witness.name()) => {
                "has the name of another"
            }
            Some(witness) if witness.name() == origin => "has the name of the log",
            Some(witness) => {
                witnesses.push(witness);
                continue;
            }
        };
        section.wrong(
            &format!("witness_keys[{at}]"),
            problem,
            "Write what mash-gateway witness init printed at the agency, one key for each witness",
        );
    }
    let min = number(&mut section, "witnesses_min", 0..=64, 0);
    if min > witnesses.len() {
        section.wrong(
            "witnesses_min",
            "is more than there are witness_keys",
            "Name more witnesses, or ask for fewer",
        );
    }
    section.finish();
    LogSettings { anchor, origin, witnesses: WitnessPolicy { witnesses, min } }
}

fn address(
    section: &mut Section<'_>,
    key: &'static str,
    default: impl Into<SocketAddr>,
) -> SocketAddr {
    let default = default.into();
    let Some(text) = section.text(key) else { return default };
    text.parse().unwrap_or_else(|_| {
        section.wrong(
            key,
            "is not an IP address and port",
            format!("Write them with a colon between, such as \"{default}\""),
        );
        default
    })
}

fn number<T: TryFrom<u64>>(
    section: &mut Section<'_>,
    key: &'static str,
    range: RangeInclusive<u64>,
    default: T,
) -> T {
    let number = section.number(key, range);
    number.and_then(|number| T::try_from(number).ok()).unwrap_or(default)
}

fn rate(
    section: &mut Section<'_>,
    key: &'static str,
    range: RangeInclusive<u64>,
    default: NonZeroU32,
) -> NonZeroU32 {
    NonZeroU32::new(number(section, key, range, default.get())).unwrap_or(default)
}

/// More than one machine of an agency needs, behind however few addresses.
const HANDSHAKES_PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("200 is not zero");
/// A thousand a second: no honest program comes near.
const REQUESTS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(60_000).expect("60,000 is not zero");
const REFUSALS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).expect("60 is not zero");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::document::Mistake;

    const SHIPPED: &str = include_str!("../gateway.toml");

    fn mistakes(text: &str) -> Vec<Mistake> {
        Config::parse(text).expect_err("there are mistakes in it").all().to_vec()
    }

    #[test]
    fn the_shipped_file_parses() {
        Config::parse(SHIPPED).unwrap();
    }

    // The shipped file shows every default as a comment: `# key = value`. Without the marks it must
    // say the same as the file that says nothing but the domain.
    #[test]
    fn the_shipped_file_shows_every_setting_at_its_default() {
        let is_setting = |line: &str| {
            line.strip_prefix("# ").is_some_and(|rest| {
                rest.split_once(" = ").is_some_and(|(key, _)| {
                    key.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
                })
            })
        };
        let spoken: String = SHIPPED
            .lines()
            .map(|line| if is_setting(line) { &line[2..] } else { line })
            .flat_map(|line| [line, "\n"])
            .collect();
        let spoken = Config::parse(&spoken).unwrap();
        let domain = &spoken.domain;
        let silent = Config::parse(&format!("domain = \"{domain}\"")).unwrap();
        assert_eq!(spoken, silent);
        let settings = SHIPPED.lines().filter(|line| is_setting(line)).count();
        assert_eq!(settings, 77, "a setting was added or removed without its explanation");
    }

    #[test]
    fn the_defaults_are_those_documented() {
        let config = Config::parse("domain = \"mash.example.org\"").unwrap();
        assert_eq!(config.listen.partner_api.to_string(), "0.0.0.0:8443");
        assert_eq!(config.listen.desk.to_string(), "0.0.0.0:8444");
        assert_eq!(config.listen.enrolment.to_string(), "0.0.0.0:8445");
        assert_eq!(config.listen.local.to_string(), "127.0.0.1:8446");
        assert_eq!(config.tls.min, MinTls::Tls13);
        assert_eq!(config.log.anchor.as_deref(), Some(Path::new("keys/log-anchor.txt")));
        assert_eq!(config.log.origin, "mash.example.org/log/1");
        assert_eq!(config.paths.at_rest_identities, [Path::new("keys/at-rest-identity.txt")]);
        assert_eq!(config.store.sqlite, Path::new("data/gateway.db"));
        assert_eq!(config.store.free_bytes_min, 1024 * 1024 * 1024);
        assert!(!config.push.allow_loopback);
        assert_eq!(config.push.give_up_after_s, 5 * 24 * 60 * 60);
        assert_eq!(config.limits.body_bytes_max, 1024 * 1024);
        assert_eq!(config.certificate_days, 90);
    }

    #[test]
    fn the_anchor_is_kept_unless_it_is_turned_off() {
        let anchor = |text: &str| {
            Config::parse(&format!("domain = \"a.example\"\n[log]\n{text}")).unwrap().log.anchor
        };
        assert_eq!(anchor("anchor = \"off\""), None);
        assert_eq!(anchor("anchor = \"/media/a.txt\""), Some(PathBuf::from("/media/a.txt")));
        assert!(anchor("").is_some());
    }

    #[test]
    fn every_mistake_says_where_what_and_what_to_do() {
        // (text after the domain, line, field, part of the problem, part of the remedy)
        let table = [
            ("colour = 1", 2, "colour", "not a known", "Known here: domain"),
            ("[push]\nlease = 3", 3, "push.lease", "not a known", "Did you mean `lease_s`?"),
            ("[pusch]", 2, "pusch", "not a known", "Did you mean `push`?"),
            ("push = 3", 2, "push", "wrong type (integer)", "a table"),
            ("[listen]\nlocal = \"0.0.0.0:1\"", 3, "listen.local", "loopback", "127.0.0.1"),
            ("[listen]\nlocal = \"here\"", 3, "listen.local", "IP address", "127.0.0.1:8446"),
            ("[listen]\nlocal = \"127.0.0.1:8443\"", 3, "listen.local", "too", "its own port"),
            (
                "[listen]\ndesk = \"0.0.0.0:8445\"",
                3,
                "listen.enrolment",
                "desk too",
                "its own port",
            ),
            ("[tls]\nmin = \"1.1\"", 3, "tls.min", "choices", "\"1.2\""),
            ("[tls]\nmin = 1.3", 3, "tls.min", "wrong type (float)", "quotation marks"),
            ("[paths]\nroot = \"\"", 3, "paths.root", "empty", "remove the key"),
            ("[paths]\nat_rest_identities = []", 3, "paths.at_rest_identities", "empty", "Name"),
            ("recovery_recipients = [\"age1\"]", 2, "recovery_recipients[0]", "age", "age-keygen"),
            ("[limits]\nconnections_max = 0", 3, "limits.connections_max", "range", "1 to 65536"),
            ("[limits]\nconnections_max = -1", 3, "limits.connections_max", "range", "1 to 65536"),
            ("[limits]\nguest_timeout_s = 0", 3, "limits.guest_timeout_s", "range", "1 to 3600"),
            ("[limits]\nheader_timeout_s = 60", 3, "limits.header_timeout_s", "longer", "shorter"),
            (
                "[limits]\nbody_bytes_max = 2097152\nbodies_bytes_max = 1048576",
                4,
                "limits.bodies_bytes_max",
                "ever be read",
                "many times",
            ),
            (
                "[limits]\nattachment_bytes_max = 104857600",
                3,
                "limits.attachments_unsent_bytes_max",
                "no room for the next",
                "several times",
            ),
            ("[limits]\nstall_timeout_s = 30", 3, "limits.stall_timeout_s", "not longer", "twice"),
            ("[push]\nlease_s = 30", 3, "push.lease_s", "two workers", "twice"),
            (
                "[push]\nconcurrency_max = 8",
                3,
                "push.concurrency_per_endpoint_max",
                "hold up all others",
                "a quarter",
            ),
            ("[push]\nretry_cap_s = 4", 3, "push.retry_base_s", "longer", "shorter"),
            ("[push]\ngive_up_after_s = 1800", 3, "push.retry_cap_s", "longer", "shorter"),
            (
                "[push]\ndelayed_after_s = 86400\ngive_up_after_s = 86400",
                3,
                "push.delayed_after_s",
                "never be told",
                "before giving up",
            ),
            (
                "[push]\nallow_loopback = \"no\"",
                3,
                "push.allow_loopback",
                "string",
                "true or false",
            ),
            (
                "[issuer]\npkcs11_token = \"mash\"",
                3,
                "issuer.pkcs11_token",
                if token::IS_BUILT { "belong together" } else { "build that can use tokens" },
                if token::IS_BUILT { "pkcs11_pin_file" } else { "--features pkcs11" },
            ),
            (
                "[log]\nwitness_keys = [\"police.example+00000000+AAAA\"]",
                3,
                "log.witness_keys[0]",
                "not a witness's public key",
                "witness init",
            ),
            (
                "[log]\nwitnesses_min = 1",
                3,
                "log.witnesses_min",
                "more than",
                "Name more witnesses",
            ),
            ("[timers]\nworking_from = \"9\"", 3, "timers.working_from", "time of day", "09:00"),
            ("[timers]\nworking_to = \"08:00\"", 3, "timers.working_to", "not after", "17:00"),
            (
                "[timers]\ntelephone_threshold = \"24\"",
                3,
                "timers.telephone_threshold",
                "choices",
                "one-working-day",
            ),
            ("[store]\nscrub_cycle_s = 0", 3, "store.scrub_cycle_s", "range", "1 to 86400"),
            ("[log]\norigin = \"a b\"", 3, "log.origin", "space", "without its scheme"),
            ("certificate_days = 1000", 2, "certificate_days", "range", "1 to 398"),
        ];
        for (text, line, field, problem, remedy) in table {
            let found = mistakes(&format!("domain = \"mash.example.org\"\n{text}\n"));
            let [found] = found.as_slice() else { panic!("{text}: {found:#?}") };
            // A mistake about a key that was left at its default points at its section.
            let is_default = found.line == 2 && text.starts_with('[');
            assert!(found.line == line || is_default, "{text}: {found}");
            assert_eq!(found.field, field, "{text}");
            assert!(found.problem.contains(problem), "{text}: {found}");
            assert!(found.remedy.contains(remedy), "{text}: {found}");
        }
    }

    #[test]
    fn the_domain_is_required_and_plain() {
        assert_eq!(mistakes("")[0].field, "domain");
        for bad in ["Mash.example.org", "mash example", "spiffe://mash", "-a.b", "a..b", "a.b."] {
            let found = mistakes(&format!("domain = \"{bad}\"\n[log]\norigin = \"x\""));
            assert_eq!(found.len(), 1, "{bad}: {found:?}");
            assert_eq!(found[0].problem, "is not a domain name");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_in_order() {
        let text = concat!(
            "domian = \"mash.example.org\"\n\n",
            "[listen]\nlocal = \"0.0.0.0:8446\"\n\n",
            "[limits]\nbody_bytes_max = 1\n\n",
            "[zebra]\n",
        );
        let error = Config::parse(text).unwrap_err();
        let lines: Vec<_> = error.all().iter().map(|found| (found.line, &*found.field)).collect();
        let wanted = [
            (1, "domain"),
            (1, "domian"),
            (4, "listen.local"),
            (7, "limits.body_bytes_max"),
            (9, "zebra"),
        ];
        assert_eq!(lines, wanted);
        let printed = error.to_string();
        assert!(printed.starts_with("gateway.toml has 5 mistakes\n  gateway.toml:1: domain: "));
    }

    #[test]
    fn a_home_is_absolute_and_keeps_what_is_elsewhere_elsewhere() {
        let home = Home::new("somewhere").unwrap();
        assert!(home.folder().is_absolute());
        assert!(home.config().ends_with("somewhere/gateway.toml"));
        assert!(home.resolve("keys/tls-key.pem").starts_with(home.keys()));
        assert_eq!(home.resolve("/media/key.txt"), Path::new("/media/key.txt"));
    }
}
