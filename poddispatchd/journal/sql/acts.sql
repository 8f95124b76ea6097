-- name: record
-- A person did something to a task or to a runner manager.
INSERT INTO poddispatchd.act (actor, act, task_pk, runner_manager_id, status_before) VALUES ($1, $2, $3, $4, $5)

-- name: of_task
-- What people did to a task, the latest last.
SELECT id, at, actor, act, task_pk, runner_manager_id, status_before FROM poddispatchd.act
 WHERE task_pk = $1 ORDER BY id

-- name: since
-- What people did after the act $1, at most $2 of it.
SELECT id, at, actor, act, task_pk, runner_manager_id, status_before FROM poddispatchd.act
 WHERE id > $1 ORDER BY id LIMIT $2

-- name: last
-- The id of the last act; 0 before the first.
SELECT coalesce(max(id), 0) FROM poddispatchd.act

-- name: purge
-- Forget what was done more than $1 days ago, at most $2 rows.
DELETE FROM poddispatchd.act WHERE id IN (
    SELECT id FROM poddispatchd.act WHERE at < now() - make_interval(days => $1) ORDER BY at LIMIT $2)
