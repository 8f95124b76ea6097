-- name: rows
-- Tasks for people, the newest first: of the statuses :statuses ('other': those that Pod does not have), the types :types, the runner managers :managers and the sites :sites, added
-- since :since, among :tasks (NULL: any), whose title, slug, owner or id holds :search, where :apostrophes and
-- :spaces (patterns) count as those that people type; at most :limit.
-- failure is what stands before the last output of a script: the words of the last failure.
SELECT task.id, task.type, task.status, task.task_id, task.rank, task.date_added, task.runner_manager_id,
       task.video_id, task.recording_id,
       coalesce(video.title, recording.title) AS title, coalesce(owner.username, recorder.username) AS owner,
       CASE WHEN task.status IN ('failed', 'timeout') THEN
           -- Read from its end: what earlier runs have left, with separators of their own, stands before.
           right(coalesce(nullif(reverse(split_part(reverse(task.script_output) COLLATE "C", E'\n---\n', 2)), ''),
                          task.script_output), 4000)
       END AS failure
  FROM runner_manager_task AS task
  LEFT JOIN video_video AS video ON video.id = task.video_id
  LEFT JOIN auth_user AS owner ON owner.id = video.owner_id
  LEFT JOIN recorder_recording AS recording ON recording.id = task.recording_id
  LEFT JOIN auth_user AS recorder ON recorder.id = recording.user_id
 WHERE (:statuses::text[] IS NULL OR task.status = ANY (:statuses)
        OR ('other' = ANY (:statuses)
            AND task.status NOT IN ('pending', 'running', 'completed', 'failed', 'timeout', 'warning')))
   AND (:types::text[] IS NULL OR task.type = ANY (:types)
        OR ('other' = ANY (:types) AND task.type NOT IN ('encoding', 'studio', 'transcription')))
   AND (:search::text IS NULL
        OR strpos(regexp_replace(regexp_replace(
                      lower(concat_ws(' ', task.id, task.task_id, video.title, video.slug, recording.title,
                                      owner.username, recorder.username) COLLATE "default"),
                      :apostrophes, '''', 'g'), :spaces, ' ', 'g'),
                  lower(:search)) > 0)
   AND (:managers::bigint[] IS NULL OR task.runner_manager_id = ANY (:managers))
   AND (:sites::bigint[] IS NULL
        OR EXISTS (SELECT FROM video_video_sites AS site
                    WHERE site.video_id = task.video_id AND site.site_id = ANY (:sites))
        OR EXISTS (SELECT FROM recorder_recorder_sites AS site
                    WHERE site.recorder_id = recording.recorder_id AND site.site_id = ANY (:sites)))
   AND (:since::timestamptz IS NULL OR task.date_added >= :since)
   AND (:tasks::bigint[] IS NULL OR task.id = ANY (:tasks))
 ORDER BY task.id DESC
 LIMIT :limit

-- name: waiting
-- The pending task :task, or the first :limit of the queue, with the sites of their videos or recorders, and the tasks of the
-- same type and source that come first or run already. Whoever has changed or locked a row and not committed for :seconds
-- seconds is named; of other roles' sessions the server tells the process only. A session of :ours that holds it while it waits for
-- somebody else stands for that one; one that waits for nobody is about to be done.
WITH chosen AS MATERIALIZED (
    SELECT task.*, task.xmax AS locker
      FROM runner_manager_task AS task
     WHERE task.status = 'pending' AND (:task::bigint IS NULL OR task.id = :task)
     ORDER BY task.rank, task.date_added, task.id
     LIMIT :limit
)
SELECT task.id, task.type, task.date_added, task.rank, task.video_id, task.recording_id,
       {site_ids} AS site_ids,
       same_source.runs, same_source.first, holder.pid, holder.application_name, holder.usename, holder.xact_start
  FROM chosen AS task
 CROSS JOIN LATERAL (
     SELECT min(other.id) FILTER (WHERE other.status <> 'pending') AS runs,
            (array_agg(other.id ORDER BY other.date_added, other.id)
                FILTER (WHERE other.status = 'pending'))[1] AS first
       FROM {others} AS other
      WHERE other.status IN ('pending', 'running', 'warning')
 ) AS same_source
  LEFT JOIN LATERAL (
     SELECT who.pid, who.application_name, who.usename, who.xact_start
       FROM pg_locks AS held
       JOIN pg_stat_activity AS activity ON activity.pid = held.pid
       JOIN pg_stat_activity AS who
         ON who.application_name IS DISTINCT FROM :ours
        AND CASE WHEN activity.application_name = :ours THEN who.pid = ANY (pg_blocking_pids(activity.pid))
                 ELSE who.pid = activity.pid END
      WHERE held.locktype = 'transactionid' AND held.granted AND held.transactionid = task.locker
        AND coalesce(activity.xact_start < now() - make_interval(secs => :seconds), true)
      LIMIT 1
 ) AS holder ON task.locker <> '0'::xid
 ORDER BY task.rank, task.date_added, task.id
