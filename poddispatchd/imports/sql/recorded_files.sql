-- name: known
-- What an import has recorded so far, or withdrew and could not delete yet; what other open imports have; and how large the source
-- was that was submitted to manager :runner_manager as :task_id.
SELECT array_agg(file.path) FILTER (WHERE file.import_id = :import_id)
       || ARRAY(SELECT path FROM poddispatchd.obsolete_file WHERE task_pk = :task) AS ours,
       array_agg(file.path) FILTER (WHERE file.import_id <> :import_id) AS taken,
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
-- (is_chosen), when somebody puts another one in place that brings one of these files, too (is_at_work), when a later task has done
-- its source (later), or when its row, of type :type and with video :video or recording :recording, does not wait for it any more
-- (is_wanted).
WITH task AS MATERIALIZED (
    SELECT {done_later} AS later
      FROM poddispatchd.import
      JOIN runner_manager_task AS task ON (task.id, task.runner_manager_id, task.task_id) = (task_pk, import.runner_manager_id, import.task_id)
     WHERE import.id = :import_id AND task.status <> 'completed'
       AND task.type = :type AND (task.video_id = :video OR task.recording_id = :recording)
), other AS MATERIALIZED (
    SELECT coalesce(bool_or(file.path = ANY(:stored::text[])), false) AS is_chosen,
           coalesce(bool_or(import.is_placing AND import.lease_expires_at > now()), false) AS is_at_work
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
), marked AS (
    UPDATE poddispatchd.import SET is_placing = true
    WHERE id = :import_id AND NOT (SELECT is_chosen OR is_at_work FROM other) AND EXISTS (SELECT FROM task WHERE later IS NULL)
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
