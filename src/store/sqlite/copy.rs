//! Copies of the file: made beside a gateway that runs, and looked at by SQLite's own check.
//!
//! Keys are not in a copy, but in a file of their own, of which there is only the latest: what was
//! destroyed since a copy was made cannot be read in it any more.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::{Sqlite, open};
use crate::store::StoreError;

impl Sqlite {
    /// Copies the store, as it is at this instant, to a file that must not exist yet; `told` learns
    /// how many pages of how many are copied. The copy is on the disk when this returns, and whole in
    /// one file. A gateway may write meanwhile. Blocks.
    pub fn copy_to(&self, target: &Path, mut told: impl FnMut(u64, u64)) -> Result<(), StoreError> {
        let io = |error: std::io::Error| StoreError::Unavailable {
            reason: format!("{} cannot be written", target.display()),
            source: Some(error.into()),
        };
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(target)
            .map_err(io)?;
        let source = open::reader(&self.shared.path)?;
        // One instant for the whole copy: without it each write beside us would begin it anew.
        source.execute_batch("/* copy */ BEGIN; SELECT count(*) FROM sqlite_schema;")?;
        let mut copy = Connection::open(target)?;
        {
            let backup = Backup::new(&source, &mut copy)?;
            let pages = |count| u64::try_from(count).unwrap_or(0);
            loop {
                let step = backup.step(PAGES_PER_STEP)?;
                let progress = backup.progress();
                let total = pages(progress.pagecount);
                told(total - pages(progress.remaining).min(total), total);
                match step {
                    StepResult::Done => break,
                    StepResult::More => {}
                    // Neither ends by itself: nobody else writes to the copy, and we hold the source.
                    _ => return Err(open::unavailable("the copy was hindered by another program")),
                }
            }
        }
        // As the store is to be used; what is written beside it is folded in when it is closed.
        let mode: String =
            copy.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            return Err(open::unavailable("the backup's disk does not support shared memory"));
        }
        copy.close().map_err(|(_, error)| error)?;
        file.sync_all().map_err(io)
    }

    /// Writes the keys of all that is kept now to a file, in the place of the one before.
    pub fn write_keys(&self, target: &Path, log: &str) -> Result<(), StoreError> {
        let fresh = beside(target, ".new");
        let io = |error: std::io::Error| StoreError::Unavailable {
            reason: format!("{} cannot be written", target.display()),
            source: Some(error.into()),
        };
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)
            .map_err(io)?;
        let keys = Connection::open(&fresh)?;
        keys.execute_batch(KEYS_TABLES)?;
        keys.execute("/* keys */ ATTACH ?1 AS home", [text(&self.shared.path)?])?;
        // One transaction, so that all are of one instant.
        keys.execute_batch("/* keys */ BEGIN")?;
        keys.execute(
            "/* keys */ INSERT INTO about (log, entries)
             SELECT ?1, coalesce(max(idx) + 1, 0) FROM home.entries",
            [log],
        )?;
        keys.execute_batch(
            "/* keys */ INSERT INTO enquiry_keys SELECT id, wrapped_key FROM home.enquiries
                 WHERE wrapped_key IS NOT NULL;
             INSERT INTO enquiry_keys SELECT id, wrapped_key FROM home.rfi_drafts;
             INSERT INTO file_keys SELECT id, wrapped_key FROM home.attachments
                 WHERE wrapped_key IS NOT NULL;
             COMMIT; DETACH home;",
        )?;
        keys.close().map_err(|(_, error)| error)?;
        file.sync_all().map_err(io)?;
        fs::rename(&fresh, target).map_err(io)?;
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = fs::File::open(folder.unwrap_or_else(|| Path::new("."))).map_err(io)?;
        folder.sync_all().map_err(io)
    }

    /// What SQLite itself finds wrong with the file, at most a hundred things. It finds damage to the
    /// file's structure, and hardly any to what is in it: that is for the log to show.
    pub async fn faults(&self) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare("/* faults */ PRAGMA integrity_check(100)")?;
            let found = statement.query_map([], |row| row.get::<_, String>(0))?;
            let found: Vec<_> = found.collect::<Result<_, _>>()?;
            Ok(found.into_iter().filter(|line| line != "ok").collect())
        })
        .await
    }
}

/// Whose keys a file of keys has, and of when: the log's public key, and how many entries the log had.
pub fn keys_of(path: &Path) -> Result<(String, u64), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let keys = Connection::open_with_flags(path, flags)?;
    let about = keys.query_row("/* keys */ SELECT log, entries FROM about", [], |row| {
        Ok((row.get(0)?, super::row::unsigned(row, 1)?))
    })?;
    keys.close().map_err(|(_, error)| error)?;
    Ok(about)
}

/// Takes the keys out of a copy. Each leaves an empty one in its place: what had none has none.
pub fn take_keys_out(copy: &Path) -> Result<(), StoreError> {
    let connection = open::writer(copy)?;
    connection.execute_batch(
        "/* keys */ BEGIN IMMEDIATE;
         UPDATE enquiries SET wrapped_key = x'' WHERE wrapped_key IS NOT NULL;
         UPDATE rfi_drafts SET wrapped_key = x'';
         UPDATE attachments SET wrapped_key = x'' WHERE wrapped_key IS NOT NULL;
         COMMIT;",
    )?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Puts keys back into a copy. Of what was destroyed since it was made there are none any more.
pub fn put_keys_in(copy: &Path, keys: &Path) -> Result<(), StoreError> {
    let connection = open::writer(copy)?;
    connection.execute("/* keys */ ATTACH ?1 AS kept", [text(keys)?])?;
    connection.execute_batch(
        "/* keys */ BEGIN IMMEDIATE;
         UPDATE enquiries SET wrapped_key = k.wrapped_key FROM kept.enquiry_keys AS k
             WHERE k.id = enquiries.id AND enquiries.wrapped_key = x'';
         UPDATE rfi_drafts SET wrapped_key = k.wrapped_key FROM kept.enquiry_keys AS k
             WHERE k.id = rfi_drafts.id AND rfi_drafts.wrapped_key = x'';
         UPDATE attachments SET wrapped_key = k.wrapped_key FROM kept.file_keys AS k
             WHERE k.id = attachments.id AND attachments.wrapped_key = x'';
         COMMIT; DETACH kept;",
    )?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn text(path: &Path) -> Result<&str, StoreError> {
    path.to_str()
        .ok_or_else(|| open::unavailable("the path has characters that SQLite cannot take"))
}

/// Brings all that is written into the one file at `path`, so that it can be moved. Refused while
/// another process has it open.
pub fn fold(path: &Path) -> Result<(), StoreError> {
    let connection = open::writer(path)?;
    let is_busy: bool =
        connection.query_row("/* fold */ PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    connection.close().map_err(|(_, error)| error)?;
    // Whoever closes it last removes it.
    if is_busy || beside(path, "-wal").exists() {
        return Err(open::unavailable("another program has the store open"));
    }
    Ok(())
}

/// The version of the tables that this gateway reads and writes.
pub fn version() -> i64 {
    open::VERSION
}

/// What SQLite keeps beside the file under this ending.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// 8 MiB: a step is short, and there are not many.
const PAGES_PER_STEP: std::ffi::c_int = 1_024;

const KEYS_TABLES: &str = "/* keys */ PRAGMA synchronous = FULL;
    CREATE TABLE about (log TEXT NOT NULL, entries INTEGER NOT NULL) STRICT;
    CREATE TABLE enquiry_keys (id BLOB PRIMARY KEY, wrapped_key BLOB NOT NULL) STRICT;
    CREATE TABLE file_keys (id BLOB PRIMARY KEY, wrapped_key BLOB NOT NULL) STRICT;";
