-- Failures that a person has seen to: not shown any more, unless the task fails once more.

CREATE TABLE poddispatchd.dismissed_failure (
    task_pk bigint PRIMARY KEY,
    date_added timestamptz NOT NULL,
    dismissed_at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL
);
COMMENT ON TABLE poddispatchd.dismissed_failure IS 'Failures that a person has seen to; the tasks stay as they are';
COMMENT ON COLUMN poddispatchd.dismissed_failure.date_added IS
    'The one of its row then: a task that was restarted since, by whomever, has another one and is shown again';
