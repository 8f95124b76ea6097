import re
from importlib.resources import files

from poddispatchd.pod.grants import Right, grants_script, needed_rights
from poddispatchd.pod.schema import PRIORITY_USERS

_TABLE = re.compile(r"\b(FROM|JOIN|INTO|UPDATE|DELETE FROM)\s+([a-z_]+_[a-z_]+)\b")
_NO_TABLE = re.compile(r"\b([a-z_]+)(?:\s*\([a-z_, ]*\))?\s+AS\s+(?:NOT\s+)?(?:MATERIALIZED\s+)?\(")
_NOT_FROM_A_TABLE = ("generate_series", "lease_expires_at", "not_before")
_PRIVILEGES = {
    "FROM": "SELECT",
    "JOIN": "SELECT",
    "INTO": "INSERT",
    "UPDATE": "UPDATE",
    "DELETE FROM": "DELETE",
}

_ENCODINGS = tuple(
    f"video_encode_transcript_{name}" for name in ("encodingvideo", "encodingaudio", "playlistvideo")
)
_FILES = (
    "podfile_customfilemodel",
    "podfile_customimagemodel",
    "main_customfilemodel",
    "main_customimagemodel",
)
_LINKS = ("channel", "discipline", "theme", "additional_owners", "additional_users")
_FILLED_IN = {
    *((table, privilege) for table in _ENCODINGS for privilege in ("INSERT", "UPDATE", "DELETE")),
    *((table, privilege) for table in _FILES for privilege in ("SELECT", "INSERT")),
    *((f"recorder_recorder_{name}", "SELECT") for name in _LINKS),
    *((f"video_video_{name}", "INSERT") for name in _LINKS),
    # After a comma.
    ("video_video_additional_owners", "SELECT"),
    *((table, "SELECT") for table in PRIORITY_USERS),
}
"""What statements do whose tables stand in braces, or where no verb says it."""


def _used() -> set[tuple[str, str]]:
    """Every table of Pod's that a statement of ours names, with what it does there."""
    used: set[tuple[str, str]] = set()
    for package in ("callbacks", "dispatch", "imports", "journal", "notify", "pod", "tasks"):
        for file in files(f"poddispatchd.{package}").joinpath("sql").iterdir():
            if file.name == "grants.sql":
                continue
            text = re.sub(r"--.*|extract\([^()]*\)", "", file.read_text(encoding="utf-8"))
            named_here = set(_NO_TABLE.findall(text))
            for verb, table in _TABLE.findall(text):
                if table.startswith(("pg_", "json_", "jsonb_", "poddispatchd")) or table in _NOT_FROM_A_TABLE:
                    continue
                if table not in named_here:
                    used.add((table, _PRIVILEGES[verb]))
    return used


def _granted() -> set[tuple[str, str]]:
    return {(right.table, right.privilege) for right in needed_rights()}


def test_every_table_of_every_statement_is_granted() -> None:
    used = _used()

    assert ("runner_manager_task", "UPDATE") in used
    assert used - _granted() == set()


def test_nothing_is_granted_that_no_statement_does() -> None:
    assert _granted() - _used() - _FILLED_IN == set()


def test_nobody_is_given_the_hashes_of_passwords_or_the_logins_of_recorders() -> None:
    read = {right.table: right.columns for right in needed_rights() if right.privilege == "SELECT"}

    for table in ("auth_user", "recorder_recorder", "video_video", "webpush_subscriptioninfo"):
        assert read[table], f"{table} is read by columns"
    assert "password" not in read["auth_user"]
    assert "password" not in read["video_video"]
    assert not {"salt", "credentials_login", "credentials_password"} & {*read["recorder_recorder"]}


def test_no_row_is_changed_as_a_whole() -> None:
    assert all(right.columns for right in needed_rights() if right.privilege == "UPDATE")


def test_the_script_names_every_right_and_no_other_schema() -> None:
    script = grants_script("pod 'daemon")

    assert Right("runner_manager_task", "DELETE") in set(needed_rights())
    assert "('runner_manager_task', 'DELETE', '')" in script
    assert "('auth_user', 'SELECT', 'id username first_name last_name email')" in script
    assert "'pod ''daemon'" in script
    assert "ALL SEQUENCES" not in script
    assert "CREATE ON DATABASE" not in script
