-- Runner time that was had lately, and who overtook whom.

-- name: used_by_owner
-- Seconds of runner time that owners had, those of :half_life seconds ago by half; what is older than a week is as good as nothing.
-- What ended in the days to come ended by a clock that was wrong, and nobody knows when.
SELECT owner_id::text AS party, sum(ran * exp(-ln(2) * greatest(0, extract(epoch FROM now() - ended_at)) / :half_life))::float8 AS seconds
  FROM poddispatchd.ended_run
 WHERE ended_at > now() - interval '7 days' AND ended_at < now() + interval '1 day' AND owner_id IS NOT NULL AND ran IS NOT NULL
 GROUP BY owner_id

-- name: used_by_establishment
-- The same of the establishments of the owners.
SELECT coalesce(owner.establishment, '') AS party,
       sum(ran * exp(-ln(2) * greatest(0, extract(epoch FROM now() - ended_at)) / :half_life))::float8 AS seconds
  FROM poddispatchd.ended_run
  LEFT JOIN authentication_owner AS owner ON owner.user_id = ended_run.owner_id
 WHERE ended_at > now() - interval '7 days' AND ended_at < now() + interval '1 day' AND owner_id IS NOT NULL AND ran IS NOT NULL
 GROUP BY 1

-- name: costs
-- Seconds that a run of each type took lately: on average, and nine of ten at most.
SELECT task_type, avg(ran)::float8 AS seconds, percentile_cont(0.9) WITHIN GROUP (ORDER BY ran)::float8 AS nine_of_ten
  FROM poddispatchd.ended_run
 WHERE ended_at > now() - interval '7 days' AND ended_at < now() + interval '1 day' AND ran IS NOT NULL
 GROUP BY task_type

-- name: note
-- These tasks were given runners that tasks of the types :types could have had, :ages seconds ago: those are remembered that
-- stand behind a pending one of such a type. Tells how many runners, at least one, work on tasks of the types that matter: so
-- many more may be given before others have been put back by a run. A run whose result is being imported has none any more.
WITH by_type AS MATERIALIZED (
    SELECT type, min(date_added) FILTER (WHERE status = 'pending') AS first,
           count(*) FILTER (WHERE status = 'running' AND NOT EXISTS (
               SELECT FROM poddispatchd.import WHERE import.task_pk = task.id AND import.state = 'open')) AS running
      FROM runner_manager_task AS task WHERE status IN ('pending', 'running') GROUP BY type
), given AS MATERIALIZED (
    SELECT noted.*, greatest(1, by_type.running) AS runners, coalesce(by_type.first < noted.date_added, false) AS overtakes
      FROM unnest(:tasks::bigint[], :types::text[], :priorities::smallint[], :dates::timestamptz[], :ages::float8[])
           AS noted (task_pk, type, priority, date_added, age)
      LEFT JOIN by_type USING (type)
), remembered AS (
    INSERT INTO poddispatchd.overtaking (task_pk, task_type, priority, date_added, share, begun_at)
    SELECT task_pk, type, priority, date_added, 1.0 / runners, now() - make_interval(secs => age) FROM given WHERE overtakes
    ON CONFLICT (task_pk, task_type) DO UPDATE
       SET date_added = excluded.date_added, share = excluded.share, begun_at = excluded.begun_at, ended_at = NULL
)
SELECT coalesce(min(runners) FILTER (WHERE overtakes), (SELECT greatest(1, sum(running)) FROM by_type), 1)::integer FROM given

-- name: end
-- Of these tasks none has a runner any more.
UPDATE poddispatchd.overtaking SET ended_at = now()
 WHERE ended_at IS NULL
   AND NOT EXISTS (SELECT FROM runner_manager_task AS task WHERE task.id = overtaking.task_pk AND task.status = 'running')

-- name: forget
-- Nobody waits any more who stood before these.
DELETE FROM poddispatchd.overtaking
 -- Without anybody who waits, all of them: infinity is later than any.
 WHERE date_added < coalesce((SELECT min(date_added) FROM runner_manager_task WHERE status = 'pending'), 'infinity')

-- name: overtakings
-- Those that are remembered: how long each has had its runner, and how long it will have had it in the end. A run of the types
-- :types is reckoned to take :runs seconds, others :unknown_run, or as long as it runs already.
SELECT overtaking.task_pk, overtaking.task_type, overtaking.priority, overtaking.date_added, share * had AS seconds,
       share * CASE WHEN overtaking.ended_at IS NULL THEN greatest(had, coalesce(known.seconds, :unknown_run)) ELSE had END AS reckoned
  FROM poddispatchd.overtaking
 CROSS JOIN LATERAL (SELECT greatest(0, extract(epoch FROM coalesce(ended_at, now()) - begun_at))::float8 AS had) AS so_far
  LEFT JOIN runner_manager_task AS task ON task.id = overtaking.task_pk AND overtaking.ended_at IS NULL
  LEFT JOIN unnest(:types::text[], :runs::float8[]) AS known (type, seconds) ON known.type = task.type

-- name: due
-- Up to which places tasks go by Pod's order, by class and type: those that were put back by more than :most seconds, as those
-- that overtook them are reckoned above (domain/fair_share.py).
SELECT DISTINCT ON (priority, task_type) priority, task_type, date_added, task_pk
  FROM (SELECT overtaken.*, sum(reckoned) OVER (PARTITION BY priority, task_type ORDER BY date_added DESC, task_pk DESC) AS put_back
          FROM ({overtakings}) AS overtaken) AS summed
 WHERE put_back > :most
 ORDER BY priority, task_type, date_added DESC, task_pk DESC

-- name: purge
-- Forget what was given away more than a month ago, at most :batch.
DELETE FROM poddispatchd.overtaking WHERE (task_pk, task_type) IN (
    SELECT task_pk, task_type FROM poddispatchd.overtaking WHERE begun_at < now() - interval '35 days' LIMIT :batch)
