-- Files are deleted outside of any transaction: whoever does it says so, until it is done or has died.

ALTER TABLE poddispatchd.obsolete_file ADD COLUMN claimed_by text, ADD COLUMN claimed_until timestamptz;
COMMENT ON COLUMN poddispatchd.obsolete_file.claimed_by IS 'The instance that is deleting it; no import puts it in place again meanwhile';
