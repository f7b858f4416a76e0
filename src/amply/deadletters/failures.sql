-- Each block is named by its first line.

-- name: schema
-- One failed delivery. `seq` grows by one with each, and only the oldest are ever removed: so the first and the last
-- `seq` tell how many there are. Ids that a record does not name are ''.
CREATE TABLE IF NOT EXISTS failure (
    seq INTEGER PRIMARY KEY,
    stored_ms INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    receive_count INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    again_in_s REAL,
    queue TEXT NOT NULL,
    task TEXT NOT NULL,
    hostname TEXT NOT NULL,
    pid INTEGER NOT NULL,
    nodename TEXT NOT NULL,
    kind TEXT NOT NULL,
    reason TEXT NOT NULL,
    exception TEXT NOT NULL,
    message TEXT NOT NULL
) STRICT;

-- The same record may come more than once.
CREATE UNIQUE INDEX IF NOT EXISTS failure_by_message ON failure (message_id, at_ms, receive_count, job_id);

CREATE INDEX IF NOT EXISTS failure_by_job ON failure (job_id, at_ms);

-- The last failure of each message (`of` is 'm' and its id) and of each job ('j' and its id), with what is wanted of it
-- in one place: it is looked up for every dead letter there is.
CREATE TABLE IF NOT EXISTS last (
    of TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    reason TEXT NOT NULL,
    exception TEXT NOT NULL,
    message TEXT NOT NULL,
    worker TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    receive_count INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    is_last INTEGER NOT NULL,
    failures INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER IF NOT EXISTS failure_may_be_last AFTER INSERT ON failure
BEGIN
    UPDATE last SET failures = failures + 1 WHERE of IN ('m' || new.message_id, 'j' || new.job_id);
    INSERT INTO last
    SELECT
        column1, new.seq, new.kind, new.reason, new.exception, new.message,
        iif(new.nodename = '', new.hostname, new.nodename) || ' ' || new.pid,
        new.attempt, new.receive_count, new.at_ms, new.again_in_s IS NULL, 1
    FROM (VALUES ('m' || new.message_id), ('j' || new.job_id))
    WHERE column1 NOT IN ('m', 'j')
    ON CONFLICT (of) DO UPDATE SET
        seq = excluded.seq, kind = excluded.kind, reason = excluded.reason, exception = excluded.exception,
        message = excluded.message, worker = excluded.worker, attempt = excluded.attempt,
        receive_count = excluded.receive_count, at_ms = excluded.at_ms, is_last = excluded.is_last
    WHERE excluded.at_ms >= at_ms;
END;

CREATE TRIGGER IF NOT EXISTS last_may_be_gone AFTER DELETE ON failure
BEGIN
    DELETE FROM last WHERE of IN ('m' || old.message_id, 'j' || old.job_id) AND seq = old.seq;
END;

-- The traceback that the first failure of a kind came with.
CREATE TABLE IF NOT EXISTS kind (
    kind TEXT PRIMARY KEY,
    last_ms INTEGER NOT NULL,
    traceback TEXT NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS kind_by_last ON kind (last_ms);

-- name: add_failure
INSERT INTO failure (
    stored_ms, message_id, job_id, receive_count, at_ms, attempt, again_in_s, queue, task, hostname, pid, nodename,
    kind, reason, exception, message
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: add_kind
-- A row is as long as its traceback: it is not written again for a moment's difference.
INSERT INTO kind (kind, last_ms, traceback) VALUES (:kind, :now_ms, :traceback)
ON CONFLICT (kind) DO UPDATE SET last_ms = excluded.last_ms WHERE excluded.last_ms > last_ms + 3600000;

-- name: remove_old_failures
DELETE FROM failure
WHERE seq IN (SELECT seq FROM failure ORDER BY seq LIMIT :most) AND stored_ms < :before_ms;

-- name: remove_failures_above
DELETE FROM failure WHERE seq <= (SELECT max(seq) FROM failure) - :kept;

-- name: remove_old_kinds
DELETE FROM kind WHERE last_ms < :before_ms;

-- name: remove_kinds_above
DELETE FROM kind WHERE kind IN (SELECT kind FROM kind ORDER BY last_ms DESC LIMIT -1 OFFSET :kept);

-- name: last
-- All that are wanted in one statement: a third of the time of one statement each.
SELECT of, kind, reason, exception, message, worker, attempt, receive_count, at_ms, is_last, failures
FROM json_each(?) AS wanted CROSS JOIN last ON of = wanted.value;

-- name: history
SELECT
    at_ms, hostname, pid, nodename, queue, message_id, job_id, task, attempt, receive_count, reason, exception, message,
    coalesce((SELECT traceback FROM kind WHERE kind.kind = failure.kind), ''), again_in_s
FROM failure
WHERE seq IN (
    SELECT seq FROM (SELECT seq FROM failure WHERE message_id = :message_id ORDER BY at_ms DESC LIMIT :most)
    UNION
    SELECT seq FROM (SELECT seq FROM failure WHERE job_id = :job_id ORDER BY at_ms DESC LIMIT :most)
)
ORDER BY at_ms DESC, seq DESC LIMIT :most;

-- name: traceback
SELECT traceback FROM kind WHERE kind = :kind;

-- name: counts
SELECT (SELECT coalesce(max(seq) - min(seq) + 1, 0) FROM failure), (SELECT count(*) FROM kind);
