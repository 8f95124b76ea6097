"""What is done while a wheel or a source archive is built: its commit goes into it, where git can tell."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FILE = "poddispatchd/_revision"
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


class RevisionHook(BuildHookInterface[Any]):
    """Two installations of one version are told apart by it; without git there is none, and all is well."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file, but to what is installed editably: there it would stay as the source goes on."""
        revision = None if version == "editable" else revision_of(Path(self.root))
        if revision is None:
            return  # a source archive that has one keeps it
        place = Path(tempfile.mkdtemp()) / "_revision"
        place.write_text(f"{revision}\n", encoding="ascii")
        self._place = place
        build_data["force_include"][str(place)] = _FILE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Forget what was made for the build."""
        if (place := getattr(self, "_place", None)) is not None:
            shutil.rmtree(place.parent, ignore_errors=True)


def revision_of(root: Path) -> str | None:
    """The commit of a checkout, ``g1a2b3c4`` or ``g1a2b3c4.dirty``; None where git does not tell one."""
    try:
        top = _said(root, "rev-parse", "--show-toplevel")
        # An archive that was unpacked inside another project's checkout has nothing of that one.
        if Path(top).resolve() != root.resolve():
            return None
        commit = _said(root, "rev-parse", "--short=10", "HEAD")
        is_dirty = bool(_said(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return f"g{commit}{'.dirty' if is_dirty else ''}" if _COMMIT.fullmatch(commit) else None


def _said(root: Path, *command: str) -> str:
    """What git says of this directory: not of the one whose hook builds, nor with a write to the checkout."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # The build runs the code of this directory anyway; root often builds from somebody else's checkout.
    git = ["git", "-C", str(root), "-c", "safe.directory=*"]
    environment = {**ours, "GIT_OPTIONAL_LOCKS": "0"}
    done = subprocess.run(
        [*git, *command], capture_output=True, text=True, check=True, timeout=20, env=environment
    )
    return done.stdout.strip()
