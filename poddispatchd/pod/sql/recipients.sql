-- Who is told about a video.

-- name: video
-- A video with its title in a language, and its owner; what older Pods lack is NULL. (The table has a column video.)
SELECT found.id, found.slug, found.date_added,
       coalesce(nullif(to_jsonb(found) ->> ('title_' || :language::text), ''), found.title) AS title,
       auth_user.id AS user_id, auth_user.email, auth_user.username,
       concat_ws(' ', nullif(auth_user.first_name, ''), nullif(auth_user.last_name, '')) AS name,
       owner.establishment, (to_jsonb(owner) ->> 'accepts_notifications')::boolean AS accepts_notifications
FROM video_video AS found
JOIN auth_user ON auth_user.id = found.owner_id
LEFT JOIN authentication_owner AS owner ON owner.user_id = auth_user.id
WHERE found.id = :video;

-- name: has_push
-- Whether this Pod knows web push.
SELECT to_regclass('webpush_pushinformation') IS NOT NULL
   AND to_regclass('webpush_subscriptioninfo') IS NOT NULL;

-- name: subscriptions
-- The browsers that a user wants to be told in.
SELECT DISTINCT subscription_id AS id FROM webpush_pushinformation WHERE user_id = :user ORDER BY 1;

-- name: subscription
-- How one browser is told.
SELECT endpoint, auth, p256dh FROM webpush_subscriptioninfo WHERE id = :subscription;

-- name: usernames
-- The names under which users log in.
SELECT id, username FROM auth_user WHERE id = ANY (:users::bigint[])
