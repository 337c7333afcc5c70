//! The machine the gateway lives on: keys, disk, clock, and the log as the database has it.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Report;
use crate::audit::checkpoint::LogVerifier;
use crate::audit::cosignature::WitnessPolicy;
use crate::cli::init::{RECOVERY_IDENTITY, ROOT_IDENTITY, ROOT_KEY};
use crate::cli::log::verify;
use crate::cli::sound::{self, Anchored};
use crate::cli::{Failure, read_text};
use crate::config::{Config, Home};
use crate::ledger;
use crate::message::rfc3339;
use crate::store::sqlite::{self, Sqlite};
use crate::store::{Store, StoreError};
use crate::worker::anchor::Anchor;
use crate::worker::witness::{self, Watched};

/// That nobody but the gateway's user can read its keys.
pub(super) fn key_modes(home: &Home, config: &Config, report: &mut Report) {
    let paths = &config.paths;
    let named = [&paths.log_key, &paths.push_key, &paths.tls_key];
    let named = named.into_iter().chain(&paths.at_rest_identities);
    let named = named.chain(config.notices.password_file());
    let needed: Vec<PathBuf> = named.map(|path| home.resolve(path)).collect();
    let folder = home.keys();
    let mut files: BTreeSet<PathBuf> = needed.iter().cloned().collect();
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        files.insert(entry.path());
    }
    // It may be another user's, on purpose.
    files.extend(Some(home.resolve(&config.issuer.identity)).filter(|path| path.exists()));
    let mode = |path: &Path| Some(std::fs::metadata(path).ok()?.permissions().mode());
    let is_open = |path: &Path| mode(path).is_some_and(|mode| mode & 0o077 != 0);
    if is_open(&folder) {
        report.act("key-modes", "others on this machine can look into keys/");
        report.next(format!("chmod 700 {}", folder.display()));
    }
    for path in &files {
        let shown = path.display();
        if is_open(path) {
            report.act("key-modes", format!("others on this machine can read {shown}"));
            report.next(format!("chmod 600 {shown}; if somebody may have read it, replace it"));
        } else if needed.contains(path) && mode(path).is_none() {
            report.act("key-modes", format!("{shown} is missing: the gateway cannot start"));
            report.next("bring it from the backup");
        }
    }
    report.ok_otherwise("key-modes", "keys are the gateway's alone");
}

/// What should have left this machine when it was set up.
pub(super) fn left_behind(home: &Home, report: &mut Report) {
    for (code, name, says) in [
        ("recovery-identity", RECOVERY_IDENTITY, "the recovery identity opens everything"),
        ("root-identity", ROOT_IDENTITY, "the root identity opens the root's key"),
        ("root-key", ROOT_KEY, "the root's key can make a second hub that everybody believes"),
    ] {
        let path = home.resolve(name);
        if path.exists() {
            report.act(code, format!("{says}, and is still on this machine"));
            report.next(format!("take {} away, to a safe", path.display()));
        } else {
            report.ok(code, "it is not on this machine");
        }
    }
}

/// That there is room to write, as the gateway sees it.
pub(super) fn disk(home: &Home, config: &Config, report: &mut Report) {
    let database = home.resolve(&config.store.sqlite);
    let Ok(room) = sqlite::room(&database, config.store.free_bytes_min) else {
        report.act("disk", format!("the disk of {} cannot be looked at", database.display()));
        return report.next("is it mounted?");
    };
    if room.is_used_up() {
        report.act("disk", room);
        report.next("make room or a larger disk: nothing new is accepted now");
    } else if room.is_little() {
        report.note("disk", room);
        report.next("make room or a larger disk while there is time");
    } else {
        report.ok("disk", room);
    }
}

/// What the log is remembered by outside the database.
pub(super) fn anchor(home: &Home, config: &Config, report: &mut Report) {
    let Some(anchor) = Anchor::of(home, config) else {
        report.note("anchor", "there is none: an older database that is put back is not noticed");
        return report.next("anchor under [log] in gateway.toml");
    };
    let disk = |path: PathBuf| Some(std::fs::metadata(path.parent()?).ok()?.dev());
    if disk(anchor.path().to_owned()) == disk(home.resolve(&config.store.sqlite)) {
        report.note("anchor", "it is on the database's own disk, and goes back with that disk");
        report.next("anchor under [log] in gateway.toml: on another disk");
    } else {
        report.ok("anchor", "it is on another disk than the database");
    }
}

/// What `serve` looks at before anything is signed.
pub(super) async fn self_check(
    home: &Home,
    config: &Config,
    store: &Sqlite,
    anchored: anyhow::Result<Anchored>,
    report: &mut Report,
) {
    let checked = match anchored {
        Ok(anchored) => sound::check(home, config, store, &anchored).await,
        Err(error) => Err(error),
    };
    match checked {
        Ok(()) => report.ok("self-check", "the log's head, its anchor and the keys fit each other"),
        Err(error) => {
            report.act("self-check", format!("the gateway would not start: {error:#}"));
            let next = Failure::from(error).hint;
            report.next(next.unwrap_or_else(|| "bring back what is missing".to_owned()));
        }
    }
}

/// That the clock has not gone back behind what is logged.
pub(super) async fn clock(
    store: &dyn Store,
    at: Timestamp,
    report: &mut Report,
) -> Result<(), StoreError> {
    let Some(latest) = ledger::latest(store).await? else { return Ok(()) };
    match ledger::behind(latest, at) {
        Some(says) => {
            report.act("clock", says);
            report.next("set the clock, and keep it set (chrony or systemd-timesyncd)");
        }
        None => report.ok("clock", format!("it is {}, after what was logged last", rfc3339(at))),
    }
    Ok(())
}

/// Whether witnesses keep up with the log.
pub(super) async fn witnesses(
    store: &dyn Store,
    policy: &WitnessPolicy,
    at: Timestamp,
    report: &mut Report,
) -> Result<(), StoreError> {
    if policy.witnesses.is_empty() {
        report
            .note("witnesses", "nobody else watches the log: a whole new one would not be noticed");
        report.next("mash-gateway witness init at two agencies; witness_keys in gateway.toml");
        return Ok(());
    }
    let Watched { witnessed, concern } = witness::look(store, policy, at).await?;
    match concern {
        Some(concern) => {
            report.act("witnesses", concern);
            report.next("ring the agency: mash-gateway witness run has to run there");
        }
        None => report.ok("witnesses", format!("they have cosigned {witnessed} entries")),
    }
    Ok(())
}

/// Recomputes the whole log.
pub(super) async fn log(home: &Home, store: &dyn Store, shows_progress: bool, report: &mut Report) {
    let key = read_text(&home.log_key_public()).ok();
    let Some(key) = key.and_then(|key| LogVerifier::parse(key.trim()).ok()) else {
        report.act("log", "its public key, certs/log-key.txt, cannot be read");
        return report.next("bring it from the backup, or from an agency: each has it");
    };
    match verify(store, &key, None, shows_progress).await {
        Ok(verified) => {
            let last = verified.entries.saturating_sub(1);
            report.ok("log", format!("log verified to entry {last}"));
        }
        Err(error) => {
            report.act("log", format!("the log does not verify: {error:#}"));
            report.next(
                "stop the gateway, keep the database as it is, and compare with the last backup \
                 and with agencies' receipts",
            );
        }
    }
}
