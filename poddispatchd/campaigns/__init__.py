"""Campaigns at work: one task of theirs after the other, when nobody else wants the runner."""
