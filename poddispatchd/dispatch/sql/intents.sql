-- Intents to submit tasks: committed before the POST (invariant I3), and only for tasks whose turn it is.

-- name: open
-- (SELECT $n): PostgreSQL does not look into the arrays, and one plan serves for all of them.
-- Commit intents, one for each of the tasks :tasks, of type :types, added at :dates_added, of video :videos or recording :recordings, to the manager
-- :runner_managers, as attempt :attempts, with the body :bodies, of sources of :source_sizes bytes; of those of :follow_nobody it is known that they follow nobody. Nothing is committed when the
-- scheduler's term :term is over, nor for a task that is not free: it was changed, someone holds its row, it is to wait,
-- another one of its source runs or stands before it, it may have to follow one that ended, or its body is for another
-- attempt. What keeps each of them is in its row of the answer.
-- OFFSET 0: duplicates are looked for task by task, by the keys of their sources, whatever PostgreSQL knows of the
-- table.
-- FOR KEY SHARE: a new term begins after this statement or before it, never within it; a lease is renewed meanwhile.
WITH wanted AS MATERIALIZED (
    SELECT *
      FROM unnest((SELECT :tasks::bigint[]), (SELECT :types::text[]), (SELECT :dates_added::timestamptz[]), (SELECT :videos::bigint[]),
                  (SELECT :recordings::bigint[]), (SELECT :runner_managers::bigint[]), (SELECT :attempts::integer[]), (SELECT :bodies::bytea[]),
                  (SELECT :follow_nobody::boolean[]), (SELECT :source_sizes::bigint[]))
           AS task (id, type, date_added, video_id, recording_id, runner_manager_id, attempt, body, follows_nobody, source_size)
), scheduler AS MATERIALIZED (
    SELECT FROM poddispatchd.leader WHERE term = :term FOR KEY SHARE
), free AS MATERIALIZED (
    SELECT task.id
      FROM runner_manager_task AS task
     WHERE task.id = ANY ((SELECT :tasks::bigint[])::bigint[])
       AND task.status = 'pending' AND coalesce(task.task_id, '') = ''
     ORDER BY task.id
       FOR NO KEY UPDATE OF task SKIP LOCKED
), duplicate AS MATERIALIZED (
    SELECT wanted.id AS of_id, other.id, other.date_added, other.status, coalesce(other.task_id, '') = '' AS has_no_id,
           other.status IN ('running', 'warning')
               OR (other.status = 'pending' AND (other.date_added, other.id) < (wanted.date_added, wanted.id))
               AS is_ahead
      FROM wanted
     CROSS JOIN LATERAL (SELECT * FROM runner_manager_task AS other WHERE {same_source} OFFSET 0) AS other
     WHERE other.id <> wanted.id
       AND (other.status IN ('pending', 'running', 'warning')
            OR (other.task_id <> '' AND other.runner_manager_id IS NOT NULL
                AND other.date_added >= wanted.date_added))
), judged AS MATERIALIZED (
    SELECT wanted.*,
           EXISTS (SELECT FROM scheduler) AS is_scheduled,
           coalesce((SELECT task.status = 'pending' AND coalesce(task.task_id, '') = ''
                            AND task.date_added = wanted.date_added
                       FROM runner_manager_task AS task WHERE task.id = wanted.id), false) AS is_untouched,
           EXISTS (SELECT FROM free WHERE free.id = wanted.id) AS is_free,
           NOT wanted.follows_nobody
               AND (EXISTS (SELECT FROM duplicate
                             WHERE of_id = wanted.id AND status IN ('completed', 'failed', 'timeout'))
                    OR EXISTS (SELECT FROM poddispatchd.wish
                                 JOIN poddispatchd.submission ON submission.id = wish.submission_id
                                WHERE wish.task_pk = wanted.id AND wish.date_added = wanted.date_added
                                  AND submission.state IN ('accepted', 'lost'))) AS may_follow,
           (SELECT min(id) FROM duplicate WHERE of_id = wanted.id AND is_ahead) AS ahead,
           (SELECT extract(epoch FROM not_before - now())::float8
              FROM poddispatchd.own_task
             WHERE task_pk = wanted.id AND own_task.date_added = wanted.date_added
               AND not_before > now() AND not_before <= now() + interval '10 minutes') AS wait,
           -- A run of Pod's that the row has let go of is noted as one of these by whoever looks for such runs: later, perhaps.
           (SELECT 1 + count(*)::integer
              FROM poddispatchd.submission
             WHERE task_pk = wanted.id AND state IN ('accepted', 'lost', 'orphaned'))
           + (SELECT count(*)::integer FROM poddispatchd.sighting AS run WHERE run.task_pk = wanted.id AND {unnoted})
           AS next_attempt
      FROM wanted
), intent AS (
    INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body, date_added, source_size)
    SELECT id, type, runner_manager_id, attempt, body, date_added, source_size
      FROM judged
     WHERE is_scheduled AND is_untouched AND is_free AND NOT may_follow AND ahead IS NULL AND wait IS NULL
       AND next_attempt = attempt
        ON CONFLICT (task_pk) WHERE state = 'open' DO NOTHING
    RETURNING id, task_pk, created_at
), coalesced AS (
    INSERT INTO poddispatchd.wish (submission_id, task_pk, date_added)
    SELECT intent.id, duplicate.id, duplicate.date_added
      FROM intent
      JOIN duplicate ON duplicate.of_id = intent.task_pk
     WHERE duplicate.status = 'pending' AND duplicate.has_no_id
)
SELECT judged.id, is_scheduled, is_untouched, is_free, may_follow, ahead, wait, next_attempt,
       intent.id AS submission_id, intent.created_at
  FROM judged
  LEFT JOIN intent ON intent.task_pk = judged.id
