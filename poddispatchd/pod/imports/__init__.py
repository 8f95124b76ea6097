"""Bringing a staged result into Pod: files first, then rows, one commit point (invariant I6)."""
