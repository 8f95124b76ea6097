-- A database as the release with schema 0018 left it: our schema at version 18, and a task in every stage.
-- Made by that release; Pod's sites, videos 1 to 8 and runner manager 1 are there already.

CREATE SCHEMA poddispatchd;
CREATE TABLE poddispatchd.act (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    actor text NOT NULL,
    act text NOT NULL,
    task_pk bigint,
    runner_manager_id bigint,
    status_before text,
    CONSTRAINT act_act_check CHECK ((act = ANY (ARRAY['restart'::text, 'cancel'::text, 'pause'::text, 'resume'::text])))
);
COMMENT ON TABLE poddispatchd.act IS 'Acts of people: who did what to which task or runner manager, and from where';
COMMENT ON COLUMN poddispatchd.act.actor IS 'The account and the machine from which the command was given';
ALTER TABLE poddispatchd.act ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME poddispatchd.act_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE poddispatchd.callback (
    id bigint NOT NULL,
    runner_manager_ids bigint[] NOT NULL,
    task_id text NOT NULL,
    status text NOT NULL,
    error_message text,
    script_output text,
    digest bytea NOT NULL,
    state text DEFAULT 'open'::text NOT NULL,
    outcome text,
    attempts integer DEFAULT 0 NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now() NOT NULL,
    handled_at timestamp with time zone,
    lease_owner text,
    lease_expires_at timestamp with time zone,
    last_error text,
    CONSTRAINT callback_state_check CHECK ((state = ANY (ARRAY['open'::text, 'applied'::text, 'ignored'::text, 'orphaned'::text, 'set_aside'::text])))
);
COMMENT ON TABLE poddispatchd.callback IS 'Inbox: committed before the callback is answered 2xx (I3)';
COMMENT ON COLUMN poddispatchd.callback.runner_manager_ids IS 'Every manager whose token signed it: one manager may serve several sites';
ALTER TABLE poddispatchd.callback ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME poddispatchd.callback_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE poddispatchd.delivery (
    id bigint NOT NULL,
    channel text NOT NULL,
    task_pk bigint NOT NULL,
    content jsonb,
    state text DEFAULT 'open'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now() NOT NULL,
    last_error text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    settled_at timestamp with time zone,
    lease_owner text,
    lease_expires_at timestamp with time zone,
    CONSTRAINT delivery_channel_check CHECK ((channel = ANY (ARRAY['mail'::text, 'push'::text, 'hook'::text]))),
    CONSTRAINT delivery_state_check CHECK ((state = ANY (ARRAY['open'::text, 'done'::text, 'failed'::text, 'dropped'::text, 'set_aside'::text])))
);
COMMENT ON TABLE poddispatchd.delivery IS 'One mail, one push or one run of the command after an import';
COMMENT ON COLUMN poddispatchd.delivery.content IS 'What is delivered; forgotten as soon as it is settled';
ALTER TABLE poddispatchd.delivery ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME poddispatchd.delivery_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE poddispatchd.failure (
    task_pk bigint NOT NULL,
    runner_manager_id bigint NOT NULL,
    task_id text NOT NULL,
    failed_at timestamp with time zone DEFAULT now() NOT NULL,
    asked_at timestamp with time zone,
    digest bytea
);
COMMENT ON TABLE poddispatchd.failure IS 'Runs that ended badly, whoever submitted them: the last one of a task, unless its result was asked for since';
COMMENT ON COLUMN poddispatchd.failure.asked_at IS 'When its manager was last asked whether it has a result after all';
COMMENT ON COLUMN poddispatchd.failure.digest IS 'SHA-256 of the words of the failure without numbers; NULL for one that poddispatchd found itself';
CREATE TABLE poddispatchd.import (
    id bigint NOT NULL,
    task_pk bigint NOT NULL,
    runner_manager_id bigint NOT NULL,
    task_id text NOT NULL,
    state text DEFAULT 'open'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now() NOT NULL,
    lease_owner text,
    lease_expires_at timestamp with time zone,
    video_id bigint,
    last_error text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    obstructed_since timestamp with time zone,
    CONSTRAINT import_state_check CHECK ((state = ANY (ARRAY['open'::text, 'done'::text, 'failed'::text, 'dropped'::text, 'set_aside'::text])))
);
COMMENT ON TABLE poddispatchd.import IS 'Results to bring into Pod: one row a result, one importer at a time (I7)';
COMMENT ON COLUMN poddispatchd.import.video_id IS 'Studio: the id reserved for the new video, so that a redone import makes no second one';
COMMENT ON COLUMN poddispatchd.import.obstructed_since IS 'Since when something outside the result keeps it from being imported: no space, no manager';
CREATE TABLE poddispatchd.import_file (
    import_id bigint NOT NULL,
    path text NOT NULL,
    is_new boolean NOT NULL
);
COMMENT ON TABLE poddispatchd.import_file IS 'Files under MEDIA_ROOT that an uncommitted import puts in place; recorded before the first rename';
COMMENT ON COLUMN poddispatchd.import_file.is_new IS 'Nothing that anybody needs was there before: to be deleted unless the import is committed';
ALTER TABLE poddispatchd.import ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME poddispatchd.import_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE poddispatchd.leader (
    singleton boolean DEFAULT true NOT NULL,
    term bigint NOT NULL,
    instance text,
    since timestamp with time zone,
    lease_expires_at timestamp with time zone,
    CONSTRAINT leader_singleton_check CHECK (singleton)
);
COMMENT ON TABLE poddispatchd.leader IS 'The scheduler: a new term for each holder of the lease, so that writes of an old one match nothing';
COMMENT ON COLUMN poddispatchd.leader.lease_expires_at IS 'Until when the scheduler schedules unless it renews its lease; NULL: it has given it back, or is of a release before 0011 and holds the advisory lock instead';
CREATE TABLE poddispatchd.manager_state (
    id bigint CONSTRAINT runner_manager_id_not_null NOT NULL,
    paused_at timestamp with time zone,
    last_given_at timestamp with time zone
);
COMMENT ON TABLE poddispatchd.manager_state IS 'What poddispatchd knows of a runner manager beside Pod''s own row';
CREATE TABLE poddispatchd.notice (
    id bigint NOT NULL,
    event text NOT NULL,
    task_pk bigint NOT NULL,
    task_type text NOT NULL,
    task_id text,
    video_id bigint,
    recording_id bigint,
    is_reported boolean DEFAULT false NOT NULL,
    words text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    state text DEFAULT 'open'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now() NOT NULL,
    lease_owner text,
    lease_expires_at timestamp with time zone,
    last_error text,
    settled_at timestamp with time zone,
    CONSTRAINT notice_event_check CHECK ((event = ANY (ARRAY['completed'::text, 'failed'::text]))),
    CONSTRAINT notice_state_check CHECK ((state = ANY (ARRAY['open'::text, 'set_aside'::text])))
);
COMMENT ON TABLE poddispatchd.notice IS 'Events of which nobody has been told yet; a row goes when its deliveries are queued (I6)';
COMMENT ON COLUMN poddispatchd.notice.is_reported IS 'The runner manager reported the failure; otherwise poddispatchd found it';
ALTER TABLE poddispatchd.notice ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME poddispatchd.notice_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE poddispatchd.obsolete_file (
    path text NOT NULL,
    task_pk bigint NOT NULL,
    added_at timestamp with time zone DEFAULT now() NOT NULL,
    claimed_by text,
    claimed_until timestamp with time zone,
    state text DEFAULT 'open'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now() NOT NULL,
    last_error text,
    settled_at timestamp with time zone,
    CONSTRAINT obsolete_file_state_check CHECK ((state = ANY (ARRAY['open'::text, 'set_aside'::text])))
);
COMMENT ON TABLE poddispatchd.obsolete_file IS 'Files under MEDIA_ROOT that a committed import replaced, until they are deleted';
COMMENT ON COLUMN poddispatchd.obsolete_file.claimed_by IS 'Whose lease it is (lease_owner elsewhere): the instance that is deleting it; no import puts it in place again meanwhile';
COMMENT ON COLUMN poddispatchd.obsolete_file.claimed_until IS 'Until when (lease_expires_at elsewhere)';
CREATE TABLE poddispatchd.own_task (
    task_pk bigint NOT NULL,
    added_at timestamp with time zone DEFAULT now() NOT NULL,
    not_before timestamp with time zone,
    date_added timestamp with time zone
);
COMMENT ON TABLE poddispatchd.own_task IS 'Tasks that poddispatchd made or put back itself: Pod is not submitting them, so they need no grace';
COMMENT ON COLUMN poddispatchd.own_task.not_before IS 'Until when a task that was put back is not submitted';
COMMENT ON COLUMN poddispatchd.own_task.date_added IS 'The one of its row then: a task that was restarted meanwhile, by whomever, has another one and does not wait';
CREATE TABLE poddispatchd.refused_parameter (
    runner_manager_id bigint NOT NULL,
    name text NOT NULL,
    refused_at timestamp with time zone DEFAULT now() NOT NULL
);
COMMENT ON TABLE poddispatchd.refused_parameter IS 'Optional parameters over which runners of a manager failed a task: left out there for some days';
CREATE TABLE poddispatchd.schema_version (
    version integer NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE poddispatchd.sighting (
    task_pk bigint NOT NULL,
    task_id text,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    missing_runner text,
    missing_since timestamp with time zone,
    is_stale boolean DEFAULT false NOT NULL
);
COMMENT ON TABLE poddispatchd.sighting IS 'Running tasks under one id: forgotten when the task has ended, or has another id';
COMMENT ON COLUMN poddispatchd.sighting.missing_runner IS 'The runner that works on it, if its manager does not list it as online';
COMMENT ON COLUMN poddispatchd.sighting.is_stale IS 'That it runs for too long has been told';
CREATE TABLE poddispatchd.submission (
    id bigint NOT NULL,
    task_pk bigint NOT NULL,
    task_type text NOT NULL,
    runner_manager_id bigint NOT NULL,
    attempt integer NOT NULL,
    body bytea NOT NULL,
    state text DEFAULT 'open'::text NOT NULL,
    posts integer DEFAULT 1 NOT NULL,
    task_id text,
    reason text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    settled_at timestamp with time zone,
    date_added timestamp with time zone,
    CONSTRAINT submission_attempt_check CHECK ((attempt >= 1)),
    CONSTRAINT submission_state_check CHECK ((state = ANY (ARRAY['open'::text, 'accepted'::text, 'refused'::text, 'orphaned'::text, 'lost'::text])))
);
COMMENT ON TABLE poddispatchd.submission IS 'Intents: committed before the POST of a task, settled by its answer (I3)';
COMMENT ON COLUMN poddispatchd.submission.body IS 'The exact bytes posted: the same bytes posted again give the same task back';
COMMENT ON COLUMN poddispatchd.submission.date_added IS 'The one of its row then: a task that was restarted meanwhile, by whomever, has another one';
ALTER TABLE poddispatchd.submission ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME poddispatchd.submission_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE poddispatchd.wish (
    task_pk bigint NOT NULL,
    submission_id bigint NOT NULL,
    date_added timestamp with time zone NOT NULL
);
COMMENT ON TABLE poddispatchd.wish IS 'Tasks that waited for the same source when another one was submitted for all';
INSERT INTO poddispatchd.act (id, at, actor, act, task_pk, runner_manager_id, status_before) OVERRIDING SYSTEM VALUE VALUES (1, '2026-11-28 21:41:05.800743+00', 'admin on pod', 'restart', 8, NULL, 'failed');
INSERT INTO poddispatchd.callback (id, runner_manager_ids, task_id, status, error_message, script_output, digest, state, outcome, attempts, received_at, next_attempt_at, handled_at, lease_owner, lease_expires_at, last_error) OVERRIDING SYSTEM VALUE VALUES (1, '{1}', 'e0b00e02-d67e-481c-b269-46105b52cf56', 'timeout', 'It took too long.', 'some output', '\xe476e609d68e0a7d3f81e2464a08fe383045e1c9d8b1dff75e975a69c5fb375a', 'open', NULL, 0, '2026-11-28 18:41:59.56012+00', '2026-11-28 18:41:59.56012+00', NULL, NULL, NULL, NULL);
INSERT INTO poddispatchd.callback (id, runner_manager_ids, task_id, status, error_message, script_output, digest, state, outcome, attempts, received_at, next_attempt_at, handled_at, lease_owner, lease_expires_at, last_error) OVERRIDING SYSTEM VALUE VALUES (101, '{1}', '67c4b7ec-25be-4b05-aea2-a4666efa357d', 'timeout', NULL, NULL, '\x02', 'set_aside', NULL, 12, '2026-11-28 18:42:00+00', '2026-11-28 18:42:00+00', '2026-11-28 18:42:00+00', NULL, NULL, 'The database refused a statement: raise (P0001).');
INSERT INTO poddispatchd.delivery (id, channel, task_pk, content, state, attempts, next_attempt_at, last_error, created_at, settled_at, lease_owner, lease_expires_at) OVERRIDING SYSTEM VALUE VALUES (1, 'mail', 7, '{}', 'open', 0, '2026-11-28 18:41:59.602312+00', NULL, '2026-11-28 18:41:59.602312+00', NULL, NULL, NULL);
INSERT INTO poddispatchd.failure (task_pk, runner_manager_id, task_id, failed_at, asked_at, digest) VALUES (7, 1, '1835817a-3615-4db1-b1dd-085a43ae0d26', '2026-11-28 18:41:59.583744+00', NULL, '\x01');
INSERT INTO poddispatchd.import (id, task_pk, runner_manager_id, task_id, state, attempts, next_attempt_at, lease_owner, lease_expires_at, video_id, last_error, created_at, finished_at, obstructed_since) OVERRIDING SYSTEM VALUE VALUES (1, 5, 1, '7371af36-29b8-454b-9c9c-f34a15fbfa39', 'open', 1, '2026-11-28 18:41:59.560917+00', 'elsewhere:1:1', '2026-11-27 18:42:19.561547+00', NULL, NULL, '2026-11-28 18:41:59.560917+00', NULL, NULL);
INSERT INTO poddispatchd.import (id, task_pk, runner_manager_id, task_id, state, attempts, next_attempt_at, lease_owner, lease_expires_at, video_id, last_error, created_at, finished_at, obstructed_since) OVERRIDING SYSTEM VALUE VALUES (2, 6, 1, 'd0e41e48-0c7e-4e75-b173-ccf5d3678cee', 'done', 0, '2026-11-28 18:41:59.566294+00', NULL, NULL, NULL, NULL, '2026-11-28 18:41:59.566294+00', '2026-11-28 18:41:59.568075+00', NULL);
INSERT INTO poddispatchd.import_file (import_id, path, is_new) VALUES (1, 'videos/half.mp4', true);
INSERT INTO poddispatchd.leader (singleton, term, instance, since, lease_expires_at) VALUES (true, 1, 'elsewhere:1:1', '2026-11-28 18:41:58+00', '2026-11-28 18:42:06+00');
INSERT INTO poddispatchd.manager_state (id, paused_at, last_given_at) VALUES (1, NULL, '2026-11-28 18:41:59.504983+00');
INSERT INTO poddispatchd.notice (id, event, task_pk, task_type, task_id, video_id, recording_id, is_reported, words, created_at, state, attempts, next_attempt_at, lease_owner, lease_expires_at, last_error, settled_at) OVERRIDING SYSTEM VALUE VALUES (1, 'failed', 7, 'encoding', '1835817a-3615-4db1-b1dd-085a43ae0d26', 7, NULL, true, 'It took too long.', '2026-11-28 18:41:59.583744+00', 'open', 0, '2026-11-28 21:41:05.335736+00', NULL, NULL, NULL, NULL);
INSERT INTO poddispatchd.obsolete_file (path, task_pk, added_at, claimed_by, claimed_until, state, attempts, next_attempt_at, last_error, settled_at) VALUES ('videos/old.mp4', 6, '2026-11-28 18:41:59.575934+00', NULL, NULL, 'open', 0, '2026-11-28 21:41:05.335736+00', NULL, NULL);
INSERT INTO poddispatchd.obsolete_file (path, task_pk, added_at, claimed_by, claimed_until, state, attempts, next_attempt_at, last_error, settled_at) VALUES ('videos/stuck.mp4', 6, '2026-11-28 21:41:05.805239+00', NULL, NULL, 'set_aside', 12, '2026-11-28 21:41:05.805239+00', 'videos/stuck.mp4 cannot be deleted: it is a directory.', '2026-11-28 18:42:00+00');
INSERT INTO poddispatchd.own_task (task_pk, added_at, not_before, date_added) VALUES (1, '2026-11-28 18:41:58.95081+00', NULL, NULL);
INSERT INTO poddispatchd.own_task (task_pk, added_at, not_before, date_added) VALUES (8, '2026-11-28 18:41:59.583744+00', '2026-11-28 18:42:09.583744+00', '2026-11-28 18:41:58.376923+00');
INSERT INTO poddispatchd.refused_parameter (runner_manager_id, name, refused_at) VALUES (1, 'source_language', '2026-11-28 21:41:05.800522+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (1, '2026-11-28 21:41:05.012453+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (2, '2026-11-28 21:41:05.012453+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (3, '2026-11-28 21:41:05.012453+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (4, '2026-11-28 21:41:05.012453+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (5, '2026-11-28 21:41:05.012453+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (6, '2026-11-28 21:41:05.012453+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (7, '2026-11-28 21:41:05.012453+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (8, '2026-11-28 21:41:05.012453+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (9, '2026-11-28 21:41:05.012453+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (10, '2026-11-28 21:41:05.012453+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (11, '2026-11-28 21:41:05.335736+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (12, '2026-11-28 21:41:05.335736+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (14, '2026-11-28 21:41:05.335736+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (16, '2026-11-28 21:41:05.335736+00');
INSERT INTO poddispatchd.schema_version (version, applied_at) VALUES (18, '2026-11-28 21:41:05.335736+00');
INSERT INTO poddispatchd.sighting (task_pk, task_id, seen_at, missing_runner, missing_since, is_stale) VALUES (2, '67c4b7ec-25be-4b05-aea2-a4666efa357d', '2026-11-28 18:42:00+00', NULL, NULL, true);
INSERT INTO poddispatchd.submission (id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, reason, created_at, settled_at, date_added) OVERRIDING SYSTEM VALUE VALUES (1, 4, 'encoding', 1, 1, '\x7b22657461625f6e616d65223a2022556e6976657273697479206e616d65202f20506f64222c20226170705f6e616d65223a2022457375702d506f64222c20226170705f76657273696f6e223a2022342e332e30222c20227461736b5f74797065223a2022656e636f64696e67222c2022736f757263655f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f6d656469612f766964656f732f383965373364386563373861366362323432656465356330323833656436633437373033623535643932313363663433306566356134633334623236303433632f6c6563747572652d332e6d7034222c20226e6f746966795f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f72756e6e65722f6e6f746966795f7461736b5f656e642f222c2022706172616d6574657273223a207b2272656e646974696f6e223a20227b5c223336305c223a207b5c227265736f6c7574696f6e5c223a205c22363430783336305c222c205c22766964656f5f626974726174655c223a205c223735306b5c222c205c22617564696f5f626974726174655c223a205c2239366b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c223732305c223a207b5c227265736f6c7574696f6e5c223a205c2231323830783732305c222c205c22766964656f5f626974726174655c223a205c22323030306b5c222c205c22617564696f5f626974726174655c223a205c223132386b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c22313038305c223a207b5c227265736f6c7574696f6e5c223a205c223139323078313038305c222c205c22766964656f5f626974726174655c223a205c22333030306b5c222c205c22617564696f5f626974726174655c223a205c223139326b5c222c205c22656e636f64655f6d70345c223a2066616c73657d7d222c2022766964656f5f6964223a20342c2022766964656f5f736c7567223a2022303030342d6c6563747572652d33222c2022766964656f5f7469746c65223a20224c6563747572652033227d7d', 'open', 1, NULL, NULL, '2026-11-28 18:41:59.068352+00', NULL, '2026-11-28 18:41:58.349878+00');
INSERT INTO poddispatchd.submission (id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, reason, created_at, settled_at, date_added) OVERRIDING SYSTEM VALUE VALUES (2, 2, 'encoding', 1, 1, '\x7b22657461625f6e616d65223a2022556e6976657273697479206e616d65202f20506f64222c20226170705f6e616d65223a2022457375702d506f64222c20226170705f76657273696f6e223a2022342e332e30222c20227461736b5f74797065223a2022656e636f64696e67222c2022736f757263655f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f6d656469612f766964656f732f383965373364386563373861366362323432656465356330323833656436633437373033623535643932313363663433306566356134633334623236303433632f6c6563747572652d312e6d7034222c20226e6f746966795f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f72756e6e65722f6e6f746966795f7461736b5f656e642f222c2022706172616d6574657273223a207b2272656e646974696f6e223a20227b5c223336305c223a207b5c227265736f6c7574696f6e5c223a205c22363430783336305c222c205c22766964656f5f626974726174655c223a205c223735306b5c222c205c22617564696f5f626974726174655c223a205c2239366b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c223732305c223a207b5c227265736f6c7574696f6e5c223a205c2231323830783732305c222c205c22766964656f5f626974726174655c223a205c22323030306b5c222c205c22617564696f5f626974726174655c223a205c223132386b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c22313038305c223a207b5c227265736f6c7574696f6e5c223a205c223139323078313038305c222c205c22766964656f5f626974726174655c223a205c22333030306b5c222c205c22617564696f5f626974726174655c223a205c223139326b5c222c205c22656e636f64655f6d70345c223a2066616c73657d7d222c2022766964656f5f6964223a20322c2022766964656f5f736c7567223a2022303030322d6c6563747572652d31222c2022766964656f5f7469746c65223a20224c6563747572652031227d7d', 'accepted', 1, '67c4b7ec-25be-4b05-aea2-a4666efa357d', NULL, '2026-11-28 18:41:59.131481+00', '2026-11-28 18:41:59.147623+00', '2026-11-28 18:41:58.34198+00');
INSERT INTO poddispatchd.submission (id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, reason, created_at, settled_at, date_added) OVERRIDING SYSTEM VALUE VALUES (3, 3, 'encoding', 1, 1, '\x7b22657461625f6e616d65223a2022556e6976657273697479206e616d65202f20506f64222c20226170705f6e616d65223a2022457375702d506f64222c20226170705f76657273696f6e223a2022342e332e30222c20227461736b5f74797065223a2022656e636f64696e67222c2022736f757263655f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f6d656469612f766964656f732f383965373364386563373861366362323432656465356330323833656436633437373033623535643932313363663433306566356134633334623236303433632f6c6563747572652d322e6d7034222c20226e6f746966795f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f72756e6e65722f6e6f746966795f7461736b5f656e642f222c2022706172616d6574657273223a207b2272656e646974696f6e223a20227b5c223336305c223a207b5c227265736f6c7574696f6e5c223a205c22363430783336305c222c205c22766964656f5f626974726174655c223a205c223735306b5c222c205c22617564696f5f626974726174655c223a205c2239366b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c223732305c223a207b5c227265736f6c7574696f6e5c223a205c2231323830783732305c222c205c22766964656f5f626974726174655c223a205c22323030306b5c222c205c22617564696f5f626974726174655c223a205c223132386b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c22313038305c223a207b5c227265736f6c7574696f6e5c223a205c223139323078313038305c222c205c22766964656f5f626974726174655c223a205c22333030306b5c222c205c22617564696f5f626974726174655c223a205c223139326b5c222c205c22656e636f64655f6d70345c223a2066616c73657d7d222c2022766964656f5f6964223a20332c2022766964656f5f736c7567223a2022303030332d6c6563747572652d32222c2022766964656f5f7469746c65223a20224c6563747572652032227d7d', 'accepted', 1, 'e0b00e02-d67e-481c-b269-46105b52cf56', NULL, '2026-11-28 18:41:59.257102+00', '2026-11-28 18:41:59.281942+00', '2026-11-28 18:41:58.345088+00');
INSERT INTO poddispatchd.submission (id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, reason, created_at, settled_at, date_added) OVERRIDING SYSTEM VALUE VALUES (4, 5, 'encoding', 1, 1, '\x7b22657461625f6e616d65223a2022556e6976657273697479206e616d65202f20506f64222c20226170705f6e616d65223a2022457375702d506f64222c20226170705f76657273696f6e223a2022342e332e30222c20227461736b5f74797065223a2022656e636f64696e67222c2022736f757263655f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f6d656469612f766964656f732f383965373364386563373861366362323432656465356330323833656436633437373033623535643932313363663433306566356134633334623236303433632f6c6563747572652d342e6d7034222c20226e6f746966795f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f72756e6e65722f6e6f746966795f7461736b5f656e642f222c2022706172616d6574657273223a207b2272656e646974696f6e223a20227b5c223336305c223a207b5c227265736f6c7574696f6e5c223a205c22363430783336305c222c205c22766964656f5f626974726174655c223a205c223735306b5c222c205c22617564696f5f626974726174655c223a205c2239366b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c223732305c223a207b5c227265736f6c7574696f6e5c223a205c2231323830783732305c222c205c22766964656f5f626974726174655c223a205c22323030306b5c222c205c22617564696f5f626974726174655c223a205c223132386b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c22313038305c223a207b5c227265736f6c7574696f6e5c223a205c223139323078313038305c222c205c22766964656f5f626974726174655c223a205c22333030306b5c222c205c22617564696f5f626974726174655c223a205c223139326b5c222c205c22656e636f64655f6d70345c223a2066616c73657d7d222c2022766964656f5f6964223a20352c2022766964656f5f736c7567223a2022303030352d6c6563747572652d34222c2022766964656f5f7469746c65223a20224c6563747572652034227d7d', 'accepted', 1, '7371af36-29b8-454b-9c9c-f34a15fbfa39', NULL, '2026-11-28 18:41:59.345042+00', '2026-11-28 18:41:59.352502+00', '2026-11-28 18:41:58.355849+00');
INSERT INTO poddispatchd.submission (id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, reason, created_at, settled_at, date_added) OVERRIDING SYSTEM VALUE VALUES (5, 6, 'encoding', 1, 1, '\x7b22657461625f6e616d65223a2022556e6976657273697479206e616d65202f20506f64222c20226170705f6e616d65223a2022457375702d506f64222c20226170705f76657273696f6e223a2022342e332e30222c20227461736b5f74797065223a2022656e636f64696e67222c2022736f757263655f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f6d656469612f766964656f732f383965373364386563373861366362323432656465356330323833656436633437373033623535643932313363663433306566356134633334623236303433632f6c6563747572652d352e6d7034222c20226e6f746966795f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f72756e6e65722f6e6f746966795f7461736b5f656e642f222c2022706172616d6574657273223a207b2272656e646974696f6e223a20227b5c223336305c223a207b5c227265736f6c7574696f6e5c223a205c22363430783336305c222c205c22766964656f5f626974726174655c223a205c223735306b5c222c205c22617564696f5f626974726174655c223a205c2239366b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c223732305c223a207b5c227265736f6c7574696f6e5c223a205c2231323830783732305c222c205c22766964656f5f626974726174655c223a205c22323030306b5c222c205c22617564696f5f626974726174655c223a205c223132386b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c22313038305c223a207b5c227265736f6c7574696f6e5c223a205c223139323078313038305c222c205c22766964656f5f626974726174655c223a205c22333030306b5c222c205c22617564696f5f626974726174655c223a205c223139326b5c222c205c22656e636f64655f6d70345c223a2066616c73657d7d222c2022766964656f5f6964223a20362c2022766964656f5f736c7567223a2022303030362d6c6563747572652d35222c2022766964656f5f7469746c65223a20224c6563747572652035227d7d', 'accepted', 1, 'd0e41e48-0c7e-4e75-b173-ccf5d3678cee', NULL, '2026-11-28 18:41:59.391105+00', '2026-11-28 18:41:59.393852+00', '2026-11-28 18:41:58.36965+00');
INSERT INTO poddispatchd.submission (id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, reason, created_at, settled_at, date_added) OVERRIDING SYSTEM VALUE VALUES (6, 7, 'encoding', 1, 1, '\x7b22657461625f6e616d65223a2022556e6976657273697479206e616d65202f20506f64222c20226170705f6e616d65223a2022457375702d506f64222c20226170705f76657273696f6e223a2022342e332e30222c20227461736b5f74797065223a2022656e636f64696e67222c2022736f757263655f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f6d656469612f766964656f732f383965373364386563373861366362323432656465356330323833656436633437373033623535643932313363663433306566356134633334623236303433632f6c6563747572652d362e6d7034222c20226e6f746966795f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f72756e6e65722f6e6f746966795f7461736b5f656e642f222c2022706172616d6574657273223a207b2272656e646974696f6e223a20227b5c223336305c223a207b5c227265736f6c7574696f6e5c223a205c22363430783336305c222c205c22766964656f5f626974726174655c223a205c223735306b5c222c205c22617564696f5f626974726174655c223a205c2239366b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c223732305c223a207b5c227265736f6c7574696f6e5c223a205c2231323830783732305c222c205c22766964656f5f626974726174655c223a205c22323030306b5c222c205c22617564696f5f626974726174655c223a205c223132386b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c22313038305c223a207b5c227265736f6c7574696f6e5c223a205c223139323078313038305c222c205c22766964656f5f626974726174655c223a205c22333030306b5c222c205c22617564696f5f626974726174655c223a205c223139326b5c222c205c22656e636f64655f6d70345c223a2066616c73657d7d222c2022766964656f5f6964223a20372c2022766964656f5f736c7567223a2022303030372d6c6563747572652d36222c2022766964656f5f7469746c65223a20224c6563747572652036227d7d', 'accepted', 1, '1835817a-3615-4db1-b1dd-085a43ae0d26', NULL, '2026-11-28 18:41:59.455801+00', '2026-11-28 18:41:59.461162+00', '2026-11-28 18:41:58.371348+00');
INSERT INTO poddispatchd.submission (id, task_pk, task_type, runner_manager_id, attempt, body, state, posts, task_id, reason, created_at, settled_at, date_added) OVERRIDING SYSTEM VALUE VALUES (7, 8, 'encoding', 1, 1, '\x7b22657461625f6e616d65223a2022556e6976657273697479206e616d65202f20506f64222c20226170705f6e616d65223a2022457375702d506f64222c20226170705f76657273696f6e223a2022342e332e30222c20227461736b5f74797065223a2022656e636f64696e67222c2022736f757263655f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f6d656469612f766964656f732f383965373364386563373861366362323432656465356330323833656436633437373033623535643932313363663433306566356134633334623236303433632f6c6563747572652d372e6d7034222c20226e6f746966795f75726c223a2022687474703a2f2f706f642e6578616d706c652e6f72672f72756e6e65722f6e6f746966795f7461736b5f656e642f222c2022706172616d6574657273223a207b2272656e646974696f6e223a20227b5c223336305c223a207b5c227265736f6c7574696f6e5c223a205c22363430783336305c222c205c22766964656f5f626974726174655c223a205c223735306b5c222c205c22617564696f5f626974726174655c223a205c2239366b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c223732305c223a207b5c227265736f6c7574696f6e5c223a205c2231323830783732305c222c205c22766964656f5f626974726174655c223a205c22323030306b5c222c205c22617564696f5f626974726174655c223a205c223132386b5c222c205c22656e636f64655f6d70345c223a20747275657d2c205c22313038305c223a207b5c227265736f6c7574696f6e5c223a205c223139323078313038305c222c205c22766964656f5f626974726174655c223a205c22333030306b5c222c205c22617564696f5f626974726174655c223a205c223139326b5c222c205c22656e636f64655f6d70345c223a2066616c73657d7d222c2022766964656f5f6964223a20382c2022766964656f5f736c7567223a2022303030382d6c6563747572652d37222c2022766964656f5f7469746c65223a20224c6563747572652037227d7d', 'lost', 1, '3b175420-4a44-479a-b520-fc0345012f84', 'It was lost.', '2026-11-28 18:41:59.491926+00', '2026-11-28 18:41:59.583744+00', '2026-11-28 18:41:58.376923+00');
INSERT INTO poddispatchd.wish (task_pk, submission_id, date_added) VALUES (9, 2, '2026-11-28 18:41:59.10847+00');
SELECT pg_catalog.setval('poddispatchd.act_id_seq', 1, true);
SELECT pg_catalog.setval('poddispatchd.callback_id_seq', 101, true);
SELECT pg_catalog.setval('poddispatchd.delivery_id_seq', 100, true);
SELECT pg_catalog.setval('poddispatchd.import_id_seq', 100, true);
SELECT pg_catalog.setval('poddispatchd.notice_id_seq', 100, true);
SELECT pg_catalog.setval('poddispatchd.submission_id_seq', 100, true);
ALTER TABLE ONLY poddispatchd.act
    ADD CONSTRAINT act_pkey PRIMARY KEY (id);
ALTER TABLE ONLY poddispatchd.callback
    ADD CONSTRAINT callback_pkey PRIMARY KEY (id);
ALTER TABLE ONLY poddispatchd.delivery
    ADD CONSTRAINT delivery_pkey PRIMARY KEY (id);
ALTER TABLE ONLY poddispatchd.failure
    ADD CONSTRAINT failure_pkey PRIMARY KEY (task_pk);
ALTER TABLE ONLY poddispatchd.import_file
    ADD CONSTRAINT import_file_pkey PRIMARY KEY (import_id, path);
ALTER TABLE ONLY poddispatchd.import
    ADD CONSTRAINT import_pkey PRIMARY KEY (id);
ALTER TABLE ONLY poddispatchd.import
    ADD CONSTRAINT import_task_pk_runner_manager_id_task_id_key UNIQUE (task_pk, runner_manager_id, task_id);
ALTER TABLE ONLY poddispatchd.leader
    ADD CONSTRAINT leader_pkey PRIMARY KEY (singleton);
ALTER TABLE ONLY poddispatchd.manager_state
    ADD CONSTRAINT manager_state_pkey PRIMARY KEY (id);
ALTER TABLE ONLY poddispatchd.notice
    ADD CONSTRAINT notice_pkey PRIMARY KEY (id);
ALTER TABLE ONLY poddispatchd.obsolete_file
    ADD CONSTRAINT obsolete_file_pkey PRIMARY KEY (path);
ALTER TABLE ONLY poddispatchd.own_task
    ADD CONSTRAINT own_task_pkey PRIMARY KEY (task_pk);
ALTER TABLE ONLY poddispatchd.refused_parameter
    ADD CONSTRAINT refused_parameter_pkey PRIMARY KEY (runner_manager_id, name);
ALTER TABLE ONLY poddispatchd.schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (version);
ALTER TABLE ONLY poddispatchd.sighting
    ADD CONSTRAINT sighting_pkey PRIMARY KEY (task_pk);
ALTER TABLE ONLY poddispatchd.submission
    ADD CONSTRAINT submission_pkey PRIMARY KEY (id);
ALTER TABLE ONLY poddispatchd.wish
    ADD CONSTRAINT wish_pkey PRIMARY KEY (task_pk, submission_id);
CREATE INDEX act_by_at ON poddispatchd.act USING btree (at);
CREATE INDEX act_by_task ON poddispatchd.act USING btree (task_pk) WHERE (task_pk IS NOT NULL);
CREATE INDEX callback_by_handled_at ON poddispatchd.callback USING btree (handled_at) WHERE (state <> 'open'::text);
CREATE INDEX callback_open ON poddispatchd.callback USING btree (id) WHERE (state = 'open'::text);
CREATE UNIQUE INDEX callback_open_once ON poddispatchd.callback USING btree (task_id, digest) WHERE (state = 'open'::text);
CREATE INDEX callback_unsettled ON poddispatchd.callback USING btree (state) WHERE (state = ANY (ARRAY['open'::text, 'set_aside'::text]));
CREATE INDEX delivery_by_settled_at ON poddispatchd.delivery USING btree (settled_at) WHERE (state <> 'open'::text);
CREATE INDEX delivery_open ON poddispatchd.delivery USING btree (channel, next_attempt_at) WHERE (state = 'open'::text);
CREATE INDEX delivery_unsettled ON poddispatchd.delivery USING btree (state) WHERE (state = ANY (ARRAY['open'::text, 'set_aside'::text]));
CREATE INDEX failure_by_failed_at ON poddispatchd.failure USING btree (failed_at);
CREATE INDEX import_by_finished_at ON poddispatchd.import USING btree (finished_at) WHERE (state <> 'open'::text);
CREATE INDEX import_file_by_path ON poddispatchd.import_file USING btree (path);
CREATE INDEX import_open ON poddispatchd.import USING btree (next_attempt_at) WHERE (state = 'open'::text);
CREATE INDEX import_unsettled ON poddispatchd.import USING btree (state) WHERE (state = ANY (ARRAY['open'::text, 'set_aside'::text]));
CREATE INDEX submission_by_settled_at ON poddispatchd.submission USING btree (settled_at) WHERE (state <> 'open'::text);
CREATE INDEX submission_by_task ON poddispatchd.submission USING btree (task_pk);
CREATE INDEX submission_by_task_id ON poddispatchd.submission USING btree (task_id) WHERE (task_id IS NOT NULL);
CREATE UNIQUE INDEX submission_one_open_per_task ON poddispatchd.submission USING btree (task_pk) WHERE (state = 'open'::text);
CREATE INDEX submission_unidentified ON poddispatchd.submission USING btree (runner_manager_id) WHERE (task_id IS NULL);
CREATE INDEX wish_by_submission ON poddispatchd.wish USING btree (submission_id);
ALTER TABLE ONLY poddispatchd.import_file
    ADD CONSTRAINT import_file_import_id_fkey FOREIGN KEY (import_id) REFERENCES poddispatchd.import(id) ON DELETE CASCADE;
ALTER TABLE ONLY poddispatchd.wish
    ADD CONSTRAINT wish_submission_id_fkey FOREIGN KEY (submission_id) REFERENCES poddispatchd.submission(id) ON DELETE CASCADE;
INSERT INTO public.runner_manager_task (id, type, status, task_id, date_added, rank, script_output, recording_id, runner_manager_id, video_id) VALUES (1, 'encoding', 'pending', NULL, '2026-11-28 18:41:58.331247+00', NULL, NULL, NULL, NULL, 1);
INSERT INTO public.runner_manager_task (id, type, status, task_id, date_added, rank, script_output, recording_id, runner_manager_id, video_id) VALUES (2, 'encoding', 'running', '67c4b7ec-25be-4b05-aea2-a4666efa357d', '2026-11-28 18:41:58.34198+00', NULL, NULL, NULL, 1, 2);
INSERT INTO public.runner_manager_task (id, type, status, task_id, date_added, rank, script_output, recording_id, runner_manager_id, video_id) VALUES (3, 'encoding', 'running', 'e0b00e02-d67e-481c-b269-46105b52cf56', '2026-11-28 18:41:58.345088+00', NULL, NULL, NULL, 1, 3);
INSERT INTO public.runner_manager_task (id, type, status, task_id, date_added, rank, script_output, recording_id, runner_manager_id, video_id) VALUES (4, 'encoding', 'pending', NULL, '2026-11-28 18:41:58.349878+00', NULL, NULL, NULL, NULL, 4);
INSERT INTO public.runner_manager_task (id, type, status, task_id, date_added, rank, script_output, recording_id, runner_manager_id, video_id) VALUES (5, 'encoding', 'running', '7371af36-29b8-454b-9c9c-f34a15fbfa39', '2026-11-28 18:41:58.355849+00', NULL, NULL, NULL, 1, 5);
INSERT INTO public.runner_manager_task (id, type, status, task_id, date_added, rank, script_output, recording_id, runner_manager_id, video_id) VALUES (6, 'encoding', 'completed', 'd0e41e48-0c7e-4e75-b173-ccf5d3678cee', '2026-11-28 18:41:58.36965+00', NULL, NULL, NULL, 1, 6);
INSERT INTO public.runner_manager_task (id, type, status, task_id, date_added, rank, script_output, recording_id, runner_manager_id, video_id) VALUES (7, 'encoding', 'timeout', '1835817a-3615-4db1-b1dd-085a43ae0d26', '2026-11-28 18:41:58.371348+00', NULL, 'It took too long.
', NULL, 1, 7);
INSERT INTO public.runner_manager_task (id, type, status, task_id, date_added, rank, script_output, recording_id, runner_manager_id, video_id) VALUES (8, 'encoding', 'pending', NULL, '2026-11-28 18:41:58.376923+00', NULL, NULL, NULL, NULL, 8);
INSERT INTO public.runner_manager_task (id, type, status, task_id, date_added, rank, script_output, recording_id, runner_manager_id, video_id) VALUES (9, 'encoding', 'pending', NULL, '2026-11-28 18:41:59.10847+00', NULL, NULL, NULL, NULL, 2);
SELECT pg_catalog.setval('public.runner_manager_task_id_seq', 100, true);
