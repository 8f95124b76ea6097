import re
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from tests.integration.cli.conftest import TOKEN, Pod


async def test_managers_are_listed_from_their_rows_when_no_daemon_answers(pod: Pod) -> None:
    table = await pod.run("runners", "list")
    listed = await pod.run("runners", "list", "--json")

    assert [line.split()[1] for line in table.out.splitlines()[1:]] == ["first", "second"]
    assert "No daemon answers" in table.err
    rows = cast("list[dict[str, object]]", listed.json())
    assert [(row["name"], row["state"]) for row in rows] == [("first", "active"), ("second", "active")]
    assert TOKEN not in table.out + listed.out


async def test_a_password_in_an_address_is_listed_nowhere(pod: Pod) -> None:
    """Such an address is refused in words that do not hold it, and was listed with it."""
    await pod.execute(
        "UPDATE runner_manager SET url = CASE name WHEN 'first' THEN 'http://pod:pass/w@rd@m.example.org/x'"
        " ELSE 'https://m.example.org:8443/?token=pass/w@rd' END"
    )

    table = await pod.run("runners", "list")
    listed = await pod.run("runners", "list", "--json")

    assert "w@rd" not in table.out + listed.out
    rows = cast("list[dict[str, object]]", listed.json())
    assert [row["url"] for row in rows] == ["http://…@m.example.org/x", "https://…"]


async def test_a_paused_manager_gets_no_tasks_until_it_is_resumed(pod: Pod) -> None:
    await pod.run("db", "init")

    paused = await pod.run("runners", "pause", "first")
    rows = cast("list[dict[str, object]]", (await pod.run("runners", "list", "--json")).json())
    resumed = await pod.run("runners", "resume", str(pod.world.managers[0].id))
    again = await pod.run("runners", "resume", "first")

    assert paused.out == "Runner manager first gets no new tasks until 'poddispatchd runners resume first'.\n"
    assert [(row["name"], row["paused"]) for row in rows] == [("first", True), ("second", False)]
    assert resumed.out == "Runner manager first gets tasks again.\n"
    assert again.out == "Runner manager first was not paused.\n"


async def test_a_pause_typed_again_keeps_the_reason_that_a_colleague_gave(pod: Pod) -> None:
    await pod.run("db", "init")
    await pod.run("runners", "pause", "first", "--reason", "new disks")

    await pod.run("runners", "pause", "first")
    kept, *_ = cast("list[dict[str, object]]", (await pod.run("runners", "list", "--json")).json())
    await pod.run("runners", "pause", "first", "--reason", "new memory")
    other, *_ = cast("list[dict[str, object]]", (await pod.run("runners", "list", "--json")).json())

    assert cast("dict[str, object]", kept["pause"])["reason"] == "new disks"
    assert cast("dict[str, object]", other["pause"])["reason"] == "new memory"


async def test_a_pause_planned_again_is_planned_once(pod: Pod) -> None:
    """What keeps machines as they should be types a command at each of its runs."""
    await pod.run("db", "init")
    night = ("--from", "2030-01-01 02:00", "--until", "2030-01-01 04:00")
    await pod.run("runners", "pause", "first", *night, "--reason", "new disks")
    await pod.run("runners", "pause", "first", *night)
    await pod.run("runners", "pause", "first", "--from", "2030-01-02 02:00")
    await pod.run("runners", "pause", "first", "--from", "2030-01-02 02:00", "--reason", "new memory")
    await pod.run("runners", "pause", "second", "--until", "2030-01-01 04:00")
    await pod.run("runners", "pause", "second", "--until", "2030-01-01 04:00")

    first, second = cast("list[dict[str, object]]", (await pod.run("runners", "list", "--json")).json())
    planned = cast("list[dict[str, object]]", first["planned_pauses"])
    assert [pause["reason"] for pause in planned] == ["new disks", "new memory"]
    assert (second["paused"], second["planned_pauses"]) == (True, [])
    async with pod.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM poddispatchd.planned_pause") == 3


async def test_a_pause_that_goes_on_when_this_one_ends_is_told(pod: Pod) -> None:
    """`--until 2h` said until when, while a colleague's pause held for longer."""
    await pod.run("db", "init")
    night = ("--from", "2030-01-01 02:00", "--until", "2030-01-01 04:00")

    async def told(*options: str) -> list[str]:
        return (await pod.run("runners", "pause", "first", *options)).out.splitlines()[1:]

    assert await told("--until", "4h") == []
    [longer] = await told("--until", "2h")
    assert longer.endswith(", too: 'poddispatchd runners resume first' ends every pause that has begun.")
    assert await told("--until", "5h") == []
    assert await told() == []
    [forever, _] = await told("--until", "6h"), await pod.run("runners", "resume", "first")
    assert forever[0].endswith(" until 'poddispatchd runners resume first', and stays so.")
    assert await told(*night) == await told(*night) == []
    [planned] = await told("--from", "2030-01-01 03:00")
    assert planned.endswith(
        ", too: 'poddispatchd runners resume --planned first' forgets every pause that is planned."
    )


async def test_several_managers_are_paused_and_resumed_at_once_or_none(pod: Pod) -> None:
    """A night in which nothing may be submitted took as many commands as there are managers."""
    await pod.run("db", "init")

    wrong = await pod.run("runners", "pause", "first", "third")
    none = cast("list[dict[str, object]]", (await pod.run("runners", "list", "--json")).json())
    paused = await pod.run("runners", "pause", "first", "second", "1")
    both = cast("list[dict[str, object]]", (await pod.run("runners", "list", "--json")).json())
    resumed = await pod.run("runners", "resume", "first", "second")

    assert (wrong.status, [row["paused"] for row in none]) == (2, [False, False])
    assert [row["paused"] for row in both] == [True, True]
    assert len(paused.out.splitlines()) == len(resumed.out.splitlines()) == 2
    assert "Runner manager second gets tasks again." in resumed.out


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


async def test_an_inactive_manager_fails_a_test_only_when_it_is_named(pod: Pod) -> None:
    """One that was put out of service made every `runners test` end with 1."""
    await pod.execute("UPDATE runner_manager SET is_active = false WHERE name = 'second'")

    both = await pod.run("runners", "test")
    named = await pod.run("runners", "test", "second")

    assert (both.status, named.status) == (0, 1)
    assert "note    second: It is inactive. Runner manager 'second' cannot be reached" in both.out


async def test_an_unknown_manager_is_a_mistake_that_names_the_known_ones(pod: Pod) -> None:
    said = await pod.run("runners", "test", "third")

    assert said.status == 2
    assert "there is no runner manager 'third'; Pod has first, second." in said.err


async def test_maintenance_is_planned_and_told_with_its_reason(pod: Pod) -> None:
    await pod.run("db", "init")

    planned = await pod.run(
        "runners", "pause", "first", "--from", "2h", "--until", "90m", "--reason", "new disks"
    )
    listed = await pod.run("runners", "list")
    rows = cast("list[dict[str, object]]", (await pod.run("runners", "list", "--json")).json())

    assert re.fullmatch(
        r"Runner manager first gets no new tasks from \S+ \S+ \S+ \(in 2 h 00 min\) until \S+ \S+ \S+\.\n",
        planned.out,
    )
    assert re.search(
        r"^    pause planned from .* \(in 1 h 59 min\) to .*: new disks$", listed.out, re.MULTILINE
    )
    assert [
        (row["paused"], row["state"], len(cast("list[object]", row["planned_pauses"]))) for row in rows
    ] == [
        (False, "active", 1),
        (False, "active", 0),
    ]


async def test_a_pause_until_a_time_is_told_and_ended_early(pod: Pod) -> None:
    await pod.run("db", "init")

    paused = await pod.run("runners", "pause", "first", "--until", "3h", "--reason", "new disks")
    later = await pod.run("runners", "pause", "first", "--from", "2030-01-01 08:00")
    [row, _] = cast("list[dict[str, object]]", (await pod.run("runners", "list", "--json")).json())
    table = await pod.run("runners", "list")
    resumed = await pod.run("runners", "resume", "first")
    [after, _] = cast("list[dict[str, object]]", (await pod.run("runners", "list", "--json")).json())
    forgotten = await pod.run("runners", "resume", "first", "--planned")

    assert " (in 3 h 00 min)." in paused.out
    assert later.out.endswith(" until 'poddispatchd runners resume first'.\n")
    assert (row["state"], cast("dict[str, object]", row["pause"])["reason"]) == ("paused", "new disks")
    assert re.search(r"paused since .* until .* \(in 2 h 59 min\): new disks; pause planned", table.out)
    assert "Runner manager first gets tasks again." in resumed.out
    assert "'poddispatchd runners resume --planned first' forgets it." in resumed.out
    assert (after["paused"], len(cast("list[object]", after["planned_pauses"]))) == (False, 1)
    assert forgotten.out == "Runner manager first was not paused.\n1 planned pause forgotten.\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--from", "2020-01-01"), "lies in the past"),
        (("--until", "2020-01-01"), "is not after the beginning"),
        (("--from", "2h", "--until", "0s"), "is not after the beginning"),
        (("--from", "tomorrow"), "is no time (22:00)"),
        (("--until", "25:00"), "is no time (22:00)"),
        (("--reason", "x" * 201), "at most 200 characters"),
    ],
)
async def test_a_pause_that_cannot_be_is_refused(pod: Pod, options: tuple[str, ...], words: str) -> None:
    await pod.run("db", "init")

    said = await pod.run("runners", "pause", "first", *options)

    assert (said.status, words in said.err) == (2, True), said.err


async def test_a_manager_outside_its_window_is_listed_as_such(pod: Pod) -> None:
    opens = datetime.now(UTC) + timedelta(hours=5)
    pod.set(
        "windows",
        time_zone="UTC",
        runner_managers={"first": f"{opens:%H:%M}-{opens + timedelta(hours=1):%H:%M}"},
    )

    table = await pod.run("runners", "list")
    [row, other] = cast("list[dict[str, object]]", (await pod.run("runners", "list", "--json")).json())

    assert (row["state"], other["state"]) == ("outside its window", "active")
    assert re.search(
        r"^    window \d\d:\d\d-\d\d:\d\d: opens at .* \(in 4 h 5\d min\)$", table.out, re.MULTILINE
    )
