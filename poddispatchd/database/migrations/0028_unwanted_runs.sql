-- Runs that nobody wants any more and that could not be stopped at once: they are asked to stop again and again.

CREATE TABLE poddispatchd.unwanted_run (
    runner_manager_id bigint NOT NULL,
    task_id text NOT NULL,
    task_pk bigint NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    requests integer NOT NULL DEFAULT 0,
    next_request_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (runner_manager_id, task_id)
);
COMMENT ON TABLE poddispatchd.unwanted_run IS
    'Runs that belong to no row any more and occupy a runner until they are stopped';
