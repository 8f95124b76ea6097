-- Since when tasks are known to run: whoever asks about them may be started again and again, as from a CRON line.

CREATE TABLE poddispatchd.sighting (
    task_pk bigint PRIMARY KEY,
    task_id text,
    seen_at timestamptz NOT NULL DEFAULT now(),
    missing_runner text,
    missing_since timestamptz,
    is_stale boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE poddispatchd.sighting IS 'Running tasks under one id: forgotten when the task has ended, or has another id';
COMMENT ON COLUMN poddispatchd.sighting.missing_runner IS 'The runner that works on it, if its manager does not list it as online';
COMMENT ON COLUMN poddispatchd.sighting.is_stale IS 'That it runs for too long has been told';
