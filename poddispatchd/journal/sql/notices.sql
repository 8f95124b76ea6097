-- name: add
-- Something of which people are to be told; committed with what it tells of. It is of a campaign only if nobody else waited for the run.
INSERT INTO poddispatchd.notice (event, task_pk, task_type, task_id, video_id, recording_id, is_reported, words, of_campaign)
VALUES (:event, :task, :task_type, :task_id, :video, :recording, :is_reported, :words,
        CASE WHEN EXISTS (SELECT FROM poddispatchd.campaign_video WHERE task_pk = :task)
             THEN NOT EXISTS (SELECT FROM poddispatchd.submission JOIN poddispatchd.wish ON wish.submission_id = submission.id
                               WHERE submission.task_pk = :task AND submission.task_id = :task_id
                                 AND NOT EXISTS (SELECT FROM poddispatchd.campaign_video AS other WHERE other.task_pk = wish.task_pk))
             ELSE false END)
