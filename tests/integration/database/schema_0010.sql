-- A database as the release before schema 0011 left it: our schema at version 10, and a task in every stage.
-- Made by that release; Pod's sites, videos 1 to 8 and runner manager 1 are there already.

CREATE SCHEMA poddispatchd;
CREATE TABLE poddispatchd.schema_version (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

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
INSERT INTO poddispatchd.schema_version (version) VALUES (1);

-- What an import puts in place, so that nothing of one that never ends well stays behind; and how long it has waited.

ALTER TABLE poddispatchd.import ADD COLUMN obstructed_since timestamptz;
COMMENT ON COLUMN poddispatchd.import.obstructed_since IS 'Since when something outside the result keeps it from being imported: no space, no manager';

CREATE TABLE poddispatchd.import_file (
    import_id bigint NOT NULL REFERENCES poddispatchd.import (id) ON DELETE CASCADE,
    path text NOT NULL,
    is_new boolean NOT NULL,
    PRIMARY KEY (import_id, path)
);
COMMENT ON TABLE poddispatchd.import_file IS 'Files under MEDIA_ROOT that an uncommitted import puts in place; recorded before the first rename';
COMMENT ON COLUMN poddispatchd.import_file.is_new IS 'Nothing that anybody needs was there before: to be deleted unless the import is committed';
CREATE INDEX import_file_by_path ON poddispatchd.import_file (path);
INSERT INTO poddispatchd.schema_version (version) VALUES (2);

-- Who must still be told what: events are committed with what they tell of, deliveries are tried until they succeed.

CREATE TABLE poddispatchd.notice (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event text NOT NULL CHECK (event IN ('completed', 'failed')),
    task_pk bigint NOT NULL,
    task_type text NOT NULL,
    task_id text,
    video_id bigint,
    recording_id bigint,
    is_reported boolean NOT NULL DEFAULT false,
    words text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE poddispatchd.notice IS 'Events of which nobody has been told yet; a row goes when its deliveries are queued (I6)';
COMMENT ON COLUMN poddispatchd.notice.is_reported IS 'The runner manager reported the failure; otherwise poddispatchd found it';

CREATE TABLE poddispatchd.delivery (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel text NOT NULL CHECK (channel IN ('mail', 'push', 'hook')),
    task_pk bigint NOT NULL,
    content jsonb,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'failed', 'dropped')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz
);
COMMENT ON TABLE poddispatchd.delivery IS 'One mail, one push or one run of the command after an import';
COMMENT ON COLUMN poddispatchd.delivery.content IS 'What is delivered; forgotten as soon as it is settled';
CREATE INDEX delivery_open ON poddispatchd.delivery (channel, next_attempt_at) WHERE state = 'open';
CREATE INDEX delivery_by_settled_at ON poddispatchd.delivery (settled_at) WHERE state <> 'open';
INSERT INTO poddispatchd.schema_version (version) VALUES (3);

-- Behind a pooler no lock of a session tells who schedules: a lease does, by the database's clock.

ALTER TABLE poddispatchd.leader ADD COLUMN lease_expires_at timestamptz;
COMMENT ON COLUMN poddispatchd.leader.lease_expires_at IS
    'Until when the scheduler schedules unless it renews its lease; NULL: whoever holds the advisory lock does';
INSERT INTO poddispatchd.schema_version (version) VALUES (4);

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
INSERT INTO poddispatchd.schema_version (version) VALUES (5);

-- A role called poddispatchd, which the README proposes, has our schema first in its search_path ("$user"): no table
-- of ours may be called as one of Pod's, or it is found in its place.

ALTER TABLE poddispatchd.runner_manager RENAME TO manager_state;
ALTER INDEX poddispatchd.runner_manager_pkey RENAME TO manager_state_pkey;
INSERT INTO poddispatchd.schema_version (version) VALUES (6);

-- Files are deleted outside of any transaction: whoever does it says so, until it is done or has died.

ALTER TABLE poddispatchd.obsolete_file ADD COLUMN claimed_by text, ADD COLUMN claimed_until timestamptz;
COMMENT ON COLUMN poddispatchd.obsolete_file.claimed_by IS 'The instance that is deleting it; no import puts it in place again meanwhile';
INSERT INTO poddispatchd.schema_version (version) VALUES (7);

-- A task that goes back into the queue waits there: what spoilt its run may pass with time.

ALTER TABLE poddispatchd.own_task ADD COLUMN not_before timestamptz, ADD COLUMN date_added timestamptz;
COMMENT ON COLUMN poddispatchd.own_task.not_before IS 'Until when a task that was put back is not submitted';
COMMENT ON COLUMN poddispatchd.own_task.date_added IS
    'The one of its row then: a task that was restarted meanwhile, by whomever, has another one and does not wait';
INSERT INTO poddispatchd.schema_version (version) VALUES (8);

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
INSERT INTO poddispatchd.schema_version (version) VALUES (9);

-- Whether a task was added before a run began, or again after it: Pod's clock and the database's may differ.

ALTER TABLE poddispatchd.submission ADD COLUMN date_added timestamptz;
COMMENT ON COLUMN poddispatchd.submission.date_added IS
    'The one of its row then: a task that was restarted meanwhile, by whomever, has another one';

CREATE TABLE poddispatchd.wish (
    task_pk bigint NOT NULL,
    submission_id bigint NOT NULL REFERENCES poddispatchd.submission ON DELETE CASCADE,
    date_added timestamptz NOT NULL,
    PRIMARY KEY (task_pk, submission_id)
);
COMMENT ON TABLE poddispatchd.wish IS 'Tasks that waited for the same source when another one was submitted for all';
CREATE INDEX wish_by_submission ON poddispatchd.wish (submission_id);
INSERT INTO poddispatchd.schema_version (version) VALUES (10);

-- 1 waits and needs no grace; 2 runs; 3 runs, its callback is in the inbox; 4 was posted, its answer was lost;
-- 5 has a result whose importer died; 6 is completed; 7 timed out and is to be told; 8 waits after a lost run;
-- 9 waits for the source that runs for 2.
INSERT INTO poddispatchd.submission (id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, reason, created_at, settled_at, date_added) OVERRIDING SYSTEM VALUE
VALUES (1, 4, 'encoding', 1, 1, '\x7b22657461625f6e616d65223a2022556e6976657273697479206e616d65202f20506f64222c20226170705f6e616d65223a2022457375702d506f64222c20226170705f76657273696f6e223a2022342e332e30222c20227461736b5f74797065223a2022656e636f64696e67222c2022736f757263655f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f6d656469612f766964656f732f383965373364386563373861366362323432656465356330323833656436633437373033623535643932313363663433306566356134633334623236303433632f6c6563747572652d332e6d7034222c20226e6f746966795f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f72756e6e65722f6e6f746966795f7461736b5f656e642f222c2022706172616d6574657273223a207b2272656e646974696f6e223a20227b5c223336305c223a207b5c227265736f6c7574696f6e5c223a205c22363430783336305c222c205c22766964656f5f626974726174655c223a205c223735306b5c222c205c22617564696f5f626974726174655c223a205c2239366b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c223732305c223a207b5c227265736f6c7574696f6e5c223a205c2231323830783732305c222c205c22766964656f5f626974726174655c223a205c22323030306b5c222c205c22617564696f5f626974726174655c223a205c223132386b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c22313038305c223a207b5c227265736f6c7574696f6e5c223a205c223139323078313038305c222c205c22766964656f5f626974726174655c223a205c22333030306b5c222c205c22617564696f5f626974726174655c223a205c223139326b5c222c205c22656e636f64655f6d70345c223a2066616c73657d7d222c2022766964656f5f6964223a20342c2022766964656f5f736c7567223a2022303030342d6c6563747572652d33222c2022766964656f5f7469746c65223a20224c6563747572652033227d7d', 'open', 1, NULL, NULL, '2026-11-28T18:41:59.068352+00:00', NULL, '2026-11-28T18:41:58.349878+00:00');
INSERT INTO poddispatchd.submission (id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, reason, created_at, settled_at, date_added) OVERRIDING SYSTEM VALUE
VALUES (2, 2, 'encoding', 1, 1, '\x7b22657461625f6e616d65223a2022556e6976657273697479206e616d65202f20506f64222c20226170705f6e616d65223a2022457375702d506f64222c20226170705f76657273696f6e223a2022342e332e30222c20227461736b5f74797065223a2022656e636f64696e67222c2022736f757263655f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f6d656469612f766964656f732f383965373364386563373861366362323432656465356330323833656436633437373033623535643932313363663433306566356134633334623236303433632f6c6563747572652d312e6d7034222c20226e6f746966795f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f72756e6e65722f6e6f746966795f7461736b5f656e642f222c2022706172616d6574657273223a207b2272656e646974696f6e223a20227b5c223336305c223a207b5c227265736f6c7574696f6e5c223a205c22363430783336305c222c205c22766964656f5f626974726174655c223a205c223735306b5c222c205c22617564696f5f626974726174655c223a205c2239366b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c223732305c223a207b5c227265736f6c7574696f6e5c223a205c2231323830783732305c222c205c22766964656f5f626974726174655c223a205c22323030306b5c222c205c22617564696f5f626974726174655c223a205c223132386b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c22313038305c223a207b5c227265736f6c7574696f6e5c223a205c223139323078313038305c222c205c22766964656f5f626974726174655c223a205c22333030306b5c222c205c22617564696f5f626974726174655c223a205c223139326b5c222c205c22656e636f64655f6d70345c223a2066616c73657d7d222c2022766964656f5f6964223a20322c2022766964656f5f736c7567223a2022303030322d6c6563747572652d31222c2022766964656f5f7469746c65223a20224c6563747572652031227d7d', 'accepted', 1, '67c4b7ec-25be-4b05-aea2-a4666efa357d', NULL, '2026-11-28T18:41:59.131481+00:00', '2026-11-28T18:41:59.147623+00:00', '2026-11-28T18:41:58.341980+00:00');
INSERT INTO poddispatchd.submission (id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, reason, created_at, settled_at, date_added) OVERRIDING SYSTEM VALUE
VALUES (3, 3, 'encoding', 1, 1, '\x7b22657461625f6e616d65223a2022556e6976657273697479206e616d65202f20506f64222c20226170705f6e616d65223a2022457375702d506f64222c20226170705f76657273696f6e223a2022342e332e30222c20227461736b5f74797065223a2022656e636f64696e67222c2022736f757263655f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f6d656469612f766964656f732f383965373364386563373861366362323432656465356330323833656436633437373033623535643932313363663433306566356134633334623236303433632f6c6563747572652d322e6d7034222c20226e6f746966795f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f72756e6e65722f6e6f746966795f7461736b5f656e642f222c2022706172616d6574657273223a207b2272656e646974696f6e223a20227b5c223336305c223a207b5c227265736f6c7574696f6e5c223a205c22363430783336305c222c205c22766964656f5f626974726174655c223a205c223735306b5c222c205c22617564696f5f626974726174655c223a205c2239366b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c223732305c223a207b5c227265736f6c7574696f6e5c223a205c2231323830783732305c222c205c22766964656f5f626974726174655c223a205c22323030306b5c222c205c22617564696f5f626974726174655c223a205c223132386b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c22313038305c223a207b5c227265736f6c7574696f6e5c223a205c223139323078313038305c222c205c22766964656f5f626974726174655c223a205c22333030306b5c222c205c22617564696f5f626974726174655c223a205c223139326b5c222c205c22656e636f64655f6d70345c223a2066616c73657d7d222c2022766964656f5f6964223a20332c2022766964656f5f736c7567223a2022303030332d6c6563747572652d32222c2022766964656f5f7469746c65223a20224c6563747572652032227d7d', 'accepted', 1, 'e0b00e02-d67e-481c-b269-46105b52cf56', NULL, '2026-11-28T18:41:59.257102+00:00', '2026-11-28T18:41:59.281942+00:00', '2026-11-28T18:41:58.345088+00:00');
INSERT INTO poddispatchd.submission (id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, reason, created_at, settled_at, date_added) OVERRIDING SYSTEM VALUE
VALUES (4, 5, 'encoding', 1, 1, '\x7b22657461625f6e616d65223a2022556e6976657273697479206e616d65202f20506f64222c20226170705f6e616d65223a2022457375702d506f64222c20226170705f76657273696f6e223a2022342e332e30222c20227461736b5f74797065223a2022656e636f64696e67222c2022736f757263655f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f6d656469612f766964656f732f383965373364386563373861366362323432656465356330323833656436633437373033623535643932313363663433306566356134633334623236303433632f6c6563747572652d342e6d7034222c20226e6f746966795f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f72756e6e65722f6e6f746966795f7461736b5f656e642f222c2022706172616d6574657273223a207b2272656e646974696f6e223a20227b5c223336305c223a207b5c227265736f6c7574696f6e5c223a205c22363430783336305c222c205c22766964656f5f626974726174655c223a205c223735306b5c222c205c22617564696f5f626974726174655c223a205c2239366b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c223732305c223a207b5c227265736f6c7574696f6e5c223a205c2231323830783732305c222c205c22766964656f5f626974726174655c223a205c22323030306b5c222c205c22617564696f5f626974726174655c223a205c223132386b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c22313038305c223a207b5c227265736f6c7574696f6e5c223a205c223139323078313038305c222c205c22766964656f5f626974726174655c223a205c22333030306b5c222c205c22617564696f5f626974726174655c223a205c223139326b5c222c205c22656e636f64655f6d70345c223a2066616c73657d7d222c2022766964656f5f6964223a20352c2022766964656f5f736c7567223a2022303030352d6c6563747572652d34222c2022766964656f5f7469746c65223a20224c6563747572652034227d7d', 'accepted', 1, '7371af36-29b8-454b-9c9c-f34a15fbfa39', NULL, '2026-11-28T18:41:59.345042+00:00', '2026-11-28T18:41:59.352502+00:00', '2026-11-28T18:41:58.355849+00:00');
INSERT INTO poddispatchd.submission (id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, reason, created_at, settled_at, date_added) OVERRIDING SYSTEM VALUE
VALUES (5, 6, 'encoding', 1, 1, '\x7b22657461625f6e616d65223a2022556e6976657273697479206e616d65202f20506f64222c20226170705f6e616d65223a2022457375702d506f64222c20226170705f76657273696f6e223a2022342e332e30222c20227461736b5f74797065223a2022656e636f64696e67222c2022736f757263655f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f6d656469612f766964656f732f383965373364386563373861366362323432656465356330323833656436633437373033623535643932313363663433306566356134633334623236303433632f6c6563747572652d352e6d7034222c20226e6f746966795f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f72756e6e65722f6e6f746966795f7461736b5f656e642f222c2022706172616d6574657273223a207b2272656e646974696f6e223a20227b5c223336305c223a207b5c227265736f6c7574696f6e5c223a205c22363430783336305c222c205c22766964656f5f626974726174655c223a205c223735306b5c222c205c22617564696f5f626974726174655c223a205c2239366b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c223732305c223a207b5c227265736f6c7574696f6e5c223a205c2231323830783732305c222c205c22766964656f5f626974726174655c223a205c22323030306b5c222c205c22617564696f5f626974726174655c223a205c223132386b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c22313038305c223a207b5c227265736f6c7574696f6e5c223a205c223139323078313038305c222c205c22766964656f5f626974726174655c223a205c22333030306b5c222c205c22617564696f5f626974726174655c223a205c223139326b5c222c205c22656e636f64655f6d70345c223a2066616c73657d7d222c2022766964656f5f6964223a20362c2022766964656f5f736c7567223a2022303030362d6c6563747572652d35222c2022766964656f5f7469746c65223a20224c6563747572652035227d7d', 'accepted', 1, 'd0e41e48-0c7e-4e75-b173-ccf5d3678cee', NULL, '2026-11-28T18:41:59.391105+00:00', '2026-11-28T18:41:59.393852+00:00', '2026-11-28T18:41:58.369650+00:00');
INSERT INTO poddispatchd.submission (id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, reason, created_at, settled_at, date_added) OVERRIDING SYSTEM VALUE
VALUES (6, 7, 'encoding', 1, 1, '\x7b22657461625f6e616d65223a2022556e6976657273697479206e616d65202f20506f64222c20226170705f6e616d65223a2022457375702d506f64222c20226170705f76657273696f6e223a2022342e332e30222c20227461736b5f74797065223a2022656e636f64696e67222c2022736f757263655f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f6d656469612f766964656f732f383965373364386563373861366362323432656465356330323833656436633437373033623535643932313363663433306566356134633334623236303433632f6c6563747572652d362e6d7034222c20226e6f746966795f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f72756e6e65722f6e6f746966795f7461736b5f656e642f222c2022706172616d6574657273223a207b2272656e646974696f6e223a20227b5c223336305c223a207b5c227265736f6c7574696f6e5c223a205c22363430783336305c222c205c22766964656f5f626974726174655c223a205c223735306b5c222c205c22617564696f5f626974726174655c223a205c2239366b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c223732305c223a207b5c227265736f6c7574696f6e5c223a205c2231323830783732305c222c205c22766964656f5f626974726174655c223a205c22323030306b5c222c205c22617564696f5f626974726174655c223a205c223132386b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c22313038305c223a207b5c227265736f6c7574696f6e5c223a205c223139323078313038305c222c205c22766964656f5f626974726174655c223a205c22333030306b5c222c205c22617564696f5f626974726174655c223a205c223139326b5c222c205c22656e636f64655f6d70345c223a2066616c73657d7d222c2022766964656f5f6964223a20372c2022766964656f5f736c7567223a2022303030372d6c6563747572652d36222c2022766964656f5f7469746c65223a20224c6563747572652036227d7d', 'accepted', 1, '1835817a-3615-4db1-b1dd-085a43ae0d26', NULL, '2026-11-28T18:41:59.455801+00:00', '2026-11-28T18:41:59.461162+00:00', '2026-11-28T18:41:58.371348+00:00');
INSERT INTO poddispatchd.submission (id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, reason, created_at, settled_at, date_added) OVERRIDING SYSTEM VALUE
VALUES (7, 8, 'encoding', 1, 1, '\x7b22657461625f6e616d65223a2022556e6976657273697479206e616d65202f20506f64222c20226170705f6e616d65223a2022457375702d506f64222c20226170705f76657273696f6e223a2022342e332e30222c20227461736b5f74797065223a2022656e636f64696e67222c2022736f757263655f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f6d656469612f766964656f732f383965373364386563373861366362323432656465356330323833656436633437373033623535643932313363663433306566356134633334623236303433632f6c6563747572652d372e6d7034222c20226e6f746966795f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f72756e6e65722f6e6f746966795f7461736b5f656e642f222c2022706172616d6574657273223a207b2272656e646974696f6e223a20227b5c223336305c223a207b5c227265736f6c7574696f6e5c223a205c22363430783336305c222c205c22766964656f5f626974726174655c223a205c223735306b5c222c205c22617564696f5f626974726174655c223a205c2239366b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c223732305c223a207b5c227265736f6c7574696f6e5c223a205c2231323830783732305c222c205c22766964656f5f626974726174655c223a205c22323030306b5c222c205c22617564696f5f626974726174655c223a205c223132386b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c22313038305c223a207b5c227265736f6c7574696f6e5c223a205c223139323078313038305c222c205c22766964656f5f626974726174655c223a205c22333030306b5c222c205c22617564696f5f626974726174655c223a205c223139326b5c222c205c22656e636f64655f6d70345c223a2066616c73657d7d222c2022766964656f5f6964223a20382c2022766964656f5f736c7567223a2022303030382d6c6563747572652d37222c2022766964656f5f7469746c65223a20224c6563747572652037227d7d', 'lost', 1, '3b175420-4a44-479a-b520-fc0345012f84', 'It was lost.', '2026-11-28T18:41:59.491926+00:00', '2026-11-28T18:41:59.583744+00:00', '2026-11-28T18:41:58.376923+00:00');
INSERT INTO poddispatchd.wish (task_pk, submission_id, date_added)
VALUES (9, 2, '2026-11-28T18:41:59.108470+00:00');
INSERT INTO poddispatchd.own_task (task_pk, added_at, not_before, date_added)
VALUES (1, '2026-11-28T18:41:58.950810+00:00', NULL, NULL);
INSERT INTO poddispatchd.own_task (task_pk, added_at, not_before, date_added)
VALUES (8, '2026-11-28T18:41:59.583744+00:00', '2026-11-28T18:42:09.583744+00:00', '2026-11-28T18:41:58.376923+00:00');
INSERT INTO poddispatchd.callback (id, runner_manager_ids, task_id, status, error_message, script_output, digest, state, outcome, attempts, received_at, next_attempt_at, handled_at) OVERRIDING SYSTEM VALUE
VALUES (1, '{1}', 'e0b00e02-d67e-481c-b269-46105b52cf56', 'timeout', 'It took too long.', 'some output', '\xe476e609d68e0a7d3f81e2464a08fe383045e1c9d8b1dff75e975a69c5fb375a', 'open', NULL, 0, '2026-11-28T18:41:59.560120+00:00', '2026-11-28T18:41:59.560120+00:00', NULL);
INSERT INTO poddispatchd.import (id, task_pk, runner_manager_id, task_id, state, attempts, next_attempt_at, lease_owner, lease_expires_at, video_id, last_error, created_at, finished_at, obstructed_since) OVERRIDING SYSTEM VALUE
VALUES (1, 5, 1, '7371af36-29b8-454b-9c9c-f34a15fbfa39', 'open', 1, '2026-11-28T18:41:59.560917+00:00', 'elsewhere:1:1', '2026-11-27T18:42:19.561547+00:00', NULL, NULL, '2026-11-28T18:41:59.560917+00:00', NULL, NULL);
INSERT INTO poddispatchd.import (id, task_pk, runner_manager_id, task_id, state, attempts, next_attempt_at, lease_owner, lease_expires_at, video_id, last_error, created_at, finished_at, obstructed_since) OVERRIDING SYSTEM VALUE
VALUES (2, 6, 1, 'd0e41e48-0c7e-4e75-b173-ccf5d3678cee', 'done', 0, '2026-11-28T18:41:59.566294+00:00', NULL, NULL, NULL, NULL, '2026-11-28T18:41:59.566294+00:00', '2026-11-28T18:41:59.568075+00:00', NULL);
INSERT INTO poddispatchd.obsolete_file (path, task_pk, added_at, claimed_by, claimed_until)
VALUES ('videos/old.mp4', 6, '2026-11-28T18:41:59.575934+00:00', NULL, NULL);
INSERT INTO poddispatchd.failure (task_pk, runner_manager_id, task_id, failed_at, asked_at)
VALUES (7, 1, '1835817a-3615-4db1-b1dd-085a43ae0d26', '2026-11-28T18:41:59.583744+00:00', NULL);
INSERT INTO poddispatchd.notice (id, event, task_pk, task_type, task_id, video_id, recording_id, is_reported, words, created_at) OVERRIDING SYSTEM VALUE
VALUES (1, 'failed', 7, 'encoding', '1835817a-3615-4db1-b1dd-085a43ae0d26', 7, NULL, true, 'It took too long.', '2026-11-28T18:41:59.583744+00:00');
INSERT INTO poddispatchd.delivery (id, channel, task_pk, content, state, attempts, next_attempt_at, last_error, created_at, settled_at) OVERRIDING SYSTEM VALUE
VALUES (1, 'mail', 7, '{}', 'open', 0, '2026-11-28T18:41:59.602312+00:00', NULL, '2026-11-28T18:41:59.602312+00:00', NULL);
INSERT INTO poddispatchd.manager_state (id, paused_at, last_given_at)
VALUES (1, NULL, '2026-11-28T18:41:59.504983+00:00');
UPDATE poddispatchd.leader SET term = 1, instance = 'elsewhere:1:1', since = '2026-11-28T18:41:58.892012+00:00';
INSERT INTO runner_manager_task (id, type, status, task_id, runner_manager_id, date_added, rank, script_output, video_id)
VALUES (1, 'encoding', 'pending', NULL, NULL, '2026-11-28T18:41:58.331247+00:00', NULL, NULL, 1);
INSERT INTO runner_manager_task (id, type, status, task_id, runner_manager_id, date_added, rank, script_output, video_id)
VALUES (2, 'encoding', 'running', '67c4b7ec-25be-4b05-aea2-a4666efa357d', 1, '2026-11-28T18:41:58.341980+00:00', NULL, NULL, 2);
INSERT INTO runner_manager_task (id, type, status, task_id, runner_manager_id, date_added, rank, script_output, video_id)
VALUES (3, 'encoding', 'running', 'e0b00e02-d67e-481c-b269-46105b52cf56', 1, '2026-11-28T18:41:58.345088+00:00', NULL, NULL, 3);
INSERT INTO runner_manager_task (id, type, status, task_id, runner_manager_id, date_added, rank, script_output, video_id)
VALUES (4, 'encoding', 'pending', NULL, NULL, '2026-11-28T18:41:58.349878+00:00', NULL, NULL, 4);
INSERT INTO runner_manager_task (id, type, status, task_id, runner_manager_id, date_added, rank, script_output, video_id)
VALUES (5, 'encoding', 'running', '7371af36-29b8-454b-9c9c-f34a15fbfa39', 1, '2026-11-28T18:41:58.355849+00:00', NULL, NULL, 5);
INSERT INTO runner_manager_task (id, type, status, task_id, runner_manager_id, date_added, rank, script_output, video_id)
VALUES (6, 'encoding', 'completed', 'd0e41e48-0c7e-4e75-b173-ccf5d3678cee', 1, '2026-11-28T18:41:58.369650+00:00', NULL, NULL, 6);
INSERT INTO runner_manager_task (id, type, status, task_id, runner_manager_id, date_added, rank, script_output, video_id)
VALUES (7, 'encoding', 'timeout', '1835817a-3615-4db1-b1dd-085a43ae0d26', 1, '2026-11-28T18:41:58.371348+00:00', NULL, 'It took too long.
---
', 7);
INSERT INTO runner_manager_task (id, type, status, task_id, runner_manager_id, date_added, rank, script_output, video_id)
VALUES (8, 'encoding', 'pending', NULL, NULL, '2026-11-28T18:41:58.376923+00:00', NULL, NULL, 8);
INSERT INTO runner_manager_task (id, type, status, task_id, runner_manager_id, date_added, rank, script_output, video_id)
VALUES (9, 'encoding', 'pending', NULL, NULL, '2026-11-28T18:41:59.108470+00:00', NULL, NULL, 2);
SELECT setval(pg_get_serial_sequence('poddispatchd.submission', 'id'), 100);
SELECT setval(pg_get_serial_sequence('poddispatchd.callback', 'id'), 100);
SELECT setval(pg_get_serial_sequence('poddispatchd.import', 'id'), 100);
SELECT setval(pg_get_serial_sequence('poddispatchd.notice', 'id'), 100);
SELECT setval(pg_get_serial_sequence('poddispatchd.delivery', 'id'), 100);
SELECT setval(pg_get_serial_sequence('runner_manager_task', 'id'), 100);
