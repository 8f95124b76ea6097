-- What Pod's pages show of a task: the video's step and log, the recording's comment.

-- name: in_progress
-- The video is being worked on, or no longer.
UPDATE video_video SET encoding_in_progress = :in_progress WHERE id = :video AND encoding_in_progress <> :in_progress

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
