-- Version 8. One ordered table: what the keys are is in key.rs, and each body ends with the CRC-32 of its key and itself.
-- Its name has the version, so that the statements of other releases fail on it.
CREATE TABLE entry_8 (
    key BLOB PRIMARY KEY,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- For earlier releases, which look for the version here: twice, so that a flipped bit is not taken for a newer one.
PRAGMA user_version = 8;
PRAGMA application_id = 0x6f630008;
