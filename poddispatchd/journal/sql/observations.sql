-- name: see
-- These tasks run under these ids: since now, unless that was known.
INSERT INTO poddispatchd.sighting AS known (task_pk, task_id)
SELECT * FROM unnest($1::bigint[], $2::text[])
ON CONFLICT (task_pk) DO UPDATE
   SET task_id = excluded.task_id, seen_at = now(), missing_runner = NULL, missing_since = NULL, is_stale = false
 WHERE known.task_id IS DISTINCT FROM excluded.task_id

-- name: of_tasks
-- What is known of these tasks; a submission of ours counts from its acceptance.
SELECT task_pk, missing_runner, is_stale,
       extract(epoch FROM now() - coalesce(
           (SELECT max(settled_at) FROM poddispatchd.submission AS ours
             WHERE ours.task_pk = sighting.task_pk AND ours.task_id = sighting.task_id AND ours.state = 'accepted'),
           seen_at))::double precision AS age,
       extract(epoch FROM now() - missing_since)::double precision AS missing_for
  FROM poddispatchd.sighting WHERE task_pk = ANY($1::bigint[])

-- name: forget_others
-- All but these tasks have ended.
DELETE FROM poddispatchd.sighting WHERE task_pk <> ALL($1::bigint[])

-- name: note_runner
-- The runner that works on this task is missing, or NULL: none is.
UPDATE poddispatchd.sighting
   SET missing_runner = $3::text, missing_since = CASE WHEN $3::text IS NOT NULL THEN now() END
 WHERE task_pk = $1 AND task_id = $2

-- name: note_stale
-- It has been told that these tasks run for too long.
UPDATE poddispatchd.sighting SET is_stale = true WHERE task_pk = ANY($1::bigint[])

-- name: stale
-- The tasks that it has been told of.
SELECT task_pk FROM poddispatchd.sighting WHERE is_stale ORDER BY task_pk LIMIT $1
