-- name: add
-- A run is to be stopped; the first request is made at once by whoever adds it.
INSERT INTO poddispatchd.unwanted_run (runner_manager_id, task_id, task_pk, next_request_at)
VALUES (:runner_manager, :task_id, :task, now() + make_interval(secs => :seconds))
-- It waits already for its next request, which comes when it was to come.
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
