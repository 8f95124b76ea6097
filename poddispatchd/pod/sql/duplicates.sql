-- The other tasks of a task's type and source. 'warning': see tasks.sql.

-- name: same_source
-- What makes two tasks duplicates; said here and nowhere else. One of the two sources is NULL for each task.
other.type = wanted.type AND (other.video_id = wanted.video_id OR other.recording_id = wanted.recording_id)

-- name: wanted
-- Task $1, which is of type $2 and works on video $3 or recording $4.
(SELECT $1::bigint AS id, $2::text AS type, $3::bigint AS video_id, $4::bigint AS recording_id) AS wanted

-- name: waiting
-- Those that wait.
SELECT other.id, other.date_added
  FROM {wanted}
  JOIN runner_manager_task AS other ON {same_source} AND other.id <> wanted.id
 WHERE other.status = 'pending' AND coalesce(other.task_id, '') = ''

-- name: ended
-- The runs of those that have ended, the newest first, then those that ended without one.
SELECT min(other.id) AS id, other.status, max(other.date_added) AS date_added,
       other.runner_manager_id, nullif(other.task_id, '') AS task_id
  FROM {wanted}
  JOIN runner_manager_task AS other ON {same_source} AND other.id <> wanted.id
 WHERE other.status IN ('completed', 'failed', 'timeout')
 GROUP BY other.status, other.runner_manager_id, nullif(other.task_id, ''),
          CASE WHEN coalesce(other.task_id, '') = '' THEN other.id END
 ORDER BY nullif(other.task_id, '') IS NULL, min(other.id) DESC
 LIMIT 100

-- name: follow
-- Waiting tasks, each as it was added and if that was more than $7 seconds ago, end as $3, as the run did that manager
-- $4 calls $5; $6 says so. For the age see `pending`.
WITH locked AS MATERIALIZED (
    SELECT task.id
      FROM unnest($1::bigint[], $2::timestamptz[]) AS waiting (id, date_added)
      JOIN runner_manager_task AS task ON task.id = waiting.id AND task.date_added = waiting.date_added
     WHERE task.status = 'pending' AND coalesce(task.task_id, '') = ''
       AND ($7::float8 = 0
            OR task.date_added < now() - make_interval(secs => $7)
            OR task.date_added > now() + make_interval(secs => $7))
     ORDER BY task.id
       FOR UPDATE OF task
)
UPDATE runner_manager_task AS task
   SET status = $3, rank = NULL, runner_manager_id = $4, task_id = $5, script_output = $6
  FROM locked
 WHERE task.id = locked.id

-- name: leader
-- An older one that shares the run of a task, which manager $5 calls $6.
SELECT other.id
  FROM {wanted}
  JOIN runner_manager_task AS other ON {same_source} AND other.id <> wanted.id
 WHERE other.id < $1
   AND other.runner_manager_id = $5 AND other.task_id = $6
   AND other.status IN ('pending', 'running', 'warning')
 LIMIT 1

-- name: lock_sharers
-- Lock a task and those that share its run, which manager $5 calls $6, by primary key: the order of every transaction
-- that locks several rows, or two of them would wait for each other.
SELECT other.id
  FROM runner_manager_task AS other
 WHERE other.id = $1
    OR ((other.video_id = $3 OR other.recording_id = $4) AND other.type = $2
        AND other.runner_manager_id = $5 AND other.task_id = $6)
 ORDER BY other.id
   FOR UPDATE

-- name: complete_sharers
-- Those that share the run of a task, which manager $5 calls $6, are completed with it, however they had ended.
UPDATE runner_manager_task AS other
   SET status = 'completed', rank = NULL
  FROM {wanted}
 WHERE {same_source} AND other.id <> wanted.id
   AND other.runner_manager_id = $5 AND other.task_id = $6
   AND other.status IN ('pending', 'running', 'warning', 'failed', 'timeout')

-- name: fail_waiting
-- Those that wait, and were added more than $5 seconds ago, fail as the task did: $6 says so. For the age see `pending`.
WITH locked AS MATERIALIZED (
    SELECT other.id
      FROM runner_manager_task AS other
     WHERE (other.video_id = $3 OR other.recording_id = $4)
       AND other.id <> $1 AND other.type = $2
       AND other.status = 'pending' AND coalesce(other.task_id, '') = ''
       AND ($5::float8 = 0
            OR other.date_added < now() - make_interval(secs => $5)
            OR other.date_added > now() + make_interval(secs => $5))
     ORDER BY other.id
       FOR UPDATE
)
UPDATE runner_manager_task AS other
   SET status = 'failed', rank = NULL, script_output = $6
  FROM locked
 WHERE other.id = locked.id

-- name: blockers
-- What each of the tasks $1 that waits waits for: one that runs, else the one that stands first, with its manager.
-- 'warning': see tasks.sql.
SELECT task.id, ahead.id AS blocker, ahead.status, ahead.task_id, ahead.date_added, manager.name AS runner_manager
  FROM runner_manager_task AS task
 CROSS JOIN LATERAL (
     SELECT other.*
       FROM (SELECT id, type, status, task_id, date_added, runner_manager_id
               FROM runner_manager_task AS studio
              WHERE task.type = 'studio' AND studio.recording_id = task.recording_id
              UNION ALL
             SELECT id, type, status, task_id, date_added, runner_manager_id
               FROM runner_manager_task AS film
              WHERE task.type <> 'studio' AND film.video_id = task.video_id) AS other
      WHERE other.id <> task.id AND other.type = task.type
        AND (other.status IN ('running', 'warning')
             OR (other.status = 'pending' AND (other.date_added, other.id) < (task.date_added, task.id)))
      ORDER BY other.status = 'pending', other.date_added, other.id
      LIMIT 1
 ) AS ahead
  LEFT JOIN runner_manager AS manager ON manager.id = ahead.runner_manager_id
 WHERE task.id = ANY ($1::bigint[]) AND task.status = 'pending'

-- name: unfinished
-- The others of the sources of the tasks $1 that wait or run.
SELECT DISTINCT other.id
  FROM runner_manager_task AS task
 CROSS JOIN LATERAL (
     SELECT id, type, status
       FROM runner_manager_task AS studio
      WHERE task.type = 'studio' AND studio.recording_id = task.recording_id
      UNION ALL
     SELECT id, type, status
       FROM runner_manager_task AS film
      WHERE task.type <> 'studio' AND film.video_id = task.video_id) AS other
 WHERE task.id = ANY ($1::bigint[])
   AND other.id <> ALL ($1::bigint[]) AND other.type = task.type
   AND other.status IN ('pending', 'running', 'warning')

-- name: waiting_behind
-- The tasks that wait for the sources of the tasks $1, which run; at most $2.
SELECT DISTINCT other.id
  FROM runner_manager_task AS task
 CROSS JOIN LATERAL (
     SELECT id, type, status
       FROM runner_manager_task AS studio
      WHERE task.type = 'studio' AND studio.recording_id = task.recording_id
      UNION ALL
     SELECT id, type, status
       FROM runner_manager_task AS film
      WHERE task.type <> 'studio' AND film.video_id = task.video_id) AS other
 WHERE task.id = ANY ($1::bigint[]) AND other.type = task.type AND other.status = 'pending'
   AND task.status IN ('running', 'warning')
 ORDER BY other.id LIMIT $2

-- name: described
-- How the tasks $1 are, and on which manager.
SELECT task.id, task.status, task.task_id, task.date_added, manager.name AS runner_manager
  FROM runner_manager_task AS task
  LEFT JOIN runner_manager AS manager ON manager.id = task.runner_manager_id
 WHERE task.id = ANY ($1::bigint[])
