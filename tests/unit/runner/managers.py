"""A runner manager to ask, and answers to judge."""

import json

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import ManagerId, SiteId
from poddispatchd.runner.transport import HttpAnswer

TOKEN = "s3cret-token-of-the-manager"


def manager(url: str = "http://runner.test:8081/", *, token: str = TOKEN) -> RunnerManager:
    return RunnerManager(
        id=ManagerId(1), name="rm1", priority=1, url=url, token=SecretStr(token), site_id=SiteId(1)
    )


def answer(status: int, data: object, *, location: str = "") -> HttpAnswer:
    return HttpAnswer(status, "application/json", json.dumps(data).encode(), location)


def page(status: int, text: str = "<html>proxy</html>") -> HttpAnswer:
    return HttpAnswer(status, "text/html", text.encode())
