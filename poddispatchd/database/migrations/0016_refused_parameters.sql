-- Runners fail a task over a parameter that their version does not know; some tasks can do without.

CREATE TABLE poddispatchd.refused_parameter (
    runner_manager_id bigint NOT NULL,
    name text NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (runner_manager_id, name)
);
COMMENT ON TABLE poddispatchd.refused_parameter IS
    'Optional parameters over which runners of a manager failed a task: left out there for some days';
