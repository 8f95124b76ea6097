"""The composition of the daemon: the only room that knows all features."""
