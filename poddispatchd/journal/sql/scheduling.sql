-- name: take_lease
-- Begin a term of :seconds seconds for instance :instance, unless another one's lease runs, or the schema has another version than :schema. Writes of
-- every earlier term match nothing from now on; FOR UPDATE waits for statements of the last one. The row tells the term
-- if one has begun, the schema's version, and for how long the lease that was found still runs.
-- Releases before 0011 hold an advisory lock instead of a lease: no term begins while one of them has it, and they
-- begin none while a lease runs. The lock is tried for this statement only.
-- No lease is as long as a minute: the server's clock was set back, and its holder has not renewed it since.
WITH lock AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtextextended('poddispatchd.scheduler', 0)) AS is_free
), known AS MATERIALIZED (
    SELECT coalesce(max(version), 0) AS version FROM poddispatchd.schema_version
), free AS MATERIALIZED (
    SELECT FROM poddispatchd.leader, lock, known
    WHERE lock.is_free AND known.version = :schema
      AND (lease_expires_at IS NULL OR lease_expires_at <= now() OR instance = :instance
           OR lease_expires_at > now() + interval '1 minute')
    FOR UPDATE OF leader
), begun AS (
    UPDATE poddispatchd.leader
    SET term = term + 1, instance = :instance, since = now(), lease_expires_at = now() + make_interval(secs => :seconds)
    FROM free
    RETURNING term
)
SELECT begun.term, known.version, extract(epoch FROM lease_expires_at - now())::float8 AS seconds_left
FROM poddispatchd.leader CROSS JOIN known LEFT JOIN begun ON true

-- name: restore_leader
-- The row of the scheduler, which was emptied out of its table: its terms are later than any that there were, for each lasts longer than a second.
INSERT INTO poddispatchd.leader (term) VALUES (extract(epoch FROM now())::bigint) ON CONFLICT DO NOTHING

-- name: renew_lease
-- Go on for so many seconds: also with a lease that ran out, as long as nobody else began a term. Tells the schema's
-- version: another daemon may have upgraded it meanwhile. A term is another one's, too, where the server has forgotten that
-- it began, as a standby does that took over before it heard of it: whoever came next there began it once more.
UPDATE poddispatchd.leader SET lease_expires_at = now() + make_interval(secs => :seconds)
WHERE term = :term AND instance = :instance
RETURNING (SELECT coalesce(max(version), 0) FROM poddispatchd.schema_version) AS version

-- name: end_lease
-- Let another one schedule at once, and tell those that stand by. For a term that is another one's see above.
WITH ended AS (
    UPDATE poddispatchd.leader SET lease_expires_at = NULL WHERE term = :term AND instance = :instance RETURNING term
)
SELECT pg_notify('poddispatchd_task', 'leader resigned') FROM ended

-- name: leader
-- The current term and its holder.
SELECT term, instance, since FROM poddispatchd.leader

-- name: scheduler
-- The current term and its holder, and whether it is held: by a lease that runs, or by a session with the lock. :passes_every: for so many
-- seconds after it began, a term that was ended in order may have been that of one pass among others.
SELECT term, instance, since,
       lease_expires_at IS NULL AND instance IS NOT NULL
           AND since BETWEEN now() - make_interval(secs => :passes_every) AND now() + make_interval(secs => :passes_every) AS may_be_pass,
       coalesce(lease_expires_at > now(), false) OR EXISTS (
           SELECT FROM pg_locks
            WHERE locktype = 'advisory' AND granted AND objsubid = 1
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND (classid::bigint << 32 | objid::bigint) = hashtextextended('poddispatchd.scheduler', 0)
       ) AS is_held
  FROM poddispatchd.leader

-- name: add_own_tasks
-- Tasks that Pod's web process is not submitting by itself.
INSERT INTO poddispatchd.own_task (task_pk) SELECT unnest(:tasks::bigint[])
ON CONFLICT (task_pk) DO UPDATE SET added_at = now()

-- name: put_back
-- A task was put back into the queue, to wait there for so many seconds.
INSERT INTO poddispatchd.own_task (task_pk, date_added, not_before)
VALUES (:task, :date_added, now() + make_interval(secs => :seconds))
ON CONFLICT (task_pk) DO UPDATE
SET added_at = now(), date_added = excluded.date_added, not_before = excluded.not_before

-- name: own_tasks
-- Which of the tasks :tasks need no grace, for how many seconds more they wait, and the runner managers that lost them.
SELECT task_pk, date_added, not_before, extract(epoch FROM not_before - now())::double precision AS seconds, lost_by
FROM poddispatchd.own_task
LEFT JOIN LATERAL (
    SELECT array_agg(runner_manager_id) AS lost_by FROM poddispatchd.submission
    WHERE own_task.not_before IS NOT NULL AND submission.task_pk = own_task.task_pk
      AND submission.date_added = own_task.date_added AND state = 'lost') AS lost ON true
WHERE task_pk = ANY(:tasks::bigint[])

-- name: waits
-- The tasks that were put back and wait: a longer wait than any is none, as below.
SELECT task_pk, date_added, not_before, extract(epoch FROM not_before - now())::double precision AS seconds
FROM poddispatchd.own_task WHERE not_before > now() AND not_before <= now() + interval '10 minutes'

-- name: new_own_tasks
-- Those that wait or were added within so many seconds: after a restart of all that failed, or a first start beside as
-- many that hung, there are as many others as tasks in the queue. A row of NULL says that some were put back.
-- Both conditions are about times, and each has its index; by ids, one that was committed late would be overlooked. Here such
-- a one has the time at which its transaction began, as its row of Pod's has, and needs no grace when it is not new any more.
SELECT task_pk, date_added, not_before, extract(epoch FROM not_before - now())::double precision AS seconds
FROM poddispatchd.own_task WHERE not_before > now() OR added_at > now() - make_interval(secs => :within)
UNION ALL
SELECT NULL, NULL, NULL, NULL WHERE EXISTS (SELECT FROM poddispatchd.own_task WHERE not_before IS NOT NULL)

-- name: losses
-- Which of the tasks :tasks were lost, and put back, since they were added: by which runner managers, one for each run, and
-- in how many seconds they may be submitted again.
SELECT task_pk, own_task.date_added, extract(epoch FROM not_before - now())::double precision AS seconds,
       array_agg(runner_manager_id) AS lost_by
FROM poddispatchd.own_task JOIN poddispatchd.submission USING (task_pk)
WHERE task_pk = ANY(:tasks::bigint[]) AND not_before IS NOT NULL AND submission.date_added = own_task.date_added AND state = 'lost'
GROUP BY task_pk, own_task.date_added, not_before

-- name: wait_of
-- Until when a task waits that has had this date_added since it was put back; a longer wait than any (domain.lifecycle)
-- is none: the server's clock was set back.
SELECT date_added, not_before, extract(epoch FROM not_before - now())::double precision AS seconds
FROM poddispatchd.own_task
WHERE task_pk = :task AND date_added = :date_added AND not_before > now() AND not_before <= now() + interval '10 minutes'

-- name: forget_own_task
-- The task was submitted.
DELETE FROM poddispatchd.own_task WHERE task_pk = :task

-- name: purge_own_tasks
-- Forget tasks that were not submitted for so many days, at most :batch.
DELETE FROM poddispatchd.own_task WHERE task_pk IN (
    SELECT task_pk FROM poddispatchd.own_task WHERE added_at < now() - make_interval(days => :days) LIMIT :batch)

-- name: runner_managers
-- When runner managers are paused, when each was last given a task, and over which parameters its runners failed some.
SELECT id, paused_at, pause_reason, planned.begins, planned.ends, planned.reasons, last_given_at,
       refused.names AS refused_parameters
FROM poddispatchd.manager_state
FULL JOIN (SELECT runner_manager_id AS id, array_agg(name) AS names FROM poddispatchd.refused_parameter
           WHERE refused_at > now() - interval '7 days' GROUP BY runner_manager_id) AS refused USING (id)
FULL JOIN (SELECT runner_manager_id AS id, array_agg(begins_at ORDER BY begins_at, id) AS begins,
                  array_agg(ends_at ORDER BY begins_at, id) AS ends, array_agg(reason ORDER BY begins_at, id) AS reasons
           FROM poddispatchd.planned_pause
           -- Whether one holds is asked of our clock: no maintenance ends because the database's was put forward by a day.
           WHERE ends_at IS NULL OR ends_at > now() - interval '2 days'
           GROUP BY runner_manager_id) AS planned USING (id)

-- name: refused_parameters
-- Over which parameters runners of a manager failed tasks. After some days they may be others: it is tried again.
SELECT name FROM poddispatchd.refused_parameter
WHERE runner_manager_id = :runner_manager AND refused_at > now() - interval '7 days'

-- name: note_refused_parameters
-- A run that manager :runner_manager calls :task_id failed over the parameters :names, if its request held them or is not known.
WITH request AS (
    SELECT body FROM poddispatchd.submission
    WHERE runner_manager_id = :runner_manager AND task_id = :task_id AND body <> '' ORDER BY id DESC LIMIT 1
), held AS (
    SELECT name FROM unnest(:names::text[]) AS named (name)
    WHERE NOT EXISTS (SELECT FROM request)
       OR EXISTS (SELECT FROM request WHERE convert_from(body, 'UTF8')::jsonb -> 'parameters' ? name)
), noted AS (
    INSERT INTO poddispatchd.refused_parameter (runner_manager_id, name) SELECT :runner_manager, name FROM held
    ON CONFLICT (runner_manager_id, name) DO UPDATE SET refused_at = now()
)
SELECT EXISTS (SELECT FROM held)

-- name: note_accepted_parameters
-- A run that manager :runner_manager calls :task_id succeeded: the parameters that its request held are known there.
DELETE FROM poddispatchd.refused_parameter AS refused USING poddispatchd.submission
WHERE refused.runner_manager_id = :runner_manager AND submission.runner_manager_id = :runner_manager AND submission.task_id = :task_id
  AND submission.body <> '' AND convert_from(submission.body, 'UTF8')::jsonb -> 'parameters' ? refused.name

-- name: commits_wait
-- Whether a session of this role waits for a standby server to confirm a commit that began :seconds seconds ago.
SELECT EXISTS (SELECT FROM pg_stat_activity
                WHERE usename = current_user AND wait_event = 'SyncRep'
                  AND query_start <= clock_timestamp() - make_interval(secs => :seconds))
