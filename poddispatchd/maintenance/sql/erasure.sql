-- What the journal holds of tasks that Pod has deleted, with their video or their owner: nobody needs it any more.
-- A day is left: a run of theirs may still have to be stopped, and Pod's delete may be a part of a restart by hand.
-- Tables of a million rows are walked through, some rows in each statement: none of these takes long, nor holds a row for long.
-- OFFSET 0: tasks are looked up one by one. Joined with some rows, all tasks that there are might be read.

-- name: gone_tasks
-- Of the :limit rows of {table} behind those about task :after: the last task, and those that are gone. Indexes alone tell.
WITH looked_at AS MATERIALIZED (
    SELECT task_pk FROM poddispatchd.{table} WHERE task_pk > :after::bigint ORDER BY task_pk LIMIT :limit
)
SELECT max(task_pk) AS up_to, array_agg(DISTINCT task_pk) FILTER (
    WHERE NOT EXISTS (SELECT FROM runner_manager_task AS task WHERE task.id = looked_at.task_pk OFFSET 0)) AS gone
FROM looked_at

-- name: erase
-- Forget settled rows of {table} about the tasks :gone. {settled_at}: when they were settled.
DELETE FROM poddispatchd.{table}
WHERE task_pk = ANY (:gone::bigint[]) AND state <> 'open' AND {settled_at} < now() - interval '1 day'

-- name: gone_deliveries
-- Of the :limit deliveries behind delivery :after: the last one, and those that are settled and about tasks that are gone. What is
-- about no task (0), as reports and most events are, is kept like all else.
WITH looked_at AS MATERIALIZED (
    SELECT id, task_pk, task_pk <> 0 AND state <> 'open' AND settled_at < now() - interval '1 day' AS is_settled
    FROM poddispatchd.delivery WHERE id > :after::bigint ORDER BY id LIMIT :limit
)
SELECT max(id) AS up_to, array_agg(id) FILTER (
    WHERE is_settled
      AND NOT EXISTS (SELECT FROM runner_manager_task AS task WHERE task.id = looked_at.task_pk OFFSET 0)) AS gone
FROM looked_at

-- name: erase_deliveries
-- Forget the deliveries :gone.
DELETE FROM poddispatchd.delivery WHERE id = ANY (:gone::bigint[]) AND state <> 'open'

-- name: set_aside_callbacks
-- Callbacks that were set aside more than a day ago, behind callback :after, and the ids of their runs.
SELECT id, task_id FROM poddispatchd.callback
WHERE id > :after::bigint AND state = 'set_aside' AND handled_at < now() - interval '1 day' ORDER BY id LIMIT :limit

-- name: held_ids
-- Which of the ids :task_ids are those of tasks behind task :after, up to task :up_to: that column has no index.
SELECT DISTINCT task_id FROM runner_manager_task WHERE id > :after::bigint AND id <= :up_to::bigint AND task_id IN (SELECT unnest(:task_ids::text[]))

-- name: erase_callbacks
-- Forget callbacks that were set aside, and with them their texts.
DELETE FROM poddispatchd.callback WHERE id = ANY (:callbacks::bigint[]) AND state = 'set_aside'

-- name: forget_owners
-- Runs stay in the history, which is bounded, without their owners where Pod has deleted those; at most :batch.
UPDATE poddispatchd.ended_run SET owner_id = NULL WHERE id IN (
    SELECT id FROM poddispatchd.ended_run AS run
    WHERE owner_id IS NOT NULL AND NOT EXISTS (SELECT FROM auth_user WHERE auth_user.id = run.owner_id)
    LIMIT :batch
)
