//! What was told by e-mail. Not in the log: it changes nothing that anybody is owed.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use super::read::{all, one};
use crate::message::{AgencyId, MessageId};
use crate::store::{Notice, NoticeSubject, StoreError, Uncollected};

/// What is told of a message that waits.
const WAITS: &str = "waits";

/// For so long it is remembered that something was told: longer than anything stays due that is looked at.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24 * 400);

pub(super) fn uncollected(
    connection: &Connection,
    recipient: &AgencyId,
    addressee: &str,
    limit: usize,
) -> Result<Uncollected, StoreError> {
    // Said twice what state it is in: the first time as the index has it.
    let waiting: Vec<(MessageId, bool)> = all(
        connection,
        "/* uncollected */ SELECT m.id, EXISTS (SELECT 1 FROM notices AS n
             WHERE n.subject = m.id AND n.what = ?2 AND n.addressee = ?3)
         FROM deliveries AS d JOIN messages AS m ON m.entry = d.entry
         WHERE d.recipient = ?1 AND d.state IN ('held', 'collected', 'returned')
             AND d.state = 'held' AND m.kind NOT IN ('test', 'test-reply')
         ORDER BY d.entry",
        params![recipient, WAITS, addressee],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let untold = waiting.iter().filter(|(_, is_told)| !is_told).take(limit);
    Ok(Uncollected {
        messages: waiting.len() as u64,
        untold: untold
            .map(|(id, _)| Notice { subject: NoticeSubject::Message(*id), what: WAITS.to_owned() })
            .collect(),
    })
}

pub(super) fn untold(
    connection: &Connection,
    addressee: &str,
    notices: Vec<Notice>,
) -> Result<Vec<Notice>, StoreError> {
    let mut untold = Vec::new();
    for notice in notices {
        let is_told: bool = one(
            connection,
            "/* told */ SELECT EXISTS (SELECT 1 FROM notices
                 WHERE subject = ?1 AND what = ?2 AND addressee = ?3)",
            params![notice.subject.as_bytes(), notice.what, addressee],
            |row| row.get(0),
        )?;
        if !is_told {
            untold.push(notice);
        }
    }
    Ok(untold)
}

pub(super) fn note(
    connection: &Connection,
    addressee: &str,
    notices: &[Notice],
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(
        "/* note_told */ INSERT INTO notices (subject, what, addressee, told_ms)
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    )?;
    for Notice { subject, what } in notices {
        insert.execute(params![subject.as_bytes(), what, addressee, at.as_millisecond()])?;
    }
    connection
        .prepare_cached("/* note_told */ DELETE FROM notices WHERE told_ms < ?1")?
        .execute([(at - REMEMBERED).as_millisecond()])?;
    Ok(())
}
