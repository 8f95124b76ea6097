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
UPDATE runner_manager_task AS task
   SET status = $3, rank = NULL, runner_manager_id = $4, task_id = $5, script_output = $6
  FROM unnest($1::bigint[], $2::timestamptz[]) AS waiting (id, date_added)
 WHERE task.id = waiting.id AND task.date_added = waiting.date_added
   AND task.status = 'pending' AND coalesce(task.task_id, '') = ''
   AND ($7::float8 = 0
        OR task.date_added < now() - make_interval(secs => $7)
        OR task.date_added > now() + make_interval(secs => $7))

-- name: leader
-- An older one that shares the run of a task, which manager $5 calls $6.
SELECT other.id
  FROM {wanted}
  JOIN runner_manager_task AS other ON {same_source} AND other.id <> wanted.id
 WHERE other.id < $1
   AND other.runner_manager_id = $5 AND other.task_id = $6
   AND other.status IN ('pending', 'running', 'warning')
 LIMIT 1

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
UPDATE runner_manager_task AS other
   SET status = 'failed', rank = NULL, script_output = $6
  FROM {wanted}
 WHERE {same_source} AND other.id <> wanted.id
   AND other.status = 'pending' AND coalesce(other.task_id, '') = ''
   AND ($5::float8 = 0
        OR other.date_added < now() - make_interval(secs => $5)
        OR other.date_added > now() + make_interval(secs => $5))
