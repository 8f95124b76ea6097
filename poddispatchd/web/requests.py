"""Which connection a request came on, and what handlers tell of its peer."""

from aiohttp import web

from poddispatchd.web.connection_limits import Peer
from poddispatchd.web.protocol import Connection


def peer_of(request: web.BaseRequest) -> Peer | None:
    """The other end of a request's connection; None in a server that is not ours."""
    protocol = request.protocol
    return protocol.peer if isinstance(protocol, Connection) else None


def speaks_for(request: web.BaseRequest, address: str) -> bool:
    """A request is made on behalf of an address; whether that has not too many connections already."""
    protocol = request.protocol
    return not isinstance(protocol, Connection) or protocol.table.speaks_for(protocol.peer, address)


def recognise(request: web.BaseRequest) -> None:
    """The peer has shown a valid token: it is authenticated, and its body may be read."""
    protocol = request.protocol
    if isinstance(protocol, Connection):
        protocol.table.knows(protocol.peer)
        protocol.let_in(request)
