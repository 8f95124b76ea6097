-- The tasks that runner managers speak of.

-- name: known
-- The tasks that were submitted, by us or as far as was seen by Pod, under the id :task_id to one of the managers :managers. Pod's
-- own runs are known while they last; the rows of tasks may carry another id by now, or be gone.
SELECT task_pk FROM poddispatchd.submission WHERE runner_manager_id = ANY(:managers::bigint[]) AND task_id = :task_id
 UNION
SELECT task_pk FROM poddispatchd.sighting WHERE task_id = :task_id

-- name: lock_called
-- For each place in the arrays: the task that alone carries the id :task_ids of one of the managers :managers (as text, with braces). Nobody
-- else changes it until the end of the transaction; it is left out when somebody holds it, when others carry the id, too, and when its
-- output is longer than :most_output bytes. What is searched is what `find_near` of Pod's tasks looks at, and what the journal knows.
WITH called AS MATERIALIZED (
    SELECT place, task_id, managers::bigint[] AS managers
      FROM unnest((SELECT :task_ids::text[]), (SELECT :managers::text[])) WITH ORDINALITY AS given (task_id, managers, place)
), hint AS MATERIALIZED (
    SELECT called.place, submission.task_pk AS id
      FROM called
      JOIN poddispatchd.submission ON submission.task_id = called.task_id
                                  AND submission.runner_manager_id = ANY (called.managers)
     UNION
    SELECT called.place, sighting.task_pk FROM called JOIN poddispatchd.sighting ON sighting.task_id = called.task_id
     UNION
    SELECT called.place, newest.id
      FROM (SELECT id, runner_manager_id, task_id FROM runner_manager_task ORDER BY id DESC LIMIT {newest}) AS newest
      JOIN called ON called.task_id = newest.task_id AND newest.runner_manager_id = ANY (called.managers)
), near AS MATERIALIZED (
    SELECT place, id FROM hint
     UNION
    SELECT hint.place, other.id
      FROM hint
     CROSS JOIN LATERAL (SELECT video_id FROM runner_manager_task AS task WHERE task.id = hint.id OFFSET 0) AS wanted
     CROSS JOIN LATERAL (SELECT id FROM runner_manager_task AS other WHERE other.video_id = wanted.video_id OFFSET 0) AS other
     UNION
    SELECT hint.place, other.id
      FROM hint
     CROSS JOIN LATERAL (SELECT recording_id FROM runner_manager_task AS task WHERE task.id = hint.id OFFSET 0) AS wanted
     CROSS JOIN LATERAL (SELECT id FROM runner_manager_task AS other WHERE other.recording_id = wanted.recording_id OFFSET 0) AS other
), carrier AS MATERIALIZED (
    SELECT called.place, called.task_id, called.managers, min(task.id) AS id
      FROM near
      JOIN called USING (place)
      JOIN runner_manager_task AS task
        ON task.id = near.id AND task.task_id = called.task_id AND task.runner_manager_id = ANY (called.managers)
     GROUP BY called.place, called.task_id, called.managers
    HAVING count(*) = 1
)
SELECT carrier.place, task.id, type, status, task.task_id, date_added, rank, script_output, video_id, recording_id, runner_manager_id
  FROM carrier
  JOIN runner_manager_task AS task ON task.id = carrier.id
 WHERE task.task_id = carrier.task_id AND task.runner_manager_id = ANY (carrier.managers)
   AND coalesce(octet_length(task.script_output), 0) <= :most_output
 ORDER BY task.id
   FOR NO KEY UPDATE OF task SKIP LOCKED
