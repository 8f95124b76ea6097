"""Telling the outside world: mail, web push, and the command that runs after an import."""
