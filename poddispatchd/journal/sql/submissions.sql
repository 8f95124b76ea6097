-- name: repost
-- Count one more post of an open intent, unless the scheduler's term is over.
UPDATE poddispatchd.submission SET posts = posts + 1
-- KEY SHARE: the lease can be renewed beside it, while the beginning of another term waits for its end.
WHERE id = :submission AND state = 'open' AND EXISTS (SELECT FROM poddispatchd.leader WHERE term = :term FOR KEY SHARE)

-- name: discard
-- Forget an intent that was posted once and surely not carried out; one posted before is kept as refused.
WITH kept AS (
    UPDATE poddispatchd.submission SET state = 'refused', reason = :reason, settled_at = now()
    WHERE id = :submission AND state = 'open' AND posts > 1
)
DELETE FROM poddispatchd.submission WHERE id = :submission AND state = 'open' AND posts = 1

-- name: withdraw
-- Forget an intent that was never posted, unless the scheduler's term is over: then another daemon settles it.
DELETE FROM poddispatchd.submission
WHERE id = :submission AND state = 'open' AND posts = 1 AND EXISTS (SELECT FROM poddispatchd.leader WHERE term = :term FOR KEY SHARE)

-- name: settle
-- Close an open intent.
UPDATE poddispatchd.submission SET state = :state, task_id = :task_id, reason = :reason, settled_at = now()
WHERE id = :submission AND state = 'open'

-- name: abandon
-- Whatever an open intent of this task led to is not wanted any more; the next one differs in its bytes.
UPDATE poddispatchd.submission SET state = 'orphaned', reason = :reason, settled_at = now()
WHERE task_pk = :task AND state = 'open'

-- name: abandon_restarted
-- The same for all tasks that were begun again since they were posted, or are of another type by now: these are other requests.
UPDATE poddispatchd.submission
   SET state = 'orphaned', reason = 'The task was begun again meanwhile.', settled_at = now()
  FROM runner_manager_task AS task
 WHERE submission.state = 'open' AND task.id = submission.task_pk
   AND (task.date_added <> submission.date_added OR task.type <> submission.task_type)

-- name: forget_waiting
-- Tasks that waited for the same source do not end as this one does: a person ends it.
DELETE FROM poddispatchd.wish WHERE submission_id IN (SELECT id FROM poddispatchd.submission WHERE task_pk = :task)

-- name: lose
-- The accepted submission of a task is known to be lost on the runner manager's side.
UPDATE poddispatchd.submission SET state = 'lost', reason = :reason, settled_at = now()
WHERE task_pk = :task AND runner_manager_id = :runner_manager AND task_id = :task_id AND state = 'accepted'

-- name: add_lost
-- A submission that Pod made itself is lost: the next one must differ from it as well.
INSERT INTO poddispatchd.submission
    (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, reason, settled_at, date_added)
SELECT :task, :task_type, :runner_manager, 1 + count(*) FILTER (WHERE state IN ('accepted', 'lost', 'orphaned')), '', 'lost', :task_id, :reason, now(), :date_added
FROM poddispatchd.submission WHERE task_pk = :task
-- Not a second time: whoever was cut off after the first one comes again.
HAVING NOT coalesce(bool_or(runner_manager_id = :runner_manager AND task_id = :task_id), false)

-- name: open_ones
-- Every open intent, oldest first; :ours is NULL where their age does not matter.
SELECT id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, created_at, date_added,
       {age} AS age
FROM poddispatchd.submission WHERE state = 'open' ORDER BY id

-- name: unidentified
-- Submissions to these runner managers whose task id never became known, newest first.
SELECT id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, created_at, date_added
FROM poddispatchd.submission
WHERE runner_manager_id = ANY(:managers::bigint[]) AND state IN ('open', 'refused', 'lost') AND task_id IS NULL
ORDER BY id DESC LIMIT 1000

-- name: with_id
-- The newest submission that one of these runner managers gave this id.
SELECT id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, created_at, reason
FROM poddispatchd.submission WHERE runner_manager_id = ANY(:managers::bigint[]) AND task_id = :task_id
ORDER BY id DESC LIMIT 1

-- name: attempts
-- How often a task was submitted since it was last added, which limits that.
SELECT count(*) FROM poddispatchd.submission
WHERE task_pk = :task AND state IN ('accepted', 'lost') AND date_added = :date_added

-- name: of_task
-- The submissions of one task, oldest first.
SELECT id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, created_at, settled_at, reason
FROM poddispatchd.submission WHERE task_pk = :task ORDER BY id

-- name: purge
-- Forget settled submissions older than so many days, a batch at a time.
DELETE FROM poddispatchd.submission WHERE id IN (
    SELECT id FROM poddispatchd.submission
    WHERE state <> 'open' AND settled_at < now() - make_interval(days => :days) LIMIT :batch
)

-- name: runs_of
-- What the tasks :tasks were submitted as.
SELECT task_pk, runner_manager_id, task_id FROM poddispatchd.submission
WHERE task_pk = ANY (:tasks::bigint[]) AND task_id IS NOT NULL

-- name: taken_for
-- What runner managers took while tasks waited for the same source, each as it was added; the latest first.
SELECT waiting.task_pk AS waiting, submission.task_pk, runner_manager_id, task_id
FROM unnest(:tasks::bigint[], :dates_added::timestamptz[]) AS waiting (task_pk, date_added)
JOIN poddispatchd.wish USING (task_pk, date_added)
JOIN poddispatchd.submission ON submission.id = wish.submission_id
WHERE state IN ('accepted', 'lost')
ORDER BY submission.id DESC
