-- Each look at the queue asks which tasks are new here, or wait: after a restart of many it read them all.

CREATE INDEX own_task_by_time ON poddispatchd.own_task (added_at);
CREATE INDEX own_task_put_back ON poddispatchd.own_task (not_before) WHERE not_before IS NOT NULL;
