-- name: dismiss
-- A person has seen to the failures of these tasks, each with the date_added of its row.
INSERT INTO poddispatchd.dismissed_failure (task_pk, date_added, actor)
SELECT task_pk, date_added, :actor FROM unnest(:tasks::bigint[], :dates_added::timestamptz[]) AS task (task_pk, date_added)
ON CONFLICT (task_pk) DO UPDATE
   SET date_added = excluded.date_added, dismissed_at = now(), actor = excluded.actor

-- name: dismissed
-- Which of these tasks were dismissed, and with which date_added.
SELECT task_pk, date_added FROM poddispatchd.dismissed_failure WHERE task_pk = ANY (:tasks::bigint[])

-- name: failed_at
-- When these tasks failed, as far as it was seen.
SELECT task_pk, max(ended_at) AS at FROM (
    SELECT task_pk, ended_at FROM poddispatchd.ended_run WHERE task_pk = ANY (:tasks::bigint[])
     UNION ALL
    SELECT task_pk, failed_at FROM poddispatchd.failure WHERE task_pk = ANY (:tasks::bigint[])) AS seen
 GROUP BY task_pk

-- name: purge
-- Forget what was dismissed more than so many days ago, at most :batch.
DELETE FROM poddispatchd.dismissed_failure WHERE task_pk IN (
    SELECT task_pk FROM poddispatchd.dismissed_failure
    WHERE dismissed_at < now() - make_interval(days => :days) LIMIT :batch)
