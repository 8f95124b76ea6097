-- name: hold_lease
-- Make sure that the lease is held, until the end of the transaction.
SELECT id FROM poddispatchd.import WHERE id = $1 AND state = 'open' AND lease_owner = $2 FOR UPDATE

-- name: record_files
-- What an import is about to put in place, and which of these are there ($3); what an earlier attempt found stays.
INSERT INTO poddispatchd.import_file (import_id, path, is_new)
SELECT $1, brought.path,
       brought.path <> ALL($3::text[])
       OR EXISTS (SELECT FROM poddispatchd.obsolete_file AS file WHERE file.path = brought.path)
FROM unnest($2::text[]) AS brought (path)
ON CONFLICT DO NOTHING

-- name: reclaim_files
-- These files are not obsolete any more, but those that are being deleted.
DELETE FROM poddispatchd.obsolete_file
WHERE path = ANY($1::text[]) AND (claimed_until IS NULL OR claimed_until < now())

-- name: is_any_obsolete
-- Whether one of these files is still to be deleted.
SELECT EXISTS (SELECT FROM poddispatchd.obsolete_file WHERE path = ANY($1::text[]))

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

-- name: claim_obsolete_files
-- Files to delete, oldest first, of one task or of all; not what an open import is about to put in place again.
UPDATE poddispatchd.obsolete_file SET claimed_by = $1, claimed_until = now() + make_interval(secs => $2)
WHERE path IN (
    SELECT path FROM poddispatchd.obsolete_file AS file
    WHERE ($4::bigint IS NULL OR task_pk = $4)
      AND (claimed_until IS NULL OR claimed_until < now())
      AND NOT EXISTS (
          SELECT FROM poddispatchd.import_file AS brought
          JOIN poddispatchd.import ON import.id = brought.import_id
          WHERE brought.path = file.path AND import.state = 'open')
    ORDER BY added_at, path LIMIT $3
    FOR UPDATE OF file SKIP LOCKED)
RETURNING path

-- name: renew_claims
-- These files are still being deleted.
UPDATE poddispatchd.obsolete_file SET claimed_until = now() + make_interval(secs => $2)
WHERE path = ANY($3::text[]) AND claimed_by = $1

-- name: forget_obsolete_files
-- These files are gone, or needed after all.
DELETE FROM poddispatchd.obsolete_file WHERE path = ANY($2::text[]) AND claimed_by = $1

-- name: release_claims
-- These files could not be deleted: another time, after all others.
UPDATE poddispatchd.obsolete_file SET claimed_by = NULL, claimed_until = NULL, added_at = now()
WHERE path = ANY($2::text[]) AND claimed_by = $1

-- name: claimants
-- Who is deleting files.
SELECT DISTINCT claimed_by FROM poddispatchd.obsolete_file WHERE claimed_by IS NOT NULL

-- name: release_claimant
-- An instance that was deleting files is gone.
UPDATE poddispatchd.obsolete_file SET claimed_by = NULL, claimed_until = NULL WHERE claimed_by = $1
