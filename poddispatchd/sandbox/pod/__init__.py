"""A stand-in for Esup-Pod: its tables, a small world of users and videos, and the media tree."""
