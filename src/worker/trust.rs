//! Keeps what the doors let people in by current: the register, the authorities, their revocation
//! lists, the gateway's own certificates, the directory.
//!
//! Everything is made anew and complete before any of it is swapped in; what cannot be made leaves
//! the last good one in use and a concern in `/readyz`. Revocation lists are signed daily and never
//! go backwards; the gateway renews its own certificates at two thirds of their time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper::Uri;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::audit::entry::Grant;
use crate::config::{Config, Home, timers, write_synced};
use crate::directory::Directory;
use crate::directory::parse::ParseOptions;
use crate::exchange::Gateway;
use crate::http::enrolment::Published;
use crate::http::health::{Concerns, Reload, Reloaded};
use crate::http::host::HostNames;
use crate::http::presence::Presence;
use crate::message::now;
use crate::pki::ca::{self, GeneratedKey, Profile};
use crate::pki::crl::{self, Crl};
use crate::pki::identity::Standing;
use crate::pki::tls::{self, ClientCertificate, Judge};
use crate::register::{Live, Register};
use crate::telemetry::{Certificate, Metrics};
use crate::worker::expiry;

/// What the doors are given, and see change.
pub struct Trusted {
    /// The partner API's TLS settings.
    pub partner_api: watch::Receiver<Arc<ServerConfig>>,
    /// The desk's TLS settings, under which any certificate may be shown.
    pub desk: watch::Receiver<Arc<ServerConfig>>,
    /// Who judges what is shown there.
    pub judge: watch::Receiver<Arc<Judge>>,
    /// The enrolment door's TLS settings.
    pub enrolment: watch::Receiver<Arc<ServerConfig>>,
    /// Authorities' certificates and lists, for anybody.
    pub published: watch::Receiver<Arc<Published>>,
    /// The names that both doors answer to.
    pub names: watch::Receiver<Arc<HostNames>>,
}

/// The worker.
pub struct Trust {
    home: Home,
    config: Config,
    gateway: Arc<Gateway>,
    register: Register,
    presence: Arc<Presence>,
    metrics: Arc<Metrics>,
    concerns: Arc<Concerns>,
    partner_api: watch::Sender<Arc<ServerConfig>>,
    desk: watch::Sender<Arc<ServerConfig>>,
    judge: watch::Sender<Arc<Judge>>,
    enrolment: watch::Sender<Arc<ServerConfig>>,
    live: Arc<Live>,
    published: watch::Sender<Arc<Published>>,
    names: watch::Sender<Arc<HostNames>>,
    /// The number of each authority's list in use, by the authority's key.
    numbers: HashMap<Vec<u8>, u64>,
    /// The text of the agencies' authorities and their lists in use.
    lists: String,
    endings: expiry::Watch,
}

/// What a [`Trust`] is made of.
pub struct Parts {
    /// The home whose files these are.
    pub home: Home,
    /// Its settings.
    pub config: Config,
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// The register of certificates.
    pub register: Register,
    /// The certificates that are good.
    pub live: Arc<Live>,
    /// Who is connected.
    pub presence: Arc<Presence>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What an operator should look at.
    pub concerns: Arc<Concerns>,
}

impl Trust {
    /// Reads everything once; an error is a reason not to start.
    pub async fn start(parts: Parts) -> anyhow::Result<(Self, Trusted)> {
        let Parts { home, config, gateway, register, live, presence, metrics, concerns } = parts;
        let doors = Doors::read(&home, &config)?;
        let (partner_api, partner_api_now) = watch::channel(doors.partner_api);
        let (desk, desk_now) = watch::channel(doors.desk);
        let (judge, judge_now) = watch::channel(doors.judge);
        let (enrolment, enrolment_now) = watch::channel(doors.enrolment);
        let (published, published_now) = watch::channel(doors.published);
        let (names, names_now) = watch::channel(doors.names);
        let trust = Self {
            home,
            config,
            gateway,
            register,
            presence,
            metrics,
            concerns,
            partner_api,
            desk,
            judge,
            enrolment,
            live,
            published,
            names,
            numbers: doors.numbers,
            lists: doors.lists,
            endings: expiry::Watch::default(),
        };
        trust.measure();
        let trusted = Trusted {
            partner_api: partner_api_now,
            desk: desk_now,
            judge: judge_now,
            enrolment: enrolment_now,
            published: published_now,
            names: names_now,
        };
        Ok((trust, trusted))
    }

    /// Runs until `stop`.
    pub async fn run(mut self, mut reloads: mpsc::Receiver<Reload>, stop: CancellationToken) {
        let mut polls: u32 = 0;
        // By itself: whoever is revoked is not let in for as long as an issuer hangs.
        let fresh = tokio::spawn(keep_fresh(Arc::clone(&self.live), stop.clone()));
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => break,
                reload = reloads.recv() => reload,
                // What was changed while nobody could tell us is noticed all the same.
                () = tokio::time::sleep(POLL) => None,
            };
            match asked {
                Some(Reload(reply)) => {
                    let reloaded = self.reload().await;
                    let _ = reply.send(reloaded.map_err(|error| format!("{error:#}")));
                    // What was changed may be what there was to worry about.
                    polls = 0;
                }
                None => {
                    let is_changed = self.lists_on_disk().is_none_or(|lists| lists != self.lists);
                    let taken = if is_changed { self.take_doors() } else { Ok(()) };
                    let refused = taken.map_err(|error| format!("{error:#}"));
                    self.concerns.set(LISTS_IN_USE, refused.err());
                    if polls.is_multiple_of(POLLS_PER_ROUND) {
                        self.round(now()).await;
                    }
                    polls = polls.wrapping_add(1);
                }
            }
        }
        self.note_uses().await;
        let _ = fresh.await;
    }

    // Each as a whole or not at all. First what a revocation changes: it does not wait for somebody
    // else's spelling mistake in the directory.
    async fn reload(&mut self) -> anyhow::Result<Reloaded> {
        // A command beside us may have queued a push: it does not wait for the next look.
        self.gateway.push_queued().notify_one();
        let at = now();
        let registry = self.live.refresh().await?;
        let is_cut = |sha256: &[u8; 32]| registry.standing(sha256, at) == Standing::Revoked;
        let doors = self.take_doors();
        // Whoever was connected with what is revoked is gone before anybody is told so.
        let gone = tokio::time::timeout(CUT_TIMEOUT, self.presence.none_left(&is_cut)).await;
        if let Err(error) = doors {
            self.concerns.set(RELOAD, Some(format!("{error:#}")));
            return Err(error);
        }
        gone.context("connections with revoked certificates are still open")?;
        let directory = directory(&self.home, &self.config);
        let (changed, concern) = match directory {
            Ok(directory) => {
                self.gateway.replace_directory(directory);
                ("register, revocation lists, certificates, directory", None)
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "the directory was not taken into use");
                ("register, revocation lists, certificates; the directory stays", Some(error))
            }
        };
        match timers::load(&self.home, &self.config.timers) {
            Ok(timers) => {
                self.gateway.replace_timers(timers);
                self.concerns.set(BANK_HOLIDAYS, None);
            }
            Err(error) => {
                tracing::warn!(error, "the bank holidays were not taken into use");
                self.concerns.set(BANK_HOLIDAYS, Some(format!("{error}; those known stay in use")));
            }
        }
        self.concerns.set(RELOAD, concern);
        Ok(Reloaded { changed, cut: self.presence.take_cut() })
    }

    fn take_doors(&mut self) -> anyhow::Result<()> {
        let doors = Doors::read(&self.home, &self.config)?;
        for (key, number) in &self.numbers {
            let is_older = doors.numbers.get(key).is_some_and(|new| new < number);
            anyhow::ensure!(!is_older, "a revocation list is older than the one in use");
        }
        self.partner_api.send_replace(doors.partner_api);
        // Before whom it lets in: nobody is judged by an older list than the door has.
        self.judge.send_replace(doors.judge);
        self.desk.send_replace(doors.desk);
        self.enrolment.send_replace(doors.enrolment);
        self.published.send_replace(doors.published);
        self.names.send_replace(doors.names);
        self.numbers = doors.numbers;
        self.lists = doors.lists;
        self.concerns.set(LISTS_IN_USE, None);
        self.measure();
        Ok(())
    }

    // What is due once a minute.
    async fn round(&mut self, at: Timestamp) {
        self.note_uses().await;
        let issuer = self.register.check_issuer(at).await.map_err(|error| error.to_string());
        self.concerns.set(ISSUER, issuer.err());
        let lists = self.keep_lists(at).await.map_err(|error| format!("{error:#}"));
        self.concerns.set(LISTS, lists.err());
        let own = self.keep_own_certificates(at).await.map_err(|error| format!("{error:#}"));
        self.concerns.set(OWN_CERTIFICATES, own.err());
        // Last: what has just been renewed does not end soon.
        let told = self.tell_endings(at).await.map_err(|error| format!("{error:#}"));
        self.concerns.set(ENDINGS, told.err());
    }

    async fn tell_endings(&mut self, at: Timestamp) -> anyhow::Result<()> {
        let inventory = expiry::inventory(&self.home, &self.config)?;
        let register = self.register.certificates().await?;
        let directory = self.gateway.directory();
        self.endings.look(&inventory, &register, &directory, &self.metrics, at);
        Ok(())
    }

    // A list that lapses cuts every agency off: it is signed anew long before, and when that does
    // not work somebody is told while there is still time. One that is missing, or lacks what the
    // register knows, is signed anew at once.
    async fn keep_lists(&mut self, at: Timestamp) -> anyhow::Result<()> {
        let lists = self.all_lists();
        let is_whole = self.is_whole(&lists).await?;
        let is_old = |list: &Crl| at.duration_since(list.this_update) >= LISTS_EVERY;
        if is_whole && !lists.iter().any(is_old) {
            return Ok(());
        }
        match self.register.sign_lists(at).await {
            Ok(signed) => {
                for serial in &signed.unregistered {
                    tracing::error!(
                        certificate.serial = serial.as_str(),
                        "on the last revocation list and not in the register: it stays revoked"
                    );
                }
                self.take_doors()?;
                tracing::info!("the revocation lists were signed anew");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(error = %error, "the revocation lists were not signed anew");
                let what = if !is_whole {
                    "a revocation list is missing or lacks a revocation, and cannot be signed anew: \
                     mash-gateway cert crl"
                } else if lists.iter().any(|list| list.is_past_half_life(at)) {
                    "a revocation list is past half its time and cannot be signed anew; when it \
                     lapses nobody is let in: mash-gateway cert crl"
                } else {
                    return Ok(());
                };
                Err(anyhow::Error::from(error).context(what))
            }
        }
    }

    // Whether each authority has a list, and each revoked certificate of theirs is on one.
    async fn is_whole(&self, lists: &[Crl]) -> anyhow::Result<bool> {
        let mut authorities = HashSet::new();
        for path in [self.home.resolve(&self.config.paths.agency_ca), self.home.server_ca()] {
            for authority in ca::authority_certificates(&read(&path)?)? {
                if !lists.iter().any(|list| list.is_signed_by(&authority.der)) {
                    return Ok(false);
                }
                authorities.insert(authority.key_id);
            }
        }
        let listed: HashSet<_> = lists.iter().flat_map(|list| &list.serials).collect();
        let certificates = self.register.certificates().await?;
        Ok(certificates.iter().filter(|one| one.revoked.is_some()).all(|one| {
            let is_ours =
                ca::authority_key_id(&one.pem).is_some_and(|id| authorities.contains(&id));
            !is_ours || listed.contains(&one.serial)
        }))
    }

    async fn keep_own_certificates(&mut self, at: Timestamp) -> anyhow::Result<()> {
        let mut is_renewed = false;
        let mut failed = None;
        for own in [Own::Server, Own::Client] {
            let (_, not_before, not_after) = own.read(&self.home, &self.config)?;
            let lasting = not_after.duration_since(not_before);
            if at.duration_since(not_before) * 3 < lasting * 2 {
                continue;
            }
            let (home, config) = (&self.home, &self.config);
            match renew(&self.register, own, home, config, Grant::Timer, at).await {
                Ok(()) => {
                    tracing::info!(certificate = own.what(), "renewed");
                    is_renewed = true;
                }
                Err(error) => {
                    failed = Some(error.context(format!(
                        "{} ends at {not_after} and cannot be renewed: mash-gateway cert gateway",
                        own.what()
                    )));
                }
            }
        }
        // The one that was renewed is shown, whatever became of the other.
        if is_renewed {
            self.live.refresh().await?;
            self.take_doors()?;
        }
        failed.map_or(Ok(()), Err)
    }

    async fn note_uses(&self) {
        let uses = self.presence.take_uses();
        if uses.is_empty() {
            return;
        }
        if let Err(error) = self.gateway.store().note_uses(uses).await {
            tracing::warn!(error = %error, "when certificates were last used was not noted");
        }
    }

    // When the gateway's own certificates end, and the authority that issues to agencies.
    fn measure(&self) {
        for own in [Own::Server, Own::Client] {
            if let Ok((_, _, not_after)) = own.read(&self.home, &self.config) {
                self.metrics.certificate_expiry(own.metric(), not_after);
            }
        }
        let issuing = read(&self.home.resolve(&self.config.paths.agency_ca)).ok();
        let issuing = issuing.and_then(|pem| ca::authority_certificates(&pem).ok());
        if let Some(first) = issuing.as_ref().and_then(|authorities| authorities.first()) {
            self.metrics.certificate_expiry(Certificate::Issuer, first.not_after);
        }
    }

    fn lists_on_disk(&self) -> Option<String> {
        let paths = &self.config.paths;
        let authorities = read(&self.home.resolve(&paths.agency_ca)).ok()?;
        Some(authorities + &read(&self.home.resolve(&paths.agency_crl)).ok()?)
    }

    // Those the issuer signs: the root's are signed by hand.
    fn all_lists(&self) -> Vec<Crl> {
        [self.home.resolve(&self.config.paths.agency_crl), self.home.server_crl()]
            .iter()
            .filter_map(|path| crl::parse_all(&read(path).ok()?).ok())
            .flatten()
            .collect()
    }
}

/// One of the gateway's own certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Own {
    /// What it shows when it pushes.
    Client,
    /// What its listeners show.
    Server,
}

impl Own {
    /// How people call it.
    pub fn what(self) -> &'static str {
        match self {
            Self::Client => "the push certificate",
            Self::Server => "the gateway's server certificate",
        }
    }

    fn metric(self) -> Certificate {
        match self {
            Self::Client => Certificate::Client,
            Self::Server => Certificate::Server,
        }
    }

    /// What names it has, and from when to when it is good.
    fn read(
        self,
        home: &Home,
        config: &Config,
    ) -> anyhow::Result<(Vec<String>, Timestamp, Timestamp)> {
        Ok(ca::server_certificate(&read(&home.resolve(self.certificate(config)))?)?)
    }

    /// Its file, as the settings name it.
    pub(super) fn certificate(self, config: &Config) -> &Path {
        match self {
            Self::Client => &config.paths.push_certificate,
            Self::Server => &config.paths.tls_certificate,
        }
    }
}

// What was changed in the register while nobody could tell us is noticed all the same.
async fn keep_fresh(live: Arc<Live>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(POLL) => {}
        }
        if let Err(error) = live.refresh().await {
            tracing::error!(error = %error, "the register could not be read");
        }
    }
}

/// Replaces one of the gateway's own certificates by one with a new key and the same names.
pub async fn renew(
    register: &Register,
    own: Own,
    home: &Home,
    config: &Config,
    grant: Grant,
    at: Timestamp,
) -> anyhow::Result<()> {
    let (profile, certificate, key) = match own {
        Own::Client => {
            let paths = (&config.paths.push_certificate, &config.paths.push_key);
            (Profile::GatewayClient, paths.0, paths.1)
        }
        Own::Server => {
            let (names, _, _) = own.read(home, config)?;
            let paths = (&config.paths.tls_certificate, &config.paths.tls_key);
            (Profile::GatewayServer { names }, paths.0, paths.1)
        }
    };
    let GeneratedKey { key_pem, csr_pem, public: _ } = ca::generate_key()?;
    let issued = register.issue(&profile, &csr_pem, grant, at).await?;
    let (certificate, key) = (home.resolve(certificate), home.resolve(key));
    // Both keys are in the file while the certificate is replaced: whatever a crash leaves behind,
    // there is a key that fits.
    let old = Zeroizing::new(read(&key).unwrap_or_default());
    let both = Zeroizing::new(format!("{}{}", key_pem.as_str(), old.as_str()));
    write_synced(&key, both.as_bytes(), 0o600)?;
    let chain = format!("{}{}", issued.pem, issued.issuer_pem);
    write_synced(&certificate, chain.as_bytes(), 0o644)?;
    write_synced(&key, key_pem.as_bytes(), 0o600)?;
    Ok(())
}

/// The directory, as a home has it.
pub fn directory(home: &Home, config: &Config) -> anyhow::Result<Directory> {
    let options = ParseOptions { allow_loopback: config.push.allow_loopback };
    Ok(Directory::parse(&read(&home.partners())?, options, now())?)
}

// Everything that the doors are made of, from the files of a home.
struct Doors {
    partner_api: Arc<ServerConfig>,
    desk: Arc<ServerConfig>,
    judge: Arc<Judge>,
    enrolment: Arc<ServerConfig>,
    published: Arc<Published>,
    names: Arc<HostNames>,
    numbers: HashMap<Vec<u8>, u64>,
    lists: String,
}

impl Doors {
    fn read(home: &Home, config: &Config) -> anyhow::Result<Self> {
        let paths = &config.paths;
        let key = Zeroizing::new(read(&home.resolve(&paths.tls_key))?);
        let chain = read(&home.resolve(&paths.tls_certificate))?;
        let agency_ca = read(&home.resolve(&paths.agency_ca))?;
        let lists = read(&home.resolve(&paths.agency_crl))
            .context("without revocation lists nobody is let in: mash-gateway cert crl")?;
        let material = tls::ServerMaterial {
            chain: &chain,
            key: &key,
            agency_authorities: &agency_ca,
            crls: &lists,
        };
        let door = |client| tls::server_config(material, client, config.tls.min);
        let authorities = ca::authority_certificates(&agency_ca)?;
        let mut numbers = HashMap::new();
        for list in crl::parse_all(&lists)? {
            for authority in authorities.iter().filter(|one| list.is_signed_by(&one.der)) {
                numbers.insert(authority.key_id.clone(), list.number);
            }
        }
        Ok(Self {
            partner_api: door(ClientCertificate::Required)?,
            desk: door(ClientCertificate::AnyOrNone)?,
            judge: Arc::new(Judge::new(&agency_ca, &lists)?),
            enrolment: door(ClientCertificate::Optional)?,
            published: Arc::new(published(home, config)?),
            names: Arc::new(host_names(&chain, config)?),
            numbers,
            lists: agency_ca + &lists,
        })
    }
}

// Whom a request may be for: the names in the certificate, where lists are fetched from without TLS,
// and those that only the operator knows of.
fn host_names(chain: &str, config: &Config) -> anyhow::Result<HostNames> {
    let (mut names, _, _) = ca::server_certificate(chain)?;
    if let Some(published) = &config.published_url {
        let url = Uri::try_from(published.as_str()).context("published_url is not a URL")?;
        names.extend(url.host().map(str::to_owned));
    }
    names.extend(config.listen.other_names.iter().cloned());
    Ok(HostNames::new(names))
}

// What anybody may have: the authorities and their lists.
fn published(home: &Home, config: &Config) -> anyhow::Result<Published> {
    let mut files = BTreeMap::new();
    let mut authorities = Vec::new();
    let paths = &config.paths;
    for (certificates, lists, is_for_agencies) in [
        (home.resolve(&paths.root), home.root_crl(), true),
        (home.resolve(&paths.agency_ca), home.resolve(&paths.agency_crl), true),
        (home.server_ca(), home.server_crl(), false),
    ] {
        let Ok(certificates) = read(&certificates) else { continue };
        let lists = read(&lists).ok().and_then(|pem| crl::parse_all(&pem).ok()).unwrap_or_default();
        for authority in ca::authority_certificates(&certificates)? {
            let stem = &authority.file_stem;
            if let Some(list) = lists.iter().find(|list| list.is_signed_by(&authority.der)) {
                files.insert(format!("{stem}.crl"), list.der().to_vec());
            }
            files.insert(format!("{stem}.crt"), authority.der.to_vec());
            // What is above an agency's certificate, and above the gateway's: no more (RFC 7030, 4.1).
            if is_for_agencies {
                authorities.push(authority.der);
            }
        }
    }
    // RFC 7030, 4.1.3: while a root follows another, how the one vouches for the other.
    if let Ok(vouchers) = read(&home.root_vouchers()) {
        authorities.extend(ca::certificates(&vouchers).unwrap_or_default());
    }
    Ok(Published { files, authorities: ca::certificates_only(&authorities) })
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What a concern about the issuer is filed under.
pub const ISSUER: &str = "the issuer";

const POLL: Duration = Duration::from_secs(1);
/// A round is made at the start, and then about once a minute.
const POLLS_PER_ROUND: u32 = 60;
/// Revocation lists are good for a week and signed anew each day.
const LISTS_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// How long a cut connection may take to be gone.
const CUT_TIMEOUT: Duration = Duration::from_secs(10);

const BANK_HOLIDAYS: &str = "the bank holidays";
const ENDINGS: &str = "what ends soon";
const LISTS: &str = "the revocation lists";
const LISTS_IN_USE: &str = "changed revocation lists were not taken into use";
const OWN_CERTIFICATES: &str = "the gateway's own certificates";
const RELOAD: &str = "changed files were not taken into use";
