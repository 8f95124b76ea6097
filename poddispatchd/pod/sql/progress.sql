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

-- name: append_log
-- A line more in the video's log.
INSERT INTO video_encode_transcript_encodinglog AS log (video_id, log, logfile)
VALUES ($1, $2, '')
    ON CONFLICT (video_id) DO UPDATE SET log = concat_ws(E'\n', nullif(log.log, ''), excluded.log)

-- name: append_comment
-- A line more in the recording's comment.
UPDATE recorder_recording SET comment = comment || E'\n' || $2 WHERE id = $1

-- name: accepted
-- The videos $1 are worked on, at the steps $2 with the words $3. The logs of $4 begin anew with $5, go on with what
-- becomes of the encodings they have, and end with $6. The recordings $7 get the comments $8.
WITH mark AS (
    UPDATE video_video SET encoding_in_progress = true WHERE id = ANY ($1::bigint[]) AND NOT encoding_in_progress
), step AS (
    INSERT INTO video_encode_transcript_encodingstep AS step (video_id, num_step, desc_step)
    SELECT * FROM unnest($1::bigint[], $2::integer[], $3::text[])
        ON CONFLICT (video_id) DO UPDATE SET num_step = excluded.num_step, desc_step = excluded.desc_step
     WHERE (step.num_step, step.desc_step) IS DISTINCT FROM (excluded.num_step, excluded.desc_step)
), kept (is_there, words) AS (
    VALUES (true, 'Kept until the new files are there'), (false, 'Nothing to delete')
), log AS (
    INSERT INTO video_encode_transcript_encodinglog (video_id, log, logfile)
    SELECT log.video_id,
           concat(log.head, E'\nVideo: ', of_video.words, E'\nAudio: ', of_audio.words,
                  E'\nPlaylist: ', of_playlist.words, log.tail), ''
      FROM unnest($4::bigint[], $5::text[], $6::text[]) AS log (video_id, head, tail)
      JOIN kept AS of_video ON of_video.is_there
           = EXISTS (SELECT FROM video_encode_transcript_encodingvideo WHERE video_id = log.video_id)
      JOIN kept AS of_audio ON of_audio.is_there
           = EXISTS (SELECT FROM video_encode_transcript_encodingaudio WHERE video_id = log.video_id)
      JOIN kept AS of_playlist ON of_playlist.is_there
           = EXISTS (SELECT FROM video_encode_transcript_playlistvideo WHERE video_id = log.video_id)
        ON CONFLICT (video_id) DO UPDATE SET log = excluded.log
)
UPDATE recorder_recording AS recording
   SET comment = recording.comment || E'\n' || commented.comment
  FROM unnest($7::bigint[], $8::text[]) AS commented (id, comment)
 WHERE recording.id = commented.id
