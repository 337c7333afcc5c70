//! What is kept of an enquiry, and its destruction: key, payloads and files at once, in one transaction
//! with the entry that says so.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::drafts;
use super::read::{all, one};
use super::row::{self, integer, limit};
use crate::message::{AgencyId, AttachmentId, EnquiryId};
use crate::store::{DeliveryState, KeptEnquiry, StoreError};

/// Enquiries that were opened before then and not destroyed, in the order of their ids.
pub(super) fn kept(
    connection: &Connection,
    opened_before: Timestamp,
    after: Option<EnquiryId>,
    rows: usize,
) -> Result<Vec<KeptEnquiry>, StoreError> {
    let after = after.unwrap_or_else(|| EnquiryId::from_bytes([0; 16]));
    let found = all(
        connection,
        "/* kept */ SELECT id, opened_ms, held IS NOT NULL, wrapped_key = x'' FROM enquiries
         WHERE destroyed IS NULL AND id > ?1 AND opened_ms < ?2 ORDER BY id LIMIT ?3",
        params![after, opened_before.as_millisecond(), limit(rows)],
        |row| Ok((row.get(0)?, row::time(row, 1)?, row.get(2)?, row.get(3)?)),
    )?;
    found
        .into_iter()
        .map(|(id, opened_at, is_held, is_lost)| {
            Ok(KeptEnquiry { is_held, is_lost, ..facts(connection, id, opened_at)? })
        })
        .collect()
}

// What there is in its exchanges: one look at each, and along its chain of entries.
fn facts(
    connection: &Connection,
    id: EnquiryId,
    opened_at: Timestamp,
) -> Result<KeptEnquiry, StoreError> {
    let exchanges = all(
        connection,
        "/* kept */ SELECT x.last_entry, json_extract(e.fields, '$.time'),
             x.reference LIKE 'TEST-%' OR x.cancelled_ms IS NOT NULL OR x.outcome_ms IS NOT NULL,
             x.reference LIKE 'TEST-%' OR x.cancelled_ms IS NOT NULL OR x.result IS NOT NULL,
             coalesce(x.consulted_ms > coalesce(x.viewed_ms, 0), 0),
             (WITH RECURSIVE chain (idx) AS (
                 SELECT x.last_entry
                 UNION ALL
                 SELECT c.previous FROM chain JOIN entries AS c ON c.idx = chain.idx
                 WHERE c.previous IS NOT NULL
             )
             SELECT max(CASE d.state WHEN 'saved' THEN 0 WHEN 'queued' THEN 2 ELSE 1 END)
             FROM chain JOIN deliveries AS d ON d.entry = chain.idx)
         FROM exchanges AS x JOIN entries AS e ON e.idx = x.last_entry WHERE x.enquiry = ?1",
        [id],
        |row| {
            Ok(Facts {
                latest: row::unsigned(row, 0)?,
                latest_at: row::logged_time(row, 1)?,
                is_closed: row.get(2)?,
                is_answered: row.get(3)?,
                is_consulted: row.get(4)?,
                delivery: row.get::<_, Option<u8>>(5)?.unwrap_or(NOT_SAVED),
            })
        },
    )?;
    let is_asked = exchanges.iter().any(|exchange| exchange.is_consulted);
    let is_each = |is: fn(&Facts) -> bool| !exchanges.is_empty() && exchanges.iter().all(is);
    Ok(KeptEnquiry {
        id,
        opened_at,
        latest: exchanges.iter().map(|exchange| exchange.latest).max().unwrap_or_default(),
        latest_at: exchanges.iter().filter_map(|one| one.latest_at).max().unwrap_or(opened_at),
        is_closed: is_each(|exchange| exchange.is_closed) && !is_asked,
        is_saved: is_each(|one| one.is_answered && one.delivery == SAVED) && !is_asked,
        is_on_its_way: exchanges.iter().any(|exchange| exchange.delivery == QUEUED),
        is_held: false,
        is_lost: false,
    })
}

/// One exchange of an enquiry.
struct Facts {
    latest: u64,
    latest_at: Option<Timestamp>,
    is_closed: bool,
    is_answered: bool,
    is_consulted: bool,
    /// How far the message in it came that came least far.
    delivery: u8,
}

const SAVED: u8 = 0;
const NOT_SAVED: u8 = 1;
const QUEUED: u8 = 2;

/// Destroys it, as `entry` says; not if something came since the entry `latest`, nor what is held, on its
/// way, or gone.
pub(super) fn destroy(
    connection: &Connection,
    id: &EnquiryId,
    latest: u64,
    entry: u64,
) -> Result<bool, StoreError> {
    let is_as_found: bool = one(
        connection,
        "/* destroy */ SELECT EXISTS (SELECT 1 FROM enquiries
             WHERE id = ?1 AND destroyed IS NULL AND held IS NULL)
         AND ?2 = (SELECT max(last_entry) FROM exchanges WHERE enquiry = ?1)",
        params![id, integer(latest)],
        |row| row.get(0),
    )?;
    if !is_as_found {
        return Ok(false);
    }
    let messages = messages(connection, id)?;
    if messages.iter().any(|message| message.state == "queued") {
        return Ok(false);
    }
    drafts::destroy(connection, id)?;
    for message in &messages {
        connection
            .prepare_cached("/* destroy */ DELETE FROM payloads WHERE entry = ?1")?
            .execute([message.entry])?;
        connection
            .prepare_cached("/* destroy */ DELETE FROM saved_records WHERE entry = ?1")?
            .execute([message.entry])?;
        connection
            .prepare_cached(
                "/* destroy */ DELETE FROM notices
                 WHERE subject = (SELECT id FROM messages WHERE entry = ?1)",
            )?
            .execute([message.entry])?;
        destroy_files(connection, message.entry)?;
        if DeliveryState::waits(&message.state) {
            connection
                .prepare_cached(
                    "/* destroy */ UPDATE deliveries SET state = 'destroyed', told = NULL
                     WHERE entry = ?1",
                )?
                .execute([message.entry])?;
            connection
                .prepare_cached(
                    "/* destroy */ UPDATE mailboxes SET messages = messages - 1, bytes = bytes - ?2
                     WHERE recipient = ?1",
                )?
                .execute(params![message.recipient, message.size_bytes])?;
        }
    }
    connection
        .prepare_cached(
            "/* destroy */ DELETE FROM notices
             WHERE subject IN (SELECT id FROM exchanges WHERE enquiry = ?1)",
        )?
        .execute([id])?;
    connection
        .prepare_cached(
            "/* destroy */ UPDATE enquiries SET wrapped_key = NULL, destroyed = ?2 WHERE id = ?1",
        )?
        .execute(params![id, integer(entry)])?;
    Ok(true)
}

/// A message to be destroyed.
struct Message {
    entry: i64,
    state: String,
    recipient: AgencyId,
    size_bytes: i64,
}

fn messages(connection: &Connection, id: &EnquiryId) -> Result<Vec<Message>, StoreError> {
    all(
        connection,
        "/* destroy */
         WITH RECURSIVE chain (idx) AS (
             SELECT last_entry FROM exchanges WHERE enquiry = ?1
             UNION ALL
             SELECT e.previous FROM chain JOIN entries AS e ON e.idx = chain.idx
             WHERE e.previous IS NOT NULL
         )
         SELECT d.entry, d.state, d.recipient, m.size_bytes FROM chain
         JOIN deliveries AS d ON d.entry = chain.idx JOIN messages AS m ON m.entry = chain.idx",
        [id],
        |row| {
            Ok(Message {
                entry: row.get(0)?,
                state: row.get(1)?,
                recipient: row.get(2)?,
                size_bytes: row.get(3)?,
            })
        },
    )
}

// The keys of the files that a message names are gone at once, the files' parts by and by. A file is named
// in one enquiry only.
fn destroy_files(connection: &Connection, message: i64) -> Result<(), StoreError> {
    let files: Vec<AttachmentId> = all(
        connection,
        "/* destroy */ SELECT attachment FROM attachment_references WHERE message = ?1",
        [message],
        |row| row.get(0),
    )?;
    if files.is_empty() {
        return Ok(());
    }
    connection
        .prepare_cached("/* destroy */ DELETE FROM attachment_references WHERE message = ?1")?
        .execute([message])?;
    for file in files {
        connection
            .prepare_cached(
                "/* destroy */ UPDATE attachments SET state = 'discarded', entry = NULL,
                 media_type = NULL, size_bytes = NULL, digest = NULL, key_hash = NULL,
                 body_mac = NULL WHERE id = ?1 AND state = 'bound'",
            )?
            .execute([file])?;
    }
    Ok(())
}

/// Puts a legal hold on it, as `entry` says; whether there was none, and something to hold.
pub(super) fn hold(
    connection: &Connection,
    id: &EnquiryId,
    entry: u64,
) -> Result<bool, StoreError> {
    let held = connection
        .prepare_cached(
            "/* hold */ UPDATE enquiries SET held = ?2
             WHERE id = ?1 AND held IS NULL AND destroyed IS NULL",
        )?
        .execute(params![id, integer(entry)])?;
    Ok(held > 0)
}

/// Ends it; whether there was one.
pub(super) fn release(connection: &Connection, id: &EnquiryId) -> Result<bool, StoreError> {
    let released = connection
        .prepare_cached(
            "/* release */ UPDATE enquiries SET held = NULL WHERE id = ?1 AND held IS NOT NULL",
        )?
        .execute([id])?;
    Ok(released > 0)
}
