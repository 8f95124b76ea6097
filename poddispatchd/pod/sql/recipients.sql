-- Who is told about a video.

-- name: video
-- A video with its translated titles, and its owner. (The table has a column video.) An owner of an older Pod accepts
-- no notifications: the name then means that of `absent`.
SELECT found.id, found.slug, found.date_added, found.title, jsonb_strip_nulls({titles})::text AS titles,
       auth_user.id AS user_id, auth_user.email, auth_user.username,
       concat_ws(' ', nullif(auth_user.first_name, ''), nullif(auth_user.last_name, '')) AS name,
       owner.establishment,
       (SELECT accepts_notifications FROM authentication_owner AS this WHERE this.user_id = owner.user_id)
           AS accepts_notifications
FROM (SELECT NULL::boolean AS accepts_notifications) AS absent
CROSS JOIN video_video AS found
JOIN auth_user ON auth_user.id = found.owner_id
LEFT JOIN authentication_owner AS owner ON owner.user_id = auth_user.id
WHERE found.id = :video;

-- name: has_push
-- Whether this Pod knows web push.
SELECT to_regclass('webpush_pushinformation') IS NOT NULL
   AND to_regclass('webpush_subscriptioninfo') IS NOT NULL;

-- name: subscriptions
-- The browsers that a user wants to be told in, the latest :most: subscriptions of browsers that are gone stay, and anybody may
-- have any number.
SELECT DISTINCT subscription_id AS id FROM webpush_pushinformation WHERE user_id = :user ORDER BY 1 DESC LIMIT :most;

-- name: subscription
-- How one browser is told.
SELECT endpoint, auth, p256dh FROM webpush_subscriptioninfo WHERE id = :subscription;

-- name: usernames
-- The names under which users log in.
SELECT id, username FROM auth_user WHERE id = ANY (:users::bigint[]);

-- name: establishments
-- Those that owners are of, in lower case.
SELECT DISTINCT lower(establishment) AS name FROM authentication_owner WHERE establishment <> '';
