import json
import stat
from pathlib import Path
from typing import cast

import pytest
import yaml

from poddispatchd.config.loading import load_settings
from tests.integration.cli.conftest import Pod, Said, invoke, written_in

_SETTINGS = """
import os
from django.utils.translation import gettext_lazy as _

raise SystemExit("this file is never executed")
BASE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SITE_ID = 2
USE_RUNNER_MANAGER = True
TRANSCRIPTION_TYPE = "VOSK"
MEDIA_ROOT = os.path.join(BASE_DIR, "media")
MEDIA_URL = "/media"
USE_PODFILE = True
SECURE_SSL_REDIRECT = not True
FILE_UPLOAD_PERMISSIONS = 0o640
TEMPLATE_VISIBLE_SETTINGS = {"TITLE_SITE": "Our " + "Pod", "TITLE_ETB": _("University")}
MODELTRANSLATION_FALLBACK_LANGUAGES = ("en", "fr")
TIME_ZONE = "Europe/Brussels"
ENCODING_CHOICES = (("audio", "audio"), ("720p", "720p"))
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "pod",
        "USER": "pod",
        "PASSWORD": "p@ss/word",
        "HOST": "db.example.org",
        "PORT": "5432",
    }
}
RM_TASKS_DELETED_AFTER_DAYS = 60
"""


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    path = tmp_path / "pod" / "custom" / "settings_local.py"
    path.parent.mkdir(parents=True)
    path.write_text(_SETTINGS, encoding="utf-8")
    (tmp_path / "pod" / "settings.py").write_text('VERSION = "4.4.1"\n', encoding="utf-8")
    return path


def _import(path: Path, *options: str) -> tuple[Said, dict[str, dict[str, object]]]:
    said = invoke("config", "import", str(path), *options)
    return said, cast("dict[str, dict[str, object]]", yaml.safe_load(said.out) or {})


def test_settings_of_a_pod_become_a_configuration(settings_file: Path, tmp_path: Path) -> None:
    said, tree = _import(settings_file)

    assert said.status == 0
    # A line for each setting: people edit it, and errors name the line.
    assert "database:\n  dsn: postgresql://" in said.out
    assert tree == {
        "database": {"dsn": "postgresql://pod@db.example.org:5432/pod"},
        "pod": {
            "version": "4.4.1",
            "site_id": 2,
            "https": False,
            "title_site": "Our Pod",
            "title_etb": "University",
            "media_root": str(tmp_path / "pod" / "media"),
            "media_url": "/media/",
            "file_permissions": "0640",
            "use_podfile": True,
            "transcription_type": "VOSK",
            "languages": ["en", "fr"],
            "time_zone": "Europe/Brussels",
            "encoding_choices": ["audio", "720p"],
        },
        "retention": {"completed_days": 60},
    } | {section: tree[section] for section in tree if section == "mail"}


def test_secrets_are_written_for_their_owner_only_and_never_printed(
    settings_file: Path, tmp_path: Path
) -> None:
    target = tmp_path / "config.yaml"

    printed, _ = _import(settings_file)
    written, _ = _import(settings_file, "--output", str(target))
    again, _ = _import(settings_file, "--output", str(target))

    assert "p@ss" not in printed.out + printed.err
    assert "Left out: database.dsn" in printed.err
    assert (written.status, written.out) == (0, "")
    assert written.err.startswith(f"{target} is written. Next: ")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    settings = load_settings(target, environ={})
    assert (
        settings.database.dsn.get_secret_value() == "postgresql://pod:p%40ss%2Fword@db.example.org:5432/pod"
    )
    assert again.status == 2
    assert "is there already, and is not overwritten" in again.err
    assert "compare the two, or move this one away." in again.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('SITE_ID = os.environ.get("SITE", 1)', "SITE_ID could not be read (line 2: it comes from the env"),
        ("SITE_ID = int(open('x').read())", "would have to be executed): set pod.site_id yourself"),
        ("if True:\n    SITE_ID = 3", "SITE_ID could not be read (line 3 sets it under a condition"),
        ("SITE_ID = 'one'", "SITE_ID: 'one' is nothing that pod.site_id takes"),
        ("ENCODING_CHOICES += [('4k', '4k')]", "ENCODING_CHOICES could not be read"),
        ("DATABASES = {'default': {'ENGINE': 'django.db.backends.mysql'}}", "works on PostgreSQL only"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "settings_local.py"
    path.write_text(f"import os\n{line}\n", encoding="utf-8")

    said, _ = _import(path)

    assert said.status == 1
    assert words in said.err


def test_what_is_no_python_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings_local.py"
    path.write_text("SITE_ID = = 1\n", encoding="utf-8")

    said, _ = _import(path)

    assert (said.status, said.out) == (2, "")
    assert said.err == f"poddispatchd: {path}: it is no Python file (line 1).\n"


def test_what_is_nested_beyond_all_reason_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "settings_local.py"
    file.write_text("X = " + "+".join(["'a'"] * 20_000), encoding="utf-8")

    said = invoke("config", "import", str(file))

    assert (said.status, said.err) == (2, f"poddispatchd: {file}: it is nested too deeply to be read.\n")


async def test_the_configuration_in_effect_is_shown_without_its_password(pod: Pod) -> None:
    shown = await pod.run("config", "show")
    as_json = await pod.run("config", "show", "--json")

    tree = cast("dict[str, dict[str, object]]", yaml.safe_load(shown.out))
    assert tree == as_json.json()
    assert "***" in str(tree["database"]["dsn"])
    assert tree["imports"]["keep_free"] == "1MiB"


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-15", "ascii"])
def test_what_is_for_programs_is_read_as_it_was_meant_whatever_the_locale(
    settings_file: Path, tmp_path: Path, encoding: str
) -> None:
    """A title with an accent made JSON that no program reads, and in config.yaml another title."""
    title = "Université 🎥"
    settings = settings_file.read_text(encoding="utf-8").replace('"Our " + "Pod"', repr(title))
    settings_file.write_text(settings, encoding="utf-8")
    config = tmp_path / "config.yaml"

    config.write_bytes(written_in(encoding, "config", "import", str(settings_file)))
    shown = written_in(encoding, "-c", str(config), "config", "show")
    data = json.loads(written_in(encoding, "-c", str(config), "config", "show", "--json").decode())

    assert data["pod"]["title_site"] == title
    assert yaml.safe_load(shown.decode())["pod"]["title_site"] == title
