//! `log`: the tamper-evident log of a home, recomputed or shown. Works with the gateway stopped.

mod export;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::cert::serial;
use super::client::{Connection, Gateway};
use super::sound::has_grown;
use super::{Context, Exit, Failure, block_on, read_text};
use crate::audit::checkpoint::{Checkpoint, LogVerifier};
use crate::audit::cosignature::{Cosignature, WitnessPolicy, WitnessVerifier};
use crate::audit::entry::Fields;
use crate::audit::growth::{Kept, NotGrown, verify_growth};
use crate::audit::tree::{Hash, Tree};
use crate::audit::verify::{Fault, LogChecker, LogFault};
use crate::message::{ExchangeId, Reference, rfc3339};
use crate::store::sqlite::Sqlite;
use crate::store::{Head, Store, StoreError, StoredEntry};

/// The tamper-evident log.
#[derive(Subcommand)]
pub(super) enum Log {
    /// Recompute the whole log and compare it with every message; exit 3 if anything differs
    #[command(after_help = "Examples:
  mash-gateway log verify --home H
  mash-gateway log checkpoint --home H > kept.note      keep it somewhere else, today
  mash-gateway log verify --home H --since kept.note    any later day

An agency asks the gateway for proof, and checks it with the log's public key alone:
  mash-gateway log verify --since my.receipt --log-key log-key.txt \\
      --gateway https://mash.example.org:8443 --cert surgery.pem --key surgery.key --ca ca.pem

Whoever has the database and cuts off its end, all of it, leaves a log that is whole and shorter: only
a checkpoint kept elsewhere, or a partner's receipt, shows that.")]
    Verify(Verify),
    /// Show what was logged: of one exchange, or all
    #[command(after_help = "Examples:
  mash-gateway log show RFI-2026-000001-H --home H
  mash-gateway log show --certificate 57d3… --home H
  mash-gateway log show --home H --json")]
    Show(Show),
    /// Print the latest signed checkpoint
    #[command(after_help = "Example:
  mash-gateway log checkpoint --home H > kept.note")]
    Checkpoint,
    /// Print every entry you may read, one to a line, checked; exit 3 if anything differs
    #[command(after_help = "Examples:
  mash-gateway log export --home H > log.jsonl
  mash-gateway log export --log-key log-key.txt \\
      --gateway https://mash.example.org:8443 --cert surgery.pem --key surgery.key --ca ca.pem

From a gateway it is an agency's own log: every entry that it is named in, with the salt that opens what the
tree holds of it. The hashes of all the others are read too, to see that the tree is the one that was signed.")]
    Export(export::Export),
}

#[derive(Args)]
pub(super) struct Verify {
    /// The log's public key [default: certs/log-key.txt in the home]
    #[arg(long, value_name = "FILE")]
    log_key: Option<PathBuf>,
    /// A checkpoint or a receipt that was kept: the log must begin with all that it covers
    #[arg(long, visible_alias = "checkpoint", value_name = "FILE")]
    since: Option<PathBuf>,
    /// Witnesses' public keys, one to a line: says which of them cosigned what was kept
    /// [default: witness_keys in the home's settings]
    #[arg(long, value_name = "FILE", requires = "since")]
    witness_keys: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

/// A gateway to ask instead of the database in the home.
#[derive(Args)]
struct Remote {
    /// The gateway to ask, as an agency, instead of reading this machine's database
    #[arg(long, value_name = "URL", requires_all = ["cert", "key", "ca"])]
    gateway: Option<String>,
    /// Your agency's certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "gateway")]
    cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "gateway")]
    key: Option<PathBuf>,
    /// The authority that vouches for the gateway (PEM)
    #[arg(long, value_name = "FILE", requires = "gateway")]
    ca: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Show {
    /// An exchange, by reference or id [default: everything]
    reference: Option<String>,
    /// Only what the bearer of the certificate with this serial did, and what became of it
    #[arg(long, value_name = "SERIAL", conflicts_with = "reference")]
    certificate: Option<String>,
}

impl Log {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        block_on(async {
            match self {
                Self::Checkpoint => checkpoint(context, &*open(context)?).await,
                Self::Export(export) => export.run(context).await,
                Self::Show(show) => show.run(context, &*open(context)?).await,
                Self::Verify(verify) => verify.run(context).await,
            }
        })
    }
}

impl Verify {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let path = self.log_key.unwrap_or_else(|| context.home.log_key_public());
        let log = LogVerifier::parse(read_text(&path)?.trim())?;
        let kept = match &self.since {
            Some(file) => Some(kept(file, &log)?),
            None => None,
        };
        let policy = witnesses(context, self.witness_keys.as_deref())?;
        if let Some(kept) = &kept {
            for cosignature in cosignatures(&policy, &kept.note)? {
                context.say(format!("what was kept was witnessed by {}", said(&cosignature)));
            }
        }
        let Remote { gateway, cert, key, ca } = self.remote;
        if gateway.is_some() && kept.is_none() {
            return Err(Failure::new(Exit::Misused, "--gateway needs --since: what was kept")
                .hint("a receipt of yours does, or a checkpoint"));
        }
        if let (Some(kept), Some(gateway), Some(cert), Some(key), Some(ca)) =
            (&kept, gateway, cert, key, ca)
        {
            let gateway = Connection::with(gateway, cert, key, ca).open()?;
            return ask(context, &gateway, kept, &log).await;
        }
        let store = &*open(context)?;
        if let Some(kept) = &kept {
            hold_growth(store, kept, &log).await?;
        }
        let kept = kept.map(|Kept { checkpoint, note }| Head {
            size: checkpoint.size,
            root: checkpoint.root,
            note,
        });
        let shows_progress = !context.global.quiet;
        let verified = verify(store, &log, kept, shows_progress).await.map_err(|error| {
            Failure::new(Exit::VerificationFailed, format!("the log does not verify: {error}"))
                .hint(
                    "stop the gateway, keep the database as it is, and compare with the last \
                       backup and with partners' receipts",
                )
        })?;
        context.result(
            &json!({ "entries": verified.entries, "messages": verified.messages, "verified": true }),
            format!(
                "verified: {} entries, {} messages, every checkpoint, every payload's digest",
                verified.entries, verified.messages
            ),
        );
        Ok(())
    }
}

/// The witnesses whose keys are in this file, or in the settings of the home, if there is one.
pub(super) fn witnesses(context: &Context, file: Option<&Path>) -> Result<WitnessPolicy, Failure> {
    let Some(file) = file else {
        let is_home = context.home.config().exists();
        return Ok(if is_home {
            super::config(&context.home)?.log.witnesses
        } else {
            Default::default()
        });
    };
    let text = read_text(file)?;
    let mut witnesses = Vec::new();
    for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        let witness = WitnessVerifier::parse(line.trim()).ok_or_else(|| {
            let message =
                format!("{} line {number}: it is not a witness's public key", file.display());
            Failure::new(Exit::Misused, message).hint("mash-gateway witness init printed it")
        })?;
        witnesses.push(witness);
    }
    Ok(WitnessPolicy { witnesses, min: 0 })
}

/// The cosignatures on a note. One that claims to be a known witness's and is not is a forgery.
pub(super) fn cosignatures(
    policy: &WitnessPolicy,
    note: &str,
) -> Result<Vec<Cosignature>, Failure> {
    policy
        .cosignatures(note)
        .map_err(|error| Failure::new(Exit::VerificationFailed, error).hint(TELL))
}

/// Who cosigned, and when.
pub(super) fn said(cosignature: &Cosignature) -> String {
    let name = cosignature.witness.split('+').next().unwrap_or_default();
    format!("{name} at {}", rfc3339(cosignature.at))
}

// The kept file, which has to be of this log.
pub(super) fn kept(file: &Path, log: &LogVerifier) -> Result<Kept, Failure> {
    Kept::parse(&read_text(file)?, log).map_err(|error| {
        let message = format!("{} is refused: {error}", file.display());
        Failure::new(Exit::VerificationFailed, message)
    })
}

// That the log in this database begins with what was kept. What it holds is looked at afterwards.
pub(super) async fn hold_growth(
    store: &dyn Store,
    kept: &Kept,
    log: &LogVerifier,
) -> Result<(), Failure> {
    let today = match store.head().await? {
        Some(head) => signed_today(head.note, log)?.checkpoint,
        None => Checkpoint { size: 0, root: Tree::empty().root() },
    };
    has_grown(store, &kept.checkpoint, &today).await?.map_err(not_grown)
}

// That the log the gateway signs today begins with what was kept, by a proof it has to give.
async fn ask(
    context: &Context,
    gateway: &Gateway,
    kept: &Kept,
    log: &LogVerifier,
) -> Result<(), Failure> {
    let note = String::from_utf8(gateway.get("/v1/log/checkpoint").await?.body)
        .map_err(|_| refused_today("it is not text"))?;
    let today = signed_today(note.into(), log)?.checkpoint;
    let from = kept.checkpoint.size;
    let proof = if 0 < from && from < today.size {
        let path = format!("/v1/log/proof?from={from}&to={}", today.size);
        hashes(&gateway.get_json(&path).await?)
            .ok_or_else(|| refused_today("its proof is not a list of hashes"))?
    } else {
        Vec::new()
    };
    verify_growth(&kept.checkpoint, &today, &proof).map_err(not_grown)?;
    context.result(
        &json!({ "since": from, "size": today.size, "verified": true }),
        format!(
            "verified: the log of {} entries begins with the {from} that were kept, unchanged",
            today.size
        ),
    );
    Ok(())
}

fn signed_today(note: Arc<str>, log: &LogVerifier) -> Result<Kept, Failure> {
    Kept::note(note, log).map_err(refused_today)
}

fn refused_today(error: impl std::fmt::Display) -> Failure {
    let message = format!("the checkpoint of today is refused: {error}");
    Failure::new(Exit::VerificationFailed, message).hint(TELL)
}

fn not_grown(error: NotGrown) -> Failure {
    let message = format!("the log has not grown from what was kept: {error}");
    Failure::new(Exit::VerificationFailed, message).hint(TELL)
}

pub(super) fn hashes(proof: &Value) -> Option<Vec<Hash>> {
    let hash = |text: &Value| {
        let bytes = STANDARD.decode(text.as_str()?).ok()?;
        Some(Hash::from_bytes(bytes.try_into().ok()?))
    };
    proof["hashes"].as_array()?.iter().map(hash).collect()
}

pub(super) const TELL: &str = "keep the file: it is evidence. Ring the hub and the other agencies, on numbers \
                    you have for them already";

/// What [`verify`] went through.
pub(super) struct Verified {
    pub(super) entries: u64,
    pub(super) messages: u64,
}

/// Recomputes the whole log from what is stored, and holds every message's row against its entry;
/// `kept` is a checkpoint from elsewhere that the log must contain.
pub(super) async fn verify(
    store: &dyn Store,
    log: &LogVerifier,
    kept: Option<Head>,
    shows_progress: bool,
) -> Result<Verified, anyhow::Error> {
    let head = store.head().await.map_err(unreadable)?;
    let size = head.as_ref().map_or(0, |head| head.size);
    let bar = if shows_progress { progress(size, "entries") } else { ProgressBar::hidden() };
    let mut checker = LogChecker::new(log.clone());
    let mut checkpoint_from = 0;
    let mut checkpoints = std::collections::VecDeque::new();
    let mut from = 0;
    let mut messages = 0;
    loop {
        let entries = store.entries(from, PAGE).await.map_err(unreadable)?;
        let Some(last) = entries.last().map(|entry| entry.index) else { break };
        let mut digests = store.message_digests(from, last + 1).await.map_err(unreadable)?;
        messages += digests.len() as u64;
        digests.reverse();
        let mut files = store.attachment_digests(from, last + 1).await.map_err(unreadable)?;
        files.reverse();
        for entry in &entries {
            checker.entry(entry)?;
            if let Some(kept) = kept.as_ref().filter(|kept| kept.size == entry.index + 1) {
                checker.checkpoint(kept)?;
            }
            let digest = digests.pop_if(|digest| digest.entry <= entry.index);
            checker.message(entry, digest.as_ref())?;
            let file = files.pop_if(|file| file.entry <= entry.index);
            checker.attachment(entry, file.as_ref())?;
            if checkpoints.is_empty() {
                checkpoints
                    .extend(store.checkpoints(checkpoint_from, PAGE).await.map_err(unreadable)?);
            }
            while let Some(next) = checkpoints.front() {
                if next.size > entry.index + 1 {
                    break;
                }
                checker.checkpoint(next)?;
                checkpoint_from = next.size + 1;
                checkpoints.pop_front();
            }
        }
        from = last + 1;
        bar.set_position(from);
    }
    if checkpoints.is_empty() {
        checkpoints.extend(store.checkpoints(checkpoint_from, PAGE).await.map_err(unreadable)?);
    }
    for left in &checkpoints {
        checker.checkpoint(left)?;
    }
    if let Some(kept) = kept.filter(|kept| kept.size > from) {
        checker.checkpoint(&kept)?;
    }
    // Nothing is past the end of the log.
    if let Some(beyond) =
        store.message_digests(from, u64::MAX >> 1).await.map_err(unreadable)?.first()
    {
        return Err(LogFault { entry: beyond.entry, fault: Fault::Missing }.into());
    }
    if let Some(beyond) =
        store.attachment_digests(from, u64::MAX >> 1).await.map_err(unreadable)?.first()
    {
        return Err(LogFault { entry: beyond.entry, fault: Fault::Missing }.into());
    }
    let certificates = store.certificates().await.map_err(unreadable)?;
    let tokens = store.tokens().await.map_err(unreadable)?;
    let mailboxes = store.mailboxes().await.map_err(unreadable)?;
    checker.finish(&certificates, &tokens, &mailboxes)?;
    bar.finish_and_clear();
    Ok(Verified { entries: from, messages })
}

impl Show {
    async fn run(self, context: &Context, store: &dyn Store) -> Result<(), Failure> {
        let entries = match &self.reference {
            Some(text) => store.timeline(&find(store, text).await?, usize::MAX).await?,
            None => {
                let mut all: Vec<StoredEntry> = Vec::new();
                loop {
                    let from = all.last().map_or(0, |entry| entry.index + 1);
                    let page = store.entries(from, PAGE).await?;
                    if page.is_empty() {
                        break all;
                    }
                    all.extend(page);
                }
            }
        };
        let certificate = match &self.certificate {
            Some(serial) => Some(serial::find(store.certificates().await?, serial)?.serial),
            None => None,
        };
        let mut list = Vec::new();
        let mut lines = Vec::new();
        for entry in &entries {
            let fields: Value = entry
                .fields
                .as_deref()
                .and_then(|fields| serde_json::from_str(fields).ok())
                .unwrap_or_default();
            let is_meant = |serial: &String| {
                [&fields["certificate"], &fields["serial"]].into_iter().any(|f| f == serial)
            };
            if !certificate.as_ref().is_none_or(is_meant) {
                continue;
            }
            lines.push(line(entry.index, &fields));
            list.push(json!({ "fields": fields, "index": entry.index }));
        }
        context.result(&json!({ "entries": list }), lines.join("\n"));
        Ok(())
    }
}

async fn checkpoint(context: &Context, store: &dyn Store) -> Result<(), Failure> {
    let (head, lines) = store
        .cosigned(0)
        .await?
        .ok_or_else(|| Failure::new(Exit::NotFound, "the log has no entries yet"))?;
    let note: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    let note = format!("{}{note}", head.note);
    context.result(&json!({ "note": note, "size": head.size }), note.trim_end());
    Ok(())
}

async fn find(store: &dyn Store, text: &str) -> Result<ExchangeId, Failure> {
    let missing = || Failure::new(Exit::NotFound, "there is no such exchange");
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let reference = Reference::parse(text).map_err(|error| {
        Failure::new(Exit::Misused, error).hint("a reference looks like RFI-2026-000001-H")
    })?;
    match store.exchange_by_reference(&reference).await {
        Ok(exchange) => Ok(exchange.id),
        Err(StoreError::NotFound) => Err(missing()),
        Err(error) => Err(error.into()),
    }
}

/// Looks at every entry there is, in order, but for those whose words were destroyed.
pub(super) async fn each(
    store: &dyn Store,
    mut look: impl FnMut(u64, &Fields),
) -> Result<(), StoreError> {
    let mut from = 0;
    loop {
        let page = store.entries(from, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        from = last.index + 1;
        for entry in &page {
            if let Some(fields) = entry.fields.as_deref().and_then(Fields::parse) {
                look(entry.index, &fields);
            }
        }
    }
}

/// The store of a home, as it is at this instant.
pub(super) fn open(context: &Context) -> Result<Arc<dyn Store>, Failure> {
    let config = super::config(&context.home)?;
    let path = context.home.resolve(&config.store.sqlite);
    if !path.exists() {
        return Err(Failure::new(Exit::NotFound, "this home has no log yet")
            .hint("it begins when the gateway first runs or a certificate is issued"));
    }
    let store = Sqlite::open(&path)?;
    // What is read first and what is read last fit together, also while the gateway writes.
    store.hold_still()?;
    Ok(Arc::new(store))
}

fn line(index: u64, fields: &Value) -> String {
    let mut line = format!(
        "{index:>6}  {}  {:<20}",
        fields["time"].as_str().unwrap_or("(purged)"),
        fields["event"].as_str().unwrap_or_default()
    );
    for (name, value) in fields.as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "event" | "time" | "digest" | "schema" | "sha256") {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            line.push_str(&format!("  {name}={value}"));
        }
    }
    line
}

// A row that cannot even be read is a log that does not verify.
fn unreadable(error: StoreError) -> anyhow::Error {
    anyhow::Error::new(error)
}

pub(super) fn progress(size: u64, unit: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {unit} {{eta}}"));
    ProgressBar::new(size).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

const PAGE: usize = 2_000;
