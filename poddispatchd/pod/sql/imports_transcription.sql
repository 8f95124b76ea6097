-- Rows of a transcription.

-- name: first_track_language
-- The language of the first track of a video.
SELECT lang
FROM completion_track
WHERE video_id = $1
ORDER BY id
LIMIT 1;

-- name: track_to_update
-- The track that new subtitles replace: the subtitles of the language, or else another track of it.
SELECT id
FROM completion_track
WHERE video_id = $1 AND lang = $2
ORDER BY (kind = 'subtitles') DESC, id
LIMIT 1
FOR UPDATE;

-- name: update_track
-- A track gets another file.
UPDATE completion_track
SET src_id = $2
WHERE id = $1;

-- name: insert_track
-- The first subtitles of a language.
INSERT INTO completion_track (kind, lang, enrich_ready, src_id, video_id)
VALUES ('subtitles', $1, FALSE, $2, $3);

-- name: finish_video
-- Nothing is being done to the video any more.
UPDATE video_video
SET encoding_in_progress = FALSE
WHERE id = $1;
