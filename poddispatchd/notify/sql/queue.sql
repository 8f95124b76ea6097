-- name: take
-- Take an event away, for its deliveries are queued in the same transaction; no row when another instance did.
DELETE FROM poddispatchd.notice WHERE id = :notice RETURNING id

-- name: queue
-- Something to deliver.
INSERT INTO poddispatchd.delivery (channel, task_pk, content) VALUES (:channel, :task, :content)

-- name: queue_event
-- An outgoing event, unless :most of them wait or were set aside.
INSERT INTO poddispatchd.delivery (channel, task_pk, content)
SELECT 'event', :task, :content
WHERE (SELECT count(*) FROM poddispatchd.delivery WHERE channel = 'event' AND state IN ('open', 'set_aside')) < :most

-- name: keep_rest
-- What is left of a delivery.
UPDATE poddispatchd.delivery SET content = :content WHERE id = :delivery AND state = 'open' AND lease_owner = :owner

-- name: settle
-- A delivery is over, and its content is forgotten.
UPDATE poddispatchd.delivery
SET state = :state, last_error = :error, settled_at = now(), content = NULL, lease_owner = NULL, lease_expires_at = NULL
-- Whoever holds its lease by now: what was delivered is delivered.
WHERE id = :delivery AND state = 'open'

-- name: drop_open
-- What is queued for a channel that has been switched off is not delivered.
UPDATE poddispatchd.delivery
SET state = 'dropped', settled_at = now(), content = NULL, lease_owner = NULL, lease_expires_at = NULL
WHERE channel = :channel AND state = 'open'
