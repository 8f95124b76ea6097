-- What tasks are to work on, for whoever reckons how long that takes. {class}, {owned_tasks}, {queue},
-- {site_ids} and {priority_users} are those of queue.sql.

-- name: waiting_work
-- The first :limit pending tasks in the order of the queue, with the sites of their videos or recorders.
WITH priority_users AS ({priority_users}),
     first AS (SELECT * FROM ({queue}) AS queued ORDER BY class, turn, date_added, id LIMIT :limit)
SELECT task.*, CASE WHEN video.duration > 0 THEN video.duration END AS seconds, video.video AS path,
       {site_ids} AS site_ids
  FROM first AS task
  LEFT JOIN video_video AS video ON video.id = task.video_id
 ORDER BY class, turn, date_added, id

-- name: running_work
-- The tasks that run, the latest :limit ('warning': see tasks.sql).
SELECT task.id, task.type, task.date_added, task.video_id, task.recording_id, task.runner_manager_id,
       CASE WHEN video.duration > 0 THEN video.duration END AS seconds, video.video AS path
  FROM runner_manager_task AS task
  LEFT JOIN video_video AS video ON video.id = task.video_id
 WHERE task.status IN ('running', 'warning')
 ORDER BY task.id DESC LIMIT :limit

-- name: work_of
-- Whose the tasks :tasks are, their class, and what they worked on.
WITH priority_users AS ({priority_users})
SELECT task.id, {class} AS class, coalesce(video.owner_id, recording.user_id) AS owner_id,
       CASE WHEN video.duration > 0 THEN video.duration END AS seconds, video.video AS path
  FROM {owned_tasks}
  LEFT JOIN recorder_recording AS recording ON recording.id = task.recording_id
 WHERE task.id = ANY (:tasks::bigint[])
