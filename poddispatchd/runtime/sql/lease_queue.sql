-- The statements of a lease queue, one set for each table (runtime/lease_queue.py fills in the {places}).
-- An item is due when it is open, its time has come and nobody holds a lease of it. A claim moves next_attempt_at to
-- the end of the lease: a daemon of the release before, which knows no leases, stays away as long.
-- What is due later than after any wait that an item of so many attempts is given ({longest_wait}) is due now: the server's
-- clock was set back. So it is with a lease that ends so late, unless it is the claimer's own: that one is renewed.

-- name: claim
-- Lease at most :limit due items as :owner for :seconds seconds, in turn between partitions: first of those that hold least (:held_partitions, :held_counts);
-- of one partition at most :share, counted with what it holds; of the partitions :partitions only, if any are named. None is leased
-- besides those that have :most_bytes together, and none of :at_work: the claimer is at them, also where their leases have run out.
WITH turns AS (
    SELECT item.{key} AS key, {order}, ({size})::bigint AS size,
           row_number() OVER (PARTITION BY item.{partition} ORDER BY {order}) + coalesce(held.count, 0) AS turn
    FROM poddispatchd.{table} AS item
    LEFT JOIN unnest(:held_partitions::text[], :held_counts::integer[]) AS held (partition, count) ON held.partition = item.{partition}::text
    WHERE item.state = 'open' AND (item.next_attempt_at <= now() OR item.next_attempt_at > now() + {longest_wait})
      AND (item.{lease_expires_at} IS NULL OR item.{lease_expires_at} <= now()
           OR (item.{lease_expires_at} > now() + {longest_wait} AND item.{lease_owner} IS DISTINCT FROM :owner))
      AND (:partitions::text[] IS NULL OR item.{partition}::text = ANY(:partitions))
      AND item.{key} <> ALL(:at_work)
      AND {condition}
), chosen AS (
    SELECT key FROM (
        SELECT key, sum(size) OVER (ORDER BY turn, {order}) - size AS before
          FROM (SELECT * FROM turns WHERE turn <= :share ORDER BY turn, {order} LIMIT :limit) AS first
    ) AS summed
    WHERE before < :most_bytes
), locked AS MATERIALIZED (
    SELECT item.{key} AS key FROM poddispatchd.{table} AS item
    -- An array is made once; a subquery might be asked again for every open item.
    WHERE item.{key} = ANY (ARRAY(SELECT key FROM chosen))
      -- Asked once more: since they were chosen, another claim may have leased them.
      AND item.state = 'open' AND (item.next_attempt_at <= now() OR item.next_attempt_at > now() + {longest_wait})
      AND (item.{lease_expires_at} IS NULL OR item.{lease_expires_at} <= now()
           OR (item.{lease_expires_at} > now() + {longest_wait} AND item.{lease_owner} IS DISTINCT FROM :owner))
    ORDER BY item.{key} FOR UPDATE OF item SKIP LOCKED
)
UPDATE poddispatchd.{table} AS item
SET attempts = item.attempts + 1, {on_claim}{lease_owner} = :owner,
    {lease_expires_at} = now() + make_interval(secs => :seconds), next_attempt_at = now() + make_interval(secs => :seconds)
FROM locked WHERE item.{key} = locked.key
RETURNING item.{key} AS key, item.attempts, extract(epoch FROM now() - item.{created_at})::float8 AS age, {payload}

-- name: renew
-- Keep leases of an owner for another :seconds seconds, and tell which. Of a row that another session holds, it is kept the next
-- time: the others must not run out because of that one.
UPDATE poddispatchd.{table}
SET {lease_expires_at} = now() + make_interval(secs => :seconds), next_attempt_at = now() + make_interval(secs => :seconds)
WHERE {key} IN (
    SELECT item.{key} FROM poddispatchd.{table} AS item
    WHERE item.state = 'open' AND item.{lease_owner} = :owner AND item.{key} = ANY(:keys)
    ORDER BY item.{key} FOR UPDATE SKIP LOCKED
)
RETURNING {key} AS key

-- name: holds
-- Whether an owner has the lease of an item; nobody else gets it until the end of the transaction.
SELECT true FROM poddispatchd.{table} WHERE {key} = :key AND state = 'open' AND {lease_owner} = :owner FOR UPDATE

-- name: postpone
-- Give a lease back: due after :seconds seconds; an attempt that was none of the item's (:counts) does not count.
UPDATE poddispatchd.{table}
SET {lease_owner} = NULL, {lease_expires_at} = NULL, next_attempt_at = now() + make_interval(secs => :seconds),
    last_error = coalesce(:words, last_error),
    attempts = CASE WHEN :counts::boolean THEN attempts ELSE greatest(attempts - 1, 0) END
WHERE {key} = :key AND state = 'open' AND {lease_owner} = :owner

-- name: set_aside
-- Give an item up, with its words: it stays, and a person can have it tried again.
UPDATE poddispatchd.{table}
SET state = 'set_aside', {settled_at} = now(), last_error = :words, {lease_owner} = NULL, {lease_expires_at} = NULL
WHERE {key} = :key AND state = 'open' AND {lease_owner} = :owner

-- name: release
-- Give leases of an owner back, due at once: nothing was tried. A row that another session holds, as one of the owner's
-- whose link is dead does, keeps its lease until that runs out: nobody waits for it here.
UPDATE poddispatchd.{table}
SET {lease_owner} = NULL, {lease_expires_at} = NULL, next_attempt_at = now(), attempts = greatest(attempts - 1, 0)
WHERE {key} IN (
    SELECT item.{key} FROM poddispatchd.{table} AS item
    WHERE item.state = 'open' AND item.{lease_owner} = :owner AND item.{key} = ANY(:keys)
    ORDER BY item.{key} FOR UPDATE SKIP LOCKED
)

-- name: release_owner
-- Give back every lease of an owner that has ended: what it was at is due at once, and was not tried. As above.
UPDATE poddispatchd.{table}
SET {lease_owner} = NULL, {lease_expires_at} = NULL, next_attempt_at = now(), attempts = greatest(attempts - 1, 0)
WHERE {key} IN (
    SELECT item.{key} FROM poddispatchd.{table} AS item
    WHERE item.state = 'open' AND item.{lease_owner} = :owner
    ORDER BY item.{key} FOR UPDATE SKIP LOCKED
)

-- name: owners
-- Who holds leases.
SELECT DISTINCT {lease_owner} AS owner FROM poddispatchd.{table} WHERE state = 'open' AND {lease_owner} IS NOT NULL

-- name: next_due
-- The seconds until the next item is due (0 or less: now), of the partitions :partitions if any are named, but for those of
-- :at_work; NULL: there is none.
SELECT extract(epoch FROM min(CASE WHEN due <= now() + {longest_wait} THEN due ELSE now() END) - now())
       ::double precision
FROM poddispatchd.{table} AS item CROSS JOIN LATERAL greatest(next_attempt_at, {lease_expires_at}) AS due
WHERE state = 'open' AND (:partitions::text[] IS NULL OR {partition}::text = ANY(:partitions))
  AND item.{key} <> ALL(:at_work)

-- name: figures
-- How many items are open, leased and set aside, and when the oldest open one came.
SELECT count(*) FILTER (WHERE state = 'open') AS open,
       count(*) FILTER (WHERE state = 'open' AND {lease_expires_at} > now()) AS leased,
       count(*) FILTER (WHERE state = 'set_aside') AS set_aside,
       min({created_at}) FILTER (WHERE state = 'open') AS oldest
FROM poddispatchd.{table} WHERE state IN ('open', 'set_aside')

-- name: late
-- Partitions of whose open items that have failed before one came more than :seconds ago: how many there are, the age of the
-- oldest one in seconds, and why it failed.
SELECT {partition}::text AS partition, count(*) AS items,
       extract(epoch FROM now() - min({created_at}))::float8 AS age,
       (array_agg(last_error ORDER BY {created_at}, {key}))[1] AS words
FROM poddispatchd.{table} WHERE state = 'open' AND last_error IS NOT NULL
GROUP BY 1 HAVING min({created_at}) < now() - make_interval(secs => :seconds) ORDER BY 1

-- name: set_aside_items
-- At most :limit items that were set aside, the latest first.
SELECT {key}::text AS key, {task}::text AS task, attempts, coalesce(last_error, '') AS words, {created_at} AS created_at,
       {settled_at} AS set_aside_at
FROM poddispatchd.{table} WHERE state = 'set_aside' ORDER BY {settled_at} DESC, {key} LIMIT :limit

-- name: retry
-- Try an item again that was set aside, as if it were new. It has been due since it was set aside: so a claim knows for how
-- long nobody tried it.
UPDATE poddispatchd.{table}
SET state = 'open', attempts = 0, next_attempt_at = least(next_attempt_at, now()), {settled_at} = NULL
WHERE {key}::text = :key AND state = 'set_aside'

-- name: dismiss
-- An item that was set aside is seen to: it is settled as :state, and what it was to bring is forgotten.
UPDATE poddispatchd.{table} SET {forgotten} state = :state, {settled_at} = now()
WHERE {key}::text = :key AND state = 'set_aside'

-- name: forget
-- An item that was set aside is seen to: it goes.
DELETE FROM poddispatchd.{table} WHERE {key}::text = :key AND state = 'set_aside'

-- name: purge
-- Forget what was settled or set aside more than :days days ago, at most :batch items.
DELETE FROM poddispatchd.{table} WHERE {key} IN (
    SELECT {key} FROM poddispatchd.{table}
    WHERE state <> 'open' AND {settled_at} < now() - make_interval(days => :days) LIMIT :batch
)
