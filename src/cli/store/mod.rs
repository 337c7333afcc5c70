//! `store`: the database as a whole. Copies are made beside a gateway that runs; one is put back only
//! when nothing is thereby lost that anybody holds a checkpoint or a receipt of.

mod backup;
mod restore;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use super::log::verify;
use super::sound::{self, Anchored};
use super::{Context, Exit, Failure, KEEP_IT, block_on, config, read_text};
use crate::audit::checkpoint::{LogKey, LogVerifier};
use crate::audit::entry::Event;
use crate::ledger::Ledger;
use crate::message::now;
use crate::store::sqlite::{Sqlite, copy};
use crate::store::{Effect, Store};
use crate::telemetry::Metrics;

/// The database.
#[derive(Subcommand)]
pub(super) enum StoreCommand {
    Backup(backup::Backup),
    Restore(restore::Restore),
    Check(Check),
    Migrate(Migrate),
}

/// Check the database itself, every stored message, the whole log, and that the keys and the anchor
/// fit it; exit 3 if anything does not
#[derive(Args)]
#[command(after_help = "Example:
  mash-gateway store check --home H

It can be run beside a gateway that runs.")]
pub(super) struct Check {}

/// Bring the database's tables up to date, as starting the gateway does
#[derive(Args)]
#[command(after_help = "Example:
  mash-gateway store migrate --home H

Make a backup first: an older version of the gateway does not open a newer database.")]
pub(super) struct Migrate {}

impl StoreCommand {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        block_on(async {
            match self {
                Self::Backup(backup) => backup.run(context).await,
                Self::Check(_) => check(context).await,
                Self::Migrate(_) => migrate(context),
                Self::Restore(restore) => restore.run(context).await,
            }
        })
    }
}

async fn check(context: &Context) -> Result<(), Failure> {
    let (home, path) = (&context.home, database(context)?);
    let config = config(home)?;
    let anchored = Anchored::read(home, &config)?;
    let store = Sqlite::open(&path)?;
    store.hold_still()?;
    let faults = store.faults().await?;
    if let Some(first) = faults.first() {
        let message = format!("the file is damaged in {} places: {first}", faults.len());
        return Err(damaged(message));
    }
    sound::check(home, &config, &store, &anchored).await?;
    let verified = verify(&store, &log_key(context)?, None, !context.global.quiet)
        .await
        .map_err(|error| damaged(format!("the log does not verify: {error:#}")))?;
    context.result(
        &json!({ "entries": verified.entries, "messages": verified.messages, "sound": true }),
        format!(
            "sound: the file, {} messages and all {} entries of the log; the keys and the anchor \
             fit",
            verified.messages, verified.entries
        ),
    );
    Ok(())
}

fn migrate(context: &Context) -> Result<(), Failure> {
    // Opening it does it.
    open(&database(context)?)?;
    let version = copy::version();
    context.result(
        &json!({ "version": version }),
        format!("the database has the tables of version {version}"),
    );
    Ok(())
}

// Where this home's database is, which has to be there.
fn database(context: &Context) -> Result<PathBuf, Failure> {
    let path = context.home.resolve(&config(&context.home)?.store.sqlite);
    if path.exists() {
        return Ok(path);
    }
    let message = format!("{} is not there", path.display());
    Err(Failure::new(Exit::NotFound, message)
        .hint("is its disk mounted? To put a backup in its place: mash-gateway store restore"))
}

/// Writes the keys of what is kept now to the file that backups are read with, in the place of those before.
pub(super) async fn renew_keys(context: &Context, keys: &Path) -> Result<(), Failure> {
    let log = log_key(context)?;
    backup::is_ours(keys, &log)?;
    open(&database(context)?)?.write_keys(keys, &log.to_string())?;
    Ok(())
}

fn open(path: &Path) -> Result<Arc<Sqlite>, Failure> {
    Ok(Arc::new(Sqlite::open(path)?))
}

// Logs it in this store, beside a gateway that runs.
async fn record(store: Arc<dyn Store>, log_key: LogKey, event: &Event) -> Result<(), Failure> {
    let (ledger, thread) = Ledger::start(store, log_key, Arc::new(Metrics::new()))?;
    let recorded = ledger.record(event, now(), None, Effect::Log).await;
    drop(ledger);
    // With it the store is closed, if nobody else has it open: whole, in one file.
    let _ = thread.join();
    recorded?;
    Ok(())
}

fn log_key(context: &Context) -> Result<LogVerifier, Failure> {
    Ok(LogVerifier::parse(read_text(&context.home.log_key_public())?.trim())?)
}

fn damaged(message: String) -> Failure {
    Failure::new(Exit::VerificationFailed, message).hint(KEEP_IT)
}
