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
