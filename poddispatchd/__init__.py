"""A daemon that dispatches Esup-Pod's tasks to Esup-Runner and imports their results."""

__version__ = "0.1.0"
