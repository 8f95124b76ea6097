-- name: referenced_files
-- Which of the paths :paths some row of Pod names: such a file must not be deleted, whatever the journal says.
SELECT source_file AS path FROM video_encode_transcript_encodingvideo WHERE source_file = ANY(:paths::text[])
UNION SELECT source_file FROM video_encode_transcript_encodingaudio WHERE source_file = ANY(:paths::text[])
UNION SELECT source_file FROM video_encode_transcript_playlistvideo WHERE source_file = ANY(:paths::text[])
UNION SELECT overview FROM video_video WHERE overview = ANY(:paths::text[])
UNION SELECT video FROM video_video WHERE video = ANY(:paths::text[])
UNION SELECT file FROM {image_table} WHERE file = ANY(:paths::text[])
UNION SELECT file FROM {file_table} WHERE file = ANY(:paths::text[])
