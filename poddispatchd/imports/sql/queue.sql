-- name: obstructed_for
-- For how many seconds something outside the result has kept it from being imported, while somebody tried. A clock that was put forward would
-- have the result given up.
SELECT {obstructed_for} FROM poddispatchd.import WHERE id = :import_id

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

-- name: known
-- What an import has recorded so far, what other open imports have, and what was submitted to manager :runner_manager as :task_id.
SELECT array_agg(file.path) FILTER (WHERE file.import_id = :import_id) AS ours,
       array_agg(file.path) FILTER (WHERE file.import_id <> :import_id) AS taken,
       (SELECT body FROM poddispatchd.submission
         WHERE runner_manager_id = :runner_manager AND task_id = :task_id ORDER BY id DESC LIMIT 1) AS body,
       (SELECT source_size FROM poddispatchd.submission
         WHERE runner_manager_id = :runner_manager AND task_id = :task_id ORDER BY id DESC LIMIT 1) AS source_size
FROM poddispatchd.import_file AS file JOIN poddispatchd.import ON import.id = file.import_id
WHERE import.id = :import_id OR import.state = 'open'

-- name: forget_recorded
-- These files are somebody else's.
DELETE FROM poddispatchd.import_file WHERE import_id = :import_id AND path = ANY(:paths::text[])

-- name: hold
-- Whether owner :owner has the lease of an import; nobody else gets it until the end of the transaction, and nobody else
-- records files. Its row comes first, for everybody: who waits for the others holds no more than that.
WITH held AS MATERIALIZED (
    SELECT id FROM poddispatchd.import WHERE id = :import_id AND state = 'open' AND lease_owner = :owner FOR UPDATE
)
SELECT pg_advisory_xact_lock(hashtext('poddispatchd.import_file')) FROM held

-- name: record_files
-- What an import is about to put in place, and which of these are there (:there); what an earlier attempt found stays.
-- Nothing, when another open import has recorded one of the names :stored, which were chosen because they are free
-- (is_chosen), when somebody is at another one that brings one of these files, too (is_at_work), when a later task has done its
-- source (later), or when its row does not wait for it any more (is_wanted).
WITH task AS MATERIALIZED (
    SELECT {done_later} AS later
      FROM poddispatchd.import
      JOIN runner_manager_task AS task ON (task.id, task.runner_manager_id, task.task_id) = (task_pk, import.runner_manager_id, import.task_id)
     WHERE import.id = :import_id AND task.status <> 'completed'
), other AS MATERIALIZED (
    SELECT coalesce(bool_or(file.path = ANY(:stored::text[])), false) AS is_chosen,
           coalesce(bool_or(import.lease_expires_at > now()), false) AS is_at_work
    FROM poddispatchd.import_file AS file JOIN poddispatchd.import ON import.id = file.import_id
    WHERE import.state = 'open' AND import.id <> :import_id AND file.path = ANY(:brought::text[])
), recorded AS (
    INSERT INTO poddispatchd.import_file (import_id, path, is_new, is_chosen)
    SELECT :import_id, brought.path,
           brought.path <> ALL(:there::text[])
           OR EXISTS (SELECT FROM poddispatchd.obsolete_file AS file WHERE file.path = brought.path),
           brought.path = ANY(:stored::text[])
    FROM unnest(:brought::text[]) AS brought (path), other
    WHERE NOT other.is_chosen AND NOT other.is_at_work AND EXISTS (SELECT FROM task WHERE later IS NULL)
    ON CONFLICT DO NOTHING
)
SELECT is_chosen, is_at_work, (SELECT later FROM task) AS later, EXISTS (SELECT FROM task) AS is_wanted FROM other

-- name: keep_appeared
-- These files, which an import has recorded, have come from somebody else since it looked; what is obsolete goes all the same.
UPDATE poddispatchd.import_file AS file SET is_new = false
WHERE import_id = :import_id AND path = ANY(:paths::text[]) AND is_new
  AND NOT EXISTS (SELECT FROM poddispatchd.obsolete_file AS obsolete WHERE obsolete.path = file.path)

-- name: reclaim_files
-- These files are not obsolete any more, but those that are being deleted; whether there is one.
WITH reclaimed AS (
    DELETE FROM poddispatchd.obsolete_file
    WHERE path = ANY(:brought::text[]) AND (claimed_until IS NULL OR claimed_until < now())
    RETURNING path
)
SELECT EXISTS (
    SELECT FROM poddispatchd.obsolete_file
    WHERE path = ANY(:brought::text[]) AND path NOT IN (SELECT path FROM reclaimed)
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
