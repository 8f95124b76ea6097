-- Fair share: which tasks overtook others of their class, so that nobody is put back for too long.

CREATE TABLE poddispatchd.overtaking (
    task_pk bigint NOT NULL,
    task_type text NOT NULL,
    priority smallint NOT NULL,
    date_added timestamptz NOT NULL,
    share real NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    PRIMARY KEY (task_pk, task_type)
);
COMMENT ON TABLE poddispatchd.overtaking IS
    'Tasks that were given a runner which others of their class could have had, that stand before them in Pod''s order';
COMMENT ON COLUMN poddispatchd.overtaking.task_type IS 'The type of those others: the runner could have taken them';
COMMENT ON COLUMN poddispatchd.overtaking.priority IS 'The class in Pod''s order: 0 priority users, 2 students, 1 the others';
COMMENT ON COLUMN poddispatchd.overtaking.date_added IS 'With the id, the place of the task in its class in Pod''s order';
COMMENT ON COLUMN poddispatchd.overtaking.share IS 'One, divided by the number of runners that worked on tasks of the type';
COMMENT ON COLUMN poddispatchd.overtaking.ended_at IS 'NULL: it has the runner still, as far as is known';
