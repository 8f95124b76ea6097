-- What the journal holds of tasks that Pod has deleted, with their video or their owner: nobody needs it any more.
-- A day is left: a run of theirs may still have to be stopped, and Pod's delete may be a part of a restart by hand.

-- name: erase
-- Forget settled rows of {table} about tasks that are gone, at most :batch. {settled_at}: when they were settled.
DELETE FROM poddispatchd.{table} WHERE id IN (
    SELECT id FROM poddispatchd.{table} AS item
    WHERE state <> 'open' AND {settled_at} < now() - interval '1 day'
      AND NOT EXISTS (SELECT FROM runner_manager_task AS task WHERE task.id = item.task_pk)
    LIMIT :batch
)

-- name: erase_callbacks
-- Forget callbacks that were set aside, and with them their texts, of runs that no task has; at most :batch.
DELETE FROM poddispatchd.callback WHERE id IN (
    SELECT id FROM poddispatchd.callback AS item
    WHERE state = 'set_aside' AND handled_at < now() - interval '1 day'
      AND NOT EXISTS (SELECT FROM runner_manager_task AS task WHERE task.task_id = item.task_id)
    LIMIT :batch
)

-- name: forget_owners
-- Runs stay in the history without their owners where Pod has deleted those; at most :batch.
UPDATE poddispatchd.ended_run SET owner_id = NULL WHERE id IN (
    SELECT id FROM poddispatchd.ended_run AS run
    WHERE owner_id IS NOT NULL AND NOT EXISTS (SELECT FROM auth_user WHERE auth_user.id = run.owner_id)
    LIMIT :batch
)
