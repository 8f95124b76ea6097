"""What was set aside is shown, tried again and dismissed on the terminal."""

from typing import cast

import pytest

from poddispatchd.runtime.queue_tables import QUEUES
from tests.integration.cli.conftest import Pod

_SET_ASIDE = """
    INSERT INTO poddispatchd.callback
        (runner_manager_ids, task_id, status, digest, state, attempts, last_error, handled_at)
    SELECT '{1}', 't-' || n, 'failed', n::text::bytea, 'set_aside', 12, 'It is poison.', now()
      FROM generate_series(1, 3) AS n
"""


async def _states(pod: Pod) -> list[object]:
    rows = await pod.fetch("SELECT state FROM poddispatchd.callback ORDER BY id")
    return [row["state"] for row in rows]


async def test_what_was_set_aside_is_listed_with_its_words(pod: Pod) -> None:
    await pod.run("db", "init")
    await pod.execute(_SET_ASIDE)

    table = await pod.run("queues", "list")
    listed = cast("dict[str, list[dict[str, object]]]", (await pod.run("queues", "list", "--json")).json())
    checked = await pod.run("check")

    assert "It is poison." in table.out
    assert [(row["queue"], row["set_aside"]) for row in listed["queues"]] == [
        ("callbacks", 3),
        ("imports", 0),
        ("notices", 0),
        ("deliveries", 0),
        ("files", 0),
    ]
    assert {(row["queue"], row["task"], row["attempts"]) for row in listed["set_aside"]} == {
        ("callbacks", f"t-{number}", 12) for number in (1, 2, 3)
    }
    assert "Set aside after too many attempts: 3 of callbacks." in checked.out
    assert "It is poison." in checked.out
    assert checked.status == 3


async def test_items_are_tried_again_or_dismissed_by_their_ids_or_all(pod: Pod) -> None:
    await pod.run("db", "init")
    await pod.execute(_SET_ASIDE)

    retried = await pod.run("queues", "retry", "callbacks", "1", "1")
    dismissed = await pod.run("queues", "dismiss", "callbacks", "2")
    unknown = await pod.run("queues", "retry", "callbacks", "1", "99")
    rest = await pod.run("queues", "retry", "callbacks", "--all")

    assert (retried.status, retried.out) == (0, "callbacks 1 is tried again.\n")
    assert (dismissed.status, dismissed.out) == (0, "callbacks 2 is dismissed.\n")
    assert unknown.status == 1
    assert "callbacks 99: nothing of this id is set aside." in unknown.err
    assert (rest.status, rest.out) == (0, "callbacks 3 is tried again.\n")
    assert await _states(pod) == ["open", "ignored", "open"]
    none = await pod.run("queues", "retry", "callbacks", "--all")
    assert (none.status, none.out) == (0, "callbacks: nothing is set aside.\n")


async def test_an_item_that_has_come_again_meanwhile_is_not_tried_twice(pod: Pod) -> None:
    await pod.run("db", "init")
    await pod.execute(_SET_ASIDE)
    await pod.execute(
        "INSERT INTO poddispatchd.callback (runner_manager_ids, task_id, status, digest)"
        " SELECT runner_manager_ids, task_id, status, digest FROM poddispatchd.callback WHERE id = 1"
    )

    said = await pod.run("queues", "retry", "callbacks", "--all")

    assert said.status == 1
    assert "callbacks 1: an equal item waits already; dismiss it." in said.err
    assert await _states(pod) == ["set_aside", "open", "open", "open"]


@pytest.mark.parametrize("command", ["retry", "dismiss"])
async def test_an_item_that_somebody_holds_stays_and_nobody_is_advised_to_lose_it(
    pod: Pod, command: str
) -> None:
    await pod.run("db", "init")
    await pod.execute(_SET_ASIDE)

    async with pod.database.connection() as other, other.transaction():
        await other.execute("SELECT FROM poddispatchd.callback WHERE id = 2 FOR UPDATE")
        said = await pod.run("queues", command, "callbacks", "--all")

    assert said.status == 1
    assert "callbacks 2: nothing is changed. Another database session holds a row" in said.err
    assert "dismiss it" not in said.err
    states = await _states(pod)
    assert (states[1], "set_aside" in (states[0], states[2])) == ("set_aside", False)


async def test_a_mistake_says_what_to_do(pod: Pod) -> None:
    nothing = await pod.run("queues", "retry", "callbacks")
    no_queue = await pod.run("queues", "retry", "mails", "1")
    no_journal = await pod.run("queues", "list")

    both = await pod.run("queues", "retry", "callbacks", "1", "--all")
    for said in (nothing, both):
        assert (said.status, "either the ids" in said.err) == (2, True)
    help_ = (await pod.run("queues", "retry", "--help")).out
    assert "retry [OPTIONS] QUEUE [ID]..." in help_
    assert [name for name in QUEUES if name not in help_] == []
    assert (no_queue.status, "deliveries" in no_queue.err) == (2, True)
    assert (no_journal.status, "run 'poddispatchd db upgrade'" in no_journal.err) == (1, True)
