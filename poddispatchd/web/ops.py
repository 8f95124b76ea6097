"""The private listener: metrics, health, and the state of the daemon as a page and as JSON."""

import json
import re
import socket
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from ipaddress import ip_address

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from msgspec import Struct
from msgspec.structs import asdict

from poddispatchd.observability.metrics import Metrics
from poddispatchd.web.connection_limits import ListenerLimits
from poddispatchd.web.overviews import Overview
from poddispatchd.web.page import page_policy, status_page
from poddispatchd.web.state import DaemonState

_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::\d*)?")
"""An IPv6 address and a port as a Host has them, and nothing behind them."""

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


OPS_LIMITS = ListenerLimits(most=64, most_of_one=None)
"""Of the private listener: who reaches it is trusted, but its descriptors are none of others'."""

OPS_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer: what stands here is for no other page."""


def ops_application(
    metrics: Metrics,
    state: Callable[[], DaemonState | None],
    alive: Callable[[], list[str]],
    *,
    waiting: Callable[[], str],
    refresh: Callable[[bool], Awaitable[Overview | None]] | None = None,
    allowed_hosts: Collection[str] = (),
) -> web.Application:
    """The routes of ``ops.listen``.

    Args:
        metrics: to expose.
        state: the daemon's state; None while it is starting.
        alive: the jobs that are stuck, none in a live daemon.
        waiting: what a daemon that is starting waits for, in words.
        refresh: has the figures counted anew before they are shown; with True gives the tasks of the page.
        allowed_hosts: names under which it may be asked for, besides addresses and names of this machine.
    """

    async def fresh(*, with_tasks: bool) -> DaemonState | None:
        if refresh is not None:
            await refresh(with_tasks)
        return state()

    async def get_metrics(_: web.Request) -> web.Response:
        """What is measured, in the text format of Prometheus."""
        await fresh(with_tasks=False)
        return web.Response(body=metrics.exposition(), headers={"Content-Type": _METRICS_TYPE})

    async def get_live(_: web.Request) -> web.Response:
        """200 while every job makes progress, else 503 with the names of those that are stuck."""
        stuck = alive()
        return web.json_response({"live": not stuck, "stuck": stuck}, status=503 if stuck else 200)

    async def get_ready(_: web.Request) -> web.Response:
        """200 while the daemon can do its work, else 503 with the reason; what a person should look at."""
        current = state()
        reasons = [waiting()] if current is None else list(current.not_ready)
        problems = reasons if current is None else list(current.problems)
        return web.json_response(
            {"ready": not reasons, "reason": " ".join(reasons) or None, "problems": problems},
            status=503 if reasons else 200,
        )

    async def get_api_status(_: web.Request) -> web.Response:
        """The state as JSON, see below; 503 while the daemon is starting."""
        current = await fresh(with_tasks=True)
        if current is None:
            return web.json_response({"error": waiting()}, status=503)
        return web.json_response({**asdict(current), "ready": current.ready}, dumps=_as_json)

    async def get_status(_: web.Request) -> web.Response:
        """The same as a page for people."""
        overview = None if refresh is None else await refresh(True)
        return web.Response(
            text=status_page(state(), waiting(), overview),
            content_type="text/html",
            headers={"Content-Security-Policy": page_policy()},
        )

    async def get_root(_: web.Request) -> web.Response:
        """Leads to /status."""
        raise web.HTTPFound("/status")

    names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in allowed_hosts)}
    application = web.Application(middlewares=[_host_check(names)])
    application.router.add_get("/", get_root)
    application.router.add_get("/metrics", get_metrics)
    application.router.add_get("/health/live", get_live)
    application.router.add_get("/health/ready", get_ready)
    application.router.add_get("/api/status", get_api_status)
    application.router.add_get("/status", get_status)
    return application


def _host_check(names: Collection[str]) -> Middleware:
    """Refuses requests whose ``Host`` is neither an address nor one of these names."""

    @web.middleware
    async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host")
        # HTTP/1.0 knows no Host; browsers, which can be deceived, always send one.
        if host is not None and not _is_ours(host, names):
            return web.Response(
                status=421,
                text="This name is not served here; if it should be, add it to ops.allowed_hosts.\n",
            )
        return await handler(request)

    return check_host


def _as_json(data: object) -> str:
    return json.dumps(data, indent=1, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Struct):
        return asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _is_ours(host: str, names: Collection[str]) -> bool:
    """Whether a ``Host`` names this listener: an address does, and of names only those that are known.

    A page that somebody's browser shows can have its own name lead to our address (DNS rebinding), and would
    read what stands here; it cannot take an address for a name.
    """
    name = host.strip().lower()
    if (bracketed := _BRACKETED.fullmatch(name)) is not None:
        name = bracketed[1]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    if name.rstrip(".") in names:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
