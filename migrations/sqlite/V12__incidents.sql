-- Incidents: until when the latest one in an exchange has to be assessed, while it is not.
PRAGMA user_version = 12;

ALTER TABLE exchanges ADD COLUMN assessment_due_ms INTEGER;
