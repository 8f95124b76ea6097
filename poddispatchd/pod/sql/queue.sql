-- The queue of pending tasks. Its order is defined in `queue` and nowhere else.
-- {queue} and {ranked} stand for those queries, {priority_users} for one of the two below: one that fits this Pod.

-- name: priority_users
-- Who comes first, on Pods that know priority users.
SELECT user_id FROM {priority_user_table}

-- name: no_priority_users
-- Nobody comes first on older Pods.
SELECT NULL::integer AS user_id WHERE false

-- name: queue
-- Pending tasks, which stand by (class, date_added, id).
-- Class 0: the video's owner is a priority user; 2: a student and nothing else; 1: everyone else, unknown owners
-- and every studio task, whoever recorded it.
-- It reads no other column of the task: an index that holds these answers it alone (`advise-index`).
SELECT task.id, task.type, task.date_added, task.video_id, task.recording_id,
       CASE WHEN task.type = 'studio' THEN 1
            WHEN video.owner_id IN (SELECT user_id FROM priority_users) THEN 0
            WHEN owner.affiliation = 'student' THEN 2
            ELSE 1
       END AS class
  FROM runner_manager_task AS task
  LEFT JOIN video_video AS video ON video.id = task.video_id
  LEFT JOIN authentication_owner AS owner ON owner.user_id = video.owner_id
 WHERE task.status = 'pending'

-- name: ranked
-- The place of every pending task: 1..n.
SELECT id, row_number() OVER (ORDER BY class, date_added, id)::integer AS rank
  FROM ({queue}) AS queued

-- name: pending
-- The next tasks to hand out: at most $1, added more than $2 seconds ago or among $7, of the types $3, not among $4,
-- on one of the sites $5 (NULL: any; $6: also those without a site). One from the future tells nothing of its age.
-- {kept}: NOT MATERIALIZED lets several processes read the table, MATERIALIZED keeps the test for sites out of it.
-- first_of_source is the pending task of the same type and source that stands first, running_twin one that runs.
WITH priority_users AS ({priority_users}),
     room_sites AS NOT MATERIALIZED (
         SELECT recording.id AS recording_id, site.site_id
           FROM recorder_recording AS recording
           JOIN recorder_recorder_sites AS site ON site.recorder_id = recording.recorder_id
     ),
     queued AS {kept} ({queue}),
     next AS (
         SELECT queued.*
           FROM queued
          WHERE ($2::float8 IS NULL
                 OR date_added < now() - make_interval(secs => $2)
                 OR date_added > now() + make_interval(secs => $2)
                 OR id = ANY ($7::bigint[]))
            AND type = ANY ($3::text[])
            AND id <> ALL ($4::bigint[])
            AND ($5::bigint[] IS NULL
                 OR CASE type
                    WHEN 'studio' THEN
                        recording_id IN (SELECT site.recording_id FROM room_sites AS site
                                          WHERE site.site_id = ANY ($5))
                        OR ($6 AND NOT EXISTS (SELECT FROM room_sites AS site
                                                WHERE site.recording_id = queued.recording_id))
                    ELSE
                        video_id IN (SELECT site.video_id FROM video_video_sites AS site
                                      WHERE site.site_id = ANY ($5))
                        OR ($6 AND NOT EXISTS (SELECT FROM video_video_sites AS site
                                                WHERE site.video_id = queued.video_id))
                    END)
          ORDER BY class, date_added, id
          LIMIT $1
     )
SELECT task.id, task.type, task.status, task.task_id, task.date_added, task.rank, NULL AS script_output,
       task.video_id, task.recording_id, task.runner_manager_id, next.class, twins.running_twin,
       nullif(twins.first_of_source, next.id) AS duplicate_of,
       extract(epoch FROM now() - task.date_added)::float8 AS age,
       CASE task.type
       WHEN 'studio' THEN ARRAY(SELECT site.site_id FROM room_sites AS site
                                 WHERE site.recording_id = next.recording_id ORDER BY site.site_id)
       ELSE ARRAY(SELECT site.site_id FROM video_video_sites AS site
                   WHERE site.video_id = next.video_id ORDER BY site.site_id)
       END AS site_ids
  FROM next
  JOIN runner_manager_task AS task ON task.id = next.id AND task.status = 'pending'
 CROSS JOIN LATERAL (
     SELECT (array_agg(id ORDER BY date_added, id) FILTER (WHERE status = 'pending'))[1] AS first_of_source,
            min(id) FILTER (WHERE status <> 'pending') AS running_twin
       FROM (SELECT other.id, other.date_added, other.type, other.status
               FROM runner_manager_task AS other
              WHERE next.type = 'studio' AND other.recording_id = next.recording_id
              UNION ALL
             SELECT other.id, other.date_added, other.type, other.status
               FROM runner_manager_task AS other
              WHERE next.type <> 'studio' AND other.video_id = next.video_id
            ) AS same_source
      WHERE same_source.type = next.type AND same_source.status IN ('pending', 'running', 'warning')
 ) AS twins
 ORDER BY next.class, next.date_added, next.id

-- name: write_ranks
-- Number the pending tasks 1..n and clear every other rank, touching only rows that change.
-- A row that someone is changing right now is left to the next time; one that was changed meanwhile is checked.
WITH priority_users AS ({priority_users}),
     ranked AS ({ranked}),
     changed AS (
         SELECT task.id, ranked.rank
           FROM runner_manager_task AS task
           LEFT JOIN ranked ON ranked.id = task.id
          WHERE (task.status = 'pending' OR task.rank IS NOT NULL)
            AND task.rank IS DISTINCT FROM ranked.rank
          ORDER BY task.id
            FOR UPDATE OF task SKIP LOCKED
     )
UPDATE runner_manager_task AS task
   SET rank = changed.rank
  FROM changed
 WHERE task.id = changed.id
   AND (task.status = 'pending') = (changed.rank IS NOT NULL)

-- name: wrong_ranks
-- The first $1 tasks whose rank is not their place in the queue, and how many there are.
WITH priority_users AS ({priority_users}),
     ranked AS ({ranked})
SELECT task.id, task.rank AS held, ranked.rank AS place, count(*) OVER () AS tasks
  FROM runner_manager_task AS task
  LEFT JOIN ranked ON ranked.id = task.id
 WHERE (task.status = 'pending' OR task.rank IS NOT NULL)
   AND task.rank IS DISTINCT FROM ranked.rank
 ORDER BY ranked.rank, task.id
 LIMIT $1

-- name: glance
-- How many tasks there are of each type and status, and since when the oldest of them waits.
SELECT type, status, count(*) AS tasks, min(date_added) AS oldest
  FROM runner_manager_task
 GROUP BY type, status
