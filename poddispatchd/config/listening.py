"""Settings of what the daemon answers: the webhook and the private pages."""

from ipaddress import ip_network

from pydantic import Field

from poddispatchd.config.section import Section
from poddispatchd.config.units import Address, Duration, ListenAddress, Network, Size


class WebhookSettings(Section):
    """The listener that runner managers call."""

    listen: ListenAddress = Field(
        default=Address("127.0.0.1", 8765), description="Where to listen: host:port"
    )
    path: str = Field(default="/runner/notify_task_end/", pattern=r"^/.*$", description="Path of the webhook")
    max_body: Size = Field(default=8 * 2**20, ge=2**16, description="Largest callback accepted")
    trusted_proxies: tuple[Network, ...] = Field(
        default=(ip_network("127.0.0.1"), ip_network("::1")),
        description="Addresses or networks of the web servers in front: no other X-Forwarded-For is believed",
    )
    max_connections: int = Field(
        default=8000,
        ge=16,
        le=100_000,
        description="Connections open at once; fewer where LimitNOFILE leaves no room for them. Of too many, "
        "those make room that have waited longest without a valid token",
    )
    max_connections_per_address: int = Field(
        default=100,
        ge=4,
        le=100_000,
        description="Of these, from one address without a valid token; trusted proxies are not counted",
    )
    header_timeout: Duration = Field(
        default=10.0, gt=0, le=300, description="How long the head of a request may take to arrive"
    )
    body_timeout: Duration = Field(
        default=30.0,
        gt=0,
        le=300,
        description="How long its body may take: it is read with a valid token only",
    )
    idle_timeout: Duration = Field(
        default=75.0, gt=0, le=3600, description="How long a connection is kept for the next callback"
    )


class OpsSettings(Section):
    """The private listener: metrics, health and status. Never expose it to the Internet."""

    listen: ListenAddress = Field(
        default=Address("127.0.0.1", 9765), description="Where to listen: host:port"
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Names under which it may be asked for, besides addresses, localhost and this machine's "
        "name: a page in somebody's browser must not reach it by a name of its own",
    )
