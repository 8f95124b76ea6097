-- name: record_all
-- Commit many callbacks to the inbox, in their order; of each, whether it was expected (those that are not are left
-- out): said to be known (:known), the id of a submission of ours or one that never became known, of a run that was seen,
-- or of one of the {newest} newest tasks. What repeats a callback that is not handled yet is recorded once.
-- (SELECT $n): PostgreSQL does not look into the arrays, and one plan serves for all of them.
WITH incoming AS MATERIALIZED (
    SELECT ordinal, managers::bigint[] AS managers, task_id, status, error_message, script_output, digest, is_known
      FROM unnest((SELECT :managers::text[]), (SELECT :task_ids::text[]), (SELECT :statuses::text[]), (SELECT :error_messages::text[]),
                  (SELECT :script_outputs::text[]), (SELECT :digests::bytea[]), (SELECT :known::boolean[]))
      WITH ORDINALITY AS given(managers, task_id, status, error_message, script_output, digest, is_known, ordinal)
), newest AS MATERIALIZED (
    SELECT runner_manager_id, task_id
      FROM (SELECT runner_manager_id, task_id FROM runner_manager_task ORDER BY id DESC LIMIT {newest}) AS latest
     WHERE task_id IN (SELECT task_id FROM incoming)
), judged AS MATERIALIZED (
    SELECT incoming.*, CASE
        WHEN is_known THEN true
        WHEN EXISTS (
            SELECT FROM poddispatchd.submission
            WHERE submission.task_id = incoming.task_id AND runner_manager_id = ANY (incoming.managers)
        ) THEN true
        WHEN EXISTS (
            SELECT FROM poddispatchd.submission
            WHERE submission.task_id IS NULL AND runner_manager_id = ANY (incoming.managers)
        ) THEN true
        WHEN EXISTS (
            SELECT FROM newest
            WHERE newest.task_id = incoming.task_id AND newest.runner_manager_id = ANY (incoming.managers)
        ) THEN true
        ELSE EXISTS (
            SELECT FROM poddispatchd.sighting JOIN runner_manager_task AS task ON task.id = sighting.task_pk
            WHERE sighting.task_id = incoming.task_id AND task.task_id = incoming.task_id
              AND task.runner_manager_id = ANY (incoming.managers)
        )
    END AS is_expected
    FROM incoming
), recorded AS (
    INSERT INTO poddispatchd.callback (runner_manager_ids, task_id, status, error_message, script_output, digest)
    SELECT managers, task_id, status, error_message, script_output, digest
      FROM judged WHERE is_expected ORDER BY ordinal
    ON CONFLICT (task_id, digest) WHERE state = 'open' DO NOTHING
)
SELECT is_expected FROM judged ORDER BY ordinal

-- name: expected
-- Whether a callback of these runner managers can concern a submission of ours: by its task id, or because the id
-- of one never became known.
SELECT EXISTS (
    SELECT FROM poddispatchd.submission
    WHERE runner_manager_id = ANY(:managers::bigint[]) AND task_id = :task_id
) OR EXISTS (
    SELECT FROM poddispatchd.submission
    WHERE runner_manager_id = ANY(:managers::bigint[]) AND task_id IS NULL
)

-- name: of_runs
-- The callbacks about runs, each a manager and an id in its place of the arrays, oldest first.
SELECT callback.task_id, status, state, outcome, attempts, last_error, received_at, handled_at,
       CASE WHEN state = 'open' THEN next_attempt_at END AS next_attempt_at
FROM poddispatchd.callback
JOIN unnest(:managers::bigint[], :task_ids::text[]) AS run (manager, task_id)
  ON run.task_id = callback.task_id AND callback.runner_manager_ids @> ARRAY[run.manager]
ORDER BY callback.id

-- name: lock
-- Lock a callback that is still open and ours: nobody else applies it meanwhile. An earlier one about the same task
-- goes first while it is due or worked on, or waits a moment for its own turn; not one that waits to be tried again, or
-- it would hold up all that follow.
SELECT NOT EXISTS (
    SELECT FROM poddispatchd.callback AS earlier
    WHERE earlier.task_id = callback.task_id AND earlier.state = 'open' AND earlier.id < callback.id
      AND earlier.runner_manager_ids && callback.runner_manager_ids
      AND (earlier.next_attempt_at <= now() OR earlier.lease_expires_at > now()
           OR (earlier.attempts = 0 AND earlier.next_attempt_at <= now() + interval '1 second'))
) AS is_next
FROM poddispatchd.callback WHERE id = :callback AND state = 'open' AND lease_owner = :owner FOR UPDATE

-- name: lock_next
-- The same for the callbacks :callbacks: those that are still open and ours, and wait for none but each other. They are applied in
-- the order of their ids, and one that is left out keeps those behind it out. What goes before them is looked for once, for all.
WITH ours AS MATERIALIZED (
    SELECT id, task_id, runner_manager_ids FROM poddispatchd.callback
    WHERE id = ANY ((SELECT :callbacks::bigint[])::bigint[]) AND state = 'open' AND lease_owner = :owner
    ORDER BY id FOR UPDATE
), earlier AS MATERIALIZED (
    SELECT id, task_id, runner_manager_ids FROM poddispatchd.callback
    WHERE state = 'open' AND id < (SELECT max(id) FROM ours) AND id <> ALL ((SELECT :callbacks::bigint[])::bigint[])
      AND (next_attempt_at <= now() OR lease_expires_at > now()
           OR (attempts = 0 AND next_attempt_at <= now() + interval '1 second'))
)
SELECT id FROM ours WHERE NOT EXISTS (
    SELECT FROM earlier
    WHERE earlier.task_id = ours.task_id AND earlier.id < ours.id AND earlier.runner_manager_ids && ours.runner_manager_ids
)

-- name: unanswered_for
-- Its manager does not tell what a callback of ours is about: for how many seconds it has not, while somebody asked.
UPDATE poddispatchd.callback SET unanswered_since = coalesce(unanswered_since, now())
WHERE id = :callback AND state = 'open' AND lease_owner = :owner
RETURNING {unanswered_for}

-- name: settle
-- Close callbacks, each as its :states and :outcomes say; their texts are in Pod's rows now.
UPDATE poddispatchd.callback
SET state = ended.state, outcome = ended.outcome, handled_at = now(), script_output = NULL, error_message = NULL, lease_owner = NULL,
    lease_expires_at = NULL
FROM unnest(:callbacks::bigint[], :states::text[], :outcomes::text[]) AS ended (id, state, outcome)
WHERE callback.id = ended.id AND callback.state = 'open'
