-- name: see
-- These tasks run under these ids, which these managers gave: since now, unless that was known.
INSERT INTO poddispatchd.sighting AS known (task_pk, task_id, runner_manager_id)
SELECT * FROM unnest(:tasks::bigint[], :task_ids::text[], :runner_managers::bigint[])
ON CONFLICT (task_pk) DO UPDATE
   SET task_id = excluded.task_id, runner_manager_id = excluded.runner_manager_id,
       -- Under another id it is another run, of which nothing is known yet.
       seen_at = CASE WHEN known.task_id IS DISTINCT FROM excluded.task_id THEN now() ELSE known.seen_at END,
       missing_runner = CASE WHEN known.task_id IS NOT DISTINCT FROM excluded.task_id THEN known.missing_runner END,
       missing_since = CASE WHEN known.task_id IS NOT DISTINCT FROM excluded.task_id THEN known.missing_since END,
       is_stale = known.is_stale AND known.task_id IS NOT DISTINCT FROM excluded.task_id
 -- An older release leaves the manager as it was, or none.
 WHERE (known.task_id, known.runner_manager_id) IS DISTINCT FROM (excluded.task_id, excluded.runner_manager_id)

-- name: of_tasks
-- What is known of these tasks; a submission of ours counts from its acceptance. A clock that was put forward would make a run look lost.
SELECT task_pk, missing_runner, is_stale, {age} AS age, {missing_for} AS missing_for
  FROM poddispatchd.sighting
 CROSS JOIN LATERAL (
     SELECT coalesce(max(submission.settled_at), sighting.seen_at) AS runs_since
       FROM poddispatchd.submission
      WHERE submission.task_pk = sighting.task_pk AND submission.task_id = sighting.task_id AND submission.state = 'accepted'
 ) AS begun
 WHERE task_pk = ANY(:tasks::bigint[])

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
