-- Which exchanges have a message in them that is late or was returned, without reading all that was
-- logged about them.
PRAGMA user_version = 7;

ALTER TABLE deliveries ADD COLUMN exchange BLOB CHECK (length(exchange) = 16);

UPDATE deliveries
SET exchange = (SELECT m.exchange FROM messages AS m WHERE m.entry = deliveries.entry);

CREATE INDEX deliveries_told ON deliveries (exchange) WHERE told IS NOT NULL;
