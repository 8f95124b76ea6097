-- The journal: what poddispatchd must still know after a crash. Pod's own tables are never altered (invariant I2).

CREATE TABLE poddispatchd.submission (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_pk bigint NOT NULL,
    task_type text NOT NULL,
    runner_manager_id bigint NOT NULL,
    attempt integer NOT NULL CHECK (attempt >= 1),
    body bytea NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'accepted', 'refused', 'orphaned', 'lost')),
    posts integer NOT NULL DEFAULT 1,
    task_id text,
    reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz
);
COMMENT ON TABLE poddispatchd.submission IS 'Intents: committed before the POST of a task, settled by its answer (I3)';
COMMENT ON COLUMN poddispatchd.submission.body IS 'The exact bytes posted: the same bytes posted again give the same task back';
CREATE UNIQUE INDEX submission_one_open_per_task ON poddispatchd.submission (task_pk) WHERE state = 'open';
CREATE INDEX submission_by_task ON poddispatchd.submission (task_pk);
CREATE INDEX submission_by_task_id ON poddispatchd.submission (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX submission_unidentified ON poddispatchd.submission (runner_manager_id) WHERE task_id IS NULL;
CREATE INDEX submission_by_settled_at ON poddispatchd.submission (settled_at) WHERE state <> 'open';

CREATE TABLE poddispatchd.callback (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    runner_manager_ids bigint[] NOT NULL,
    task_id text NOT NULL,
    status text NOT NULL,
    error_message text,
    script_output text,
    digest bytea NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'applied', 'ignored', 'orphaned')),
    outcome text,
    attempts integer NOT NULL DEFAULT 0,
    received_at timestamptz NOT NULL DEFAULT now(),
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    handled_at timestamptz
);
COMMENT ON TABLE poddispatchd.callback IS 'Inbox: committed before the callback is answered 2xx (I3)';
COMMENT ON COLUMN poddispatchd.callback.runner_manager_ids IS 'Every manager whose token signed it: one manager may serve several sites';
CREATE UNIQUE INDEX callback_open_once ON poddispatchd.callback (task_id, digest) WHERE state = 'open';
CREATE INDEX callback_open ON poddispatchd.callback (id) WHERE state = 'open';
CREATE INDEX callback_by_handled_at ON poddispatchd.callback (handled_at) WHERE state <> 'open';

CREATE TABLE poddispatchd.import (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_pk bigint NOT NULL,
    runner_manager_id bigint NOT NULL,
    task_id text NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'failed', 'dropped')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    lease_owner text,
    lease_expires_at timestamptz,
    video_id bigint,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    UNIQUE (task_pk, runner_manager_id, task_id)
);
COMMENT ON TABLE poddispatchd.import IS 'Results to bring into Pod: one row a result, one importer at a time (I7)';
COMMENT ON COLUMN poddispatchd.import.video_id IS 'Studio: the id reserved for the new video, so that a redone import makes no second one';
CREATE INDEX import_open ON poddispatchd.import (next_attempt_at) WHERE state = 'open';
CREATE INDEX import_by_finished_at ON poddispatchd.import (finished_at) WHERE state <> 'open';

CREATE TABLE poddispatchd.obsolete_file (
    path text PRIMARY KEY,
    task_pk bigint NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE poddispatchd.obsolete_file IS 'Files under MEDIA_ROOT that a committed import replaced, until they are deleted';

CREATE TABLE poddispatchd.own_task (
    task_pk bigint PRIMARY KEY,
    added_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE poddispatchd.own_task IS 'Tasks that poddispatchd made or put back itself: Pod is not submitting them, so they need no grace';

CREATE TABLE poddispatchd.runner_manager (
    id bigint PRIMARY KEY,
    paused_at timestamptz,
    last_given_at timestamptz
);
COMMENT ON TABLE poddispatchd.runner_manager IS 'What poddispatchd knows of a runner manager beside Pod''s own row';

CREATE TABLE poddispatchd.leader (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    term bigint NOT NULL,
    instance text,
    since timestamptz
);
COMMENT ON TABLE poddispatchd.leader IS 'The scheduler: a new term for each holder of the lock, so that writes of an old one match nothing';
INSERT INTO poddispatchd.leader (term) VALUES (0);
