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
-- role sees the process and the role. Process 0 stands for a transaction that was prepared, and has no session.
SELECT blocker.pid, coalesce(activity.usename, prepared.owner) AS role, activity.application_name AS application,
       activity.state, extract(epoch FROM now() - coalesce(activity.xact_start, prepared.prepared))::float8 AS seconds,
       prepared.gid AS prepared
  FROM unnest(pg_blocking_pids(:pid)) AS blocker (pid)
  LEFT JOIN pg_stat_activity AS activity ON activity.pid = blocker.pid
  LEFT JOIN LATERAL (
      SELECT gid, owner, pg_prepared_xacts.prepared
        FROM pg_prepared_xacts
        JOIN pg_locks AS own ON own.transactionid = pg_prepared_xacts.transaction AND own.granted AND own.pid IS NULL
        JOIN pg_locks AS held ON held.virtualtransaction = own.virtualtransaction AND held.pid IS NULL
        JOIN pg_locks AS wanted
          ON wanted.pid = :pid AND NOT wanted.granted
         AND (wanted.transactionid = held.transactionid
              OR wanted.relation = held.relation AND wanted.database = held.database)
       ORDER BY wanted.transactionid IS NULL
       LIMIT 1) AS prepared ON blocker.pid = 0

-- name: of_holder
-- Who holds a lock of `held`, as columns; process 0 stands for a transaction that was prepared, and has no session.
coalesce(held.pid, 0) AS pid, coalesce(activity.usename, prepared.owner) AS role, activity.application_name AS application,
activity.state, extract(epoch FROM now() - coalesce(activity.xact_start, prepared.prepared))::float8 AS seconds, prepared.gid AS prepared

-- name: holder
-- Who holds it, as tables to join. What a prepared transaction holds names no process; its own lock has its number.
LEFT JOIN pg_stat_activity AS activity ON activity.pid = held.pid
LEFT JOIN pg_locks AS own
  ON held.pid IS NULL AND own.pid IS NULL AND own.transactionid IS NOT NULL AND own.granted
 AND own.virtualtransaction = held.virtualtransaction
LEFT JOIN pg_prepared_xacts AS prepared ON prepared.transaction = own.transactionid

-- name: is_of_another
-- That it is a lock on a table of this database, and not of this session.
held.locktype = 'relation' AND held.granted AND held.pid IS DISTINCT FROM pg_backend_pid()
AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())

-- name: holders
-- Sessions of others, and prepared transactions, that have held a lock for writing on Pod's task table for more than
-- :seconds seconds.
SELECT DISTINCT {of_holder}
  FROM pg_locks AS held
  {holder}
 WHERE {is_of_another}
   AND held.relation = to_regclass('runner_manager_task')
   AND held.mode IN ('RowShareLock', 'RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
   AND coalesce(coalesce(activity.xact_start, prepared.prepared) < now() - make_interval(secs => :seconds), true)

-- name: tables
-- Of the tables :tables and those of our schema, the ones that sessions of others, or prepared transactions, hold as a whole:
-- nobody else can write there, or not even read.
SELECT DISTINCT table_.oid::regclass::text AS name, {of_holder}
  FROM pg_locks AS held
  JOIN pg_class AS table_ ON table_.oid = held.relation
  {holder}
 WHERE {is_of_another}
   AND held.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
   AND table_.relkind IN ('r', 'p')
   AND (table_.relnamespace = to_regnamespace('poddispatchd')
        OR table_.oid IN (SELECT to_regclass(name) FROM unnest(:tables::text[]) AS wanted (name)))
   AND activity.application_name IS DISTINCT FROM :ours
 ORDER BY pid, name

-- name: unfinished
-- Of the first :tasks tasks that run or wait, those whose row nobody holds.
SELECT id FROM runner_manager_task
 WHERE id = ANY (:tasks::bigint[])
   FOR NO KEY UPDATE SKIP LOCKED

-- name: candidates
-- The first :limit tasks that run, then wait.
SELECT id FROM runner_manager_task WHERE status IN ('running', 'pending')
 ORDER BY status = 'pending', id LIMIT :limit
