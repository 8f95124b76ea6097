import json
import re
from pathlib import Path

import yaml

from poddispatchd.config.example import example
from poddispatchd.config.keys import known_keys
from poddispatchd.config.loading import load_settings
from poddispatchd.config.model import DatabaseSettings, Settings
from poddispatchd.config.showing import settings_as_dict, settings_as_yaml
from poddispatchd.domain.secret import SecretStr

COMMITTED = Path(__file__).resolve().parents[3] / "config.yaml.example"


def test_what_is_shown_is_what_a_file_would_say() -> None:
    shown = yaml.safe_load(settings_as_yaml(Settings()))

    assert shown["reconcile"]["stale_after"] == "2h"
    assert shown["webhook"] == {
        "listen": "127.0.0.1:8765",
        "path": "/runner/notify_task_end/",
        "max_body": "8MiB",
        "trusted_proxies": ["127.0.0.1", "::1"],
        "max_connections": 8000,
        "max_connections_per_address": 100,
        "header_timeout": "10s",
        "body_timeout": "30s",
        "idle_timeout": "75s",
    }
    assert shown["pod"]["file_permissions"] == "0644"


def test_what_looks_like_a_secret_in_a_command_is_not_shown() -> None:
    command = [
        "/usr/bin/curl",
        "-H",
        "Authorization: Bearer abcdef123456",
        "--token=s3cr3t1",
        "https://u:pw1@x/",
    ]

    shown = settings_as_yaml(Settings.read({"imports": {"after": command}, "events": {"command": command}}))

    assert [secret for secret in ("abcdef123456", "s3cr3t1", "pw1") if secret in shown] == []
    assert shown.count("/usr/bin/curl, -H") == 2


def test_what_is_shown_loads_back_to_the_same_settings(tmp_path: Path) -> None:
    settings = Settings.read(
        {
            "pod": {"file_permissions": None, "title_site": "007: Été", "accommodation_years": {"staff": 3}},
            "webhook": {"listen": "[::1]:0", "max_body": "1MiB"},
            "dispatch": {"grace": 0, "poll_interval": "250ms", "sites": ["pod.example.org"]},
        }
    )
    path = tmp_path / "config.yaml"
    path.write_text(settings_as_yaml(settings), encoding="utf-8")

    assert load_settings(path, environ={}) == settings


def test_the_password_of_the_database_is_not_shown() -> None:
    dsn = SecretStr("postgresql://pod:hunter2@host/db")
    settings = Settings(database=DatabaseSettings(dsn=dsn))

    text = settings_as_yaml(settings) + json.dumps(settings_as_dict(settings))

    assert "hunter2" not in text
    assert "postgresql://pod:***@host/db" in text


def test_every_setting_is_shown() -> None:
    shown = settings_as_dict(Settings())

    for path in known_keys():
        value: object = shown
        for name in path:
            assert isinstance(value, dict)
            assert name in value
            value = value[name]


def test_the_example_loads_to_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(example(), encoding="utf-8")

    assert load_settings(path, environ={}) == Settings()


def test_the_example_with_everything_live_loads_to_the_defaults_too(tmp_path: Path) -> None:
    # A commented line that does not load would bite the first person who takes the sign away.
    lines = [re.sub(r"^( *)#(?=[a-z])", r"\1", line) for line in example().splitlines()]
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")

    assert load_settings(path, environ={}) == Settings()
    live = yaml.safe_load("\n".join(lines))
    assert {(section, key) for section in live for key in live[section]} == {
        path[:2] for path in known_keys()
    }


def test_every_setting_says_what_it_means() -> None:
    assert [key.dotted for key in known_keys().values() if not key.field.description] == []
