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

-- name: lock
-- Lock a callback that is still open and ours: nobody else applies it meanwhile. An earlier one about the same task
-- goes first while it is due or worked on; not one that waits to be tried again, or it would hold up all that follow.
SELECT NOT EXISTS (
    SELECT FROM poddispatchd.callback AS earlier
    WHERE earlier.task_id = callback.task_id AND earlier.state = 'open' AND earlier.id < callback.id
      AND earlier.runner_manager_ids && callback.runner_manager_ids
      AND (earlier.next_attempt_at <= now() OR earlier.lease_expires_at > now())
) AS is_next
FROM poddispatchd.callback WHERE id = $1 AND state = 'open' AND lease_owner = $2 FOR UPDATE

-- name: settle
-- Close a callback; its texts are in Pod's row now.
UPDATE poddispatchd.callback
SET state = $2, outcome = $3, handled_at = now(), script_output = NULL, error_message = NULL, lease_owner = NULL,
    lease_expires_at = NULL
WHERE id = $1 AND state = 'open'
