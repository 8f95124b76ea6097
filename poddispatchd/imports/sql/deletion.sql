-- name: closed_with_files
-- Imports that ended without a commit and left files, with their tasks.
SELECT DISTINCT import.id, import.task_pk
FROM poddispatchd.import_file AS file JOIN poddispatchd.import ON import.id = file.import_id
WHERE import.state <> 'open' ORDER BY import.id LIMIT :limit

-- name: take_files
-- Forget what an import put in place that is closed, or that this instance holds, and tell it.
DELETE FROM poddispatchd.import_file AS file USING poddispatchd.import
WHERE import.id = file.import_id AND import.id = :import_id AND (import.state <> 'open' OR import.lease_owner = :owner)
RETURNING file.path, file.is_new, file.is_chosen

-- name: add_obsolete_files
-- Remember files to delete.
INSERT INTO poddispatchd.obsolete_file (path, task_pk) SELECT unnest(:paths::text[]), :task
ON CONFLICT (path) DO NOTHING

-- name: forget_obsolete_files
-- These files are gone, or needed after all.
DELETE FROM poddispatchd.obsolete_file WHERE path = ANY(:paths::text[]) AND claimed_by = :owner
