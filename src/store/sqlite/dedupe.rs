//! The idempotency keys, kept so that the cost of remembering them does not grow with their number.
//!
//! Senders choose their keys at random. In one ever larger index each key would fall on a page of
//! its own, and a batch of 64 messages would write 64 pages more: the rate falls with every message
//! ever kept. So a key is first written only in its message's row, at the end of that table, and is
//! held in memory; once a generation of them is complete it is sorted, and each later batch moves
//! the next few, neighbours in the index, into it. Memory holds two generations at most.
//!
//! Nothing depends on the memory surviving: the keys not yet in the index are those of the messages
//! from `settled.through` on, and are read back from there. Moving a key twice does no harm.
//!
//! **Invariant:** every key is in memory, in the index, or in a message at or after `known`.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::row::{integer, unsigned};
use crate::store::StoreError;

/// How many keys a generation has.
pub(super) const GENERATION: usize = 65_536;

/// At least this many keys are moved by a batch, so that a generation ends on a quiet day too.
const SLICE_MIN: usize = 64;

/// Where a submission was accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// Its first entry.
    pub(super) entry: u64,
    /// How many messages it made, in consecutive entries.
    pub(super) count: u64,
}

/// The keys not yet settled.
#[derive(Debug)]
pub(super) struct Keys {
    generation: usize,
    fresh: HashMap<[u8; 16], Place>,
    /// The generation being moved, in key order.
    settling: Vec<([u8; 16], Place)>,
    /// How many of `settling` the index has.
    moved: usize,
    /// When `settling` has been moved, every key of a message before this entry is in the index.
    through: u64,
    /// Every message before this entry has been seen.
    known: u64,
}

impl Keys {
    /// The keys of a store that is opened.
    pub(super) fn load(connection: &Connection, generation: usize) -> Result<Self, StoreError> {
        let through = connection.query_row(
            "/* open */ SELECT through FROM settled WHERE id = 1",
            [],
            |row| unsigned(row, 0),
        )?;
        let mut keys = Self {
            generation,
            fresh: HashMap::new(),
            settling: Vec::new(),
            moved: 0,
            through: 0,
            known: through,
        };
        let size = connection.query_row(
            "/* open */ SELECT coalesce(max(entry) + 1, 0) FROM messages",
            [],
            |row| unsigned(row, 0),
        )?;
        keys.catch_up(connection, size.max(through))?;
        Ok(keys)
    }

    /// Learns the keys of messages that another process accepted, up to a log of `size` entries.
    pub(super) fn catch_up(
        &mut self,
        connection: &Connection,
        size: u64,
    ) -> Result<(), StoreError> {
        let mut statement = connection.prepare_cached(
            "/* catch_up */ SELECT key_hash, entry, submission_count FROM messages
             WHERE entry >= ?1 AND entry < ?2 AND key_hash IS NOT NULL",
        )?;
        let mut rows = statement.query(params![integer(self.known), integer(size)])?;
        let mut learnt = Vec::new();
        while let Some(row) = rows.next()? {
            learnt
                .push((row.get(0)?, Place { entry: unsigned(row, 1)?, count: unsigned(row, 2)? }));
        }
        self.remember(learnt, size);
        Ok(())
    }

    /// Where the submission with this key was accepted, if that is in memory, and from which entry
    /// on memory knows nothing.
    pub(super) fn find(&self, key_hash: &[u8; 16]) -> (Option<Place>, u64) {
        let place = self.fresh.get(key_hash).copied().or_else(|| {
            let at = self.settling.binary_search_by_key(key_hash, |(key, _)| *key).ok()?;
            Some(self.settling[at].1)
        });
        (place, self.known)
    }

    /// Moves the next few keys of the settling generation, in the transaction of a batch that
    /// appends `entries`. Returns how many, for [`Self::committed`].
    ///
    /// Twice as many as can arrive: a generation is always moved before the next is complete.
    pub(super) fn settle(
        &self,
        transaction: &Connection,
        entries: usize,
    ) -> Result<usize, StoreError> {
        let rest = &self.settling[self.moved..];
        let slice = &rest[..rest.len().min(SLICE_MIN.max(2 * entries))];
        let mut insert = transaction.prepare_cached(
            "/* settle */ INSERT INTO idempotency (key_hash, entry, submission_count)
             VALUES (?1, ?2, ?3) ON CONFLICT (key_hash) DO NOTHING",
        )?;
        for (key_hash, place) in slice {
            insert.execute(params![key_hash, integer(place.entry), integer(place.count)])?;
        }
        if !slice.is_empty() && slice.len() == rest.len() {
            // Another process may have got further.
            transaction
                .prepare_cached(
                    "/* settle */ UPDATE settled SET through = max(through, ?1) WHERE id = 1",
                )?
                .execute([integer(self.through)])?;
        }
        Ok(slice.len())
    }

    /// Says that the transaction is committed: `moved` keys are in the index, `accepted` are new,
    /// and the log has `size` entries.
    pub(super) fn committed(
        &mut self,
        moved: usize,
        accepted: impl IntoIterator<Item = ([u8; 16], Place)>,
        size: u64,
    ) {
        self.moved += moved;
        if self.moved == self.settling.len() {
            self.settling = Vec::new();
            self.moved = 0;
        }
        self.remember(accepted, size);
    }

    fn remember(&mut self, keys: impl IntoIterator<Item = ([u8; 16], Place)>, size: u64) {
        self.fresh.extend(keys);
        self.known = size;
        if self.fresh.len() >= self.generation && self.settling.is_empty() {
            self.settling = self.fresh.drain().collect();
            self.settling.sort_unstable_by_key(|(key, _)| *key);
            self.through = size;
        }
    }
}

/// Where the submission with this key was accepted, by what is stored: settled, or at or after
/// entry `from`.
pub(super) fn find_stored(
    connection: &Connection,
    key_hash: &[u8; 16],
    from: u64,
) -> Result<Option<Place>, StoreError> {
    let place =
        |row: &rusqlite::Row<'_>| Ok(Place { entry: unsigned(row, 0)?, count: unsigned(row, 1)? });
    let settled = connection
        .prepare_cached(
            "/* replay */ SELECT entry, submission_count FROM idempotency WHERE key_hash = ?1",
        )?
        .query_row([key_hash], place)
        .optional()?;
    if settled.is_some() {
        return Ok(settled);
    }
    let recent = connection
        .prepare_cached(
            "/* replay */ SELECT entry, submission_count FROM messages
             WHERE entry >= ?1 AND key_hash = ?2",
        )?
        .query_row(params![integer(from), key_hash], place)
        .optional()?;
    Ok(recent)
}
