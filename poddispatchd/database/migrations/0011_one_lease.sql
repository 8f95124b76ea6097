-- One way to schedule, with PostgreSQL itself and behind poolers: a lease. Releases before this one hold an advisory
-- lock where they can; a term begins only while nobody has it, and they begin none while a lease runs.

COMMENT ON TABLE poddispatchd.leader IS
    'The scheduler: a new term for each holder of the lease, so that writes of an old one match nothing';
COMMENT ON COLUMN poddispatchd.leader.lease_expires_at IS
    'Until when the scheduler schedules unless it renews its lease; NULL: it has given it back, or is of a release '
    'before 0011 and holds the advisory lock instead';
