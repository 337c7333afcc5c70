//! `store restore`: a backup in the place of the database, if nothing that anybody can prove is
//! thereby lost. A log that is put back shorter and signed on is another log than the one agencies
//! have receipts of; what it has lost nobody would notice but the child.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use hyper::Method;
use jiff::Timestamp;
use serde_json::json;

use super::backup::{DATABASE, Manifest, digest, is_ours, keys_beside};
use super::{Context, Exit, Failure, config, damaged, log_key, open};
use crate::audit::checkpoint::{LogKey, LogVerifier};
use crate::audit::entry::Event;
use crate::audit::growth::Kept;
use crate::cli::log::{hold_growth, kept, verify};
use crate::cli::running::ask;
use crate::cli::serve;
use crate::cli::sound::Anchored;
use crate::ledger::Ledger;
use crate::message::{now, rfc3339};
use crate::retention;
use crate::store::sqlite::{Sqlite, copy};
use crate::store::{Effect, Store as _};
use crate::telemetry::Metrics;

/// Put a backup in the place of the database, if it has all that anybody holds a proof of
#[derive(Args)]
#[command(after_help = "Examples:
  mash-gateway store restore /backup/2026-11-24 --home H --since newest.receipt
  mash-gateway store restore /backup/2026-11-24 --home H --since police.receipt --since kept.note

Stop the gateway first. The backup has to begin with all that each --since covers: give the newest
receipt or checkpoint of every agency that can be asked, for the newest of them shows whether messages
were accepted after the backup was made. The backup has to have all that the anchor covers, too, and all
that is in the database that is replaced, if that can still be read. The database that is replaced is kept beside the new one.

Its keys come from the file of keys beside it, whichever backup it was written with last. What has no key there
was destroyed since, and is destroyed again.

Where the backup is too old nothing is changed, and the exit code is 3.")]
pub(in crate::cli) struct Restore {
    /// The backup
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The file of keys [default: enquiry-keys.db, beside the folder]
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// A checkpoint or a receipt that somebody holds; may be given several times
    #[arg(long, value_name = "FILE")]
    since: Vec<PathBuf>,
}

impl Restore {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let config = config(&context.home)?;
        let (target, log) = (context.home.resolve(&config.store.sqlite), log_key(context)?);
        let signing = serve::log_key(&context.home, &config)?;
        if signing.verifier() != log {
            let message = "the log's key in keys/ is not that of certs/log-key.txt";
            return Err(Failure::new(Exit::VerificationFailed, message)
                .hint("bring both from the same backup"));
        }
        if ask(&config, Method::GET, "/livez", Duration::from_secs(5)).await.is_ok() {
            let message = format!("a gateway answers on {}", config.listen.local);
            return Err(Failure::new(Exit::Failed, message).hint("stop it first"));
        }
        let mut held = Vec::new();
        for file in &self.since {
            held.push((file.display().to_string(), kept(file, &log)?));
        }
        let anchored = Anchored::read(&context.home, &config)?;
        if let Some(kept) = anchored.kept(&log)? {
            held.push(("the anchor".to_owned(), kept));
        }
        let replaced = replaced(&target, &log).await;
        if let Replaced::Readable(Some(head)) = &replaced {
            held.push((target.display().to_string(), head.clone()));
        }
        if held.is_empty() {
            return Err(Failure::new(
                Exit::Misused,
                "nothing shows whether the backup is the newest state that anybody knows of",
            )
            .hint(
                "give the newest checkpoint or receipt that you or any agency holds: --since FILE",
            ));
        }
        let manifest = Manifest::read(&self.folder)?;
        let keys = keys(&self.folder, self.keys, &manifest, &log)?;
        let fresh = copy::beside(&target, ".restoring");
        let verified = bring(&self.folder, &manifest, &fresh)
            .and_then(|()| match &keys {
                Some(keys) => Ok(copy::put_keys_in(&fresh, keys)?),
                None => Ok(()),
            })
            .and_then(|()| open(&fresh))
            .map_err(|failure| discard(&fresh, failure))?;
        let entries = judge(&verified, &held, &log, !context.global.quiet).await;
        drop(verified);
        let entries = entries
            .and_then(|entries| copy::fold(&fresh).map(|()| entries).map_err(Into::into))
            .map_err(|failure| discard(&fresh, failure))?;
        let aside = replace(&target, &fresh, &replaced)?;
        // Not before it is the database: what is signed is never taken back.
        let event = Event::store_restored(manifest.made()?, entries);
        let destroyed = restored(&target, signing, &event).await?;
        let note = match &aside {
            Some(aside) => format!("What it replaced is kept: {}", aside.display()),
            None => "There was nothing to replace.".to_owned(),
        };
        context.result(
            &json!({
                "destroyedAgain": destroyed, "entries": entries, "made": manifest.made,
                "replaced": aside,
            }),
            format!(
                "Restored: the database as it was at {}, with {entries} entries of the log\n{note}\n\
                 Destroyed since, and again now: {destroyed} enquiries\n\
                 Next: mash-gateway serve{home}, then mash-gateway doctor{home}",
                manifest.made,
                home = context.at_home()
            ),
        );
        Ok(())
    }
}

// The keys that belong to a backup, which must not be older than it.
fn keys(
    folder: &Path,
    named: Option<PathBuf>,
    manifest: &Manifest,
    log: &LogVerifier,
) -> Result<Option<PathBuf>, Failure> {
    if !manifest.has_keys_apart() {
        return Ok(None);
    }
    let keys = keys_beside(folder, named);
    if !keys.exists() {
        let message = format!("{} is not there, and the keys are in it", keys.display());
        return Err(Failure::new(Exit::NotFound, message).hint("name it: --keys FILE"));
    }
    is_ours(&keys, log)?;
    let (_, entries) = copy::keys_of(&keys)?;
    if entries < manifest.entries {
        let message = format!("{} is older than the backup: keys would be missing", keys.display());
        return Err(Failure::new(Exit::VerificationFailed, message).hint(
            "use the latest, which was written with the newest backup; nothing was changed",
        ));
    }
    Ok(Some(keys))
}

// Logs that it was restored, and destroys again what was destroyed since; returns how much.
async fn restored(target: &Path, signing: LogKey, event: &Event) -> Result<u64, Failure> {
    let store = open(target)?;
    let (ledger, thread) =
        Ledger::start(Arc::<Sqlite>::clone(&store), signing, Arc::new(Metrics::new()))?;
    ledger.record(event, now(), None, Effect::Log).await?;
    let destroyed = retention::destroy_lost(&*store, &ledger, now()).await;
    let unsent = store.unsent_before(Timestamp::MAX, usize::MAX).await?;
    for file in unsent.iter().filter(|file| file.wrapped_key.as_ref().is_some_and(Vec::is_empty)) {
        let event = Event::attachment_swept(&file.uploader, &file.id);
        ledger.record(&event, now(), None, Effect::SweepAttachment(file.id)).await?;
    }
    drop((ledger, store));
    let _ = thread.join();
    // Whole, in one file, whoever closed it last.
    copy::fold(target)?;
    Ok(destroyed?)
}

/// The database that is to be replaced.
enum Replaced {
    /// There is none.
    Missing,
    /// It can be read; what its log covers, if it has one.
    Readable(Option<Kept>),
    /// It cannot.
    Unreadable,
}

async fn replaced(path: &Path, log: &LogVerifier) -> Replaced {
    if !path.exists() {
        return Replaced::Missing;
    }
    let head = match Sqlite::open(path) {
        Ok(store) => store.head().await,
        Err(error) => Err(error),
    };
    match head {
        Ok(None) => Replaced::Readable(None),
        // What another key signed says nothing of this log.
        Ok(Some(head)) => Kept::note(head.note, log)
            .map_or(Replaced::Unreadable, |kept| Replaced::Readable(Some(kept))),
        Err(_) => Replaced::Unreadable,
    }
}

// The backup's file at `fresh`, whole, as its list says, and on the disk.
fn bring(folder: &Path, manifest: &Manifest, fresh: &Path) -> Result<(), Failure> {
    for leftover in [fresh, &copy::beside(fresh, "-wal"), &copy::beside(fresh, "-shm")] {
        if leftover.exists() {
            fs::remove_file(leftover)?;
        }
    }
    let file = folder.join(DATABASE);
    fs::copy(&file, fresh).with_context(|| format!("{} cannot be copied", file.display()))?;
    fs::File::open(fresh)?.sync_all()?;
    if digest(fresh)? != manifest.sha256 {
        let message = format!("{} is not what was backed up: it is damaged", file.display());
        return Err(Failure::new(Exit::VerificationFailed, message).hint("use another backup"));
    }
    Ok(())
}

// That the backup's log verifies and begins with all that is held; returns how many entries it has.
async fn judge(
    store: &Sqlite,
    held: &[(String, Kept)],
    log: &LogVerifier,
    shows_progress: bool,
) -> Result<u64, Failure> {
    let verified = verify(store, log, None, shows_progress)
        .await
        .map_err(|error| damaged(format!("the backup's log does not verify: {error:#}")))?;
    let entries = verified.entries;
    for (name, kept) in held {
        let lost = kept.checkpoint.size.saturating_sub(entries);
        if lost > 0 {
            let message = format!(
                "the backup is too old: {name} proves that {} entries were made, and the backup has \
                 {entries}. {lost} would be lost",
                kept.checkpoint.size
            );
            return Err(Failure::new(Exit::VerificationFailed, message)
                .hint("use a newer backup; nothing was changed"));
        }
        hold_growth(store, kept, log).await?;
    }
    Ok(entries)
}

// One step makes it the database; whatever is cut short before leaves the one that was there.
fn replace(target: &Path, fresh: &Path, replaced: &Replaced) -> Result<Option<PathBuf>, Failure> {
    let aside = match replaced {
        // What was written beside a file that is gone would be taken for the new one's.
        Replaced::Missing => {
            let aside = aside(target);
            move_rest(target, &aside)?.then_some(aside)
        }
        Replaced::Readable(_) => {
            // All of it in one file, or SQLite would take its unwritten rest for the new one's.
            copy::fold(target)?;
            Some(keep(target)?)
        }
        Replaced::Unreadable => {
            let aside = keep(target)?;
            move_rest(target, &aside)?;
            Some(aside)
        }
    };
    fs::rename(fresh, target)?;
    let folder = target.parent().unwrap_or(target);
    fs::File::open(folder)?.sync_all()?;
    Ok(aside)
}

// Moves what SQLite keeps beside the database; whether there was anything.
fn move_rest(target: &Path, aside: &Path) -> Result<bool, Failure> {
    let mut is_there = false;
    for ending in ["-wal", "-shm"] {
        let (from, to) = (copy::beside(target, ending), copy::beside(aside, ending));
        if from.exists() {
            fs::rename(from, to)?;
            is_there = true;
        }
    }
    Ok(is_there)
}

fn aside(target: &Path) -> PathBuf {
    copy::beside(target, &format!(".replaced-{}", rfc3339(now())))
}

// A second name for the database, beside it.
fn keep(target: &Path) -> Result<PathBuf, Failure> {
    let aside = aside(target);
    fs::hard_link(target, &aside)
        .with_context(|| format!("{} cannot be kept", target.display()))?;
    Ok(aside)
}

fn discard(fresh: &Path, failure: Failure) -> Failure {
    for file in [fresh, &copy::beside(fresh, "-wal"), &copy::beside(fresh, "-shm")] {
        let _ = fs::remove_file(file);
    }
    failure
}
