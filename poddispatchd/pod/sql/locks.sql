-- Rows of Pod's that another database session holds: which of a task's, and whose session that is.
-- Each of the first five waits for its row as long as lock_timeout says.

-- name: task
-- The task's own row.
-- NO KEY: rows that refer to the task may be inserted meanwhile.
SELECT id FROM runner_manager_task WHERE id = :task FOR NO KEY UPDATE

-- name: video
-- The row of its video.
SELECT id FROM video_video
 WHERE id = (SELECT video_id FROM runner_manager_task WHERE id = :task) FOR NO KEY UPDATE

-- name: recording
-- The row of its recording.
SELECT id FROM recorder_recording
 WHERE id = (SELECT recording_id FROM runner_manager_task WHERE id = :task) FOR NO KEY UPDATE

-- name: step
-- The encoding step of its video.
SELECT id FROM video_encode_transcript_encodingstep
 WHERE video_id = (SELECT video_id FROM runner_manager_task WHERE id = :task) FOR NO KEY UPDATE

-- name: log
-- The encoding log of its video.
SELECT id FROM video_encode_transcript_encodinglog
 WHERE video_id = (SELECT video_id FROM runner_manager_task WHERE id = :task) FOR NO KEY UPDATE

-- name: blockers
-- The sessions that process :pid of the server waits for. What they do is never read; of other roles' sessions a poor
-- role sees the process and the role.
SELECT blocker.pid, activity.usename AS role, activity.application_name AS application, activity.state,
       extract(epoch FROM now() - activity.xact_start)::float8 AS seconds
  FROM unnest(pg_blocking_pids(:pid)) AS blocker (pid)
  LEFT JOIN pg_stat_activity AS activity ON activity.pid = blocker.pid

-- name: holders
-- Sessions of others that have held a lock for writing on Pod's task table for more than :seconds seconds.
SELECT DISTINCT held.pid, activity.usename AS role, activity.application_name AS application, activity.state,
       extract(epoch FROM now() - activity.xact_start)::float8 AS seconds
  FROM pg_locks AS held
  LEFT JOIN pg_stat_activity AS activity ON activity.pid = held.pid
 WHERE held.locktype = 'relation' AND held.granted AND held.pid <> pg_backend_pid()
   AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND held.relation = to_regclass('runner_manager_task')
   AND held.mode IN ('RowShareLock', 'RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
   AND (activity.xact_start IS NULL OR activity.xact_start < now() - make_interval(secs => :seconds))

-- name: unfinished
-- Of the first :tasks tasks that run or wait, those whose row nobody holds.
SELECT id FROM runner_manager_task
 WHERE id = ANY (:tasks::bigint[])
   FOR NO KEY UPDATE SKIP LOCKED

-- name: candidates
-- The first :limit tasks that run, then wait.
SELECT id FROM runner_manager_task WHERE status IN ('running', 'pending')
 ORDER BY status = 'pending', id LIMIT :limit
