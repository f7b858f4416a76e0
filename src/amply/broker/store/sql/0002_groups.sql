-- Message groups of FIFO queues and of fair standard queues; apart from the bodies, like all that receives look at.
ALTER TABLE entry ADD COLUMN group_id TEXT;
UPDATE entry SET group_id = m.group_id FROM message AS m WHERE m.seq = entry.seq AND m.group_id IS NOT NULL;

ALTER TABLE message ADD COLUMN deduplication_id TEXT; -- FIFO queues only

-- What FIFO queues took in during the last five minutes, whether the messages still exist or not.
CREATE TABLE deduplication (
    seq INTEGER PRIMARY KEY,
    shelf INTEGER NOT NULL,
    key BLOB NOT NULL,
    message_id TEXT NOT NULL,
    sent_ms INTEGER NOT NULL
) STRICT;

-- Receives with an attempt id of the last five minutes: what they got.
CREATE TABLE attempt (
    shelf INTEGER NOT NULL,
    attempt_id TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    deliveries TEXT NOT NULL, -- JSON: [[seq, receive_count, visible_ms], ...]
    PRIMARY KEY (shelf, attempt_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE move_task (
    task_id TEXT PRIMARY KEY,
    source_arn TEXT NOT NULL,
    destination_arn TEXT,
    messages_per_s INTEGER,
    started_ms INTEGER NOT NULL,
    to_move INTEGER NOT NULL,
    moved INTEGER NOT NULL,
    status TEXT NOT NULL,
    failure_reason TEXT
) STRICT, WITHOUT ROWID;

-- A message as it is read back. Text comes as bytes: see rows.py.
CREATE VIEW stored AS
SELECT e.seq, e.shelf, e.sent_ms, e.visible_ms, e.receive_count, e.first_received_ms, e.dead_letter_source_arn,
    e.group_id, CAST(m.message_id AS BLOB), CAST(m.body AS BLOB), CAST(m.sender_id AS BLOB),
    CAST(m.attributes AS BLOB), CAST(m.trace_header AS BLOB), CAST(m.group_id AS BLOB),
    CAST(m.deduplication_id AS BLOB), m.checksum
FROM entry AS e LEFT JOIN message AS m ON m.seq = e.seq;
