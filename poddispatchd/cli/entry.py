"""The command as a process: what Ctrl-C does before there is a command line."""

import signal


def main() -> None:
    """Run the command line.

    Until its parts are imported Ctrl-C ends the process as if it was no Python: it would print where in an
    import it was met.

    Raises:
        SystemExit: with the exit status, unless that is 0.
    """
    # Whoever had it ignored, as a shell does for what runs in the background, keeps that.
    is_told = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_told:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from poddispatchd.cli.main import main as command_line

    if is_told:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command_line()
