-- name: obstructed_for
-- For how many seconds something outside the result has kept it from being imported.
SELECT extract(epoch FROM now() - obstructed_since)::double precision FROM poddispatchd.import WHERE id = $1

-- name: reserve_video
-- Store the id of the video that a studio import will make; the first one stored stays.
UPDATE poddispatchd.import SET video_id = coalesce(video_id, $3)
WHERE id = $1 AND state = 'open' AND lease_owner = $2
RETURNING video_id

-- name: finish
-- Close an import that this instance holds: part of the transaction that is its commit point.
UPDATE poddispatchd.import
SET state = $3, last_error = $4, finished_at = now(), lease_owner = NULL, lease_expires_at = NULL
WHERE id = $1 AND state = 'open' AND lease_owner = $2

-- name: note_obstacle
-- Since when an obstacle outside the result lasts ($3); an attempt that counts ($4) did not meet one.
UPDATE poddispatchd.import
SET obstructed_since = CASE WHEN $3::boolean THEN coalesce(obstructed_since, now())
                            WHEN $4::boolean THEN NULL ELSE obstructed_since END
WHERE id = $1 AND state = 'open' AND lease_owner = $2
