"""``python -m poddispatchd``."""

from poddispatchd.cli.entry import main

main()
