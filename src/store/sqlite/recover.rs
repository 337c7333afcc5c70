//! After an I/O error: every connection is closed and the file opened anew.
//!
//! A sync that failed must not be asked for a second time on the same descriptor. The system may have
//! dropped what could not be written and call it clean, and the second time succeeds (PostgreSQL's
//! "fsyncgate"). So nothing is believed that this process remembers of the file: all connections go,
//! the last without copying the write-ahead log, SQLite reads the log as if after a crash, and all of
//! it is copied into the database and synced over a new descriptor. Whether the batch that met the
//! error is in the log is known then, and durable.

use std::sync::atomic::Ordering;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::wal::{self, Checkpointer};
use super::{Shared, Writer, append, exclusive, is_io_error, lock, open, room};
use crate::audit::tree::Tree;
use crate::store::StoreError;

/// The file, open to be written to.
pub(super) struct Open {
    pub(super) connection: Connection,
    /// For parts of files.
    pub(super) blobs: Connection,
    pub(super) checkpointer: Checkpointer,
}

impl Open {
    /// Opens the file, and checks that it is a store of ours.
    pub(super) fn new(path: &std::path::Path) -> Result<Self, StoreError> {
        let connection = open::writer(path)?;
        open::check(&connection)?;
        let (blobs, checkpointer) = (open::blob_writer(path)?, Checkpointer::start(path)?);
        Ok(Self { connection, blobs, checkpointer })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.checkpointer.has_failed() {
            // Whichever of them is the last to close.
            let _ = leave_log(&self.connection, true);
            let _ = leave_log(&self.blobs, true);
        }
    }
}

impl Writer {
    /// Notes that this went wrong: after an I/O error nothing is believed of the file.
    pub(super) fn after<T>(&mut self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &done
            && is_io_error(error)
        {
            self.close(error);
        }
        done
    }

    /// Closes the file because of this error; it is opened anew when it is next written to.
    pub(super) fn close(&mut self, error: &StoreError) {
        if let Some(open) = self.open.take() {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(cause, "the disk failed: the database is closed, to be opened anew");
            self.is_in_doubt.store(true, Ordering::Release);
            open.checkpointer.give_up();
        }
    }
}

impl Shared {
    /// The file to be written to; opened anew when an I/O error closed it.
    /// And the log as of the last batch.
    pub(super) fn opened<'w>(
        &self,
        writer: &'w mut Writer,
    ) -> Result<(&'w mut Open, &'w mut Option<Tree>), StoreError> {
        let Writer { open, tree, is_in_doubt } = writer;
        let open = match open.take().filter(|open| !open.checkpointer.has_failed()) {
            Some(good) => open.insert(good),
            None => {
                let (opened, found) = self.open_again(tree.clone())?;
                *tree = Some(found);
                is_in_doubt.store(false, Ordering::Release);
                open.insert(opened)
            }
        };
        Ok((open, tree))
    }

    // Fails when the disk does still, or when the log is not the one that was written.
    fn open_again(&self, remembered: Option<Tree>) -> Result<(Open, Tree), StoreError> {
        // Whoever reads has the file open too, and SQLite would go by what they have in common.
        let _alone = exclusive(&self.gate);
        lock(&self.readers).clear();
        let connection = open::writer(&self.path)?;
        leave_log(&connection, true)?;
        open::check(&connection)?;
        wal::copy(&connection)?;
        let tree = append::current(&connection, remembered)?;
        leave_log(&connection, false)?;
        room::reserve(&self.path, self.free_bytes_min);
        let blobs = open::blob_writer(&self.path)?;
        let checkpointer = Checkpointer::start(&self.path)?;
        tracing::warn!(entries = tree.size(), "the database was opened again and is whole");
        Ok((Open { connection, blobs, checkpointer }, tree))
    }
}

/// Whether this connection, if it is the last to close, leaves the write-ahead log as it is.
pub(super) fn leave_log(connection: &Connection, leaves: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leaves).map(|_| ())
}
