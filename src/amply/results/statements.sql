-- Each block is named by its first line.

-- name: schema
-- A result, a group's list of results, or the count of a chord's finished parts, as Celery's key says; without
-- `expires_ms` it is kept for good.
CREATE TABLE IF NOT EXISTS result (
    key TEXT PRIMARY KEY,
    value ANY NOT NULL,
    expires_ms INTEGER
) STRICT;

CREATE INDEX IF NOT EXISTS result_by_expiry ON result (expires_ms) WHERE expires_ms IS NOT NULL;

-- name: get
-- A count is stored as a number and read as its digits, as Redis gives it.
SELECT CAST(value AS BLOB) FROM result WHERE key = :key AND (expires_ms IS NULL OR expires_ms > :now_ms);

-- name: get_many
SELECT key, CAST(value AS BLOB)
FROM result
WHERE key IN (SELECT value FROM json_each(:keys)) AND (expires_ms IS NULL OR expires_ms > :now_ms);

-- name: put
INSERT INTO result (key, value, expires_ms) VALUES (:key, :value, :expires_ms)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_ms = excluded.expires_ms;

-- name: put_new
INSERT INTO result (key, value, expires_ms) VALUES (:key, :value, :expires_ms) ON CONFLICT (key) DO NOTHING;

-- name: remove
DELETE FROM result WHERE key = :key;

-- name: remove_between
DELETE FROM result WHERE key >= :first AND key < :end;

-- name: count_up
-- A count that has expired and is still there begins anew.
INSERT INTO result (key, value, expires_ms) VALUES (:key, 1, NULL)
ON CONFLICT (key) DO UPDATE SET
    value = CASE WHEN expires_ms <= :now_ms THEN 1 ELSE value + 1 END,
    expires_ms = CASE WHEN expires_ms <= :now_ms THEN NULL ELSE expires_ms END
RETURNING value;

-- name: keep_until
UPDATE result SET expires_ms = :expires_ms WHERE key = :key AND (expires_ms IS NULL OR expires_ms > :now_ms);

-- name: remove_expired
DELETE FROM result
WHERE rowid IN (SELECT rowid FROM result WHERE expires_ms <= :now_ms ORDER BY expires_ms LIMIT :most);
