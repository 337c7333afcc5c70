-- The store in one file. Times are milliseconds since 1970, UTC; ids are 16 bytes; hashes 32.
--
-- What is written for every message (entries, checkpoints, messages, payloads, deliveries) is keyed
-- by its place in the log, so that a batch adds to the end of each table instead of dirtying a page
-- per row.

-- "MASH": the file says whose it is, and no other file is taken for ours.
PRAGMA application_id = 1296126792;
PRAGMA user_version = 1;

-- The log. Salt and fields may be purged; the nodes are the log itself and stay.
CREATE TABLE entries (
    idx INTEGER PRIMARY KEY,
    -- The entry before it about the same exchange: the timeline is this chain, read backwards.
    previous INTEGER,
    salt BLOB CHECK (length(salt) = 32),
    fields TEXT,
    -- The roots of the complete subtrees this entry completes, its own leaf hash first.
    nodes BLOB NOT NULL CHECK (length(nodes) > 0 AND length(nodes) % 32 = 0)
) STRICT;

-- One per batch. The last is the head.
CREATE TABLE checkpoints (
    size INTEGER PRIMARY KEY,
    root BLOB NOT NULL CHECK (length(root) = 32),
    note TEXT NOT NULL
) STRICT;

CREATE TABLE enquiries (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    recipient TEXT NOT NULL,
    -- The enquiry's secret key, sealed. NULL once destroyed: then nothing of the enquiry opens.
    wrapped_key BLOB,
    opened_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE exchanges (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    enquiry BLOB NOT NULL REFERENCES enquiries (id),
    reference TEXT NOT NULL UNIQUE,
    hub TEXT NOT NULL,
    agency TEXT NOT NULL,
    rfi BLOB NOT NULL CHECK (length(rfi) = 16),
    categories TEXT NOT NULL,
    persons TEXT NOT NULL,
    priority TEXT NOT NULL,
    response_required_by_ms INTEGER NOT NULL,
    opened_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    result TEXT,
    outcome_ms INTEGER,
    sealing_recipient TEXT NOT NULL,
    -- The entry that opened it, which is the order exchanges are listed in.
    entry INTEGER NOT NULL,
    -- The latest entry about it, where its timeline starts.
    last_entry INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX exchanges_by_enquiry ON exchanges (enquiry, entry);
CREATE INDEX exchanges_by_hub ON exchanges (hub, entry);
CREATE INDEX exchanges_by_agency ON exchanges (agency, entry);

CREATE TABLE messages (
    -- Deferred: a batch's entries are written last, when its tree is known.
    entry INTEGER PRIMARY KEY REFERENCES entries (idx) DEFERRABLE INITIALLY DEFERRED,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    kind TEXT NOT NULL,
    enquiry BLOB NOT NULL,
    exchange BLOB NOT NULL REFERENCES exchanges (id),
    reference TEXT NOT NULL,
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    priority TEXT NOT NULL,
    handling TEXT,
    in_reply_to BLOB,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    size_bytes INTEGER NOT NULL,
    is_sealed_to_agency INTEGER NOT NULL CHECK (is_sealed_to_agency IN (0, 1)),
    traceparent TEXT,
    -- The first message of a submission carries its fingerprint, and how many messages it made;
    -- they are the entries that follow.
    key_hash BLOB CHECK (length(key_hash) = 16),
    body_mac BLOB CHECK (length(body_mac) = 32),
    submission_count INTEGER,
    CHECK ((key_hash IS NULL) = (body_mac IS NULL)),
    CHECK ((key_hash IS NULL) = (submission_count IS NULL))
) STRICT;

-- Apart from messages, so that listing and purging do not touch the large rows.
CREATE TABLE payloads (
    entry INTEGER PRIMARY KEY REFERENCES messages (entry),
    ciphertext BLOB NOT NULL
) STRICT;

CREATE TABLE deliveries (
    entry INTEGER PRIMARY KEY REFERENCES messages (entry),
    recipient TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('collected', 'delivered', 'held', 'queued', 'returned', 'saved')),
    endpoint INTEGER,
    -- When the next attempt may be made; while a worker holds the lease, when the lease runs out.
    due_ms INTEGER,
    attempts INTEGER,
    lease BLOB CHECK (length(lease) = 16),
    CHECK ((state = 'queued') = (due_ms IS NOT NULL)),
    CHECK ((state = 'queued') = (endpoint IS NOT NULL)),
    CHECK ((state = 'queued') = (attempts IS NOT NULL)),
    CHECK (state = 'queued' OR lease IS NULL)
) STRICT;

CREATE INDEX deliveries_inbox ON deliveries (recipient, entry)
    WHERE state IN ('held', 'collected', 'returned');
CREATE INDEX deliveries_due ON deliveries (due_ms) WHERE state = 'queued';

-- Settled idempotency keys; the recent ones are still only in messages.
CREATE TABLE idempotency (
    key_hash BLOB PRIMARY KEY NOT NULL CHECK (length(key_hash) = 16),
    entry INTEGER NOT NULL,
    submission_count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every key of a message before this entry is in idempotency.
CREATE TABLE settled (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    through INTEGER NOT NULL
) STRICT;
INSERT INTO settled (id, through) VALUES (1, 0);

CREATE TABLE reference_numbers (
    year INTEGER PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT;

CREATE TABLE certificates (
    id INTEGER PRIMARY KEY,
    sha256 BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
    serial TEXT NOT NULL,
    agency TEXT NOT NULL,
    issued_ms INTEGER NOT NULL,
    not_before_ms INTEGER NOT NULL,
    not_after_ms INTEGER NOT NULL,
    revoked_ms INTEGER,
    revoked_reason TEXT,
    pem TEXT NOT NULL,
    CHECK ((revoked_ms IS NULL) = (revoked_reason IS NULL))
) STRICT;

-- What the health check writes and reads back.
CREATE TABLE probe (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at_ms INTEGER NOT NULL
) STRICT;
