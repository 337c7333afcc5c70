//! `serve`: the gateway, running. Also how tests, benchmarks and the demo start one.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use jiff::SignedDuration;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secrecy::SecretString;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::init::{RECOVERY_IDENTITY, ROOT_IDENTITY, ROOT_KEY};
use super::sound::{self, Signing};
use super::{Context, Failure, issuer};
use crate::audit::checkpoint::LogKey;
use crate::audit::entry::Event;
use crate::config::{Config, Home, timers};
use crate::exchange::attachments::Limits as FileLimits;
use crate::exchange::{Gateway, Parts};
use crate::http::api::{self, Api};
use crate::http::attachments::Transfers;
use crate::http::connection::{Http, HttpLimits};
use crate::http::desk;
use crate::http::enrolment::{self, Attempts, Enrolment};
use crate::http::handshakes::Handshakes;
use crate::http::health::{self, Concerns, Local, Reload, Reloaded};
use crate::http::host::HostNames;
use crate::http::presence::Presence;
use crate::http::rate::Rate;
use crate::http::refusals::Refusals;
use crate::http::server::{Door, Limits, LocalDoor};
use crate::issuer::Access;
use crate::ledger::Ledger;
use crate::message::now;
use crate::pki::ca::Domain;
use crate::problem::ProblemType;
use crate::register::{Live, Register};
use crate::schema::Schemas;
use crate::seal::{Identities, Sealer};
use crate::store::sqlite::Sqlite;
use crate::store::{MailboxLimits, Store};
use crate::telemetry::{self, LogFormat, Metrics};
use crate::worker::anchor::Keeper;
use crate::worker::backlog;
use crate::worker::deliver::{Deliver, Settings};
use crate::worker::due;
use crate::worker::notify::{self, Notify};
use crate::worker::retain::Retain;
use crate::worker::scrub::Scrub;
use crate::worker::sweep::Sweep;
pub(super) use crate::worker::trust::directory;
use crate::worker::trust::{self, Trust};
use crate::worker::witness;

/// Run the gateway until SIGTERM; SIGHUP takes changed files into use.
#[derive(Args)]
#[command(after_help = "Example:
  mash-gateway serve --home H

Certificates, revocation lists and partners.toml are taken into use on SIGHUP, and by the
commands that change them; a bad new file keeps the last good one and says so in /readyz.")]
pub(super) struct Serve {
    /// Threads that serve [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl Serve {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        telemetry::init_logging(LogFormat::detect())?;
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        if let Some(threads) = self.threads {
            runtime.worker_threads(threads.max(1));
        }
        runtime.enable_all().build()?.block_on(async {
            // Before anybody can know that it runs: a signal from then on stops it in order.
            let signals = Signals::listen()?;
            let config = super::config(&context.home)?;
            let stop = CancellationToken::new();
            issuer::keep_running(&context.home, &config, stop.clone()).await;
            let _issuer = stop.drop_guard();
            let running = Running::start(&context.home).await?;
            context.result(
                &json!({
                    "desk": running.desk,
                    "enrolment": running.enrolment,
                    "local": running.local,
                    "partnerApi": running.partner_api,
                }),
                format!(
                    "Listening on https://{} (enrolment), https://{} (desk), https://{} (partners) \
                     and http://{} (local)",
                    running.enrolment, running.desk, running.partner_api, running.local
                ),
            );
            running.until_stopped(signals).await;
            Ok(())
        })
    }
}

/// The signals a gateway listens to.
pub struct Signals {
    hang_up: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Waits for the one or the other that ends a process.
    pub async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// From now on these signals do nothing but wake whoever waits for them.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }
}

/// A gateway that is running.
pub struct Running {
    /// Where the partner API listens.
    pub partner_api: SocketAddr,
    /// Where people reach the pages.
    pub desk: SocketAddr,
    /// Where the enrolment door listens.
    pub enrolment: SocketAddr,
    /// Where the local door listens.
    pub local: SocketAddr,
    /// The gateway behind the doors.
    pub gateway: Arc<Gateway>,
    /// Its delivery worker, for tests that give it the time.
    pub deliver: Arc<Deliver>,
    reload: mpsc::Sender<Reload>,
    stop: CancellationToken,
    tasks: tokio::task::JoinSet<()>,
    anchor: Option<Arc<Keeper>>,
    ledger: thread::JoinHandle<()>,
}

impl Running {
    /// Starts the gateway whose home this is: checks everything it depends on, then opens its doors.
    pub async fn start(home: &Home) -> anyhow::Result<Self> {
        let config = Config::parse(&read(&home.config())?)?;
        allow_open_files(&config)?;
        warn_about_keys(home, &config);
        let metrics = Arc::new(Metrics::new());
        let Signing { log_key, anchor } = sound::signing(home, &config).await?;
        metrics.problems_known(ProblemType::ALL.into_iter().map(|kind| kind.facts().code));
        let database = home.resolve(&config.store.sqlite);
        let store: Arc<dyn Store> =
            Arc::new(Sqlite::open_keeping(&database, config.store.free_bytes_min)?);
        let sealer = sound::open_keys(home, &config, &*store).await?;
        let log = log_key.verifier();
        let (ledger, ledger_thread) =
            Ledger::start(Arc::clone(&store), log_key, Arc::clone(&metrics))?;
        ledger.learn_latest(&*store).await?;
        let gateway = Arc::new(Gateway::new(Parts {
            domain: config.domain.clone(),
            schemas: Schemas::compiled(),
            directory: directory(home, &config)?,
            sealer,
            ledger,
            store: Arc::clone(&store),
            log,
            files: files(&config),
            mailbox: mailbox_limits(&config),
            witnesses: config.log.witnesses.clone(),
            timers: timers::load(home, &config.timers).map_err(anyhow::Error::msg)?,
        }));
        let register = Register::new(
            Arc::clone(&store),
            gateway.ledger().clone(),
            Access::for_gateway(home, &config),
            gateway.directory().hub().id.clone(),
            config.certificate_days,
        );
        let live = Arc::new(Live::read(Arc::clone(&store)).await?);
        let presence = Arc::new(Presence::default());
        let concerns = Arc::new(Concerns::default());
        let (reload, reloads) = mpsc::channel(16);
        let refusals = Arc::new(Refusals::new(config.limits.refusals_logged_per_minute));
        let (trust, trusted) = Trust::start(trust::Parts {
            home: home.clone(),
            config: config.clone(),
            gateway: Arc::clone(&gateway),
            register: register.clone(),
            live: Arc::clone(&live),
            presence: Arc::clone(&presence),
            metrics: Arc::clone(&metrics),
            concerns: Arc::clone(&concerns),
        })
        .await?;

        let api = Api {
            gateway: Arc::clone(&gateway),
            registry: live.subscribe(),
            presence: Arc::clone(&presence),
            metrics: Arc::clone(&metrics),
            refusals: Arc::clone(&refusals),
            room: Arc::new(Semaphore::new(usize::try_from(
                config.limits.bodies_bytes_max.div_ceil(api::ROOM_UNIT),
            )?)),
            rate: Arc::new(Rate::new(config.limits.requests_per_agency_per_minute)),
            in_hand: Arc::default(),
            in_hand_max: config.limits.requests_at_once_per_agency_max as usize,
            body_bytes_max: usize::try_from(config.limits.body_bytes_max)?,
            request_timeout: seconds(config.limits.request_timeout_s),
            attachment_timeout: seconds(config.limits.attachment_timeout_s),
            transfers: Arc::new(Transfers::new(config.limits.transfers_per_agency_max as usize)),
            page_max: config.limits.inbox_page_max as usize,
        };
        let office =
            desk::Office::new(api.clone(), register.clone(), Arc::clone(&concerns), reload.clone());
        let desk_router = desk::router(office);
        let api_router = api::router(api);
        let limits = Limits {
            connections_max: config.limits.connections_max as usize,
            connections_per_address_max: config.limits.connections_per_address_max as usize,
            connections_per_agency_max: config.limits.connections_per_agency_max as usize,
            guest_timeout: seconds(config.limits.guest_timeout_s),
            handshake_timeout: seconds(config.limits.handshake_timeout_s),
            handshakes_per_second: config.limits.handshakes_per_address_per_second,
        };
        let http = Http {
            gateway: Arc::clone(&gateway),
            names: trusted.names,
            metrics: Arc::clone(&metrics),
            refusals: Arc::clone(&refusals),
            limits: HttpLimits {
                control_frames_per_second: config.limits.http2_control_frames_per_second,
                header_bytes_max: config.limits.header_bytes_max,
                header_timeout: seconds(config.limits.header_timeout_s),
                stall_timeout: seconds(config.limits.stall_timeout_s),
                streams_max: config.limits.http2_streams_max,
                window_bytes: 1 << 20,
                write_timeout: seconds(config.limits.request_timeout_s),
            },
        };
        // Anybody may come here, and what is asked here is small.
        let enrolment_limits =
            Limits { connections_max: config.limits.enrolment_connections_max as usize, ..limits };
        let enrolment_http = Http {
            limits: HttpLimits {
                streams_max: config.limits.http2_streams_max.min(ENROLMENT_STREAMS_MAX),
                window_bytes: 64 << 10,
                ..http.limits
            },
            ..http.clone()
        };
        let local_door = LocalDoor {
            http: Http {
                names: watch::channel(Arc::new(HostNames::of_this_machine())).1,
                ..http.clone()
            },
            connections_max: config.limits.local_connections_max as usize,
        };
        let domain = Domain::parse(&config.domain)?;
        let enrolment_state = Enrolment {
            gateway: Arc::clone(&gateway),
            register,
            live: Arc::clone(&live),
            published: trusted.published,
            refusals: Arc::clone(&refusals),
            metrics: Arc::clone(&metrics),
            attempts: Arc::new(Attempts::new(WRONG_TOKENS_PER_MINUTE, RENEWALS_PER_HOUR)),
            room: Arc::new(Semaphore::new(ENROLMENT_BODIES_MAX)),
            request_timeout: seconds(config.limits.request_timeout_s),
        };
        let handshakes = Arc::new(Handshakes::start()?);
        let door = |tls, judge, plain, limits, http| Door {
            tls,
            judge,
            handshakes: Arc::clone(&handshakes),
            plain,
            registry: live.subscribe(),
            domain: domain.clone(),
            presence: Arc::clone(&presence),
            http,
            limits,
        };
        let desk_limits =
            Limits { connections_max: config.limits.desk_connections_max as usize, ..limits };
        let desk_door = door(trusted.desk, Some(trusted.judge), None, desk_limits, http.clone());
        let partner_door = door(trusted.partner_api, None, None, limits, http);
        let plain_router = enrolment::plain_router(enrolment_state.clone());
        let enrolment_door =
            door(trusted.enrolment, None, Some(plain_router), enrolment_limits, enrolment_http);
        let enrolment_router = enrolment::router(enrolment_state);
        let local_router = health::router(Local {
            gateway: Arc::clone(&gateway),
            metrics: Arc::clone(&metrics),
            reload: reload.clone(),
            concerns: Arc::clone(&concerns),
        });
        let deliver = Arc::new(Deliver::new(
            Arc::clone(&gateway),
            Settings::of(home, &config),
            Arc::clone(&metrics),
            Arc::clone(&concerns),
        ));
        let sweep = Sweep::new(Arc::clone(&gateway), &config);
        let retain = Retain::new(Arc::clone(&gateway), config.retention.periods());
        let backlog = backlog::Watch {
            gateway: Arc::clone(&gateway),
            metrics: Arc::clone(&metrics),
            concerns: Arc::clone(&concerns),
            room: mailbox_limits(&config),
        };
        let due = due::Watch { gateway: Arc::clone(&gateway), metrics: Arc::clone(&metrics) };
        let notify = Notify::new(notify::Parts {
            home: home.clone(),
            config: config.clone(),
            gateway: Arc::clone(&gateway),
            metrics: Arc::clone(&metrics),
            concerns: Arc::clone(&concerns),
        })?;
        let witnesses = witness::Watch {
            gateway: Arc::clone(&gateway),
            metrics: Arc::clone(&metrics),
            concerns: Arc::clone(&concerns),
        };
        let partner_listener = listen(config.listen.partner_api)?;
        let desk_listener = listen(config.listen.desk)?;
        let enrolment_listener = listen(config.listen.enrolment)?;
        let local_listener = listen(config.listen.local)?;
        let partner_api = partner_listener.local_addr()?;
        let desk = desk_listener.local_addr()?;
        let enrolment = enrolment_listener.local_addr()?;
        let local = local_listener.local_addr()?;

        let at = now();
        gateway
            .ledger()
            .record(&Event::started(env!("CARGO_PKG_VERSION")), at, None, crate::store::Effect::Log)
            .await?;
        let anchor = anchor.map(|(anchor, kept)| {
            Arc::new(Keeper::new(anchor, kept, Arc::clone(&store), Arc::clone(&concerns)))
        });
        let scrub = Scrub::new(
            Arc::clone(&gateway),
            Arc::clone(&metrics),
            Arc::clone(&concerns),
            SignedDuration::from_secs(config.store.scrub_cycle_s.into()),
        );
        let stop = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(partner_door.serve(partner_listener, api_router, stop.clone()));
        tasks.spawn(desk_door.serve(desk_listener, desk_router, stop.clone()));
        tasks.spawn(enrolment_door.serve(enrolment_listener, enrolment_router, stop.clone()));
        tasks.spawn(local_door.serve(local_listener, local_router, stop.clone()));
        tasks.spawn(Arc::clone(&deliver).run(stop.clone()));
        tasks.spawn(sweep.run(stop.clone()));
        tasks.spawn(retain.run(stop.clone()));
        tasks.spawn(backlog.run(stop.clone()));
        tasks.spawn(due.run(stop.clone()));
        tasks.spawn(scrub.run(stop.clone()));
        tasks.spawn(trust.run(reloads, stop.clone()));
        if let Some(anchor) = &anchor {
            anchor.keep().await;
            tasks.spawn(Arc::clone(anchor).run(stop.clone()));
        }
        tasks.spawn(witnesses.run(stop.clone()));
        if let Some(notify) = notify {
            tasks.spawn(notify.run(stop.clone()));
        }
        tracing::info!(
            partner_api = %partner_api, desk = %desk, enrolment = %enrolment, local = %local,
            "the gateway is listening"
        );
        Ok(Self {
            partner_api,
            desk,
            enrolment,
            local,
            gateway,
            deliver,
            reload,
            stop,
            tasks,
            anchor,
            ledger: ledger_thread,
        })
    }

    /// Takes changed files into use, and says what was.
    pub async fn reload(&self) -> Result<Reloaded, String> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let _ = self.reload.send(Reload(reply)).await;
        answer.await.unwrap_or_else(|_| Err("the gateway is stopping".to_owned()))
    }

    /// Runs until SIGTERM or SIGINT, then stops. SIGHUP takes changed files into use.
    pub async fn until_stopped(self, mut signals: Signals) {
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hang_up.recv() => match self.reload().await {
                    Ok(Reloaded { changed, cut }) => {
                        tracing::info!(changed, cut, "changed files are in use");
                    }
                    Err(error) => tracing::error!(error, "changed files were not taken into use"),
                },
            }
        }
        tokio::select! {
            () = self.stop() => {}
            // Whoever asks twice does not want to wait for what is in hand. What was acknowledged is
            // durable already; the rest was not answered, and its senders send it again.
            () = signals.end() => tracing::warn!("asked twice to stop: what was in hand is cut off"),
        }
    }

    /// Closes the doors, lets what is in hand finish, writes what is queued, and ends.
    pub async fn stop(mut self) {
        tracing::info!("the gateway is stopping");
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        let event = Event::stopped(env!("CARGO_PKG_VERSION"));
        let recorded =
            self.gateway.ledger().record(&event, now(), None, crate::store::Effect::Log).await;
        if let Err(error) = recorded {
            tracing::error!(error = %error, "the stop could not be logged");
        }
        if let Some(anchor) = self.anchor.take() {
            anchor.keep().await;
        }
        // The ledger's thread ends when nothing holds the way in to it any more.
        drop((self.gateway, self.deliver));
        let ledger = self.ledger;
        let _ = tokio::task::spawn_blocking(move || ledger.join()).await;
    }
}

// A door that runs out of descriptors would take the others with it.
fn allow_open_files(config: &Config) -> anyhow::Result<()> {
    let limits = &config.limits;
    let needed = u64::from(limits.connections_max)
        + u64::from(limits.desk_connections_max)
        + u64::from(limits.enrolment_connections_max)
        + u64::from(limits.local_connections_max)
        + u64::from(config.push.concurrency_max)
        + OPEN_FILES_RESERVE;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(maximum) = maximum.filter(|maximum| *maximum < needed) {
        anyhow::bail!(
            "the gateway needs {needed} open files and may have {maximum}: raise its limit (ulimit \
             -Hn, or LimitNOFILE= in its systemd unit), or lower connections_max, \
             desk_connections_max and enrolment_connections_max in gateway.toml"
        );
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum })
        .context("the limit of open files could not be raised")
}

// Said each time it starts, until somebody has put it right.
fn warn_about_keys(home: &Home, config: &Config) {
    let paths = &config.paths;
    let secrets = [&paths.log_key, &paths.push_key, &paths.tls_key].into_iter();
    let secrets = secrets.chain(&paths.at_rest_identities).chain(config.notices.password_file());
    for path in secrets.map(|path| home.resolve(path)) {
        let mode = std::fs::metadata(&path).map(|file| file.permissions().mode());
        if mode.is_ok_and(|mode| mode & 0o077 != 0) {
            let path = path.display();
            tracing::warn!(%path, "others on this machine can read this key: chmod 600");
        }
    }
    for (path, complaint) in [
        (RECOVERY_IDENTITY, "the recovery identity opens everything: move it off this machine"),
        (
            ROOT_IDENTITY,
            "the root identity opens the root's key: another person keeps it, elsewhere",
        ),
        (ROOT_KEY, "the root's key is needed off line only: move it off this machine"),
    ] {
        let path = home.resolve(path);
        if path.exists() {
            let path = path.display();
            tracing::warn!(%path, "{complaint}");
        }
    }
}

/// The log's signing key, as a home has it.
pub(super) fn log_key(home: &Home, config: &Config) -> anyhow::Result<LogKey> {
    let pem = Zeroizing::new(read(&home.resolve(&config.paths.log_key))?);
    Ok(LogKey::from_pem(&config.log.origin, &pem)?)
}

/// What files agencies may upload, by the settings.
pub(super) fn files(config: &Config) -> FileLimits {
    FileLimits {
        bytes_max: config.limits.attachment_bytes_max,
        unsent_bytes_max: config.limits.attachments_unsent_bytes_max,
    }
}

/// The at-rest keys, as a home has them.
pub(super) fn sealer(home: &Home, config: &Config) -> anyhow::Result<Sealer> {
    let mut all = Zeroizing::new(String::new());
    for path in &config.paths.at_rest_identities {
        all.push_str(&Zeroizing::new(read(&home.resolve(path))?));
        all.push('\n');
    }
    let identities = Identities::parse(&SecretString::from(all.as_str()))?;
    Ok(Sealer::new(identities, &config.recovery_recipients)?)
}

/// How much may wait for each agency, by a home's settings.
pub(super) fn mailbox_limits(config: &Config) -> MailboxLimits {
    let limits = &config.limits;
    MailboxLimits { messages_max: limits.mailbox_messages_max, bytes_max: limits.mailbox_bytes_max }
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    bound(address).with_context(|| {
        format!("cannot listen on {address}; the address is under [listen] in gateway.toml")
    })
}

// Of those who come all at once, after a restart or to besiege us, none is told to come again in a second.
fn bound(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // As the library does on its own: the port of a gateway that has just stopped can be had.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(UNACCEPTED_MAX)
}

fn read(path: &std::path::Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

/// What is open besides connections: the database, the issuer, the local door, threads.
const OPEN_FILES_RESERVE: u64 = 256;

/// Connections that have come and are still to be accepted, at each door; the system may allow fewer.
const UNACCEPTED_MAX: u32 = 4_096;

/// Whoever asks for a certificate asks one thing at a time.
const ENROLMENT_STREAMS_MAX: u32 = 4;

/// As many bodies are read at once at the enrolment door, of 16 KiB each.
const ENROLMENT_BODIES_MAX: usize = 1_024;

/// Plenty for an agency's system and everybody at its desks; each is kept on the register for good.
const RENEWALS_PER_HOUR: NonZeroU32 = NonZeroU32::new(10).expect("10 is not zero");
const WRONG_TOKENS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).expect("10 is not zero");
