-- name: recent
-- The last :limit tasks that ended, each once: what was imported, what failed, and what the history saw besides, such as
-- tasks that never ran. The history is written some seconds after an end: where both know one, it is not asked.
WITH exact AS (
    (SELECT task_pk, finished_at AS at, true AS is_completed FROM poddispatchd.import
      WHERE state = 'done' AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT :limit)
    UNION ALL
    (SELECT task_pk, failed_at, false FROM poddispatchd.failure ORDER BY failed_at DESC LIMIT :limit)
), seen AS (
    SELECT task_pk, ended_at AS at, status = 'completed' AS is_completed FROM poddispatchd.ended_run
     ORDER BY id DESC LIMIT :limit
), found AS (
    SELECT * FROM exact UNION ALL
    SELECT * FROM seen WHERE NOT EXISTS (SELECT FROM exact WHERE exact.task_pk = seen.task_pk
                                                             AND exact.at > seen.at - interval '1 minute')
)
SELECT task_pk, at, is_completed
  -- One that failed and was restarted is in both: its latest end counts.
  FROM (SELECT DISTINCT ON (task_pk) * FROM found ORDER BY task_pk, at DESC) AS each_once
 ORDER BY at DESC LIMIT :limit

-- name: failed
-- The tasks of the types :types that failed within the last :hours hours, whether they ran or not, each once; at most :limit.
SELECT task_pk, max(at) AS at
  FROM (SELECT task_pk, failed_at AS at FROM poddispatchd.failure
         WHERE failed_at > now() - make_interval(hours => :hours)
         UNION ALL
        SELECT task_pk, ended_at FROM poddispatchd.ended_run
         WHERE task_type = ANY (:types::text[]) AND ended_at > now() - make_interval(hours => :hours)
           AND status <> 'completed'
           AND NOT EXISTS (SELECT FROM poddispatchd.failure WHERE failure.task_pk = ended_run.task_pk)) AS found
 GROUP BY task_pk ORDER BY at DESC LIMIT :limit

-- name: untold
-- When tasks ended within a day of which the history knows nothing: whoever keeps it saw none of it. It is written some
-- seconds after an end, by another clock.
SELECT task_pk, max(at) AS at
  FROM (SELECT task_pk, finished_at AS at FROM poddispatchd.import
         WHERE state = 'done' AND finished_at > now() - interval '1 day'
         UNION ALL
        SELECT task_pk, failed_at FROM poddispatchd.failure WHERE failed_at > now() - interval '1 day') AS ended
 WHERE NOT EXISTS (SELECT FROM poddispatchd.ended_run
                    WHERE ended_run.task_pk = ended.task_pk AND ended_run.ended_at > ended.at - interval '1 minute')
 GROUP BY task_pk

-- name: begun
-- When the run of each of the tasks :tasks was accepted by its manager.
SELECT DISTINCT ON (task_pk) task_pk, coalesce(settled_at, created_at) AS at FROM poddispatchd.submission
 WHERE task_pk = ANY (:tasks::bigint[]) AND state = 'accepted' ORDER BY task_pk, id DESC

-- name: courses
-- When the last run of each of the tasks :tasks was accepted by its manager, and when it was over.
SELECT task.task_pk,
       (SELECT coalesce(settled_at, created_at) FROM poddispatchd.submission
         WHERE submission.task_pk = task.task_pk AND state = 'accepted' ORDER BY id DESC LIMIT 1) AS begun,
       greatest((SELECT max(finished_at) FROM poddispatchd.import
                  WHERE import.task_pk = task.task_pk AND state IN ('done', 'failed')),
                (SELECT failed_at FROM poddispatchd.failure WHERE failure.task_pk = task.task_pk)) AS ended
  FROM unnest(:tasks::bigint[]) AS task (task_pk)

-- name: by_hour
-- How many tasks were accepted, imported and failed in each of the last 24 hours; of the types :types, those that never ran too.
WITH never_ran AS MATERIALIZED (
    SELECT ended_at FROM poddispatchd.ended_run
     WHERE task_type = ANY (:types::text[]) AND ended_at >= date_trunc('hour', now()) - interval '23 hours'
       AND status <> 'completed'
       AND NOT EXISTS (SELECT FROM poddispatchd.failure WHERE failure.task_pk = ended_run.task_pk)
)
SELECT hour, (SELECT count(*) FROM poddispatchd.submission
               WHERE state = 'accepted' AND settled_at >= hour AND settled_at < hour + interval '1 hour') AS submitted,
       (SELECT count(*) FROM poddispatchd.import
         WHERE state = 'done' AND finished_at >= hour AND finished_at < hour + interval '1 hour') AS completed,
       (SELECT count(*) FROM poddispatchd.failure
         WHERE failed_at >= hour AND failed_at < hour + interval '1 hour')
       + (SELECT count(*) FROM never_ran
           WHERE ended_at >= hour AND ended_at < hour + interval '1 hour') AS failed
  FROM generate_series(date_trunc('hour', now()) - interval '23 hours', date_trunc('hour', now()), interval '1 hour')
       AS hour
 ORDER BY hour
