-- What the journal holds of tasks that Pod has deleted, with their video or their owner: nobody needs it any more.
-- A day is left: a run of theirs may still have to be stopped, and Pod's delete may be a part of a restart by hand.
-- Tables of a million rows are walked through, some rows in each statement: none of these takes long, nor holds a row for long.

-- name: next_of_tasks
-- Up to which task the :limit rows of {table} behind those about task :after go.
SELECT max(task_pk) FROM (SELECT task_pk FROM poddispatchd.{table} WHERE task_pk > :after::bigint ORDER BY task_pk LIMIT :limit) AS looked_at

-- name: erase
-- Forget settled rows of {table} about tasks that are gone, behind task :after, up to task :up_to; indexes alone tell which
-- ones these are. {settled_at}: when they were settled.
DELETE FROM poddispatchd.{table} WHERE task_pk > :after::bigint AND task_pk <= :up_to::bigint AND task_pk IN (
    SELECT task_pk FROM poddispatchd.{table} WHERE task_pk > :after::bigint AND task_pk <= :up_to::bigint
    EXCEPT SELECT id FROM runner_manager_task WHERE id > :after::bigint AND id <= :up_to::bigint
) AND state <> 'open' AND {settled_at} < now() - interval '1 day'

-- name: next_deliveries
-- Up to which delivery the :limit ones behind delivery :after go.
SELECT max(id) FROM (SELECT id FROM poddispatchd.delivery WHERE id > :after::bigint ORDER BY id LIMIT :limit) AS looked_at

-- name: erase_deliveries
-- Forget settled deliveries about tasks that are gone, behind delivery :after, up to delivery :up_to. OFFSET: each task is looked up; joined,
-- all that there are could be read for some rows.
DELETE FROM poddispatchd.delivery AS item
WHERE id > :after::bigint AND id <= :up_to::bigint AND state <> 'open' AND settled_at < now() - interval '1 day'
  AND NOT EXISTS (SELECT FROM runner_manager_task AS task WHERE task.id = item.task_pk OFFSET 0)

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
