-- Behind a pooler no lock of a session tells who schedules: a lease does, by the database's clock.

ALTER TABLE poddispatchd.leader ADD COLUMN lease_expires_at timestamptz;
COMMENT ON COLUMN poddispatchd.leader.lease_expires_at IS
    'Until when the scheduler schedules unless it renews its lease; NULL: whoever holds the advisory lock does';
