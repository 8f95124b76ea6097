-- Rows of runner_manager_task. Every change compares what was read: $1 id, $2 status, $3 task_id (invariant I4).

-- name: get
-- One task, with its output.
SELECT id, type, status, task_id, date_added, rank, script_output, video_id, recording_id, runner_manager_id
  FROM runner_manager_task
 WHERE id = $1

-- name: find
-- The tasks that one of the managers $1 knows as $2: unfinished ones first, then the newest.
SELECT id, type, status, task_id, date_added, rank, script_output, video_id, recording_id, runner_manager_id
  FROM runner_manager_task
 WHERE runner_manager_id = ANY ($1::bigint[])
   AND task_id = $2
 ORDER BY status IN ('completed', 'failed', 'timeout'), id DESC

-- name: find_near
-- The same among the tasks $3, the $4 newest ones, and those with the same video or recording as one of these that has
-- the id, or is among $3: without an index on ids the whole table would be searched.
WITH hints AS MATERIALIZED (
    SELECT id, video_id, recording_id
      FROM runner_manager_task
     WHERE id = ANY ($3::bigint[])
     UNION ALL
    SELECT id, video_id, recording_id
      FROM (SELECT id, video_id, recording_id, runner_manager_id, task_id
              FROM runner_manager_task ORDER BY id DESC LIMIT $4) AS newest
     WHERE runner_manager_id = ANY ($1::bigint[]) AND task_id = $2
), near AS MATERIALIZED (
    SELECT id FROM hints
     UNION
    SELECT duplicate.id FROM (SELECT DISTINCT video_id FROM hints) AS wanted
      JOIN runner_manager_task AS duplicate ON duplicate.video_id = wanted.video_id AND duplicate.task_id = $2
     UNION
    SELECT duplicate.id FROM (SELECT DISTINCT recording_id FROM hints) AS wanted
      JOIN runner_manager_task AS duplicate ON duplicate.recording_id = wanted.recording_id AND duplicate.task_id = $2
)
SELECT task.id, type, status, task_id, date_added, rank, script_output, video_id, recording_id, runner_manager_id
  FROM near
  JOIN runner_manager_task AS task ON task.id = near.id
 WHERE runner_manager_id = ANY ($1::bigint[])
   AND task_id = $2
 ORDER BY status IN ('completed', 'failed', 'timeout'), task.id DESC

-- name: lock
-- One task with its output, and nobody else changes it until the end of the transaction.
SELECT id, type, status, task_id, date_added, rank, script_output, video_id, recording_id, runner_manager_id
  FROM runner_manager_task
 WHERE id = $1
   FOR NO KEY UPDATE

-- name: get_free
-- One task with its output, unless somebody holds it: that is an error at once.
SELECT id, type, status, task_id, date_added, rank, script_output, video_id, recording_id, runner_manager_id
  FROM runner_manager_task
 WHERE id = $1
   FOR NO KEY UPDATE NOWAIT

-- name: owners
-- The managers under which some task has this id; NULL for a task without one.
SELECT DISTINCT runner_manager_id FROM runner_manager_task WHERE task_id = $1

-- name: run_on
-- This task is worked on, or its result is there; it keeps its manager and its id.
UPDATE runner_manager_task
   SET status = 'running', rank = NULL
 WHERE id = $1 AND status = $2 AND status <> 'completed' AND task_id IS NOT DISTINCT FROM $3

-- name: finish
-- This task has ended as $4; its output becomes $5 unless that is NULL. A completed task stays so.
UPDATE runner_manager_task
   SET status = $4, script_output = coalesce($5, script_output), rank = NULL
 WHERE id = $1 AND status = $2 AND status <> 'completed' AND task_id IS NOT DISTINCT FROM $3

-- name: write_output
-- This unfinished task has said something.
UPDATE runner_manager_task
   SET script_output = $4
 WHERE id = $1 AND status = $2 AND status <> 'completed' AND task_id IS NOT DISTINCT FROM $3

-- name: requeue
-- This task waits again, in its old place; its output is kept if $4.
UPDATE runner_manager_task
   SET status = 'pending', task_id = NULL, runner_manager_id = NULL, rank = NULL,
       script_output = CASE WHEN $4 THEN script_output END
 WHERE id = $1 AND status = $2 AND status <> 'completed' AND task_id IS NOT DISTINCT FROM $3

-- name: unsettled
-- A page of the tasks that a manager may be working on, or holds a result of, with that manager, active or not.
-- 'warning' is what older Pods stored for a result nobody fetched.
SELECT task.id, type, status, task_id, date_added, rank, NULL AS script_output,
       video_id, recording_id, runner_manager_id,
       manager.id AS manager_id, manager.name AS manager_name, manager.priority AS manager_priority,
       manager.url AS manager_url, manager.token AS manager_token, manager.site_id AS manager_site_id,
       coalesce((to_jsonb(manager) ->> 'is_active')::boolean, true) AS manager_is_active
  FROM runner_manager_task AS task
  LEFT JOIN runner_manager AS manager ON manager.id = task.runner_manager_id
 WHERE task.id > $1
   AND (status IN ('running', 'warning') OR (status = 'pending' AND task_id <> ''))
   AND ($2::timestamptz IS NULL OR date_added < $2)
 ORDER BY task.id
 LIMIT $3

-- name: failed
-- Those of some tasks that have ended without a result, with their manager, active or not.
SELECT task.id, type, status, task_id, date_added, rank, NULL AS script_output,
       video_id, recording_id, runner_manager_id,
       manager.id AS manager_id, manager.name AS manager_name, manager.priority AS manager_priority,
       manager.url AS manager_url, manager.token AS manager_token, manager.site_id AS manager_site_id,
       coalesce((to_jsonb(manager) ->> 'is_active')::boolean, true) AS manager_is_active
  FROM runner_manager_task AS task
  LEFT JOIN runner_manager AS manager ON manager.id = task.runner_manager_id
 WHERE task.id = ANY($1::bigint[]) AND status IN ('failed', 'timeout') AND task_id <> ''

-- name: list
-- A page of tasks for people, newest first, without their output; of the types $2, and if $5 of all others than $6.
SELECT id, type, status, task_id, date_added, rank, NULL AS script_output, video_id, recording_id, runner_manager_id
  FROM runner_manager_task
 WHERE ($1::text[] IS NULL OR status = ANY ($1))
   AND (type = ANY ($2::text[]) OR ($5 AND type <> ALL ($6::text[])))
   AND ($3::bigint IS NULL OR id < $3)
 ORDER BY id DESC
 LIMIT $4

-- name: restartable
-- The tasks named, locked, with another one of the same type and source that waits or runs and is not named.
SELECT task.id, type, status, task_id, date_added, rank, NULL AS script_output,
       video_id, recording_id, runner_manager_id,
       (SELECT min(other.id)
          FROM (SELECT task.type, CASE WHEN task.type <> 'studio' THEN task.video_id END AS video_id,
                       CASE WHEN task.type = 'studio' THEN task.recording_id END AS recording_id) AS wanted
          JOIN runner_manager_task AS other ON {same_source}
         WHERE other.status IN ('pending', 'running')
           AND other.id <> ALL ($1::bigint[])) AS other_id
  FROM runner_manager_task AS task
 WHERE task.id = ANY ($1::bigint[])
 ORDER BY task.id
   FOR UPDATE OF task

-- name: restart
-- These tasks begin again, at the end of the queue.
UPDATE runner_manager_task
   SET status = 'pending', task_id = NULL, runner_manager_id = NULL, rank = NULL, script_output = NULL,
       date_added = now()
 WHERE id = ANY ($1::bigint[])

-- name: purge
-- Delete at most $2 completed tasks that were added before $1.
DELETE FROM runner_manager_task
 WHERE id IN (
     SELECT id FROM runner_manager_task
      WHERE status = 'completed' AND date_added < $1
      ORDER BY id
      LIMIT $2
        FOR UPDATE SKIP LOCKED)
