"""``POST /runner/notify_task_end/``: what runner managers call when a task has ended."""

import asyncio
import math
from collections.abc import Sequence

import structlog
from aiohttp import web

from poddispatchd.callbacks.answer_deadline import ANSWER_WITHIN
from poddispatchd.callbacks.receiver import CallbackReceiver
from poddispatchd.clock import Clock
from poddispatchd.config.listeners import WebhookSettings
from poddispatchd.domain.task import ManagerId
from poddispatchd.errors import CallbackRefusedError, DatabaseError, DatabaseUnavailableError
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.web.bodies import BodyMemory, read_body
from poddispatchd.web.client_address import client_address
from poddispatchd.web.connection_limits import ListenerLimits
from poddispatchd.web.fixed_answer import FixedAnswer
from poddispatchd.web.listener import Handler
from poddispatchd.web.listener_site import HEADERS
from poddispatchd.web.refusal_log import RefusalLog
from poddispatchd.web.requests import recognise, speaks_for
from poddispatchd.web.unauthenticated import RETRY_AFTER, Early, UnauthenticatedRequests

log = structlog.get_logger(__name__)

_NOT_A_CALLBACK = 405
_RETRY_LATER = 503
_WORDS = {
    400: "Invalid request.",
    401: "Missing or invalid Bearer token.",
    403: "Invalid Bearer token.",
    404: "Not found.",
    _NOT_A_CALLBACK: "Only POST requests are allowed.",
    415: "Only application/json content type is allowed.",
    _RETRY_LATER: "Try again later.",
}
"""What unauthenticated clients hear, whether their request is served or its head alone is looked at."""

_LIMITED = 429
_LIMITS = {_LIMITED: "quota", _RETRY_LATER: "body_memory"}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def webhook_application(
    receiver: CallbackReceiver,
    settings: WebhookSettings,
    *,
    metrics: Metrics,
    clock: Clock,
    answer_within: float = ANSWER_WITHIN,
    refusals: RefusalLog | None = None,
) -> Handler:
    """The public listener: one path and nothing else.

    Checks and answers are those of Pod's view ``notify_task_end``, in its order, but that the token is judged
    before anything is known of the body (invariant I13); a callback that cannot be recorded is answered 503,
    so that the manager calls again (invariant I11).

    Args:
        receiver: what takes the callbacks in.
        settings: path and limits.
        metrics: where answers are counted.
        clock: what they are timed with.
        answer_within: seconds the database has to record a callback.
        refusals: where what is refused is told.
    """
    refusals = refusals or RefusalLog("webhook", clock.monotonic)
    webhook = _Webhook(
        receiver, settings, metrics, clock=clock, refusals=refusals, answer_within=answer_within
    )

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.path != settings.path:
            return web.json_response({"error": _WORDS[404]}, status=404)
        begun = clock.monotonic()
        answer = await webhook.answer(request)
        metrics.webhook_requests.labels(str(answer.status)).inc()
        metrics.webhook_duration.observe(clock.monotonic() - begun)
        return answer

    return handle


def early_answers(
    receiver: CallbackReceiver,
    settings: WebhookSettings,
    *,
    metrics: Metrics,
    clock: Clock,
    refusals: RefusalLog | None = None,
) -> Early:
    """What answers unauthenticated requests by their head alone when many of them come: the same statuses.

    Args: as of ``webhook_application``.
    """
    told = refusals or RefusalLog("webhook", clock.monotonic)

    def refused(address: str, status: int) -> None:
        if status != 404:
            metrics.webhook_requests.labels(str(status)).inc()
            told.flush()
            told.tell(
                Event.CALLBACK_REFUSED,
                remote=address,
                status=status,
                reason=_WORDS[status],
                is_alarming=status != _NOT_A_CALLBACK,
            )

    return UnauthenticatedRequests(
        settings.path,
        {status: {"error": words} for status, words in _WORDS.items()},
        HEADERS,
        tokens=receiver.tokens,
        refused=refused,
        monotonic=clock.monotonic,
    ).judge


def webhook_limits(settings: WebhookSettings) -> ListenerLimits:
    """What the public listener takes on."""
    return ListenerLimits(
        most=settings.max_connections,
        most_of_one=settings.max_connections_per_address,
        head_seconds=settings.header_timeout,
        idle_seconds=settings.idle_timeout,
    )


class _Webhook:
    def __init__(
        self,
        receiver: CallbackReceiver,
        settings: WebhookSettings,
        metrics: Metrics,
        *,
        clock: Clock,
        refusals: RefusalLog,
        answer_within: float,
    ) -> None:
        self._receiver = receiver
        self._settings = settings
        self._metrics = metrics
        self._answer_within = answer_within
        self._memory = BodyMemory()
        self._refusals = refusals
        self._taken = FixedAnswer({"status": "OK"}, clock)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """What a request is answered, whatever it is."""
        remote = client_address(
            request.remote or "",
            request.headers.getall("X-Forwarded-For", ()),
            self._settings.trusted_proxies,
        )
        try:
            await self._take(request, remote)
        except CallbackRefusedError as error:
            # Whoever asks whether anybody is here, as 'poddispatchd check' does, is no cause for alarm.
            self._tell(remote, error.status, error.message, is_alarming=error.status != _NOT_A_CALLBACK)
            return _refusal(error)
        except TimeoutError:
            self._tell(remote, _RETRY_LATER, "The database is too slow to record the callback.")
            return _refusal(_later())
        except DatabaseUnavailableError as error:
            self._tell(remote, _RETRY_LATER, str(error))
            return _refusal(_later())
        except DatabaseError:
            self._tell(remote, _RETRY_LATER, "The database refuses to record the callback.")
            return _refusal(_later())
        except ConnectionError:  # it has gone: nobody reads this
            return _refusal(CallbackRefusedError(400, "Invalid request."))
        except Exception as error:
            self._refusals.tell(Event.SERVICE_CRASHED, job="webhook", error=type(error).__name__)
            log.debug(Event.SERVICE_CRASHED, job="webhook", exc_info=True)
            return _refusal(_later())
        return self._taken

    def _tell(self, remote: str, status: int, reason: str, *, is_alarming: bool = True) -> None:
        self._refusals.flush()
        self._refusals.tell(
            Event.CALLBACK_REFUSED, remote=remote, status=status, reason=reason, is_alarming=is_alarming
        )

    async def _take(self, request: web.BaseRequest, remote: str) -> None:
        """Judge the head, then whose it is, and only then the body.

        Raises:
            CallbackRefusedError: with the answer to give.
            DatabaseError: it cannot be recorded now.
            TimeoutError: the database is too slow.
        """
        if request.method != "POST":
            raise CallbackRefusedError(_NOT_A_CALLBACK, "Only POST requests are allowed.")
        # As Pod's view, which looks for the words anywhere in the header.
        if "application/json" not in request.headers.get("Content-Type", ""):
            raise CallbackRefusedError(415, "Only application/json content type is allowed.")
        token = _bearer(request)
        signers = self._receiver.tokens.fresh_signers(token)
        if not signers:
            # A manager that calls often is heard before it is known whether its token is still good.
            if not speaks_for(request, remote) and not self._receiver.tokens.has_seen(token):
                raise CallbackRefusedError(_LIMITED, "Too many requests from this address.", retry_after=5.0)
            async with asyncio.timeout(self._answer_within):
                signers = await self._receiver.tokens.signers(token)
        recognise(request)
        # Nothing is unpacked here: a small body could be endless in memory. Runner managers compress none.
        if "Content-Encoding" in request.headers:
            raise CallbackRefusedError(415, "The body must not be encoded (Content-Encoding).")
        await self._take_body(request, signers)

    async def _take_body(self, request: web.BaseRequest, signers: Sequence[ManagerId]) -> None:
        most = self._settings.max_body
        announced = _content_length(request)
        if announced is not None and announced > most:
            raise CallbackRefusedError(413, "The callback is larger than webhook.max_body.")
        if request.headers.get("Expect") is not None:
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0  # the answer has not begun
        whose = tuple(signers)
        try:
            async with self._memory.room(most if announced is None else announced, whose):
                body = await read_body(request, most=most, seconds=self._settings.body_timeout)
                await self._receiver.take(whose, body)
        except CallbackRefusedError as error:
            if error.status in _LIMITS:
                self._metrics.webhook_limited.labels(_LIMITS[error.status]).inc()
            raise


def _content_length(request: web.BaseRequest) -> int | None:
    value = request.headers.get("Content-Length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None


def _later() -> CallbackRefusedError:
    return CallbackRefusedError(_RETRY_LATER, "Try again later.", retry_after=RETRY_AFTER)


def _refusal(error: CallbackRefusedError) -> web.Response:
    headers = {} if error.retry_after is None else {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    if error.status == _NOT_A_CALLBACK:
        headers["Allow"] = "POST"
    return web.json_response({error.key: error.message}, status=error.status, headers=headers)


def _bearer(request: web.BaseRequest) -> bytes:
    """The token of the ``Authorization`` header as the bytes that came.

    Raises:
        CallbackRefusedError: there is none.
    """
    header = request.headers.get("Authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise CallbackRefusedError(401, "Missing or invalid Bearer token.")
    return token.strip().encode("utf-8", "surrogateescape")
