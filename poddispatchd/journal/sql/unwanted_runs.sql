-- name: add
-- A run is to be stopped; the first request is made at once by whoever adds it.
INSERT INTO poddispatchd.unwanted_run (runner_manager_id, task_id, task_pk, next_request_at)
VALUES (:runner_manager, :task_id, :task, now() + make_interval(secs => :seconds))
-- It waits already for its next request, which comes when it was to come.
ON CONFLICT DO NOTHING

-- name: unnoted
-- Whether a run that was seen is one that Pod submitted itself, of which nothing is noted yet, and whose result is not in Pod.
(run.task_id <> '' AND run.runner_manager_id IS NOT NULL
 AND NOT EXISTS (SELECT FROM poddispatchd.submission AS ours
                  WHERE (ours.task_pk, ours.runner_manager_id, ours.task_id) = (run.task_pk, run.runner_manager_id, run.task_id))
 AND NOT EXISTS (SELECT FROM poddispatchd.import
                  WHERE (import.task_pk, import.runner_manager_id, import.task_id) = (run.task_pk, run.runner_manager_id, run.task_id)
                    AND import.state = 'done'))

-- name: add_let_go
-- The runs that their tasks have let go of, as when these were restarted in Pod's administration or their rows deleted: of
-- those that were seen to run or were taken lately; what is in Pod is over. Each once: its submission counts no more. Of a run that
-- Pod submitted itself there is none: it was seen, and is noted as one, for the next one of its task must differ in its bytes.
-- None while Pod's table is empty: it is being put back from a backup, perhaps, and nobody has deleted its rows.
-- By its newest row: where all older ones have just been purged, whoever looks for any reads what is left of these.
WITH pods AS MATERIALIZED (
    SELECT max(id) AS newest FROM runner_manager_task
), taken AS MATERIALIZED (
    SELECT run.id
      FROM poddispatchd.submission AS run
     WHERE run.id IN (SELECT id FROM poddispatchd.submission JOIN poddispatchd.sighting USING (task_pk, task_id)
                       UNION ALL
                      SELECT id FROM poddispatchd.submission WHERE state <> 'open' AND settled_at > now() - interval '10 minutes')
       AND run.state = 'accepted' AND run.task_id IS NOT NULL
       AND (SELECT newest FROM pods) IS NOT NULL
       AND NOT EXISTS (SELECT FROM runner_manager_task AS task WHERE task.id = run.task_pk AND task.task_id = run.task_id)
       AND NOT EXISTS (SELECT FROM poddispatchd.import
                        WHERE (import.task_pk, import.runner_manager_id, import.task_id) = (run.task_pk, run.runner_manager_id, run.task_id)
                          AND import.state = 'done')
     -- Whoever holds one keeps no other one from being stopped, nor running tasks from being asked about.
     ORDER BY run.id FOR NO KEY UPDATE OF run SKIP LOCKED
), let_go AS (
    UPDATE poddispatchd.submission AS run
       SET state = 'orphaned', reason = 'Pod names it no more: its task was restarted or deleted, or its runner manager was deleted.', settled_at = now()
      FROM taken
     WHERE run.id = taken.id
    RETURNING run.runner_manager_id, run.task_id, run.task_pk
), seen AS MATERIALIZED (
    SELECT run.task_pk
      FROM poddispatchd.sighting AS run
     WHERE {unnoted}
       AND (SELECT newest FROM pods) IS NOT NULL
       AND NOT EXISTS (SELECT FROM runner_manager_task AS task WHERE task.id = run.task_pk AND task.task_id = run.task_id)
     ORDER BY run.task_pk FOR UPDATE OF run SKIP LOCKED
), of_pod AS (
    DELETE FROM poddispatchd.sighting AS run USING seen
     WHERE run.task_pk = seen.task_pk
    RETURNING run.runner_manager_id, run.task_id, run.task_pk
), noted AS (
    INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, reason, settled_at)
    SELECT of_pod.task_pk, task.type, of_pod.runner_manager_id,
           (SELECT 1 + count(*) FROM poddispatchd.submission AS earlier
             WHERE earlier.task_pk = of_pod.task_pk AND earlier.state IN ('accepted', 'lost', 'orphaned')),
           '', 'orphaned', of_pod.task_id, 'Its task was restarted in Pod.', now()
      FROM of_pod
      JOIN runner_manager_task AS task ON task.id = of_pod.task_pk
     WHERE task.type IN ('encoding', 'transcription', 'studio')
)
INSERT INTO poddispatchd.unwanted_run (runner_manager_id, task_id, task_pk, next_request_at)
SELECT runner_manager_id, task_id, task_pk, now() FROM (TABLE let_go UNION ALL TABLE of_pod) AS run
ON CONFLICT DO NOTHING

-- name: settle
-- A run has been stopped, or cannot be.
DELETE FROM poddispatchd.unwanted_run WHERE runner_manager_id = :runner_manager AND task_id = :task_id

-- name: take_due
-- The runs that are to be asked to stop now, at most :limit: the next request is set before this one is made, twice as
-- long after it as the one before, from :base to :cap seconds. What is due later than after any wait is due now: the server's
-- clock was set back.
UPDATE poddispatchd.unwanted_run AS run
   SET requests = requests + 1,
       next_request_at = now() + make_interval(secs => least(:cap::double precision, :base * power(2, least(requests, 20))))
 WHERE (runner_manager_id, task_id) IN (
           SELECT runner_manager_id, task_id FROM poddispatchd.unwanted_run
            WHERE next_request_at <= now() OR next_request_at > now() + interval '10 minutes'
            ORDER BY next_request_at LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING runner_manager_id, task_id, task_pk

-- name: next_in
-- Seconds until the next request is due; NULL without any.
SELECT extract(epoch FROM min(CASE WHEN next_request_at <= now() + interval '10 minutes' THEN next_request_at ELSE now() END) - now())
       ::double precision
FROM poddispatchd.unwanted_run

-- name: forget_old
-- Forget runs that could not be stopped for so many seconds, and return them.
DELETE FROM poddispatchd.unwanted_run WHERE {age} > :seconds
RETURNING runner_manager_id, task_id, task_pk
