"""Callbacks of runner managers: received, stored, applied."""
