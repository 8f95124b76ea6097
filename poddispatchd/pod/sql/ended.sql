-- name: open
-- Every task that waits, and every one that runs ('warning': see tasks.sql): in one row, for there may be very many.
SELECT coalesce(array_agg(id) FILTER (WHERE status = 'pending'), '{}') AS pending,
       coalesce(array_agg(id) FILTER (WHERE status <> 'pending'), '{}') AS running
  FROM runner_manager_task
 WHERE status IN ('pending', 'running', 'warning')

-- name: newest
-- The highest id of a task.
SELECT max(id) FROM runner_manager_task

-- name: moved
-- Tasks with an id above :above; of :pending those that wait no more, of :running those that run no more; and when that is seen.
SELECT id, type, status, date_added, runner_manager_id, now() AS seen_at FROM runner_manager_task WHERE id > :above
 UNION ALL
SELECT id, type, status, date_added, runner_manager_id, now() AS seen_at FROM runner_manager_task
 WHERE id = ANY (:pending::bigint[]) AND status <> 'pending'
 UNION ALL
SELECT id, type, status, date_added, runner_manager_id, now() AS seen_at FROM runner_manager_task
 WHERE id = ANY (:running::bigint[]) AND status NOT IN ('running', 'warning')
