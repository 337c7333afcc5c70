-- What is told to whom afterwards.
PRAGMA user_version = 13;

-- Where a message is in its recipient's own record, as that says: sealed to the enquiry's key.
CREATE TABLE saved_records (
    -- Of the message.
    entry INTEGER PRIMARY KEY REFERENCES messages (entry),
    ciphertext BLOB NOT NULL
) STRICT;

-- When the hub first said that somebody has withdrawn their consent.
ALTER TABLE exchanges ADD COLUMN consent_withdrawn_ms INTEGER;
