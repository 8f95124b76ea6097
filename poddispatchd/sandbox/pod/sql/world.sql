-- Rows of a made-up Pod. Every NOT NULL column is given: Pod's tables have no defaults.

-- name: insert_site
-- Ids are given, since Pod's settings name them.
INSERT INTO django_site (id, domain, name) OVERRIDING SYSTEM VALUE VALUES (:site, :domain, :name);

-- name: advance_site_ids
-- The next site gets an id after the given ones.
SELECT setval(pg_get_serial_sequence('django_site', 'id'), (SELECT max(id) FROM django_site));

-- name: insert_user
-- A user of Django, who cannot log in.
INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
VALUES ('!', false, :username, :first_name, 'Sandbox', :email, :is_staff, true, now())
RETURNING id;

-- name: insert_owner
-- What Pod adds to a user.
INSERT INTO authentication_owner (auth_type, affiliation, commentaire, hashkey, establishment, accepts_notifications, user_id)
VALUES ('local', :affiliation, '', :hashkey, :establishment, :accepts_notifications, :user)
RETURNING id;

-- name: insert_folder
-- A folder of the file manager.
INSERT INTO podfile_userfolder (name, created_at, owner_id) VALUES (:name, now(), :owner) RETURNING id;

-- name: insert_image
-- An image of the file manager.
INSERT INTO podfile_customimagemodel (name, description, uploaded_at, file, created_by_id, folder_id)
VALUES (:name, '', now(), :file, :user, :folder)
RETURNING id;

-- name: insert_subscription
-- A browser's subscription to web push.
INSERT INTO webpush_subscriptioninfo (browser, endpoint, auth, p256dh, user_agent)
VALUES ('Firefox', :endpoint, 'sandbox', 'sandbox', 'sandbox')
RETURNING id;

-- name: insert_push_information
-- Whose subscription it is.
INSERT INTO webpush_pushinformation (subscription_id, user_id) VALUES (:subscription, :user);

-- name: insert_priority_user
-- A user whose tasks go first.
INSERT INTO runner_manager_priority_user (date_added, user_id) VALUES (now(), :user);

-- name: insert_access_group
-- What restricts a video.
INSERT INTO authentication_accessgroup (display_name, code_name, auto_sync) VALUES (:display_name, :code_name, false) RETURNING id;

-- name: insert_group
-- What restricts a recorder.
INSERT INTO auth_group (name) VALUES (:name) RETURNING id;

-- name: insert_type
-- A type of videos.
INSERT INTO video_type (title, title_fr, slug, description) VALUES (:title, :title, :slug, '') RETURNING id;

-- name: insert_channel
-- A visible channel.
INSERT INTO video_channel (title, title_fr, slug, description, visible, site_id)
VALUES (:title, :title, :slug, '', true, :site)
RETURNING id;

-- name: insert_theme
-- A theme of a channel.
INSERT INTO video_theme (title, title_fr, slug, channel_id) VALUES (:title, :title, :slug, :channel) RETURNING id;

-- name: insert_discipline
-- A discipline.
INSERT INTO video_discipline (title, title_fr, slug, description, site_id) VALUES (:title, :title, :slug, '', :site) RETURNING id;

-- name: insert_rendition
-- A rendition with its bit rates.
INSERT INTO video_encode_transcript_videorendition
    (resolution, minrate, video_bitrate, maxrate, encoding_resolution_threshold, audio_bitrate, encode_mp4)
VALUES (:resolution, :minrate, :video_bitrate, :maxrate, 0, :audio_bitrate, :encode_mp4)
RETURNING id;

-- name: insert_recorder
-- A studio recorder, with what its videos inherit.
INSERT INTO recorder_recorder
    (name, description, address_ip, salt, credentials_login, credentials_password, recording_type, publication_auto,
     is_draft, is_restricted, password, cursus, main_lang, transcript, licence, allow_downloading, is_360,
     disable_comment, directory, type_id, user_id)
VALUES (:name, '', :address::text::inet, '', '', '', 'studio', false,
        :is_draft, :is_restricted, :password, :cursus, 'fr', :transcript, :licence, :allow_downloading, false,
        false, :directory, :type, :user)
RETURNING id;

-- name: insert_recorder_tag
-- A tag of recorders, used once.
INSERT INTO recorder_tagulous_recorder_tags (name, slug, count, protected) VALUES (:name, :slug, 1, false) RETURNING id;

-- name: insert_manager
-- A runner manager.
INSERT INTO runner_manager (name, priority, is_active, url, token, site_id) VALUES (:name, :priority, :is_active, :url, :token, :site) RETURNING id;

-- name: link
-- One row of a many-to-many table; a link that is there already stays.
INSERT INTO {table} ({left}, {right}) VALUES (:left, :right) ON CONFLICT DO NOTHING;

-- name: next_video_id
-- The id of the next video, which its slug needs.
SELECT nextval(pg_get_serial_sequence('video_video', 'id'));

-- name: insert_video
-- A video as Pod stores it after the upload.
INSERT INTO video_video
    (id, video, title, title_fr, title_en, slug, description, date_added, date_evt, cursus, main_lang, transcript,
     allow_downloading, is_360, is_draft, is_restricted, "order", duration, overview, encoding_in_progress, is_video,
     date_delete, disable_comment, owner_id, type_id)
VALUES (:video, :file, :title, :title, :title_en, :slug, '', now(), current_date, '0', 'fr', :transcript,
        false, false, :is_draft, false, 1, :duration, '', false, true,
        current_date + 730, false, :owner, :type);

-- name: insert_video_encoding
-- An encoded film.
INSERT INTO video_encode_transcript_encodingvideo (name, encoding_format, source_file, rendition_id, video_id)
VALUES (:name, 'video/mp4', :file, :rendition, :video);

-- name: insert_audio_encoding
-- An encoded sound.
INSERT INTO video_encode_transcript_encodingaudio (name, encoding_format, source_file, video_id)
VALUES ('audio', 'audio/mp3', :file, :video);

-- name: insert_playlist
-- The playlist of a video.
INSERT INTO video_encode_transcript_playlistvideo (name, encoding_format, source_file, video_id)
VALUES ('playlist', 'application/x-mpegURL', :file, :video);

-- name: insert_cut
-- A cut of Pod's editor.
INSERT INTO cut_cutvideo (start, "end", duration, video_id) VALUES (:start, :end, :duration, :video) RETURNING id;

-- name: insert_dressing
-- A dressing: credits and a watermark.
INSERT INTO dressing_dressing (title, "position", opacity, opening_credits_id, ending_credits_id, watermark_id)
VALUES (:title, :position, :opacity, :opening, :ending, :watermark)
RETURNING id;

-- name: insert_recording
-- A recording of the studio.
INSERT INTO recorder_recording (title, type, source_file, comment, date_added, recorder_id, user_id)
VALUES (:title, 'studio', :file, '', now(), :recorder, :user)
RETURNING id;

-- name: insert_task
-- A task.
INSERT INTO runner_manager_task (type, status, task_id, date_added, rank, script_output, recording_id, runner_manager_id, video_id)
VALUES (:type, :status, :task_id, coalesce(:date_added, now()), :rank, :script_output, :recording, :runner_manager, :video)
RETURNING id;

-- name: insert_finished_tasks
-- Many completed encodings, one a minute into the past.
INSERT INTO runner_manager_task (type, status, task_id, date_added, script_output, runner_manager_id, video_id)
SELECT 'encoding', 'completed', 'done-' || number, now() - number * interval '1 minute', '', :runner_manager, :video
FROM generate_series(1, :count::integer) AS number;
