"""What may happen to a task's row."""
