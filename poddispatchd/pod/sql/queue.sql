-- The queue of pending tasks. Its order is (class, date_added, id), and `class` is defined here and nowhere else.
-- Names in braces stand for the texts below, {priority_users} for the one of two that fits this Pod.

-- name: priority_users
-- Who comes first, on Pods that know priority users.
SELECT user_id FROM {priority_user_table}

-- name: no_priority_users
-- Nobody comes first on older Pods.
SELECT NULL::integer AS user_id WHERE false

-- name: class
-- 0: the video's owner is a priority user; 2: a student and nothing else; 1: everyone else, unknown owners and every
-- studio task, whoever recorded it.
CASE WHEN task.type = 'studio' THEN 1
     WHEN video.owner_id IN (SELECT user_id FROM priority_users) THEN 0
     WHEN owner.affiliation = 'student' THEN 2
     ELSE 1
END

-- name: owned_tasks
-- Tasks with what their class depends on.
runner_manager_task AS task
  LEFT JOIN video_video AS video ON video.id = task.video_id
  LEFT JOIN authentication_owner AS owner ON owner.user_id = video.owner_id

-- name: queue
-- Pending tasks, which stand by (class, date_added, id).
-- It reads no other column of the task: an index that holds these answers it alone (`advise-index`).
SELECT task.id, task.type, task.date_added, task.video_id, task.recording_id, {class} AS class
  FROM {owned_tasks}
 WHERE task.status = 'pending'

-- name: source
-- What a task of the queue works on; nothing when that is gone.
CASE WHEN queued.type = 'studio' THEN queued.recording_id ELSE queued.video_id END

-- name: ranked
-- Every task that waits or has a rank, the rank held and its place: 1..n in the order of the queue, none if it does
-- not wait. The table is read once, however many tasks there are.
SELECT id, held, CASE WHEN waits THEN place END AS place
  FROM (SELECT task.id, task.rank AS held, task.status = 'pending' AS waits,
               row_number() OVER (PARTITION BY task.status = 'pending'
                                      ORDER BY {class}, task.date_added, task.id)::integer AS place
          FROM {owned_tasks}
         WHERE task.status = 'pending' OR task.rank IS NOT NULL
       ) AS numbered

-- name: on_any_site
-- Tasks of the queue, whatever their sites.
SELECT queued.* FROM queued WHERE true

-- name: on_some_sites
-- Tasks of the queue on one of the sites $10, and if $11 also those on none.
SELECT queued.*
  FROM queued
  LEFT JOIN (SELECT video_id, bool_or(site_id = ANY ($10::bigint[])) AS is_wanted
               FROM video_video_sites GROUP BY video_id) AS film ON film.video_id = queued.video_id
  LEFT JOIN (SELECT recording_id, bool_or(site_id = ANY ($10::bigint[])) AS is_wanted
               FROM room_sites GROUP BY recording_id) AS room ON room.recording_id = queued.recording_id
 WHERE coalesce(CASE WHEN type = 'studio' THEN room.is_wanted ELSE film.is_wanted END, $11)

-- name: pending
-- The next tasks to hand out: at most $1, added more than $2 seconds ago or among $5, of the types $3, not among $4.
-- One from the future tells nothing of its age. Those of $6 are left out as long as they were added at $7, and all of
-- a type of $8 and the source in the same place of $9. The sites are tested as one of the two above says.
-- first_of_source is the pending task of the same type and source that stands first, running_duplicate one that runs; they
-- are looked for once for each source, however many tasks wait for it.
WITH priority_users AS ({priority_users}),
     room_sites AS NOT MATERIALIZED (
         SELECT recording.id AS recording_id, site.site_id
           FROM recorder_recording AS recording
           JOIN recorder_recorder_sites AS site ON site.recorder_id = recording.recorder_id
     ),
     queued AS ({queue}),
     next AS (
         {on_sites}
            AND ($2::float8 IS NULL
                 OR date_added < now() - make_interval(secs => $2)
                 OR date_added > now() + make_interval(secs => $2)
                 OR id = ANY ($5::bigint[]))
            AND type = ANY ($3::text[])
            AND id <> ALL ($4::bigint[])
            AND (id, date_added) NOT IN (SELECT * FROM unnest($6::bigint[], $7::timestamptz[]))
            AND (cardinality($9::bigint[]) = 0
                 OR {source} IS NULL
                 OR (type, {source}) NOT IN (SELECT * FROM unnest($8::text[], $9::bigint[])))
          ORDER BY class, date_added, id
          LIMIT $1
     ),
     by_source AS MATERIALIZED (
         SELECT wanted.ids, wanted.classes, duplicates.first_of_source, duplicates.running_duplicate
           FROM (SELECT type, {source} AS source, array_agg(id) AS ids, array_agg(class) AS classes
                   FROM next AS queued GROUP BY 1, 2) AS wanted
          CROSS JOIN LATERAL (
              SELECT (array_agg(id ORDER BY date_added, id) FILTER (WHERE status = 'pending'))[1] AS first_of_source,
                     min(id) FILTER (WHERE status <> 'pending') AS running_duplicate
                FROM (SELECT other.id, other.date_added, other.type, other.status
                        FROM runner_manager_task AS other
                       WHERE wanted.type = 'studio' AND other.recording_id = wanted.source
                       UNION ALL
                      SELECT other.id, other.date_added, other.type, other.status
                        FROM runner_manager_task AS other
                       WHERE wanted.type <> 'studio' AND other.video_id = wanted.source
                     ) AS same_source
               WHERE same_source.type = wanted.type AND same_source.status IN ('pending', 'running', 'warning')
          ) AS duplicates
     )
SELECT task.id, task.type, task.status, task.task_id, task.date_added, task.rank, NULL AS script_output,
       task.video_id, task.recording_id, task.runner_manager_id, next.class, by_source.running_duplicate,
       nullif(by_source.first_of_source, next.id) AS duplicate_of,
       extract(epoch FROM now() - task.date_added)::float8 AS age,
       CASE task.type
       WHEN 'studio' THEN ARRAY(SELECT site.site_id FROM room_sites AS site
                                 WHERE site.recording_id = task.recording_id ORDER BY site.site_id)
       ELSE ARRAY(SELECT site.site_id FROM video_video_sites AS site
                   WHERE site.video_id = task.video_id ORDER BY site.site_id)
       END AS site_ids
  FROM by_source
 CROSS JOIN LATERAL unnest(by_source.ids, by_source.classes) AS next (id, class)
  JOIN runner_manager_task AS task ON task.id = next.id AND task.status = 'pending'
 ORDER BY next.class, task.date_added, task.id

-- name: write_ranks
-- Number the pending tasks 1..n and clear every other rank, touching only rows that change.
-- A row that someone is changing right now is left to the next time; one that was changed meanwhile is checked.
WITH priority_users AS ({priority_users}),
     wrong AS MATERIALIZED (SELECT id, place FROM ({ranked}) AS ranked WHERE held IS DISTINCT FROM place),
     changed AS (
         SELECT task.id, wrong.place
           FROM wrong
           JOIN runner_manager_task AS task ON task.id = wrong.id
          ORDER BY task.id
            FOR UPDATE OF task SKIP LOCKED
     )
UPDATE runner_manager_task AS task
   SET rank = changed.place
  FROM changed
 WHERE task.id = changed.id
   AND (task.status = 'pending') = (changed.place IS NOT NULL)

-- name: wrong_ranks
-- The first $1 tasks whose rank is not their place in the queue, and how many there are.
WITH priority_users AS ({priority_users})
SELECT id, held, place, count(*) OVER () AS tasks
  FROM ({ranked}) AS ranked
 WHERE held IS DISTINCT FROM place
 ORDER BY place, id
 LIMIT $1

-- name: of_any_status
-- Every task.
true

-- name: open_or_ranked
-- Tasks that are not finished ('warning': see tasks.sql), or have a rank though they are: few beside a long past.
status IN ('pending', 'running', 'warning') OR rank IS NOT NULL

-- name: queue_stats
-- How many of these tasks there are of each type and status, since when the oldest of them waits, how many have a rank,
-- and a number that changes with their ranks; those that run, by their runner manager.
SELECT type, status, CASE WHEN status = 'running' THEN runner_manager_id END AS runner_manager_id,
       count(*) AS tasks, min(date_added) AS oldest, count(rank) AS ranked,
       sum(hashint8extended(id, rank)) FILTER (WHERE rank IS NOT NULL) AS ranks
  FROM runner_manager_task
 WHERE {which}
 GROUP BY 1, 2, 3

-- name: pending_sites
-- The sets of sites that pending tasks are on, by type.
SELECT DISTINCT task.type,
       CASE task.type
       WHEN 'studio' THEN ARRAY(SELECT site.site_id
                                  FROM recorder_recording AS recording
                                  JOIN recorder_recorder_sites AS site ON site.recorder_id = recording.recorder_id
                                 WHERE recording.id = task.recording_id ORDER BY site.site_id)
       ELSE ARRAY(SELECT site.site_id FROM video_video_sites AS site
                   WHERE site.video_id = task.video_id ORDER BY site.site_id)
       END AS site_ids
  FROM runner_manager_task AS task
 WHERE task.status = 'pending'

-- name: open_on_sites
-- Every task that waits or runs ('warning': see tasks.sql), with the sites of its video or recorder.
SELECT task.id, task.status, task.task_id,
       CASE task.type
       WHEN 'studio' THEN ARRAY(SELECT site.site_id
                                  FROM recorder_recording AS recording
                                  JOIN recorder_recorder_sites AS site ON site.recorder_id = recording.recorder_id
                                 WHERE recording.id = task.recording_id ORDER BY site.site_id)
       ELSE ARRAY(SELECT site.site_id FROM video_video_sites AS site
                   WHERE site.video_id = task.video_id ORDER BY site.site_id)
       END AS site_ids
  FROM runner_manager_task AS task
 WHERE task.status IN ('pending', 'running', 'warning')

-- name: statuses
-- What became of the tasks $1; those that were deleted are left out.
SELECT id, status, task_id FROM runner_manager_task WHERE id = ANY ($1::bigint[])
