"""What a process does so that its memory, which holds secrets, stays its own."""

_PR_SET_DUMPABLE = 4
"""Of prctl(2), as linux/prctl.h has it."""


def forbid_dumps() -> bool:
    """Leave no core dump, and let no other process of this user read our memory (PR_SET_DUMPABLE).

    Returns:
        Whether the kernel agreed; a system where it does not is used all the same.
    """
    try:
        import ctypes  # noqa: PLC0415 - some systems have none, or forbid it

        return int(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)) == 0
    except (ImportError, OSError, MemoryError, AttributeError):
        return False
