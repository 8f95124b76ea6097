-- name: add
-- Something of which people are to be told; committed with what it tells of.
INSERT INTO poddispatchd.notice (event, task_pk, task_type, task_id, video_id, recording_id, is_reported, words)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: waiting
-- The oldest events for which nothing has been queued yet.
SELECT id, event, task_pk, task_type, task_id, video_id, recording_id, is_reported, words
FROM poddispatchd.notice ORDER BY id LIMIT $1

-- name: take
-- Take an event away, for its deliveries are queued in the same transaction; no row when another instance did.
DELETE FROM poddispatchd.notice WHERE id = $1 RETURNING id

-- name: queue
-- Something to deliver.
INSERT INTO poddispatchd.delivery (channel, task_pk, content) VALUES ($1, $2, $3)

-- name: claim_due
-- Take the next deliveries of a channel; skip those another instance is at, and put them back later if it dies.
UPDATE poddispatchd.delivery SET attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => $3)
WHERE id IN (
    SELECT id FROM poddispatchd.delivery
    WHERE channel = $1 AND state = 'open' AND next_attempt_at <= now()
    ORDER BY next_attempt_at, id LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING id, channel, task_pk, content, attempts, created_at

-- name: retry
-- Try a delivery again after so many seconds, with what is left of it.
UPDATE poddispatchd.delivery
SET next_attempt_at = now() + make_interval(secs => $2), last_error = $3, content = coalesce($4, content),
    attempts = attempts - CASE WHEN $5 THEN 0 ELSE 1 END
WHERE id = $1 AND state = 'open'

-- name: settle
-- A delivery is over, and its content is forgotten.
UPDATE poddispatchd.delivery SET state = $2, last_error = $3, settled_at = now(), content = NULL
WHERE id = $1 AND state = 'open'

-- name: drop_open
-- What is queued for a channel that has been switched off is not delivered.
UPDATE poddispatchd.delivery SET state = 'dropped', settled_at = now(), content = NULL
WHERE channel = $1 AND state = 'open'

-- name: next_due
-- The seconds until the next delivery of some channels is due (0 or less: now); NULL when there is none.
SELECT extract(epoch FROM min(next_attempt_at) - now())::double precision FROM poddispatchd.delivery
WHERE state = 'open' AND channel = ANY($1::text[])

-- name: purge
-- Forget settled deliveries older than so many days, a batch at a time.
DELETE FROM poddispatchd.delivery WHERE id IN (
    SELECT id FROM poddispatchd.delivery
    WHERE state <> 'open' AND settled_at < now() - make_interval(days => $1) LIMIT $2
)
