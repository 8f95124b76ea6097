-- name: pause
-- Give a runner manager no new tasks until somebody resumes it.
INSERT INTO poddispatchd.manager_state (id, paused_at, pause_reason) VALUES (:runner_manager, now(), :reason)
-- It has been paused since the first time: a second one changes the reason only, and not to none.
ON CONFLICT (id) DO UPDATE SET paused_at = coalesce(poddispatchd.manager_state.paused_at, excluded.paused_at),
                               pause_reason = coalesce(nullif(excluded.pause_reason, ''), poddispatchd.manager_state.pause_reason)

-- name: plan
-- Give a runner manager no new tasks from one moment, NULL: now, to another, NULL: until somebody resumes it.
-- The same one is planned once, however often it is typed.
WITH planned AS (
    UPDATE poddispatchd.planned_pause SET reason = coalesce(nullif(:reason, ''), reason)
     WHERE runner_manager_id = :runner_manager AND ends_at IS NOT DISTINCT FROM :ends_at
       AND CASE WHEN :begins_at::timestamptz IS NULL THEN begins_at <= now() ELSE begins_at = :begins_at END
    RETURNING id
)
INSERT INTO poddispatchd.planned_pause (runner_manager_id, begins_at, ends_at, reason)
SELECT :runner_manager, coalesce(:begins_at::timestamptz, now()), :ends_at, :reason
 WHERE NOT EXISTS (SELECT FROM planned)

-- name: resume
-- Give a runner manager tasks again, whatever keeps them from it now; tells whether anything did. A pause that has begun goes: whether
-- one holds is asked of the clock of a daemon, which may be behind or ahead of this one.
WITH resumed AS (
    UPDATE poddispatchd.manager_state SET paused_at = NULL, pause_reason = ''
     WHERE id = :runner_manager AND paused_at IS NOT NULL
    RETURNING id
), ended AS (
    DELETE FROM poddispatchd.planned_pause
     WHERE runner_manager_id = :runner_manager AND begins_at <= now() AND (ends_at IS NULL OR ends_at > now() - interval '2 days')
    RETURNING ends_at
)
SELECT EXISTS (SELECT FROM resumed) OR EXISTS (SELECT FROM ended WHERE ends_at IS NULL OR ends_at > now())

-- name: cancel_planned
-- Forget the pauses of a runner manager that have not begun.
DELETE FROM poddispatchd.planned_pause WHERE runner_manager_id = :runner_manager AND begins_at > now()

-- name: purge
-- Forget pauses that ended more than :days days ago.
DELETE FROM poddispatchd.planned_pause WHERE ends_at < now() - make_interval(days => :days)
