-- name: take
-- Take an event away, for its deliveries are queued in the same transaction; no row when another instance did.
DELETE FROM poddispatchd.notice WHERE id = $1 RETURNING id

-- name: queue
-- Something to deliver.
INSERT INTO poddispatchd.delivery (channel, task_pk, content) VALUES ($1, $2, $3)

-- name: keep_rest
-- What is left of a delivery.
UPDATE poddispatchd.delivery SET content = $3 WHERE id = $1 AND state = 'open' AND lease_owner = $2

-- name: settle
-- A delivery is over, and its content is forgotten.
UPDATE poddispatchd.delivery
SET state = $2, last_error = $3, settled_at = now(), content = NULL, lease_owner = NULL, lease_expires_at = NULL
WHERE id = $1 AND state = 'open'

-- name: drop_open
-- What is queued for a channel that has been switched off is not delivered.
UPDATE poddispatchd.delivery
SET state = 'dropped', settled_at = now(), content = NULL, lease_owner = NULL, lease_expires_at = NULL
WHERE channel = $1 AND state = 'open'
