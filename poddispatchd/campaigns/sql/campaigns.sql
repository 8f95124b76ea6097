-- Campaigns at work.

-- name: open
-- Campaigns that have something to do, or of which something is under way: whether videos wait, and how many of their tasks run.
SELECT campaign.id, campaign.name, campaign.task_type, campaign.at_most, campaign.windows, campaign.state,
       EXISTS (SELECT FROM poddispatchd.campaign_video AS video
                WHERE video.campaign_id = campaign.id AND video.state = 'waiting') AS has_more,
       (SELECT count(*) FROM poddispatchd.campaign_video AS video
         WHERE video.campaign_id = campaign.id AND video.state = 'running') AS running
FROM poddispatchd.campaign
WHERE state IN ('active', 'paused')
   OR EXISTS (SELECT FROM poddispatchd.campaign_video AS video
               WHERE video.campaign_id = campaign.id AND video.state = 'running')
ORDER BY campaign.id

-- name: follow
-- What became of the tasks of campaigns. A failure is looked at for two days more: somebody may restart it, and a manager
-- may have mended it. 'warning': see tasks.sql.
WITH seen AS MATERIALIZED (
    SELECT video.campaign_id, video.place,
           CASE WHEN task.id IS NULL THEN 'skipped'
                WHEN task.status = 'completed' THEN 'completed'
                WHEN task.status IN ('failed', 'timeout') THEN 'failed'
                ELSE 'running' END AS state
    FROM poddispatchd.campaign_video AS video
    LEFT JOIN runner_manager_task AS task ON task.id = video.task_pk
    WHERE video.state IN ('running', 'failed')
      AND (video.state = 'running' OR video.changed_at > now() - interval '2 days')
)
UPDATE poddispatchd.campaign_video AS video
SET state = seen.state, changed_at = now(), words = CASE seen.state WHEN 'skipped' THEN 'Its task was deleted.' ELSE '' END
FROM seen
WHERE video.campaign_id = seen.campaign_id AND video.place = seen.place AND video.state <> seen.state
  AND NOT (video.state = 'failed' AND seen.state = 'skipped')
RETURNING video.campaign_id, video.state

-- name: fails_always
-- Whether the last :several tasks of a campaign that ended since it was made or resumed all failed.
SELECT count(*) = :several AND bool_and(state = 'failed')
FROM (SELECT video.state FROM poddispatchd.campaign_video AS video
        JOIN poddispatchd.campaign ON campaign.id = video.campaign_id
       WHERE campaign.id = :campaign AND video.state IN ('completed', 'failed') AND video.changed_at > campaign.changed_at
       ORDER BY video.changed_at DESC LIMIT :several) AS latest

-- name: next
-- The next videos of a campaign that wait and have no unfinished task of another type, with their sites; at most :limit.
SELECT video.place, video.video_id,
       ARRAY(SELECT site.site_id FROM video_video_sites AS site
              WHERE site.video_id = video.video_id ORDER BY site.site_id) AS site_ids
FROM poddispatchd.campaign_video AS video
WHERE video.campaign_id = :campaign AND video.state = 'waiting'
  AND NOT EXISTS (SELECT FROM runner_manager_task AS task
                   WHERE task.video_id = video.video_id AND task.type <> :type
                     AND task.status IN ('pending', 'running', 'warning'))
ORDER BY video.place LIMIT :limit

-- name: add
-- The row of Pod's table for the video at :place of a campaign, and the note that it is there: both or none. Nothing when the
-- scheduler's term :term is over, the campaign is not active any more or has as many tasks as it may, or the video does
-- not wait. A video that has an unfinished task of type :type is skipped instead.
WITH scheduler AS MATERIALIZED (
    SELECT FROM poddispatchd.leader WHERE term = :term FOR KEY SHARE
), active AS MATERIALIZED (
    SELECT id, at_most FROM poddispatchd.campaign
    WHERE id = :campaign AND state = 'active' AND EXISTS (SELECT FROM scheduler) FOR UPDATE
), taken AS MATERIALIZED (
    SELECT video.place, video.video_id
    FROM poddispatchd.campaign_video AS video JOIN active ON active.id = video.campaign_id
    WHERE video.place = :place AND video.state = 'waiting'
      AND (SELECT count(*) FROM poddispatchd.campaign_video AS other
            WHERE other.campaign_id = active.id AND other.state = 'running') < active.at_most
    FOR UPDATE OF video
), unfinished AS MATERIALIZED (
    SELECT min(task.id) AS id
    FROM taken JOIN runner_manager_task AS task ON task.video_id = taken.video_id
    WHERE task.type = :type AND task.status IN ('pending', 'running', 'warning')
), added AS (
    INSERT INTO runner_manager_task (type, status, video_id, date_added)
    SELECT :type, 'pending', taken.video_id, now() FROM taken, unfinished WHERE unfinished.id IS NULL
    RETURNING id
), own_task AS (
    INSERT INTO poddispatchd.own_task (task_pk) SELECT id FROM added ON CONFLICT DO NOTHING
), noted AS (
    UPDATE poddispatchd.campaign_video AS video
    SET state = CASE WHEN added.id IS NULL THEN 'skipped' ELSE 'running' END, task_pk = added.id, changed_at = now(),
        words = CASE WHEN added.id IS NULL THEN 'Task ' || unfinished.id || ' does it already.' ELSE '' END
    FROM taken CROSS JOIN unfinished LEFT JOIN added ON true
    WHERE video.campaign_id = :campaign AND video.place = taken.place
)
SELECT id FROM added

-- name: skip
-- A video that waits cannot be done.
UPDATE poddispatchd.campaign_video SET state = 'skipped', words = :words, changed_at = now()
WHERE campaign_id = :campaign AND place = :place AND state = 'waiting'

-- name: finish
-- An active campaign of which nothing waits or runs any more is done.
UPDATE poddispatchd.campaign AS campaign
SET state = 'done', changed_at = now(), changed_by = 'poddispatchd', words = ''
WHERE id = :campaign AND state = 'active'
  AND NOT EXISTS (SELECT FROM poddispatchd.campaign_video AS video
                   WHERE video.campaign_id = :campaign AND video.state = 'waiting')
  AND NOT EXISTS (SELECT FROM poddispatchd.campaign_video AS video
                   WHERE video.campaign_id = :campaign AND video.state = 'running')
