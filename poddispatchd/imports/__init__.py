"""Finished tasks into Pod: download, check, put in place, commit."""
