-- What people at desks need.
PRAGMA user_version = 14;

-- What somebody at an agency is writing in an exchange and has not sent: sealed to the enquiry's key. In no
-- log, for it was not said.
CREATE TABLE drafts (
    exchange BLOB NOT NULL REFERENCES exchanges (id),
    kind TEXT NOT NULL,
    -- Counted from 1: whoever keeps a later one says which it follows.
    version INTEGER NOT NULL,
    ciphertext BLOB NOT NULL,
    PRIMARY KEY (exchange, kind)
) STRICT;

-- What an agency is waited for, the first due first.
CREATE INDEX exchanges_unanswered ON exchanges (agency, response_required_by_ms)
    WHERE state NOT IN ('cancelled', 'completed', 'rejected');

-- What is still to be done at the hub: an answer is waited for, or an outcome is owed.
CREATE INDEX exchanges_unsettled ON exchanges (hub, response_required_by_ms)
    WHERE outcome_ms IS NULL AND state NOT IN ('cancelled', 'rejected');
