-- name: tasks
-- The tasks that were submitted, by us or as far as was seen by Pod, under the id $2 to one of the managers $1. Pod's
-- own runs are known while they last.
SELECT task_pk FROM poddispatchd.submission WHERE runner_manager_id = ANY($1::bigint[]) AND task_id = $2
 UNION
SELECT task_pk FROM poddispatchd.sighting WHERE task_id = $2
