-- Rows of runner_manager_task. Every change compares what was read: :task, its :status, its :task_id (invariant I4).

-- name: output
-- What a task has said; of more than 4 MiB, that only Pod's own code can have stored, both ends: one row must not take all memory.
CASE WHEN octet_length(script_output) <= 4194304 THEN script_output
     ELSE left(script_output, 1048576) || E'\n[…]\n' || right(script_output, 1048576) END AS script_output

-- name: get
-- One task, with its output.
SELECT id, type, status, task_id, date_added, rank, {output}, video_id, recording_id, runner_manager_id
  FROM runner_manager_task
 WHERE id = :task

-- name: find
-- The tasks that one of the managers :managers knows as :task_id: unfinished ones first, then the newest.
SELECT id, type, status, task_id, date_added, rank, {output}, video_id, recording_id, runner_manager_id
  FROM runner_manager_task
 WHERE runner_manager_id = ANY (:managers::bigint[])
   AND task_id = :task_id
 ORDER BY status IN ('completed', 'failed', 'timeout'), id DESC

-- name: find_near
-- The same among the tasks :near, the :newest newest ones, and those with the same video or recording as one of these that has
-- the id, or is among :near: without an index on ids the whole table would be searched.
WITH hints AS MATERIALIZED (
    SELECT id, video_id, recording_id
      FROM runner_manager_task
     WHERE id = ANY (:near::bigint[])
     UNION ALL
    SELECT id, video_id, recording_id
      FROM (SELECT id, video_id, recording_id, runner_manager_id, task_id
              FROM runner_manager_task ORDER BY id DESC LIMIT :newest) AS newest
     WHERE runner_manager_id = ANY (:managers::bigint[]) AND task_id = :task_id
), near AS MATERIALIZED (
    SELECT id FROM hints
     UNION
    SELECT duplicate.id FROM (SELECT DISTINCT video_id FROM hints) AS wanted
      JOIN runner_manager_task AS duplicate ON duplicate.video_id = wanted.video_id AND duplicate.task_id = :task_id
     UNION
    SELECT duplicate.id FROM (SELECT DISTINCT recording_id FROM hints) AS wanted
      JOIN runner_manager_task AS duplicate ON duplicate.recording_id = wanted.recording_id AND duplicate.task_id = :task_id
)
SELECT task.id, type, status, task_id, date_added, rank, {output}, video_id, recording_id, runner_manager_id
  FROM near
  JOIN runner_manager_task AS task ON task.id = near.id
 WHERE runner_manager_id = ANY (:managers::bigint[])
   AND task_id = :task_id
 ORDER BY status IN ('completed', 'failed', 'timeout'), task.id DESC

-- name: lock
-- One task with its output, and nobody else changes it until the end of the transaction.
SELECT id, type, status, task_id, date_added, rank, {output}, video_id, recording_id, runner_manager_id
  FROM runner_manager_task
 WHERE id = :task
   FOR NO KEY UPDATE

-- name: owners
-- The managers under which some task has this id; NULL for a task without one.
SELECT DISTINCT runner_manager_id FROM runner_manager_task WHERE task_id = :task_id

-- name: run_on
-- This task is worked on, or its result is there; it keeps its manager and its id.
UPDATE runner_manager_task
   SET status = 'running', rank = NULL
 -- I4: what was read is compared, and NULL as a value like others: a task without an id has one to compare, too.
 WHERE id = :task AND status = :status AND status <> 'completed' AND task_id IS NOT DISTINCT FROM :task_id

-- name: finish
-- This task has ended as :ending; its output becomes :output unless that is NULL. A completed task stays so.
UPDATE runner_manager_task
   SET status = :ending, script_output = coalesce(:output, script_output), rank = NULL
 WHERE id = :task AND status = :status AND status <> 'completed' AND task_id IS NOT DISTINCT FROM :task_id

-- name: write_output
-- This unfinished task has said something.
UPDATE runner_manager_task
   SET script_output = :output
 WHERE id = :task AND status = :status AND status <> 'completed' AND task_id IS NOT DISTINCT FROM :task_id

-- name: write_outputs
-- The same of several, each :tasks in :statuses under :task_ids: its output becomes :outputs.
UPDATE runner_manager_task AS task
   SET script_output = said.output
  FROM unnest(:tasks::bigint[], :statuses::text[], :task_ids::text[], :outputs::text[]) AS said (id, status, task_id, output)
 WHERE task.id = said.id AND task.status = said.status AND task.status <> 'completed' AND task.task_id IS NOT DISTINCT FROM said.task_id

-- name: requeue
-- This task waits again, in its old place; its output is kept.
UPDATE runner_manager_task
   SET status = 'pending', task_id = NULL, runner_manager_id = NULL, rank = NULL
 WHERE id = :task AND status = :status AND status <> 'completed' AND task_id IS NOT DISTINCT FROM :task_id

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
 WHERE task.id > :after
   AND (status IN ('running', 'warning') OR (status = 'pending' AND task_id <> ''))
 ORDER BY task.id
 LIMIT :limit

-- name: failed
-- Those of some tasks that have ended without a result, with their manager, active or not.
SELECT task.id, type, status, task_id, date_added, rank, NULL AS script_output,
       video_id, recording_id, runner_manager_id,
       manager.id AS manager_id, manager.name AS manager_name, manager.priority AS manager_priority,
       manager.url AS manager_url, manager.token AS manager_token, manager.site_id AS manager_site_id,
       coalesce((to_jsonb(manager) ->> 'is_active')::boolean, true) AS manager_is_active
  FROM runner_manager_task AS task
  LEFT JOIN runner_manager AS manager ON manager.id = task.runner_manager_id
 WHERE task.id = ANY(:tasks::bigint[]) AND status IN ('failed', 'timeout') AND task_id <> ''

-- name: list
-- The newest tasks, the latest first, without their output.
SELECT id, type, status, task_id, date_added, rank, NULL AS script_output, video_id, recording_id, runner_manager_id
  FROM runner_manager_task
 WHERE (:statuses::text[] IS NULL OR status = ANY (:statuses))
 ORDER BY id DESC
 LIMIT :limit

-- name: watched
-- The :newest newest tasks, those of :known, and the first :most_open that wait or run ('warning': see unsettled), without
-- their output.
WITH wanted AS (
    (SELECT id FROM runner_manager_task ORDER BY id DESC LIMIT :newest)
     UNION
    SELECT unnest(:known::bigint[])
     UNION
    (SELECT id FROM runner_manager_task
      WHERE :most_open::bigint > 0 AND status IN ('pending', 'running', 'warning')
      ORDER BY id LIMIT :most_open)
)
SELECT task.id, type, status, task_id, date_added, rank, NULL AS script_output, video_id, recording_id, runner_manager_id
  FROM wanted
  JOIN runner_manager_task AS task ON task.id = wanted.id
 ORDER BY task.id

-- name: restartable
-- The tasks named, locked, with another one of the same type and source that waits or runs and is not named.
SELECT task.id, type, status, task_id, date_added, rank, NULL AS script_output,
       video_id, recording_id, runner_manager_id,
       (SELECT min(other.id)
          FROM (SELECT task.type, CASE WHEN task.type <> 'studio' THEN task.video_id END AS video_id,
                       CASE WHEN task.type = 'studio' THEN task.recording_id END AS recording_id) AS wanted
          JOIN runner_manager_task AS other ON {same_source}
         WHERE other.status IN ('pending', 'running')
           AND other.id <> ALL (:tasks::bigint[])) AS other_id
  FROM runner_manager_task AS task
 WHERE task.id = ANY (:tasks::bigint[])
 ORDER BY task.id
   FOR UPDATE OF task

-- name: restart
-- These tasks begin again, at the end of the queue.
UPDATE runner_manager_task
   SET status = 'pending', task_id = NULL, runner_manager_id = NULL, rank = NULL, script_output = NULL,
       date_added = now()
 WHERE id = ANY (:tasks::bigint[])

-- name: next_window
-- Up to which row the :limit rows behind row :after go.
SELECT max(id) FROM (SELECT id FROM runner_manager_task WHERE id > :after::bigint ORDER BY id LIMIT :limit) AS looked_at

-- name: purge
-- Delete completed tasks behind row :after, up to row :up_to, that were added before :added_before.
DELETE FROM runner_manager_task
 WHERE id IN (
     SELECT id FROM runner_manager_task
      WHERE id > :after::bigint AND id <= :up_to::bigint AND status = 'completed' AND date_added < :added_before
      ORDER BY id
        FOR UPDATE SKIP LOCKED)
