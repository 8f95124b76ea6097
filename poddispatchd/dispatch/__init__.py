"""Pending tasks to runner managers: candidates, duplicates, submissions."""
