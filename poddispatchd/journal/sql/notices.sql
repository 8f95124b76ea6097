-- name: add
-- Something of which people are to be told; committed with what it tells of.
INSERT INTO poddispatchd.notice (event, task_pk, task_type, task_id, video_id, recording_id, is_reported, words, of_campaign)
VALUES (:event, :task, :task_type, :task_id, :video, :recording, :is_reported, :words,
        EXISTS (SELECT FROM poddispatchd.campaign_video WHERE task_pk = :task))
