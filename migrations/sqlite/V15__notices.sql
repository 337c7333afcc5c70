-- What was told by e-mail, so that nothing is told twice. Ids and words of ours alone: no address.
PRAGMA user_version = 15;

CREATE TABLE notices (
    -- Of the message or the exchange it is about; of what is about neither, empty.
    subject BLOB NOT NULL CHECK (length(subject) IN (0, 16)),
    -- What was told of it.
    what TEXT NOT NULL,
    -- To whom: an agency and who of it, or an operator.
    addressee TEXT NOT NULL,
    -- When the mail server took it.
    told_ms INTEGER NOT NULL,
    PRIMARY KEY (subject, what, addressee)
) STRICT, WITHOUT ROWID;
