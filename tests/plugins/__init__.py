"""Fixtures, by what they provide."""
