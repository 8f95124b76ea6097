-- Runner time that was had lately, and who overtook whom.

-- name: used_by_owner
-- Seconds of runner time that owners had, those of :half_life seconds ago by half; what is older than a week is as good as nothing.
SELECT owner_id::text AS party, sum(ran * exp(-ln(2) * extract(epoch FROM now() - ended_at) / :half_life))::float8 AS seconds
  FROM poddispatchd.ended_run
 WHERE ended_at > now() - interval '7 days' AND owner_id IS NOT NULL AND ran IS NOT NULL
 GROUP BY owner_id

-- name: used_by_establishment
-- The same of the establishments of the owners.
SELECT coalesce(owner.establishment, '') AS party,
       sum(ran * exp(-ln(2) * extract(epoch FROM now() - ended_at) / :half_life))::float8 AS seconds
  FROM poddispatchd.ended_run
  LEFT JOIN authentication_owner AS owner ON owner.user_id = ended_run.owner_id
 WHERE ended_at > now() - interval '7 days' AND owner_id IS NOT NULL AND ran IS NOT NULL
 GROUP BY 1

-- name: costs
-- Seconds that a run of each type took lately, on average.
SELECT task_type, avg(ran)::float8 AS seconds FROM poddispatchd.ended_run
 WHERE ended_at > now() - interval '7 days' AND ran IS NOT NULL
 GROUP BY task_type

-- name: note
-- These tasks were given runners that tasks of the types :types could have had, :ages seconds ago.
INSERT INTO poddispatchd.overtaking (task_pk, task_type, priority, date_added, share, begun_at)
SELECT task_pk, type, priority, noted.date_added, 1.0 / greatest(1, running.tasks), now() - make_interval(secs => age)
  FROM unnest(:tasks::bigint[], :types::text[], :priorities::smallint[], :dates::timestamptz[], :ages::float8[])
       AS noted (task_pk, type, priority, date_added, age)
  LEFT JOIN (SELECT type, count(*) AS tasks FROM runner_manager_task WHERE status = 'running' GROUP BY type)
       AS running USING (type)
ON CONFLICT (task_pk, task_type) DO UPDATE
   SET date_added = excluded.date_added, share = excluded.share, begun_at = excluded.begun_at, ended_at = NULL

-- name: end
-- Of these tasks none has a runner any more.
UPDATE poddispatchd.overtaking SET ended_at = now()
 WHERE ended_at IS NULL
   AND NOT EXISTS (SELECT FROM runner_manager_task AS task WHERE task.id = overtaking.task_pk AND task.status = 'running')

-- name: forget
-- Nobody waits any more who stood before these.
DELETE FROM poddispatchd.overtaking
 WHERE date_added < coalesce((SELECT min(date_added) FROM runner_manager_task WHERE status = 'pending'), 'infinity')

-- name: overtakings
-- Those that are remembered, the last :most places.
SELECT task_pk, task_type, priority, date_added,
       (share * greatest(0, extract(epoch FROM coalesce(ended_at, now()) - begun_at)))::float8 AS seconds
  FROM poddispatchd.overtaking ORDER BY date_added DESC, task_pk DESC LIMIT :most

-- name: purge
-- Forget what was given away more than a month ago.
DELETE FROM poddispatchd.overtaking WHERE begun_at < now() - interval '35 days'
