-- What people did: kept beside what the daemon did, for whoever asks later who ended a task or paused a manager.

CREATE TABLE poddispatchd.act (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    act text NOT NULL CHECK (act IN ('restart', 'cancel', 'pause', 'resume')),
    task_pk bigint,
    runner_manager_id bigint,
    status_before text
);
COMMENT ON TABLE poddispatchd.act IS 'Acts of people: who did what to which task or runner manager, and from where';
COMMENT ON COLUMN poddispatchd.act.actor IS 'The account and the machine from which the command was given';
CREATE INDEX act_by_task ON poddispatchd.act (task_pk) WHERE task_pk IS NOT NULL;
CREATE INDEX act_by_at ON poddispatchd.act (at);
