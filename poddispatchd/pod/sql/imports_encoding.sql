-- Rows of an encoding.

-- name: renditions
-- Every rendition, by which the files of a result are told apart.
SELECT id, resolution, video_bitrate
FROM video_encode_transcript_videorendition
ORDER BY id;

-- name: media_rows
-- What a video has been encoded to so far.
SELECT id, 'video' AS kind, name, encoding_format, source_file, rendition_id
FROM video_encode_transcript_encodingvideo
WHERE video_id = $1
UNION ALL
SELECT id, 'audio', name, encoding_format, source_file, NULL
FROM video_encode_transcript_encodingaudio
WHERE video_id = $1
UNION ALL
SELECT id, 'playlist', name, encoding_format, source_file, NULL
FROM video_encode_transcript_playlistvideo
WHERE video_id = $1
ORDER BY id;

-- name: update_media_row
-- The file of an encoding that is made anew.
UPDATE {table}
SET source_file = $2
WHERE id = $1;

-- name: delete_media_rows
-- Encodings that the new result does not bring.
DELETE FROM {table}
WHERE id = ANY ($1::bigint[]);

-- name: insert_encodingvideo
-- An encoding to a rendition.
INSERT INTO video_encode_transcript_encodingvideo (video_id, name, encoding_format, source_file, rendition_id)
VALUES ($1, $2, $3, $4, $5);

-- name: insert_media_row
-- An audio track or a playlist.
INSERT INTO {table} (video_id, name, encoding_format, source_file)
VALUES ($1, $2, $3, $4);

-- name: update_video
-- A video after its encoding; its title and slug are never touched.
UPDATE video_video
SET duration = $2, is_video = $3, overview = $4, encoding_in_progress = $5, thumbnail_id = coalesce($6, thumbnail_id)
WHERE id = $1;

-- name: insert_transcription_task
-- The transcription that follows an encoding, unless one is on its way already.
INSERT INTO runner_manager_task (type, status, video_id, date_added)
SELECT 'transcription', 'pending', $1, $2
WHERE NOT EXISTS (
    SELECT FROM runner_manager_task
    WHERE video_id = $1 AND type = 'transcription' AND status IN ('pending', 'running')
)
RETURNING id;
