//! The machine the gateway lives on: keys, disk, clock, and the log as the database has it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::Report;
use crate::audit::checkpoint::LogVerifier;
use crate::audit::cosignature::WitnessPolicy;
use crate::audit::entry::Fields;
use crate::cli::init::{RECOVERY_IDENTITY, ROOT_IDENTITY, ROOT_KEY};
use crate::cli::log::verify;
use crate::cli::read_text;
use crate::config::{Config, Home};
use crate::message::rfc3339;
use crate::store::{Store, StoreError, sqlite};
use crate::worker::witness::{self, Watched};

/// Entries carry the time at which what they tell of began: a little back and forth is no fault.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(1);

/// That nobody but the gateway's user can read its keys.
pub(super) fn key_modes(home: &Home, config: &Config, report: &mut Report) {
    let paths = &config.paths;
    let named = [&paths.log_key, &paths.push_key, &paths.tls_key];
    let needed: Vec<PathBuf> =
        named.into_iter().chain(&paths.at_rest_identities).map(|path| home.resolve(path)).collect();
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

/// That the clock has not gone back behind what is logged.
pub(super) async fn clock(
    store: &dyn Store,
    at: Timestamp,
    report: &mut Report,
) -> Result<(), StoreError> {
    let Some(head) = store.head().await? else { return Ok(()) };
    let newest = store.entries(head.size.saturating_sub(1), 1).await?;
    let fields = newest.first().and_then(|entry| Fields::parse(entry.fields.as_deref()?));
    let logged = fields.and_then(|fields| fields.get("time")?.parse::<Timestamp>().ok());
    match logged {
        Some(logged) if at + CLOCK_TOLERANCE < logged => {
            let (at, logged) = (rfc3339(at), rfc3339(logged));
            report.act("clock", format!("it is {at} here, and {logged} in the log"));
            report.next("set the clock, and keep it set (chrony or systemd-timesyncd)");
        }
        Some(_) => report.ok("clock", format!("it is {}, after all that is logged", rfc3339(at))),
        None => report.note("clock", "the newest entry says no time to compare with"),
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
