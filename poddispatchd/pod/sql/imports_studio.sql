-- Rows of a studio task: a new video made after its recorder.

-- name: reserve_video_id
-- The id of a video that is going to be made; reserved before its files are named after it.
SELECT nextval(pg_get_serial_sequence('video_video', 'id')::regclass);

-- name: recording
-- A recording with the defaults of its recorder.
SELECT
    recording.title,
    recording.user_id,
    recording.comment,
    recording.recorder_id,
    recorder.user_id AS recorder_user_id,
    recorder.type_id,
    recorder.is_draft,
    recorder.is_restricted,
    recorder.password,
    recorder.cursus,
    recorder.main_lang,
    recorder.transcript,
    recorder.licence,
    recorder.allow_downloading,
    recorder.is_360,
    recorder.disable_comment
FROM recorder_recording AS recording
JOIN recorder_recorder AS recorder ON recorder.id = recording.recorder_id
WHERE recording.id = $1;

-- name: owners
-- Directory name and affiliation of users, where they have an Owner row.
SELECT user_id, hashkey, affiliation
FROM authentication_owner
WHERE user_id = ANY ($1::int[]);

-- name: earlier_directory
-- The directory name of a user's files, told by a video of that user.
SELECT substring(video FROM '/([0-9a-f]{64})/[^/]+$') AS hashkey
FROM video_video
WHERE owner_id = $1 AND video ~ '/[0-9a-f]{64}/[^/]+$'
ORDER BY id DESC
LIMIT 1;

-- name: video_exists
-- Whether the video has been made already.
SELECT EXISTS (SELECT FROM video_video WHERE id = $1);

-- name: insert_video
-- A video from a document; {columns} are the ones of its keys.
INSERT INTO video_video ({columns})
OVERRIDING SYSTEM VALUE
SELECT {columns}
FROM jsonb_populate_record(NULL::video_video, $1::jsonb);

-- name: insert_sites
-- The current site and the recorder's.
INSERT INTO video_video_sites (video_id, site_id)
SELECT $1, sites.site_id
FROM (
    SELECT $3::int AS site_id
    UNION
    SELECT site_id FROM recorder_recorder_sites WHERE recorder_id = $2
) AS sites
ORDER BY sites.site_id;

-- name: copy_links
-- Links of a recorder to something else become the video's.
INSERT INTO {target} (video_id, {column})
SELECT DISTINCT $1::bigint, {column}
FROM {source}
WHERE recorder_id = $2
ORDER BY {column};

-- name: recorder_tags
-- The tags of a recorder.
SELECT tag.name, tag.slug
FROM recorder_tagulous_recorder_tags AS tag
JOIN recorder_recorder_tags AS link ON link.tagulous_recorder_tags_id = tag.id
WHERE link.recorder_id = $1;

-- name: count_tag
-- One more video with a tag that exists.
UPDATE video_tagulous_video_tags
SET count = count + 1
WHERE id = (
    SELECT id
    FROM video_tagulous_video_tags
    WHERE name = $1 OR lower(name) = lower($1)
    ORDER BY (name = $1) DESC, id
    LIMIT 1
)
RETURNING id;

-- name: tag_slugs
-- Slugs of tags that begin like another.
SELECT slug
FROM video_tagulous_video_tags
WHERE starts_with(slug, $1);

-- name: insert_tag
-- The first video with a tag.
INSERT INTO video_tagulous_video_tags (name, slug, count, protected)
VALUES ($1, $2, 1, FALSE)
RETURNING id;

-- name: link_tag
-- A video gets a tag.
INSERT INTO video_video_tags (video_id, tagulous_video_tags_id)
VALUES ($1, $2);

-- name: recorder_groups
-- The groups a recorder is restricted to, with the access groups of the same name (videos know only those).
SELECT auth_group.name, min(access.id) AS accessgroup_id
FROM recorder_recorder_restrict_access_to_groups AS link
JOIN auth_group ON auth_group.id = link.group_id
LEFT JOIN authentication_accessgroup AS access
    ON auth_group.name IN (access.display_name, access.code_name)
WHERE link.recorder_id = $1
GROUP BY auth_group.name
ORDER BY auth_group.name;

-- name: restrict_to_group
-- A video is for an access group.
INSERT INTO video_video_restrict_access_to_groups (video_id, accessgroup_id)
SELECT $1, $2
WHERE NOT EXISTS (
    SELECT FROM video_video_restrict_access_to_groups WHERE video_id = $1 AND accessgroup_id = $2
);

-- name: restrict_to_authenticated
-- A video is not public.
UPDATE video_video
SET is_restricted = TRUE
WHERE id = $1;
