-- name: known_files
-- Files that lie in the right media tree, of the oldest, the newest and some other encoded videos: the video's and, if
-- it has any, a rendition's.
WITH finished AS NOT MATERIALIZED (
    SELECT id, video FROM video_video AS film
    WHERE NOT encoding_in_progress AND video <> ''
      AND (EXISTS (SELECT FROM video_encode_transcript_encodingvideo WHERE video_id = film.id)
           OR EXISTS (SELECT FROM video_encode_transcript_encodingaudio WHERE video_id = film.id))
), chosen AS (
    (SELECT id, video FROM finished ORDER BY id LIMIT :some)
    UNION (SELECT id, video FROM finished ORDER BY id DESC LIMIT :some)
    UNION (SELECT id, video FROM finished
           WHERE id >= (SELECT (min(id) + floor(random()::numeric * (max(id)::numeric - min(id))))::bigint FROM video_video)
           ORDER BY id LIMIT :some)
)
SELECT video,
       (SELECT source_file FROM video_encode_transcript_encodingvideo
         WHERE video_id = chosen.id AND source_file <> '' ORDER BY id LIMIT 1) AS rendition
  FROM chosen
