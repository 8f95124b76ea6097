"""Daemons that start here find their schema as an earlier start has left it."""

from tests.plugins.postgres import database_with_journal as pod_database

__all__ = ["pod_database"]
