-- name: open
-- Results are ready: one import for each (task, manager, task id), opened again after a failure. It is of a campaign only if nobody
-- else waited for the run. Tells the tasks whose import is open by that; nobody asks about failures of theirs any more:
-- should the import fail, it is not tried again by itself.
WITH opened AS (
INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, of_campaign)
SELECT ready.task_pk, ready.runner_manager_id, ready.task_id,
       CASE WHEN EXISTS (SELECT FROM poddispatchd.campaign_video WHERE task_pk = ready.task_pk)
            THEN NOT EXISTS (SELECT FROM poddispatchd.submission JOIN poddispatchd.wish ON wish.submission_id = submission.id
                              WHERE submission.task_pk = ready.task_pk AND submission.task_id = ready.task_id
                                AND NOT EXISTS (SELECT FROM poddispatchd.campaign_video AS other WHERE other.task_pk = wish.task_pk))
            ELSE false END
  FROM unnest(:tasks::bigint[], :runner_managers::bigint[], :task_ids::text[]) AS ready (task_pk, runner_manager_id, task_id)
ON CONFLICT (task_pk, runner_manager_id, task_id) DO UPDATE
SET state = 'open', attempts = 0, next_attempt_at = now(), lease_owner = NULL, lease_expires_at = NULL,
    last_error = NULL, finished_at = NULL, obstructed_since = NULL
-- Not one that is done, which is never brought in twice (I8), nor one that was set aside: a person has that tried
-- again, or dismisses it, which leaves it without a next attempt.
WHERE import.state IN ('failed', 'dropped') AND import.next_attempt_at < 'infinity'
RETURNING task_pk
), forgotten AS (
DELETE FROM poddispatchd.failure WHERE task_pk IN (SELECT task_pk FROM opened)
)
SELECT task_pk FROM opened

-- name: is_open
-- Whether a result is about to be imported.
SELECT EXISTS (
    SELECT FROM poddispatchd.import
    WHERE task_pk = :task AND runner_manager_id = :runner_manager AND task_id = :task_id AND state = 'open'
)

-- name: is_done
-- Whether a result is in Pod.
SELECT EXISTS (
    SELECT FROM poddispatchd.import
    WHERE task_pk = :task AND runner_manager_id = :runner_manager AND task_id = :task_id AND state = 'done'
)

-- name: drop_open
-- The result of this task is not wanted any more, whoever is at it, or though it was set aside.
UPDATE poddispatchd.import
SET state = 'dropped', last_error = :reason, finished_at = now(), lease_owner = NULL, lease_expires_at = NULL
WHERE task_pk = :task AND state IN ('open', 'set_aside')

-- name: of_task
-- The imports of one task, oldest first.
SELECT state, task_id, attempts, last_error, created_at, finished_at
FROM poddispatchd.import WHERE task_pk = :task ORDER BY id

-- name: known_tasks
-- Which of these tasks ever had an import, and whether one of them is open.
SELECT task_pk, bool_or(state = 'open') AS is_open
FROM poddispatchd.import WHERE task_pk = ANY(:tasks::bigint[]) GROUP BY task_pk

-- name: open_tasks
-- The tasks whose result is being imported.
SELECT DISTINCT task_pk FROM poddispatchd.import WHERE state = 'open'

-- name: last_words
-- Who is at the open imports of these tasks, and why the last attempt at each came to nothing.
SELECT task_pk, lease_owner, last_error FROM poddispatchd.import
WHERE state = 'open' AND task_pk = ANY(:tasks::bigint[])

-- name: outstanding
-- The results of the runs that the tasks :tasks have now, as far as these are to come, were set aside, or were dismissed after that.
SELECT import.id, import.task_pk, import.state, import.last_error
  FROM poddispatchd.import
  JOIN runner_manager_task AS task
    ON (task.id, task.runner_manager_id, task.task_id) = (import.task_pk, import.runner_manager_id, import.task_id)
 WHERE import.task_pk = ANY(:tasks::bigint[])
   AND (import.state IN ('open', 'set_aside') OR (import.state = 'dropped' AND import.next_attempt_at = 'infinity'))

-- name: uncalled
-- How many results of the last day came from each runner manager that has not called within it: all were found by asking.
SELECT runner_manager_id, count(*) AS results
  FROM poddispatchd.import
 WHERE state <> 'open' AND finished_at > now() - interval '1 day'
   AND runner_manager_id NOT IN (
        SELECT unnest(runner_manager_ids) FROM poddispatchd.callback
         WHERE state = 'open' OR handled_at > now() - interval '1 day')
 GROUP BY runner_manager_id
