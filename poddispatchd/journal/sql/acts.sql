-- name: record
-- A person did something to a task or to a runner manager.
INSERT INTO poddispatchd.act (actor, act, task_pk, runner_manager_id, status_before) VALUES (:actor, :act, :task, :runner_manager, :status_before)

-- name: of_task
-- What people did to a task, the latest last.
SELECT id, at, actor, act, task_pk, runner_manager_id, status_before FROM poddispatchd.act
 WHERE task_pk = :task ORDER BY id

-- name: since
-- What people did after the act :last, but for the acts :seen, at most :limit of it.
SELECT id, at, actor, act, task_pk, runner_manager_id, status_before FROM poddispatchd.act
 WHERE id > :last AND NOT EXISTS (SELECT FROM unnest(:seen::bigint[]) AS seen (id) WHERE seen.id = act.id)
 ORDER BY id LIMIT :limit

-- name: last
-- The id of the last act; 0 before the first.
SELECT coalesce(max(id), 0) FROM poddispatchd.act

-- name: purge
-- Forget what was done more than :days days ago, at most :batch rows.
DELETE FROM poddispatchd.act WHERE id IN (
    SELECT id FROM poddispatchd.act WHERE at < now() - make_interval(days => :days) ORDER BY at LIMIT :batch)
