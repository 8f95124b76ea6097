"""What PostgreSQL's errors mean to us, and that nothing of a row is in their words."""

import asyncpg
import pytest

from poddispatchd.database.sqlstates import NoAnswerError, translate, translate_connecting
from poddispatchd.errors import (
    DatabaseError,
    DatabaseStateError,
    DatabaseUnavailableError,
    RowLockedError,
    SchemaChangedError,
    StatementEndedError,
    ValuesRefusedError,
)

_SECRET = "hunter2"


def _error(sqlstate: str, **fields: str) -> asyncpg.PostgresError:
    """An error as the server sends it, with a secret in every text that can hold a value."""
    sent = {
        "C": sqlstate,
        "M": f'something about "{_SECRET}"',
        "D": f"Failing row contains (7, {_SECRET}).",
        "H": f"Perhaps you meant {_SECRET}.",
        "W": f"unnamed portal with parameters: $1 = '{_SECRET}'",
        **fields,
    }
    return asyncpg.PostgresError.new(sent)


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("08006", DatabaseUnavailableError),
        ("57P01", DatabaseUnavailableError),
        ("57P03", DatabaseUnavailableError),
        ("53300", DatabaseUnavailableError),
        ("25P03", DatabaseUnavailableError),
        ("25006", DatabaseStateError),
        ("53100", DatabaseStateError),
        ("53200", StatementEndedError),
        ("57014", StatementEndedError),
        ("58030", StatementEndedError),
        ("55P03", RowLockedError),
        ("40P01", RowLockedError),
        ("42703", SchemaChangedError),
        ("42P01", SchemaChangedError),
        ("42501", SchemaChangedError),
        ("23502", SchemaChangedError),
        ("0A000", SchemaChangedError),
        ("42702", SchemaChangedError),
        ("42809", SchemaChangedError),
        ("55000", SchemaChangedError),
        ("2200H", SchemaChangedError),
        ("54000", DatabaseError),
        ("22001", ValuesRefusedError),
        ("23505", ValuesRefusedError),
        ("23514", ValuesRefusedError),
        ("P0001", DatabaseError),
        ("42601", DatabaseError),
    ],
)
def test_a_condition_becomes_one_error_of_ours_without_a_value_in_its_words(
    sqlstate: str, kind: type[DatabaseError]
) -> None:
    error = translate(_error(sqlstate))
    assert (type(error), error.sqlstate) == (kind, sqlstate)
    assert _SECRET not in str(error)
    assert str(error).endswith(".")


def test_names_of_the_table_the_column_and_the_constraint_are_told() -> None:
    error = translate(_error("23502", t="video_video", c="is_nouveau"))
    assert "column video_video.is_nouveau" in str(error)
    error = translate(_error("23505", t="video_video", n="video_video_slug_key"))
    assert "table video_video, constraint video_video_slug_key" in str(error)


def test_an_id_of_the_database_s_that_a_row_has_is_no_fault_of_the_values() -> None:
    """Each import that met it was given up in the end, and its task failed for good."""
    taken = {"t": "completion_track", "n": "completion_track_pkey"}
    error = translate(_error("23505", **taken, s="public", D="Clé (id)=(7) existe déjà."))
    assert type(error) is SchemaChangedError
    assert "new row of completion_track is taken: its sequence stands behind the rows" in str(error)


@pytest.mark.parametrize("place", ["varsup.c", "./build/../src/backend/access/transam/multixact.c"])
def test_a_server_that_fears_wraparound_takes_nothing_of_anybody(place: str) -> None:
    error = translate(_error("54000", F=place))
    assert type(error) is DatabaseStateError
    assert "wraparound" in str(error)


@pytest.mark.parametrize(
    "fields",
    [
        {"t": "audit", "n": "audit_pkey", "D": "Key (slug)=(a) already exists."},
        {"t": "import", "n": "import_pkey", "s": "poddispatchd", "D": "Key (id)=(7) already exists."},
    ],
    ids=["a site's", "ours"],
)
def test_a_key_that_is_taken_and_no_id_of_pod_s_is_not_told_as_one(fields: dict[str, str]) -> None:
    """A result waited for ever for a DBA who had nothing to mend: the values of that one were to blame."""
    assert type(translate(_error("23505", **fields))) is ValuesRefusedError


@pytest.mark.parametrize(
    "message",
    [
        'column "rank" of relation "runner_manager_task" does not exist',
        "la colonne « rank » de la relation « runner_manager_task » n'existe pas",
        "Spalte »rank« von Relation »runner_manager_task« existiert nicht",
        'リレーション「runner_manager_task」の列"rank"は存在しません',
    ],
    ids=["en", "fr", "de", "ja"],
)
def test_an_unknown_column_is_named_though_only_the_message_names_it(message: str) -> None:
    error = translate(_error("42703", M=message, F="parse_relation.c"))
    assert "undefined column (42703): " in str(error)
    assert {*str(error).rpartition(": ")[2].rstrip(".").split(", ")} == {"rank", "runner_manager_task"}


@pytest.mark.parametrize("message", ["column task.rank does not exist", "la colonne task.rank n'existe pas"])
def test_a_column_that_a_statement_calls_by_its_table_is_named_too(message: str) -> None:
    assert str(translate(_error("42703", M=message, F="parse_relation.c"))).endswith("(42703): task.rank.")


def test_nothing_is_taken_for_a_name_in_what_a_site_s_trigger_says() -> None:
    error = translate(_error("42501", M=f'not for "{_SECRET}" of chemistry.{_SECRET}', F="pl_exec.c"))
    assert _SECRET not in str(error)


def test_the_reason_why_the_server_ended_a_session_is_found_behind_its_end() -> None:
    lost = _error("08003")
    lost.__cause__ = _error("57P01")
    error = translate(lost)
    assert (type(error), error.sqlstate) == (DatabaseUnavailableError, "57P01")


def test_a_misuse_of_the_driver_is_a_bug_unless_the_connection_has_ended() -> None:
    misuse = asyncpg.InterfaceError(f"invalid input for query argument $1: '{_SECRET}'")
    bug, lost = translate(misuse), translate(misuse, is_closed=True)
    assert type(bug) is DatabaseError
    assert type(lost) is DatabaseUnavailableError
    assert _SECRET not in f"{bug}{lost}"


@pytest.mark.parametrize(
    ("told_by", "limit"),
    [
        ({"R": "InitializeSessionUserId"}, "the CONNECTION LIMIT of the role"),
        ({"R": "CheckMyDatabase"}, "the CONNECTION LIMIT of the database"),
        ({"R": "InitProcess"}, "max_connections of the server"),
        ({}, "the limit there"),
    ],
)
def test_a_session_too_many_is_told_with_the_limit_and_with_how_many_are_wanted(
    told_by: dict[str, str], limit: str
) -> None:
    error = translate_connecting(_error("53300", M="zu viele Verbindungen", **told_by))
    assert (type(error), error.sqlstate) == (DatabaseUnavailableError, "53300")
    assert str(error) == (
        f"The database cannot be reached: zu viele Verbindungen. All that {limit} allows are taken: a "
        "daemon wants database.pool_size and one more, a command two. Let a DBA raise it, or lower "
        "database.pool_size."
    )


def test_timeouts_and_refused_connections_mean_that_nobody_can_be_reached() -> None:
    for error in (TimeoutError(), TimeoutError(), ConnectionRefusedError(111, "Connection refused")):
        assert type(translate(error)) is DatabaseUnavailableError
    assert "no server free" in str(translate(NoAnswerError("it has no server free")))


def test_the_server_s_reason_for_letting_nobody_in_is_shown_in_one_line_without_control_characters() -> None:
    refused = _error("28000", M='role "pod" is not permitted to log in\x1b[31m\nx', D=_SECRET)
    error = translate_connecting(refused)
    assert str(error) == ('The database cannot be reached: role "pod" is not permitted to log in [31m.')


@pytest.mark.parametrize(
    ("state", "message", "words"),
    [
        (
            "28P01",
            "authentification par mot de passe ?chou?e pour l'utilisateur  << pod >>",
            'password authentication failed for user "pod"',
        ),
        ("28P01", "Passwort-Authentifizierung fehlgeschlagen", "password authentication failed"),
        ("3D000", "la base de donn?es << pod 4 >> n'existe pas", 'there is no database "pod 4"'),
        ("3D000", 'database "pod" does not exist', 'there is no database "pod"'),
        ("3D000", "Datenbank fehlt", "the database does not exist"),
    ],
)
def test_a_wrong_password_or_name_is_told_alike_by_servers_of_all_languages(
    state: str, message: str, words: str
) -> None:
    """A French server's accents are lost before a session has its encoding."""
    assert str(translate_connecting(_error(state, M=message))) == (
        f"The database cannot be reached: {words}."
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(111, "Connect call failed ('127.0.0.1', 5432)"), "connection refused (127.0.0.1:5432)"),
        (OSError(113, "Connect call failed ('::1', 5432, 0, 0)"), "no route to host ([::1]:5432)"),
        (
            OSError(
                "Multiple exceptions: [Errno 111] Connect call failed ('::1', 5432, 0, 0), "
                "[Errno 111] Connect call failed ('127.0.0.1', 5432)"
            ),
            "connection refused ([::1]:5432), connection refused (127.0.0.1:5432)",
        ),
        (OSError(2, "No such file or directory"), "No such file or directory"),
    ],
)
def test_a_connection_that_fails_is_told_in_the_words_of_the_system(error: OSError, words: str) -> None:
    """Not in those of Python, with its tuples."""
    assert str(translate(error)) == f"The database cannot be reached: {words}."
