-- The figures of a report: of a period from :since to :until.

-- name: by_type
-- Tasks that ended, by type, with the middle and the ninth tenth of their waits and runs, in seconds.
SELECT task_type, count(*) FILTER (WHERE status = 'completed') AS completed,
       count(*) FILTER (WHERE status <> 'completed') AS failed,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY waited) AS wait_middle,
       percentile_cont(0.9) WITHIN GROUP (ORDER BY waited) AS wait_long,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY ran) AS run_middle,
       percentile_cont(0.9) WITHIN GROUP (ORDER BY ran) AS run_long,
       coalesce(sum(ran), 0)::double precision AS ran,
       coalesce(sum(source_seconds), 0)::double precision AS source_seconds
  FROM poddispatchd.ended_run WHERE ended_at >= :since AND ended_at < :until
 GROUP BY task_type ORDER BY task_type

-- name: by_manager
-- The same by runner manager, NULL: none: how long its runners worked within the period.
SELECT runner_manager_id, count(*) FILTER (WHERE status = 'completed') AS completed,
       count(*) FILTER (WHERE status <> 'completed') AS failed,
       coalesce(sum(least(ran, extract(epoch FROM ended_at - :since::timestamptz))) FILTER (WHERE ran IS NOT NULL), 0)
           ::double precision AS ran
  FROM poddispatchd.ended_run WHERE ended_at >= :since AND ended_at < :until
 GROUP BY runner_manager_id ORDER BY runner_manager_id NULLS LAST

-- name: by_owner
-- The owners for whom runners worked longest, at most :limit.
SELECT owner_id, count(*) AS tasks, coalesce(sum(ran), 0)::double precision AS ran
  FROM poddispatchd.ended_run WHERE ended_at >= :since AND ended_at < :until AND owner_id IS NOT NULL
 GROUP BY owner_id ORDER BY ran DESC, tasks DESC, owner_id LIMIT :limit

-- name: runs_of_period
-- The runs themselves, from which it is reckoned how many runners there are.
SELECT task_type, runner_manager_id, ran, ended_at FROM poddispatchd.ended_run
 WHERE ended_at >= :since AND ended_at < :until AND ran IS NOT NULL AND runner_manager_id IS NOT NULL
 ORDER BY ended_at DESC LIMIT 20000

-- name: by_day
-- The sums of the days since :first, the oldest first.
SELECT day, sum(completed)::bigint AS completed, sum(failed)::bigint AS failed, sum(ran)::double precision AS ran
  FROM poddispatchd.day_of_tasks WHERE day >= :first GROUP BY day ORDER BY day
