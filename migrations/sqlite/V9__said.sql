-- What was said in an exchange and when, as far as something is due by it.
PRAGMA user_version = 9;

-- The agency's first response.
ALTER TABLE exchanges ADD COLUMN answered_ms INTEGER;
-- By when the agency said last that it will answer.
ALTER TABLE exchanges ADD COLUMN will_reply_by_ms INTEGER;
-- When the hub last wrote down for it what it had said by telephone.
ALTER TABLE exchanges ADD COLUMN transcribed_ms INTEGER;
-- When the hub last spoke with it by telephone.
ALTER TABLE exchanges ADD COLUMN telephoned_ms INTEGER;
-- What was decided, and when; outcome_ms says when the agency was told.
ALTER TABLE exchanges ADD COLUMN outcome TEXT;
ALTER TABLE exchanges ADD COLUMN decided_ms INTEGER;
ALTER TABLE exchanges ADD COLUMN cancelled_ms INTEGER;
-- When the agency was last asked what may be released to a person who asks, and when it last said.
ALTER TABLE exchanges ADD COLUMN consulted_ms INTEGER;
ALTER TABLE exchanges ADD COLUMN viewed_ms INTEGER;

UPDATE exchanges
SET answered_ms = (
    SELECT min(m.time_ms) FROM messages AS m
    WHERE m.exchange = exchanges.id AND m.kind = 'response'
)
WHERE result IS NOT NULL;

-- Whether the hub has to look at its exchange again until it has saved this.
ALTER TABLE deliveries ADD COLUMN needs_attention INTEGER NOT NULL DEFAULT 0
    CHECK (needs_attention IN (0, 1));

UPDATE deliveries SET needs_attention = 1
WHERE entry IN (SELECT entry FROM messages WHERE kind = 'supplement');

CREATE INDEX deliveries_attention ON deliveries (exchange)
    WHERE needs_attention = 1 AND state <> 'saved';

-- When whoever referred the child was told that the threshold is not met.
ALTER TABLE enquiries ADD COLUMN referrer_told_ms INTEGER;
