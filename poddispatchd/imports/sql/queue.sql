-- name: obstructed_for
-- For how many seconds something outside the result has kept it from being imported.
SELECT extract(epoch FROM now() - obstructed_since)::double precision FROM poddispatchd.import WHERE id = :import_id

-- name: reserve_video
-- Take the id of the video that a studio import will make, before its files are named after it; the first one stays.
UPDATE poddispatchd.import
SET video_id = coalesce(video_id, nextval(pg_get_serial_sequence('video_video', 'id')::regclass))
WHERE id = :import_id AND state = 'open' AND lease_owner = :owner
RETURNING video_id

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
