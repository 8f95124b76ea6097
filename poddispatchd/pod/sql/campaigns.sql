-- Videos for campaigns.

-- name: encoded_before
-- Videos that have been encoded, last before :before as far as Pod's rows tell: when they were added, and when their
-- encodings were asked for, failed ones apart; at most :limit.
SELECT video.id
  FROM video_video AS video
 WHERE video.date_added < :before
   AND NOT EXISTS (SELECT FROM runner_manager_task AS task
                    WHERE task.video_id = video.id AND task.type = 'encoding' AND task.date_added >= :before
                      AND task.status NOT IN ('failed', 'timeout'))
   AND (EXISTS (SELECT FROM video_encode_transcript_encodingvideo AS film WHERE film.video_id = video.id)
        OR EXISTS (SELECT FROM video_encode_transcript_playlistvideo AS list WHERE list.video_id = video.id)
        OR EXISTS (SELECT FROM video_encode_transcript_encodingaudio AS sound WHERE sound.video_id = video.id))
 ORDER BY video.id
 LIMIT :limit

-- name: described
-- The videos :videos in their order, and tasks of theirs that wait or run, of type :type and others; nothing where a video is gone.
SELECT wanted.id, video.title, video.duration, owner.username AS owner, video.video <> '' AS has_file, open.*
  FROM unnest(:videos::bigint[]) WITH ORDINALITY AS wanted (id, place)
  LEFT JOIN video_video AS video ON video.id = wanted.id
  LEFT JOIN auth_user AS owner ON owner.id = video.owner_id
 CROSS JOIN LATERAL (SELECT min(task.id) FILTER (WHERE task.type = :type) AS unfinished,
                            min(task.id) FILTER (WHERE task.type <> :type) AS other
                       FROM runner_manager_task AS task
                      WHERE task.video_id = wanted.id AND task.status IN ('pending', 'running', 'warning')) AS open
 ORDER BY wanted.place
