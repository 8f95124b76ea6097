-- What tasks work on.

-- name: sources
-- (SELECT $n): PostgreSQL does not look into the arrays, and one plan serves for all of them.
-- The videos :videos and recordings :recordings of tasks, one of both for each, in their order; nothing where they are
-- gone. With a video come its translated titles, its cuts and dressings, newest first, its first mp3 and the languages
-- of its tracks; with each the renditions, all of them whatever their sites, as Pod sends them.
WITH every_rendition AS MATERIALIZED (
    SELECT coalesce(json_agg(json_build_object(
               'resolution', resolution, 'video_bitrate', video_bitrate,
               'audio_bitrate', audio_bitrate, 'encode_mp4', encode_mp4) ORDER BY id), '[]')::text AS renditions
      FROM video_encode_transcript_videorendition
)
SELECT every_rendition.renditions, recording.source_file,
       this_video.video AS file, this_video.slug, this_video.title, this_video.main_lang, this_video.transcript,
       this_video.duration,
       CASE WHEN this_video.id IS NOT NULL THEN jsonb_strip_nulls({titles})::text END AS titles,
       (SELECT audio.source_file
          FROM video_encode_transcript_encodingaudio AS audio
         WHERE audio.video_id = this_video.id AND audio.encoding_format = 'audio/mp3' AND audio.name = 'audio'
         ORDER BY audio.id
         LIMIT 1) AS mp3,
       ARRAY(SELECT track.lang FROM completion_track AS track
              WHERE track.video_id = this_video.id ORDER BY track.id)::text[] AS track_languages,
       (SELECT json_agg(json_build_object('start', start, 'end', "end", 'duration', duration) ORDER BY id DESC)
          FROM cut_cutvideo WHERE video_id = this_video.id)::text AS cuts,
       (SELECT json_agg(json_build_object(
                   'title', dressing.title, 'position', dressing.position, 'opacity', dressing.opacity,
                   'has_watermark', dressing.watermark_id IS NOT NULL, 'watermark', watermark.file,
                   'opening_slug', opening.slug, 'opening_file', opening.video, 'opening_duration', opening.duration,
                   'ending_slug', ending.slug, 'ending_file', ending.video, 'ending_duration', ending.duration)
                   ORDER BY dressing.id DESC)
          FROM dressing_dressing_videos AS dressed
          JOIN dressing_dressing AS dressing ON dressing.id = dressed.dressing_id
          LEFT JOIN {watermark_table} AS watermark ON watermark.id = dressing.watermark_id
          LEFT JOIN video_video AS opening ON opening.id = dressing.opening_credits_id
          LEFT JOIN video_video AS ending ON ending.id = dressing.ending_credits_id
         WHERE dressed.video_id = this_video.id)::text AS dressings
  FROM unnest((SELECT :videos::bigint[]), (SELECT :recordings::bigint[])) WITH ORDINALITY AS wanted (video_id, recording_id, place)
 CROSS JOIN every_rendition
  LEFT JOIN video_video AS this_video ON this_video.id = wanted.video_id
  LEFT JOIN recorder_recording AS recording ON recording.id = wanted.recording_id
 ORDER BY wanted.place
