-- name: tasks
-- The tasks that were submitted, by us or as far as was seen by Pod, under the id :task_id to one of the managers :managers. Pod's
-- own runs are known while they last.
SELECT task_pk FROM poddispatchd.submission WHERE runner_manager_id = ANY(:managers::bigint[]) AND task_id = :task_id
 UNION
SELECT task_pk FROM poddispatchd.sighting WHERE task_id = :task_id
