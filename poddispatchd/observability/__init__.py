"""What the daemon tells: events, logs, metrics."""
