//! `store backup`: a copy of the database as it is at one instant, verified after it was made. A
//! backup is a folder; what is in it is listed last, so that a folder without the list is none.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use ring::digest::{Context as Digest, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Context, Exit, Failure, config, damaged, database, log_key, open, read_text, record};
use crate::audit::checkpoint::LogVerifier;
use crate::audit::entry::Event;
use crate::cli::log::{progress, verify};
use crate::cli::sound::{self, Signing};
use crate::config::write_synced;
use crate::message::{hex, now, rfc3339};
use crate::store::Store as _;
use crate::store::sqlite::copy;

/// Copy the database into a new folder, also while the gateway runs, and verify the copy
#[derive(Args)]
#[command(after_help = "Examples:
  mash-gateway store backup /backup/2026-11-24 --home H
  mash-gateway store restore /backup/2026-11-24 --home H --since newest.receipt

Messages in it are sealed. Each enquiry's key is in a file of keys beside the folder, of which there is only
the latest, so that what was destroyed since cannot be read in any backup: let nothing keep older versions
of it. It is sealed, too. What opens it is in neither, nor are certificates and settings: keep certs/, keys/,
gateway.toml and partners.toml as well, and not in the same place.")]
pub(in crate::cli) struct Backup {
    /// The folder to make
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The file of keys that is renewed [default: enquiry-keys.db, beside the folder]
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

impl Backup {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (home, log) = (&context.home, log_key(context)?);
        let path = database(context)?;
        let Signing { log_key, .. } = sound::signing(home, &config(home)?).await?;
        let store = open(&path)?;
        let folder = self.folder;
        let keys = keys_beside(&folder, self.keys);
        is_ours(&keys, &log)?;
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(|error| {
            let message = format!("{} cannot be made: {error}", folder.display());
            Failure::new(Exit::Failed, message).hint("name a folder that is not there yet")
        })?;
        record(store.clone(), log_key, &Event::store_backed_up()).await?;
        let file = folder.join(DATABASE);
        let bar = if context.global.quiet {
            indicatif::ProgressBar::hidden()
        } else {
            progress(0, "pages")
        };
        store.copy_to(&file, |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        })?;
        bar.finish_and_clear();
        let copy = open(&file)?;
        let verified = verify(&*copy, &log, None, !context.global.quiet)
            .await
            .map_err(|error| damaged(format!("the copy does not verify: {error:#}")))?;
        let head = copy.head().await?;
        drop(copy);
        copy::take_keys_out(&file)?;
        copy::fold(&file)?;
        // After the copy was made, so that none of its keys is missing but what is destroyed by now.
        store.write_keys(&keys, &log.to_string())?;
        let manifest = Manifest {
            checkpoint: head.map(|head| head.note.to_string()),
            entries: verified.entries,
            made: rfc3339(now()),
            messages: verified.messages,
            sha256: digest(&file)?,
            version: VERSION,
        };
        let list = serde_json::to_vec_pretty(&manifest)?;
        write_synced(&folder.join(MANIFEST), &list, 0o600)?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::File::open(parent)?.sync_all()?;
        }
        context.result(
            &json!({
                "entries": manifest.entries, "folder": folder, "keys": keys, "made": manifest.made,
                "messages": manifest.messages, "sha256": manifest.sha256,
            }),
            format!(
                "Backed up and verified: {} messages, {} entries of the log, in {}\n\
                 Their keys: {}, in the place of those before\n\
                 Not in it: certs/, keys/, gateway.toml and partners.toml. Keep them too, and not \
                 in the same place.",
                manifest.messages,
                manifest.entries,
                folder.display(),
                keys.display()
            ),
        );
        Ok(())
    }
}

/// What a backup is: `manifest.json`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Manifest {
    /// The log's latest checkpoint in it, if there was any.
    checkpoint: Option<String>,
    /// How many entries of the log.
    pub(super) entries: u64,
    /// When, RFC 3339.
    pub(super) made: String,
    /// How many messages.
    messages: u64,
    /// SHA-256 of the database, hex.
    pub(super) sha256: String,
    /// Of this list: 2; a backup of version 1 has its keys in it.
    version: u8,
}

impl Manifest {
    /// The list in a backup's folder.
    pub(super) fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(MANIFEST);
        if !path.exists() {
            let message = format!("{} is not a backup: it has no {MANIFEST}", folder.display());
            return Err(Failure::new(Exit::NotFound, message)
                .hint("a backup that was not finished has none"));
        }
        let manifest: Self = serde_json::from_str(&read_text(&path)?).map_err(|error| {
            let message = format!("{} is damaged: {error}", path.display());
            Failure::new(Exit::VerificationFailed, message)
        })?;
        if !(1..=VERSION).contains(&manifest.version) {
            let message = format!("{} is of a newer version of the gateway", path.display());
            return Err(Failure::new(Exit::Failed, message).hint("use that version"));
        }
        Ok(manifest)
    }

    /// Whether its keys are in a file of their own.
    pub(super) fn has_keys_apart(&self) -> bool {
        self.version >= 2
    }

    /// When it was made.
    pub(super) fn made(&self) -> Result<Timestamp, Failure> {
        self.made.parse().map_err(|_| {
            let message = format!("{MANIFEST} is damaged: {:?} is no time", self.made);
            Failure::new(Exit::VerificationFailed, message)
        })
    }
}

/// The file of keys that belongs to the backups in the place where this one is.
pub(super) fn keys_beside(folder: &Path, named: Option<PathBuf>) -> PathBuf {
    named.unwrap_or_else(|| folder.with_file_name(KEYS))
}

/// Refuses a file that has another gateway's keys, or is something else.
pub(super) fn is_ours(keys: &Path, log: &LogVerifier) -> Result<(), Failure> {
    if !keys.exists() {
        return Ok(());
    }
    match copy::keys_of(keys) {
        Ok((whose, _)) if whose == log.to_string() => Ok(()),
        Ok(_) => {
            let message = format!("{} has the keys of another gateway's backups", keys.display());
            Err(Failure::new(Exit::Failed, message).hint("name another file: --keys FILE"))
        }
        Err(error) => {
            let message = format!("{} is no file of keys: {error}", keys.display());
            Err(Failure::new(Exit::Failed, message).hint("name another file: --keys FILE"))
        }
    }
}

/// SHA-256 of a file, hex.
pub(super) fn digest(path: &Path) -> Result<String, Failure> {
    let (mut file, mut digest) = (fs::File::open(path)?, Digest::new(&SHA256));
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(digest.finish().as_ref())),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// The copy's name in the folder.
pub(super) const DATABASE: &str = "gateway.db";
const MANIFEST: &str = "manifest.json";
const KEYS: &str = "enquiry-keys.db";
const VERSION: u8 = 2;
