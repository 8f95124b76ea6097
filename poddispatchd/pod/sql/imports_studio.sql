-- Rows of a studio task: a new video made after its recorder.

-- name: recording
-- The recording :recording with the defaults of its recorder, and the directory name and affiliation of the users of both, where
-- they have an Owner row; for a user without one, the directory name that an earlier video of that user tells.
SELECT recording.id, recording.title, recording.user_id, recording.comment, recording.recorder_id, recording.source_file,
       recorder.user_id AS recorder_user_id, recorder.type_id, recorder.is_draft, recorder.is_restricted,
       recorder.password, recorder.cursus, recorder.main_lang, recorder.transcript, recorder.licence,
       recorder.allow_downloading, recorder.is_360, recorder.disable_comment,
       owner.hashkey, owner.affiliation,
       recorder_owner.hashkey AS recorder_hashkey, recorder_owner.affiliation AS recorder_affiliation,
       CASE WHEN coalesce(owner.hashkey, '') = '' THEN (
           SELECT substring(video COLLATE "C" FROM '/([0-9a-f]{64})/[^/]+$')
             FROM video_video
            WHERE owner_id = recording.user_id AND video COLLATE "C" ~ '/[0-9a-f]{64}/[^/]+$'
            ORDER BY id DESC
            LIMIT 1
       ) END AS earlier_hashkey,
       {renditions} AS renditions
  FROM recorder_recording AS recording
  JOIN recorder_recorder AS recorder ON recorder.id = recording.recorder_id
  LEFT JOIN authentication_owner AS owner ON owner.user_id = recording.user_id
  LEFT JOIN authentication_owner AS recorder_owner ON recorder_owner.user_id = recorder.user_id
 WHERE recording.id = :recording;

-- name: insert_video
-- The video :video, unless it has been made already, from the document :row ({columns} are the ones of its keys), with its
-- first log :log, the current site :site and those of its recorder :recorder, and copies of the recorder's links. Tells the
-- file that the recording :recording has now.
WITH made AS (
    INSERT INTO video_video ({columns})
    -- The id was reserved when the import began: done again after a crash, it makes no second video.
    OVERRIDING SYSTEM VALUE
    SELECT {columns}
      FROM jsonb_populate_record(NULL::video_video, :row::jsonb) AS video
     WHERE NOT EXISTS (SELECT FROM video_video WHERE id = :video)
    RETURNING id
), log AS (
    INSERT INTO video_encode_transcript_encodinglog (video_id, log, logfile)
    SELECT id, :log, '' FROM made
), sites AS (
    INSERT INTO video_video_sites (video_id, site_id)
    SELECT made.id, site.site_id
      FROM made, (SELECT :site::int AS site_id
                   UNION
                  SELECT site_id FROM recorder_recorder_sites WHERE recorder_id = :recorder) AS site
     ORDER BY site.site_id
){links}
SELECT id, (SELECT source_file FROM recorder_recording WHERE id = :recording) AS source_file FROM made;

-- name: copy_links
-- Links of a recorder to something else become the video's.
, {target} AS (
    INSERT INTO {target} (video_id, {column})
    SELECT made.id, link.{column}
      FROM made, (SELECT DISTINCT {column} FROM {source} WHERE recorder_id = :recorder) AS link
     ORDER BY link.{column}
);

-- name: recorder_tags
-- The tags of the recorder :recorder by name, each with the one of videos that has its name, and the slugs that begin like its own.
SELECT tag.name, tag.slug, known.id,
       ARRAY(SELECT slug FROM video_tagulous_video_tags WHERE starts_with(slug COLLATE "C", left(tag.slug, 40)))::text[] AS taken
  FROM recorder_tagulous_recorder_tags AS tag
  JOIN recorder_recorder_tags AS link ON link.tagulous_recorder_tags_id = tag.id
  LEFT JOIN LATERAL (
      SELECT id
        FROM video_tagulous_video_tags
       WHERE name = tag.name OR lower(name) = lower(tag.name)
       ORDER BY (name = tag.name) DESC, id
       LIMIT 1
  ) AS known ON TRUE
 WHERE link.recorder_id = :recorder
 ORDER BY tag.name;

-- name: link_tags
-- The video :video gets tags: those with the ids :known have one more video, those called :names with the slugs :slugs their first.
WITH counted AS (
    UPDATE video_tagulous_video_tags SET count = count + 1 WHERE id = ANY (:known::bigint[]) RETURNING id
), made AS (
    INSERT INTO video_tagulous_video_tags (name, slug, count, protected)
    SELECT name, slug, 1, FALSE
      FROM unnest(:names::text[], :slugs::text[]) WITH ORDINALITY AS tag (name, slug, place)
     ORDER BY place
    RETURNING id
)
INSERT INTO video_video_tags (video_id, tagulous_video_tags_id)
SELECT :video, id FROM (SELECT id FROM counted UNION SELECT id FROM made) AS tag ORDER BY id;

-- name: copy_access_groups
-- The access groups that the recorder :recorder is restricted to become those of the video :video.
INSERT INTO video_video_restrict_access_to_groups (video_id, accessgroup_id)
SELECT DISTINCT :video::bigint, accessgroup_id
  FROM recorder_recorder_restrict_access_to_groups
 WHERE recorder_id = :recorder
 ORDER BY accessgroup_id;

-- name: restrict_to_groups
-- The video :video is for the access groups (videos know only those) of the same names as the groups that the recorder :recorder
-- is restricted to. Those that have none of the same name are told: then it is not public.
WITH wanted AS MATERIALIZED (
    SELECT auth_group.name, min(access.id) AS accessgroup_id
      FROM recorder_recorder_restrict_access_to_groups AS link
      JOIN auth_group ON auth_group.id = link.group_id
      LEFT JOIN authentication_accessgroup AS access
        ON auth_group.name IN (access.display_name, access.code_name)
     WHERE link.recorder_id = :recorder
     GROUP BY auth_group.name
), restricted AS (
    INSERT INTO video_video_restrict_access_to_groups (video_id, accessgroup_id)
    SELECT DISTINCT :video::bigint, accessgroup_id
      FROM wanted
     WHERE accessgroup_id IS NOT NULL
     ORDER BY accessgroup_id
), closed AS (
    UPDATE video_video SET is_restricted = TRUE
     WHERE id = :video AND EXISTS (SELECT FROM wanted WHERE accessgroup_id IS NULL)
)
SELECT name FROM wanted WHERE accessgroup_id IS NULL ORDER BY name;
