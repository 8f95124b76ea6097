"""What is made from the code: man pages, completions, the catalog, the references of the documentation."""

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from poddispatchd.config.keys import known_keys
from poddispatchd.observability.catalog import catalog, explanations, message_id
from poddispatchd.observability.events import Event
from references.catalogue import files

ROOT = Path(__file__).resolve().parents[2]
SHARE = ROOT / "share"


def _found() -> list[str]:
    """The files that are made, as they lie here: to make them takes longer than to collect the tests."""
    places = [*(ROOT / "share").rglob("*"), *(ROOT / "docs" / "reference").rglob("*")]
    names = [str(path.relative_to(ROOT)) for path in places if path.is_file()]
    return sorted(["config.yaml.example", "docs/lifecycle.md", *names])


@pytest.mark.parametrize("name", _found())
def test_what_is_made_from_the_code_is_what_the_code_says(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == files()[name], "the code changed: make references"


def test_all_is_there_that_is_made_and_nothing_beside_it() -> None:
    assert _found() == sorted(files()), "the code changed: make references"


def test_every_event_is_explained_and_has_a_message_id_of_its_own() -> None:
    assert set(explanations()) == set(Event)
    assert len({message_id(event) for event in Event}) == len(Event)
    assert catalog().count("\nSubject: ") == len(Event)


def test_the_message_id_of_an_event_never_changes() -> None:
    # Scripts and old journals have it.
    assert message_id("task.submitted") == "f3c439e012f854c897a419e24ed04b7b"
    assert uuid.UUID(hex=message_id("task.submitted")).version == 5


def test_the_page_of_the_settings_names_every_one() -> None:
    page = files()["share/man/poddispatchd.yaml.5"].replace(r"\-", "-")

    assert [key.dotted for key in known_keys().values() if f"\n\\fB{key.dotted}\\fR\n" not in page] == []


@pytest.mark.parametrize("page", ["poddispatchd.8", "poddispatchd.yaml.5"])
def test_the_pages_are_roff_without_a_warning(page: str) -> None:
    formatter = shutil.which("groff")
    if formatter is None:
        pytest.skip("groff is not installed: apt-get install groff-base")
    ran = subprocess.run(
        [formatter, "-ww", "-man", "-Tutf8", "-Kutf8", "-rLL=100n", str(SHARE / "man" / page)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stderr == ""
    assert "poddispatchd" in ran.stdout


@pytest.mark.parametrize(
    ("shell", "file"),
    [("bash", "poddispatchd.bash"), ("zsh", "_poddispatchd"), ("fish", "poddispatchd.fish")],
)
def test_the_shells_understand_their_completion(shell: str, file: str) -> None:
    program = shutil.which(shell)
    if program is None and shell != "bash":
        pytest.skip(f"{shell} is not installed")
    subprocess.run([program or "/bin/bash", "-n", str(SHARE / "completions" / file)], check=True)


def test_bash_completes_commands_as_they_are_typed(tmp_path: Path) -> None:
    program = tmp_path / "poddispatchd"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m poddispatchd "$@"\n')
    program.chmod(0o755)
    script = f". {SHARE}/completions/poddispatchd.bash\n" + (
        "COMP_WORDS=(poddispatchd runners pa); COMP_CWORD=2\n_poddispatchd_completion poddispatchd\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    ran = subprocess.run(
        ["/bin/bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )

    assert ran.stdout.split() == ["pause"]
