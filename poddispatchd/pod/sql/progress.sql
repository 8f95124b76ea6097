-- What Pod's pages show of a task: the video's step and log, the recording's comment.

-- name: in_progress
-- The video is being worked on, or no longer.
UPDATE video_video SET encoding_in_progress = $2 WHERE id = $1 AND encoding_in_progress <> $2

-- name: step
-- The video's step.
INSERT INTO video_encode_transcript_encodingstep AS step (video_id, num_step, desc_step)
VALUES ($1, $2, $3)
    ON CONFLICT (video_id) DO UPDATE SET num_step = excluded.num_step, desc_step = excluded.desc_step
 WHERE (step.num_step, step.desc_step) IS DISTINCT FROM (excluded.num_step, excluded.desc_step)

-- name: fresh_log
-- The video's log begins anew.
INSERT INTO video_encode_transcript_encodinglog (video_id, log, logfile)
VALUES ($1, $2, '')
    ON CONFLICT (video_id) DO UPDATE SET log = excluded.log

-- name: append_log
-- A line more in the video's log.
INSERT INTO video_encode_transcript_encodinglog AS log (video_id, log, logfile)
VALUES ($1, $2, '')
    ON CONFLICT (video_id) DO UPDATE SET log = concat_ws(E'\n', nullif(log.log, ''), excluded.log)

-- name: append_comment
-- A line more in the recording's comment.
UPDATE recorder_recording SET comment = comment || E'\n' || $2 WHERE id = $1

-- name: old_encodings
-- Which kinds of encodings a video has.
SELECT EXISTS (SELECT FROM video_encode_transcript_encodingvideo WHERE video_id = $1) AS video,
       EXISTS (SELECT FROM video_encode_transcript_encodingaudio WHERE video_id = $1) AS audio,
       EXISTS (SELECT FROM video_encode_transcript_playlistvideo WHERE video_id = $1) AS playlist
