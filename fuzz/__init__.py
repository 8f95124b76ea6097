"""Hostile requests at the listeners of a real daemon, hostile answers to our client: seeded, and judged."""
