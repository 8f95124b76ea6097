-- name: states
-- What was told last of what lasts.
SELECT subject, state FROM poddispatchd.told WHERE state NOT IN ('set_aside', 'campaign')

-- name: note
-- Something is told now; no row when it was told already, by whomever.
INSERT INTO poddispatchd.told AS known (subject, state) VALUES (:subject, :state)
ON CONFLICT (subject) DO UPDATE SET state = excluded.state, told_at = now() WHERE known.state <> excluded.state
RETURNING true

-- name: set_aside
-- Callbacks and imports that were set aside within a day and of which nobody was told, the oldest first, at most :limit.
SELECT item.* FROM (
    SELECT 'callbacks' AS queue, id::text AS item, NULL::bigint AS task, last_error AS words, handled_at AS at,
           -- With its moment: what is set aside once more is told once more.
           'callbacks ' || id || ' ' || extract(epoch FROM handled_at) AS subject
    FROM poddispatchd.callback WHERE state = 'set_aside' AND handled_at > now() - interval '1 day'
    UNION ALL
    SELECT 'imports', id::text, task_pk, last_error, finished_at, 'imports ' || id || ' ' || extract(epoch FROM finished_at)
    FROM poddispatchd.import WHERE state = 'set_aside' AND finished_at > now() - interval '1 day'
) AS item
WHERE NOT EXISTS (SELECT FROM poddispatchd.told WHERE told.subject = item.subject)
ORDER BY at LIMIT :limit

-- name: campaigns
-- Campaigns that are done, or that :itself paused, within a day, and of which nobody was told, the oldest first.
SELECT campaign.name, campaign.task_type, CASE WHEN campaign.state = 'paused' THEN campaign.words ELSE '' END AS reason, counted.*,
       'campaign ' || campaign.id || ' ' || extract(epoch FROM campaign.changed_at) AS subject
FROM poddispatchd.campaign
CROSS JOIN LATERAL (
    SELECT count(*) AS videos, count(*) FILTER (WHERE state = 'completed') AS completed,
           count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'skipped') AS skipped
    FROM poddispatchd.campaign_video WHERE campaign_id = campaign.id
) AS counted
WHERE (campaign.state = 'done' OR (campaign.state = 'paused' AND campaign.changed_by = :itself))
  AND campaign.changed_at > now() - interval '1 day'
  AND NOT EXISTS (SELECT FROM poddispatchd.told
                   WHERE told.subject = 'campaign ' || campaign.id || ' ' || extract(epoch FROM campaign.changed_at))
ORDER BY campaign.changed_at

-- name: purge
-- Items that were set aside are not looked at after a day, nor is anything else that was told a long time ago and is over.
DELETE FROM poddispatchd.told WHERE told_at < now() - interval '2 days' AND state NOT IN ('down', 'missing')
