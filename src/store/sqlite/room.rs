//! Room on the database's disk: how much there is, and how some of it is kept.
//!
//! New work is refused while less is free than the settings keep, so that what must still be written
//! (a revocation, a delivery, that something was collected) finds room. Another program can fill the
//! disk all the same; so the write-ahead log has its blocks before it needs them. They are in a file
//! that only this program writes, and so nobody can take them, as they could what a ballast file
//! leaves when it is deleted.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use super::wal;
use crate::store::{Room, StoreError};

/// The room on the disk of the database at `path`, of which `free_bytes_min` are to be kept.
pub fn room(path: &Path, free_bytes_min: u64) -> Result<Room, StoreError> {
    let folder = path.parent().unwrap_or(path);
    let disk = statvfs(folder).map_err(|error| StoreError::Unavailable {
        reason: format!("the disk of {} cannot be looked at", folder.display()),
        source: Some(error.into()),
    })?;
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok(Room { free_bytes, free_bytes_min })
}

/// Gives the write-ahead log of an open database the blocks it needs in ordinary times. None when
/// nothing is to be kept free.
pub(super) fn reserve(path: &Path, free_bytes_min: u64) {
    if free_bytes_min == 0 {
        return;
    }
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // SQLite has its locks on other files: opening and closing this one drops none.
    let reserved = OpenOptions::new()
        .write(true)
        .open(PathBuf::from(log))
        .and_then(|log| Ok(fallocate(&log, FallocateFlags::KEEP_SIZE, 0, wal::BYTES_SOFT)?));
    match reserved {
        Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
            tracing::info!("this file system keeps no room for the store's write-ahead log");
        }
        Err(error) => {
            tracing::warn!(%error, "no room could be kept for the store's write-ahead log");
        }
        Ok(()) => {}
    }
}
