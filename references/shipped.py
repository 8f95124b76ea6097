"""What is installed beside the program: completions, man pages, the catalog of the journal."""

from collections.abc import Mapping

from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from poddispatchd.cli.main import cli
from poddispatchd.observability.catalog import catalog
from references.man_pages import daemon_page, settings_page

_NAME = "poddispatchd"
_SHELLS: Mapping[str, type[ShellComplete]] = {
    f"{_NAME}.bash": BashComplete,
    f"_{_NAME}": ZshComplete,
    f"{_NAME}.fish": FishComplete,
}


def shipped_files() -> dict[str, str]:
    """The text of every file, by its path in ``share/``."""
    files = {f"completions/{file}": _completion(shell) for file, shell in _SHELLS.items()}
    return files | {
        f"man/{_NAME}.8": daemon_page(),
        f"man/{_NAME}.yaml.5": settings_page(),
        f"{_NAME}.catalog": catalog(),
    }


def _completion(shell: type[ShellComplete]) -> str:
    # Not the shell's own source(): that asks an installed bash for its version.
    completion = shell(cli, {}, _NAME, f"_{_NAME.upper()}_COMPLETE")
    text = ShellComplete.source(completion)
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"
