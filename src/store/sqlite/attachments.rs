//! Files that are sent with messages: their parts as they come in, and what becomes of them.

use jiff::Timestamp;
use ring::digest;
use rusqlite::{Connection, OptionalExtension, params};

use super::read::{all, one};
use super::row::{self, ENVELOPE_COLUMNS, attachment_columns, envelope_columns, integer, limit};
use crate::message::{AgencyId, AttachmentId, MessageId};
use crate::store::{
    Applied, AttachedKey, AttachmentDigest, NewAttachment, NewUpload, PartAdded, SentAttachment,
    StoreError, StoredAttachment, Unsent,
};

pub(super) fn begin(
    connection: &Connection,
    upload: &NewUpload,
    bytes: u64,
    bytes_max: u64,
) -> Result<bool, StoreError> {
    if unsent_bytes(connection, &upload.uploader)?.saturating_add(bytes) > bytes_max {
        return Ok(false);
    }
    connection
        .prepare_cached(
            "/* upload */ INSERT INTO attachments (id, uploader, begun_ms, state, parts, sealed_bytes)
             VALUES (?1, ?2, ?3, 'arriving', 0, 0)",
        )?
        .execute(params![upload.id, upload.uploader, upload.at.as_millisecond()])?;
    Ok(true)
}

pub(super) fn add_part(
    connection: &Connection,
    id: &AttachmentId,
    ciphertext: &[u8],
    bytes_max: u64,
) -> Result<PartAdded, StoreError> {
    let length = ciphertext.len() as u64;
    let arriving = connection
        .prepare_cached(
            "/* upload */ UPDATE attachments SET parts = parts + 1, sealed_bytes = sealed_bytes + ?2
             WHERE id = ?1 AND state = 'arriving' RETURNING parts - 1, uploader",
        )?
        .query_row(params![id, integer(length)], |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, AgencyId>(1)?))
        })
        .optional()?;
    let Some((part, uploader)) = arriving else { return Ok(PartAdded::Gone) };
    if unsent_bytes(connection, &uploader)? > bytes_max {
        // What was just counted is not kept: the whole upload is given up.
        discard(connection, id)?;
        return Ok(PartAdded::NoRoom);
    }
    connection
        .prepare_cached(
            "/* upload */ INSERT INTO attachment_parts (attachment, part, ciphertext)
             VALUES (?1, ?2, ?3)",
        )?
        .execute(params![id, part, ciphertext])?;
    Ok(PartAdded::Yes)
}

fn unsent_bytes(connection: &Connection, uploader: &AgencyId) -> Result<u64, StoreError> {
    one(
        connection,
        "/* upload */ SELECT coalesce(sum(sealed_bytes), 0) FROM attachments
         WHERE uploader = ?1 AND state IN ('arriving', 'held')",
        [uploader],
        |row| row::unsigned(row, 0),
    )
}

pub(super) fn discard(connection: &Connection, id: &AttachmentId) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "/* discard */ UPDATE attachments SET state = 'discarded'
             WHERE id = ?1 AND state = 'arriving'",
        )?
        .execute([id])?;
    Ok(())
}

pub(super) fn discard_before(connection: &Connection, before: Timestamp) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "/* discard */ UPDATE attachments SET state = 'discarded'
             WHERE state = 'arriving' AND begun_ms < ?1",
        )?
        .execute([before.as_millisecond()])?;
    Ok(())
}

pub(super) fn clear(connection: &Connection, parts: usize) -> Result<bool, StoreError> {
    let discarded: Option<AttachmentId> = connection
        .prepare_cached(
            "/* clear */ SELECT id FROM attachments WHERE state = 'discarded'
             ORDER BY begun_ms LIMIT 1",
        )?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(id) = discarded else { return Ok(false) };
    let cleared = connection
        .prepare_cached(
            "/* clear */ DELETE FROM attachment_parts WHERE rowid IN (
                 SELECT rowid FROM attachment_parts WHERE attachment = ?1 LIMIT ?2)",
        )?
        .execute(params![id, limit(parts)])?;
    if cleared < parts {
        connection
            .prepare_cached("/* clear */ DELETE FROM attachments WHERE id = ?1")?
            .execute([id])?;
    }
    Ok(true)
}

/// Why a file that has come in whole cannot be kept, if it cannot.
pub(super) fn attach(
    connection: &Connection,
    new: &NewAttachment,
    entry: u64,
) -> Result<Option<Applied>, StoreError> {
    if let Some((_, body_mac)) = uploaded(connection, &new.key_hash)? {
        let is_same = body_mac == new.body_mac;
        return Ok(Some(if is_same { Applied::OtherState } else { Applied::KeyReused }));
    }
    let attached = connection
        .prepare_cached(
            "/* attach */ UPDATE attachments SET state = 'held', entry = ?2, media_type = ?3,
             size_bytes = ?4, digest = ?5, key_hash = ?6, body_mac = ?7, wrapped_key = ?8
             WHERE id = ?1 AND state = 'arriving'",
        )?
        .execute(params![
            new.id,
            integer(entry),
            new.media_type,
            integer(new.size_bytes),
            new.digest,
            new.key_hash,
            new.body_mac,
            new.wrapped_key
        ])?;
    Ok((attached == 0).then_some(Applied::NotFound))
}

pub(super) fn uploaded(
    connection: &Connection,
    key_hash: &[u8; 16],
) -> Result<Option<(AttachmentId, [u8; 32])>, StoreError> {
    let uploaded = connection
        .prepare_cached("/* uploaded */ SELECT id, body_mac FROM attachments WHERE key_hash = ?1")?
        .query_row([key_hash], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(uploaded)
}

/// Whether this agency uploaded the file, and no message names it.
pub(super) fn is_held(
    connection: &Connection,
    id: &AttachmentId,
    uploader: &AgencyId,
) -> Result<bool, StoreError> {
    one(
        connection,
        "/* bind */ SELECT EXISTS (SELECT 1 FROM attachments
         WHERE id = ?1 AND uploader = ?2 AND state = 'held')",
        params![id, uploader],
        |row| row.get(0),
    )
}

/// Binds files to the message that `entry` accepts; their first wraps are destroyed.
pub(super) fn bind(
    connection: &Connection,
    entry: u64,
    attachments: &[AttachedKey],
) -> Result<(), StoreError> {
    for AttachedKey { attachment, wrapped_key } in attachments {
        connection
            .prepare_cached(
                "/* bind */ INSERT INTO attachment_references (message, attachment, wrapped_key)
                 VALUES (?1, ?2, ?3)",
            )?
            .execute(params![integer(entry), attachment, wrapped_key])?;
        connection
            .prepare_cached(
                "/* bind */ UPDATE attachments SET state = 'bound', wrapped_key = NULL
                 WHERE id = ?1",
            )?
            .execute([attachment])?;
    }
    Ok(())
}

/// Whether there is such a file with such a message.
pub(super) fn collect(
    connection: &Connection,
    attachment: &AttachmentId,
    message: &MessageId,
    entry: u64,
) -> Result<bool, StoreError> {
    let collected = connection
        .prepare_cached(
            "/* collect */ UPDATE attachment_references SET collected = coalesce(collected, ?3)
             WHERE attachment = ?1 AND message = (SELECT entry FROM messages WHERE id = ?2)",
        )?
        .execute(params![attachment, message, integer(entry)])?;
    Ok(collected > 0)
}

/// Whether the file was one to be swept. Its key is gone at once, its parts by and by.
pub(super) fn sweep(connection: &Connection, id: &AttachmentId) -> Result<bool, StoreError> {
    let swept = connection
        .prepare_cached(
            "/* sweep */ UPDATE attachments SET state = 'discarded', entry = NULL,
             media_type = NULL, size_bytes = NULL, digest = NULL, key_hash = NULL,
             body_mac = NULL, wrapped_key = NULL WHERE id = ?1 AND state = 'held'",
        )?
        .execute([id])?;
    Ok(swept > 0)
}

pub(super) fn attachment(
    connection: &Connection,
    id: &AttachmentId,
) -> Result<StoredAttachment, StoreError> {
    one(
        connection,
        concat!(
            "/* attachment */ SELECT ",
            attachment_columns!(),
            " FROM attachments AS a WHERE a.id = ?1 AND a.state IN ('bound', 'held')"
        ),
        [id],
        |row| row::attachment(row, 0),
    )
}

pub(super) fn sent(
    connection: &Connection,
    id: &AttachmentId,
    recipient: &AgencyId,
) -> Result<SentAttachment, StoreError> {
    /// Those of the envelope, the delivery and the reference come first.
    const FILE_COLUMNS: usize = ENVELOPE_COLUMNS + 4 + 3;
    one(
        connection,
        concat!(
            "/* sent */ SELECT ",
            envelope_columns!(),
            ", d.state, d.endpoint, d.due_ms, d.attempts,
             r.wrapped_key, e.wrapped_key, r.collected IS NOT NULL, ",
            attachment_columns!(),
            " FROM attachment_references AS r
             JOIN messages AS m ON m.entry = r.message
             JOIN deliveries AS d ON d.entry = r.message
             JOIN attachments AS a ON a.id = r.attachment
             LEFT JOIN enquiries AS e ON e.id = m.enquiry
             WHERE r.attachment = ?1 AND m.recipient = ?2"
        ),
        params![id, recipient],
        |row| {
            Ok(SentAttachment {
                attachment: row::attachment(row, FILE_COLUMNS)?,
                message: row::message(row)?,
                wrapped_key: row.get(FILE_COLUMNS - 3)?,
                enquiry_key: row.get(FILE_COLUMNS - 2)?,
                is_collected: row.get(FILE_COLUMNS - 1)?,
            })
        },
    )
}

pub(super) fn part(
    connection: &Connection,
    id: &AttachmentId,
    part: u32,
) -> Result<Vec<u8>, StoreError> {
    one(
        connection,
        "/* part */ SELECT ciphertext FROM attachment_parts WHERE attachment = ?1 AND part = ?2",
        params![id, part],
        |row| row.get(0),
    )
}

pub(super) fn of_message(
    connection: &Connection,
    id: &MessageId,
) -> Result<Vec<AttachmentId>, StoreError> {
    all(
        connection,
        "/* attachments */ SELECT r.attachment FROM messages AS m
         JOIN attachment_references AS r ON r.message = m.entry
         WHERE m.id = ?1 ORDER BY r.attachment",
        [id],
        |row| row.get(0),
    )
}

/// Which files the messages accepted by `from..to` name, by entry and then by file.
pub(super) fn references(
    connection: &Connection,
    from: u64,
    to: u64,
) -> Result<Vec<(u64, AttachmentId)>, StoreError> {
    all(
        connection,
        "/* references */ SELECT message, attachment FROM attachment_references
         WHERE message >= ?1 AND message < ?2 ORDER BY message, attachment",
        params![integer(from), integer(to)],
        |row| Ok((row::unsigned(row, 0)?, row.get(1)?)),
    )
}

pub(super) fn unsent(connection: &Connection) -> Result<Vec<Unsent>, StoreError> {
    all(
        connection,
        "/* unsent */ SELECT uploader, count(*), sum(sealed_bytes) FROM attachments
         WHERE state IN ('arriving', 'held') GROUP BY uploader ORDER BY uploader",
        [],
        |row| {
            Ok(Unsent {
                agency: row.get(0)?,
                count: row::unsigned(row, 1)?,
                bytes: row::unsigned(row, 2)?,
            })
        },
    )
}

pub(super) fn unsent_before(
    connection: &Connection,
    before: Timestamp,
    rows: usize,
) -> Result<Vec<StoredAttachment>, StoreError> {
    all(
        connection,
        concat!(
            "/* unsent */ SELECT ",
            attachment_columns!(),
            " FROM attachments AS a WHERE a.state = 'held' AND a.begun_ms < ?1
             ORDER BY a.begun_ms LIMIT ?2"
        ),
        params![before.as_millisecond(), limit(rows)],
        |row| row::attachment(row, 0),
    )
}

pub(super) fn digests(
    connection: &Connection,
    from: u64,
    to: u64,
) -> Result<Vec<AttachmentDigest>, StoreError> {
    let mut found = all(
        connection,
        concat!(
            "/* digests */ SELECT ",
            attachment_columns!(),
            ", a.entry, a.state = 'bound' FROM attachments AS a
             WHERE a.entry >= ?1 AND a.entry < ?2 ORDER BY a.entry"
        ),
        params![integer(from), integer(to)],
        |row| {
            Ok(AttachmentDigest {
                attachment: row::attachment(row, 0)?,
                entry: row::unsigned(row, 8)?,
                parts_sha256: [0; 32],
                is_bound: row.get(9)?,
            })
        },
    )?;
    for file in &mut found {
        file.parts_sha256 = parts_sha256(connection, &file.attachment.id)?;
    }
    Ok(found)
}

// One part in memory at a time.
fn parts_sha256(connection: &Connection, id: &AttachmentId) -> Result<[u8; 32], StoreError> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut parts = connection.prepare_cached(
        "/* digests */ SELECT ciphertext FROM attachment_parts WHERE attachment = ?1 ORDER BY part",
    )?;
    let mut rows = parts.query([id])?;
    while let Some(row) = rows.next()? {
        hash.update(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(hash.finish().as_ref());
    Ok(sha256)
}
