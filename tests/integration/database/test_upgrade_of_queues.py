"""A database of the release before, with items in every stage, is brought to one pattern of queues."""

import pytest

from poddispatchd.database import migration
from poddispatchd.runtime import queue_tables
from poddispatchd.runtime.queue_tables import QUEUES
from tests.integration.pod.rows import opened
from tests.plugins.postgres import PodDatabase

_BEFORE = 10

_STAGES = """
    INSERT INTO poddispatchd.callback
        (runner_manager_ids, task_id, status, digest, state, attempts, next_attempt_at, handled_at) VALUES
        ('{1}', 'due', 'completed', 'a', 'open', 0, now(), NULL),
        ('{1}', 'taken', 'completed', 'b', 'open', 1, now() + interval '60 seconds', NULL),
        ('{1}', 'over', 'completed', 'c', 'applied', 1, now(), now());
    INSERT INTO poddispatchd.import
        (task_pk, runner_manager_id, task_id, state, attempts, lease_owner, lease_expires_at, finished_at)
        VALUES
        (1, 1, 'due', 'open', 0, NULL, NULL, NULL),
        (2, 1, 'taken', 'open', 1, 'old:1:1', now() + interval '20 seconds', NULL),
        (3, 1, 'over', 'done', 1, NULL, NULL, now());
    INSERT INTO poddispatchd.notice (event, task_pk, task_type, words)
        VALUES ('failed', 1, 'encoding', 'due');
    INSERT INTO poddispatchd.delivery
        (channel, task_pk, content, state, attempts, next_attempt_at, last_error, settled_at) VALUES
        ('mail', 1, '{}', 'open', 3, now(), 'Later', NULL),
        ('push', 2, '{}', 'open', 1, now() + interval '900 seconds', NULL, NULL),
        ('hook', 3, NULL, 'failed', 12, now(), 'Never', now());
    INSERT INTO poddispatchd.obsolete_file (path, task_pk, claimed_by, claimed_until) VALUES
        ('due', 1, NULL, NULL), ('taken', 2, 'old:1:1', now() + interval '120 seconds');
"""

_DUE = {"callbacks": 1, "imports": 1, "notices": 1, "deliveries": 1, "files": 1}
_OPEN = {"callbacks": 2, "imports": 2, "notices": 1, "deliveries": 2, "files": 2}


async def test_items_of_every_stage_are_kept_and_what_an_older_daemon_is_at_is_left_to_it(
    pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(pod_database) as database, pod_database.connection() as connection:
        with monkeypatch.context() as patch:
            older = tuple(step for step in migration.MIGRATIONS if step.version <= _BEFORE)
            patch.setattr(migration, "MIGRATIONS", older)
            patch.setattr(migration, "LATEST", _BEFORE)
            await migration.upgrade(database)
        await connection.execute(_STAGES)
        await migration.upgrade(database)
        found = await queue_tables.figures(connection)
        assert {name: each.open for name, each in found.items()} == _OPEN
        assert {each.set_aside for each in found.values()} == {0}
        due = {name: await queue.claim(connection, "new", 10) for name, queue in QUEUES.items()}
        assert {name: len(items) for name, items in due.items()} == _DUE
        assert [item.lease.attempts for item in due["deliveries"]] == [4]
        settled = await connection.fetchrow(
            "SELECT (SELECT count(*) FROM poddispatchd.callback WHERE state = 'applied'),"
            " (SELECT count(*) FROM poddispatchd.import WHERE state = 'done'),"
            " (SELECT count(*) FROM poddispatchd.delivery WHERE state = 'failed')"
        )
        assert settled is not None
        assert tuple(settled) == (1, 1, 1)
