"""Where the health of a manager is looked for: each release of Esup-Runner has it somewhere else."""

import pytest
from aioresponses import aioresponses

from poddispatchd.config.model import RunnersSettings
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import ManagerId, SiteId
from poddispatchd.errors import RunnerManagerMisconfiguredError
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.connections import open_session

_URL = "http://manager.example.org"
_MANAGER = RunnerManager(ManagerId(1), "lab", 1, _URL, SecretStr("token"), SiteId(1))
_HEALTHY = {"status": "healthy", "runners": 2, "tasks": 5}


async def _health_path() -> str:
    async with open_session(RunnersSettings()) as session:
        return (await RunnerClient(session, request_timeout=5).health(_MANAGER)).path


async def test_the_path_that_the_manager_names_is_asked() -> None:
    with aioresponses() as server:
        server.get(f"{_URL}/", payload={"version": "1.7.1", "health_check": "/manager/health"})
        server.get(f"{_URL}/manager/health", payload=_HEALTHY)
        assert await _health_path() == "manager/health"


@pytest.mark.parametrize("path", ["api/health", "manager/health"])
async def test_without_a_name_every_known_path_is_tried(path: str) -> None:
    with aioresponses() as server:
        server.get(f"{_URL}/", status=404)
        server.get(f"{_URL}/{path}", payload=_HEALTHY)
        other = "manager/health" if path == "api/health" else "api/health"
        server.get(f"{_URL}/{other}", status=404, payload={"detail": "Not Found"})
        assert await _health_path() == path


async def test_an_address_without_any_health_is_no_runner_manager() -> None:
    with aioresponses() as server:
        server.get(f"{_URL}/", status=200, body="<html>It works!</html>")
        server.get(f"{_URL}/api/health", status=404)
        server.get(f"{_URL}/manager/health", status=404)
        with pytest.raises(RunnerManagerMisconfiguredError, match="is a runner manager"):
            await _health_path()
