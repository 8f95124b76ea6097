"""What ``config import`` makes of settings that are absent, hidden or written in unusual ways."""

from pathlib import PurePosixPath

import asyncpg.connect_utils
import pytest

from poddispatchd.config.pod_settings import Imported, import_pod_settings, version_of_pod

_DATABASE = """
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "pod", "USER": "pod",
                         "PASSWORD": "secret", "HOST": "db.example.org", "PORT": 5432}}
"""


def _imported(text: str) -> Imported:
    return import_pod_settings(text, PurePosixPath("/srv/pod/custom/settings_local.py"), version="4.3.2")


def _dsn(text: str) -> object:
    return _imported(text).tree.get("database", {}).get("dsn")


def _with(options: str) -> str:
    return _DATABASE.replace('"PORT": 5432', f'"PORT": 5432, "OPTIONS": {options}')


def test_an_absent_secure_ssl_redirect_means_http_as_in_pod() -> None:
    imported = _imported("SITE_ID = 1")

    assert imported.tree["pod"]["https"] is False
    assert any("SECURE_SSL_REDIRECT is not set here" in remark for remark in imported.remarks)


def test_one_that_cannot_be_read_is_asked_for_and_not_guessed() -> None:
    imported = _imported("import os\nSECURE_SSL_REDIRECT = os.environ['TLS']")

    assert "https" not in imported.tree.get("pod", {})
    assert any("set pod.https yourself" in note for note in imported.notes)


def test_an_absent_transcription_type_is_not_set_so_that_no_model_type_is_sent() -> None:
    assert _imported("SITE_ID = 1").tree["pod"]["transcription_type"] is None
    assert _imported("TRANSCRIPTION_TYPE = 'VOSK'").tree["pod"]["transcription_type"] == "VOSK"


@pytest.mark.parametrize(
    ("source", "version"),
    [
        ("import os\nVERSION = '4.4.1'\nINSTALLED_APPS = [app for app in APPS]\n", "4.4.1"),
        ("VERSION = 4.4", None),
        ("VERSION = ''", None),
        ("VERSION = = 4", None),
        ("", None),
    ],
)
def test_the_version_is_read_from_pods_own_settings(source: str, version: str | None) -> None:
    assert version_of_pod(source, PurePosixPath("/srv/pod/settings.py")) == version


def test_a_version_that_is_not_known_wants_a_look() -> None:
    """A wrong one is sent to runner managers, and takes another thumbnail than Pod would."""
    imported = import_pod_settings("SITE_ID = 1", PurePosixPath("/tmp/settings_local.py"), version=None)

    assert "version" not in imported.tree["pod"]
    assert any("check pod.version" in note for note in imported.notes)
    assert _imported("SITE_ID = 1").tree["pod"]["version"] == "4.3.2"
    assert _imported("VERSION = '4.4.0-ours'").tree["pod"]["version"] == "4.4.0-ours"


def test_an_absent_time_zone_is_utc_as_in_pod() -> None:
    imported = _imported("SITE_ID = 1")

    assert imported.tree["pod"]["time_zone"] == "UTC"
    assert any("TIME_ZONE is not set here" in remark for remark in imported.remarks)
    assert _imported("TIME_ZONE = 'Europe/Paris'").tree["pod"]["time_zone"] == "Europe/Paris"


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("('en', 'fr')", ["en", "fr"]),
        ("{'default': ('en',), 'nl': ('fr',)}", ["en"]),
        ("{'nl': ('fr',)}", None),
    ],
)
def test_titles_fall_back_in_the_order_of_their_own_setting(value: str, taken: list[str] | None) -> None:
    """The order of LANGUAGES is that of a menu."""
    imported = _imported(f"LANGUAGES = [('nl', 'Dutch')]\nMODELTRANSLATION_FALLBACK_LANGUAGES = {value}")

    assert imported.tree["pod"].get("languages") == taken
    assert not any("LANGUAGES" in note for note in imported.notes)


def test_the_directories_inside_the_media_tree_are_taken_over() -> None:
    imported = _imported("VIDEOS_DIR = 'films'\nFILES_DIR = 'documents'\nOPENCAST_FILES_DIR = 'studio'")

    assert (
        imported.tree["pod"]
        | {
            "videos_dir": "films",
            "files_dir": "documents",
            "opencast_files_dir": "studio",
        }
        == imported.tree["pod"]
    )


@pytest.mark.parametrize("name", ["VIDEOS_DIR", "FILES_DIR", "OPENCAST_FILES_DIR"])
def test_such_a_directory_may_lie_in_another_one_and_nowhere_else(name: str) -> None:
    """It is a path that Django joins: "data/videos" could not be taken over, nor configured."""
    key = name.lower()
    assert _imported(f"{name} = 'data/2026/videos'").tree["pod"][key] == "data/2026/videos"
    for refused in ("/videos", "data/../videos", "data/.videos", "data//videos", "data/", "../videos"):
        imported = _imported(f"{name} = {refused!r}")
        assert key not in imported.tree.get("pod", {})
        assert any(f"pod.{key}" in note for note in imported.notes)


def test_a_pod_that_says_nothing_of_debug_writes_to_no_owner_and_nor_do_we() -> None:
    """A copy of Pod for trials has none, and wrote to the owners of its videos."""
    absent = _imported("SITE_ID = 1")
    assert absent.tree["mail"]["debug"] is True
    assert any("mail.debug: true" in remark for remark in absent.remarks)
    for value in (True, False):
        said = _imported(f"DEBUG = {value}")
        assert said.tree["mail"]["debug"] is value
        assert not any("DEBUG" in remark for remark in said.remarks)


@pytest.mark.parametrize(("code", "expected"), [("fr", "fr"), ("fr-ca", "fr"), ("en", None), ("nl", None)])
def test_reasons_are_french_where_pod_is_said_to_be(code: str, expected: str | None) -> None:
    assert _imported(f"LANGUAGE_CODE = '{code}'").tree["pod"].get("output_language") == expected
    assert "output_language" not in _imported("SITE_ID = 1").tree["pod"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "USE_RUNNER_MANAGER is not set here: this Pod makes no tasks"),
        ("USE_RUNNER_MANAGER = False", "USE_RUNNER_MANAGER is False: this Pod makes no tasks"),
        ("USE_RUNNER_MANAGER = env('X')", "USE_RUNNER_MANAGER could not be read (line 1"),
    ],
)
def test_a_pod_that_does_not_use_runner_managers_is_told_of(line: str, words: str) -> None:
    assert any(words in note for note in _imported(line).notes)


def test_a_pod_that_uses_them_needs_no_words() -> None:
    assert not any("USE_RUNNER_MANAGER" in note for note in _imported("USE_RUNNER_MANAGER = True").notes)


def test_ssl_options_of_the_database_are_taken_over_and_understood_by_the_driver() -> None:
    dsn = _dsn(_with('{"sslmode": "verify-full", "sslrootcert": "/etc/ssl/pod ca.pem"}'))

    assert dsn == (
        "postgresql://pod:secret@db.example.org:5432/pod?sslmode=verify-full&sslrootcert=%2Fetc%2Fssl%2Fpod%20ca.pem"
    )


def test_the_search_path_in_options_reaches_the_server_as_django_sends_it() -> None:
    dsn = _dsn(_with('{"options": "-c search_path=pod,public"}'))

    _, parameters, *_ = asyncpg.connect_utils._parse_connect_dsn_and_args(  # type: ignore[attr-defined] # untyped
        dsn=dsn, host=None, port=None, user=None, password=None, passfile=None, database=None, ssl=None,
        service=None, servicefile=None, direct_tls=None, server_settings=None, target_session_attrs=None,
        krbsrvname=None, gsslib=None,
    )  # fmt: skip
    assert parameters.server_settings == {"options": "-c search_path=pod,public"}


def test_an_option_that_is_not_taken_over_is_named() -> None:
    imported = _imported(_with('{"service": "pod", "connect_timeout": 5, "sslmode": env("X")}'))

    assert imported.tree["database"]["dsn"] == "postgresql://pod:secret@db.example.org:5432/pod"
    assert [note for note in imported.notes if "OPTIONS" in note] == [
        "DATABASES: OPTIONS service was not taken over: see whether database.dsn needs it.",
        "DATABASES: OPTIONS sslmode could not be read (line 3: it comes from the environment): "
        "add it to database.dsn.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        _DATABASE.replace('"secret"', 'os.environ["POD_DB_PASSWORD"]'),
        _DATABASE + "DATABASES['default']['PASSWORD'] = open('/run/secrets/pod').read()\n",
        _DATABASE + "if PRODUCTION:\n    DATABASES['default']['PASSWORD'] = 'other'\n",
    ],
)
def test_an_unreadable_password_does_not_discard_the_rest_of_the_address(text: str) -> None:
    imported = _imported(text)

    assert imported.tree["database"]["dsn"] == "postgresql://pod@db.example.org:5432/pod"
    assert any("PASSWORD could not be read (line" in note for note in imported.notes)


def test_a_host_that_cannot_be_read_leaves_no_address_that_would_lead_elsewhere() -> None:
    imported = _imported(_DATABASE.replace('"db.example.org"', "env('HOST')"))

    assert "database" not in imported.tree
    assert any("HOST: line 3" in note and "read was PORT 5432, NAME pod, USER pod" in note
               for note in imported.notes)  # fmt: skip
    assert "secret" not in str(imported.notes)


@pytest.mark.parametrize(
    ("host", "port", "places"),
    [
        ("pg1,pg2", "5433", "pg1:5433,pg2:5433"),
        ("pg1,pg2", "5433,5434", "pg1:5433,pg2:5434"),
        ("pg1,pg2", "", "pg1,pg2"),
        ("::1", "5432", "[::1]:5432"),
        ("::1,pg2", "5432", "[::1]:5432,pg2:5432"),
    ],
)
def test_each_of_several_servers_keeps_its_port(host: str, port: str, places: str) -> None:
    """The port of all was given to the last one, and two ports made another host."""
    text = _DATABASE.replace("db.example.org", host).replace("5432}}", f"'{port}'}}}}")
    assert _dsn(text) == f"postgresql://pod:secret@{places}/pod"


def test_the_authorities_of_the_system_are_asked_for_as_a_file() -> None:
    imported = _imported(_with("{'sslmode': 'verify-full', 'sslrootcert': 'system'}"))
    assert str(imported.tree["database"]["dsn"]).endswith("/pod?sslmode=verify-full")
    assert any("sslrootcert=/etc/ssl/certs/ca-certificates.crt" in note for note in imported.notes)


def test_a_value_set_item_by_item_counts() -> None:
    assert _dsn(_DATABASE + "DATABASES['default']['HOST'] = 'other.example.org'") == (
        "postgresql://pod:secret@other.example.org:5432/pod"
    )


def test_a_value_that_a_method_changes_is_not_taken_for_what_it_was() -> None:
    imported = _imported(_DATABASE + "DATABASES['default'].update(HOST='other.example.org')")

    assert "database" not in imported.tree
    assert any("line 4 changes it with update()" in note for note in imported.notes)


def test_one_unreadable_title_does_not_discard_the_other() -> None:
    imported = _imported('TEMPLATE_VISIBLE_SETTINGS = {"TITLE_SITE": "Our Pod", "TITLE_ETB": env("ETB")}')

    assert imported.tree["pod"]["title_site"] == "Our Pod"
    assert "title_etb" not in imported.tree["pod"]
    assert any("pod.title_etb could not be read (line 1" in note for note in imported.notes)


@pytest.mark.parametrize(
    "source",
    [
        "\ufeffTEMPLATE_VISIBLE_SETTINGS = {'TITLE_ETB': 'Université'}".encode(),
        "# -*- coding: latin-1 -*-\nTEMPLATE_VISIBLE_SETTINGS = {'TITLE_ETB': 'Université'}".encode(
            "latin-1"
        ),
    ],
    ids=["with a mark", "in latin-1"],
)
def test_a_file_is_read_in_the_encoding_in_which_python_reads_it(source: bytes) -> None:
    imported = import_pod_settings(source, PurePosixPath("/srv/pod/settings_local.py"), version="4.3.2")

    assert imported.tree["pod"]["title_etb"] == "Université"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("from secret import MEDIA_ROOT", "MEDIA_ROOT could not be read (line 2 takes it from secret): set"),
        ("from .a import X as MEDIA_ROOT", "MEDIA_ROOT could not be read (line 2 takes it from .a): set"),
        (
            "try:\n  from .secret import *\nexcept ImportError: pass",
            "line 3 takes everything of .secret, which",
        ),
        ("del MEDIA_ROOT", "MEDIA_ROOT could not be read (line 2 "),
    ],
)
def test_what_another_file_may_set_is_not_taken_for_what_stood_here_before(line: str, words: str) -> None:
    imported = _imported(f"MEDIA_ROOT = '/old'\n{line}")

    assert any(note.startswith(words) for note in imported.notes), imported.notes


def test_what_the_daemon_would_refuse_of_it_is_told_at_once() -> None:
    without = _imported("EMAIL_HOST = 'smtp.example.org'")
    sender = _imported("EMAIL_HOST = 'smtp.example.org'\nDEFAULT_FROM_EMAIL = 'pod@example.org'")

    told = "mail.from_email: mail is enabled, so say who sends it."
    assert (told in without.notes, told in sender.notes) == (True, False)


@pytest.mark.parametrize(("written", "days"), [("60", 60), ("'60'", 60), ("0", 0), ("-1", 0), ("None", 0)])
def test_days_after_which_pod_deletes_nothing_are_none(written: str, days: int) -> None:
    imported = _imported(f"RM_TASKS_DELETED_AFTER_DAYS = {written}")

    assert imported.tree["retention"]["completed_days"] == days
    assert not any("RM_TASKS" in note for note in imported.notes)


def test_managers_of_establishments_have_one_address_or_several_as_pod_takes_them() -> None:
    """A list of addresses was taken for one address, and none of MANAGERS was taken over."""
    imported = _imported(
        "MANAGERS = [('lille', 'one@lille.fr'),"
        " ('Nice', ['two@nice.fr', 'three@nice.fr']), ('nice', ('four@nice.fr',))]"
    )

    assert imported.tree["mail"]["managers"] == [
        "one@lille.fr",
        "two@nice.fr",
        "three@nice.fr",
        "four@nice.fr",
    ]
    assert imported.tree["mail"]["establishment_managers"] == {
        "lille": ["one@lille.fr"],
        "nice": ["two@nice.fr", "three@nice.fr", "four@nice.fr"],
    }
    assert not [note for note in imported.notes if "MANAGERS" in note]


def test_people_are_pairs_or_addresses_and_what_is_no_list_is_asked_for() -> None:
    imported = _imported("ADMINS = (('Name', 'a@lille.fr'), 'b@lille.fr')\nMANAGERS = ['c@lille.fr']")

    assert imported.tree["mail"]["admins"] == ["a@lille.fr", "b@lille.fr"]
    assert imported.tree["mail"]["managers"] == ["c@lille.fr"]
    assert "establishment_managers" not in imported.tree["mail"]
    assert "ADMINS: it is no list of people: set it yourself." in _imported("ADMINS = 'a@lille.fr'").notes


@pytest.mark.parametrize(
    ("line", "section", "key", "taken"),
    [
        ("MEDIA_URL = '/m'", "pod", "media_url", "/m/"),
        ("MODELTRANSLATION_FALLBACK_LANGUAGES = ('fr', 'nl')", "pod", "languages", ["fr", "nl"]),
        (
            "MODELTRANSLATION_FALLBACK_LANGUAGES = {'default': ('fr',), 'nl': ('en',)}",
            "pod",
            "languages",
            ["fr"],
        ),
        (
            "ENCODING_CHOICES = (('audio', 'Audio'), ('720p', 'HD'))",
            "pod",
            "encoding_choices",
            ["audio", "720p"],
        ),
        ("EMAIL_USE_TLS = True", "mail", "security", "starttls"),
        ("EMAIL_USE_SSL = True", "mail", "security", "tls"),
    ],
)
def test_what_pod_writes_in_its_own_way_is_taken_over_in_ours(
    line: str, section: str, key: str, taken: object
) -> None:
    assert _imported(line).tree[section][key] == taken


def test_choices_that_are_no_list_are_asked_for() -> None:
    assert (
        "ENCODING_CHOICES: it is no list of choices: set it yourself."
        in _imported("ENCODING_CHOICES = 'x'").notes
    )
