from typing import cast

from tests.integration.cli.conftest import TOKEN, Pod


async def test_managers_are_listed_from_their_rows_when_no_daemon_answers(pod: Pod) -> None:
    table = await pod.run("runners", "list")
    listed = await pod.run("runners", "list", "--json")

    assert [line.split()[1] for line in table.out.splitlines()[1:]] == ["first", "second"]
    assert "No daemon answers" in table.err
    rows = cast("list[dict[str, object]]", listed.json())
    assert [(row["name"], row["state"]) for row in rows] == [("first", "active"), ("second", "active")]
    assert TOKEN not in table.out + listed.out


async def test_a_paused_manager_gets_no_tasks_until_it_is_resumed(pod: Pod) -> None:
    await pod.run("db", "init")

    paused = await pod.run("runners", "pause", "first")
    rows = cast("list[dict[str, object]]", (await pod.run("runners", "list", "--json")).json())
    resumed = await pod.run("runners", "resume", str(pod.world.managers[0].id))
    again = await pod.run("runners", "resume", "first")

    assert paused.out == "Runner manager first gets no new tasks until 'runners resume'.\n"
    assert [(row["name"], row["paused"]) for row in rows] == [("first", True), ("second", False)]
    assert resumed.out == "Runner manager first gets tasks again.\n"
    assert again.out == "Runner manager first was not paused.\n"


async def test_pausing_wants_the_journal(pod: Pod) -> None:
    said = await pod.run("runners", "pause", "first")

    assert said.status == 1
    assert "run 'poddispatchd db upgrade'" in said.err


async def test_a_test_tells_of_each_manager_and_fails_with_one(pod: Pod) -> None:
    both = await pod.run("runners", "test")
    good = await pod.run("runners", "test", "first")
    listed = await pod.run("runners", "test", "--json")

    assert both.status == 1
    assert "ok      first: It answers (version 1.7.1, 1 runner)." in both.out
    assert "PROBLEM second: Runner manager 'second' cannot be reached" in both.out
    assert (good.status, len(good.out.splitlines())) == (0, 1)
    rows = cast("list[dict[str, object]]", listed.json())
    assert [row["ok"] for row in rows] == [True, False]


async def test_an_unknown_manager_is_a_mistake_that_names_the_known_ones(pod: Pod) -> None:
    said = await pod.run("runners", "test", "third")

    assert said.status == 2
    assert "there is no runner manager 'third'; Pod has first, second." in said.err
