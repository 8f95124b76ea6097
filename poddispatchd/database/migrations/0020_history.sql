-- What tasks took: the latest runs one by one, from which it is reckoned how long those to come will take, and sums by
-- day for reports. Both are bounded: runs by days and by number, days by number.

CREATE TABLE poddispatchd.ended_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_pk bigint NOT NULL,
    task_type text NOT NULL,
    status text NOT NULL,
    runner_manager_id bigint,
    owner_id bigint,
    priority smallint NOT NULL,
    waited real,
    ran real,
    source_seconds integer,
    source_bytes bigint,
    ended_at timestamptz NOT NULL
);
COMMENT ON TABLE poddispatchd.ended_run IS 'Tasks that ended in the last weeks, however and whoever submitted them';
COMMENT ON COLUMN poddispatchd.ended_run.owner_id IS 'The user whose video or recording it was';
COMMENT ON COLUMN poddispatchd.ended_run.priority IS 'The class in Pod''s order: 0 priority users, 2 students, 1 the others';
COMMENT ON COLUMN poddispatchd.ended_run.waited IS 'Seconds from date_added to the beginning of the run; NULL: not seen';
COMMENT ON COLUMN poddispatchd.ended_run.ran IS 'Seconds from the beginning of the run to the end of the task; NULL: not seen';
CREATE INDEX ended_run_by_type ON poddispatchd.ended_run (task_type, ended_at);

CREATE TABLE poddispatchd.day_of_tasks (
    day date NOT NULL,
    task_type text NOT NULL,
    runner_manager_id bigint NOT NULL,
    completed integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    waits integer NOT NULL DEFAULT 0,
    waited double precision NOT NULL DEFAULT 0,
    runs integer NOT NULL DEFAULT 0,
    ran double precision NOT NULL DEFAULT 0,
    source_seconds double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (day, task_type, runner_manager_id)
);
COMMENT ON TABLE poddispatchd.day_of_tasks IS 'Tasks that ended on a day, in Pod''s time zone; those of before the first start on the day they were added';
COMMENT ON COLUMN poddispatchd.day_of_tasks.runner_manager_id IS '0: none';
COMMENT ON COLUMN poddispatchd.day_of_tasks.failed IS 'Failed or timed out';
COMMENT ON COLUMN poddispatchd.day_of_tasks.waits IS 'Of how many tasks the wait is known; runs likewise';
