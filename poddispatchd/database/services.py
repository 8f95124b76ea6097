"""Services of libpq: parameters of an address that stand in a file of their own."""

import configparser
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


def parameter(dsn: str, name: str) -> str:
    """A parameter in the query of an address; empty without it."""
    try:
        return parse_qs(urlsplit(dsn).query).get(name, [""])[-1]
    except ValueError:
        return ""


def service_file() -> Path:
    """Where services are looked for, as the driver does."""
    given = os.environ.get("PGSERVICEFILE")
    return Path(given) if given else Path("~/.pg_service.conf").expanduser()


def service_of(dsn: str) -> Mapping[str, str] | None:
    """The parameters of the service that an address names; None where it is in no file that can be read.

    They stand in for what the address itself does not say. Empty without a service.
    """
    if not (service := parameter(dsn, "service")):
        return {}
    known = configparser.ConfigParser(interpolation=None)
    try:
        known.read(service_file())
        return dict(known.items(service)) if known.has_section(service) else None
    except (OSError, ValueError, configparser.Error):
        return None


def asked(dsn: str, name: str, variable: str = "") -> str:
    """A parameter as an address, its service or a variable of the environment has it; empty without any."""
    return parameter(dsn, name) or (service_of(dsn) or {}).get(name, "") or os.environ.get(variable, "")
