//! `evidence`: the case file of one enquiry, from the log and the store; beside a gateway that runs, too.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::cert::Office;
use super::{Context, Exit, Failure, block_on, log, read_text, sound};
use crate::audit::checkpoint::LogVerifier;
use crate::audit::entry::{Event, EventName, Fields};
use crate::audit::receipt::Logged;
use crate::audit::tree::Plan;
use crate::config::{timers, write_synced};
use crate::message::{
    EnquiryId, Envelope, Exchange, ExchangeId, Kind, MessageId, Reference, hex, now, rfc3339,
    sha256,
};
use crate::report::evidence::{Case, CaseFile, FORMAT, Item, Opened, audited, is_audited};
use crate::report::timeliness::Asked;
use crate::schema::Schemas;
use crate::seal::OpenError;
use crate::store::{Applied, Effect, Head, SealedPayload, Store, StoreError, StoredEntry};
use crate::timer::Settings;

/// The case file of one enquiry: who asked whom, for what, when it was answered, with proofs
#[derive(Args)]
#[command(after_help = "Examples:
  mash-gateway evidence RFI-2026-000001-H --out case --home H
  mash-gateway receipt verify case/evidence.json --log-key log-key.txt      by anybody, offline
  mash-gateway log verify --since case/checkpoint.note --home H

Writes evidence.json (with the proofs), evidence.html (to read and print) and checkpoint.note. Nothing that
was said is in them. --open adds on which basis, with whose consent and by whose decision it was asked, as
the messages themselves say; the at-rest keys are needed for that, and each message that is opened is an
entry in the log, which both its agencies can see.")]
pub(super) struct Evidence {
    /// The enquiry by its id, or one of its exchanges by reference (RFI-2026-000001-H) or id
    enquiry: String,
    /// The folder to make [default: evidence-ENQUIRY, here]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Open its messages for what an audit asks of them; that is an entry in the log
    #[arg(long)]
    open: bool,
}

impl Evidence {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        block_on(self.make(context))
    }

    async fn make(self, context: &Context) -> Result<(), Failure> {
        let enquiry = find(&*log::open(context)?, &self.enquiry).await?;
        let folder = self.out.unwrap_or_else(|| PathBuf::from(format!("evidence-{enquiry}")));
        make_folder(&folder)?;
        let opened = if self.open { open(context, &enquiry).await? } else { BTreeMap::new() };
        // Not before: that they were opened is in the file.
        let cases = Cases::of(context).await?;
        let mut file = cases.file(&enquiry, now()).await?;
        for case in &mut file.exchanges {
            case.opened = opened.get(&case.exchange).cloned().unwrap_or_default();
        }
        write(&file, &folder)?;
        let entries =
            file.exchanges.iter().map(|case| case.events.len()).sum::<usize>() + file.before.len();
        let references: Vec<_> = file.exchanges.iter().map(|case| &*case.reference).collect();
        context.result(
            &json!({
                "enquiry": file.enquiry, "entries": entries, "folder": folder,
                "logSize": file.log_size, "references": references,
            }),
            format!(
                "{}: {entries} entries, each with its proof, under a checkpoint of {}\n  {}\n  {}{}",
                references.join(", "),
                file.log_size,
                folder.join(HTML).display(),
                folder.join(JSON).display(),
                if self.open { "\nWhat messages say is in it: keep it as you keep the case" } else { "" }
            ),
        );
        Ok(())
    }
}

/// Where case files are made from: a home's log and store, as they are at one instant.
pub(super) struct Cases {
    pub(super) store: Arc<dyn Store>,
    timers: Settings,
    log: LogVerifier,
    head: Head,
    /// Entries about no exchange that a case may need: by the override or the file they are about.
    loose: BTreeMap<String, u64>,
}

impl Cases {
    pub(super) async fn of(context: &Context) -> Result<Self, Failure> {
        let (store, timers) = (log::open(context)?, timers(context)?);
        let log = LogVerifier::parse(read_text(&context.home.log_key_public())?.trim())?;
        let head = store
            .head()
            .await?
            .ok_or_else(|| Failure::new(Exit::NotFound, "the log has no entries yet"))?;
        let mut loose = BTreeMap::new();
        log::each(&*store, |entry, fields| {
            let name = match fields.get("event") {
                Some(event) if event == EventName::OverrideRecorded.as_str() => "decision",
                Some(event) if event == EventName::AttachmentUploaded.as_str() => "attachment",
                _ => return,
            };
            if let Some(about) = fields.get(name) {
                loose.insert(about.to_owned(), entry);
            }
        })
        .await?;
        Ok(Self { store, timers, log, head, loose })
    }

    /// The case file of this enquiry.
    pub(super) async fn file(
        &self,
        enquiry: &EnquiryId,
        at: Timestamp,
    ) -> Result<CaseFile, Failure> {
        let mut exchanges = Vec::new();
        let mut before = Vec::new();
        for exchange in self.store.enquiry(enquiry).await? {
            let timeline = self.store.timeline(&exchange.id, usize::MAX).await?;
            let asked = asked(&*self.store, &self.timers, &exchange, &timeline, at).await?;
            let mut events = Vec::new();
            for entry in &timeline {
                events.push(self.item(entry).await?);
                before.extend(needed(entry).iter().filter_map(|about| self.loose.get(about)));
            }
            exchanges.push(Case::new(&exchange, &asked, events));
        }
        before.sort_unstable();
        before.dedup();
        let mut items = Vec::new();
        for index in before {
            for entry in self.store.entries(index, 1).await? {
                items.push(self.item(&entry).await?);
            }
        }
        Ok(CaseFile {
            format: FORMAT.to_owned(),
            made_at: rfc3339(at),
            enquiry: enquiry.to_string(),
            log_key: self.log.to_string(),
            log_size: self.head.size,
            checkpoint: self.head.note.to_string(),
            exchanges,
            before: items,
        })
    }

    // An entry with its proof under the newest checkpoint.
    async fn item(&self, entry: &StoredEntry) -> Result<Item, Failure> {
        let Some((fields, salt)) = entry.fields.clone().zip(entry.salt) else {
            return Ok(Item::destroyed(entry.index));
        };
        let plan = Plan::inclusion(entry.index, self.head.size);
        let proof = plan.proof(&self.store.nodes(plan.wanted()).await?);
        let checkpoint = self.head.note.clone();
        Ok(Item::of(&Logged { index: entry.index, fields, salt, proof, checkpoint }))
    }
}

/// By what a home's timers go.
pub(super) fn timers(context: &Context) -> Result<Settings, Failure> {
    let config = super::config(&context.home)?;
    Ok(timers::load(&context.home, &config.timers).map_err(anyhow::Error::msg)?)
}

/// What is measured of an exchange.
pub(super) async fn asked(
    store: &dyn Store,
    timers: &Settings,
    exchange: &Exchange,
    timeline: &[StoredEntry],
    at: Timestamp,
) -> Result<Asked, Failure> {
    let delivery = store.message(&exchange.rfi).await?.delivery;
    Ok(Asked::of(exchange, timeline, &delivery, timers, at))
}

// The override and the files that an entry names.
fn needed(entry: &StoredEntry) -> Vec<String> {
    let Some(fields) = entry.fields.as_deref().and_then(Fields::parse) else { return Vec::new() };
    let files = fields.get("attachments").unwrap_or_default().split_whitespace();
    files.chain(fields.get("decision")).map(str::to_owned).collect()
}

/// Writes a case file into a folder that is there.
pub(super) fn write(file: &CaseFile, folder: &Path) -> Result<(), Failure> {
    let json = file.json();
    let html = file.html(&hex(&sha256(json.as_bytes())));
    for (name, text) in [(JSON, &json), (HTML, &html), ("checkpoint.note", &file.checkpoint)] {
        write_synced(&folder.join(name), text.as_bytes(), 0o600)?;
    }
    Ok(())
}

/// Makes a folder that is not there yet, for nobody else to read.
pub(super) fn make_folder(folder: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new().mode(0o700).create(folder).map_err(|error| {
        let message = format!("{} cannot be made: {error}", folder.display());
        Failure::new(Exit::Failed, message).hint("name a folder that is not there yet, with --out")
    })
}

pub(super) async fn find(store: &dyn Store, text: &str) -> Result<EnquiryId, Failure> {
    let found = match Reference::parse(text) {
        Ok(reference) => store.exchange_by_reference(&reference).await,
        Err(_) => {
            let id: EnquiryId = text.parse().map_err(|error| {
                Failure::new(Exit::Misused, error).hint("a reference looks like RFI-2026-000001-H")
            })?;
            if !store.enquiry(&id).await?.is_empty() {
                return Ok(id);
            }
            store.exchange(&ExchangeId::from_bytes(*id.as_bytes())).await
        }
    };
    match found {
        Ok(exchange) => Ok(exchange.enquiry),
        Err(StoreError::NotFound) => {
            Err(Failure::new(Exit::NotFound, "there is no such enquiry or exchange"))
        }
        Err(error) => Err(error.into()),
    }
}

// What messages of the enquiry say of basis, consent and decision, by exchange. That each is opened is
// durable and in the log before a word of it is read.
async fn open(
    context: &Context,
    enquiry: &EnquiryId,
) -> Result<BTreeMap<String, Vec<Opened>>, Failure> {
    let office = Office::open_as_it_is(context).await?;
    let store = &*office.store;
    let sealer = sound::open_keys(&context.home, &office.config, store).await?;
    let mut opened = BTreeMap::new();
    for exchange in store.enquiry(enquiry).await? {
        let mut messages = Vec::new();
        for id in said(&store.timeline(&exchange.id, usize::MAX).await?) {
            let envelope = store.message(&id).await?.envelope;
            let (message, kind) = (id.to_string(), envelope.kind.as_str().to_owned());
            let payload = store.sealed_payload(&id).await?;
            if let Some(why) = stays_closed(&envelope, &payload) {
                let not_opened = Some(why.to_string());
                messages.push(Opened { message, kind, said: None, not_opened });
                continue;
            }
            let event = Event::opened_for_audit(&envelope);
            let logged =
                office.ledger.record(&event, now(), Some(exchange.id), Effect::Log).await?;
            if !matches!(logged, Applied::Recorded(_)) {
                let message = "it could not be logged; nothing was opened";
                return Err(Failure::new(Exit::Failed, message));
            }
            let body = sealer.open(&envelope, &payload).map_err(|error| {
                let message = format!("message {id} cannot be opened: {error}");
                Failure::new(Exit::VerificationFailed, message).hint("mash-gateway store check")
            })?;
            let body = Schemas::parse(&body).map_err(|_| {
                Failure::new(Exit::VerificationFailed, "a stored message is not JSON")
            })?;
            let said = Some(audited(envelope.kind, &body));
            messages.push(Opened { message, kind, said, not_opened: None });
        }
        opened.insert(exchange.id.to_string(), messages);
    }
    Ok(opened)
}

// Why a message cannot be opened here, which is known before it is tried.
fn stays_closed(envelope: &Envelope, payload: &SealedPayload) -> Option<OpenError> {
    if envelope.is_sealed_to_agency {
        Some(OpenError::SealedToAgency)
    } else if payload.ciphertext.is_none() || payload.wrapped_key.is_none() {
        Some(OpenError::Purged)
    } else {
        None
    }
}

// The messages of a timeline that are opened for an audit, in order.
fn said(timeline: &[StoredEntry]) -> Vec<MessageId> {
    let message = |entry: &StoredEntry| {
        let fields = Fields::parse(entry.fields.as_deref()?)?;
        let is_accepted = fields.get("event") == Some(EventName::Accepted.as_str());
        let kind = Kind::parse(fields.get("kind")?)?;
        let id = fields.get("message")?.parse().ok()?;
        (is_accepted && is_audited(kind)).then_some(id)
    };
    timeline.iter().filter_map(message).collect()
}

const HTML: &str = "evidence.html";
const JSON: &str = "evidence.json";
