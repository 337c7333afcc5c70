-- What an agency sent and was sent, found by time without reading past everybody else's.
PRAGMA user_version = 5;

-- Times only go forward, but for neighbours': each agency's new rows are at the end of its part.
CREATE INDEX messages_by_sender ON messages (sender, time_ms);
CREATE INDEX messages_by_recipient ON messages (recipient, time_ms);
