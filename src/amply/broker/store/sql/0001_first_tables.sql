-- What was sent. Written once, never changed. The checksum covers the other columns; SQLite itself does not notice
-- a flipped bit in a row.
CREATE TABLE message (
    seq INTEGER PRIMARY KEY,
    message_id TEXT NOT NULL,
    body TEXT NOT NULL,
    sender_id TEXT NOT NULL,
    attributes TEXT, -- JSON of the message attributes, NULL if there are none
    trace_header TEXT,
    group_id TEXT,
    checksum INTEGER NOT NULL
) STRICT;

-- Where it stands. Small rows, rewritten by every receive, apart from the bodies so that they stay cheap.
CREATE TABLE entry (
    seq INTEGER PRIMARY KEY,
    shelf INTEGER NOT NULL,
    sent_ms INTEGER NOT NULL,
    visible_ms INTEGER NOT NULL,
    receive_count INTEGER NOT NULL,
    first_received_ms INTEGER,
    dead_letter_source_arn TEXT
) STRICT;

-- In the order in which messages are handed out; receive_count is there so that counting never touches the table.
CREATE INDEX entry_by_visible ON entry (shelf, visible_ms, seq, receive_count);
CREATE INDEX entry_by_sent ON entry (shelf, sent_ms);

-- How many messages lie on each shelf, so that a start need not count them. A shelf that no queue has is abandoned:
-- its messages are gone for everybody and are cleared bit by bit. Shelf 0 holds the quarantined messages.
CREATE TABLE shelf (
    shelf INTEGER PRIMARY KEY,
    messages INTEGER NOT NULL
) STRICT;

CREATE TABLE queue (
    queue_id INTEGER PRIMARY KEY,
    shelf INTEGER NOT NULL,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    attributes TEXT NOT NULL, -- JSON
    tags TEXT NOT NULL, -- JSON
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    purged_ms INTEGER,
    UNIQUE (account, name)
) STRICT;

CREATE TABLE removed_queue (
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    removed_ms INTEGER NOT NULL,
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

-- One row, rewritten by every commit.
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    commits INTEGER NOT NULL, -- how many there have been; compared with the file `commits` at start
    last_ms INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    last_id INTEGER NOT NULL,
    secret BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
