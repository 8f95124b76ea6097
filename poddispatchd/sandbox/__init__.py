"""A small world to run the daemon in: PostgreSQL, Pod's tables and media, fake runner managers."""
