-- name: note
-- The run of a task has ended badly.
INSERT INTO poddispatchd.failure (task_pk, runner_manager_id, task_id, digest) VALUES (:task, :runner_manager, :task_id, :digest)
-- Of a task the last run counts: its manager is the one that may mend it.
ON CONFLICT (task_pk) DO UPDATE
   SET runner_manager_id = excluded.runner_manager_id, task_id = excluded.task_id, failed_at = now(), asked_at = NULL,
       digest = excluded.digest

-- name: known
-- Whether the last failure of a run was this one.
SELECT EXISTS (SELECT FROM poddispatchd.failure
                WHERE task_pk = :task AND runner_manager_id = :runner_manager AND task_id = :task_id AND digest = :digest)

-- name: lately
-- The failures of so many seconds, but for :excluding: of each manager so many, first those not asked about for the longest time.
SELECT task_pk, runner_manager_id, task_id
  FROM (SELECT *, row_number() OVER (PARTITION BY runner_manager_id ORDER BY asked_at NULLS FIRST, failed_at DESC) AS turn
          FROM poddispatchd.failure
         WHERE {age} < :seconds AND task_pk <> ALL (:excluding::bigint[])) AS lately
 WHERE turn <= :limit
 ORDER BY turn

-- name: asked
-- The managers of these were asked about them.
UPDATE poddispatchd.failure SET asked_at = now() WHERE task_pk = ANY (:tasks::bigint[])

-- name: purge
-- Forget failures older than so many days, a batch at a time.
DELETE FROM poddispatchd.failure WHERE task_pk IN (
    SELECT task_pk FROM poddispatchd.failure WHERE failed_at < now() - make_interval(days => :days) LIMIT :batch
)
