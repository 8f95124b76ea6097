import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from poddispatchd.config.model import RunnersSettings
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.connections import open_session


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(RunnersSettings()) as opened:
        yield opened


@pytest.fixture
def client(session: aiohttp.ClientSession) -> RunnerClient:
    return RunnerClient(session, request_timeout=5.0)


@pytest.fixture
def certificate() -> Path:
    """A certificate for ``localhost`` signed by nobody else, with its key; it protects nothing."""
    return Path(__file__).with_name("localhost.pem")


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
