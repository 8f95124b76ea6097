-- A role called poddispatchd, which the README proposes, has our schema first in its search_path ("$user"): no table
-- of ours may be called as one of Pod's, or it is found in its place.

ALTER TABLE poddispatchd.runner_manager RENAME TO manager_state;
ALTER INDEX poddispatchd.runner_manager_pkey RENAME TO manager_state_pkey;
