"""All that knows Esup-Runner's HTTP API."""
