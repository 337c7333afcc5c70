-- What witnesses said of checkpoints. Each line proves itself.
PRAGMA user_version = 8;

CREATE TABLE cosignatures (
    size INTEGER NOT NULL REFERENCES checkpoints (size),
    -- The witness's verifier key.
    witness TEXT NOT NULL,
    -- By the witness's own clock.
    time_s INTEGER NOT NULL,
    -- As it stands in the note.
    line TEXT NOT NULL,
    PRIMARY KEY (size, witness)
) STRICT, WITHOUT ROWID;

CREATE INDEX cosignatures_by_witness ON cosignatures (witness, size, time_s);
