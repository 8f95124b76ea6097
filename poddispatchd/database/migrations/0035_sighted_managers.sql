-- Who works on a running task, also where Pod submitted it itself: when its row lets go of the run, as after a restart in Pod's
-- administration, nothing else tells whom to ask to stop it.

ALTER TABLE poddispatchd.sighting ADD COLUMN runner_manager_id bigint;
COMMENT ON COLUMN poddispatchd.sighting.runner_manager_id IS 'Which manager gave it that id; NULL: seen by an older release';
