"""What a first installation gets wrong, as far as the settings alone tell."""

from ipaddress import ip_network

import pytest

from poddispatchd.app.go_live_checks import proxy_findings
from poddispatchd.config.listening import WebhookSettings
from poddispatchd.config.model import Settings
from poddispatchd.domain.situation import Severity


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "::/0"])
def test_trusting_everybody_as_a_web_server_is_a_problem(everybody: str) -> None:
    settings = Settings(webhook=WebhookSettings(trusted_proxies=(ip_network(everybody),)))
    [found] = proxy_findings(settings)
    assert (found.severity, everybody in found.sentence) == (Severity.PROBLEM, True)


def test_trusting_the_web_servers_that_stand_in_front_is_none() -> None:
    networks = (ip_network("127.0.0.1"), ip_network("10.1.2.0/24"))
    assert not list(proxy_findings(Settings(webhook=WebhookSettings(trusted_proxies=networks))))
