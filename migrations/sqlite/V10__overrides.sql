-- The Team Manager's overrides. What was decided cannot be read from it.
PRAGMA user_version = 10;

CREATE TABLE overrides (
    -- The first half of SHA-256 of the code that an RFI names the decision by.
    code_hash BLOB PRIMARY KEY NOT NULL CHECK (length(code_hash) = 16),
    -- HMAC-SHA256 of what was decided, keyed by the code.
    mac BLOB NOT NULL CHECK (length(mac) = 32),
    recorded_ms INTEGER NOT NULL,
    -- The entry of the RFI that it was spent on.
    spent INTEGER
) STRICT, WITHOUT ROWID;

-- The only roles that may see a message, with a space between; none when all may that work with it.
ALTER TABLE messages ADD COLUMN visible_to TEXT;
