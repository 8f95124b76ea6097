"""What a DBA does to Pod's tables that keeps statements from being taken: told with what mends it."""

import pytest

from poddispatchd.pod.grants import grants_script, missing_rights
from poddispatchd.pod.table_faults import every_fault, writing_faults
from poddispatchd.sandbox.pod.schema import SchemaVariant
from tests.integration.pod.rows import opened
from tests.plugins.postgres import PodDatabase

_FAULTS = {
    "rule": (
        "CREATE RULE audit AS ON UPDATE TO runner_manager_task DO ALSO NOTIFY audit",
        "DROP RULE audit ON runner_manager_task",
        "on runner_manager_task, for it has rules (audit)",
    ),
    "publication": (
        "ALTER TABLE runner_manager_task REPLICA IDENTITY NOTHING;"
        "CREATE PUBLICATION p FOR TABLE runner_manager_task",
        "ALTER TABLE runner_manager_task REPLICA IDENTITY FULL",
        "rows of runner_manager_task, which is published without a replica identity",
    ),
    "behind": (
        "INSERT INTO main_customfilemodel (id, file) VALUES (900, 'x')",
        "SELECT setval(pg_get_serial_sequence('main_customfilemodel', 'id'), 900)",
        "a new row of main_customfilemodel is taken: its sequence stands behind the rows",
    ),
    "two statements": (
        "CREATE RULE audit AS ON UPDATE TO runner_manager_task DO INSTEAD (NOTIFY audit;"
        " UPDATE video_video SET id = id WHERE id = 0)",
        "DROP RULE audit ON runner_manager_task",
        "on runner_manager_task, for it has rules (audit)",
    ),
    "condition": (
        "CREATE RULE audit AS ON UPDATE TO runner_manager_task WHERE old.id = 0 DO INSTEAD NOTHING",
        "DROP RULE audit ON runner_manager_task",
        "on runner_manager_task, for it has rules (audit)",
    ),
    "end": (
        "ALTER SEQUENCE main_customfilemodel_id_seq MAXVALUE 2;"
        "SELECT setval('main_customfilemodel_id_seq', 2)",
        "ALTER SEQUENCE main_customfilemodel_id_seq MAXVALUE 99",
        "The sequence main_customfilemodel_id_seq has given its last id (2)",
    ),
}


@pytest.fixture
def variant() -> SchemaVariant:
    return SchemaVariant.NOPODFILE


@pytest.mark.parametrize("fault", _FAULTS)
async def test_it_is_told_until_it_is_mended(pod_database: PodDatabase, fault: str) -> None:
    spoil, mend, words = _FAULTS[fault]
    async with opened(pod_database) as database, pod_database.connection() as connection:
        assert await writing_faults(database) == []
        await connection.execute(spoil)
        [found] = await every_fault(database)
        await connection.execute(mend)

        assert words in found
        assert await every_fault(database) == []


async def test_what_hinders_nothing_of_ours_is_not_told(pod_database: PodDatabase) -> None:
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await connection.execute(
            "CREATE PUBLICATION all_of_it FOR ALL TABLES;"
            "CREATE RULE keep AS ON DELETE TO video_video DO INSTEAD NOTHING;"
            "CREATE TABLE copy (LIKE runner_manager_task);"
            "CREATE RULE divert AS ON UPDATE TO runner_manager_task DO INSTEAD"
            " UPDATE copy SET rank = new.rank WHERE id = old.id RETURNING copy.*;"
            # Given by hand: the sequence comes there in years.
            "INSERT INTO main_customfilemodel (id, file) VALUES (90000, 'x');"
            "ALTER TABLE completion_track ALTER id DROP IDENTITY"
        )
        assert await every_fault(database) == []


async def test_a_sequence_made_by_hand_is_granted_and_its_lack_is_told(pod_database: PodDatabase) -> None:
    """``check`` found nothing, results waited for ever, and ``db grants`` changed nothing."""
    role = f"{pod_database.name}_poor"
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await connection.execute(
            f"CREATE ROLE {role} NOLOGIN; CREATE SEQUENCE by_hand;"
            "ALTER TABLE completion_track ALTER id DROP IDENTITY;"
            "ALTER TABLE completion_track ALTER id SET DEFAULT nextval('by_hand')"
        )
        try:
            await connection.execute(grants_script(role))
            await connection.execute(f"ALTER ROLE postgres IN DATABASE {pod_database.name} SET role = {role}")
            async with opened(pod_database) as poor:
                granted = await every_fault(poor)
                await connection.execute(f"REVOKE USAGE ON SEQUENCE by_hand FROM {role}")
                [lacking] = await every_fault(poor)
        finally:
            await connection.execute(f"ALTER ROLE postgres IN DATABASE {pod_database.name} RESET role")
            await connection.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
        assert database.is_open
    assert granted == []
    assert "lacks USAGE on by_hand" in lacking


async def test_the_sequence_of_videos_is_wanted_though_its_column_needs_no_right(
    pod_database: PodDatabase,
) -> None:
    """Where a DBA granted tables alone, every recording waited for ever, and ``check`` found nothing."""
    role = f"{pod_database.name}_tables"
    async with pod_database.connection() as connection:
        await connection.execute(f"CREATE ROLE {role} NOLOGIN")
        try:
            await connection.execute(grants_script(role))
            await connection.execute(f"REVOKE USAGE ON ALL SEQUENCES IN SCHEMA public FROM {role}")
            await connection.execute(f"ALTER ROLE postgres IN DATABASE {pod_database.name} SET role = {role}")
            async with opened(pod_database) as poor:
                [lacking] = await every_fault(poor)
                # A daemon that worked with it before an upgrade is not kept from its start.
                kept_by = await missing_rights(poor)
        finally:
            await connection.execute(f"ALTER ROLE postgres IN DATABASE {pod_database.name} RESET role")
            await connection.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
    assert "lacks USAGE on video_video_id_seq" in lacking
    assert kept_by == []
