"""What every job of the daemon stands on: supervision, wakeups, leadership, leases."""
