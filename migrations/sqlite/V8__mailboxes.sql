-- How much waits for each agency, so that a mailbox can have a limit without being counted each time.
PRAGMA user_version = 8;

-- What was neither delivered nor saved: held, collected, queued or returned.
CREATE TABLE mailboxes (
    recipient TEXT PRIMARY KEY NOT NULL,
    messages INTEGER NOT NULL CHECK (messages >= 0),
    -- As they were sent.
    bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT, WITHOUT ROWID;

INSERT INTO mailboxes (recipient, messages, bytes)
SELECT d.recipient, count(*), sum(m.size_bytes)
FROM deliveries AS d JOIN messages AS m ON m.entry = d.entry
WHERE d.state IN ('collected', 'held', 'queued', 'returned')
GROUP BY d.recipient;
