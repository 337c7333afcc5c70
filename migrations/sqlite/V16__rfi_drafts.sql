-- What somebody at the hub is writing to ask, and has not sent.
PRAGMA user_version = 16;

-- Under an enquiry's id and key of its own, though no enquiry was made yet: so that it is destroyed by
-- destroying its key, in copies too. In no log, for it was not said.
CREATE TABLE rfi_drafts (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    hub TEXT NOT NULL,
    -- Counted from 1: whoever keeps a later one says which it follows.
    version INTEGER NOT NULL,
    begun_ms INTEGER NOT NULL,
    kept_ms INTEGER NOT NULL,
    -- The public half of its key, and the secret half, an age file to the at-rest recipients.
    recipient TEXT NOT NULL,
    wrapped_key BLOB NOT NULL,
    ciphertext BLOB NOT NULL
) STRICT;

CREATE INDEX rfi_drafts_kept ON rfi_drafts (hub, kept_ms);
