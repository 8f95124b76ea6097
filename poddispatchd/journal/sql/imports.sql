-- name: open
-- A result is ready: one import for each (task, manager, task id), opened again after a failure.
INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id) VALUES ($1, $2, $3)
ON CONFLICT (task_pk, runner_manager_id, task_id) DO UPDATE
SET state = 'open', attempts = 0, next_attempt_at = now(), lease_owner = NULL, lease_expires_at = NULL,
    last_error = NULL, finished_at = NULL, obstructed_since = NULL
WHERE import.state IN ('failed', 'dropped')
RETURNING id

-- name: is_open
-- Whether a result is about to be imported.
SELECT EXISTS (
    SELECT FROM poddispatchd.import
    WHERE task_pk = $1 AND runner_manager_id = $2 AND task_id = $3 AND state = 'open'
)

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
RETURNING id, task_pk, runner_manager_id, task_id, attempts, video_id, created_at,
          extract(epoch FROM now() - obstructed_since)::double precision AS obstructed_for

-- name: renew
-- Keep the leases of an instance on what it is really working on.
UPDATE poddispatchd.import SET lease_expires_at = now() + make_interval(secs => $2)
WHERE state = 'open' AND lease_owner = $1 AND id = ANY($3::bigint[])

-- name: leases
-- Who holds leases.
SELECT DISTINCT lease_owner FROM poddispatchd.import WHERE state = 'open' AND lease_owner IS NOT NULL

-- name: release
-- Give back some leases of an instance, due at once; the attempts do not count.
UPDATE poddispatchd.import
SET lease_owner = NULL, lease_expires_at = NULL, attempts = greatest(attempts - 1, 0)
WHERE state = 'open' AND lease_owner = $1 AND id = ANY($2::bigint[])

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
-- Try again after so many seconds; an attempt that met an obstacle outside the result ($6) does not count ($5).
UPDATE poddispatchd.import
SET lease_owner = NULL, lease_expires_at = NULL, last_error = $4,
    next_attempt_at = now() + make_interval(secs => $3),
    attempts = CASE WHEN $5::boolean THEN attempts ELSE greatest(attempts - 1, 0) END,
    obstructed_since = CASE WHEN $6::boolean THEN coalesce(obstructed_since, now())
                            WHEN $5::boolean THEN NULL ELSE obstructed_since END
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

-- name: known_tasks
-- Which of these tasks ever had an import, and whether one of them is open.
SELECT task_pk, bool_or(state = 'open') AS is_open
FROM poddispatchd.import WHERE task_pk = ANY($1::bigint[]) GROUP BY task_pk

-- name: open_tasks
-- The tasks whose result is being imported.
SELECT DISTINCT task_pk FROM poddispatchd.import WHERE state = 'open'
