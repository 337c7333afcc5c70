//! What `serve` makes of a home, without doors and without a clock: a gateway that is told the time.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use jiff::Timestamp;
use mash_gateway::audit::checkpoint::{LogKey, LogVerifier};
use mash_gateway::audit::verify::LogChecker;
use mash_gateway::config::{Config, Home, timers};
use mash_gateway::directory::Directory;
use mash_gateway::directory::parse::ParseOptions;
use mash_gateway::exchange::{Gateway, Parts, attachments};
use mash_gateway::http::health::Concerns;
use mash_gateway::issuer::{Access, Issuer};
use mash_gateway::ledger::Ledger;
use mash_gateway::message::{Submission, Target, now};
use mash_gateway::problem::Problem;
use mash_gateway::register::Register;
use mash_gateway::schema::Schemas;
use mash_gateway::seal::{Identities, Sealer};
use mash_gateway::store::sqlite::{Sqlite, room};
use mash_gateway::store::{MailboxLimits, Store};
use mash_gateway::telemetry::Metrics;
use mash_gateway::worker::deliver::{Deliver, Settings};
use tempfile::TempDir;

/// A gateway in this process.
pub(crate) struct Told {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) deliver: Arc<Deliver>,
    pub(crate) concerns: Arc<Concerns>,
    pub(crate) register: Register,
    writer: JoinHandle<()>,
}

impl Told {
    /// Of this home.
    pub(crate) fn of(home: &Path) -> Self {
        Self::on(home, |database| Arc::new(Sqlite::open(database).unwrap()))
    }

    /// Of this home, with the store that `open` makes of its database.
    pub(crate) fn on(home: &Path, open: impl FnOnce(&Path) -> Arc<dyn Store>) -> Self {
        let home = Home::new(home).unwrap();
        let read = |name: &str| std::fs::read_to_string(home.resolve(name)).unwrap();
        let config = Config::parse(&read("gateway.toml")).unwrap();
        let store = open(&home.resolve(&config.store.sqlite));
        let key = LogKey::from_pem(&config.log.origin, &read("keys/log-key.pem")).unwrap();
        let log = key.verifier();
        let metrics = Arc::new(Metrics::new());
        let started = Ledger::start(Arc::clone(&store), key, Arc::clone(&metrics));
        let (ledger, writer) = started.unwrap();
        let identities = Identities::parse(&read("keys/at-rest-identity.txt").into()).unwrap();
        let options = ParseOptions { allow_loopback: true };
        let directory = Directory::parse(&read("partners.toml"), options, now()).unwrap();
        let issuer = Access::Here(Box::new(Issuer::new(&home, &config)));
        let (hub, days) = (directory.hub().id.clone(), config.certificate_days);
        let register = Register::new(Arc::clone(&store), ledger.clone(), issuer, hub, days);
        let gateway = Arc::new(Gateway::new(Parts {
            domain: config.domain.clone(),
            schemas: Schemas::compiled(),
            directory,
            sealer: Sealer::new(identities, &config.recovery_recipients).unwrap(),
            ledger,
            store,
            log,
            files: attachments::Limits { bytes_max: 1 << 20, unsent_bytes_max: 4 << 20 },
            mailbox: MailboxLimits {
                messages_max: config.limits.mailbox_messages_max,
                bytes_max: config.limits.mailbox_bytes_max,
            },
            witnesses: config.log.witnesses.clone(),
            timers: timers::load(&home, &config.timers).unwrap(),
        }));
        let concerns = Arc::new(Concerns::default());
        let settings = Settings::of(&home, &config);
        let deliver = Deliver::new(Arc::clone(&gateway), settings, metrics, Arc::clone(&concerns));
        Self { gateway, deliver: Arc::new(deliver), concerns, register, writer }
    }

    /// Ends it: its ledger has written what was queued, and nothing holds the database any more.
    pub(crate) async fn end(self) {
        let Self { gateway, deliver, register, writer, .. } = self;
        drop((gateway, deliver, register));
        // On a thread of its own: what was under way lets go of the ledger on this one.
        tokio::task::spawn_blocking(|| writer.join().unwrap()).await.unwrap();
    }

    /// What the sender is answered.
    pub(crate) async fn submit(
        &self,
        sender: &str,
        key: &str,
        target: Target,
        body: &str,
        at: Timestamp,
    ) -> Result<String, Problem> {
        let submission = Submission {
            sender: sender.parse().unwrap(),
            desk: None,
            idempotency_key: key.parse().unwrap(),
            target,
            body: body.as_bytes().to_vec(),
            traceparent: None,
            certificate: None,
        };
        self.gateway.submit(submission, at).await.map(|answer| answer.body)
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &**self.gateway.store()
    }
}

/// The store of a home in which nothing runs, and its log's public key.
pub(crate) fn store(home: &Path) -> (Sqlite, LogVerifier) {
    let home = Home::new(home).unwrap();
    let read = |name: &str| std::fs::read_to_string(home.resolve(name)).unwrap();
    let config = Config::parse(&read("gateway.toml")).unwrap();
    let key = LogKey::from_pem(&config.log.origin, &read("keys/log-key.pem")).unwrap();
    (Sqlite::open(&home.resolve(&config.store.sqlite)).unwrap(), key.verifier())
}

/// A copy of a home, in memory where there is plenty (a container often has little): many are made, and
/// what a disk does is tried elsewhere.
pub(crate) fn copy(home: &Path) -> TempDir {
    let memory = Path::new("/dev/shm");
    let has_plenty = room(&memory.join("home"), 1 << 30).is_ok_and(|room| !room.is_used_up());
    let folder = if has_plenty { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
    copy_into(home, folder.path());
    folder
}

fn copy_into(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_into(&path, &target);
        } else if path.is_file() {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// The first thing that is wrong with a log and what it records; as `log verify` finds it.
pub(crate) async fn verify(store: &dyn Store, log: &LogVerifier) -> Result<(), String> {
    let mut checker = LogChecker::new(log.clone());
    let entries = store.entries(0, usize::MAX >> 1).await.unwrap();
    let size = entries.len() as u64;
    let mut digests = store.message_digests(0, size).await.unwrap().into_iter().peekable();
    let mut files = store.attachment_digests(0, size).await.unwrap().into_iter().peekable();
    let mut heads = store.checkpoints(0, usize::MAX >> 1).await.unwrap().into_iter().peekable();
    let said = |fault: mash_gateway::audit::verify::LogFault| fault.to_string();
    for entry in &entries {
        checker.entry(entry).map_err(said)?;
        let digest = digests.next_if(|digest| digest.entry <= entry.index);
        checker.message(entry, digest.as_ref()).map_err(said)?;
        let file = files.next_if(|file| file.entry <= entry.index);
        checker.attachment(entry, file.as_ref()).map_err(said)?;
        while let Some(head) = heads.next_if(|head| head.size <= entry.index + 1) {
            checker.checkpoint(&head).map_err(said)?;
        }
    }
    for head in heads {
        checker.checkpoint(&head).map_err(said)?;
    }
    let certificates = store.certificates().await.unwrap();
    let (tokens, mailboxes) = (store.tokens().await.unwrap(), store.mailboxes().await.unwrap());
    checker.finish(&certificates, &tokens, &mailboxes).map_err(said)
}
