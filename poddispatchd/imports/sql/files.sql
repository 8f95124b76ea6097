-- name: recorded_files
-- What an import has recorded so far.
SELECT path FROM poddispatchd.import_file WHERE import_id = $1

-- name: forget_recorded
-- These files are somebody else's.
DELETE FROM poddispatchd.import_file WHERE import_id = $1 AND path = ANY($2::text[])

-- name: chosen_names
-- What other open imports have recorded.
SELECT path FROM poddispatchd.import_file AS file
JOIN poddispatchd.import ON import.id = file.import_id
WHERE import.state = 'open' AND import.id <> $1

-- name: one_choice_at_a_time
-- Until the end of the transaction nobody else records names that were free.
SELECT pg_advisory_xact_lock(hashtext('poddispatchd.import_file'))

-- name: record_files
-- What an import is about to put in place, and which of these are there ($3); what an earlier attempt found stays.
INSERT INTO poddispatchd.import_file (import_id, path, is_new)
SELECT $1, brought.path,
       brought.path <> ALL($3::text[])
       OR EXISTS (SELECT FROM poddispatchd.obsolete_file AS file WHERE file.path = brought.path)
FROM unnest($2::text[]) AS brought (path)
ON CONFLICT DO NOTHING

-- name: reclaim_files
-- These files are not obsolete any more, but those that are being deleted; whether there is one.
WITH reclaimed AS (
    DELETE FROM poddispatchd.obsolete_file
    WHERE path = ANY($1::text[]) AND (claimed_until IS NULL OR claimed_until < now())
    RETURNING path
)
SELECT EXISTS (
    SELECT FROM poddispatchd.obsolete_file
    WHERE path = ANY($1::text[]) AND path NOT IN (SELECT path FROM reclaimed)
)

-- name: superseded_files
-- What earlier attempts of an import put in place and the committed one did not.
SELECT path, is_new FROM poddispatchd.import_file WHERE import_id = $1 AND path <> ALL($2::text[])

-- name: settle_files
-- The files of an import are Pod's: other imports that bring them again replace something.
WITH settled AS (DELETE FROM poddispatchd.import_file WHERE import_id = $1)
UPDATE poddispatchd.import_file SET is_new = false
WHERE path = ANY($2::text[]) AND import_id <> $1 AND is_new

-- name: closed_with_files
-- Imports that ended without a commit and left files, with their tasks.
SELECT DISTINCT import.id, import.task_pk
FROM poddispatchd.import_file AS file JOIN poddispatchd.import ON import.id = file.import_id
WHERE import.state <> 'open' ORDER BY import.id LIMIT $1

-- name: take_files
-- Forget what an import put in place that is closed, or that this instance holds, and tell it.
DELETE FROM poddispatchd.import_file AS file USING poddispatchd.import
WHERE import.id = file.import_id AND import.id = $1 AND (import.state <> 'open' OR import.lease_owner = $2)
RETURNING file.path, file.is_new

-- name: add_obsolete_files
-- Remember files to delete.
INSERT INTO poddispatchd.obsolete_file (path, task_pk) SELECT unnest($1::text[]), $2
ON CONFLICT (path) DO NOTHING

-- name: forget_obsolete_files
-- These files are gone, or needed after all.
DELETE FROM poddispatchd.obsolete_file WHERE path = ANY($2::text[]) AND claimed_by = $1
