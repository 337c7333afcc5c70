//! What somebody writes and has not sent. Sealed by whoever calls.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::row::{integer, unsigned};
use crate::message::{EnquiryId, ExchangeId, Kind};
use crate::store::{StoreError, StoredDraft};

/// The draft of this kind in this exchange, if there is one.
pub(super) fn find(
    connection: &Connection,
    exchange: &ExchangeId,
    kind: Kind,
) -> Result<Option<StoredDraft>, StoreError> {
    Ok(connection
        .prepare_cached(
            "/* draft */ SELECT version, ciphertext FROM drafts WHERE exchange = ?1 AND kind = ?2",
        )?
        .query_row(params![exchange, kind.as_str()], |row| {
            Ok(StoredDraft { version: unsigned(row, 0)?, ciphertext: row.get(1)? })
        })
        .optional()?)
}

/// Keeps what follows that version; whether it still was the latest. There is none of an enquiry that is
/// destroyed.
pub(super) fn keep(
    connection: &Connection,
    exchange: &ExchangeId,
    kind: Kind,
    follows: u64,
    ciphertext: &[u8],
) -> Result<bool, StoreError> {
    let kept = match follows {
        0 => connection
            .prepare_cached(
                "/* draft */ INSERT INTO drafts (exchange, kind, version, ciphertext)
                 SELECT x.id, ?2, 1, ?3 FROM exchanges AS x JOIN enquiries AS q ON q.id = x.enquiry
                 WHERE x.id = ?1 AND q.destroyed IS NULL
                 ON CONFLICT (exchange, kind) DO NOTHING",
            )?
            .execute(params![exchange, kind.as_str(), ciphertext])?,
        follows => connection
            .prepare_cached(
                "/* draft */ UPDATE drafts SET version = version + 1, ciphertext = ?4
                 WHERE exchange = ?1 AND kind = ?2 AND version = ?3",
            )?
            .execute(params![exchange, kind.as_str(), integer(follows), ciphertext])?,
    };
    Ok(kept > 0)
}

/// Lets this version of it go.
pub(super) fn discard(
    connection: &Connection,
    exchange: &ExchangeId,
    kind: Kind,
    version: u64,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "/* draft */ DELETE FROM drafts WHERE exchange = ?1 AND kind = ?2 AND version = ?3",
        )?
        .execute(params![exchange, kind.as_str(), integer(version)])?;
    Ok(())
}

/// Lets all go that are of this enquiry.
pub(super) fn destroy(connection: &Connection, enquiry: &EnquiryId) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "/* destroy */ DELETE FROM drafts
             WHERE exchange IN (SELECT id FROM exchanges WHERE enquiry = ?1)",
        )?
        .execute([enquiry])?;
    Ok(())
}
