from poddispatchd.database import migration
from tests.integration.cli.conftest import Pod


async def test_the_schema_is_made_once_and_its_version_told(pod: Pod) -> None:
    before = await pod.run("db", "status")
    made = await pod.run("db", "init")
    again = await pod.run("db", "upgrade")
    after = await pod.run("db", "status", "--json")

    assert (before.status, "run 'poddispatchd db init'" in before.out) == (1, True)
    assert (made.status, len(made.out.splitlines())) == (0, len(migration.MIGRATIONS))
    assert "is up to date" in again.out
    assert after.json() == {
        "schema": "poddispatchd",
        "version": migration.LATEST,
        "latest": migration.LATEST,
    }
    assert after.status == 0


async def test_the_printed_sql_makes_the_schema(pod: Pod) -> None:
    printed = await pod.run("db", "init", "--print-sql")
    assert (await pod.run("db", "status")).status == 1

    await pod.execute(printed.out)

    assert (await pod.run("db", "status")).status == 0
    assert (await pod.run("db", "upgrade", "--print-sql")).out == ""


async def test_a_schema_of_a_newer_program_is_left_alone(pod: Pod) -> None:
    await pod.run("db", "init")
    await pod.execute("INSERT INTO poddispatchd.schema_version (version) VALUES (9999)")

    said = await pod.run("db", "upgrade")

    assert said.status == 1
    assert "install the newer poddispatchd on this machine" in said.err


async def test_grants_quote_whatever_the_role_is_called(pod: Pod) -> None:
    role = f'o\'dd "role" of {pod.database.name}'
    await pod.execute(f'CREATE ROLE "{role.replace(chr(34), chr(34) * 2)}"')
    try:
        said = await pod.run("db", "grants", role)
        await pod.execute(said.out)
        rights = await pod.fetch(
            "SELECT has_table_privilege($1, 'runner_manager_task', 'DELETE') AS may", role
        )
    finally:
        quoted = role.replace('"', '""')
        await pod.execute(f'DROP OWNED BY "{quoted}"; DROP ROLE "{quoted}"')

    assert rights == [{"may": True}]
