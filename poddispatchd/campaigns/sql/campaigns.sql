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
-- may have mended it. 'warning': see tasks.sql. A task that was completed may be purged before anybody looks.
WITH seen AS MATERIALIZED (
    SELECT video.campaign_id, video.place, video.task_pk,
           CASE WHEN task.id IS NULL AND EXISTS (SELECT FROM poddispatchd.import
                                                  WHERE import.task_pk = video.task_pk AND import.state = 'done') THEN 'completed'
                WHEN task.id IS NULL THEN 'skipped'
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
-- With its task: withdrawn meanwhile, the video has none, or another one.
WHERE video.campaign_id = seen.campaign_id AND video.place = seen.place AND video.task_pk = seen.task_pk
  AND video.state <> seen.state
  AND NOT (video.state = 'failed' AND seen.state = 'skipped')
RETURNING video.campaign_id, video.state

-- name: fails_always
-- Whether the last :several tasks of a campaign that ended since it was made or resumed all failed.
SELECT count(*) = :several AND bool_and(state = 'failed')
FROM (SELECT video.state FROM poddispatchd.campaign_video AS video
        JOIN poddispatchd.campaign ON campaign.id = video.campaign_id
       WHERE campaign.id = :campaign AND video.state IN ('completed', 'failed') AND video.changed_at > campaign.changed_at
       ORDER BY video.changed_at DESC, video.place DESC LIMIT :several) AS latest

-- name: next
-- The next videos of a campaign that wait and have no unfinished task of another type, with their sites; at most :limit. Without
-- those at the places :held, and those whose turn it cannot be: of the sites :served they are on, none is one of :sites. :with_siteless:
-- with those that are on none.
SELECT video.place, video.video_id, own.site_ids
FROM poddispatchd.campaign_video AS video
CROSS JOIN LATERAL (SELECT ARRAY(SELECT site.site_id::bigint FROM video_video_sites AS site
                                  WHERE site.video_id = video.video_id ORDER BY site.site_id) AS site_ids) AS own
WHERE video.campaign_id = :campaign AND video.state = 'waiting' AND video.place <> ALL (:held::integer[])
  AND CASE WHEN cardinality(own.site_ids) = 0 THEN :with_siteless::boolean
           ELSE own.site_ids && :sites::bigint[] OR NOT own.site_ids && :served::bigint[] END
  AND NOT EXISTS (SELECT FROM runner_manager_task AS task
                   WHERE task.video_id = video.video_id AND task.type <> :type
                     AND task.status IN ('pending', 'running', 'warning'))
ORDER BY video.place LIMIT :limit

-- name: lock
-- Whoever changes these campaigns, or adds a task of theirs, waits. A statement of its own, so that the next one sees what those before did.
SELECT id FROM poddispatchd.campaign WHERE id = ANY (:campaigns::bigint[]) ORDER BY id FOR UPDATE

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
    INSERT INTO poddispatchd.own_task (task_pk) SELECT id FROM added
    ON CONFLICT (task_pk) DO UPDATE SET added_at = now()
), noted AS (
    UPDATE poddispatchd.campaign_video AS video
    SET state = CASE WHEN added.id IS NULL THEN 'skipped' ELSE 'running' END, task_pk = added.id, changed_at = now(),
        words = CASE WHEN added.id IS NULL THEN 'Task ' || unfinished.id || ' does it already.' ELSE '' END
    FROM taken CROSS JOIN unfinished LEFT JOIN added ON true
    WHERE video.campaign_id = :campaign AND video.place = taken.place
)
SELECT id FROM added

-- name: unsubmitted
-- Tasks of campaigns that wait in Pod's queue as they were added, with the sites of their videos: one that somebody restarted
-- is that person's.
SELECT video.campaign_id, task.id, task.type,
       ARRAY(SELECT site.site_id FROM video_video_sites AS site
              WHERE site.video_id = video.video_id ORDER BY site.site_id) AS site_ids
FROM poddispatchd.campaign_video AS video
JOIN runner_manager_task AS task ON task.id = video.task_pk
WHERE video.state = 'running' AND task.status = 'pending' AND coalesce(task.task_id, '') = '' AND task.date_added = video.changed_at
ORDER BY task.id

-- name: lock_tasks
-- Nobody begins to submit these tasks meanwhile; those that somebody holds are left out.
SELECT id FROM runner_manager_task WHERE id = ANY (:tasks::bigint[]) ORDER BY id FOR UPDATE SKIP LOCKED

-- name: withdraw
-- Take those of the tasks :tasks out of Pod's queue that wait there as they were added and that nobody submits: their videos wait
-- for another turn, or are cancelled with their campaigns. Nothing when the scheduler's term :term is over.
WITH scheduler AS MATERIALIZED (
    SELECT FROM poddispatchd.leader WHERE term = :term FOR KEY SHARE
), free AS MATERIALIZED (
    SELECT task.id, video.campaign_id, video.place, campaign.state, campaign.name, video.video_id
    FROM poddispatchd.campaign_video AS video
    JOIN poddispatchd.campaign ON campaign.id = video.campaign_id
    JOIN runner_manager_task AS task ON task.id = video.task_pk
    WHERE task.id = ANY (:tasks::bigint[]) AND video.state = 'running' AND task.status = 'pending'
      AND coalesce(task.task_id, '') = '' AND task.date_added = video.changed_at AND EXISTS (SELECT FROM scheduler)
      AND NOT EXISTS (SELECT FROM poddispatchd.submission
                       WHERE submission.task_pk = task.id AND submission.state IN ('open', 'accepted', 'lost'))
), gone AS (
    DELETE FROM runner_manager_task AS task USING free WHERE task.id = free.id RETURNING task.id
), forgotten AS (
    DELETE FROM poddispatchd.own_task USING gone WHERE own_task.task_pk = gone.id
), noted AS (
    UPDATE poddispatchd.campaign_video AS video
    SET state = CASE WHEN free.state = 'cancelled' THEN 'cancelled' ELSE 'waiting' END, task_pk = NULL, changed_at = now()
    FROM free JOIN gone ON gone.id = free.id
    WHERE video.campaign_id = free.campaign_id AND video.place = free.place
)
SELECT free.id, free.name, free.video_id FROM free JOIN gone ON gone.id = free.id

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
