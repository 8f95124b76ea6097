-- Rows of a transcription.

-- name: write
-- A video after its transcription: the stored file :file is the track of the language :language. It replaces the subtitles of
-- the language, or else another track of it.
WITH {log_and_step}, replaced AS MATERIALIZED (
    SELECT id
      FROM completion_track
     WHERE video_id = :video AND lang = :language
     ORDER BY (kind = 'subtitles') DESC, id
     LIMIT 1
       FOR UPDATE
), changed AS (
    UPDATE completion_track AS track SET src_id = :file FROM replaced WHERE track.id = replaced.id
), first AS (
    INSERT INTO completion_track (kind, lang, enrich_ready, src_id, video_id)
    SELECT 'subtitles', :language, FALSE, :file, :video WHERE NOT EXISTS (SELECT FROM replaced)
)
UPDATE video_video SET encoding_in_progress = FALSE WHERE id = :video;
