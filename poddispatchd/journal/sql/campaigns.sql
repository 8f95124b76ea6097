-- Campaigns, as people make, change and look at them.

-- name: create
-- A new campaign; no row when there is one of this name.
INSERT INTO poddispatchd.campaign (name, task_type, at_most, windows, created_by, changed_by)
VALUES (:name, :task_type, :at_most, :windows, :actor, :actor)
ON CONFLICT (name) DO NOTHING RETURNING id

-- name: add_videos
-- Its videos, in their order.
INSERT INTO poddispatchd.campaign_video (campaign_id, place, video_id)
SELECT :campaign, place, video FROM unnest(:videos::bigint[]) WITH ORDINALITY AS wanted (video, place)

-- name: all
-- Every campaign, or the one called :name, the latest first, with how many of its videos are how; with :ended_within those that
-- are over only if they ended within so many seconds.
SELECT campaign.*, counted.*
FROM poddispatchd.campaign
CROSS JOIN LATERAL (
    SELECT count(*) AS videos, count(*) FILTER (WHERE state = 'waiting') AS waiting,
           count(*) FILTER (WHERE state = 'running') AS running, count(*) FILTER (WHERE state = 'completed') AS completed,
           count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'skipped') AS skipped,
           count(*) FILTER (WHERE state = 'cancelled') AS cancelled
    FROM poddispatchd.campaign_video WHERE campaign_id = campaign.id
) AS counted
WHERE (:name::text IS NULL OR name = :name)
  AND (:ended_within::float8 IS NULL OR state IN ('active', 'paused')
       OR campaign.changed_at > now() - make_interval(secs => :ended_within))
ORDER BY campaign.id DESC

-- name: of_task
-- The campaign that added a task.
SELECT campaign.name FROM poddispatchd.campaign_video AS video
JOIN poddispatchd.campaign ON campaign.id = video.campaign_id WHERE video.task_pk = :task

-- name: ends
-- When the latest :limit tasks of a campaign ended since it was made or resumed, the latest first.
SELECT video.changed_at FROM poddispatchd.campaign_video AS video
JOIN poddispatchd.campaign ON campaign.id = video.campaign_id
WHERE campaign.id = :campaign AND video.state IN ('completed', 'failed') AND video.changed_at > campaign.changed_at
ORDER BY video.changed_at DESC LIMIT :limit

-- name: videos
-- The videos of a campaign that are in one of the states :states, those that changed last first; at most :limit.
SELECT place, video_id, state, task_pk, words, changed_at FROM poddispatchd.campaign_video
WHERE campaign_id = :campaign AND state = ANY (:states::text[])
ORDER BY changed_at DESC NULLS LAST, place LIMIT :limit

-- name: change
-- A campaign that is in one of the states :before gets another one; no row when it is in none of them.
UPDATE poddispatchd.campaign SET state = :state, words = :words, changed_at = now(), changed_by = :actor
WHERE name = :name AND state = ANY (:before::text[]) RETURNING id

-- name: cancel_waiting
-- The videos of a campaign that wait will not be done.
UPDATE poddispatchd.campaign_video SET state = 'cancelled', changed_at = now()
WHERE campaign_id = :campaign AND state = 'waiting'

-- name: purge_videos
-- Forget at most :batch videos of campaigns that ended more than :days days ago: with a campaign all that are left of it go at once.
DELETE FROM poddispatchd.campaign_video WHERE (campaign_id, place) IN (
    SELECT video.campaign_id, video.place FROM poddispatchd.campaign_video AS video
    JOIN poddispatchd.campaign AS campaign ON campaign.id = video.campaign_id
    WHERE campaign.state IN ('done', 'cancelled') AND campaign.changed_at < now() - make_interval(days => :days)
      AND NOT EXISTS (
          SELECT FROM poddispatchd.campaign_video AS other WHERE other.campaign_id = campaign.id AND other.state = 'running')
    LIMIT :batch)

-- name: purge
-- Forget campaigns that ended more than :days days ago, with their videos.
DELETE FROM poddispatchd.campaign AS campaign
WHERE state IN ('done', 'cancelled') AND changed_at < now() - make_interval(days => :days)
  AND NOT EXISTS (SELECT FROM poddispatchd.campaign_video WHERE campaign_id = campaign.id AND state = 'running')
