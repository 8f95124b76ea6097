-- How long a manager is asked about a callback counts only while somebody asks: its age also counts days without power.

ALTER TABLE poddispatchd.callback ADD COLUMN unanswered_since timestamptz;
COMMENT ON COLUMN poddispatchd.callback.unanswered_since IS 'Since when its manager does not tell what it is about, while somebody asks';
