"""Settings: what can be configured, how it is written, where it comes from."""
