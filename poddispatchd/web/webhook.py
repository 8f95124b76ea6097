"""``POST /runner/notify_task_end/``: what runner managers call when a task has ended."""

import asyncio
from collections.abc import Coroutine

import structlog
from aiohttp import web

from poddispatchd.callbacks.receiver import CallbackReceiver
from poddispatchd.clock import Clock
from poddispatchd.config.model import WebhookSettings
from poddispatchd.errors import CallbackRefusedError, DatabaseError, DatabaseUnavailableError
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics

log = structlog.get_logger(__name__)

PATIENCE = 8.0
"""Seconds until an answer, whatever the database does: managers wait 15 s and then do not call again."""

_BODY_SECONDS = 30.0
_NOT_A_CALLBACK = 405
_RETRY_LATER = 503
_RETRY_AFTER = "30"

_STRANGERS_BODY = 64 * 2**10
"""Bytes of a body that are read to find out what is wrong with it, before it is known whose the token is."""


def webhook_application(
    reception: CallbackReceiver,
    settings: WebhookSettings,
    *,
    metrics: Metrics,
    clock: Clock,
    patience: float = PATIENCE,
) -> web.Application:
    """The public listener: one route and nothing else.

    Checks and answers are those of Pod's view ``notify_task_end``, in its order; a callback that cannot be
    recorded is answered 503, so that the manager calls again (invariant I11).

    Args:
        reception: what takes the callbacks in.
        settings: path and limits.
        metrics: where answers are counted.
        clock: what they are timed with.
        patience: seconds the database has to record a callback.
    """
    webhook = _Webhook(reception, patience)

    async def handle(request: web.Request) -> web.Response:
        begun = clock.monotonic()
        answer = await webhook.answer(request)
        metrics.webhook_requests.labels(str(answer.status)).inc()
        metrics.webhook_duration.observe(clock.monotonic() - begun)
        return answer

    application = web.Application(client_max_size=settings.max_body)
    application.router.add_route("*", settings.path, handle)
    return application


class _Webhook:
    def __init__(self, reception: CallbackReceiver, patience: float) -> None:
        self._reception = reception
        self._patience = patience
        self._abandoned: set[asyncio.Task[object]] = set()

    async def answer(self, request: web.Request) -> web.Response:
        try:
            await self._take(request)
        except CallbackRefusedError as error:
            # Whoever asks whether anybody is here, as 'poddispatchd check' does, is no cause for alarm.
            tell = log.info if error.status == _NOT_A_CALLBACK else log.warning
            tell(Event.CALLBACK_REFUSED, remote=request.remote, status=error.status, reason=error.message)
            return web.json_response({error.key: error.message}, status=error.status)
        except DatabaseError as error:
            log.warning(Event.CALLBACK_REFUSED, remote=request.remote, status=_RETRY_LATER, reason=str(error))
            return _later()
        except Exception:  # a manager must hear that it is to call again, whatever went wrong here
            log.exception(Event.SERVICE_CRASHED, job="webhook")
            return _later()
        return web.json_response({"status": "OK"})

    async def _take(self, request: web.Request) -> None:
        if request.method.upper() != "POST":
            raise CallbackRefusedError(_NOT_A_CALLBACK, "Only POST requests are allowed.")
        if "application/json" not in request.headers.get("Content-Type", ""):
            raise CallbackRefusedError(415, "Only application/json content type is allowed.")
        token = _bearer(request)
        if request.content_length is None or request.content_length > _STRANGERS_BODY:
            # Strangers get no megabytes of memory.
            await self._in_time(self._reception.signers(token))
        body = await _body(request)
        await self._in_time(self._reception.take(token, body))

    async def _in_time(self, work: Coroutine[object, object, object]) -> None:
        """Wait for the database, but not for ever: not even for a statement to be cancelled."""
        task = asyncio.ensure_future(work)
        done, _ = await asyncio.wait({task}, timeout=self._patience)
        if done:
            task.result()
            return
        task.cancel()
        self._abandoned.add(task)
        task.add_done_callback(self._forget)
        raise DatabaseUnavailableError("The database is too slow to record the callback.")

    def _forget(self, task: "asyncio.Task[object]") -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()


async def _body(request: web.Request) -> bytes:
    """The whole body.

    Raises:
        CallbackRefusedError: it is too large, too slow, or did not arrive whole.
    """
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise CallbackRefusedError(413, "The callback is larger than webhook.max_body.") from None
    except TimeoutError:
        raise CallbackRefusedError(408, "The callback did not arrive in time.") from None
    except (web.HTTPException, web.RequestPayloadError, web.PayloadAccessError, OSError):
        raise CallbackRefusedError(400, "Invalid request.") from None


def _later() -> web.Response:
    return web.json_response(
        {"error": "Try again later."}, status=_RETRY_LATER, headers={"Retry-After": _RETRY_AFTER}
    )


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
