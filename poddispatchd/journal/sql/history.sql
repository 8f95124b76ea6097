-- name: record
-- Tasks that have ended, each in its place of the arrays, one by one and in the sums of the day of :at in the zone :time_zone.
-- An end that was recorded counts once, however often it is brought: who was cut off does not know whether it was.
WITH ended AS (
    SELECT * FROM unnest(:tasks::bigint[], :types::text[], :statuses::text[], :managers::bigint[], :owners::bigint[], :priorities::smallint[], :waits::real[],
                         :runs::real[], :seconds::integer[], :bytes::bigint[], :ends::timestamptz[])
               AS ended (task_pk, task_type, status, runner_manager_id, owner_id, priority, waited, ran,
                         source_seconds, source_bytes, ended_at)
     WHERE NOT EXISTS (SELECT FROM poddispatchd.ended_run AS known
                        WHERE known.task_type = ended.task_type AND known.ended_at = ended.ended_at
                          AND known.task_pk = ended.task_pk)
), one_by_one AS (
    INSERT INTO poddispatchd.ended_run (task_pk, task_type, status, runner_manager_id, owner_id, priority, waited, ran,
                                        source_seconds, source_bytes, ended_at)
    SELECT * FROM ended
)
INSERT INTO poddispatchd.day_of_tasks AS sums
       (day, task_type, runner_manager_id, completed, failed, waits, waited, runs, ran, source_seconds)
SELECT (:at::timestamptz AT TIME ZONE :time_zone)::date, task_type, coalesce(runner_manager_id, 0),
       count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status <> 'completed'),
       count(waited), coalesce(sum(waited), 0), count(ran), coalesce(sum(ran), 0),
       coalesce(sum(source_seconds) FILTER (WHERE ran IS NOT NULL), 0)
  FROM ended GROUP BY 2, 3 ORDER BY 2, 3
ON CONFLICT (day, task_type, runner_manager_id) DO UPDATE
   SET completed = sums.completed + excluded.completed, failed = sums.failed + excluded.failed,
       waits = sums.waits + excluded.waits, waited = sums.waited + excluded.waited,
       runs = sums.runs + excluded.runs, ran = sums.ran + excluded.ran,
       source_seconds = sums.source_seconds + excluded.source_seconds

-- name: is_empty
-- Whether nothing has been recorded yet.
SELECT NOT EXISTS (SELECT FROM poddispatchd.day_of_tasks)

-- name: fill_runs
-- The last :most runs of which the journal of before knows the beginning and the end, with what Pod's rows tell of them.
INSERT INTO poddispatchd.ended_run (task_pk, task_type, status, runner_manager_id, owner_id, priority, waited, ran,
                                    source_seconds, ended_at)
SELECT task.id, task.type, task.status, task.runner_manager_id, coalesce(video.owner_id, recording.user_id), 1,
       greatest(0, extract(epoch FROM known.begun) - extract(epoch FROM task.date_added)),
       greatest(0, extract(epoch FROM known.ended - known.begun)), nullif(video.duration, 0), known.ended
  FROM (SELECT DISTINCT ON (submission.task_pk) submission.task_pk,
               coalesce(submission.settled_at, submission.created_at) AS begun,
               coalesce(import.finished_at, failure.failed_at) AS ended
          FROM poddispatchd.submission
          LEFT JOIN poddispatchd.import USING (task_pk, runner_manager_id, task_id)
          LEFT JOIN poddispatchd.failure USING (task_pk, runner_manager_id, task_id)
         WHERE submission.state = 'accepted'
         ORDER BY submission.task_pk, submission.id DESC) AS known
  JOIN runner_manager_task AS task ON task.id = known.task_pk
  LEFT JOIN video_video AS video ON video.id = task.video_id
  LEFT JOIN recorder_recording AS recording ON recording.id = task.recording_id
 WHERE task.status IN ('completed', 'failed', 'timeout') AND known.ended > now() - make_interval(days => :days)
 ORDER BY known.ended DESC LIMIT :most

-- name: fill_days
-- The tasks of Pod's table that have ended, on the days on which they were added (it does not tell when they ended),
-- of the last :days days in the zone :time_zone, those older than :day_by_day on the Mondays of their weeks; with the waits and runs that were
-- found out, on the days on which they ended.
INSERT INTO poddispatchd.day_of_tasks
       (day, task_type, runner_manager_id, completed, failed, waits, waited, runs, ran, source_seconds)
SELECT CASE WHEN day < date_trunc('week', current_date - :day_by_day::integer) THEN date_trunc('week', day) ELSE day END::date,
       task_type, manager, sum(completed), sum(failed), sum(waits), sum(waited), sum(runs), sum(ran), sum(source_seconds)
  FROM (SELECT (date_added AT TIME ZONE :time_zone)::date AS day, type AS task_type, coalesce(runner_manager_id, 0) AS manager,
               count(*) FILTER (WHERE status = 'completed') AS completed,
               count(*) FILTER (WHERE status <> 'completed') AS failed,
               0 AS waits, 0 AS waited, 0 AS runs, 0 AS ran, 0 AS source_seconds
          FROM runner_manager_task
         WHERE status IN ('completed', 'failed', 'timeout') AND date_added > now() - make_interval(days => :days)
         GROUP BY 1, 2, 3
         UNION ALL
        SELECT (ended_at AT TIME ZONE :time_zone)::date, task_type, coalesce(runner_manager_id, 0), 0, 0, count(waited),
               coalesce(sum(waited), 0), count(ran), coalesce(sum(ran), 0),
               coalesce(sum(source_seconds) FILTER (WHERE ran IS NOT NULL), 0)
          FROM poddispatchd.ended_run GROUP BY 1, 2, 3) AS found
 GROUP BY 1, 2, 3

-- name: recent_runs
-- Of each of the types :types the last 400 runs whose length is known: more tell little more, and of other times. What
-- ended in the days to come ended by a clock that was wrong: such runs would be the last ones for years.
-- The limit is no parameter: the plan must know that they are few.
SELECT recent.* FROM unnest(:types::text[]) AS wanted (task_type)
 CROSS JOIN LATERAL (
     SELECT task_type, runner_manager_id, priority, waited, ran, source_seconds, source_bytes, ended_at
       FROM poddispatchd.ended_run AS run
      WHERE run.task_type = wanted.task_type AND ran IS NOT NULL AND ended_at < now() + interval '1 day'
      ORDER BY ended_at DESC LIMIT 400) AS recent

-- name: purge_runs
-- Forget runs that ended more than :days days ago, and those before the last :most; a batch of :batch at a time.
DELETE FROM poddispatchd.ended_run WHERE id IN (
    SELECT id FROM poddispatchd.ended_run
     WHERE ended_at < now() - make_interval(days => :days)
        OR id <= (SELECT max(id) - :most::bigint FROM poddispatchd.ended_run)
     ORDER BY id LIMIT :batch
)

-- name: fold_days
-- The sums of days longer ago than :days become those of their weeks, on Mondays.
WITH old AS (
    DELETE FROM poddispatchd.day_of_tasks
     WHERE day < date_trunc('week', current_date - :days::integer) AND extract(isodow FROM day) <> 1
    RETURNING *
)
INSERT INTO poddispatchd.day_of_tasks AS sums
       (day, task_type, runner_manager_id, completed, failed, waits, waited, runs, ran, source_seconds)
SELECT date_trunc('week', day)::date, task_type, runner_manager_id, sum(completed), sum(failed), sum(waits), sum(waited),
       sum(runs), sum(ran), sum(source_seconds)
  FROM old GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (day, task_type, runner_manager_id) DO UPDATE
   SET completed = sums.completed + excluded.completed, failed = sums.failed + excluded.failed,
       waits = sums.waits + excluded.waits, waited = sums.waited + excluded.waited,
       runs = sums.runs + excluded.runs, ran = sums.ran + excluded.ran,
       source_seconds = sums.source_seconds + excluded.source_seconds

-- name: purge_days
-- Forget the sums of days longer ago than :days.
DELETE FROM poddispatchd.day_of_tasks WHERE day < current_date - :days::integer
