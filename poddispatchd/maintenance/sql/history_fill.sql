-- What was before the first start of all, for the history. Tables of a million rows are walked through, some rows in each
-- statement: none of these takes long. The rows of a window stand behind task :after, up to task :up_to, in each table: so
-- each is read by its index on tasks.

-- name: next_submissions
-- Up to which task the :limit submissions behind those of task :after go; NULL: there are none.
SELECT max(task_pk) FROM (
    SELECT task_pk FROM poddispatchd.submission WHERE task_pk > :after::bigint ORDER BY task_pk LIMIT :limit) AS looked_at

-- name: fill_runs
-- The runs of a window that ended in the last :days days and of which the journal of before knows the beginning and the
-- end, with what Pod's rows tell of them; those that are kept already are left out: whoever was cut off has kept some.
INSERT INTO poddispatchd.ended_run (task_pk, task_type, status, runner_manager_id, owner_id, priority, waited, ran,
                                    source_seconds, ended_at)
SELECT task.id, task.type, task.status, task.runner_manager_id, coalesce(video.owner_id, recording.user_id), 1,
       greatest(0, extract(epoch FROM known.begun) - extract(epoch FROM task.date_added)),
       greatest(0, extract(epoch FROM known.ended - known.begun)), nullif(video.duration, 0), known.ended
  -- Its last run: those before came to nothing.
  FROM (SELECT DISTINCT ON (submission.task_pk) submission.task_pk,
               coalesce(submission.settled_at, submission.created_at) AS begun,
               coalesce(import.finished_at, failure.failed_at) AS ended
          FROM poddispatchd.submission
          LEFT JOIN poddispatchd.import
            ON import.task_pk = submission.task_pk AND import.runner_manager_id = submission.runner_manager_id
           AND import.task_id = submission.task_id AND import.task_pk > :after::bigint AND import.task_pk <= :up_to::bigint
          LEFT JOIN poddispatchd.failure
            ON failure.task_pk = submission.task_pk AND failure.runner_manager_id = submission.runner_manager_id
           AND failure.task_id = submission.task_id AND failure.task_pk > :after::bigint AND failure.task_pk <= :up_to::bigint
         WHERE submission.state = 'accepted'
           AND submission.task_pk > :after::bigint AND submission.task_pk <= :up_to::bigint
         ORDER BY submission.task_pk, submission.id DESC) AS known
  JOIN runner_manager_task AS task ON task.id = known.task_pk
  LEFT JOIN video_video AS video ON video.id = task.video_id
  LEFT JOIN recorder_recording AS recording ON recording.id = task.recording_id
 WHERE task.id > :after::bigint AND task.id <= :up_to::bigint
   AND task.status IN ('completed', 'failed', 'timeout') AND known.ended > now() - make_interval(days => :days)
   AND NOT EXISTS (SELECT FROM poddispatchd.ended_run AS kept
                    WHERE kept.task_type = task.type AND kept.ended_at = known.ended AND kept.task_pk = task.id)
 ORDER BY known.ended

-- name: days
-- How many tasks of a window have ended, on the days on which they were added (Pod's table does not tell when they ended),
-- of the last :days days in the zone :time_zone, those older than :day_by_day on the Mondays of their weeks.
SELECT CASE WHEN day < date_trunc('week', current_date - :day_by_day::integer) THEN date_trunc('week', day) ELSE day END::date AS day,
       task_type, manager, sum(completed)::integer AS completed, sum(failed)::integer AS failed
  FROM (SELECT (date_added AT TIME ZONE :time_zone)::date AS day, type AS task_type, coalesce(runner_manager_id, 0) AS manager,
               count(*) FILTER (WHERE status = 'completed') AS completed,
               count(*) FILTER (WHERE status <> 'completed') AS failed
          FROM runner_manager_task
         WHERE id > :after::bigint AND id <= :up_to::bigint
           AND status IN ('completed', 'failed', 'timeout') AND date_added > now() - make_interval(days => :days)
         GROUP BY 1, 2, 3) AS found
 GROUP BY 1, 2, 3

-- name: fill_days
-- These sums of days, with the waits and runs that were found out, on the days on which they ended. Another scheduler
-- may have been quicker.
INSERT INTO poddispatchd.day_of_tasks
       (day, task_type, runner_manager_id, completed, failed, waits, waited, runs, ran, source_seconds)
SELECT day, task_type, manager, sum(completed), sum(failed), sum(waits), sum(waited), sum(runs), sum(ran), sum(source_seconds)
  FROM (SELECT day, task_type, manager, completed, failed, 0 AS waits, 0 AS waited, 0 AS runs, 0 AS ran, 0 AS source_seconds
          FROM unnest(:days::date[], :types::text[], :managers::bigint[], :completed::integer[], :failed::integer[])
               AS added (day, task_type, manager, completed, failed)
         UNION ALL
        SELECT (ended_at AT TIME ZONE :time_zone)::date, task_type, coalesce(runner_manager_id, 0), 0, 0, count(waited),
               coalesce(sum(waited), 0), count(ran), coalesce(sum(ran), 0),
               coalesce(sum(source_seconds) FILTER (WHERE ran IS NOT NULL), 0)
          FROM poddispatchd.ended_run GROUP BY 1, 2, 3) AS found
 GROUP BY 1, 2, 3
ON CONFLICT DO NOTHING
