"""Tests of IPv6, which many containers do not have."""

import socket

import pytest


def _is_here() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _is_here(), reason="this machine has no IPv6")
