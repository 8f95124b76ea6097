-- name: record
-- Commit a callback to the inbox; the same one, not handled yet, is recorded once.
INSERT INTO poddispatchd.callback (runner_manager_ids, task_id, status, error_message, script_output, digest)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (task_id, digest) WHERE state = 'open' DO NOTHING

-- name: expected
-- Whether a callback of these runner managers can concern a submission of ours: by its task id, or because the id
-- of one never became known.
SELECT EXISTS (
    SELECT FROM poddispatchd.submission
    WHERE runner_manager_id = ANY($1::bigint[]) AND task_id = $2
) OR EXISTS (
    SELECT FROM poddispatchd.submission
    WHERE runner_manager_id = ANY($1::bigint[]) AND task_id IS NULL
)

-- name: claim_due
-- Take the next callbacks to handle: skip those another instance is at, and put them back in a minute if it dies.
UPDATE poddispatchd.callback SET attempts = attempts + 1, next_attempt_at = now() + interval '60 seconds'
WHERE id IN (
    SELECT id FROM poddispatchd.callback
    WHERE state = 'open' AND next_attempt_at <= now()
    ORDER BY id LIMIT $1
    FOR UPDATE SKIP LOCKED
)
RETURNING id, runner_manager_ids, task_id, status, error_message, script_output, attempts, received_at

-- name: lock
-- Lock a callback that is still open: nobody else applies it meanwhile. An earlier one about the same task that
-- another instance is at goes first.
SELECT NOT EXISTS (
    SELECT FROM poddispatchd.callback AS earlier
    WHERE earlier.task_id = callback.task_id AND earlier.state = 'open' AND earlier.id < callback.id
      AND earlier.runner_manager_ids && callback.runner_manager_ids
) AS is_next
FROM poddispatchd.callback WHERE id = $1 AND state = 'open' FOR UPDATE

-- name: postpone
-- Look at a callback again after so many seconds.
UPDATE poddispatchd.callback SET next_attempt_at = now() + make_interval(secs => $2)
WHERE id = $1 AND state = 'open'

-- name: release_all
-- Make every open callback due. One that a living instance is at is applied once all the same: see lock.
UPDATE poddispatchd.callback SET next_attempt_at = now() WHERE state = 'open'

-- name: settle
-- Close a callback; its texts are in Pod's row now.
UPDATE poddispatchd.callback
SET state = $2, outcome = $3, handled_at = now(), script_output = NULL, error_message = NULL
WHERE id = $1 AND state = 'open'

-- name: next_due
-- The seconds until the next open callback is due (0 or less: now); NULL when there is none.
SELECT extract(epoch FROM min(next_attempt_at) - now())::double precision FROM poddispatchd.callback
WHERE state = 'open'

-- name: purge
-- Forget handled callbacks older than so many days, a batch at a time.
DELETE FROM poddispatchd.callback WHERE id IN (
    SELECT id FROM poddispatchd.callback
    WHERE state <> 'open' AND handled_at < now() - make_interval(days => $1) LIMIT $2
)
