import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from poddispatchd.config.files import LONGEST
from poddispatchd.config.keys import known_keys
from poddispatchd.config.loading import NOT_SETTINGS, is_there, load_settings, variable
from poddispatchd.config.model import Settings
from poddispatchd.config.units import Address
from poddispatchd.errors import ConfigurationError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path | None, /, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path, environ=environ, default_path=Path("/nonexistent/config.yaml"))
    return caught.value.problems


def credentials(tmp_path: Path, **files: str) -> dict[str, str]:
    directory = tmp_path / "credentials"
    directory.mkdir()
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return {"CREDENTIALS_DIRECTORY": str(directory)}


def test_nothing_at_all_gives_the_defaults(tmp_path: Path) -> None:
    assert Settings() == load_settings(None, environ={"HOME": "/"}, default_path=tmp_path / "none.yaml")


def test_the_default_file_is_read_when_it_exists(tmp_path: Path) -> None:
    path = write(tmp_path, "pod: {site_id: 7}\n")

    assert load_settings(None, environ={}, default_path=path).pod.site_id == 7


def test_the_variable_names_the_file_when_no_path_is_given(tmp_path: Path) -> None:
    path = write(tmp_path, "pod: {site_id: 7}\n")
    environ = {"PODDISPATCHD_CONFIG": str(path)}

    assert load_settings(None, environ=environ).pod.site_id == 7


def test_a_given_path_beats_the_variable(tmp_path: Path) -> None:
    path = write(tmp_path, "pod: {site_id: 7}\n")

    assert load_settings(path, environ={"PODDISPATCHD_CONFIG": "/nonexistent"}).pod.site_id == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # Each of these was taken, and broke something later.
        ("reconcile: {stale_after: 999999d}", "'999999d' cannot be used: write 36500d or less"),
        (f"dispatch: {{grace: {'9' * 400}d}}", "cannot be used: write 36500d or less"),
        (f"imports: {{max_size: {'9' * 5000}TiB}}", "cannot be used: write 4194304TiB or less"),
        ("pod: {default_year_date_delete: 9999}", "9999 cannot be used: write 1000 or less"),
        ("pod: {accommodation_years: {student: 9999}}", "9999 cannot be used: write 1000 or less"),
        ("pod: {accommodation_years: {student: -1}}", "-1 cannot be used: write 0 or more"),
        ('pod: {media_root: "/media\\0"}', "leave out what neither a file's name nor a database can hold"),
        ('runners: {ca_file: "/a\\0"}', "leave out what neither a file's name nor a database can hold"),
        ('imports: {after: ["/bin/true", "\\0"]}', "leave out what neither a file's name nor a database"),
        ('pod: {title_site: "\\ud800"}', "leave out what neither a file's name nor a database can hold"),
        ('webhook: {path: "/notify?x=1"}', "cannot be used: write text of the form"),
        # No request is asked for so: each callback was answered 404.
        ('webhook: {path: "/my%20pod/notify/"}', "cannot be used: write text of the form"),
        ('webhook: {path: "/été/notify/"}', "cannot be used: write text of the form"),
        ('pod: {media_url: "/media/\\n"}', "cannot be used: write text of the form"),
        # Another host for a browser; runners were given the site's address before it.
        ('pod: {media_url: "//cdn.example.org/media/"}', "cannot be used: write text of the form"),
        ('pod: {media_url: "https:///media/"}', "cannot be used: write text of the form"),
    ],
)
def test_what_nothing_can_work_with_is_refused_at_the_start(tmp_path: Path, text: str, words: str) -> None:
    [problem] = problems(write(tmp_path, text))

    assert words in problem


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://pod:hun/ter@db.example.org:5432/pod",
        "postgresql://pod:hun#ter@db.example.org/pod",
        "postgresql://pod:hun?ter@db.example.org/pod",
        "postgresql://pod:hunter@db.example.org:99999/pod",
        "postgresql://pod:hun@ter/2:3%d#1@db.example.org:5432/pod",
        "postgresql://pod:hun@ter#2@db.example.org:5432/pod",
        "postgresql://pod:5432/hunter@db.example.org/pod",
        "postgresql://pod:5432#hunter@db.example.org/pod",
        "postgresql://pod:5432?hunter@db.example.org/pod",
        "postgresql://[hunter/pod",
    ],
)
def test_a_database_address_that_no_driver_understands_is_told_with_what_a_password_must_not_hold(
    tmp_path: Path, dsn: str
) -> None:
    [problem] = problems(write(tmp_path, f"database: {{dsn: '{dsn}'}}"))

    assert "database.dsn: it is not of the form postgresql://user:password@host:port/database" in problem
    assert "/ as %2F" in problem
    assert "hun" not in problem


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql:///pod?host=/run/postgresql&port=5433",
        "postgresql://db.example.org/pod?user=pod@server",
        "postgres://pod:p%2Fw@[::1]:5432/pod",
        "postgresql://pod@one:5432,two:5433/pod",
        "postgresql://%2Frun%2Fpostgresql/pod",
    ],
)
def test_every_form_of_a_database_address_is_taken(tmp_path: Path, dsn: str) -> None:
    path = write(tmp_path, f"database: {{dsn: '{dsn}'}}")

    assert load_settings(path, environ={}).database.dsn.get_secret_value() == dsn


@pytest.mark.parametrize("text", ["{}", "# only a comment\n", "---\n", "webhook:\nops:\n", "\ufeffpod:\n"])
def test_a_file_without_settings_and_empty_sections_are_fine(tmp_path: Path, text: str) -> None:
    assert Settings() == load_settings(write(tmp_path, text), environ={})


@pytest.mark.parametrize("text", ["", "\n \n", "\0" * 100])
def test_a_file_that_holds_nothing_is_no_wish_for_defaults(tmp_path: Path, text: str) -> None:
    """A full disk leaves such a file: a start took all defaults from it, another database among them."""
    path = write(tmp_path, text)

    with pytest.raises(ConfigurationError, match="it is empty, as after a full disk"):
        load_settings(path, environ={})


def test_no_file_at_all_is_asked_for_by_its_device() -> None:
    assert load_settings(Path("/dev/null"), environ={}) == Settings()


def test_the_file_of_its_usual_place_may_be_missing_only_as_long_as_it_was_never_there(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, "pod: {site_id: 2}\n")
    was_there = is_there(None, environ={}, default_path=path)
    path.unlink()

    assert was_there
    with pytest.raises(ConfigurationError, match="there is no such file"):
        load_settings(None, environ={}, default_path=path, was_there=True)
    assert load_settings(None, environ={}, default_path=path) == Settings()


def test_environment_beats_credential_beats_file_beats_default(tmp_path: Path) -> None:
    path = write(tmp_path, "pod: {site_id: 2, title_site: file, title_etb: file}\n")
    environ = credentials(tmp_path, pod__title_site="credential\n", pod__title_etb="credential\n")
    environ["PODDISPATCHD_POD__TITLE_ETB"] = "environment"

    pod = load_settings(path, environ=environ).pod

    assert (
        pod.language,
        pod.site_id,
        pod.title_site,
        pod.title_etb,
    ) == ("fr", 2, "credential", "environment")


# --- the file ---


def test_a_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    missing = f"{path}: there is no such file: 'poddispatchd config import' makes one"

    assert (missing,) == problems(path)
    assert (missing,) == problems(None, PODDISPATCHD_CONFIG=str(path))


def test_a_file_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    assert (f"{tmp_path}: it cannot be read: Is a directory",) == problems(tmp_path)


def test_a_file_that_is_far_too_long_is_not_parsed(tmp_path: Path) -> None:
    """Fifty megabytes put in its place by mistake were parsed for minutes, and nothing else was done."""
    path = write(tmp_path, "# " + "x" * LONGEST)

    assert (f"{path}: it is longer than 1 MiB",) == problems(path)


def test_a_credential_that_is_far_too_long_is_not_taken(tmp_path: Path) -> None:
    found = problems(None, **credentials(tmp_path, mail__password="x" * (LONGEST + 1)))

    assert found == ("credential mail.password: it is longer than 1 MiB",)


def test_a_file_that_is_not_text_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"pod:\n  title_site: \xe9t\xe9\n")

    assert (f"{path}:2: it is not UTF-8",) == problems(path)


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text\n", "12\n"])
def test_a_file_that_holds_no_sections_is_refused(tmp_path: Path, text: str) -> None:
    (problem,) = problems(write(tmp_path, text))

    assert "it must hold sections with keys" in problem


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("pod:\n  title_site: 'open\n", 3, "found unexpected end of stream"),
        ("pod:\n\ttitle_site: x\n", 2, "a tab stands where only spaces may"),
        ("pod:\n  title_site: x\n   title_etb: y\n", 3, "mapping values are not allowed here"),
        ("database:\n  dsn: *hunter2\n", 2, "found undefined alias"),
        ("database:\n  dsn: !hunter2 x\n", 2, "could not determine a constructor for the tag"),
        ("a: 1\n---\nb: 2\n", 2, "but found another document"),
    ],
)
def test_bad_yaml_names_its_line_and_never_quotes_it(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    path = write(tmp_path, text)

    (problem,) = problems(path)

    assert problem.startswith(f"{path}:{line}: it is not valid YAML: ")
    assert words in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize("text", ["pod: {title_site: 2024-13-45}\n", "a: " + "[" * 500, "pod: \x07\n"])
def test_what_the_yaml_library_chokes_on_is_a_problem_and_no_traceback(tmp_path: Path, text: str) -> None:
    (problem,) = problems(write(tmp_path, text))

    assert "YAML" in problem


def test_yaml_never_makes_objects(tmp_path: Path) -> None:
    (problem,) = problems(write(tmp_path, "pod: !!python/object/apply:os.getcwd []\n"))

    assert "could not determine a constructor" in problem


def test_every_key_that_stands_twice_is_told_with_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "pod:\n  site_id: 1\n  site_id: 2\nlog:\n  level: info\npod:\n  site_id: 3\n")

    assert (
        f"{path}:3: pod.site_id stands twice, first on line 2",
        f"{path}:6: pod stands twice, first on line 1",
    ) == problems(path)


def test_anchors_and_merges_are_allowed(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "pod:\n  <<: {site_id: 3, language: nl}\n  site_id: 4\n  title_site: &a Lille\n  title_etb: *a\n",
    )
    pod = load_settings(path, environ={}).pod

    assert (pod.site_id, pod.language, pod.title_site, pod.title_etb) == (4, "nl", "Lille", "Lille")


# --- everything at once ---


def test_every_problem_of_every_source_is_told_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "databse: {}\n"
        "pod:\n"
        "  media_root: relative\n"
        "  accommodation_years: {staff: lots}\n"
        "webhook:\n"
        "  listen: 8765\n"
        "  max_body: 1KiB\n"
        "dispatch: {stale_after: 2h}\n"
        "log: {level: INFO}\n",
    )
    environ = credentials(tmp_path, ops__listen="nowhere", database__dns="x")
    environ |= {"PODDISPATCHD_IMPORTS__CONCURRENCY": "99", "PODDISPATCHD_LOG_LEVEL": "debug"}

    assert {
        f"{path}:1: unknown key databse; did you mean database?",
        f"{path}:3: pod.media_root: 'relative' cannot be used: write an absolute path",
        f"{path}:4: pod.accommodation_years.staff: 'lots' cannot be used: write a whole number",
        f"{path}:6: webhook.listen: 8765 cannot be used: write host:port, as 127.0.0.1:8765",
        f"{path}:7: webhook.max_body: 1KiB cannot be used: write 64KiB or more",
        f"{path}:8: unknown key dispatch.stale_after; did you mean reconcile.stale_after?",
        f"{path}:9: log.level: 'INFO' cannot be used: write debug, info, warning or error",
        "credential ops.listen: ops.listen: 'nowhere' cannot be used: write host:port, as 127.0.0.1:8765",
        "credential database.dns: unknown key; did you mean database.dsn?",
        "PODDISPATCHD_IMPORTS__CONCURRENCY: imports.concurrency: 99 cannot be used: write 32 or less",
        "PODDISPATCHD_LOG_LEVEL: unknown variable; did you mean PODDISPATCHD_LOG__LEVEL?",
    } == set(problems(path, **environ))


def test_a_broken_file_does_not_hide_problems_of_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path, "pod: [\n")

    found = problems(path, PODDISPATCHD_POD__SITE_ID="zero")

    assert len(found) == 2
    assert found[1] == "PODDISPATCHD_POD__SITE_ID: pod.site_id: 'zero' cannot be used: write a whole number"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("webhook: {lisen: x}", "webhook.listen"),
        ("media_root: /x", "pod.media_root"),
        ("MEDIA_ROOT: /x", "pod.media_root"),
        ("pod: {SITE_ID: 1}", "pod.site_id"),
        ("runners: {stale_after: 1h}", "reconcile.stale_after"),
        ("pod: {listen: x}", "webhook.listen or ops.listen"),
        ("logs: {}", "log"),
        ("retention: {complete_days: 3}", "retention.completed_days"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path, text: str, meant: str) -> None:
    (problem,) = problems(write(tmp_path, text))

    assert problem.endswith(f"; did you mean {meant}?")


def test_a_secret_without_a_space_behind_its_colon_is_not_taken_for_a_name_and_shown(tmp_path: Path) -> None:
    path = write(tmp_path, "mail: {password:hunter2, password:hunter2}\nwebhook.listn: 1")

    assert problems(path) == (
        f"{path}:1: mail.password… stands twice, first on line 1",
        f"{path}:1: unknown key mail.password…; write a space behind its colon",
        f"{path}:2: unknown key webhook.listn; did you mean webhook?",
    )


def test_an_unknown_key_like_no_other_gets_no_wild_guess(tmp_path: Path) -> None:
    path = write(tmp_path, "pod: {xyzzy: 1}")

    assert (f"{path}:1: unknown key pod.xyzzy",) == problems(path)


@pytest.mark.parametrize(
    "text",
    [
        "database: {dsn: [hunter2]}",
        "database: {dsn: {hunter2: 1}}",
        "database: {dsn: mysql://u:hunter2@h/db}",
        "database: {dsn: hunter2}",
        "database: {pasword: hunter2}",
        "database: postgresql://pod:hunter2@h/db",
        "database: [hunter2]",
        "dns: hunter2",
        "webhook: {listen: 'postgresql://pod:hunter2@h/db'}",
    ],
)
def test_no_problem_shows_a_secret(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(tmp_path, text), environ={})

    assert caught.value.problems
    assert "hunter2" not in str(caught.value)
    # The error with all findings holds every value: it must not show up in a traceback as the cause.
    assert caught.value.__context__ is None


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    (problem,) = problems(write(tmp_path, f"webhook: {{listen: {'x' * 5000}}}"))

    assert len(problem) < 300


# --- the environment ---


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("POD__SITE_ID", "3", 3),
        ("POD__HTTPS", "false", False),
        ("POD__TITLE_SITE", "007", "007"),
        ("POD__TITLE_SITE", "null", "null"),
        ("POD__TITLE_SITE", "[a]", "[a]"),
        ("POD__TRANSCRIPTION_TYPE", "null", None),
        ("POD__TRANSCRIPTION_TYPE", "VOSK", "VOSK"),
        ("POD__FILE_PERMISSIONS", "0640", 0o640),
        ("POD__FILE_PERMISSIONS", "~", None),
        ("POD__LANGUAGES", "[fr, en, nl]", ("fr", "en", "nl")),
        ("POD__ACCOMMODATION_YEARS", "{staff: 3}", {"staff": 3}),
        ("POD__MEDIA_ROOT", "/srv/media", Path("/srv/media")),
        ("DISPATCH__GRACE", "0", 0.0),
        ("DISPATCH__GRACE", "2m", 120.0),
        ("WEBHOOK__LISTEN", "[::1]:80", Address("::1", 80)),
        ("IMPORTS__MAX_SIZE", "2GiB", 2 * 2**30),
        ("RUNNERS__CA_FILE", "null", None),
    ],
)
def test_a_variable_is_read_as_its_setting_wants_it(
    tmp_path: Path, name: str, text: str, expected: object
) -> None:
    settings = load_settings(write(tmp_path, "{}"), environ={f"PODDISPATCHD_{name}": text})

    section, key = name.lower().split("__")
    assert expected == getattr(getattr(settings, section), key)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PODDISPATCHD_LOG_LEVEL", "PODDISPATCHD_LOG__LEVEL"),
        ("PODDISPATCHD_LOG__LEVL", "PODDISPATCHD_LOG__LEVEL"),
        ("PODDISPATCHD_log__level", "PODDISPATCHD_LOG__LEVEL"),
        ("PODDISPATCHD_MEDIA_ROOT", "PODDISPATCHD_POD__MEDIA_ROOT"),
        ("PODDISPATCHD_POD__INTERVAL", "PODDISPATCHD_RECONCILE__INTERVAL"),
    ],
)
def test_an_unknown_variable_is_an_error_that_names_the_nearest(name: str, meant: str) -> None:
    assert (f"{name}: unknown variable; did you mean {meant}?",) == problems(None, **{name: "hunter2"})


@pytest.mark.parametrize(
    "name", ["PODDISPATCHD_", "PODDISPATCHD___", "PODDISPATCHD_XYZZY", "PODDISPATCHD_POD"]
)
def test_a_variable_like_no_setting_is_still_an_error(name: str) -> None:
    (problem,) = problems(None, **{name: "hunter2"})

    assert problem.startswith(f"{name}: unknown variable")
    assert "hunter2" not in problem


def test_every_setting_has_a_variable_of_its_own() -> None:
    names = {variable(path) for path in known_keys()}

    assert len(known_keys()) == len(names)
    assert not names & NOT_SETTINGS


# --- credentials ---


def test_a_credential_loses_its_last_newline_only(tmp_path: Path) -> None:
    environ = credentials(tmp_path, database__dsn="postgresql://pod:s%20@h/db\n", pod__title_site="a\n\n")

    settings = load_settings(write(tmp_path, "{}"), environ=environ)

    assert settings.database.dsn.get_secret_value() == "postgresql://pod:s%20@h/db"
    assert settings.pod.title_site == "a\n"


def test_a_credential_written_by_an_editor_that_marks_utf_8_is_the_same(tmp_path: Path) -> None:
    environ = credentials(
        tmp_path, database__dsn="\ufeffpostgresql://pod:s@h/db\r\n", pod__title_site="\ufeffPod\n"
    )

    settings = load_settings(write(tmp_path, "{}"), environ=environ)

    assert settings.database.dsn.get_secret_value() == "postgresql://pod:s@h/db"
    assert settings.pod.title_site == "Pod"


def test_files_for_other_uses_may_lie_among_the_credentials(tmp_path: Path) -> None:
    environ = credentials(tmp_path, ca__pem="-----BEGIN", something="x")

    assert Settings() == load_settings(write(tmp_path, "{}"), environ=environ)


def test_a_credential_that_is_not_text_is_told_without_its_content(tmp_path: Path) -> None:
    environ = credentials(tmp_path)
    (tmp_path / "credentials" / "database.dsn").write_bytes(b"hunter2\xff")

    assert problems(write(tmp_path, "{}"), **environ) == ("credential database.dsn: it is not UTF-8",)


def test_a_directory_of_credentials_that_is_missing_is_told(tmp_path: Path) -> None:
    (problem,) = problems(write(tmp_path, "{}"), CREDENTIALS_DIRECTORY=str(tmp_path / "none"))

    assert "No such file or directory" in problem


# --- settings against each other ---


@pytest.mark.parametrize(
    ("webhook", "ops", "clash"),
    [
        ("127.0.0.1:8765", "127.0.0.1:8765", True),
        ("0.0.0.0:8765", "127.0.0.1:8765", True),
        ("localhost:8765", "127.0.0.1:8765", True),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("10.0.0.1:8765", "127.0.0.1:8765", False),
        ("127.0.0.1:8765", "127.0.0.1:8766", False),
    ],
)
def test_two_listeners_cannot_share_a_port(tmp_path: Path, webhook: str, ops: str, clash: bool) -> None:
    path = write(tmp_path, f"webhook: {{listen: '{webhook}'}}\nops:\n  listen: '{ops}'\n")

    if clash:
        (problem,) = problems(path)
        assert problem.startswith(f"{path}:3: webhook.listen ({webhook}) and ops.listen ({ops}) share a port")
    else:
        load_settings(path, environ={})


@pytest.mark.parametrize(
    ("opencast", "completed", "clash"),
    [(7, 0, False), (0, 7, False), (7, 60, False), (7, 7, True), (60, 7, True)],
)
def test_files_of_the_studio_go_while_a_task_shows_that_they_are_imported(
    tmp_path: Path, opencast: int, completed: int, clash: bool
) -> None:
    path = write(tmp_path, f"retention:\n  opencast_files_days: {opencast}\n  completed_days: {completed}\n")

    if clash:
        (problem,) = problems(path)
        assert f"those are deleted after {completed} days" in problem
    else:
        load_settings(path, environ={})


def test_no_clash_is_told_for_a_listener_that_is_wrong_anyway(tmp_path: Path) -> None:
    path = write(tmp_path, "webhook: {listen: x}\nops: {listen: '127.0.0.1:8765'}\n")

    assert len(problems(path)) == 1


def test_a_file_of_authorities_must_exist_and_hold_certificates(tmp_path: Path) -> None:
    path = write(tmp_path, "{}")
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("not a certificate\n")

    assert "cannot be read: No such file" in problems(path, PODDISPATCHD_RUNNERS__CA_FILE=str(missing))[0]
    assert "holds no certificate" in problems(path, PODDISPATCHD_RUNNERS__CA_FILE=str(empty))[0]


CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBjTCCATOgAwIBAgIUFBCUcYd65exVm5qHOX1I6WF04E0wCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQYSB0ZXN0IGF1dGhvcml0eTAgFw0yNjExMjMyMDM4MzNaGA8y
MTI2MTAzMDIwMzgzM1owGzEZMBcGA1UEAwwQYSB0ZXN0IGF1dGhvcml0eTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABB51rZrJpZe2hl41sxZ738aKGC1y5uSpCVzK
NOcSSvT0p6jjES7ymUUiCR1dPH84+1eCOJstt48zHMfNS8kK4XqjUzBRMB0GA1Ud
DgQWBBS1rssxjoyD1pqEdx7gf9Jhq8yMiDAfBgNVHSMEGDAWgBS1rssxjoyD1pqE
dx7gf9Jhq8yMiDAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQDN
t+Q/j1T1Sq8kMryhxyW+vUfKcgSyxEDqxxK1jh0IUwIgI015ejqrhNGMVixDYUlW
ga/XdBaPFcV1C4KjuHwheHE=
-----END CERTIFICATE-----
"""


def test_a_good_file_of_authorities_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(CERTIFICATE)
    assert ssl.PEM_cert_to_DER_cert(CERTIFICATE)

    environ = {"PODDISPATCHD_RUNNERS__CA_FILE": str(file)}

    assert file == load_settings(write(tmp_path, "{}"), environ=environ).runners.ca_file


def test_loading_imports_none_of_the_heavy_libraries() -> None:
    code = "import sys, poddispatchd.config.loading; print(*sys.modules)"

    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not {"aiohttp", "asyncpg", "asyncio", "rich", "structlog", "click", "prometheus_client"} & set(
        modules
    )


def test_a_section_that_is_a_text_is_refused_and_not_shown(tmp_path: Path) -> None:
    """It may be the password of somebody who forgot the key."""
    path = write(tmp_path, "pod:\n  site_id: 1\ndatabase: hunter2\n")

    assert problems(path) == (f"{path}:3: database: this is a section: write its keys below it, indented",)
