-- What the register knows of a certificate besides the certificate, and how agencies enrol.
PRAGMA user_version = 2;

-- What it is for: an agency's system, a role at a desk, or the gateway itself.
ALTER TABLE certificates ADD COLUMN profile TEXT NOT NULL DEFAULT 'system';

-- Apart from certificates, because it is written often and proves nothing.
CREATE TABLE certificate_uses (
    sha256 BLOB PRIMARY KEY NOT NULL CHECK (length(sha256) = 32),
    last_ms INTEGER NOT NULL,
    address TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One-time tokens. Only their hash is kept.
CREATE TABLE enrolment_tokens (
    hash BLOB PRIMARY KEY NOT NULL CHECK (length(hash) = 32),
    agency TEXT NOT NULL,
    made_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    needs_approval INTEGER NOT NULL CHECK (needs_approval IN (0, 1)),
    -- The key that was first presented with a token that needs approval: no other is approved.
    key_sha256 BLOB CHECK (length(key_sha256) = 32),
    approved_ms INTEGER,
    used_ms INTEGER,
    CHECK (approved_ms IS NULL OR key_sha256 IS NOT NULL)
) STRICT, WITHOUT ROWID;

-- Since when nothing older of an agency's can be turned into a new certificate: not a certificate
-- issued before, nor a token made before. Set when the whole agency is revoked.
CREATE TABLE enrolment_bars (
    agency TEXT PRIMARY KEY NOT NULL,
    since_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX enrolment_tokens_by_agency ON enrolment_tokens (agency, made_ms);
