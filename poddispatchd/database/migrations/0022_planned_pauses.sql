-- Pauses of runner managers that begin or end by themselves, and why a manager is paused.

ALTER TABLE poddispatchd.manager_state ADD COLUMN pause_reason text NOT NULL DEFAULT '';
COMMENT ON COLUMN poddispatchd.manager_state.pause_reason IS 'Why it is paused, in the words of whoever did it';

CREATE TABLE poddispatchd.planned_pause (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    runner_manager_id bigint NOT NULL,
    begins_at timestamptz NOT NULL,
    ends_at timestamptz,
    reason text NOT NULL DEFAULT '',
    CHECK (ends_at >= begins_at)
);
COMMENT ON TABLE poddispatchd.planned_pause IS 'Times in which a runner manager gets no new tasks; who planned them is in the acts';
COMMENT ON COLUMN poddispatchd.planned_pause.ends_at IS 'NULL: until somebody resumes it';
CREATE INDEX planned_pause_by_end ON poddispatchd.planned_pause (ends_at);
