-- name: recent
-- The last :limit tasks that ended, as the journal knows: what was imported, and what failed.
(SELECT task_pk, finished_at AS at, true AS is_completed FROM poddispatchd.import
  WHERE state = 'done' AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT :limit)
UNION ALL
(SELECT task_pk, failed_at AS at, false AS is_completed FROM poddispatchd.failure ORDER BY failed_at DESC LIMIT :limit)
 ORDER BY at DESC LIMIT :limit

-- name: failed
-- The tasks that failed within the last :hours hours, at most :limit.
SELECT task_pk, failed_at AS at FROM poddispatchd.failure
 WHERE failed_at > now() - make_interval(hours => :hours) ORDER BY failed_at DESC LIMIT :limit

-- name: begun
-- When the run of each of the tasks :tasks was accepted by its manager.
SELECT DISTINCT ON (task_pk) task_pk, coalesce(settled_at, created_at) AS at FROM poddispatchd.submission
 WHERE task_pk = ANY (:tasks::bigint[]) AND state = 'accepted' ORDER BY task_pk, id DESC

-- name: by_hour
-- How many tasks were accepted, imported and failed in each of the last 24 hours.
SELECT hour, (SELECT count(*) FROM poddispatchd.submission
               WHERE state = 'accepted' AND settled_at >= hour AND settled_at < hour + interval '1 hour') AS submitted,
       (SELECT count(*) FROM poddispatchd.import
         WHERE state = 'done' AND finished_at >= hour AND finished_at < hour + interval '1 hour') AS completed,
       (SELECT count(*) FROM poddispatchd.failure
         WHERE failed_at >= hour AND failed_at < hour + interval '1 hour') AS failed
  FROM generate_series(date_trunc('hour', now()) - interval '23 hours', date_trunc('hour', now()), interval '1 hour')
       AS hour
 ORDER BY hour
