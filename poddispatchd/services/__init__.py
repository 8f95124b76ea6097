"""The daemon's jobs: dispatcher, reconciler, importer, janitor."""
