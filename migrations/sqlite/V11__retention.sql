-- What is destroyed when its time has come, and what is kept from that.
PRAGMA user_version = 11;

-- The entry that says that this enquiry's payloads, files and key were destroyed.
ALTER TABLE enquiries ADD COLUMN destroyed INTEGER;
-- The entry that put a legal hold on it, while there is one.
ALTER TABLE enquiries ADD COLUMN held INTEGER;

CREATE INDEX enquiries_kept ON enquiries (id) WHERE destroyed IS NULL;

-- A message whose payload was destroyed before its recipient had it is in a state of its own. The state's
-- names are part of the table, which is therefore made anew.
CREATE TABLE deliveries_new (
    entry INTEGER PRIMARY KEY REFERENCES messages (entry),
    recipient TEXT NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('collected', 'delivered', 'destroyed', 'held', 'queued', 'returned', 'saved')
    ),
    endpoint INTEGER,
    -- When the next attempt may be made; while a worker holds the lease, when the lease runs out.
    due_ms INTEGER,
    attempts INTEGER,
    lease BLOB CHECK (length(lease) = 16),
    -- Since when a queued message waits: its acceptance, or when an operator had it delivered again.
    since_ms INTEGER,
    -- The entry that told the sender that this is late, or was returned; none while there is nothing to
    -- tell.
    told INTEGER,
    exchange BLOB CHECK (length(exchange) = 16),
    -- Whether the hub has to look at its exchange again until it has saved this.
    needs_attention INTEGER NOT NULL DEFAULT 0 CHECK (needs_attention IN (0, 1)),
    CHECK ((state = 'queued') = (due_ms IS NOT NULL)),
    CHECK ((state = 'queued') = (endpoint IS NOT NULL)),
    CHECK ((state = 'queued') = (attempts IS NOT NULL)),
    CHECK (state = 'queued' OR lease IS NULL)
) STRICT;

INSERT INTO deliveries_new (entry, recipient, state, endpoint, due_ms, attempts, lease, since_ms, told,
    exchange, needs_attention)
SELECT entry, recipient, state, endpoint, due_ms, attempts, lease, since_ms, told, exchange,
    needs_attention
FROM deliveries;

DROP TABLE deliveries;
ALTER TABLE deliveries_new RENAME TO deliveries;

-- With the state, so that what waits is counted without reading the rows.
CREATE INDEX deliveries_inbox ON deliveries (recipient, entry, state)
    WHERE state IN ('held', 'collected', 'returned');
CREATE INDEX deliveries_due ON deliveries (recipient, endpoint, due_ms) WHERE state = 'queued';
CREATE INDEX deliveries_waiting ON deliveries (recipient, endpoint, (told IS NULL), since_ms)
    WHERE state = 'queued';
CREATE INDEX deliveries_returned ON deliveries (told) WHERE state = 'returned';
CREATE INDEX deliveries_told ON deliveries (exchange) WHERE told IS NOT NULL;
CREATE INDEX deliveries_attention ON deliveries (exchange)
    WHERE needs_attention = 1 AND state NOT IN ('saved', 'destroyed');
