import hashlib
import os
import pwd
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from poddispatchd.database import migration
from poddispatchd.pod.setup import owner_dsn, verifier_of
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.integration.cli.conftest import Pod

_PASSWORD = "pass'word of the role"
_DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
async def role(pod: Pod) -> AsyncIterator[str]:
    """A role that is not there yet, and the owner's password where the command looks for it."""
    name = f'set up "{hashlib.sha256(pod.database.name.encode()).hexdigest()[:8]}"'
    quoted = name.replace('"', '""')
    yield name
    if await pod.fetch("SELECT FROM pg_roles WHERE rolname = $1", name):
        await pod.execute(f'DROP OWNED BY "{quoted}" CASCADE; DROP ROLE "{quoted}"')


def _owner(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the owner reaches the database: the password is in the environment."""
    parts = urlsplit(pod.database.dsn.get_secret_value())
    monkeypatch.setenv("PGPASSWORD", parts.password or "")
    return f"postgresql://{parts.username}@{parts.hostname}:{parts.port}{parts.path}"


async def _logs_in(pod: Pod, role: str) -> asyncpg.Connection:
    parts = urlsplit(pod.database.dsn.get_secret_value())
    return await asyncpg.connect(
        host=parts.hostname, port=parts.port, user=role, password=_PASSWORD, database=parts.path[1:]
    )


def _use_role(pod: Pod, role: str) -> None:
    parts = urlsplit(pod.database.dsn.get_secret_value())
    pod.set(
        "database",
        dsn=f"postgresql://{quote(role, safe='')}:{quote(_PASSWORD, safe='')}@"
        f"{parts.hostname}:{parts.port}{parts.path}",
    )


def _sql_of(page: str, holding: str) -> str:
    """What a page tells to run in the database."""
    blocks = re.findall(r"```sql\n(.*?)```", (_DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    [script] = [block for block in blocks if holding in block]
    return str(script)


async def test_one_command_makes_the_role_its_rights_and_the_schema(
    pod: Pod, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = _owner(pod, monkeypatch)
    _use_role(pod, role)

    said = await pod.run("db", "setup", "--owner-dsn", owner)
    again = await pod.run("db", "setup", "--owner-dsn", owner)
    monkeypatch.delenv("PGPASSWORD")

    assert (said.status, said.err) == (0, "")
    assert f"Role {role}: made" in said.out
    assert f"Schema poddispatchd: version {migration.LATEST}." in said.out
    assert (again.status, "was there" in again.out, "as before" in again.out) == (0, True, True)
    # The daemon's role can do all of the daemon's work, and the schema is its own.
    status = await pod.run("db", "status", "--json")
    assert status.json() == {
        "schema": "poddispatchd",
        "version": migration.LATEST,
        "latest": migration.LATEST,
    }
    connection = await _logs_in(pod, role)
    try:
        assert await connection.fetchval("SELECT has_table_privilege('runner_manager_task', 'DELETE')")
        assert await connection.fetchval("SELECT nspowner::regrole::text = quote_ident(current_user)"
                                         " FROM pg_namespace WHERE nspname = 'poddispatchd'")  # fmt: skip
        await connection.execute(_sql_of("personal-data.md", "ended_run"))
    finally:
        await connection.close()


async def test_a_role_of_its_own_takes_the_schema_over_from_the_one_that_made_it(
    pod: Pod, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `check` advises whose daemon began with Pod's own role: the command refused, and undid the role."""
    owner = _owner(pod, monkeypatch)
    assert (await pod.run("db", "init")).status == 0
    _use_role(pod, role)
    lease = "UPDATE poddispatchd.leader SET instance = 'night:1', lease_expires_at = now() + interval '{} s'"
    await pod.fetch(lease.format(30))

    running = await pod.run("db", "setup", "--owner-dsn", owner)
    version = "UPDATE poddispatchd.schema_version SET version = {} WHERE version = {}"
    await pod.fetch(version.format(0, migration.LATEST))
    older = await pod.run("db", "setup", "--owner-dsn", owner)
    await pod.fetch(version.format(migration.LATEST, 0))
    await pod.fetch(lease.format(-1))
    said = await pod.run("db", "setup", "--owner-dsn", owner)
    again = await pod.run("db", "setup", "--owner-dsn", owner)

    assert (running.status, older.status) == (2, 2)
    assert running.err == older.err
    assert (
        f"role postgres's, and a daemon uses it (night:1). If role {role} is to have it: stop" in running.err
    )
    assert (said.status, said.err) == (0, "")
    assert (
        "Schema poddispatchd: it was role postgres's: if a daemon runs as that one, restart it." in said.out
    )
    assert (again.status, "restart" in again.out) == (0, False)
    owners = await pod.fetch(
        "SELECT DISTINCT pg_get_userbyid(relowner) AS name FROM pg_class"
        " WHERE relnamespace = 'poddispatchd'::regnamespace AND relkind IN ('r', 'S', 'i')"
    )
    assert owners == [{"name": role}]


async def test_what_a_dba_has_taken_from_everybody_is_given_to_the_role(
    pod: Pod, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was said to have all it needs, could not connect, and then saw "not the database of a Pod"."""
    await pod.execute(
        f'REVOKE ALL ON DATABASE "{pod.database.name}" FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC'
    )
    owner = _owner(pod, monkeypatch)
    _use_role(pod, role)

    said = await pod.run("db", "setup", "--owner-dsn", owner)
    monkeypatch.delenv("PGPASSWORD")
    checked = await pod.run("check", "--json")

    assert (said.status, said.err) == (0, "")
    assert "database" not in _problems(checked.json())
    assert "Pod's tables" not in _problems(checked.json())


async def test_who_may_not_connect_or_use_the_schema_is_told_what_gives_that(
    pod: Pod, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = _owner(pod, monkeypatch)
    _use_role(pod, role)
    await pod.run("db", "setup", "--owner-dsn", owner)
    await pod.execute(
        # An old copy is not what is looked for, though its name comes first.
        "CREATE SCHEMA archive CREATE TABLE runner_manager_task (); REVOKE ALL ON SCHEMA public FROM PUBLIC"
    )
    monkeypatch.delenv("PGPASSWORD")
    no_schema = _problems((await pod.run("check", "--json")).json())
    await pod.execute(f'REVOKE ALL ON DATABASE "{pod.database.name}" FROM PUBLIC')
    no_database = _problems((await pod.run("check", "--json")).json())

    assert "GRANT USAGE ON SCHEMA public TO " in no_schema["Pod's tables"]
    assert "GRANT CONNECT ON DATABASE" in no_database["database"]


async def test_a_parameter_that_the_role_may_not_set_is_no_lack_of_a_right_to_connect(
    pod: Pod, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL has one code for both: 'db setup' was said to help, and did not."""
    owner = _owner(pod, monkeypatch)
    _use_role(pod, role)
    await pod.run("db", "setup", "--owner-dsn", owner)
    pod.set("database", dsn=f"{_dsn_of(pod)}?log_statement=none")
    monkeypatch.delenv("PGPASSWORD")

    told = _problems((await pod.run("check", "--json")).json())["database"]

    assert "log_statement" in told
    assert "take it out of database.dsn" in told
    assert "db setup" not in told


@pytest.fixture
async def no_superuser(pod: Pod) -> AsyncIterator[str]:
    """Who owns all of Pod's and may make roles, as on a managed server, where nobody can do more."""
    name = f"manager_of_{pod.database.name}"
    await pod.execute(
        f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'x';"
        f'ALTER DATABASE "{pod.database.name}" OWNER TO {name};'
        f"ALTER SCHEMA public OWNER TO {name};"
        "DO $$ DECLARE pods regclass; BEGIN"
        "  FOR pods IN SELECT oid FROM pg_class"
        "              WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP"
        f"   EXECUTE format('ALTER TABLE %s OWNER TO {name}', pods); END LOOP; END $$"
    )
    yield name
    await pod.execute(f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}")
    await pod.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize("way", ["the command", "its printed SQL"])
async def test_an_owner_who_is_no_superuser_sets_up_and_takes_away(
    pod: Pod, role: str, no_superuser: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role it had just made could not be given a schema: there was no way on a managed server.

    The schema is the role's, of which its maker is no member: the page on the uninstall knows.
    """
    owner = _owner(pod, monkeypatch).replace("postgres@", f"{no_superuser}@")
    monkeypatch.setenv("PGPASSWORD", "x")
    _use_role(pod, role)
    script, quoted = _sql_of("cutover.md", "DROP ROLE"), role.replace('"', '""')
    for words in ("GRANT", "DROP OWNED BY", "DROP ROLE"):
        script = script.replace(f"{words} poddispatchd", f'{words} "{quoted}"')
    connection = await asyncpg.connect(owner)
    try:
        if way == "the command":
            said = await pod.run("db", "setup", "--owner-dsn", owner)
            assert (said.status, said.err) == (0, "")
        else:
            printed = await pod.run("db", "setup", "--print-sql")
            await connection.execute(printed.out)
        [made] = await pod.fetch(
            "SELECT nspowner::regrole::text = quote_ident($1) AS is_its_own,"
            " EXISTS (SELECT FROM pg_auth_members JOIN pg_roles ON pg_roles.oid = roleid"
            "          WHERE rolname = $1 AND NOT admin_option) AS is_joined"
            "  FROM pg_namespace WHERE nspname = 'poddispatchd'",
            role,
        )
        await connection.execute(script)
    finally:
        await connection.close()

    assert made == {"is_its_own": True, "is_joined": False}
    assert await pod.fetch("SELECT FROM pg_roles WHERE rolname = $1", role) == []
    assert await pod.fetch("SELECT FROM pg_namespace WHERE nspname = 'poddispatchd'") == []
    assert await pod.fetch("SELECT to_regclass('runner_manager_task') IS NOT NULL AS there") == [
        {"there": True}
    ]


@pytest.mark.parametrize("what", ["the database", "the schema"])
async def test_who_may_not_let_the_role_in_is_told_so_and_nothing_is_made(
    pod: Pod, role: str, no_superuser: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL only warns: the role was said to have all it needs, and was told to run this once more."""
    place = f'DATABASE "{pod.database.name}"' if what == "the database" else "SCHEMA public"
    rights = "CONNECT, CREATE" if what == "the database" else "USAGE"
    await pod.execute(
        f"ALTER {place} OWNER TO postgres; REVOKE ALL ON {place} FROM PUBLIC;"
        f"GRANT {rights} ON {place} TO {no_superuser}"
    )
    owner = _owner(pod, monkeypatch).replace("postgres@", f"{no_superuser}@")
    monkeypatch.setenv("PGPASSWORD", "x")
    _use_role(pod, role)

    said = await pod.run("db", "setup", "--owner-dsn", owner)

    assert said.status == 1
    assert "may not let the role connect to the database, or use the schema of Pod's tables" in said.err
    assert await pod.fetch("SELECT FROM pg_roles WHERE rolname = $1", role) == []


async def test_a_table_of_somebody_elses_is_told_by_what_the_role_lacks_on_it(
    pod: Pod, role: str, no_superuser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pod.execute(
        f"ALTER TABLE django_site OWNER TO postgres; GRANT ALL ON django_site TO {no_superuser}"
    )
    owner = _owner(pod, monkeypatch).replace("postgres@", f"{no_superuser}@")
    monkeypatch.setenv("PGPASSWORD", "x")
    _use_role(pod, role)

    said = await pod.run("db", "setup", "--owner-dsn", owner)

    assert (said.status, "lacks SELECT on django_site: let the owner of Pod's tables run" in said.err) == (
        1,
        True,
    )


@pytest.mark.parametrize("by", ["the database", "the address"])
async def test_pods_tables_may_be_in_another_schema(
    pod: Pod, role: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the schema public was looked at, and all else goes by search_path."""
    await pod.execute("ALTER SCHEMA public RENAME TO university; CREATE SCHEMA public")
    owner = _owner(pod, monkeypatch)
    _use_role(pod, role)
    not_found = await pod.run("db", "setup", "--owner-dsn", owner)
    if by == "the database":
        await pod.execute(f'ALTER DATABASE "{pod.database.name}" SET search_path = university')
    else:
        owner += "?search_path=university"
        pod.set("database", dsn=f"{_dsn_of(pod)}?options=-c%20search_path%3Duniversity")

    said = await pod.run("db", "setup", "--owner-dsn", owner)
    monkeypatch.delenv("PGPASSWORD")
    checked = _problems((await pod.run("check", "--json")).json())

    assert not_found.status == 2
    assert "Pod's tables are in the schema university" in not_found.err
    assert (said.status, said.err) == (0, "")
    assert "Pod's tables" not in checked


def _dsn_of(pod: Pod) -> str:
    return str(pod.tree["database"]["dsn"])


def _problems(findings: object) -> dict[str, str]:
    """The words of the problems that ``check`` found, by what they are about."""
    assert isinstance(findings, list)
    return {item["subject"]: item["words"] for item in findings if item["severity"] == "problem"}


async def test_the_password_of_a_role_that_exists_is_changed_only_when_that_is_asked_for(
    pod: Pod, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = _owner(pod, monkeypatch)
    quoted = role.replace('"', '""')
    await pod.execute(f"CREATE ROLE \"{quoted}\" LOGIN PASSWORD 'another'")
    _use_role(pod, role)

    await pod.run("db", "setup", "--owner-dsn", owner)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await _logs_in(pod, role)

    said = await pod.run("db", "setup", "--owner-dsn", owner, "--set-password")
    assert said.status == 0
    await (await _logs_in(pod, role)).close()


async def test_the_printed_sql_does_the_same_and_holds_no_password(pod: Pod, role: str) -> None:
    old = pod.database.dsn.get_secret_value()
    _use_role(pod, role)

    printed = await pod.run("db", "setup", "--print-sql")

    assert (printed.status, _PASSWORD in printed.out, "SCRAM" in printed.out) == (0, False, False)
    assert not await pod.fetch("SELECT FROM pg_roles WHERE rolname = $1", role)
    await pod.execute(printed.out)
    pod.set("database", dsn=old)
    assert (await pod.run("db", "status")).status == 0


async def test_what_the_command_cannot_do_is_said_in_words(
    pod: Pod, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = _owner(pod, monkeypatch)
    _use_role(pod, role)

    shown = await pod.run("db", "setup", "--owner-dsn", owner.replace("@", ":secret-word@"))
    not_pods = await pod.run("db", "setup", "--owner-dsn", owner.rpartition("/")[0] + "/postgres")
    monkeypatch.setenv("PGPASSWORD", "wrong")
    wrong = await pod.run("db", "setup", "--owner-dsn", owner)
    pod.set("database", dsn="postgresql://someone@db.example.org/pod")
    elsewhere = await pod.run("db", "setup")

    assert (shown.status, "list of processes" in shown.err, "secret-word" in shown.err) == (2, True, False)
    assert (not_pods.status, "it is not Pod's" in not_pods.err) == (2, True)
    assert ("See --owner-dsn." in not_pods.err, "database.dsn" in not_pods.err) == (True, False)
    assert "--owner-dsn: password authentication failed" in wrong.err
    assert ("comes from PGPASSWORD" in wrong.err, "database.dsn" in wrong.err) == (True, False)
    assert elsewhere.status == 2
    assert "--owner-dsn postgresql://postgres@db.example.org/pod" in elsewhere.err


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Whoever runs the command is root on a machine with a user postgres; as whom it goes on."""
    became: list[int] = []
    monkeypatch.setattr(
        pwd, "getpwnam", {"postgres": SimpleNamespace(pw_uid=70, pw_dir="/var/lib/pg")}.__getitem__
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "seteuid", became.append)
    monkeypatch.setattr(os, "access", lambda *_, **__: True)
    monkeypatch.setenv("HOME", "/root")
    return became


async def test_root_on_the_machine_of_the_database_needs_to_name_no_owner(
    pod: Pod, role: str, root: list[int], postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server knows whoever is at its socket; this one wants a password there, too."""
    monkeypatch.setenv("PGPASSWORD", postgres.address.password.get_secret_value())
    folder = quote(str(postgres.address.socket_directory), safe="")
    name = pod.database.name
    pod.set("database", dsn=f"postgresql:///{name}?host={folder}&port={postgres.address.port}")

    said = await pod.run("db", "setup", "--role", role)

    assert (said.status, said.err) == (0, "")
    assert f"Role {role}: made" in said.out
    assert (root, os.environ["HOME"]) == ([70], "/var/lib/pg")
    [made] = await pod.fetch("SELECT rolpassword FROM pg_authid WHERE rolname = $1", role)
    assert made["rolpassword"] is None


async def test_a_database_that_is_not_there_is_told_of_the_setting_that_names_it(
    pod: Pod, role: str, root: list[int], postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was put down to --owner-dsn, which nobody had typed."""
    monkeypatch.setenv("PGPASSWORD", postgres.address.password.get_secret_value())
    folder = quote(str(postgres.address.socket_directory), safe="")
    pod.set("database", dsn=f"postgresql:///podd?host={folder}&port={postgres.address.port}")

    said = await pod.run("db", "setup", "--role", role)

    assert (said.status, said.err) == (2, 'poddispatchd: database.dsn: there is no database "podd".\n')


async def test_who_is_not_root_or_has_no_such_user_is_told_to_name_the_owner(
    pod: Pod, role: str, root: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pod.set("database", dsn="postgresql:///pod")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    not_root = await pod.run("db", "setup", "--role", role)
    monkeypatch.setattr(pwd, "getpwnam", dict[str, object]().__getitem__)
    no_user = await pod.run("db", "setup", "--role", role)

    assert (not_root.status, "Run it as root, or say with --owner-dsn" in not_root.err) == (2, True)
    assert (no_user.status, "There is no user postgres on this machine" in no_user.err) == (2, True)
    assert root == []


async def test_a_program_that_postgres_cannot_read_is_told(
    pod: Pod, role: str, root: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One below /root ended in a traceback: what was imported late could not be read any more."""
    pod.set("database", dsn="postgresql:///pod")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    said = await pod.run("db", "setup", "--role", role)

    assert (said.status, f"User postgres cannot read {os.__file__}" in said.err) == (2, True)


async def test_a_role_that_nobody_names_is_the_user_whom_the_configuration_belongs_to(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod.set("database", dsn="postgresql:///pod")
    monkeypatch.setattr(Path, "owner", lambda _: "pod-service")
    service = await pod.run("db", "setup", "--print-sql")
    monkeypatch.setattr(Path, "owner", lambda _: "root")
    roots = await pod.run("db", "setup", "--print-sql")

    def nobody(_: Path) -> str:
        raise KeyError("uid not found: 4711")

    monkeypatch.setattr(Path, "owner", nobody)
    nobodys = await pod.run("db", "setup", "--print-sql")

    assert (service.status, '"pod-service"' in service.out) == (0, True)
    for refused in (roots, nobodys):
        assert (refused.status, refused.out) == (2, "")
        assert "name the daemon's user with --role" in refused.err


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("postgresql:///pod", "postgresql://postgres@/pod"),
        ("postgresql://pod:x@localhost:5433/pod", "postgresql://postgres@/pod?port=5433"),
        (
            "postgresql:///pod?host=/run/pg&port=6000",
            "postgresql://postgres@/pod?host=%2Frun%2Fpg&port=6000",
        ),
        (
            "postgresql:///pod?options=-c%20search_path%3Duni&application_name=x",
            "postgresql://postgres@/pod?options=-c%20search_path%3Duni",
        ),
    ],
)
def test_the_owner_reaches_the_same_database_over_its_socket(dsn: str, expected: str) -> None:
    assert owner_dsn(dsn) == expected


def test_a_password_never_reaches_the_log_of_the_server_in_plain_text() -> None:
    assert verifier_of("pencil").startswith("SCRAM-SHA-256$4096:")
    assert "pencil" not in verifier_of("pencil")
    assert verifier_of("pencil") != verifier_of("pencil")
    # PostgreSQL normalises other characters in a way of its own.
    assert verifier_of("naïf") == "naïf"
