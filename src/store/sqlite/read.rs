//! What is read, each in one query or a few on one connection.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::dedupe::Place;
use super::row::{self, envelope_columns, exchange_columns, integer, limit};
use crate::audit::receipt::Logged;
use crate::audit::tree::{Hash, Plan, stored_at};
use crate::message::{
    AgencyId, EnquiryId, Exchange, ExchangeId, Kind, MessageId, Period, Reference,
};
use crate::store::{
    Applied, Backlog, CertificateDoing, CertificateRecord, DeadLetter, EnrolmentToken, Head,
    IdempotencyToken, LastCosigned, Mailbox, MessageDigest, Queue, SealedPayload, StoreError,
    StoredEntry, StoredMessage,
};

/// What became of the submission with this fingerprint, accepted at `place`, when it came first.
pub(super) fn replayed(
    connection: &Connection,
    token: &IdempotencyToken,
    place: Place,
) -> Result<Applied, StoreError> {
    let body_mac: [u8; 32] = one(
        connection,
        "/* replay */ SELECT body_mac FROM messages WHERE entry = ?1",
        [integer(place.entry)],
        |row| row.get(0),
    )?;
    if body_mac != token.body_mac {
        return Ok(Applied::KeyReused);
    }
    let entries = place.entry..place.entry + place.count;
    let logged =
        entries.map(|entry| logged(connection, entry)).collect::<Result<_, StoreError>>()?;
    Ok(Applied::Replayed(logged))
}

/// An entry with the proof it was first given: under the first checkpoint that covers it.
pub(super) fn logged(connection: &Connection, index: u64) -> Result<Logged, StoreError> {
    let (fields, salt): (Option<String>, Option<[u8; 32]>) = one(
        connection,
        "/* logged */ SELECT fields, salt FROM entries WHERE idx = ?1",
        [integer(index)],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let head = one(
        connection,
        "/* logged */ SELECT size, root, note FROM checkpoints WHERE size > ?1
         ORDER BY size LIMIT 1",
        [integer(index)],
        row::head,
    )?;
    let plan = Plan::inclusion(index, head.size);
    let proof = plan.proof(&nodes(connection, plan.wanted())?);
    // Both or neither; without them there is nothing left to prove.
    let (fields, salt) = fields.zip(salt).ok_or(StoreError::NotFound)?;
    Ok(Logged { index, fields, salt, proof, checkpoint: head.note })
}

/// The roots of these complete subtrees.
pub(super) fn nodes(
    connection: &Connection,
    wanted: &[(u8, u64)],
) -> Result<Vec<Hash>, StoreError> {
    let mut select =
        connection.prepare_cached("/* nodes */ SELECT nodes FROM entries WHERE idx = ?1")?;
    wanted
        .iter()
        .map(|(level, index)| {
            let (entry, position) = stored_at(*level, *index);
            let node = select.query_row([integer(entry)], |row| {
                let stored = row.get_ref(0)?.as_blob()?;
                let node = stored.as_chunks::<32>().0.get(position);
                node.map(|node| Hash::from_bytes(*node)).ok_or(rusqlite::Error::InvalidColumnType(
                    0,
                    "nodes".to_owned(),
                    row.get_ref(0)?.data_type(),
                ))
            });
            Ok(node?)
        })
        .collect()
}

pub(super) fn exchange(connection: &Connection, id: &ExchangeId) -> Result<Exchange, StoreError> {
    one(
        connection,
        concat!("/* exchange */ SELECT ", exchange_columns!(), " FROM exchanges WHERE id = ?1"),
        [id],
        row::exchange,
    )
}

pub(super) fn exchange_by_reference(
    connection: &Connection,
    name: &Reference,
) -> Result<Exchange, StoreError> {
    one(
        connection,
        concat!(
            "/* exchange */ SELECT ",
            exchange_columns!(),
            " FROM exchanges WHERE reference = ?1"
        ),
        [name],
        row::exchange,
    )
}

pub(super) fn exchanges(
    connection: &Connection,
    agency: &AgencyId,
    before: Option<ExchangeId>,
    rows: usize,
) -> Result<Vec<Exchange>, StoreError> {
    let before = match before {
        None => i64::MAX,
        Some(id) => one(
            connection,
            "/* exchanges */ SELECT entry FROM exchanges WHERE id = ?1 AND ?2 IN (hub, agency)",
            params![id, agency],
            |row| row.get(0),
        )?,
    };
    // One index for each side of the exchange; each side is read no further than the page goes.
    all(
        connection,
        concat!(
            "/* exchanges */
             SELECT * FROM (SELECT ",
            exchange_columns!(),
            ", entry FROM exchanges WHERE hub = ?1 AND entry < ?2 ORDER BY entry DESC LIMIT ?3)
             UNION ALL
             SELECT * FROM (SELECT ",
            exchange_columns!(),
            ", entry FROM exchanges WHERE agency = ?1 AND entry < ?2 ORDER BY entry DESC LIMIT ?3)
             ORDER BY entry DESC LIMIT ?3"
        ),
        params![agency, before, limit(rows)],
        row::exchange,
    )
}

pub(super) fn unanswered(
    connection: &Connection,
    agency: &AgencyId,
    rows: usize,
) -> Result<Vec<Exchange>, StoreError> {
    all(
        connection,
        concat!(
            "/* unanswered */ SELECT ",
            exchange_columns!(),
            " FROM exchanges
             WHERE agency = ?1 AND state NOT IN ('cancelled', 'completed', 'rejected')
             ORDER BY response_required_by_ms LIMIT ?2"
        ),
        params![agency, limit(rows)],
        row::exchange,
    )
}

pub(super) fn unsettled(
    connection: &Connection,
    hub: &AgencyId,
    rows: usize,
) -> Result<Vec<Exchange>, StoreError> {
    all(
        connection,
        concat!(
            "/* unsettled */ SELECT ",
            exchange_columns!(),
            " FROM exchanges
             WHERE hub = ?1 AND outcome_ms IS NULL AND state NOT IN ('cancelled', 'rejected')
             ORDER BY response_required_by_ms LIMIT ?2"
        ),
        params![hub, limit(rows)],
        row::exchange,
    )
}

pub(super) fn answered_test(
    connection: &Connection,
    agency: &AgencyId,
) -> Result<Option<Exchange>, StoreError> {
    let found = all(
        connection,
        concat!(
            "/* answered_test */ SELECT ",
            exchange_columns!(),
            " FROM exchanges WHERE agency = ?1 AND state = 'completed'
             AND reference LIKE 'TEST-%' ORDER BY entry DESC LIMIT 1"
        ),
        [agency],
        row::exchange,
    )?;
    Ok(found.into_iter().next())
}

pub(super) fn referrer_told_at(
    connection: &Connection,
    id: &EnquiryId,
) -> Result<Option<Timestamp>, StoreError> {
    let sql = "/* referrer */ SELECT referrer_told_ms FROM enquiries
         WHERE id = ?1 AND referrer_told_ms IS NOT NULL";
    Ok(all(connection, sql, [id], |row| row::time(row, 0))?.pop())
}

pub(super) fn saved_record(
    connection: &Connection,
    id: &MessageId,
) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "/* saved */ SELECT s.ciphertext FROM saved_records AS s
         JOIN messages AS m ON m.entry = s.entry WHERE m.id = ?1";
    Ok(all(connection, sql, [id], |row| row.get(0))?.pop())
}

pub(super) fn enquiry(
    connection: &Connection,
    id: &EnquiryId,
) -> Result<Vec<Exchange>, StoreError> {
    all(
        connection,
        concat!(
            "/* enquiry */ SELECT ",
            exchange_columns!(),
            " FROM exchanges WHERE enquiry = ?1 ORDER BY entry"
        ),
        [id],
        row::exchange,
    )
}

pub(super) fn exchanges_opened(
    connection: &Connection,
    period: Period,
    after: Option<ExchangeId>,
    rows: usize,
) -> Result<Vec<Exchange>, StoreError> {
    all(
        connection,
        concat!(
            "/* exchanges_opened */ SELECT ",
            exchange_columns!(),
            " FROM exchanges WHERE opened_ms >= ?1 AND opened_ms < ?2
             AND id > coalesce(?3, x'') ORDER BY id LIMIT ?4"
        ),
        params![period.from.as_millisecond(), period.to.as_millisecond(), after, limit(rows)],
        row::exchange,
    )
}

pub(super) fn timeline(
    connection: &Connection,
    id: &ExchangeId,
    rows: usize,
) -> Result<Vec<StoredEntry>, StoreError> {
    all(
        connection,
        "/* timeline */
         WITH RECURSIVE chain (idx, previous) AS (
             SELECT e.idx, e.previous FROM exchanges AS x JOIN entries AS e ON e.idx = x.last_entry
             WHERE x.id = ?1
             UNION ALL
             SELECT e.idx, e.previous FROM chain AS c JOIN entries AS e ON e.idx = c.previous
             LIMIT ?2
         )
         SELECT e.idx, e.salt, e.fields, e.nodes, e.previous FROM chain AS c
         JOIN entries AS e ON e.idx = c.idx ORDER BY e.idx",
        params![id, limit(rows)],
        row::entry,
    )
}

pub(super) fn inbox_besides_requests(
    connection: &Connection,
    recipient: &AgencyId,
    rows: usize,
) -> Result<Vec<StoredMessage>, StoreError> {
    all(
        connection,
        concat!(
            "/* inbox */ SELECT ",
            envelope_columns!(),
            ", d.state, d.endpoint, d.due_ms, d.attempts
             FROM deliveries AS d JOIN messages AS m ON m.entry = d.entry
             WHERE d.recipient = ?1 AND d.state IN ('held', 'collected', 'returned')
             AND m.kind NOT IN ('rfi', 'test', 'test-reply')
             ORDER BY d.entry DESC LIMIT ?2"
        ),
        params![recipient, limit(rows)],
        row::message,
    )
}

pub(super) fn inbox(
    connection: &Connection,
    recipient: &AgencyId,
    only: Option<Kind>,
    after: Option<MessageId>,
    rows: usize,
) -> Result<Vec<StoredMessage>, StoreError> {
    let after = match after {
        None => -1,
        Some(id) => one(
            connection,
            "/* inbox */ SELECT entry FROM messages WHERE id = ?1 AND recipient = ?2",
            params![id, recipient],
            |row| row.get(0),
        )?,
    };
    all(
        connection,
        concat!(
            "/* inbox */ SELECT ",
            envelope_columns!(),
            ", d.state, d.endpoint, d.due_ms, d.attempts
             FROM deliveries AS d JOIN messages AS m ON m.entry = d.entry
             WHERE d.recipient = ?1 AND d.entry > ?2 AND d.state IN ('held', 'collected', 'returned')
             AND CASE WHEN ?4 IS NULL THEN m.kind <> 'test-reply' ELSE m.kind = ?4 END
             ORDER BY d.entry LIMIT ?3"
        ),
        params![recipient, after, limit(rows), only],
        row::message,
    )
}

pub(super) fn correspondence(
    connection: &Connection,
    agency: &AgencyId,
    period: Period,
    after: Option<MessageId>,
    rows: usize,
) -> Result<Vec<StoredMessage>, StoreError> {
    // Times of neighbours may be the same, and then the order is the entries'.
    let begin = (period.from.as_millisecond(), -1);
    let begin = match after {
        None => begin,
        Some(id) => {
            let last = one(
                connection,
                "/* correspondence */ SELECT time_ms, entry FROM messages
                 WHERE id = ?1 AND ?2 IN (sender, recipient)",
                params![id, agency],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            begin.max(last)
        }
    };
    all(
        connection,
        CORRESPONDENCE,
        params![agency, begin.0, begin.1, period.to.as_millisecond(), limit(rows)],
        row::message,
    )
}

/// One index for each side, read no further than the page goes. Nobody writes to itself.
pub(super) const CORRESPONDENCE: &str = concat!(
    "/* correspondence */
     SELECT * FROM (SELECT ",
    envelope_columns!(),
    ", d.state, d.endpoint, d.due_ms, d.attempts
     FROM messages AS m JOIN deliveries AS d ON d.entry = m.entry
     WHERE m.sender = ?1 AND (m.time_ms, m.entry) > (?2, ?3) AND m.time_ms < ?4
     ORDER BY m.time_ms, m.entry LIMIT ?5)
     UNION ALL
     SELECT * FROM (SELECT ",
    envelope_columns!(),
    ", d.state, d.endpoint, d.due_ms, d.attempts
     FROM messages AS m JOIN deliveries AS d ON d.entry = m.entry
     WHERE m.recipient = ?1 AND (m.time_ms, m.entry) > (?2, ?3) AND m.time_ms < ?4
     ORDER BY m.time_ms, m.entry LIMIT ?5)
     ORDER BY time_ms, entry LIMIT ?5"
);

pub(super) fn waiting(
    connection: &Connection,
    recipient: &AgencyId,
    only: Option<Kind>,
) -> Result<u64, StoreError> {
    one(
        connection,
        "/* waiting */ SELECT count(*)
         FROM deliveries AS d JOIN messages AS m ON m.entry = d.entry
         WHERE d.recipient = ?1 AND d.state IN ('held', 'collected', 'returned')
         AND CASE WHEN ?2 IS NULL THEN m.kind <> 'test-reply' ELSE m.kind = ?2 END",
        params![recipient, only],
        |row| row::unsigned(row, 0),
    )
}

pub(super) fn backlog(connection: &Connection) -> Result<Vec<Backlog>, StoreError> {
    // Each half on its own partial index and in its order: nothing is sorted, however much waits. Messages
    // are accepted in the order of their entries.
    all(
        connection,
        "/* backlog */
         WITH inbox AS MATERIALIZED (
             SELECT recipient, sum(state = 'held') AS held, sum(state = 'returned') AS returned,
                 min(iif(state = 'held', entry, NULL)) AS first_held,
                 min(iif(state = 'returned', entry, NULL)) AS first_returned
             FROM deliveries WHERE state IN ('held', 'collected', 'returned') GROUP BY recipient
         )
         SELECT b.recipient, b.state, b.count, m.time_ms FROM (
             SELECT recipient, 'held' AS state, held AS count, first_held AS oldest FROM inbox
             UNION ALL
             SELECT recipient, 'returned', returned, first_returned FROM inbox
             UNION ALL
             SELECT recipient, 'queued', count(*), min(entry) FROM deliveries
             WHERE state = 'queued' GROUP BY recipient
         ) AS b JOIN messages AS m ON m.entry = b.oldest
         ORDER BY b.recipient, b.state",
        [],
        row::backlog,
    )
}

pub(super) fn mailboxes(connection: &Connection) -> Result<Vec<Mailbox>, StoreError> {
    all(
        connection,
        "/* mailboxes */ SELECT recipient, messages, bytes FROM mailboxes ORDER BY recipient",
        [],
        row::mailbox,
    )
}

pub(super) fn message(
    connection: &Connection,
    id: &MessageId,
) -> Result<StoredMessage, StoreError> {
    one(
        connection,
        concat!(
            "/* message */ SELECT ",
            envelope_columns!(),
            ", d.state, d.endpoint, d.due_ms, d.attempts
             FROM messages AS m JOIN deliveries AS d ON d.entry = m.entry WHERE m.id = ?1"
        ),
        [id],
        row::message,
    )
}

pub(super) fn sealed_payload(
    connection: &Connection,
    id: &MessageId,
) -> Result<SealedPayload, StoreError> {
    one(
        connection,
        "/* payload */ SELECT p.ciphertext, q.wrapped_key FROM messages AS m
         LEFT JOIN payloads AS p ON p.entry = m.entry
         LEFT JOIN enquiries AS q ON q.id = m.enquiry WHERE m.id = ?1",
        [id],
        |row| Ok(SealedPayload { ciphertext: row.get(0)?, wrapped_key: row.get(1)? }),
    )
}

pub(super) fn queues(connection: &Connection, now: Timestamp) -> Result<Vec<Queue>, StoreError> {
    // From one agency's endpoint to the next by the index: a long queue costs no more than a short.
    all(
        connection,
        "/* queues */
         WITH RECURSIVE agency (recipient) AS (
             SELECT min(recipient) FROM deliveries WHERE state = 'queued'
             UNION ALL
             SELECT (SELECT min(d.recipient) FROM deliveries AS d
                     WHERE d.state = 'queued' AND d.recipient > a.recipient)
             FROM agency AS a WHERE a.recipient IS NOT NULL
         ), queue (recipient, endpoint) AS (
             SELECT a.recipient, (SELECT min(d.endpoint) FROM deliveries AS d
                     WHERE d.state = 'queued' AND d.recipient = a.recipient)
             FROM agency AS a WHERE a.recipient IS NOT NULL
             UNION ALL
             SELECT q.recipient, (SELECT min(d.endpoint) FROM deliveries AS d
                     WHERE d.state = 'queued' AND d.recipient = q.recipient
                     AND d.endpoint > q.endpoint)
             FROM queue AS q WHERE q.endpoint IS NOT NULL
         )
         SELECT q.recipient, q.endpoint,
             (SELECT min(d.due_ms) FROM deliveries AS d WHERE d.state = 'queued'
              AND d.recipient = q.recipient AND d.endpoint = q.endpoint),
             (SELECT d.since_ms FROM deliveries AS d WHERE d.state = 'queued'
              AND d.recipient = q.recipient AND d.endpoint = q.endpoint AND (d.told IS NULL) = 1
              AND (d.lease IS NULL OR d.due_ms <= ?1) ORDER BY d.since_ms LIMIT 1),
             (SELECT d.since_ms FROM deliveries AS d WHERE d.state = 'queued'
              AND d.recipient = q.recipient AND d.endpoint = q.endpoint AND (d.told IS NULL) = 0
              AND (d.lease IS NULL OR d.due_ms <= ?1) ORDER BY d.since_ms LIMIT 1)
         FROM queue AS q WHERE q.endpoint IS NOT NULL",
        [now.as_millisecond()],
        row::queue,
    )
}

pub(super) fn untold(
    connection: &Connection,
    now: Timestamp,
    queue: &Queue,
    before: Timestamp,
    rows: usize,
) -> Result<Vec<StoredMessage>, StoreError> {
    all(
        connection,
        concat!(
            "/* untold */ SELECT ",
            envelope_columns!(),
            ", d.state, d.endpoint, d.due_ms, d.attempts
             FROM deliveries AS d JOIN messages AS m ON m.entry = d.entry
             WHERE d.state = 'queued' AND d.recipient = ?1 AND d.endpoint = ?2
             AND (d.told IS NULL) = 1 AND d.since_ms <= ?3 AND (d.lease IS NULL OR d.due_ms <= ?4)
             ORDER BY d.since_ms LIMIT ?5"
        ),
        params![
            queue.recipient,
            queue.endpoint,
            before.as_millisecond(),
            now.as_millisecond(),
            limit(rows)
        ],
        row::message,
    )
}

pub(super) fn dead_letters(
    connection: &Connection,
    recipient: Option<&AgencyId>,
) -> Result<Vec<DeadLetter>, StoreError> {
    all(
        connection,
        concat!(
            "/* dead_letters */ SELECT ",
            envelope_columns!(),
            ", e.fields FROM deliveries AS d JOIN messages AS m ON m.entry = d.entry
             LEFT JOIN entries AS e ON e.idx = d.told
             WHERE d.told IS NOT NULL AND d.state = 'returned'
             AND (?1 IS NULL OR d.recipient = ?1) ORDER BY d.told"
        ),
        params![recipient],
        row::dead_letter,
    )
}

pub(super) fn non_delivery(connection: &Connection, id: &MessageId) -> Result<Logged, StoreError> {
    let told = one(
        connection,
        "/* non_delivery */ SELECT d.told FROM messages AS m
         JOIN deliveries AS d ON d.entry = m.entry
         WHERE m.id = ?1 AND d.state = 'returned' AND d.told IS NOT NULL",
        [id],
        |row| row::unsigned(row, 0),
    )?;
    logged(connection, told)
}

pub(super) fn newest_enquiry_key(
    connection: &Connection,
) -> Result<Option<(EnquiryId, Vec<u8>)>, StoreError> {
    // Ids begin with the time they were made at.
    let newest = connection
        .prepare_cached(
            "/* newest */ SELECT id, wrapped_key FROM enquiries WHERE wrapped_key IS NOT NULL
             ORDER BY id DESC LIMIT 1",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(newest)
}

pub(super) fn head(connection: &Connection) -> Result<Option<Head>, StoreError> {
    let head = connection
        .prepare_cached(
            "/* head */ SELECT size, root, note FROM checkpoints ORDER BY size DESC LIMIT 1",
        )?
        .query_row([], row::head)
        .optional()?;
    Ok(head)
}

pub(super) fn cosigned(
    connection: &Connection,
    witnesses: usize,
) -> Result<Option<(Head, Vec<String>)>, StoreError> {
    let head = if witnesses == 0 {
        head(connection)?
    } else {
        // From the end, and no further back than to the first that has enough.
        connection
            .prepare_cached(
                "/* cosigned */ SELECT size, root, note FROM checkpoints WHERE size = (
                     SELECT size FROM cosignatures GROUP BY size HAVING count(*) >= ?1
                     ORDER BY size DESC LIMIT 1)",
            )?
            .query_row([limit(witnesses)], row::head)
            .optional()?
    };
    let Some(head) = head else { return Ok(None) };
    let lines = all(
        connection,
        "/* cosigned */ SELECT line FROM cosignatures WHERE size = ?1 ORDER BY witness",
        [integer(head.size)],
        |row| row.get(0),
    )?;
    Ok(Some((head, lines)))
}

pub(super) fn last_cosigned(connection: &Connection) -> Result<Vec<LastCosigned>, StoreError> {
    all(
        connection,
        "/* last_cosigned */ SELECT witness, max(size), time_s FROM cosignatures
         GROUP BY witness ORDER BY witness",
        [],
        row::last_cosigned,
    )
}

pub(super) fn entries(
    connection: &Connection,
    from: u64,
    rows: usize,
) -> Result<Vec<StoredEntry>, StoreError> {
    all(
        connection,
        "/* entries */ SELECT idx, salt, fields, nodes, previous FROM entries WHERE idx >= ?1
         ORDER BY idx LIMIT ?2",
        params![integer(from), limit(rows)],
        row::entry,
    )
}

pub(super) fn checkpoints(
    connection: &Connection,
    from: u64,
    rows: usize,
) -> Result<Vec<Head>, StoreError> {
    all(
        connection,
        "/* checkpoints */ SELECT size, root, note FROM checkpoints WHERE size >= ?1
         ORDER BY size LIMIT ?2",
        params![integer(from), limit(rows)],
        row::head,
    )
}

pub(super) fn message_digests(
    connection: &Connection,
    from: u64,
    to: u64,
) -> Result<Vec<MessageDigest>, StoreError> {
    let mut messages = all(
        connection,
        concat!(
            "/* digests */ SELECT ",
            envelope_columns!(),
            ", p.ciphertext, e.wrapped_key IS NOT NULL, e.recipient, x.hub, x.agency, x.last_entry,
             x.result IS NOT NULL, x.sealing_recipient, x.state, d.recipient, d.state, d.told,
             d.exchange, d.needs_attention, x.answered_ms, x.will_reply_by_ms, x.transcribed_ms,
             x.telephoned_ms, x.outcome, x.decided_ms, x.outcome_ms, x.cancelled_ms, x.consulted_ms,
             x.viewed_ms, x.assessment_due_ms, x.consent_withdrawn_ms, e.destroyed, e.held,
             e.referrer_told_ms, s.ciphertext
             FROM messages AS m
             LEFT JOIN payloads AS p ON p.entry = m.entry
             LEFT JOIN saved_records AS s ON s.entry = m.entry
             LEFT JOIN enquiries AS e ON e.id = m.enquiry
             LEFT JOIN exchanges AS x ON x.id = m.exchange
             LEFT JOIN deliveries AS d ON d.entry = m.entry
             WHERE m.entry >= ?1 AND m.entry < ?2 ORDER BY m.entry"
        ),
        params![integer(from), integer(to)],
        row::message_digest,
    )?;
    for (entry, attachment) in super::attachments::references(connection, from, to)? {
        if let Ok(at) = messages.binary_search_by_key(&entry, |message| message.entry) {
            messages[at].attachments.push(attachment);
        }
    }
    Ok(messages)
}

pub(super) fn certificates(connection: &Connection) -> Result<Vec<CertificateRecord>, StoreError> {
    all(
        connection,
        "/* certificates */ SELECT c.sha256, c.serial, c.agency, c.issued_ms, c.not_before_ms,
         c.not_after_ms, c.revoked_ms, c.revoked_reason, c.pem, c.profile, u.last_ms, u.address
         FROM certificates AS c LEFT JOIN certificate_uses AS u ON u.sha256 = c.sha256
         ORDER BY c.id DESC",
        [],
        row::certificate,
    )
}

pub(super) fn doings(
    connection: &Connection,
    serial: &str,
) -> Result<Vec<CertificateDoing>, StoreError> {
    all(
        connection,
        "/* doings */ SELECT json_extract(fields, '$.event'), count(*),
         min(json_extract(fields, '$.time')), max(json_extract(fields, '$.time'))
         FROM entries WHERE fields LIKE '%\"certificate\":\"' || ?1 || '\"%'
         AND json_extract(fields, '$.certificate') = ?1 GROUP BY 1 ORDER BY 1",
        [serial],
        row::doing,
    )
}

const TOKEN: &str = "SELECT hash, agency, made_ms, expires_ms, needs_approval, key_sha256,
     approved_ms, used_ms FROM enrolment_tokens";

pub(super) fn token(
    connection: &Connection,
    hash: &[u8; 32],
) -> Result<Option<EnrolmentToken>, StoreError> {
    let sql = format!("/* token */ {TOKEN} WHERE hash = ?1");
    Ok(all(connection, &sql, [hash], row::token)?.pop())
}

pub(super) fn tokens(connection: &Connection) -> Result<Vec<EnrolmentToken>, StoreError> {
    all(connection, &format!("/* tokens */ {TOKEN} ORDER BY made_ms DESC"), [], row::token)
}

pub(super) fn probe(connection: &Connection) -> Result<i64, StoreError> {
    one(connection, "/* probe */ SELECT at_ms FROM probe WHERE id = 1", [], |row| row.get(0))
}

pub(super) fn size_bytes(connection: &Connection) -> Result<u64, StoreError> {
    one(
        connection,
        "/* size */ SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
        [],
        |row| row::unsigned(row, 0),
    )
}

pub(super) fn one<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    Ok(connection.prepare_cached(sql)?.query_row(params, read)?)
}

pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params, read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
