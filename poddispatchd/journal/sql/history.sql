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
     -- Mondays stay: the others of their week become them.
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
