"""Settings of what the daemon answers: the webhook and the private pages."""

from ipaddress import ip_network
from typing import Annotated

from poddispatchd.config.section import Section
from poddispatchd.config.units import Address, Duration, ListenAddress, Network, Size
from poddispatchd.config.validation import Means


class WebhookSettings(Section, frozen=True):
    """The listener that runner managers call."""

    listen: Annotated[ListenAddress, Means("Where to listen: host:port")] = Address("127.0.0.1", 8765)
    path: Annotated[
        str,
        # What stands in a request as it is: with an escape (%20) no request would ever be the webhook's.
        Means("Path of the webhook", pattern=r"^/[A-Za-z0-9_.~!$&'()*+,;=:@/-]*$"),
    ] = "/runner/notify_task_end/"
    max_body: Annotated[Size, Means("Largest callback accepted", ge=2**16)] = 8 * 2**20
    trusted_proxies: Annotated[
        tuple[Network, ...],
        Means("Addresses or networks of the web servers in front: no other X-Forwarded-For is believed"),
    ] = (ip_network("127.0.0.1"), ip_network("::1"))
    max_connections: Annotated[
        int,
        Means(
            "Connections open at once; fewer where LimitNOFILE leaves no room for them. Of too many, "
            "those make room that have waited longest without a valid token",
            ge=16,
            le=100_000,
        ),
    ] = 8000
    max_connections_per_address: Annotated[
        int,
        Means(
            "Of these, from one address without a valid token; trusted proxies are not counted",
            ge=4,
            le=100_000,
        ),
    ] = 100
    header_timeout: Annotated[
        Duration, Means("How long the head of a request may take to arrive", gt=0, le=300)
    ] = 10.0
    body_timeout: Annotated[
        Duration, Means("How long its body may take: it is read with a valid token only", gt=0, le=300)
    ] = 30.0
    idle_timeout: Annotated[
        Duration, Means("How long a connection is kept for the next callback", gt=0, le=3600)
    ] = 75.0


class OpsSettings(Section, frozen=True):
    """The private listener: metrics, health and status. Never expose it to the Internet."""

    listen: Annotated[ListenAddress, Means("Where to listen: host:port")] = Address("127.0.0.1", 9765)
    allowed_hosts: Annotated[
        tuple[str, ...],
        Means(
            "Names under which it may be asked for, besides addresses, localhost and this machine's "
            "name: a page in somebody's browser must not reach it by a name of its own"
        ),
    ] = ()
