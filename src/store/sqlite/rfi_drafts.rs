//! RFIs that somebody at the hub is writing and has not sent, each with a key of its own. Sealed by whoever
//! calls. One that came out of a backup without its key is there no more.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::read::all;
use super::row::{self, integer, limit, unsigned};
use crate::message::{AgencyId, EnquiryId};
use crate::store::{KeptRfiDraft, NewEnquiry, StoreError, StoredRfiDraft};

/// Those of this hub, what was kept last first.
pub(super) fn kept(
    connection: &Connection,
    hub: &AgencyId,
    rows: usize,
) -> Result<Vec<KeptRfiDraft>, StoreError> {
    all(
        connection,
        "/* rfi draft */ SELECT id, begun_ms, kept_ms FROM rfi_drafts
         WHERE hub = ?1 AND wrapped_key <> x'' ORDER BY kept_ms DESC LIMIT ?2",
        params![hub, limit(rows)],
        |row| {
            Ok(KeptRfiDraft {
                id: row.get(0)?,
                begun_at: row::time(row, 1)?,
                kept_at: row::time(row, 2)?,
            })
        },
    )
}

/// One of them.
pub(super) fn find(
    connection: &Connection,
    hub: &AgencyId,
    id: &EnquiryId,
) -> Result<Option<StoredRfiDraft>, StoreError> {
    Ok(connection
        .prepare_cached(
            "/* rfi draft */ SELECT version, ciphertext, recipient, wrapped_key FROM rfi_drafts
             WHERE id = ?1 AND hub = ?2 AND wrapped_key <> x''",
        )?
        .query_row(params![id, hub], |row| {
            Ok(StoredRfiDraft {
                version: unsigned(row, 0)?,
                ciphertext: row.get(1)?,
                recipient: row.get(2)?,
                wrapped_key: row.get(3)?,
            })
        })
        .optional()?)
}

/// Keeps the first version.
pub(super) fn begin(
    connection: &Connection,
    hub: &AgencyId,
    key: &NewEnquiry,
    ciphertext: &[u8],
    at: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "/* rfi draft */ INSERT INTO rfi_drafts
                 (id, hub, version, begun_ms, kept_ms, recipient, wrapped_key, ciphertext)
             VALUES (?1, ?2, 1, ?3, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            key.id,
            hub,
            at.as_millisecond(),
            key.recipient,
            key.wrapped_key,
            ciphertext
        ])?;
    Ok(())
}

/// Keeps what follows that version; whether it still was the latest.
pub(super) fn keep(
    connection: &Connection,
    hub: &AgencyId,
    id: &EnquiryId,
    follows: u64,
    ciphertext: &[u8],
    at: Timestamp,
) -> Result<bool, StoreError> {
    let kept = connection
        .prepare_cached(
            "/* rfi draft */ UPDATE rfi_drafts
             SET version = version + 1, kept_ms = ?4, ciphertext = ?5
             WHERE id = ?1 AND hub = ?2 AND version = ?3",
        )?
        .execute(params![id, hub, integer(follows), at.as_millisecond(), ciphertext])?;
    Ok(kept > 0)
}

/// Lets this version go, and the key with it.
pub(super) fn discard(
    connection: &Connection,
    hub: &AgencyId,
    id: &EnquiryId,
    version: u64,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "/* rfi draft */ DELETE FROM rfi_drafts WHERE id = ?1 AND hub = ?2 AND version = ?3",
        )?
        .execute(params![id, hub, integer(version)])?;
    Ok(())
}

/// Lets all go that were last kept before then.
pub(super) fn discard_before(connection: &Connection, before: Timestamp) -> Result<(), StoreError> {
    connection
        .prepare_cached("/* rfi draft */ DELETE FROM rfi_drafts WHERE kept_ms < ?1")?
        .execute([before.as_millisecond()])?;
    Ok(())
}
