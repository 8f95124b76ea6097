"""``python -m poddispatchd``."""

from poddispatchd.cli.main import main

main()
