"""Clients who are refused: whatever becomes of one, the others get their answers."""

import asyncio
import errno
import select
import socket
from unittest.mock import Mock

import pytest

from poddispatchd.web.closing import Closer
from poddispatchd.web.connection_limits import ConnectionTable, ListenerLimits, Peer
from poddispatchd.web.listener_site import ListenerSite


async def test_a_kernel_that_can_watch_no_more_keeps_nobody_from_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever stood behind the first one that could not be watched was never answered, nor anybody after."""

    class Full:
        """Of an epoll: nothing more can be registered."""

        def __init__(self) -> None:
            self._own = epoll()
            self.fileno, self.poll, self.close = self._own.fileno, self._own.poll, self._own.close

        def register(self, *_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    epoll = select.epoll
    monkeypatch.setattr(select, "epoll", Full)
    loop, table = asyncio.get_running_loop(), ConnectionTable(ListenerLimits())
    site = Mock(spec=ListenerSite, loop=loop, table=table)
    closer = Closer(site)
    try:
        peers = []
        for number in range(3):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            theirs.setblocking(False)
            peer = Peer(f"192.0.2.{number}", lambda: None)
            table.add(peer, loop.time())
            closer.refuse(ours, peer, b"no", is_whole=False)
            peers.append(theirs)
        async with asyncio.timeout(10):
            assert [await loop.sock_recv(theirs, 10) for theirs in peers] == [b"no"] * 3
            assert [await loop.sock_recv(theirs, 10) for theirs in peers] == [b""] * 3
        assert len(table) == 0
    finally:
        closer.close()
        for theirs in peers:
            theirs.close()
