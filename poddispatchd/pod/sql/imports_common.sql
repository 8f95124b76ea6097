-- Statements shared by the imports of all three task types.

-- name: wanted_task
-- The task :task with its output, the file that its runner fetched, who did its source later, and what was submitted under its id
-- (empty, or nothing, where Pod did that itself), unless somebody holds the row: an error at once. Under WEBTV_MODE the file of a video can be NULL.
SELECT task.id, task.type, task.status, task.task_id, task.date_added, task.rank, {output},
       task.video_id, task.recording_id, task.runner_manager_id,
       CASE WHEN film.id IS NOT NULL THEN coalesce(film.video, '') END AS video_file, recording.source_file,
       (SELECT audio.source_file
          FROM video_encode_transcript_encodingaudio AS audio
         WHERE audio.video_id = film.id AND audio.encoding_format = 'audio/mp3' AND audio.name = 'audio'
           AND task.type = 'transcription'
         ORDER BY audio.id
         LIMIT 1) AS mp3,
       {done_later} AS later,
       (SELECT body FROM poddispatchd.submission
         WHERE (submission.runner_manager_id, submission.task_id) = (task.runner_manager_id, task.task_id)
         ORDER BY submission.id DESC LIMIT 1) AS body
  FROM runner_manager_task AS task
  LEFT JOIN video_video AS film ON film.id = task.video_id
  LEFT JOIN recorder_recording AS recording ON recording.id = task.recording_id
 WHERE task.id = :task
   FOR NO KEY UPDATE OF task NOWAIT;

-- name: renditions
-- Every rendition, by which the files of a result are told apart.
(SELECT coalesce(json_agg(json_build_object(
            'id', id, 'resolution', resolution, 'video_bitrate', video_bitrate) ORDER BY id), '[]')::text
   FROM video_encode_transcript_videorendition);

-- name: video_facts
-- What an import needs to know of the video :video, of its owner and of Pod.
SELECT film.id, film.video, film.slug, film.owner_id, film.main_lang, film.transcript, film.overview,
       owner.hashkey,
       (SELECT lang FROM completion_track WHERE video_id = film.id ORDER BY id LIMIT 1) AS first_track_language,
       ARRAY(SELECT source_file FROM video_encode_transcript_encodingaudio
              WHERE video_id = film.id AND source_file IS NOT NULL) AS audio_files,
       {renditions} AS renditions
  FROM video_video AS film
  LEFT JOIN authentication_owner AS owner ON owner.user_id = film.owner_id
 WHERE film.id = :video;

-- name: lock_video
-- What may have changed of it, and nobody else changes the row until the end of the transaction.
SELECT video, slug, owner_id, transcript, overview
  FROM video_video
 WHERE id = :video
   FOR UPDATE;

-- name: file_is_named
-- Whether a row of a table of custom files or images holds this path.
SELECT EXISTS (SELECT FROM {table} WHERE file = :path);

-- name: known_of_video
-- What the video :video has been encoded to so far, and its log, of a very long one both ends; NULL without one.
(SELECT json_agg(row ORDER BY row.id)
   FROM (SELECT id, 'video' AS kind, name, encoding_format, source_file, rendition_id
           FROM video_encode_transcript_encodingvideo WHERE video_id = :video
          UNION ALL
         SELECT id, 'audio', name, encoding_format, source_file, NULL
           FROM video_encode_transcript_encodingaudio WHERE video_id = :video
          UNION ALL
         SELECT id, 'playlist', name, encoding_format, source_file, NULL
           FROM video_encode_transcript_playlistvideo WHERE video_id = :video) AS row)::text AS media_rows,
(SELECT CASE WHEN octet_length(log) > 4194304 THEN left(log, 1048576) || E'\n[…]\n' || right(log, 1048576)
             ELSE coalesce(log, '') END
   FROM video_encode_transcript_encodinglog WHERE video_id = :video ORDER BY id LIMIT 1) AS log;

-- name: store_in_folder
-- Bring the folder of the video :video in step with it, as Pod does whenever it saves a video: named as its slug :slug and
-- its owner's :owner, or else the first by name of those that begin with its number (:numbered); its additional owners use it. A
-- custom file or image :path, called :name, is stored there if there is one; the folder is made for it if need be. Then who else
-- uses the folder, unless our role may not change that, and what is known of the video.
WITH found AS MATERIALIZED (
    SELECT id, name, owner_id
      FROM podfile_userfolder
     WHERE (name = :slug AND owner_id = :owner) OR name COLLATE "C" LIKE :numbered
     ORDER BY (name = :slug AND owner_id = :owner) DESC, name, id
     LIMIT 1
), moved AS (
    UPDATE podfile_userfolder AS folder
       SET name = :slug, owner_id = :owner
      FROM found
     WHERE folder.id = found.id AND (found.name <> :slug OR found.owner_id <> :owner)
), made AS (
    INSERT INTO podfile_userfolder (name, owner_id, created_at)
    SELECT :slug, :owner, :now::timestamptz
     WHERE :path::text IS NOT NULL AND NOT EXISTS (SELECT FROM found)
    RETURNING id
), folder AS (
    SELECT id FROM found UNION ALL SELECT id FROM made
), shared AS (
    INSERT INTO podfile_userfolder_users (userfolder_id, user_id)
    SELECT folder.id, owner.user_id
      FROM folder, video_video_additional_owners AS owner
     WHERE owner.video_id = :video
       AND NOT EXISTS (SELECT FROM podfile_userfolder_users AS known
                        WHERE known.userfolder_id = folder.id AND known.user_id = owner.user_id)
     ORDER BY owner.user_id
), stored AS (
    INSERT INTO {table} (name, description, uploaded_at, file, created_by_id, folder_id)
    SELECT :name, '', :now, :path, :owner, folder.id
      FROM folder
     WHERE :path IS NOT NULL
    RETURNING id
)
SELECT (SELECT id FROM stored) AS file_id,
       ARRAY(SELECT user_folder.id
               FROM podfile_userfolder_users AS user_folder
               JOIN found ON found.id = user_folder.userfolder_id
              WHERE has_table_privilege('podfile_userfolder_users', 'DELETE')
                AND NOT EXISTS (SELECT FROM video_video_additional_owners AS owner
                                 WHERE owner.video_id = :video AND owner.user_id = user_folder.user_id)) AS others,
       {known_of_video};

-- name: unshare
-- Nobody but the additional owners of a video uses its folder: the links :others to other users go, as Pod takes them away
-- whenever it saves a video.
DELETE FROM podfile_userfolder_users WHERE id = ANY (:others::bigint[]);

-- name: store
-- The same in a Pod without podfile, which has no folders.
WITH stored AS (
    INSERT INTO {table} (file)
    SELECT :path::text WHERE :path::text IS NOT NULL
    RETURNING id
)
SELECT (SELECT id FROM stored) AS file_id, {known_of_video};

-- name: log_and_step
-- The log of the video :video becomes :log; how far it is, :step, in the words :step_words.
kept_log AS (
    UPDATE video_encode_transcript_encodinglog SET log = :log WHERE video_id = :video RETURNING id
), first_log AS (
    INSERT INTO video_encode_transcript_encodinglog (video_id, log, logfile)
    SELECT :video, :log, '' WHERE NOT EXISTS (SELECT FROM kept_log)
), kept_step AS (
    UPDATE video_encode_transcript_encodingstep SET num_step = :step, desc_step = :step_words WHERE video_id = :video RETURNING id
), first_step AS (
    INSERT INTO video_encode_transcript_encodingstep (video_id, num_step, desc_step)
    SELECT :video, :step, :step_words WHERE NOT EXISTS (SELECT FROM kept_step)
);
