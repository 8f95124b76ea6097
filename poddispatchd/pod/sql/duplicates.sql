-- The other tasks of a task's type and source. 'warning': see tasks.sql.

-- name: same_source
-- What makes two tasks duplicates; said here and nowhere else. One of the two sources is NULL for each task.
other.type = wanted.type AND (other.video_id = wanted.video_id OR other.recording_id = wanted.recording_id)

-- name: wanted
-- Task :task, which is of type :type and works on video :video or recording :recording.
(SELECT :task::bigint AS id, :type::text AS type, :video::bigint AS video_id, :recording::bigint AS recording_id) AS wanted

-- name: others
-- Every task of the type and source of `task`, itself too; each kind of source is looked up by its own index.
(SELECT id, type, status, task_id, date_added, runner_manager_id
   FROM runner_manager_task AS studio
  WHERE task.type = 'studio' AND studio.type = task.type AND studio.recording_id = task.recording_id
  UNION ALL
 SELECT id, type, status, task_id, date_added, runner_manager_id
   FROM runner_manager_task AS film
  WHERE task.type <> 'studio' AND film.type = task.type AND film.video_id = task.video_id)

-- name: unimported
-- Whether the result of `past`, a task of the source of `task`, is not in Pod though it is completed, as when a person wrote that: we
-- submitted its run, and imported none, for whichever task, also one that is deleted by now. Of runs that Pod submitted, which may be
-- noted without a body, only Pod knows what it did. What is forgotten of a run is first that it was submitted. OFFSET 0: they are looked
-- up one by one; joined, every import that there is might be read.
(past.status = 'completed'
 AND EXISTS (SELECT FROM poddispatchd.submission AS posted
              WHERE (posted.runner_manager_id, posted.task_id) = (past.runner_manager_id, past.task_id) AND posted.body <> '' OFFSET 0)
 AND NOT EXISTS (SELECT FROM poddispatchd.submission AS posted
                   JOIN poddispatchd.import AS brought
                     ON (brought.task_pk, brought.runner_manager_id, brought.task_id) = (posted.task_pk, posted.runner_manager_id, posted.task_id)
                  WHERE brought.state = 'done' AND (posted.runner_manager_id, posted.task_id) = (past.runner_manager_id, past.task_id) OFFSET 0)
 AND NOT EXISTS (SELECT FROM poddispatchd.import AS brought
                  WHERE brought.state = 'done' AND brought.task_pk IN (SELECT id FROM {others} AS alike)
                    AND (brought.runner_manager_id, brought.task_id) = (past.runner_manager_id, past.task_id) OFFSET 0))

-- name: done_later
-- The newest task of the source of `task` that was added after it and whose result, of a run of its own, is in Pod; NULL without one.
(SELECT past.id
   FROM {others} AS past
  WHERE past.id <> task.id AND past.status = 'completed' AND past.date_added > task.date_added
    AND past.runner_manager_id IS NOT NULL AND past.task_id <> ''
    AND (past.runner_manager_id, past.task_id) IS DISTINCT FROM (task.runner_manager_id, task.task_id)
    AND NOT {unimported}
  ORDER BY past.date_added DESC, past.id DESC
  LIMIT 1)

-- name: waiting
-- Those that wait.
SELECT other.id, other.date_added
  FROM {wanted}
  JOIN runner_manager_task AS other ON {same_source} AND other.id <> wanted.id
 WHERE other.status = 'pending' AND coalesce(other.task_id, '') = ''

-- name: ended
-- The runs of those that have ended, the newest first, then those that ended without one; not one whose result was never fetched.
SELECT min(past.id) AS id, past.status, max(past.date_added) AS date_added,
       past.runner_manager_id, nullif(past.task_id, '') AS task_id
  FROM {wanted}
 CROSS JOIN LATERAL (SELECT wanted.*) AS task
 CROSS JOIN LATERAL {others} AS past
 WHERE past.id <> task.id AND past.status IN ('completed', 'failed', 'timeout') AND NOT {unimported}
 GROUP BY past.status, past.runner_manager_id, nullif(past.task_id, ''),
          CASE WHEN coalesce(past.task_id, '') = '' THEN past.id END
 ORDER BY nullif(past.task_id, '') IS NULL, min(past.id) DESC
 LIMIT 100

-- name: follow
-- Waiting tasks, each as it was added and if that was more than :grace seconds ago, end as :status, as the run did that manager
-- :runner_manager calls :task_id; :output says so. For the age see `pending`.
WITH locked AS MATERIALIZED (
    SELECT task.id
      FROM unnest(:tasks::bigint[], :dates_added::timestamptz[]) AS waiting (id, date_added)
      JOIN runner_manager_task AS task ON task.id = waiting.id AND task.date_added = waiting.date_added
     WHERE task.status = 'pending' AND coalesce(task.task_id, '') = ''
       AND (:grace::float8 = 0
            OR task.date_added < now() - make_interval(secs => :grace)
            OR task.date_added > now() + make_interval(secs => :grace))
     -- By primary key, as every transaction that locks several rows: two of them must not wait for each other.
     ORDER BY task.id
       FOR UPDATE OF task
)
UPDATE runner_manager_task AS task
   SET status = :status, rank = NULL, runner_manager_id = :runner_manager, task_id = :task_id, script_output = :output
  FROM locked
 WHERE task.id = locked.id

-- name: leader
-- The oldest of those before a task that share its run, which manager :runner_manager calls :task_id.
SELECT other.id
  FROM {wanted}
  JOIN runner_manager_task AS other ON {same_source} AND other.id <> wanted.id
 WHERE other.id < :task
   AND other.runner_manager_id = :runner_manager AND other.task_id = :task_id
   AND other.status IN ('pending', 'running', 'warning')
 ORDER BY other.id LIMIT 1

-- name: by_hand
-- Those of the tasks :tasks that are completed without the result of their run, or that of a later task, with which we complete them.
SELECT past.id
  FROM runner_manager_task AS task
 CROSS JOIN LATERAL (SELECT task.*) AS past
 WHERE task.id = ANY (:tasks::bigint[]) AND {unimported} AND {done_later} IS NULL

-- name: of_later
-- The task that did the source of the task :task later.
SELECT {done_later} FROM runner_manager_task AS task WHERE task.id = :task

-- name: complete
-- A task that still is as it was read, in :status and with its source, is completed, and with it those that share its run, which manager
-- :runner_manager calls :task_id, however they had ended; says whether it was so. They are locked by primary key: the
-- order of every transaction that locks several rows, or two of them would wait for each other.
WITH locked AS MATERIALIZED (
    SELECT other.id
      FROM runner_manager_task AS other
     WHERE other.id = :task
        OR ((other.video_id = :video OR other.recording_id = :recording) AND other.type = :type
            AND other.runner_manager_id = :runner_manager AND other.task_id = :task_id)
     ORDER BY other.id
       FOR UPDATE
), completed AS (
    UPDATE runner_manager_task AS task
       SET status = 'completed', rank = NULL
      FROM locked
     WHERE task.id = locked.id AND task.task_id IS NOT DISTINCT FROM :task_id
       AND CASE WHEN task.id = :task THEN task.status = :status AND task.status <> 'completed'
                                          AND task.type = :type AND (task.video_id = :video OR task.recording_id = :recording)
                ELSE task.status IN ('pending', 'running', 'warning', 'failed', 'timeout') END
    RETURNING task.id
)
SELECT EXISTS (SELECT FROM completed WHERE id = :task)

-- name: fail_waiting
-- Those that wait, and were added more than :grace seconds ago, fail as the task did: :output says so. For the age see `pending`.
WITH locked AS MATERIALIZED (
    SELECT other.id
      FROM runner_manager_task AS other
     WHERE (other.video_id = :video OR other.recording_id = :recording)
       AND other.id <> :task AND other.type = :type
       AND other.status = 'pending' AND coalesce(other.task_id, '') = ''
       AND (:grace::float8 = 0
            OR other.date_added < now() - make_interval(secs => :grace)
            OR other.date_added > now() + make_interval(secs => :grace))
     ORDER BY other.id
       FOR UPDATE
)
UPDATE runner_manager_task AS other
   SET status = 'failed', rank = NULL, script_output = :output
  FROM locked
 WHERE other.id = locked.id

-- name: blockers
-- What each of the tasks :tasks that waits waits for: one that runs, else the one that stands first, with its manager.
-- 'warning': see tasks.sql.
SELECT task.id, ahead.id AS blocker, ahead.status, ahead.task_id, ahead.date_added, manager.name AS runner_manager
  FROM runner_manager_task AS task
 CROSS JOIN LATERAL (
     SELECT other.*
       FROM {others} AS other
      WHERE other.id <> task.id
        AND (other.status IN ('running', 'warning')
             OR (other.status = 'pending' AND (other.date_added, other.id) < (task.date_added, task.id)))
      ORDER BY other.status = 'pending', other.date_added, other.id
      LIMIT 1
 ) AS ahead
  LEFT JOIN runner_manager AS manager ON manager.id = ahead.runner_manager_id
 WHERE task.id = ANY (:tasks::bigint[]) AND task.status = 'pending'

-- name: unfinished
-- The others of the sources of the tasks :tasks that wait or run.
SELECT DISTINCT other.id
  FROM runner_manager_task AS task
 CROSS JOIN LATERAL {others} AS other
 WHERE task.id = ANY (:tasks::bigint[])
   AND other.id <> ALL (:tasks::bigint[])
   AND other.status IN ('pending', 'running', 'warning')

-- name: waiting_behind
-- The tasks that wait for the sources of the tasks :tasks, which run; at most :limit.
SELECT DISTINCT other.id
  FROM runner_manager_task AS task
 CROSS JOIN LATERAL {others} AS other
 WHERE task.id = ANY (:tasks::bigint[]) AND other.status = 'pending'
   AND task.status IN ('running', 'warning')
 ORDER BY other.id LIMIT :limit

-- name: described
-- How the tasks :tasks are, and on which manager.
SELECT task.id, task.status, task.task_id, task.date_added, manager.name AS runner_manager
  FROM runner_manager_task AS task
  LEFT JOIN runner_manager AS manager ON manager.id = task.runner_manager_id
 WHERE task.id = ANY (:tasks::bigint[])
