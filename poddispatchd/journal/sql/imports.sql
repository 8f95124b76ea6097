-- name: open
-- A result is ready: one import for each (task, manager, task id), opened again after a failure.
INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id) VALUES ($1, $2, $3)
ON CONFLICT (task_pk, runner_manager_id, task_id) DO UPDATE
SET state = 'open', attempts = 0, next_attempt_at = now(), lease_owner = NULL, lease_expires_at = NULL,
    last_error = NULL, finished_at = NULL
WHERE import.state IN ('failed', 'dropped')
RETURNING id

-- name: claim_due
-- Lease the next imports; skip those whose lease is alive.
UPDATE poddispatchd.import
SET attempts = attempts + 1, lease_owner = $2, lease_expires_at = now() + make_interval(secs => $3)
WHERE id IN (
    SELECT id FROM poddispatchd.import
    WHERE state = 'open' AND next_attempt_at <= now()
      AND (lease_expires_at IS NULL OR lease_expires_at < now())
    ORDER BY next_attempt_at, id LIMIT $1
    FOR UPDATE SKIP LOCKED
)
RETURNING id, task_pk, runner_manager_id, task_id, attempts, video_id, created_at

-- name: renew
-- Keep the leases of an instance.
UPDATE poddispatchd.import SET lease_expires_at = now() + make_interval(secs => $2)
WHERE state = 'open' AND lease_owner = $1

-- name: leases
-- Who holds leases.
SELECT DISTINCT lease_owner FROM poddispatchd.import WHERE state = 'open' AND lease_owner IS NOT NULL

-- name: release_owner
-- Give back the leases of an instance that is gone; the attempt it was at does not count.
UPDATE poddispatchd.import
SET lease_owner = NULL, lease_expires_at = NULL, attempts = greatest(attempts - 1, 0)
WHERE state = 'open' AND lease_owner = $1

-- name: reserve_video
-- Store the id of the video that a studio import will make; the first one stored stays.
UPDATE poddispatchd.import SET video_id = coalesce(video_id, $3)
WHERE id = $1 AND state = 'open' AND lease_owner = $2
RETURNING video_id

-- name: finish
-- Close an import that this instance holds: part of the transaction that is its commit point.
UPDATE poddispatchd.import
SET state = $3, last_error = $4, finished_at = now(), lease_owner = NULL, lease_expires_at = NULL
WHERE id = $1 AND state = 'open' AND lease_owner = $2

-- name: drop_open
-- The result of this task is not wanted any more, whoever is at it.
UPDATE poddispatchd.import
SET state = 'dropped', last_error = $2, finished_at = now(), lease_owner = NULL, lease_expires_at = NULL
WHERE task_pk = $1 AND state = 'open'

-- name: retry
-- Try again after so many seconds; an attempt that met an obstacle outside the result does not count.
UPDATE poddispatchd.import
SET lease_owner = NULL, lease_expires_at = NULL, last_error = $4,
    next_attempt_at = now() + make_interval(secs => $3),
    attempts = CASE WHEN $5::boolean THEN attempts ELSE greatest(attempts - 1, 0) END
WHERE id = $1 AND state = 'open' AND lease_owner = $2

-- name: of_task
-- The imports of one task, oldest first.
SELECT state, task_id, attempts, last_error, created_at, finished_at
FROM poddispatchd.import WHERE task_pk = $1 ORDER BY id

-- name: next_due
-- How many imports are open, and the seconds until the next one is due (0 or less: now).
SELECT count(*) AS open, extract(epoch FROM min(
    CASE WHEN lease_expires_at > next_attempt_at THEN lease_expires_at ELSE next_attempt_at END
) - now())::double precision AS due_in
FROM poddispatchd.import WHERE state = 'open'

-- name: purge
-- Forget closed imports older than so many days, a batch at a time.
DELETE FROM poddispatchd.import WHERE id IN (
    SELECT id FROM poddispatchd.import
    WHERE state <> 'open' AND finished_at < now() - make_interval(days => $1) LIMIT $2
)

-- name: add_obsolete_files
-- Remember files to delete once the import is committed.
INSERT INTO poddispatchd.obsolete_file (path, task_pk) SELECT unnest($1::text[]), $2
ON CONFLICT (path) DO NOTHING

-- name: keep_files
-- Files that a new import brings are not obsolete any more.
DELETE FROM poddispatchd.obsolete_file WHERE path = ANY($1::text[])

-- name: obsolete_files
-- Files to delete, oldest first.
SELECT path FROM poddispatchd.obsolete_file ORDER BY added_at, path LIMIT $1
