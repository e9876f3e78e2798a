-- Version 5. Bodies are JSON of the model's types, with a CRC-32 each; the other columns repeat what is asked for.

CREATE TABLE host (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    -- 1: we switched IP forwarding on, and so rules close the host to what is not for our networks; 2: we were about to; 0: neither.
    closed_forwarding INTEGER NOT NULL,
    -- Who keeps our rules, and who still has some that are to go; names with blanks between.
    firewall TEXT NOT NULL,
    former_firewalls TEXT NOT NULL,
    -- The host's own rules decide who from outside reaches a published port.
    asks_host INTEGER NOT NULL
) STRICT;
INSERT INTO host VALUES (1, 0, '', '', 0);

CREATE TABLE network (
    name TEXT PRIMARY KEY,
    bridge TEXT NOT NULL UNIQUE,
    last_address TEXT,
    body TEXT NOT NULL,
    sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE record (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    container TEXT NOT NULL,
    cookie INTEGER NOT NULL,
    state TEXT NOT NULL,
    body TEXT NOT NULL,
    sum INTEGER NOT NULL
) STRICT;
-- A draining record only keeps leases; its container may come back meanwhile.
CREATE UNIQUE INDEX record_by_key ON record (key) WHERE state <> 'draining';
CREATE INDEX draining_by_key ON record (key) WHERE state = 'draining';
CREATE INDEX record_by_cookie ON record (cookie);

-- What exists once: addresses and MACs in a network, links on the host (network '').
CREATE TABLE lease (
    kind TEXT NOT NULL,
    network TEXT NOT NULL,
    value TEXT NOT NULL,
    record INTEGER NOT NULL,
    PRIMARY KEY (kind, network, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_by_record ON lease (record);

-- Published ports of the host, a row for each run of ports; address '' is any.
CREATE TABLE port (
    protocol TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    address TEXT NOT NULL,
    record INTEGER NOT NULL
) STRICT;
CREATE INDEX port_by_number ON port (protocol, first);
-- Only these can reach a port behind their first.
CREATE INDEX port_run ON port (protocol, first) WHERE last > first;
CREATE INDEX port_by_record ON port (record);

-- The version twice, so that a flipped bit is not taken for a newer one.
PRAGMA user_version = 5;
PRAGMA application_id = 0x6f630005;
