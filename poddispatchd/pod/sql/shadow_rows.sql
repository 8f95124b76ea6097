-- What a shadow looks at: Pod's rows after Pod did something with them. Nothing here writes or locks.

-- name: rows
-- What became of the tasks :tasks; those that are gone are left out.
SELECT id, status, task_id, runner_manager_id, date_added
  FROM runner_manager_task
 WHERE id = ANY (:tasks::bigint[])

-- name: running
-- How many tasks run on each runner manager, those of :besides left out. 'warning': see tasks.sql.
SELECT runner_manager_id, count(*) AS tasks
  FROM runner_manager_task
 WHERE status IN ('running', 'warning') AND runner_manager_id IS NOT NULL AND id <> ALL (:besides::bigint[])
 GROUP BY runner_manager_id

-- name: types_taken
-- The types of task that each runner manager has ever taken.
SELECT runner_manager_id, type
  FROM runner_manager_task
 WHERE runner_manager_id IS NOT NULL
 GROUP BY runner_manager_id, type

-- name: purgeable
-- How many completed tasks were added before :added_before.
SELECT count(*) FROM runner_manager_task WHERE status = 'completed' AND date_added < :added_before
