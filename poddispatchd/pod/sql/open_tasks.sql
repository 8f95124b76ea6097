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
-- Tasks with an id above :above that are not among :seen; of :pending those that wait no more, of :running those that run no
-- more; and when that is seen. UNION: each once, also one that was added while the others were read.
SELECT id, type, status, date_added, runner_manager_id, now() AS seen_at FROM runner_manager_task
 WHERE id > :above AND NOT EXISTS (SELECT FROM unnest(:seen::bigint[]) AS seen (id) WHERE seen.id = runner_manager_task.id)
 UNION
SELECT id, type, status, date_added, runner_manager_id, now() AS seen_at FROM runner_manager_task
 WHERE id = ANY (:pending::bigint[]) AND status <> 'pending'
 UNION
SELECT id, type, status, date_added, runner_manager_id, now() AS seen_at FROM runner_manager_task
 WHERE id = ANY (:running::bigint[]) AND status NOT IN ('running', 'warning')
 ORDER BY id

-- name: open_on_sites
-- Every task that waits or runs ('warning': see tasks.sql), with the sites of its video or recorder.
SELECT task.id, task.status, task.task_id,
       {site_ids} AS site_ids
  FROM runner_manager_task AS task
 WHERE task.status IN ('pending', 'running', 'warning')

-- name: statuses
-- What became of the tasks :tasks; those that were deleted are left out.
SELECT id, status, task_id FROM runner_manager_task WHERE id = ANY (:tasks::bigint[])
