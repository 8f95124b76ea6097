"""The webhook: on an address of its own, or on a socket that systemd keeps open over a restart."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack

import structlog

from poddispatchd.app.composition import Resources
from poddispatchd.callbacks.receiver import CallbackReceiver
from poddispatchd.observability.events import Event
from poddispatchd.runtime.activation import ReceivedSockets
from poddispatchd.web.listener import ListenerOptions, Serving, serving
from poddispatchd.web.refusal_log import RefusalLog
from poddispatchd.web.webhook import early_answers, webhook_application, webhook_limits

log = structlog.get_logger(__name__)

_LATEST_ACCEPT = 8.0
"""Seconds after which connections of a received socket are taken even though nothing is ready: they hear 503
then, before whoever calls (15 s) and the web server in front give up."""


async def listen_for_callbacks(
    stack: AsyncExitStack, resources: Resources, received: ReceivedSockets, waits: Callable[[str], None]
) -> Serving:
    """Open the webhook until the stack unwinds; ``waits`` is told that its address is not there yet.

    Connections of a received socket wait until the daemon is ready: what is asked during its start is
    answered a little later, as if there had been no restart.
    """
    receiver = CallbackReceiver(resources.database, resources.registry, resources.wakeups, resources.clock)
    settings = resources.settings.webhook
    refusals = RefusalLog("webhook", resources.clock.monotonic)
    webhook = webhook_application(
        receiver, settings, metrics=resources.metrics, clock=resources.clock, refusals=refusals
    )
    sockets = received.take("webhook")
    opened = serving(
        webhook,
        sockets or settings.listen,
        "webhook.listen",
        ListenerOptions(
            limits=webhook_limits(settings),
            trusted=settings.trusted_proxies,
            metrics=resources.metrics,
            early=early_answers(
                receiver, settings, metrics=resources.metrics, clock=resources.clock, refusals=refusals
            ),
            waits=waits,
        ),
    )
    listener = await stack.enter_async_context(opened)
    if sockets:
        log.info(
            Event.SOCKET_RECEIVED,
            listener="webhook",
            address=str(listener.address),
            instead_of=f"webhook.listen ({settings.listen})",
        )
        latest = asyncio.get_running_loop().call_later(_LATEST_ACCEPT, listener.accept)
        stack.callback(latest.cancel)
    return listener


async def drain(listeners: Iterable[Serving]) -> None:
    """Answer what was asked while the database is still there; what comes later waits for the next daemon."""
    for listener in listeners:
        if listener.is_received:
            await listener.drain()
