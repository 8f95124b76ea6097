"""The daemon as a process of its own, over real HTTP, a real PostgreSQL and real signals."""
