"""All that knows Esup-Pod: its tables, its computed values, its media tree."""
