"""Ranks, statistics, purge."""
