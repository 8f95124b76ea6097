-- name: open
-- Every task that waits or runs ('warning': see tasks.sql).
SELECT id, type, status, date_added, runner_manager_id FROM runner_manager_task
 WHERE status IN ('pending', 'running', 'warning')

-- name: newest
-- The highest id of a task.
SELECT max(id) FROM runner_manager_task

-- name: moved
-- Tasks with an id above $1; of $2 those that wait no more, of $3 those that run no more.
SELECT id, type, status, date_added, runner_manager_id FROM runner_manager_task WHERE id > $1
 UNION ALL
SELECT id, type, status, date_added, runner_manager_id FROM runner_manager_task
 WHERE id = ANY ($2::bigint[]) AND status <> 'pending'
 UNION ALL
SELECT id, type, status, date_added, runner_manager_id FROM runner_manager_task
 WHERE id = ANY ($3::bigint[]) AND status NOT IN ('running', 'warning')
