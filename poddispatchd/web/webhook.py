"""``POST /runner/notify_task_end/``: what runner managers call when a task has ended."""

import structlog
from aiohttp import web

from poddispatchd.clock import Clock
from poddispatchd.config.model import WebhookSettings
from poddispatchd.errors import CallbackRefusedError, DatabaseError
from poddispatchd.events import Event
from poddispatchd.metrics import Metrics
from poddispatchd.services.reception import Reception

log = structlog.get_logger(__name__)

_RETRY_LATER = 503


def webhook_application(
    reception: Reception, settings: WebhookSettings, *, metrics: Metrics, clock: Clock
) -> web.Application:
    """The public listener: one route and nothing else.

    Checks and answers are those of Pod's view ``notify_task_end``, in its order; a callback that cannot be
    recorded is answered 503, so that the manager calls again (invariant I11).
    """

    async def handle(request: web.Request) -> web.Response:
        begun = clock.monotonic()
        try:
            await _take(reception, request)
            answer = web.json_response({"status": "OK"})
        except CallbackRefusedError as error:
            log.warning(
                Event.CALLBACK_REFUSED, remote=request.remote, status=error.status, reason=error.message
            )
            answer = web.json_response({"error": error.message}, status=error.status)
        except DatabaseError as error:
            log.warning(Event.CALLBACK_REFUSED, remote=request.remote, status=_RETRY_LATER, reason=str(error))
            answer = web.json_response({"error": "Try again later."}, status=_RETRY_LATER)
        metrics.webhook_requests.labels(str(answer.status)).inc()
        metrics.webhook_duration.observe(clock.monotonic() - begun)
        return answer

    application = web.Application(client_max_size=settings.max_body)
    application.router.add_route("*", settings.path, handle)
    return application


async def _take(reception: Reception, request: web.Request) -> None:
    if request.method.upper() != "POST":
        raise CallbackRefusedError(405, "Only POST requests are allowed.")
    if "application/json" not in request.headers.get("Content-Type", ""):
        raise CallbackRefusedError(415, "Only application/json content type is allowed.")
    token = _bearer(request)
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise CallbackRefusedError(413, "The callback is larger than webhook.max_body.") from None
    await reception.take(token, body)


def _bearer(request: web.Request) -> bytes:
    """The token of the ``Authorization`` header as the bytes that came.

    Raises:
        CallbackRefusedError: there is none.
    """
    header = request.headers.get("Authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise CallbackRefusedError(401, "Missing or invalid Bearer token.")
    return token.strip().encode("utf-8", "surrogateescape")
