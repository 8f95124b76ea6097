"""Runner managers as the daemon knows them: registry, state, probes."""
