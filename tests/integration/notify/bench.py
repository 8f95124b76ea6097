"""A real SMTP server, and the parts of a daemon that tells people."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from random import random

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from poddispatchd.app import features
from poddispatchd.app.composition import assembled, create_resources
from poddispatchd.app.parts import Parts
from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.domain.lifecycle import Retries
from poddispatchd.domain.task import Task, TaskPk
from poddispatchd.journal import notices
from poddispatchd.pod import tasks
from tests.plugins.postgres import PodDatabase

USER, PASSWORD = "pod", "correct horse"

ONCE = Retries(max_attempts=1, first_wait=0.0, random=random)
"""No task is submitted again."""


@dataclass(frozen=True, slots=True)
class Received:
    """A mail that the server took."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage


# Without slots: aiosmtpd reads all members of it, and in Debian 12's Python one of them could not be read.
@dataclass
class Postbox:
    """What a mail server has got, and how it answers: to recipients (``answers``), and to the next DATA."""

    received: list[Received] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    data_answers: list[str] = field(default_factory=list)
    hang_up_after: bool = False
    connections: int = 0
    logins: int = 0
    port: int = 0

    async def handle_RCPT(  # noqa: N802 - named by the library
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - named by the library
        answer = self.data_answers.pop(0) if self.data_answers else "250 OK"
        if answer.startswith("2"):
            content = envelope.content
            assert isinstance(content, bytes)
            message = message_from_bytes(content, policy=default)
            assert isinstance(message, EmailMessage)
            self.received.append(Received(str(envelope.mail_from), tuple(envelope.rcpt_tos), message))
        if self.hang_up_after:
            transport = server.transport
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
        return answer

    def authenticate(
        self,
        _server: SMTP,
        _session: Session,
        _envelope: Envelope,
        _mechanism: str,
        data: LoginPassword,
    ) -> AuthResult:
        known = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        self.logins += known
        return AuthResult(success=known, handled=False)

    @property
    def subjects(self) -> list[str]:
        return [str(each.message["Subject"]) for each in self.received]


@asynccontextmanager
async def postbox(
    *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Postbox]:
    """An SMTP server on a port of its own."""
    box = Postbox()

    def protocol() -> SMTP:
        box.connections += 1
        return SMTP(
            box,
            hostname="localhost",
            ident="test",
            tls_context=starttls,
            auth_require_tls=False,
            authenticator=box.authenticate,
        )

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=tls)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        await server.wait_closed()


class SteadyClock(Clock):
    """No wait is random; the wall clock stands at the real time."""

    def random(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return super().now()


def settings_of(pod: PodDatabase, media_root: Path, changes: Mapping[str, Mapping[str, object]]) -> Settings:
    sections: dict[str, dict[str, object]] = {
        "database": {"dsn": pod.dsn.get_secret_value(), "pool_size": 3},
        "pod": {
            "https": False,
            "media_root": str(media_root),
            "use_podfile": pod.variant == "podfile",
            "language": "en",
        },
    }
    for section, values in changes.items():
        sections.setdefault(section, {}).update(values)
    return Settings.read(sections)


def mail_settings(box: Postbox | None, **changes: object) -> dict[str, object]:
    """Mail to a server, with an admin and a manager."""
    return {
        "enabled": True,
        "host": "127.0.0.1",
        "port": 9 if box is None else box.port,
        "timeout": "5s",
        "from_email": "pod@example.org",
        "admins": ["admin@example.org"],
        "managers": ["manager@example.org"],
        **changes,
    }


@asynccontextmanager
async def daemon_parts(settings: Settings) -> AsyncIterator[Parts]:
    async with assembled(create_resources(settings, clock=SteadyClock())) as parts:
        yield parts


async def task_of(parts: Parts, pk: TaskPk) -> Task:
    async with parts.database.connection() as connection:
        task = await tasks.get_task(connection, pk)
    assert task is not None
    return task


async def record_failure(parts: Parts, task: Task, words: str = "It went wrong.") -> None:
    async with parts.database.transaction() as connection:
        await notices.add_failed(connection, task, words)


async def record_completion(parts: Parts, task: Task) -> None:
    assert task.video_id is not None
    async with parts.database.transaction() as connection:
        await notices.add_completed(connection, task, task.video_id)


class Telling:
    """The jobs that tell people, one after the other."""

    def __init__(self, parts: Parts) -> None:
        self.notifier = features.notifier(parts)

    async def step(self) -> float:
        """One step of each; seconds until the next look."""
        return min(
            await self.notifier.step(),
            await self.notifier.mail.step(),
            await self.notifier.push.step(),
        )

    async def drain(self) -> None:
        for job in (self.notifier, self.notifier.mail, self.notifier.push):
            await job.drain()


async def recorded_notices(parts: Parts) -> list[tuple[str, str, str | None]]:
    """Event, state and words of every event for which nothing has been queued."""
    rows = await parts.database.fetch("SELECT event, state, last_error FROM poddispatchd.notice ORDER BY id")
    return [tuple(row) for row in rows]


async def queue_of(parts: Parts) -> list[tuple[str, str, int]]:
    """Channel, state and attempts of everything to deliver."""
    rows = await parts.database.fetch(
        "SELECT channel, state, attempts FROM poddispatchd.delivery ORDER BY id"
    )
    return [tuple(row) for row in rows]


async def make_due(parts: Parts) -> None:
    """Let the waits of all retries be over."""
    await parts.database.execute(
        "UPDATE poddispatchd.delivery SET next_attempt_at = now(), lease_expires_at = NULL"
        " WHERE state = 'open'"
    )


def counted(parts: Parts, name: str, outcome: str) -> float:
    value = parts.metrics.registry.get_sample_value(f"poddispatchd_{name}_total", {"outcome": outcome})
    assert value is not None
    return value
