//! The connections: how the file is made, brought up to date and opened.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use refinery::{Migration, Runner};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::store::StoreError;

/// Fits blobs of a few kilobytes better than SQLite's usual 4,096.
pub(super) const PAGE_BYTES: i64 = 8_192;

/// How long a connection waits for another process that writes.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements kept prepared for each connection: more than there are.
const STATEMENTS: usize = 96;

/// "MASH", as the file's header has it.
const APPLICATION_ID: i64 = 0x4d41_5348;

/// In order; never changed once released.
const MIGRATIONS: [(&str, &str); 16] = [
    ("V1__initial", include_str!("../../../migrations/sqlite/V1__initial.sql")),
    ("V2__enrolment", include_str!("../../../migrations/sqlite/V2__enrolment.sql")),
    ("V3__delivery", include_str!("../../../migrations/sqlite/V3__delivery.sql")),
    ("V4__attachments", include_str!("../../../migrations/sqlite/V4__attachments.sql")),
    ("V5__correspondence", include_str!("../../../migrations/sqlite/V5__correspondence.sql")),
    ("V6__undelivered", include_str!("../../../migrations/sqlite/V6__undelivered.sql")),
    ("V7__mailboxes", include_str!("../../../migrations/sqlite/V7__mailboxes.sql")),
    ("V8__cosignatures", include_str!("../../../migrations/sqlite/V8__cosignatures.sql")),
    ("V9__said", include_str!("../../../migrations/sqlite/V9__said.sql")),
    ("V10__overrides", include_str!("../../../migrations/sqlite/V10__overrides.sql")),
    ("V11__retention", include_str!("../../../migrations/sqlite/V11__retention.sql")),
    ("V12__incidents", include_str!("../../../migrations/sqlite/V12__incidents.sql")),
    ("V13__told", include_str!("../../../migrations/sqlite/V13__told.sql")),
    ("V14__desk", include_str!("../../../migrations/sqlite/V14__desk.sql")),
    ("V15__notices", include_str!("../../../migrations/sqlite/V15__notices.sql")),
    ("V16__rfi_drafts", include_str!("../../../migrations/sqlite/V16__rfi_drafts.sql")),
];

/// The version the last migration makes, as the file's header has it.
pub(super) const VERSION: i64 = 16;

/// Makes the file, which must not exist yet, and its tables.
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| cannot_open(path, error.into()))?;
    patiently(|| make_tables(connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?))
}

/// Brings the tables of a store that is there up to date. Where there is none, or an empty file, none
/// is made: a log that is lost must not begin anew unnoticed.
pub(super) fn prepare(path: &Path) -> Result<(), StoreError> {
    restrict(path)?;
    patiently(|| migrate(path))
}

// Another process may be doing the same: then the file is busy, or its tables are up to date by the
// time we are at it. Both are over when it has finished.
fn patiently(mut migrate: impl FnMut() -> Result<(), Attempt>) -> Result<(), StoreError> {
    let mut patience = BUSY_TIMEOUT;
    loop {
        match migrate() {
            Err(Attempt::Interrupted(_)) if !patience.is_zero() => {
                let pause = Duration::from_millis(50);
                thread::park_timeout(pause);
                patience = patience.saturating_sub(pause);
            }
            Err(Attempt::Failed(error) | Attempt::Interrupted(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
}

/// A connection that writes. The caller sees to it that there is one writer at a time.
pub(super) fn writer(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.execute_batch(
        "/* open */ PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA secure_delete = ON;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA cache_size = -65536;",
    )?;
    Ok(connection)
}

/// The same for large blobs, which pass through and are not read again soon: what it remembers of them
/// is little, and in nobody's way.
pub(super) fn blob_writer(path: &Path) -> Result<Connection, StoreError> {
    let connection = writer(path)?;
    connection.execute_batch("/* open */ PRAGMA cache_size = -4096;")?;
    Ok(connection)
}

/// A connection that reads.
pub(super) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.execute_batch("/* open */ PRAGMA cache_size = -4096;")?;
    Ok(connection)
}

/// Refuses a file that is not a store, or is not of our version.
pub(super) fn check(connection: &Connection) -> Result<(), StoreError> {
    match version(connection)? {
        VERSION => Ok(()),
        0 => Err(unavailable("the store has no tables yet")),
        version if version > VERSION => Err(StoreError::Newer),
        _ => Err(unavailable(
            "the store was written by an older version of the gateway; start this one to bring it \
             up to date",
        )),
    }
}

/// Why the tables are not up to date.
enum Attempt {
    Failed(StoreError),
    /// Perhaps by another process doing the same.
    Interrupted(StoreError),
}

impl From<StoreError> for Attempt {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<rusqlite::Error> for Attempt {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Interrupted(error.into())
            }
            _ => Self::Failed(error.into()),
        }
    }
}

fn migrate(path: &Path) -> Result<(), Attempt> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    match version(&connection)? {
        // The common case does not even look at the migrations.
        VERSION => Ok(()),
        0 => {
            let reason = "the file has no tables: it is no store any more";
            Err(StoreError::Corrupt(reason.to_owned()).into())
        }
        newer if newer > VERSION => Ok(check(&connection)?),
        _ => make_tables(connection),
    }
}

// Those that are not there yet.
fn make_tables(mut connection: Connection) -> Result<(), Attempt> {
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Attempt::Failed(unavailable(
            "the store's disk does not support shared memory",
        )));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    let mut migrations = Vec::new();
    for (name, sql) in MIGRATIONS {
        migrations.push(Migration::unapplied(name, sql).map_err(failed_migration)?);
    }
    // Grouped: the tables and the note that they were made are one transaction.
    Runner::new(&migrations).set_grouped(true).run(&mut connection).map_err(failed_migration)?;
    Ok(())
}

fn failed_migration(error: refinery::Error) -> Attempt {
    Attempt::Interrupted(StoreError::Unavailable {
        reason: "the store's tables cannot be brought up to date".to_owned(),
        source: Some(error.into()),
    })
}

/// The version of the tables: 0 when the file is empty.
fn version(connection: &Connection) -> Result<i64, StoreError> {
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row(
        "/* open */ SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'refinery%'
         AND name NOT LIKE 'sqlite%'",
        [],
        |row| row.get(0),
    )?;
    if application != APPLICATION_ID && tables > 0 {
        let reason = "the file is another program's database, not a store";
        return Err(StoreError::Corrupt(reason.to_owned()));
    }
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    // No mutex: a connection is only ever used by the thread that took it.
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|error| cannot_open(path, error.into()))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch(
        "/* open */ PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA temp_store = MEMORY;",
    )?;
    Ok(connection)
}

/// What SQLite keeps beside the file takes the file's own permissions.
fn restrict(path: &Path) -> Result<(), StoreError> {
    let metadata = fs::metadata(path).map_err(|error| cannot_open(path, error.into()))?;
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
            .map_err(|error| cannot_open(path, error.into()))?;
    }
    Ok(())
}

fn cannot_open(path: &Path, source: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
    StoreError::Unavailable {
        reason: format!("{} cannot be opened", path.display()),
        source: Some(source),
    }
}

pub(super) fn unavailable(reason: &str) -> StoreError {
    StoreError::Unavailable { reason: reason.to_owned(), source: None }
}
