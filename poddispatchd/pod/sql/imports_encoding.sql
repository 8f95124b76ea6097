-- Rows of an encoding.

-- name: write
-- A video after its encoding; its title and slug are never touched. Its encodings are :brought, each with the id of the row
-- that it is made anew in, if there is one; rows that the new result does not bring go (:stale). Behind it follows a
-- transcription, or none.
WITH {log_and_step}, brought AS MATERIALIZED (
    SELECT row.*, ordinality AS place
      FROM ROWS FROM (json_to_recordset(:brought::json) AS (
               kind text, id bigint, name text, encoding_format text, source_file text, rendition_id bigint
           )) WITH ORDINALITY AS row (kind, id, name, encoding_format, source_file, rendition_id)
), stale AS MATERIALIZED (
    SELECT kind, id FROM json_to_recordset(:stale::json) AS row (kind text, id bigint)
), changed_videos AS (
    UPDATE video_encode_transcript_encodingvideo AS row SET source_file = brought.source_file
      FROM brought WHERE brought.kind = 'video' AND row.id = brought.id
), new_videos AS (
    INSERT INTO video_encode_transcript_encodingvideo (video_id, name, encoding_format, source_file, rendition_id)
    SELECT :video, name, encoding_format, source_file, rendition_id
      FROM brought WHERE kind = 'video' AND id IS NULL ORDER BY place
), stale_videos AS (
    DELETE FROM video_encode_transcript_encodingvideo AS row USING stale WHERE kind = 'video' AND row.id = stale.id
), changed_audios AS (
    UPDATE video_encode_transcript_encodingaudio AS row SET source_file = brought.source_file
      FROM brought WHERE brought.kind = 'audio' AND row.id = brought.id
), new_audios AS (
    INSERT INTO video_encode_transcript_encodingaudio (video_id, name, encoding_format, source_file)
    SELECT :video, name, encoding_format, source_file
      FROM brought WHERE kind = 'audio' AND id IS NULL ORDER BY place
), stale_audios AS (
    DELETE FROM video_encode_transcript_encodingaudio AS row USING stale WHERE kind = 'audio' AND row.id = stale.id
), changed_playlists AS (
    UPDATE video_encode_transcript_playlistvideo AS row SET source_file = brought.source_file
      FROM brought WHERE brought.kind = 'playlist' AND row.id = brought.id
), new_playlists AS (
    INSERT INTO video_encode_transcript_playlistvideo (video_id, name, encoding_format, source_file)
    SELECT :video, name, encoding_format, source_file
      FROM brought WHERE kind = 'playlist' AND id IS NULL ORDER BY place
), stale_playlists AS (
    DELETE FROM video_encode_transcript_playlistvideo AS row USING stale WHERE kind = 'playlist' AND row.id = stale.id
), written AS (
    UPDATE video_video
       SET duration = :duration, is_video = :is_video, overview = :overview, encoding_in_progress = :in_progress,
           thumbnail_id = coalesce(:thumbnail, thumbnail_id)
     WHERE id = :video
), transcription AS (
{transcription}
)
SELECT id FROM transcription;

-- name: add_transcription
-- A transcription, added at the moment :transcription_added, unless one is on its way already.
INSERT INTO runner_manager_task (type, status, video_id, date_added)
SELECT 'transcription', 'pending', :video, :transcription_added::timestamptz
 WHERE NOT EXISTS (SELECT FROM runner_manager_task
                    WHERE video_id = :video AND type = 'transcription' AND status IN ('pending', 'running'))
RETURNING id

-- name: no_transcription
-- None; an INSERT of no row would be announced by the trigger of Pod's task table, like any other.
SELECT NULL::bigint AS id WHERE false
