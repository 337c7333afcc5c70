-- What the delivery worker goes by when an endpoint is gone for days, and what senders were told.
PRAGMA user_version = 3;

-- Since when a queued message waits: its acceptance, or when an operator had it delivered again.
ALTER TABLE deliveries ADD COLUMN since_ms INTEGER;

-- The entry that told the sender that this is late, or was returned; none while there is nothing to
-- tell.
ALTER TABLE deliveries ADD COLUMN told INTEGER;

UPDATE deliveries
SET since_ms = (SELECT m.time_ms FROM messages AS m WHERE m.entry = deliveries.entry)
WHERE state = 'queued';

WITH said AS (
    SELECT json_extract(fields, '$.message') AS message, json_extract(fields, '$.event') AS event,
        max(idx) AS idx
    FROM entries
    WHERE fields LIKE '%"event":"delayed"%' OR fields LIKE '%"event":"returned"%'
    GROUP BY 1, 2
)
UPDATE deliveries
SET told = (
    SELECT s.idx FROM messages AS m
    JOIN said AS s ON replace(s.message, '-', '') = lower(hex(m.id))
    WHERE m.entry = deliveries.entry
        AND s.event = CASE deliveries.state WHEN 'queued' THEN 'delayed' ELSE 'returned' END
)
WHERE state IN ('queued', 'returned');

-- Each endpoint's messages apart, so that one that takes nothing is not read past for another's.
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (recipient, endpoint, due_ms) WHERE state = 'queued';
CREATE INDEX deliveries_waiting ON deliveries (recipient, endpoint, (told IS NULL), since_ms)
    WHERE state = 'queued';
CREATE INDEX deliveries_returned ON deliveries (told) WHERE state = 'returned';
