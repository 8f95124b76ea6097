"""``db install-trigger``, ``remove-trigger`` and ``advise-index``, run by whoever people are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.pod.world import add_task
from tests.integration.cli.conftest import Pod

_TRIGGERS = "SELECT tgname AS name FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname"
_INSTALLED = [{"name": "poddispatchd_task_added"}, {"name": "poddispatchd_task_pending"}]
_INDEXES = "SELECT indexname AS name FROM pg_indexes WHERE indexname LIKE 'poddispatchd%'"


@asynccontextmanager
async def _role(pod: Pod, kind: str) -> AsyncIterator[str]:
    """A role that the configuration names for the length of a block."""
    role = f"{kind}_{pod.database.name}"
    dsn = pod.database.dsn.get_secret_value()
    address = urlsplit(dsn)
    await pod.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'enter'")
    pod.set("database", dsn=f"postgresql://{role}:enter@{address.hostname}:{address.port}{address.path}")
    try:
        yield role
    finally:
        pod.set("database", dsn=dsn)
        await pod.execute(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}")


async def test_the_trigger_is_installed_and_removed_as_often_as_one_likes(pod: Pod) -> None:
    await pod.run("db", "init")
    for _ in range(2):
        installed = await pod.run("db", "install-trigger")
        assert (installed.status, "is installed" in installed.out) == (0, True)
        assert await pod.fetch(_TRIGGERS) == _INSTALLED
    for _ in range(2):
        removed = await pod.run("db", "remove-trigger")
        assert (removed.status, "is removed" in removed.out) == (0, True)
        assert await pod.fetch(_TRIGGERS) == []


async def test_the_trigger_waits_for_the_schema_whose_owner_the_daemon_must_be(pod: Pod) -> None:
    said = await pod.run("db", "install-trigger")
    assert (said.status, "run 'poddispatchd db init' first" in said.err) == (1, True)
    assert await pod.fetch("SELECT FROM pg_namespace WHERE nspname = 'poddispatchd'") == []


async def test_the_printed_sql_needs_no_configuration_and_does_the_same(pod: Pod) -> None:
    await pod.run("db", "init")
    pod.set("database", dsn="postgresql://nobody@127.0.0.1:9/nowhere")
    install = await pod.run("db", "install-trigger", "--print-sql")
    remove = await pod.run("db", "remove-trigger", "--print-sql")
    assert (install.status, remove.status) == (0, 0)
    await pod.execute(install.out)
    assert await pod.fetch(_TRIGGERS) == _INSTALLED
    await pod.execute(remove.out)
    assert await pod.fetch(_TRIGGERS) == []


async def test_the_daemons_own_role_is_told_who_may_do_it_and_that_way_works(pod: Pod) -> None:
    async with _role(pod, "daemon") as role:
        await pod.execute((await pod.run("db", "grants", role)).out)
        await pod.run("db", "init")
        for command in ("install-trigger", "remove-trigger"):
            # There is something to remove the second time.
            said = await pod.run("db", command)
            assert said.status == 1
            assert "Only postgres, who owns Pod's task table" in said.err
            assert f"poddispatchd db {command} --print-sql | sudo -u postgres psql" in said.err
            await pod.execute((await pod.run("db", "install-trigger", "--print-sql")).out)
        assert await pod.fetch(_TRIGGERS) == _INSTALLED
        # The daemon can still upgrade its schema: what was installed for it took nothing away.
        assert (await pod.run("db", "upgrade")).status == 0


async def test_who_owns_pods_tables_installs_it_and_who_only_adds_tasks_announces_them(pod: Pod) -> None:
    async with _role(pod, "owner") as owner:
        await pod.execute(f"ALTER TABLE runner_manager_task OWNER TO {owner}")
        await pod.execute(f'GRANT CREATE ON DATABASE "{pod.database.name}" TO {owner}')
        assert (await pod.run("db", "init")).status == 0
        assert (await pod.run("db", "install-trigger")).status == 0
        async with pod.database.connection() as listener, pod.database.connection() as web:
            heard: list[object] = []
            await listener.add_listener("poddispatchd_task", lambda *call: heard.append(call))
            role = f"web_{pod.database.name}"
            await web.execute(f"CREATE ROLE {role}; GRANT SELECT, INSERT ON runner_manager_task TO {role}")
            try:
                await web.execute(f"SET ROLE {role}")
                await add_task(web, TaskType.ENCODING)
                await listener.execute("SELECT 1")
            finally:
                await web.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")
        assert len(heard) == 1
        await pod.execute("ALTER TABLE runner_manager_task OWNER TO postgres")


async def test_who_owns_pods_tables_and_not_the_schema_is_told_what_that_takes(pod: Pod) -> None:
    """It was told that only itself might do this."""
    await pod.run("db", "init")
    async with _role(pod, "owner") as owner:
        await pod.execute(f"ALTER TABLE runner_manager_task OWNER TO {owner}")
        said = await pod.run("db", "install-trigger")
        grant = f"GRANT USAGE, CREATE ON SCHEMA poddispatchd TO {owner}"
        await pod.execute(grant)
        granted = await pod.run("db", "install-trigger")
        await pod.execute("ALTER TABLE runner_manager_task OWNER TO postgres")

    assert (said.status, grant in said.err, "which belongs to postgres" in said.err) == (1, True, True)
    assert granted.status == 0


async def test_who_owns_pods_tables_and_not_the_function_is_told_who_does(pod: Pod) -> None:
    """A DBA had installed the trigger; it was said to take a right on the schema, which was there."""
    await pod.run("db", "init")
    await pod.run("db", "install-trigger")
    async with _role(pod, "owner") as owner:
        await pod.execute(
            f"ALTER TABLE runner_manager_task OWNER TO {owner};"
            f"GRANT USAGE, CREATE ON SCHEMA poddispatchd TO {owner}"
        )
        said = [await pod.run("db", command) for command in ("install-trigger", "remove-trigger")]
        await pod.execute("ALTER TABLE runner_manager_task OWNER TO postgres")

    for each in said:
        assert (each.status, "GRANT" in each.err) == (1, False)
        assert "the function poddispatchd.announce_task(), which belongs to postgres" in each.err


async def test_a_useful_index_is_advised_but_not_made(pod: Pod) -> None:
    said = await pod.run("db", "advise-index")
    assert "So few tasks need no index." in said.out
    assert said.status == 0
    assert "0 tasks, 0 of them unfinished; one look at the queue took" in said.out
    assert "CREATE INDEX CONCURRENTLY IF NOT EXISTS poddispatchd_unfinished" in said.out
    assert await pod.fetch(_INDEXES) == []

    printed = await pod.run("db", "advise-index", "--print-sql")
    for _ in range(2):
        await pod.execute(printed.out)
    assert await pod.fetch(_INDEXES) == [{"name": "poddispatchd_unfinished"}]
    assert "The index poddispatchd_unfinished is there." in (await pod.run("db", "advise-index")).out
