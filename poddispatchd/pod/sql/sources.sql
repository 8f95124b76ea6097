-- What a task works on.

-- name: video
-- A video with its translated titles, and for transcriptions its first mp3 and the languages of its tracks.
SELECT this_video.id, this_video.video AS file, slug, title, main_lang, transcript, duration,
       (SELECT jsonb_object_agg(key, value)
          FROM jsonb_each_text(to_jsonb(this_video))
         WHERE key = ANY ($2::text[]) AND value IS NOT NULL)::text AS titles,
       (SELECT audio.source_file
          FROM video_encode_transcript_encodingaudio AS audio
         WHERE audio.video_id = this_video.id AND audio.encoding_format = 'audio/mp3'
         ORDER BY audio.id
         LIMIT 1) AS mp3,
       ARRAY(SELECT track.lang FROM completion_track AS track
              WHERE track.video_id = this_video.id ORDER BY track.id)::text[] AS track_languages
  FROM video_video AS this_video
 WHERE this_video.id = $1

-- name: renditions
-- Every rendition, whatever its sites: Pod sends them all.
SELECT resolution, video_bitrate, audio_bitrate, encode_mp4
  FROM video_encode_transcript_videorendition
 ORDER BY id

-- name: cuts
-- The cuts of a video, newest first.
SELECT start, "end", duration FROM cut_cutvideo WHERE video_id = $1 ORDER BY id DESC

-- name: dressings
-- The dressings of a video, newest first, with what they show.
SELECT dressing.title, dressing.position, dressing.opacity,
       dressing.watermark_id IS NOT NULL AS has_watermark, watermark.file AS watermark,
       opening.slug AS opening_slug, opening.video AS opening_file, opening.duration AS opening_duration,
       ending.slug AS ending_slug, ending.video AS ending_file, ending.duration AS ending_duration
  FROM dressing_dressing AS dressing
  LEFT JOIN {watermark_table} AS watermark ON watermark.id = dressing.watermark_id
  LEFT JOIN video_video AS opening ON opening.id = dressing.opening_credits_id
  LEFT JOIN video_video AS ending ON ending.id = dressing.ending_credits_id
 WHERE dressing.id IN (SELECT dressing_id FROM dressing_dressing_videos WHERE video_id = $1)
 ORDER BY dressing.id DESC

-- name: recording
-- A studio recording.
SELECT id, source_file FROM recorder_recording WHERE id = $1
