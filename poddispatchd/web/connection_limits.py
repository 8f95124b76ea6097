"""Which connections a listener keeps, and which make room: decisions only, no socket is touched here."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import TypeAlias

from msgspec import Struct, field

from poddispatchd.web.client_address import counted_as


class ListenerLimits(Struct, frozen=True):
    """What one listener takes on.

    Attributes:
        most: connections at once.
        most_of_one: of these, of one address that has shown no valid token; None: any number.
        head_seconds: until the head of the first request is there.
        idle_seconds: between two requests of a peer that is known.
    """

    most: int = 8000
    most_of_one: int | None = 100
    head_seconds: float = 10.0
    idle_seconds: float = 75.0


class PeerState(Enum):
    """What a peer does."""

    WAITING = auto()
    """We wait for it: for the head of a request, or of the next one."""
    BUSY = auto()
    """It waits for us, or sends a body that we want."""


class Peer(Struct, eq=False):
    """One connection; ``drop`` ends it at once. ``is_known``: it has shown a valid token.

    ``has_asked``: the head of a request of it was there.
    """

    address: str
    drop: Callable[[], None]
    is_exempt: bool = False
    """A web server of ours: it speaks for many."""
    state: PeerState = PeerState.WAITING
    is_known: bool = False
    has_asked: bool = False
    since: float = 0.0
    counted: str | None = None


_Queue: TypeAlias = "OrderedDict[Peer, None]"
"""Peers that we wait for, those who have let us wait longest first."""


class _Share(Struct):
    """What one address has: how many connections, and those of them that we wait for."""

    connections: int = 0
    waiting: _Queue = field(default_factory=OrderedDict)


class ConnectionTable:
    """All connections of a listener."""

    def __init__(self, limits: ListenerLimits) -> None:
        self._limits = limits
        self._peers: set[Peer] = set()
        self._unauthenticated: _Queue = OrderedDict()
        self._known: _Queue = OrderedDict()
        self._of_address: dict[str, _Share] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(tuple(self._peers))

    def make_room(self, address: str, *, is_exempt: bool) -> bool:
        """Whether one more connection of this address is taken; others may be dropped for it."""
        # Of its own address first: whoever connects too often makes room for itself, and not others.
        if not is_exempt and self._is_full(address) and not self._drop_of(counted_as(address)):
            return False
        return len(self._peers) < self._limits.most or self.drop_one()

    def drop(self, peer: Peer) -> None:
        """Drop this one."""
        self.dropped += 1
        self.remove(peer)
        peer.drop()

    def drop_one(self) -> bool:
        """Drop whoever has let us wait longest, unauthenticated ones first; whether there was anybody."""
        # Whoever is BUSY stands in neither queue: an answer that is under way is never dropped for others.
        victim = _first(self._unauthenticated) or _first(self._known)
        if victim is None:
            return False
        self.drop(victim)
        return True

    def add(self, peer: Peer, now: float) -> None:
        """A new connection: its first request is waited for."""
        self._peers.add(peer)
        # All clients of a web server of ours come from its address.
        if not peer.is_exempt:
            self._count(peer, peer.address)
        self.waits(peer, now)

    def remove(self, peer: Peer) -> None:
        """A connection that has ended."""
        self._peers.discard(peer)
        self._forget(peer)
        self._uncount(peer)

    def waits(self, peer: Peer, now: float) -> None:
        """We wait for this peer from now on."""
        if peer not in self._peers:
            return
        self._forget(peer)
        peer.state, peer.since = PeerState.WAITING, now
        (self._known if peer.is_known else self._unauthenticated)[peer] = None
        if peer.counted is not None:
            self._of_address[peer.counted].waiting[peer] = None

    def works(self, peer: Peer) -> None:
        """This peer waits for us from now on: it is not dropped for others."""
        self._forget(peer)
        peer.state, peer.has_asked = PeerState.BUSY, True

    def speaks_for(self, peer: Peer, address: str) -> bool:
        """A request came on behalf of an address; whether that has not too many connections already."""
        # A token is worth more than an address: managers behind one gateway share theirs.
        if peer.is_known or address == peer.address:
            return True
        self._uncount(peer)
        is_full = self._is_full(address)
        self._count(peer, address)
        return not is_full

    def knows(self, peer: Peer) -> None:
        """This peer has shown a valid token."""
        # Not counted any more: managers behind one gateway may be many.
        peer.is_known = True
        self._uncount(peer)

    def awaits_answers(self, now: float, seconds: float) -> bool:
        """Whether somebody waits for us, or has connected less than ``seconds`` ago and not asked yet."""
        return any(
            peer.state is PeerState.BUSY or (not peer.has_asked and now - peer.since < seconds)
            for peer in self._peers
        )

    def drop_late(self, now: float, most: int) -> int:
        """Drop some of those for whom we have waited too long; how many there were, at most so many."""
        late = 0
        for queue, seconds in (
            (self._unauthenticated, self._limits.head_seconds),
            (self._known, self._limits.idle_seconds),
        ):
            while late < most and (peer := _first(queue)) is not None and now - peer.since >= seconds:
                self.drop(peer)
                late += 1
        return late

    def _is_full(self, address: str) -> bool:
        most, share = self._limits.most_of_one, self._of_address.get(counted_as(address))
        return most is not None and share is not None and share.connections >= most

    def _drop_of(self, counted: str) -> bool:
        """Drop the one of an address that has let us wait longest."""
        victim = _first(self._of_address[counted].waiting)
        if victim is None:
            return False
        self.drop(victim)
        return True

    def _forget(self, peer: Peer) -> None:
        self._unauthenticated.pop(peer, None)
        self._known.pop(peer, None)
        if peer.counted is not None:
            self._of_address[peer.counted].waiting.pop(peer, None)

    def _count(self, peer: Peer, address: str) -> None:
        peer.counted = counted_as(address)
        self._of_address.setdefault(peer.counted, _Share()).connections += 1

    def _uncount(self, peer: Peer) -> None:
        if peer.counted is not None:
            share = self._of_address[peer.counted]
            share.waiting.pop(peer, None)
            share.connections -= 1
            if share.connections <= 0:
                del self._of_address[peer.counted]
            peer.counted = None


def _first(queue: _Queue) -> Peer | None:
    return next(iter(queue), None)
