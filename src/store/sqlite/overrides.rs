//! The Team Manager's overrides: recorded once, spent once.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::row::integer;
use crate::store::{DecisionToken, StoreError};

/// Keeps a decision.
pub(super) fn record(
    connection: &Connection,
    token: &DecisionToken,
    at: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "/* override */ INSERT INTO overrides (code_hash, mac, recorded_ms) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![token.code_hash, token.mac, at.as_millisecond()])?;
    Ok(())
}

/// Whether there is such a decision that was not spent.
pub(super) fn is_there(connection: &Connection, token: &DecisionToken) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "/* override */ SELECT EXISTS (SELECT 1 FROM overrides
             WHERE code_hash = ?1 AND mac = ?2 AND spent IS NULL)",
        )?
        .query_row(params![token.code_hash, token.mac], |row| row.get(0))?)
}

/// Spends it on the RFI that this entry accepts.
pub(super) fn spend(
    connection: &Connection,
    token: &DecisionToken,
    entry: u64,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("/* override */ UPDATE overrides SET spent = ?2 WHERE code_hash = ?1")?
        .execute(params![token.code_hash, integer(entry)])?;
    Ok(())
}
