-- Each block is named by its first line. A block that ends in one row of question marks may be widened to many rows.

-- name: state
SELECT commits, last_ms, last_seq, last_id, secret, checksum FROM state;

-- name: make_state
INSERT INTO state (one, commits, last_ms, last_seq, last_id, secret, checksum) VALUES (1, ?, ?, ?, ?, ?, ?);

-- name: put_state
UPDATE state SET commits = ?, last_ms = ?, last_seq = ?, last_id = ?, checksum = ?;

-- name: queues
SELECT q.queue_id, q.shelf, q.account, q.name, q.attributes, q.tags, q.created_ms, q.modified_ms, q.purged_ms,
    s.messages, (SELECT min(e.sent_ms) FROM entry AS e WHERE e.shelf = q.shelf)
FROM queue AS q LEFT JOIN shelf AS s ON s.shelf = q.shelf
ORDER BY q.queue_id;

-- name: removed_queues
SELECT account, name, removed_ms FROM removed_queue WHERE removed_ms > ?;

-- name: in_flight
SELECT seq, shelf, sent_ms, visible_ms, receive_count, first_received_ms, dead_letter_source_arn, group_id
FROM entry
WHERE shelf = ? AND visible_ms > ? AND receive_count <> 0
ORDER BY visible_ms, seq;

-- name: delayed
SELECT visible_ms, count(*) FROM entry WHERE shelf = ? AND visible_ms > ? AND receive_count = 0 GROUP BY visible_ms;

-- name: sent_recently
-- In steps of 100 ms, and without what is in flight.
SELECT (sent_ms + 99) / 100 * 100 AS moment, count(*) FROM entry
WHERE shelf = ? AND sent_ms > ? AND visible_ms <= ? GROUP BY moment;

-- name: ready
SELECT * FROM stored
WHERE shelf = ? AND (visible_ms, seq) > (?, ?) AND visible_ms <= ?
ORDER BY visible_ms, seq
LIMIT ?;

-- name: place_further_on
SELECT visible_ms, seq FROM entry
WHERE shelf = ? AND (visible_ms, seq) > (?, ?) AND visible_ms <= ?
ORDER BY visible_ms, seq
LIMIT 1 OFFSET ?;

-- name: ready_without
SELECT * FROM stored
WHERE shelf = ? AND (visible_ms, seq) > (?, ?) AND (visible_ms, seq) <= (?, ?)
    AND (group_id IS NULL OR group_id NOT IN (SELECT value FROM json_each(?)))
ORDER BY visible_ms, seq
LIMIT ?;

-- name: in_order
-- The same in the order of sending, whatever became of the messages since.
SELECT * FROM stored
WHERE shelf = ? AND (sent_ms, seq) > (?, ?) AND (sent_ms <= ? OR seq <= ?)
ORDER BY sent_ms, seq
LIMIT ?;

-- name: peek
-- Everything, in the order of sending.
SELECT * FROM stored
WHERE shelf = ? AND (sent_ms, seq) > (?, ?)
ORDER BY sent_ms, seq
LIMIT ?;

-- name: fetch
SELECT stored.* FROM json_each(?) AS wanted CROSS JOIN stored
WHERE stored.seq = wanted.value AND stored.shelf = ?;

-- name: oldest
SELECT seq, shelf, sent_ms, visible_ms, receive_count, first_received_ms, dead_letter_source_arn, group_id
FROM entry
WHERE shelf = ?
ORDER BY sent_ms, seq
LIMIT ?;

-- name: find
SELECT seq, shelf, sent_ms, visible_ms, receive_count, first_received_ms, dead_letter_source_arn, group_id
FROM entry
WHERE seq IN (VALUES (?));

-- name: add_messages
INSERT INTO message (seq, message_id, body, sender_id, attributes, trace_header, group_id, checksum, deduplication_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_entries
INSERT INTO entry (seq, shelf, sent_ms, visible_ms, receive_count, first_received_ms, dead_letter_source_arn, group_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: reschedule_entries
-- Only what a receive changes, so that the index by sent_ms is left alone.
INSERT INTO entry (seq, shelf, sent_ms, visible_ms, receive_count, first_received_ms, dead_letter_source_arn, group_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (seq) DO UPDATE SET
    visible_ms = excluded.visible_ms,
    receive_count = excluded.receive_count,
    first_received_ms = excluded.first_received_ms;

-- name: move_entries
INSERT INTO entry (seq, shelf, sent_ms, visible_ms, receive_count, first_received_ms, dead_letter_source_arn, group_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (seq) DO UPDATE SET
    shelf = excluded.shelf,
    sent_ms = excluded.sent_ms,
    visible_ms = excluded.visible_ms,
    receive_count = excluded.receive_count,
    first_received_ms = excluded.first_received_ms,
    dead_letter_source_arn = excluded.dead_letter_source_arn;

-- name: remove_messages
DELETE FROM message WHERE seq IN (VALUES (?));

-- name: remove_entries
DELETE FROM entry WHERE seq IN (VALUES (?));

-- name: tally
INSERT INTO shelf (shelf, messages) VALUES (?, ?)
ON CONFLICT (shelf) DO UPDATE SET messages = messages + excluded.messages;

-- name: quarantine
UPDATE entry SET shelf = 0 WHERE seq IN (VALUES (?));

-- name: put_queue
INSERT INTO queue (queue_id, shelf, account, name, attributes, tags, created_ms, modified_ms, purged_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (queue_id) DO UPDATE SET
    shelf = excluded.shelf,
    attributes = excluded.attributes,
    tags = excluded.tags,
    modified_ms = excluded.modified_ms,
    purged_ms = excluded.purged_ms;

-- name: remove_queue
DELETE FROM queue WHERE queue_id = ?;

-- name: remember_removed
INSERT INTO removed_queue (account, name, removed_ms) VALUES (?, ?, ?)
ON CONFLICT (account, name) DO UPDATE SET removed_ms = excluded.removed_ms;

-- name: forget_removed
DELETE FROM removed_queue WHERE removed_ms <= ?;

-- name: abandoned
SELECT shelf FROM shelf WHERE shelf <> 0 AND shelf NOT IN (SELECT shelf FROM queue) LIMIT 1;

-- name: abandoned_seqs
SELECT seq FROM entry WHERE shelf = ? ORDER BY visible_ms, seq LIMIT ?;

-- name: forget_shelf
DELETE FROM shelf WHERE shelf = ?;

-- name: shelves
SELECT queue_id, shelf FROM queue;

-- name: add_deduplications
INSERT INTO deduplication (seq, shelf, key, message_id, sent_ms)
VALUES (?, ?, ?, ?, ?);

-- name: deduplications
SELECT seq, shelf, key, message_id, sent_ms FROM deduplication WHERE sent_ms > ? ORDER BY seq;

-- name: forget_deduplications
DELETE FROM deduplication WHERE seq IN (SELECT seq FROM deduplication ORDER BY seq LIMIT ?) AND sent_ms <= ?;

-- name: oldest_remembered
SELECT min(moment) FROM (
    SELECT * FROM (SELECT sent_ms AS moment FROM deduplication ORDER BY seq LIMIT 1)
    UNION ALL SELECT min(received_ms) FROM attempt
);

-- name: put_attempt
INSERT INTO attempt (shelf, attempt_id, received_ms, deliveries)
VALUES (?, ?, ?, ?)
ON CONFLICT (shelf, attempt_id) DO UPDATE SET received_ms = excluded.received_ms, deliveries = excluded.deliveries;

-- name: attempts
SELECT shelf, attempt_id, received_ms, deliveries FROM attempt WHERE received_ms > ? ORDER BY received_ms;

-- name: forget_attempts
DELETE FROM attempt WHERE received_ms <= ?;

-- name: put_move_task
INSERT INTO move_task
    (task_id, source_arn, destination_arn, messages_per_s, started_ms, to_move, moved, status, failure_reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (task_id) DO UPDATE SET
    moved = excluded.moved,
    status = excluded.status,
    failure_reason = excluded.failure_reason;

-- name: forget_move_task
DELETE FROM move_task WHERE task_id = ?;

-- name: move_tasks
SELECT task_id, source_arn, destination_arn, messages_per_s, started_ms, to_move, moved, status, failure_reason
FROM move_task
ORDER BY started_ms, task_id;
