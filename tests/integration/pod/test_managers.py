from poddispatchd.domain.task import SiteId
from poddispatchd.pod.managers import runner_managers, sites
from tests.integration.pod.rows import manager, opened, site
from tests.plugins.postgres import PodDatabase


async def test_managers_come_by_site_priority_and_id(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection, opened(pod_database) as database:
        here, there = await site(connection, "here.example"), await site(connection, "there.example")
        second = await manager(connection, here, priority=2)
        first = await manager(connection, here, priority=1, is_active=False)
        third = await manager(connection, here, priority=2)
        other = await manager(connection, there, priority=0)

        found = await runner_managers(database)
        assert [rm.id for rm in found] == [first, second, third, other]
        assert (found[0].priority, found[0].is_active, found[0].site_id) == (1, False, here)
        assert (await sites(database))[SiteId(there)].domain == "there.example"


async def test_a_token_is_read_but_never_shown(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection, opened(pod_database) as database:
        await manager(connection, await site(connection, "pod.example.org"), token="s3cr3t-é")
        [found] = await runner_managers(database)
    assert found.token.get_secret_value() == "s3cr3t-é"
    assert "s3cr3t" not in repr(found)
