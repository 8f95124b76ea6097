-- name: backlog
-- What waits in each queue of the journal, since when the oldest has, and what was set aside for a person.
SELECT 'callbacks' AS queue, count(*) FILTER (WHERE state = 'open') AS waiting,
       min(received_at) FILTER (WHERE state = 'open') AS oldest, count(*) FILTER (WHERE state = 'set_aside') AS set_aside
  FROM poddispatchd.callback WHERE state IN ('open', 'set_aside')
 UNION ALL
SELECT 'imports', count(*) FILTER (WHERE state = 'open'), min(created_at) FILTER (WHERE state = 'open'),
       count(*) FILTER (WHERE state = 'set_aside')
  FROM poddispatchd.import WHERE state IN ('open', 'set_aside')
 UNION ALL
SELECT channel, count(*) FILTER (WHERE state = 'open'), min(created_at) FILTER (WHERE state = 'open'),
       count(*) FILTER (WHERE state = 'set_aside')
  FROM poddispatchd.delivery WHERE state IN ('open', 'set_aside') GROUP BY channel
