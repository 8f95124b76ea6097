"""The private listener: metrics, health, and the state of the daemon as a page and as JSON."""

import dataclasses
import json
from collections.abc import Callable

from aiohttp import web

from poddispatchd.observability.metrics import Metrics
from poddispatchd.web.page import status_page
from poddispatchd.web.state import DaemonState

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def ops_application(
    metrics: Metrics,
    state: Callable[[], DaemonState | None],
    alive: Callable[[], list[str]],
    *,
    waiting: Callable[[], str],
) -> web.Application:
    """The routes of ``ops.listen``.

    Args:
        metrics: to expose.
        state: the daemon's state; None while it is starting.
        alive: the jobs that are stuck, none in a live daemon.
        waiting: what a daemon that is starting waits for, in words.
    """

    async def get_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": _METRICS_TYPE})

    async def get_live(_: web.Request) -> web.Response:
        stuck = alive()
        return web.json_response({"live": not stuck, "stuck": stuck}, status=503 if stuck else 200)

    async def get_ready(_: web.Request) -> web.Response:
        current = state()
        ready = current is not None and current.database_up
        problems = [waiting()] if current is None else list(current.problems)
        return web.json_response({"ready": ready, "problems": problems}, status=200 if ready else 503)

    async def get_api_status(_: web.Request) -> web.Response:
        current = state()
        if current is None:
            return web.json_response({"error": waiting()}, status=503)
        return web.json_response(dataclasses.asdict(current), dumps=lambda data: json.dumps(data, indent=1))

    async def get_status(_: web.Request) -> web.Response:
        return web.Response(
            text=status_page(state(), waiting()),
            content_type="text/html",
            headers={
                "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
                "Cache-Control": "no-store",
            },
        )

    async def get_root(_: web.Request) -> web.Response:
        raise web.HTTPFound("/status")

    application = web.Application()
    application.router.add_get("/", get_root)
    application.router.add_get("/metrics", get_metrics)
    application.router.add_get("/health/live", get_live)
    application.router.add_get("/health/ready", get_ready)
    application.router.add_get("/api/status", get_api_status)
    application.router.add_get("/status", get_status)
    return application
