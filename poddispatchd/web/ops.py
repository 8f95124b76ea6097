"""The private listener: metrics, health, and the state of the daemon as a page and as JSON."""

import dataclasses
import json
from collections.abc import Awaitable, Callable
from datetime import datetime

from aiohttp import web

from poddispatchd.observability.metrics import Metrics
from poddispatchd.web.figures import Overview
from poddispatchd.web.page import page_policy, status_page
from poddispatchd.web.state import DaemonState

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def ops_application(
    metrics: Metrics,
    state: Callable[[], DaemonState | None],
    alive: Callable[[], list[str]],
    *,
    waiting: Callable[[], str],
    refresh: Callable[[bool], Awaitable[Overview | None]] | None = None,
) -> web.Application:
    """The routes of ``ops.listen``.

    Args:
        metrics: to expose.
        state: the daemon's state; None while it is starting.
        alive: the jobs that are stuck, none in a live daemon.
        waiting: what a daemon that is starting waits for, in words.
        refresh: has the figures counted anew before they are shown; with True gives the tasks of the page.
    """

    async def fresh(*, with_tasks: bool) -> DaemonState | None:
        if refresh is not None:
            await refresh(with_tasks)
        return state()

    async def get_metrics(_: web.Request) -> web.Response:
        await fresh(with_tasks=False)
        return web.Response(body=metrics.exposition(), headers={"Content-Type": _METRICS_TYPE})

    async def get_live(_: web.Request) -> web.Response:
        stuck = alive()
        return web.json_response({"live": not stuck, "stuck": stuck}, status=503 if stuck else 200)

    async def get_ready(_: web.Request) -> web.Response:
        current = state()
        reasons = [waiting()] if current is None else list(current.not_ready)
        problems = reasons if current is None else list(current.problems)
        return web.json_response(
            {"ready": not reasons, "reason": " ".join(reasons) or None, "problems": problems},
            status=503 if reasons else 200,
        )

    async def get_api_status(_: web.Request) -> web.Response:
        current = await fresh(with_tasks=True)
        if current is None:
            return web.json_response({"error": waiting()}, status=503)
        return web.json_response({**dataclasses.asdict(current), "ready": current.ready}, dumps=_as_json)

    async def get_status(_: web.Request) -> web.Response:
        overview = None if refresh is None else await refresh(True)
        return web.Response(
            text=status_page(state(), waiting(), overview),
            content_type="text/html",
            headers={
                "Content-Security-Policy": page_policy(),
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


def _as_json(data: object) -> str:
    return json.dumps(data, indent=1, default=_plain)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
