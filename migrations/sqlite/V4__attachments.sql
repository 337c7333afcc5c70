-- Files that are sent with messages.
PRAGMA user_version = 4;

CREATE TABLE attachments (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    uploader TEXT NOT NULL,
    begun_ms INTEGER NOT NULL,
    -- arriving: it is coming in. held: it is all there, and no message names it. bound: one does.
    -- discarded: its parts are still to be removed; nothing else of it counts.
    state TEXT NOT NULL CHECK (state IN ('arriving', 'bound', 'discarded', 'held')),
    -- Of the sealed file, as far as it is here.
    parts INTEGER NOT NULL,
    sealed_bytes INTEGER NOT NULL,
    -- The entry that says that it is all here.
    entry INTEGER UNIQUE REFERENCES entries (idx) DEFERRABLE INITIALLY DEFERRED,
    media_type TEXT,
    size_bytes INTEGER,
    -- SHA-256 of the sealed file.
    digest BLOB CHECK (length(digest) = 32),
    key_hash BLOB UNIQUE CHECK (length(key_hash) = 16),
    body_mac BLOB CHECK (length(body_mac) = 32),
    -- The file's own key, sealed to the gateway. Once a message names the file, its key is sealed to
    -- that message's enquiry, in attachment_references, and no longer here.
    wrapped_key BLOB,
    CHECK ((state IN ('bound', 'held')) = (entry IS NOT NULL)),
    CHECK ((entry IS NULL) = (media_type IS NULL)),
    CHECK ((entry IS NULL) = (size_bytes IS NULL)),
    CHECK ((entry IS NULL) = (digest IS NULL)),
    CHECK ((entry IS NULL) = (key_hash IS NULL)),
    CHECK ((entry IS NULL) = (body_mac IS NULL)),
    CHECK ((state = 'held') = (wrapped_key IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- What an agency has uploaded and not sent, and what is to be cleared away.
CREATE INDEX attachments_unsent ON attachments (uploader, begun_ms)
    WHERE state IN ('arriving', 'held');
CREATE INDEX attachments_to_clear ON attachments (state, begun_ms) WHERE state <> 'bound';

-- The sealed file in the order of its parts. Not tied to its attachment: it is removed after it.
CREATE TABLE attachment_parts (
    attachment BLOB NOT NULL CHECK (length(attachment) = 16),
    part INTEGER NOT NULL,
    ciphertext BLOB NOT NULL,
    PRIMARY KEY (attachment, part)
) STRICT;

-- Which message names which file, with the file's key for that message's recipient.
CREATE TABLE attachment_references (
    message INTEGER NOT NULL REFERENCES messages (entry),
    attachment BLOB NOT NULL REFERENCES attachments (id),
    -- Sealed to the enquiry's key, or to the agency's own: destroyed with the one, lost with the other.
    wrapped_key BLOB NOT NULL,
    -- The entry that says that its recipient fetched it first.
    collected INTEGER,
    PRIMARY KEY (message, attachment)
) STRICT, WITHOUT ROWID;

CREATE INDEX attachment_references_by_attachment ON attachment_references (attachment);
