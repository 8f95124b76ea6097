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

-- name: show_accepted
-- Parts of a statement: what people see of accepted tasks, one in each row of `shown`. Its video is worked on, at this
-- step with these words. Its log, if it has a head, begins anew, tells what becomes of the encodings that the video
-- has, and ends with the tail. Its recording gets the comment.
mark AS (
    UPDATE video_video SET encoding_in_progress = true
      FROM shown
     WHERE video_video.id = shown.shown_video_id AND NOT encoding_in_progress
), step AS (
    INSERT INTO video_encode_transcript_encodingstep AS step (video_id, num_step, desc_step)
    SELECT DISTINCT ON (shown_video_id) shown_video_id, step, words
      FROM shown
     WHERE shown_video_id IS NOT NULL
     ORDER BY shown_video_id, head IS NULL
        ON CONFLICT (video_id) DO UPDATE SET num_step = excluded.num_step, desc_step = excluded.desc_step
     WHERE (step.num_step, step.desc_step) IS DISTINCT FROM (excluded.num_step, excluded.desc_step)
), kept (is_there, words) AS (
    VALUES (true, 'Kept until the new files are there'), (false, 'Nothing to delete')
), log AS (
    INSERT INTO video_encode_transcript_encodinglog (video_id, log, logfile)
    SELECT shown_video_id,
           concat(head, E'\nVideo: ', of_video.words, E'\nAudio: ', of_audio.words,
                  E'\nPlaylist: ', of_playlist.words, tail), ''
      FROM shown
      JOIN kept AS of_video ON of_video.is_there
           = EXISTS (SELECT FROM video_encode_transcript_encodingvideo WHERE video_id = shown_video_id)
      JOIN kept AS of_audio ON of_audio.is_there
           = EXISTS (SELECT FROM video_encode_transcript_encodingaudio WHERE video_id = shown_video_id)
      JOIN kept AS of_playlist ON of_playlist.is_there
           = EXISTS (SELECT FROM video_encode_transcript_playlistvideo WHERE video_id = shown_video_id)
     WHERE head IS NOT NULL AND shown_video_id IS NOT NULL
        ON CONFLICT (video_id) DO UPDATE SET log = excluded.log
), remark AS (
    UPDATE recorder_recording AS recording
       SET comment = recording.comment || E'\n' || shown.comment
      FROM shown
     WHERE recording.id = shown.shown_recording_id
)
