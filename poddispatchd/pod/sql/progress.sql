-- What Pod's pages show of a task: the video's step and log, the recording's comment.

-- name: in_progress
-- The video is being worked on, or no longer. Its row is held before it is looked at: an encoding may just be brought in that
-- still sees the transcription that ends here, and calls the video in progress.
WITH held AS MATERIALIZED (
    SELECT id, encoding_in_progress FROM video_video WHERE id = :video FOR NO KEY UPDATE
)
UPDATE video_video AS video SET encoding_in_progress = :in_progress
  FROM held
 WHERE video.id = held.id AND held.encoding_in_progress <> :in_progress

-- name: held
-- The row of the video :video is held until the end of the transaction; whether the video is shown in progress.
SELECT encoding_in_progress FROM video_video WHERE id = :video FOR NO KEY UPDATE

-- name: not_in_progress
-- The video, whose row is held, is in progress no longer if none of its tasks waits or runs; whether that is new. 'warning': see tasks.sql.
UPDATE video_video SET encoding_in_progress = FALSE
 WHERE id = :video AND encoding_in_progress
   AND NOT EXISTS (SELECT FROM runner_manager_task WHERE video_id = :video AND status IN ('pending', 'running', 'warning'))
RETURNING TRUE

-- name: left_in_progress
-- The latest videos that are shown in progress while none of their tasks waits or runs, at most :limit. It reads the whole table.
SELECT video.id FROM video_video AS video
 WHERE encoding_in_progress
   AND NOT EXISTS (SELECT FROM runner_manager_task WHERE video_id = video.id AND status IN ('pending', 'running', 'warning'))
 ORDER BY video.id DESC LIMIT :limit

-- name: step
-- The video's step.
INSERT INTO video_encode_transcript_encodingstep AS step (video_id, num_step, desc_step)
VALUES (:video, :step, :words)
    ON CONFLICT (video_id) DO UPDATE SET num_step = excluded.num_step, desc_step = excluded.desc_step
 WHERE (step.num_step, step.desc_step) IS DISTINCT FROM (excluded.num_step, excluded.desc_step)

-- name: append_log
-- A line more in the video's log.
INSERT INTO video_encode_transcript_encodinglog AS log (video_id, log, logfile)
VALUES (:video, :line, '')
    ON CONFLICT (video_id) DO UPDATE SET log = concat_ws(E'\n', nullif(log.log, ''), excluded.log)

-- name: append_comment
-- A line more in the recording's comment.
UPDATE recorder_recording SET comment = comment || E'\n' || :line WHERE id = :recording
