"""How a fake manager is configured."""

from dataclasses import dataclass

from poddispatchd.sandbox.fake_runner_manager.files import Mode
from poddispatchd.sandbox.fake_runner_manager.routes import HealthRoute


@dataclass(slots=True, kw_only=True)
class FakeManagerSettings:
    """How a manager is configured.

    Attributes:
        tokens: the bearer tokens it takes; they may change while it runs.
        mode: how it serves results.
        health: its generation.
        version: what it says it is.
        prefix: an optional path prefix, as ``/manager``.
        deduplicate: managers before 1.3.2 do not.
        can_stop: managers before 1.6.0 cannot.
        rate_limit: calls a minute and path; None: no limiter.
        notify_hosts: hosts that a notify_url may name; empty: any.
        resolve_names: ask DNS for the host of a notify_url. Without it every name can be resolved, except
            those ending in ``.invalid``: tests stay on this machine.
        allow_private_networks: take a notify_url whose name resolves to a private address.
        own_domains: priority domains; the others share ``other_share`` of the runners. Empty: no quota.
        other_share: a fraction of the runners, at least one runner.
    """

    tokens: frozenset[str]
    mode: Mode
    health: HealthRoute
    version: str
    prefix: str
    deduplicate: bool
    can_stop: bool
    rate_limit: int | None
    notify_hosts: tuple[str, ...]
    resolve_names: bool
    allow_private_networks: bool
    own_domains: tuple[str, ...]
    other_share: float
