-- Statements shared by the imports of all three task types.

-- name: video_facts
-- What an import needs to know of a video.
SELECT id, video, slug, owner_id, main_lang, transcript, overview
FROM video_video
WHERE id = $1;

-- name: lock_video
-- The same, and nobody else changes the row until the end of the transaction.
SELECT id, video, slug, owner_id, main_lang, transcript, overview
FROM video_video
WHERE id = $1
FOR UPDATE;

-- name: owner_hashkey
-- The directory name of a user's files; no row for a user without an Owner.
SELECT hashkey
FROM authentication_owner
WHERE user_id = $1;

-- name: additional_owners
-- The users who own a video besides its owner.
SELECT user_id
FROM video_video_additional_owners
WHERE video_id = $1
ORDER BY user_id;

-- name: file_is_named
-- Whether a row of a table of custom files or images holds this path.
SELECT EXISTS (SELECT FROM {table} WHERE file = $1);

-- name: insert_podfile_file
-- A custom file or image of a folder.
INSERT INTO {table} (name, description, uploaded_at, file, created_by_id, folder_id)
VALUES ($1, '', $2, $3, $4, $5)
RETURNING id;

-- name: insert_main_file
-- A custom file or image of a Pod without podfile.
INSERT INTO {table} (file)
VALUES ($1)
RETURNING id;

-- name: folder_of_video
-- The folder that belongs to a video: named as its slug, or else beginning with its number.
SELECT id, name, owner_id
FROM podfile_userfolder
WHERE (name = $1 AND owner_id = $2) OR name LIKE $3
ORDER BY (name = $1 AND owner_id = $2) DESC, id
LIMIT 1;

-- name: insert_folder
-- A folder for a video.
INSERT INTO podfile_userfolder (name, owner_id, created_at)
VALUES ($1, $2, $3)
RETURNING id;

-- name: update_folder
-- A folder follows its video's slug and owner.
UPDATE podfile_userfolder
SET name = $2, owner_id = $3
WHERE id = $1;

-- name: share_folder
-- The additional owners of a video use its folder.
INSERT INTO podfile_userfolder_users (userfolder_id, user_id)
SELECT $1, wanted.user_id
FROM unnest($2::int[]) AS wanted (user_id)
WHERE NOT EXISTS (
    SELECT FROM podfile_userfolder_users AS known
    WHERE known.userfolder_id = $1 AND known.user_id = wanted.user_id
);

-- name: log_of_video
-- The text of a video's log.
SELECT log
FROM video_encode_transcript_encodinglog
WHERE video_id = $1
ORDER BY id
LIMIT 1;

-- name: update_log
-- Replace the text of a video's log.
UPDATE video_encode_transcript_encodinglog
SET log = $2
WHERE video_id = $1;

-- name: insert_log
-- The first log of a video.
INSERT INTO video_encode_transcript_encodinglog (video_id, log, logfile)
VALUES ($1, $2, '');

-- name: update_step
-- How far a video is.
UPDATE video_encode_transcript_encodingstep
SET num_step = $2, desc_step = $3
WHERE video_id = $1;

-- name: insert_step
-- How far a video is, for the first time.
INSERT INTO video_encode_transcript_encodingstep (video_id, num_step, desc_step)
VALUES ($1, $2, $3);
