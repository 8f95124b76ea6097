-- Campaigns: encodings or transcriptions of many videos, of which Pod's table gets one row after the other.

CREATE TABLE poddispatchd.campaign (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    task_type text NOT NULL CHECK (task_type IN ('encoding', 'transcription')),
    at_most smallint NOT NULL CHECK (at_most > 0),
    windows text,
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'cancelled', 'done')),
    words text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL
);
COMMENT ON TABLE poddispatchd.campaign IS 'Encodings or transcriptions of many videos that somebody has asked for';
COMMENT ON COLUMN poddispatchd.campaign.at_most IS 'How many of its tasks wait or run at once';
COMMENT ON COLUMN poddispatchd.campaign.windows IS 'The hours in which its tasks may begin; NULL: any';
COMMENT ON COLUMN poddispatchd.campaign.words IS 'Why its state is what it is';

CREATE TABLE poddispatchd.campaign_video (
    campaign_id bigint NOT NULL REFERENCES poddispatchd.campaign ON DELETE CASCADE,
    place integer NOT NULL,
    video_id bigint NOT NULL,
    state text NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'running', 'completed', 'failed', 'skipped', 'cancelled')),
    task_pk bigint,
    words text NOT NULL DEFAULT '',
    changed_at timestamptz,
    PRIMARY KEY (campaign_id, place),
    UNIQUE (campaign_id, video_id)
);
COMMENT ON TABLE poddispatchd.campaign_video IS 'The videos of campaigns, in their order, and what became of each';
COMMENT ON COLUMN poddispatchd.campaign_video.task_pk IS 'The row of Pod''s table that was added for it';
CREATE INDEX campaign_video_waiting ON poddispatchd.campaign_video (campaign_id, place) WHERE state = 'waiting';
CREATE INDEX campaign_video_followed ON poddispatchd.campaign_video (campaign_id, state) WHERE state IN ('running', 'failed');
CREATE INDEX campaign_video_by_task ON poddispatchd.campaign_video (task_pk) WHERE task_pk IS NOT NULL;

ALTER TABLE poddispatchd.notice ADD COLUMN of_campaign boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN poddispatchd.notice.of_campaign IS 'Its owner did not ask for it, and is not told when it is done';
ALTER TABLE poddispatchd.import ADD COLUMN of_campaign boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN poddispatchd.import.of_campaign IS 'No transcription follows from it';
