-- name: see
-- These tasks run under these ids: since now, unless that was known.
INSERT INTO poddispatchd.sighting AS known (task_pk, task_id)
SELECT * FROM unnest(:tasks::bigint[], :task_ids::text[])
ON CONFLICT (task_pk) DO UPDATE
   SET task_id = excluded.task_id, seen_at = now(), missing_runner = NULL, missing_since = NULL, is_stale = false
 -- Under another id it is another run, of which nothing is known yet.
 WHERE known.task_id IS DISTINCT FROM excluded.task_id

-- name: of_tasks
-- What is known of these tasks; a submission of ours counts from its acceptance. Ages by the database's clock or by ours, :ours, whichever
-- says less: one that was put forward would make a run look lost.
SELECT task_pk, missing_runner, is_stale,
       extract(epoch FROM least(now(), :ours::timestamptz) - coalesce(
           (SELECT max(settled_at) FROM poddispatchd.submission AS ours
             WHERE ours.task_pk = sighting.task_pk AND ours.task_id = sighting.task_id AND ours.state = 'accepted'),
           seen_at))::double precision AS age,
       extract(epoch FROM least(now(), :ours::timestamptz) - missing_since)::double precision AS missing_for
  FROM poddispatchd.sighting WHERE task_pk = ANY(:tasks::bigint[])

-- name: forget_others
-- All but these tasks have ended.
DELETE FROM poddispatchd.sighting WHERE task_pk <> ALL(:tasks::bigint[])

-- name: note_runner
-- The runner that works on this task is missing, or NULL: none is.
UPDATE poddispatchd.sighting
   SET missing_runner = :runner::text, missing_since = CASE WHEN :runner::text IS NOT NULL THEN now() END
 WHERE task_pk = :task AND task_id = :task_id

-- name: note_stale
-- It has been told that these tasks run for too long.
UPDATE poddispatchd.sighting SET is_stale = true WHERE task_pk = ANY(:tasks::bigint[])

-- name: stale
-- The tasks that it has been told of.
SELECT task_pk FROM poddispatchd.sighting WHERE is_stale ORDER BY task_pk LIMIT :limit
