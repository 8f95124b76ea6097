-- The optional trigger on Pod's task table, and the index that a very long table wants. {schema}: poddispatchd's own.

-- name: install
-- Announce new pending tasks, and old ones that are pending again; one notification for each transaction.
-- The schema is not made here: it must belong to the role that poddispatchd runs with, not to who runs this.
CREATE OR REPLACE FUNCTION {schema}.announce_task() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
    AS $$ BEGIN PERFORM pg_notify('poddispatchd_task', ''); RETURN NULL; END $$;
DROP TRIGGER IF EXISTS poddispatchd_task_added ON runner_manager_task;
CREATE TRIGGER poddispatchd_task_added
    AFTER INSERT ON runner_manager_task
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.announce_task();
DROP TRIGGER IF EXISTS poddispatchd_task_pending ON runner_manager_task;
CREATE TRIGGER poddispatchd_task_pending
    AFTER UPDATE OF status ON runner_manager_task
    FOR EACH ROW WHEN (NEW.status = 'pending' AND OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION {schema}.announce_task();

-- name: remove
-- Take back what the installation made, except the schema.
DROP TRIGGER IF EXISTS poddispatchd_task_added ON runner_manager_task;
DROP TRIGGER IF EXISTS poddispatchd_task_pending ON runner_manager_task;
DROP FUNCTION IF EXISTS {schema}.announce_task();

-- name: owner
-- Who owns the task table, whether the current role does, who owns our schema, and who the function, where the current role does not.
SELECT quote_ident(pg_get_userbyid(relowner)) AS owner, pg_has_role(current_user, relowner, 'USAGE') AS is_ours,
       quote_ident(pg_get_userbyid(nspowner)) AS schema_owner, quote_ident(pg_get_userbyid(proowner)) AS function_owner
  FROM pg_class
  LEFT JOIN pg_namespace ON nspname = 'poddispatchd'
  LEFT JOIN pg_proc ON pronamespace = pg_namespace.oid AND proname = 'announce_task' AND pronargs = 0
                   AND NOT pg_has_role(current_user, proowner, 'USAGE')
 WHERE pg_class.oid = to_regclass('runner_manager_task')

-- name: index
-- Small, for it holds unfinished tasks only; with it the queue is read without the table.
CREATE INDEX CONCURRENTLY IF NOT EXISTS poddispatchd_unfinished
    ON runner_manager_task (status, type, date_added, id, video_id, recording_id)
    WHERE status NOT IN ('completed', 'failed', 'timeout');

-- name: facts
-- How long the task table is and how much of it is unfinished, and whether the index is there and usable.
SELECT count(*) AS tasks,
       count(*) FILTER (WHERE status NOT IN ('completed', 'failed', 'timeout')) AS unfinished,
       EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('poddispatchd_unfinished') AND indisvalid)
           AS has_index
  FROM runner_manager_task
