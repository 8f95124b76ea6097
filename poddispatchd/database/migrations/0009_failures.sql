-- A runner that is started again works on what it had failed: its manager is asked about failures for a while.

CREATE TABLE poddispatchd.failure (
    task_pk bigint PRIMARY KEY,
    runner_manager_id bigint NOT NULL,
    task_id text NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT now(),
    asked_at timestamptz
);
COMMENT ON TABLE poddispatchd.failure IS 'Runs that ended badly, whoever submitted them: the last one of a task, unless its result was asked for since';
COMMENT ON COLUMN poddispatchd.failure.asked_at IS 'When its manager was last asked whether it has a result after all';
CREATE INDEX failure_by_failed_at ON poddispatchd.failure (failed_at);
