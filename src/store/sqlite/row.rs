//! How our words are written in columns, and read back.
//!
//! A value that does not read back is corruption: nothing but this program writes the file.

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Type, ValueRef};
use rusqlite::{Result, Row};

use crate::audit::tree::Hash;
use crate::message::{
    AgencyId, AttachmentId, Decision, EnquiryId, Envelope, Exchange, ExchangeId, ExchangeState,
    Kind, Marks, MediaType, MessageId, OutcomeCode, Priority, Reference, ResponseResult,
    Undelivered, sha256,
};
use crate::store::{
    Backlog, CertificateDoing, CertificateRecord, DeadLetter, DeliveryState, EnrolmentToken,
    ExchangeRow, Head, LastCosigned, Mailbox, MessageDigest, MessageRows, Queue, RowFault,
    StoredAttachment, StoredEntry, StoredMessage,
};

/// The columns [`envelope`] reads, of `messages AS m`.
macro_rules! envelope_columns {
    () => {
        "m.entry, m.id, m.kind, m.enquiry, m.exchange, m.reference, m.sender, m.recipient, \
         m.time_ms, m.priority, m.handling, m.in_reply_to, m.digest, m.size_bytes, \
         m.is_sealed_to_agency, m.traceparent, m.visible_to"
    };
}
pub(super) use envelope_columns;

/// How many there are: the next column's index.
pub(super) const ENVELOPE_COLUMNS: usize = 17;

/// The columns [`exchange`] reads.
macro_rules! exchange_columns {
    () => {
        "id, enquiry, reference, hub, agency, rfi, categories, persons, priority, \
         response_required_by_ms, opened_ms, state, result, sealing_recipient, \
         (SELECT max(d.state) FROM deliveries AS d \
          WHERE d.exchange = exchanges.id AND d.told IS NOT NULL), \
         EXISTS (SELECT 1 FROM deliveries AS d WHERE d.exchange = exchanges.id \
          AND d.needs_attention = 1 AND d.state NOT IN ('saved', 'destroyed')), \
         answered_ms, will_reply_by_ms, transcribed_ms, telephoned_ms, outcome, decided_ms, \
         outcome_ms, cancelled_ms, consulted_ms, viewed_ms, assessment_due_ms, consent_withdrawn_ms, \
         (SELECT x.outcome FROM exchanges AS x WHERE x.enquiry = exchanges.enquiry \
          AND x.decided_ms IS NOT NULL ORDER BY x.decided_ms, x.entry LIMIT 1), \
         (SELECT min(x.decided_ms) FROM exchanges AS x WHERE x.enquiry = exchanges.enquiry), \
         (SELECT e.referrer_told_ms FROM enquiries AS e WHERE e.id = exchanges.enquiry), \
         (SELECT json_extract(l.fields, '$.time') FROM enquiries AS e \
          JOIN entries AS l ON l.idx = e.destroyed WHERE e.id = exchanges.enquiry)"
    };
}
pub(super) use exchange_columns;

/// A number of ours as SQLite has them. None of ours comes near the sign bit.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An instant as SQLite has them.
pub(super) fn ms(at: Option<Timestamp>) -> Option<i64> {
    at.map(|at| at.as_millisecond())
}

/// A limit as SQLite has them.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// A number that cannot be negative.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

fn optional_unsigned(row: &Row<'_>, column: usize) -> Result<Option<u64>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => unsigned(row, column).map(Some),
    }
}

/// An instant.
pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    let ms: i64 = row.get(column)?;
    Timestamp::from_millisecond(ms)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, ms))
}

fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => time(row, column).map(Some),
    }
}

/// A list of short names.
pub(super) fn list(names: &[String]) -> String {
    serde_json::Value::from(names.to_vec()).to_string()
}

fn names(row: &Row<'_>, column: usize) -> Result<Vec<String>> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
    })
}

/// The envelope of a message, and the entry that accepted it.
pub(super) fn envelope(row: &Row<'_>) -> Result<(u64, Envelope)> {
    let envelope = Envelope {
        id: row.get(1)?,
        kind: row.get(2)?,
        enquiry: row.get(3)?,
        exchange: row.get(4)?,
        reference: row.get(5)?,
        sender: row.get(6)?,
        recipient: row.get(7)?,
        time: time(row, 8)?,
        priority: row.get(9)?,
        handling: row.get(10)?,
        in_reply_to: row.get(11)?,
        digest: row.get(12)?,
        size_bytes: unsigned(row, 13)?,
        is_sealed_to_agency: row.get(14)?,
        traceparent: row.get(15)?,
        visible_to: row.get(16)?,
    };
    Ok((unsigned(row, 0)?, envelope))
}

/// A message: the envelope's columns, then `state, endpoint, due_ms, attempts`.
pub(super) fn message(row: &Row<'_>) -> Result<StoredMessage> {
    let (entry, envelope) = envelope(row)?;
    Ok(StoredMessage { envelope, delivery: delivery(row, ENVELOPE_COLUMNS)?, entry })
}

/// The latest of one witness: `witness, size, time_s`.
pub(super) fn last_cosigned(row: &Row<'_>) -> Result<LastCosigned> {
    let seconds: i64 = row.get(2)?;
    let at = Timestamp::from_second(seconds)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(2, seconds))?;
    Ok(LastCosigned { witness: row.get(0)?, size: unsigned(row, 1)?, at })
}

/// A queue: `recipient, endpoint`, the first `due_ms`, the first `since_ms` untold and told.
pub(super) fn queue(row: &Row<'_>) -> Result<Queue> {
    Ok(Queue {
        recipient: row.get(0)?,
        endpoint: row.get(1)?,
        due: time(row, 2)?,
        untold_since: optional_time(row, 3)?,
        told_since: optional_time(row, 4)?,
    })
}

/// A returned message: the columns of its envelope, then the `fields` of the entry that returned it.
pub(super) fn dead_letter(row: &Row<'_>) -> Result<DeadLetter> {
    let (_, envelope) = envelope(row)?;
    Ok(DeadLetter { envelope, fields: row.get(ENVELOPE_COLUMNS)? })
}

/// The columns [`attachment`] reads, of `attachments AS a`.
macro_rules! attachment_columns {
    () => {
        "a.id, a.uploader, a.media_type, a.size_bytes, a.sealed_bytes, a.parts, a.digest, \
         a.wrapped_key"
    };
}
pub(super) use attachment_columns;

/// A file that is all here, its columns from `first` on.
pub(super) fn attachment(row: &Row<'_>, first: usize) -> Result<StoredAttachment> {
    Ok(StoredAttachment {
        id: row.get(first)?,
        uploader: row.get(first + 1)?,
        media_type: row.get(first + 2)?,
        size_bytes: unsigned(row, first + 3)?,
        sealed_bytes: unsigned(row, first + 4)?,
        parts: row.get(first + 5)?,
        digest: row.get(first + 6)?,
        wrapped_key: row.get(first + 7)?,
    })
}

fn delivery(row: &Row<'_>, first: usize) -> Result<DeliveryState> {
    match row.get_ref(first)?.as_str()? {
        "collected" => Ok(DeliveryState::Collected),
        "delivered" => Ok(DeliveryState::Delivered),
        "destroyed" => Ok(DeliveryState::Destroyed),
        "held" => Ok(DeliveryState::Held),
        "queued" => Ok(DeliveryState::Queued {
            endpoint: row.get(first + 1)?,
            at: time(row, first + 2)?,
            attempts: row.get(first + 3)?,
        }),
        "returned" => Ok(DeliveryState::Returned),
        "saved" => Ok(DeliveryState::Saved),
        _ => Err(FromSqlError::InvalidType.into()),
    }
}

/// What the columns `state, endpoint, due_ms, attempts` hold of a delivery.
pub(super) fn delivery_columns(
    delivery: &DeliveryState,
) -> (&'static str, Option<u16>, Option<i64>, Option<u32>) {
    match delivery {
        DeliveryState::Queued { endpoint, at, attempts } => {
            (delivery.as_str(), Some(*endpoint), Some(at.as_millisecond()), Some(*attempts))
        }
        DeliveryState::Collected
        | DeliveryState::Delivered
        | DeliveryState::Destroyed
        | DeliveryState::Held
        | DeliveryState::Returned
        | DeliveryState::Saved => (delivery.as_str(), None, None, None),
    }
}

/// An exchange.
pub(super) fn exchange(row: &Row<'_>) -> Result<Exchange> {
    Ok(Exchange {
        id: row.get(0)?,
        enquiry: row.get(1)?,
        reference: row.get(2)?,
        hub: row.get(3)?,
        agency: row.get(4)?,
        rfi: row.get(5)?,
        categories: names(row, 6)?,
        persons: names(row, 7)?,
        priority: row.get(8)?,
        response_required_by: time(row, 9)?,
        opened_at: time(row, 10)?,
        state: row.get(11)?,
        result: row.get(12)?,
        sealing_recipient: row.get(13)?,
        undelivered: undelivered(row, 14)?,
        needs_attention: row.get(15)?,
        marks: marks(row, 16)?,
        decision: decision(row, 28)?,
        destroyed_at: logged_time(row, 31)?,
    })
}

/// When an entry was made, as its fields say.
pub(super) fn logged_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    let Some(text) = row.get_ref(column)?.as_str_or_null()? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| FromSqlError::InvalidType.into())
}

fn decision(row: &Row<'_>, first: usize) -> Result<Option<Decision>> {
    let referrer_told_at = optional_time(row, first + 2)?;
    let outcome: Option<OutcomeCode> = row.get(first)?;
    let decided = outcome.zip(optional_time(row, first + 1)?);
    Ok(decided.map(|(outcome, at)| Decision { at, outcome, referrer_told_at }))
}

/// The last of [`exchange_columns`], from this one on.
fn marks(row: &Row<'_>, first: usize) -> Result<Marks> {
    let at = |after: usize| optional_time(row, first + after);
    Ok(Marks {
        answered_at: at(0)?,
        will_reply_by: at(1)?,
        transcribed_at: at(2)?,
        telephoned_at: at(3)?,
        outcome: row.get(first + 4)?,
        decided_at: at(5)?,
        outcome_at: at(6)?,
        cancelled_at: at(7)?,
        consulted_at: at(8)?,
        viewed_at: at(9)?,
        assessment_due_by: at(10)?,
        consent_withdrawn_at: at(11)?,
    })
}

// The worse of two messages' states is the last of them by name.
fn undelivered(row: &Row<'_>, column: usize) -> Result<Option<Undelivered>> {
    match row.get_ref(column)?.as_str_or_null()? {
        None => Ok(None),
        Some("queued") => Ok(Some(Undelivered::Delayed)),
        Some("returned") => Ok(Some(Undelivered::Returned)),
        Some(_) => Err(FromSqlError::InvalidType.into()),
    }
}

/// An entry: `idx, salt, fields, nodes, previous`.
pub(super) fn entry(row: &Row<'_>) -> Result<StoredEntry> {
    let (nodes, rest) = row.get_ref(3)?.as_blob()?.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(FromSqlError::InvalidType.into());
    }
    Ok(StoredEntry {
        index: unsigned(row, 0)?,
        salt: row.get(1)?,
        fields: row.get(2)?,
        nodes: nodes.iter().map(|node| Hash::from_bytes(*node)).collect(),
        previous: optional_unsigned(row, 4)?,
    })
}

/// A checkpoint: `size, root, note`.
pub(super) fn head(row: &Row<'_>) -> Result<Head> {
    Ok(Head { size: unsigned(row, 0)?, root: row.get(1)?, note: row.get_ref(2)?.as_str()?.into() })
}

/// A message's digests, but for its files: the envelope's columns, then `ciphertext`; whether there is
/// an enquiry with its key, and its `recipient`; the exchange's `hub, agency, last_entry, outcome_ms`,
/// whether it has a result, `sealing_recipient, state`; the delivery's `recipient, state, told,
/// exchange`.
pub(super) fn message_digest(row: &Row<'_>) -> Result<MessageDigest> {
    let (entry, envelope) = envelope(row)?;
    let ciphertext_sha256 = row.get_ref(ENVELOPE_COLUMNS)?.as_blob_or_null()?.map(sha256);
    let rows = match message_rows(row, &envelope)? {
        Ok(rows) if rows.destroyed.is_none() && ciphertext_sha256.is_none() => {
            Err(RowFault::PayloadMissing)
        }
        Ok(rows) if rows.destroyed.is_some() && ciphertext_sha256.is_some() => {
            Err(RowFault::NotDestroyed)
        }
        rows => rows,
    };
    let attachments = Vec::new();
    Ok(MessageDigest { entry, id: envelope.id, envelope, attachments, ciphertext_sha256, rows })
}

fn message_rows(
    row: &Row<'_>,
    envelope: &Envelope,
) -> Result<std::result::Result<MessageRows, RowFault>> {
    let at = |after: usize| ENVELOPE_COLUMNS + after;
    let destroyed = optional_unsigned(row, at(26))?;
    match (row.get(at(1))?, destroyed) {
        (false, None) => return Ok(Err(RowFault::EnquiryMissing)),
        (true, Some(_)) => return Ok(Err(RowFault::NotDestroyed)),
        (true, None) | (false, Some(_)) => {}
    }
    let parties: Option<(AgencyId, AgencyId)> =
        row.get::<_, Option<_>>(at(3))?.zip(row.get(at(4))?);
    let ours = (&envelope.sender, &envelope.recipient);
    match &parties {
        None => return Ok(Err(RowFault::ExchangeMissing)),
        // The hub may say something in it to another agency.
        Some((hub, _)) if envelope.kind.goes_further() && envelope.sender == *hub => {}
        Some((hub, agency)) if ours != (hub, agency) && ours != (agency, hub) => {
            return Ok(Err(RowFault::ExchangeParties));
        }
        Some(_) => {}
    }
    match row.get::<_, Option<AgencyId>>(at(9))? {
        None => return Ok(Err(RowFault::DeliveryMissing)),
        Some(to) if to != envelope.recipient => return Ok(Err(RowFault::DeliveryRecipient)),
        Some(_) => {}
    }
    if row.get::<_, Option<ExchangeId>>(at(12))? != Some(envelope.exchange) {
        return Ok(Err(RowFault::DeliveryExchange));
    }
    let exchange = ExchangeRow {
        last_entry: unsigned(row, at(5))?,
        has_result: row.get(at(6))?,
        sealing_recipient: row.get(at(7))?,
        state: row.get(at(8))?,
        marks: marks(row, at(14))?,
        referrer_told_at: optional_time(row, at(28))?,
    };
    Ok(Ok(MessageRows {
        delivery: row.get(at(10))?,
        told: optional_unsigned(row, at(11))?,
        needs_attention: row.get(at(13))?,
        enquiry_recipient: row.get(at(2))?,
        destroyed,
        held: optional_unsigned(row, at(27))?,
        saved_record_sha256: row.get_ref(at(29))?.as_blob_or_null()?.map(sha256),
        exchange,
    }))
}

/// A certificate: `sha256, serial, agency, issued_ms, not_before_ms, not_after_ms, revoked_ms,
/// revoked_reason, pem, profile`, then `last_ms, address` of its latest use.
pub(super) fn certificate(row: &Row<'_>) -> Result<CertificateRecord> {
    Ok(CertificateRecord {
        sha256: row.get(0)?,
        serial: row.get(1)?,
        agency: row.get(2)?,
        issued_at: time(row, 3)?,
        not_before: time(row, 4)?,
        not_after: time(row, 5)?,
        revoked: optional_time(row, 6)?.zip(row.get(7)?),
        pem: row.get(8)?,
        profile: row.get(9)?,
        last_use: optional_time(row, 10)?.zip(row.get(11)?),
    })
}

/// What waits for an agency: `recipient, messages, bytes`.
pub(super) fn mailbox(row: &Row<'_>) -> Result<Mailbox> {
    Ok(Mailbox { recipient: row.get(0)?, messages: unsigned(row, 1)?, bytes: unsigned(row, 2)? })
}

/// What is on its way to an agency: `recipient, state, count`, and when the oldest was accepted.
pub(super) fn backlog(row: &Row<'_>) -> Result<Backlog> {
    let (recipient, state) = (row.get(0)?, row.get(1)?);
    Ok(Backlog { recipient, state, count: unsigned(row, 2)?, oldest: time(row, 3)? })
}

/// What a certificate did: `event, count, first time, last time`.
pub(super) fn doing(row: &Row<'_>) -> Result<CertificateDoing> {
    let instant = |column: usize| {
        let text: String = row.get(column)?;
        let kind = Type::Text;
        text.parse().map_err(|error: jiff::Error| {
            rusqlite::Error::FromSqlConversionFailure(column, kind, error.into())
        })
    };
    Ok(CertificateDoing {
        event: row.get(0)?,
        count: unsigned(row, 1)?,
        first: instant(2)?,
        last: instant(3)?,
    })
}

/// A token: `hash, agency, made_ms, expires_ms, needs_approval, key_sha256, approved_ms, used_ms`.
pub(super) fn token(row: &Row<'_>) -> Result<EnrolmentToken> {
    Ok(EnrolmentToken {
        hash: row.get(0)?,
        agency: row.get(1)?,
        made_at: time(row, 2)?,
        expires_at: time(row, 3)?,
        needs_approval: row.get(4)?,
        key_sha256: row.get(5)?,
        approved_at: optional_time(row, 6)?,
        used_at: optional_time(row, 7)?,
    })
}

macro_rules! text_column {
    ($name:ty, $parse:expr) => {
        impl ToSql for $name {
            fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                $parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
            }
        }
    };
}

text_column!(AgencyId, |text| AgencyId::parse(text).ok());
text_column!(Reference, |text| Reference::parse(text).ok());
text_column!(ExchangeState, ExchangeState::parse);
text_column!(Kind, Kind::parse);
text_column!(MediaType, MediaType::parse);
text_column!(OutcomeCode, OutcomeCode::parse);
text_column!(Priority, Priority::parse);
text_column!(ResponseResult, ResponseResult::parse);

macro_rules! bytes_column {
    ($name:ty) => {
        impl ToSql for $name {
            fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
                Ok(self.as_bytes().as_slice().into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                FromSql::column_result(value).map(Self::from_bytes)
            }
        }
    };
}

bytes_column!(AttachmentId);
bytes_column!(EnquiryId);
bytes_column!(ExchangeId);
bytes_column!(Hash);
bytes_column!(MessageId);
