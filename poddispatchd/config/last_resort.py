"""What can be taken from a configuration that is refused: where the daemon that runs is asked."""

from collections.abc import Mapping
from pathlib import Path

from poddispatchd.config.document import parse_yaml
from poddispatchd.config.files import LONGEST
from poddispatchd.config.listeners import OpsSettings
from poddispatchd.config.loading import DEFAULT_PATH
from poddispatchd.config.units import Address


def listen_as_written(path: Path | None, *, environ: Mapping[str, str]) -> Address:
    """``ops.listen`` as far as it can be read, else its default. Never raises for what is in the file.

    Args:
        path: the file asked for; None takes ``$PODDISPATCHD_CONFIG``, else the one that is usual.
        environ: the environment.
    """
    file = path or Path(environ.get("PODDISPATCHD_CONFIG") or DEFAULT_PATH)
    try:
        return Address.parse(environ.get("PODDISPATCHD_OPS__LISTEN") or _in_file(file))
    except ValueError:
        return OpsSettings().listen


def _in_file(file: Path) -> object:
    try:
        with file.open("rb") as opened:
            data = parse_yaml(opened.read(LONGEST).decode(errors="replace")).data
    except OSError:
        return None
    section = data.get("ops") if isinstance(data, dict) else None
    return section.get("listen") if isinstance(section, dict) else None
