-- The queue of pending tasks. Its order is (class, turn, date_added, id), where the turn is 0 for all unless runner time is
-- shared fairly: then it is Pod's order, (class, date_added, id). `turn` and `class` is defined here and nowhere else.
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
SELECT task.id, task.type, task.date_added, task.video_id, task.recording_id, {class} AS class, 0::float8 AS turn
  FROM {owned_tasks}
 WHERE task.status = 'pending'

-- name: owner
-- Whose runner time it is, by owner.
coalesce(video.owner_id, recording.user_id)::text

-- name: establishment
-- Whose runner time it is, by establishment.
holder.establishment

-- name: holders
-- Where the establishments are.
LEFT JOIN authentication_owner AS holder ON holder.user_id = coalesce(video.owner_id, recording.user_id)

-- name: fair_queue
-- Pending tasks by fair share, which stand by (class, turn, date_added, id): domain/fair_share.py in SQL. :parties had :used
-- seconds of runner time, runs of the types :cost_types take :costs seconds, others :unknown_cost; tasks of :due_classes and :due_types
-- before (:due_dates, :due_tasks) go by Pod's order. What runs counts as much as a run takes.
SELECT id, type, date_added, video_id, recording_id, class,
       CASE WHEN (date_added, id) < (due_date, due_task) THEN -1
            ELSE coalesce(used.seconds, 0) + running
                 + coalesce(sum(cost) OVER (PARTITION BY class, party ORDER BY date_added, id
                                            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)
       END AS turn
  FROM (SELECT open.*, due.date_added AS due_date, due.task_pk AS due_task, cost,
               coalesce(sum(cost) FILTER (WHERE status = 'running') OVER (PARTITION BY party), 0) AS running
          FROM (SELECT task.id, task.type, task.status, task.date_added, task.video_id, task.recording_id, {class} AS class,
                       coalesce({party}, '') AS party
                  FROM {owned_tasks}
                  LEFT JOIN recorder_recording AS recording ON recording.id = task.recording_id
                  {holders}
                 WHERE task.status IN ('pending', 'running')) AS open
          LEFT JOIN unnest(:cost_types::text[], :costs::float8[]) AS known (type, seconds) ON known.type = open.type
         CROSS JOIN LATERAL (SELECT coalesce(known.seconds, :unknown_cost::float8) AS cost) AS taken
          LEFT JOIN unnest(:due_classes::int[], :due_types::text[], :due_dates::timestamptz[], :due_tasks::bigint[])
                    AS due (class, type, date_added, task_pk) ON (due.class, due.type) = (open.class, open.type)
       ) AS waiting
  LEFT JOIN unnest(:parties::text[], :used::float8[]) AS used (party, seconds) USING (party)
 WHERE status = 'pending'

-- name: source
-- What a task of the queue works on; nothing when that is gone.
CASE WHEN queued.type = 'studio' THEN queued.recording_id ELSE queued.video_id END

-- name: site_ids
-- The sites of the video or recorder that `task` works on, in order.
CASE task.type
     WHEN 'studio' THEN ARRAY(SELECT site.site_id
                                FROM recorder_recording AS recording
                                JOIN recorder_recorder_sites AS site ON site.recorder_id = recording.recorder_id
                               WHERE recording.id = task.recording_id ORDER BY site.site_id)
     ELSE ARRAY(SELECT site.site_id FROM video_video_sites AS site
                 WHERE site.video_id = task.video_id ORDER BY site.site_id)
END

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

-- name: fair_ranked
-- The same in the order of fair share.
SELECT open.id, open.held, fair.place
  FROM (SELECT id, rank AS held FROM runner_manager_task WHERE status = 'pending' OR rank IS NOT NULL) AS open
  LEFT JOIN (SELECT id, row_number() OVER (ORDER BY class, turn, date_added, id)::integer AS place
               FROM ({fair_queue}) AS queued) AS fair USING (id)

-- name: claim
-- The class of the pending task :task in Pod's order, and whose runner time it will be.
WITH priority_users AS ({priority_users})
SELECT task.id, task.type, task.date_added, {class} AS class, coalesce({party}, '') AS party
  FROM {owned_tasks}
  LEFT JOIN recorder_recording AS recording ON recording.id = task.recording_id
  {holders}
 WHERE task.id = :task AND task.status = 'pending'

-- name: on_any_site
-- Tasks of the queue, whatever their sites.
SELECT queued.* FROM queued WHERE true

-- name: on_some_sites
-- Tasks of the queue on one of the sites :sites, and if :with_siteless also those on none.
SELECT queued.*
  FROM queued
  LEFT JOIN (SELECT video_id, bool_or(site_id = ANY (:sites::bigint[])) AS is_wanted
               FROM video_video_sites GROUP BY video_id) AS film ON film.video_id = queued.video_id
  LEFT JOIN (SELECT recording.id AS recording_id, bool_or(site_id = ANY (:sites::bigint[])) AS is_wanted
               FROM recorder_recording AS recording
               JOIN recorder_recorder_sites AS site ON site.recorder_id = recording.recorder_id
              GROUP BY recording.id) AS room ON room.recording_id = queued.recording_id
 WHERE coalesce(CASE WHEN type = 'studio' THEN room.is_wanted ELSE film.is_wanted END, :with_siteless)

-- name: grace_left
-- Seconds for which a task of the queue is left to Pod's own submission: it was added less than :grace seconds ago and is
-- not among :ignore_grace. One from the future tells nothing of its age.
CASE WHEN date_added > now() + make_interval(secs => :grace::float8) OR id = ANY (:ignore_grace::bigint[]) THEN 0
     ELSE greatest(0, :grace::float8 - (extract(epoch FROM now()) - extract(epoch FROM date_added))::float8)
END

-- name: pending
-- The next tasks to hand out: at most :limit, of the types :types, not among :skip; last of all those that are left to Pod for a
-- while. Those of :held are left out as long as they were added at :held_dates, and all of a type of :excluded_types and the source in the same
-- place of :excluded_sources. The sites are tested as one of the two above says.
-- first_of_source is the pending task of the same type and source that stands first, running_duplicate one that runs;
-- they are looked for once for each source, however many tasks wait for it.
-- OFFSET 0: the tasks are looked up one by one. PostgreSQL learns late that many have come at once, and would read the
-- whole table for each of them.
WITH priority_users AS ({priority_users}),
     queued AS ({queue}),
     next AS (
         {on_sites}
            AND type = ANY (:types::text[])
            AND id <> ALL (:skip::bigint[])
            AND (id, date_added) NOT IN (SELECT * FROM unnest(:held::bigint[], :held_dates::timestamptz[]))
            AND (cardinality(:excluded_sources::bigint[]) = 0
                 OR {source} IS NULL
                 OR (type, {source}) NOT IN (SELECT * FROM unnest(:excluded_types::text[], :excluded_sources::bigint[])))
          ORDER BY :grace::float8 > 0 AND {grace_left} > 0, class, turn, date_added, id
          LIMIT :limit
     ),
     by_source AS MATERIALIZED (
         SELECT wanted.ids, wanted.classes, wanted.turns, same_source.first_of_source, same_source.running_duplicate
           FROM (SELECT type, CASE WHEN type <> 'studio' THEN video_id END AS video_id,
                        CASE WHEN type = 'studio' THEN recording_id END AS recording_id,
                        array_agg(id) AS ids, array_agg(class) AS classes, array_agg(turn) AS turns
                   FROM next GROUP BY 1, 2, 3) AS wanted
          CROSS JOIN LATERAL (
              SELECT (array_agg(other.id ORDER BY other.date_added, other.id)
                          FILTER (WHERE other.status = 'pending'))[1] AS first_of_source,
                     min(other.id) FILTER (WHERE other.status <> 'pending') AS running_duplicate
                FROM runner_manager_task AS other
               WHERE {same_source} AND other.status IN ('pending', 'running', 'warning')
          ) AS same_source
     )
SELECT task.id, task.type, task.status, task.task_id, task.date_added, task.rank, NULL AS script_output,
       task.video_id, task.recording_id, task.runner_manager_id, next.class, next.turn, by_source.running_duplicate,
       nullif(by_source.first_of_source, next.id) AS duplicate_of,
       (extract(epoch FROM now()) - extract(epoch FROM task.date_added))::float8 AS age, grace_left,
       {site_ids} AS site_ids
  FROM by_source
 CROSS JOIN LATERAL unnest(by_source.ids, by_source.classes, by_source.turns) AS next (id, class, turn)
 CROSS JOIN LATERAL (SELECT * FROM runner_manager_task WHERE id = next.id AND status = 'pending' OFFSET 0) AS task
 CROSS JOIN LATERAL (SELECT {grace_left} AS grace_left FROM (SELECT task.id, task.date_added) AS one) AS young
 ORDER BY grace_left > 0, next.class, next.turn, task.date_added, task.id

-- name: write_ranks
-- Number the pending tasks at the places after :after up to :up_to, and with the first ones clear every other rank, touching
-- only rows that change: each of them is held until the end of the statement. Tells how many places there are.
-- A row that someone is changing right now is left to the next time; one that was changed meanwhile is checked.
WITH priority_users AS ({priority_users}),
     ranked AS MATERIALIZED ({ranked}),
     wrong AS MATERIALIZED (
         SELECT id, place
           FROM ranked
          WHERE held IS DISTINCT FROM place AND coalesce(place, 1) > :after AND coalesce(place, 1) <= :up_to
     ),
     changed AS (
         SELECT task.id, wrong.place
           FROM wrong
           JOIN runner_manager_task AS task ON task.id = wrong.id
          ORDER BY task.id
            FOR UPDATE OF task SKIP LOCKED
     ),
     written AS (
         UPDATE runner_manager_task AS task
            SET rank = changed.place
           FROM changed
          WHERE task.id = changed.id
            AND (task.status = 'pending') = (changed.place IS NOT NULL)
         RETURNING task.id
     )
SELECT (SELECT count(*)::integer FROM written) AS changed, (SELECT coalesce(max(place), 0) FROM ranked) AS places

-- name: wrong_ranks
-- The first :limit tasks whose rank is not their place in the queue, and how many there are.
WITH priority_users AS ({priority_users})
SELECT id, held, place, count(*) OVER () AS tasks
  FROM ({ranked}) AS ranked
 WHERE held IS DISTINCT FROM place
 ORDER BY place, id
 LIMIT :limit

-- name: of_any_status
-- Every task.
true

-- name: open_or_ranked
-- Tasks that are not finished ('warning': see tasks.sql), or have a rank though they are: few beside a long past.
status IN ('pending', 'running', 'warning') OR rank IS NOT NULL

-- name: queue_stats
-- How many of these tasks there are of each type and status, since when the oldest of them waits, how many have a rank,
-- and a number that changes with their ranks; those that run, by their runner manager. first is one of them.
SELECT type, status, CASE WHEN status = 'running' THEN runner_manager_id END AS runner_manager_id,
       count(*) AS tasks, min(id) AS first, min(date_added) AS oldest, count(rank) AS ranked,
       sum(hashint8extended(id, rank)) FILTER (WHERE rank IS NOT NULL) AS ranks
  FROM runner_manager_task
 WHERE {which}
 GROUP BY 1, 2, 3

-- name: pending_sites
-- The sets of sites that pending tasks are on, by type.
SELECT DISTINCT task.type,
       {site_ids} AS site_ids
  FROM runner_manager_task AS task
 WHERE task.status = 'pending'
