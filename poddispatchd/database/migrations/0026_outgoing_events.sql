-- Events for other programs: a channel of their own among the deliveries, and what was told last of what lasts, so that
-- nothing is told twice when another daemon takes over.

ALTER TABLE poddispatchd.delivery
    DROP CONSTRAINT delivery_channel_check,
    ADD CONSTRAINT delivery_channel_check CHECK (channel IN ('mail', 'push', 'hook', 'event'));

CREATE TABLE poddispatchd.told (
    subject text PRIMARY KEY,
    state text NOT NULL,
    told_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE poddispatchd.told IS 'What other programs were told last of a runner manager, of who schedules, or of an item that was set aside';
