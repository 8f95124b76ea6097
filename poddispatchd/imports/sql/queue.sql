-- name: obstructed_for
-- For how many seconds something outside the result has kept it from being imported, while somebody tried. A clock that was put forward would
-- have the result given up.
SELECT {obstructed_for} FROM poddispatchd.import WHERE id = :import_id

-- name: recent
-- The results that were imported or failed last, the latest first: as many as may be looked at for an attempt that was refused.
(SELECT task_pk, state, created_at, finished_at, last_error FROM poddispatchd.import
  WHERE state IN ('done', 'failed') ORDER BY finished_at DESC LIMIT 5000)

-- name: refused_alike
-- Whether another task's result of the type of :task has been refused in the words :words, and none of that type was written since it came;
-- as far as the latest thousands tell. Types are looked up row by row: a join would read both tables.
WITH kind AS MATERIALIZED (
    SELECT type FROM runner_manager_task WHERE id = :task
), written AS MATERIALIZED (
    SELECT finished_at AS at FROM {recent} AS recent
     WHERE state = 'done' AND (SELECT type FROM runner_manager_task WHERE id = task_pk) = (SELECT type FROM kind)
     ORDER BY finished_at DESC LIMIT 1
)
SELECT EXISTS (
    SELECT FROM (SELECT task_pk, created_at, last_error FROM poddispatchd.import WHERE state = 'open'
                 UNION ALL
                 SELECT task_pk, created_at, last_error FROM {recent} AS recent WHERE state = 'failed') AS refused
     WHERE task_pk <> :task AND last_error = :words AND created_at > coalesce((SELECT at FROM written), '-infinity')
       AND (SELECT type FROM runner_manager_task WHERE id = task_pk) = (SELECT type FROM kind)
)

-- name: reserve_video
-- Take the id of the video that a studio import will make, before its files are named after it; the first one stays, unless
-- somebody else's video has it, as where a sequence stands behind the rows. is_taken: so has the one that was given now.
UPDATE poddispatchd.import
SET video_id = CASE WHEN video_id IS NULL OR EXISTS (SELECT FROM video_video WHERE video_video.id = import.video_id)
                    THEN nextval(pg_get_serial_sequence('video_video', 'id')::regclass) ELSE video_id END
WHERE id = :import_id AND state = 'open' AND lease_owner = :owner
RETURNING video_id, EXISTS (SELECT FROM video_video WHERE video_video.id = import.video_id) AS is_taken

-- name: finish
-- Close an import that this instance holds: part of the transaction that is its commit point.
UPDATE poddispatchd.import
SET state = :state, last_error = :words, finished_at = now(), lease_owner = NULL, lease_expires_at = NULL
WHERE id = :import_id AND state = 'open' AND lease_owner = :owner

-- name: note_obstacle
-- Since when an obstacle outside the result lasts (:is_obstructed); an attempt that counts (:counts) did not meet one.
UPDATE poddispatchd.import
SET obstructed_since = CASE WHEN :is_obstructed::boolean THEN coalesce(obstructed_since, now())
                            WHEN :counts::boolean THEN NULL ELSE obstructed_since END
WHERE id = :import_id AND state = 'open' AND lease_owner = :owner

-- name: bring_forward
-- Imports that waited for an obstacle to go are due within some seconds, not all at once; one that has ended stays as it is.
UPDATE poddispatchd.import SET next_attempt_at = least(next_attempt_at, now() + random() * interval '5 seconds')
WHERE id IN (
    SELECT id FROM poddispatchd.import
    WHERE id = ANY(:import_ids) AND state = 'open' AND lease_owner IS NULL AND obstructed_since IS NOT NULL
    ORDER BY id FOR UPDATE SKIP LOCKED
)

-- name: settle
-- The import :import_id that :owner holds is committed, which is its commit point: the files :brought that it brought are Pod's, and other
-- imports that bring them again replace something; those that it replaced, :replaced, and what only earlier attempts brought
-- are obsolete. :own_tasks: tasks that were added with it; Pod's web process is not submitting them by itself.
-- Says whether the lease was ours, and whether there is something to delete.
WITH closed AS (
    UPDATE poddispatchd.import
    SET state = 'done', last_error = NULL, finished_at = now(), lease_owner = NULL, lease_expires_at = NULL
    WHERE id = :import_id AND state = 'open' AND lease_owner = :owner
    RETURNING id, task_pk
), settled AS (
    DELETE FROM poddispatchd.import_file USING closed WHERE import_id = closed.id RETURNING path, is_new
), kept AS (
    UPDATE poddispatchd.import_file SET is_new = false
    WHERE path = ANY(:brought::text[]) AND import_id <> :import_id AND is_new
), reclaimed AS (
    DELETE FROM poddispatchd.obsolete_file
    WHERE path = ANY(:brought::text[]) AND (claimed_until IS NULL OR claimed_until < now())
), obsolete AS (
    INSERT INTO poddispatchd.obsolete_file (path, task_pk)
    SELECT path, closed.task_pk
    FROM closed, (SELECT unnest(:replaced::text[]) UNION SELECT path FROM settled WHERE is_new) AS needless (path)
    WHERE path <> ALL(:brought::text[])
    ON CONFLICT (path) DO NOTHING
    RETURNING path
), own_tasks AS (
    INSERT INTO poddispatchd.own_task (task_pk) SELECT unnest(:own_tasks::bigint[])
    ON CONFLICT (task_pk) DO UPDATE SET added_at = now()
)
SELECT EXISTS (SELECT FROM obsolete) AS has_obsolete FROM closed
