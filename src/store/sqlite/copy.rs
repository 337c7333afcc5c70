//! Copies of the file: made beside a gateway that runs, and looked at by SQLite's own check.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

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
